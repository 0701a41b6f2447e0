"""Scale and shift against weights into which they were folded by hand."""

import copy

import pytest
import torch
from torch import nn

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.methods.scale_shift import ScaleShift

CLOCK = Clock(0, 0, 0, 10, {})
VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}


def network(net, folder):
    if net == "bert":
        options = {"name": "transformers", "weights": f"path:{folder}"}
        return build("backbone", options, spec=Spec("text", None, ())).eval()
    options = {"model": net, "arguments": VIT if net.startswith("vit") else {}}
    backbone = build("backbone", {"name": "timm", **options}, spec=Spec("image", (3, 16, 16), ())).eval()
    for module in backbone.modules():  # statistics and norms that do something; timm starts some at zero
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor)
    return backbone


def inputs(net):
    if net == "bert":
        return {"input_ids": torch.arange(8).view(2, 4), "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])}
    return torch.randn(2, 3, 16, 16) if net.startswith("vit") else torch.randn(2, 3, 32, 32)


def fold(layer, affine):
    """W' = γ ⊙ W, b' = γ ⊙ b + β; a layer without b gets one."""
    gamma, beta = affine.scale, affine.shift
    with torch.no_grad():
        layer.weight.mul_(gamma.view(-1, *[1] * (layer.weight.ndim - 1)))
        bias = 0 if layer.bias is None else layer.bias * gamma
        layer.bias = nn.Parameter(bias + beta)


NETS = ["vit_tiny_patch16_224", "resnet18", "mobilenetv3_small_050", "bert"]


@pytest.mark.parametrize("net", NETS)
def test_folded_by_hand_it_is_the_plain_network(net, tiny_bert_folder):
    plain = network(net, tiny_bert_folder)
    folded = copy.deepcopy(plain)
    model, method, x = Model(plain), ScaleShift(), inputs(net)
    before = plain(x).pooled
    method.setup(model, None)
    assert torch.equal(plain(x).pooled, before)
    with torch.no_grad():
        for parameter in method.trainable(model, CLOCK):
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    assert not torch.allclose(plain(x).pooled, before, atol=1e-3)
    names = [n.removesuffix(".scale_shift") for n, _ in plain.named_modules() if n.endswith(".scale_shift")]
    for name in names:
        own = folded.get_submodule(name)
        layer = folded.get_submodule(name.rpartition(".")[0]) if isinstance(own, nn.Identity) else own
        fold(layer, plain.get_submodule(f"{name}.scale_shift"))
    torch.testing.assert_close(folded(x).pooled, plain(x).pooled, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("net", NETS)
def test_every_linear_layer_convolution_and_norm_of_the_blocks_has_one(net, tiny_bert_folder):
    backbone = network(net, tiny_bert_folder)
    kinds = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.BatchNorm2d)
    layers = [m for block in backbone.blocks() for m in block.modules() if isinstance(m, kinds)]
    method = ScaleShift()
    method.setup(Model(backbone), None)
    widths = sum(len(layer.weight) for layer in layers)
    assert sum(p.numel() for p in method.trainable(None, CLOCK)) == 2 * widths > 0


def test_a_pattern_chooses_blocks():
    backbone = network("vit_tiny_patch16_224", None)
    ScaleShift(blocks=r"\.1$").setup(Model(backbone), None)
    assert {n.split(".")[2] for n, _ in backbone.named_parameters() if "scale_shift" in n} == {"1"}
    with pytest.raises(ConfigError, match="blocks: 'nowhere': matches none"):
        ScaleShift(blocks="nowhere").setup(Model(backbone), None)
