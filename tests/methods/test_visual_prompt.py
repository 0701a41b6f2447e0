"""Prompts against tokens that are joined and dropped by hand, block by block."""

import copy

import pytest
import torch

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.methods.visual_prompt import VisualPrompt
from tlresearch.training.parameters import checkpoint_blocks, choose_trainable

CLOCK = Clock(0, 0, 0, 10, {})
SPEC = Spec("image", (3, 16, 16), ())
VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 2}


def timm(model="vit_tiny_patch16_224", **arguments):
    return build("backbone", {"name": "timm", "model": model, "arguments": arguments}, spec=SPEC).eval()


def prompted(plain, **options):
    model, method = Model(copy.deepcopy(plain)), VisualPrompt(**options)
    method.setup(model, SPEC)
    return model.backbone, method


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
@pytest.mark.parametrize("deep", [False, True])
def test_prompts_by_hand(deep, model):
    """Between class token and patches, as the paper has them."""
    plain = timm(model, **VIT)
    network, method = prompted(plain, tokens=2, deep=deep)
    x, vit, first = torch.randn(4, 3, 16, 16), plain.network, plain.network.num_prefix_tokens
    prompts = [p.expand(4, -1, -1) for p in method.trainable(None, CLOCK)]
    assert [p.shape for p in prompts] == [(4, 2, 32)] * (3 if deep else 1)
    tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(x)))
    for number, block in enumerate(vit.blocks):
        if number == 0 or deep:
            rest = tokens[:, first:] if number == 0 else tokens[:, first + 2 :]
            tokens = torch.cat([tokens[:, :first], prompts[number], rest], 1)
        tokens = block(tokens)
    expected = vit.forward_head(vit.norm(torch.cat([tokens[:, :first], tokens[:, first + 2 :]], 1)), pre_logits=True)
    found = network(x)
    torch.testing.assert_close(found.pooled, expected, atol=1e-5, rtol=1e-5)
    assert found.tokens.shape == plain(x).tokens.shape
    assert not torch.allclose(found.pooled, plain(x).pooled, atol=1e-3)


@pytest.mark.parametrize("deep", [False, True])
def test_gradients_with_checkpointing_are_those_without(deep):
    network, method = prompted(timm(**VIT), tokens=2, deep=deep)
    model, x, found = Model(network.train()), torch.randn(2, 3, 16, 16), []
    choose_trainable(model, {"visual_prompt": method}, CLOCK)
    for checkpointed in (False, True):
        if checkpointed:
            checkpoint_blocks(model)
        found.append(torch.autograd.grad(network(x).pooled.square().sum(), method.trainable(model, CLOCK)))
    for one, other in zip(*found, strict=True):
        assert one.abs().sum() > 0
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    "model",
    ["resnet18", "swin_tiny_patch4_window7_224", "mixer_s32_224", "beit_base_patch16_224", "xcit_nano_12_p16_224"],
)
@pytest.mark.parametrize("deep", [False, True])
def test_networks_that_do_not_bear_more_tokens(model, deep):
    with pytest.raises(ConfigError, match=r"this backbone.*it takes vision transformers"):
        VisualPrompt(deep=deep).setup(Model(timm(model)), SPEC)


def test_text_is_refused(tiny_bert_folder):
    spec = Spec("text", None, ())
    backbone = build("backbone", {"name": "transformers", "weights": f"path:{tiny_bert_folder}"}, spec=spec)
    with pytest.raises(ConfigError, match="reads text, and prompts stand beside patches"):
        VisualPrompt().setup(Model(backbone), spec)
    with pytest.raises(ConfigError, match="tokens: 0: must be an integer of at least 1"):
        VisualPrompt(tokens=0)
