"""Adapters against the papers' formulas, computed with the layers of an untouched copy of the network."""

import copy

import pytest
import torch
from torch import nn

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.model import Model
from tlresearch.core.prefix import Cut, frozen_depth
from tlresearch.core.types import Clock, Spec
from tlresearch.methods.adapter import FORMS, Adapter
from tlresearch.nn.sublayers import sublayers
from tlresearch.training.parameters import checkpoint_blocks, choose_trainable

CLOCK = Clock(0, 0, 0, 10, {})
IMAGES = Spec("image", (3, 16, 16), ())
VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
VIT = {"name": "timm", "model": "vit_tiny_patch16_224", "arguments": VIT}


def timm(model, **arguments):
    options = VIT if model == "vit" else {"name": "timm", "model": model, "arguments": arguments}
    return build("backbone", options, spec=IMAGES).eval()


def bert(folder):
    return build("backbone", {"name": "transformers", "weights": f"path:{folder}"}, spec=Spec("text", None, ())).eval()


def adapted(backbone, **options):
    """The network with adapters that do something, and its parts."""
    model, method = Model(copy.deepcopy(backbone)), Adapter(**options)
    method.setup(model, None)
    with torch.no_grad():
        for parameter in method.trainable(model, CLOCK):
            parameter.normal_()
    return model.backbone, method


def added(module, x, scale=1.0):
    """W_up ReLU(W_down x + b) + b_up, as the papers write it."""
    down, up = module.adapter.down, module.adapter.up
    weights = [w.flatten(1) for w in (down.weight, up.weight)]
    x = x.movedim(1, -1) if isinstance(down, nn.Conv2d) else x
    out = torch.clamp(x @ weights[0].T + down.bias, min=0) @ weights[1].T + up.bias
    return scale * (out.movedim(-1, 1) if isinstance(down, nn.Conv2d) else out)


@pytest.mark.parametrize("form", FORMS)
def test_a_block_of_a_vision_transformer(form):
    plain = timm("vit")
    network, _ = adapted(plain, form=form, reduction=4, scale=1.5)
    x = torch.randn(2, 5, 32)
    old, new = plain.blocks()[1], network.blocks()[1]
    attention = old.attn(old.norm1(x))
    if form == "houlsby":
        attention = attention + added(new.attn.proj, attention, 1.5)
    h = x + attention
    forward = old.mlp(old.norm2(h))
    forward = forward + added(new.mlp.fc2, old.norm2(h) if form == "parallel" else forward, 1.5)
    torch.testing.assert_close(new(x), h + forward, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_of_bert(form, tiny_bert_folder):
    plain = bert(tiny_bert_folder)
    network, _ = adapted(plain, form=form, reduction=2)
    x = torch.randn(2, 5, 32)
    old, new = plain.blocks()[0], network.blocks()[0]
    attention = old.attention.output.dense(old.attention.self(x)[0])
    if form == "houlsby":
        attention = attention + added(new.attention.output.dense, attention)
    h = old.attention.output.LayerNorm(attention + x)
    forward = old.output.dense(old.intermediate(h))
    forward = forward + added(new.output.dense, h if form == "parallel" else forward)
    output = new(x)
    output = output[0] if isinstance(output, tuple) else output
    torch.testing.assert_close(output, old.output.LayerNorm(forward + h), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", ["pfeiffer", "parallel"])
def test_a_residual_block_of_convolutions(form):
    plain = timm("resnet18")
    block = plain.blocks()[2]  # the first one with a stride
    nn.init.ones_(block.bn2.weight)  # which timm starts at zero
    network, _ = adapted(plain, form=form, reduction=8, blocks=r"layer2\.0")
    new, x = network.blocks()[2], torch.randn(2, 64, 9, 9)
    first = block.conv1(x)
    if form == "parallel":
        first = first + added(new.conv1, x[:, :, ::2, ::2])
    h = torch.relu(block.bn1(first))
    second = block.conv2(h)
    second = second + added(new.conv2, h if form == "parallel" else second)
    expected = torch.relu(block.bn2(second) + block.downsample(x))
    torch.testing.assert_close(new(x), expected, atol=1e-3, rtol=1e-4)


def test_sizes_are_those_of_the_formula(tiny_bert_folder):
    _, method = adapted(bert(tiny_bert_folder), form="houlsby", reduction=4)
    assert sum(p.numel() for p in method.trainable(None, CLOCK)) == 2 * 2 * (32 * 8 + 8 + 8 * 32 + 32)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("net", ["vit", "mobilenetv3_small_050", "bert"])
def test_the_network_starts_as_it_was_and_names_stay(net, form, tiny_bert_folder):
    plain = bert(tiny_bert_folder) if net == "bert" else timm(net)
    x = torch.randn(2, 3, 32, 32) if net.startswith("mobile") else torch.randn(2, 3, 16, 16)
    if net == "bert":
        x = {"input_ids": torch.arange(8).view(2, 4), "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])}
    model, method = Model(copy.deepcopy(plain)), Adapter(form=form, reduction=2)
    if net.startswith("mobile") and form == "houlsby":
        with pytest.raises(ConfigError, match=r"'houlsby': block 'network.blocks.0'.*choose pfeiffer or parallel"):
            method.setup(model, None)
        return
    method.setup(model, None)
    assert torch.equal(model.backbone(x).pooled, plain(x).pooled)
    assert plain.state_dict().keys() == {n for n in model.backbone.state_dict() if ".adapter." not in n}
    depths, blocks = model.backbone.depths(), len(plain.blocks())
    assert {depths[n] for n in depths if ".adapter." in n} == set(range(1, blocks + 1)), "each in its block"


CONFIGS = {
    "DistilBert": ({"dim": 32, "n_layers": 1, "n_heads": 2}, "attention.out_lin", "ffn.lin1", "ffn.lin2"),
    "Albert": ({"embedding_size": 8}, "attention.dense", "albert_layers.0.ffn", "ffn_output"),
    "DebertaV2": ({}, "attention.output.dense", "intermediate.dense", "output.dense"),
    "MPNet": ({}, "attention.attn.o", "intermediate.dense", "output.dense"),
    "ModernBert": ({"pad_token_id": 0}, "attn.Wo", "mlp.Wi", "mlp.Wo"),
    "T5": ({"d_model": 32, "d_ff": 64, "num_layers": 1}, "SelfAttention.o", "DenseReluDense.wi", "DenseReluDense.wo"),
    "GPT2": ({"n_embd": 32, "n_layer": 1, "n_head": 2}, "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
    "Llama": ({}, "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"),
    "CLIPText": ({}, "self_attn.out_proj", "mlp.fc1", "mlp.fc2"),
}
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.mark.parametrize("family", CONFIGS)
def test_sublayers_of_transformers_families(family):
    import transformers

    options, attention, first, last = CONFIGS[family]
    own = options if {"dim", "d_model", "n_embd"} & options.keys() else {**SMALL, **options}
    config = getattr(transformers, f"{family}Config")(vocab_size=40, **own)
    with torch.device("meta"):
        network = transformers.AutoModel.from_config(config)
    lists = [m for m in network.modules() if isinstance(m, nn.ModuleList)]
    found = sublayers(next(m for m in lists if sublayers(m[0]).attention)[0])
    assert [part.last.name.endswith(attention) for part in found.attention] == [True]
    (forward,) = found.feed_forward
    assert forward.first.name.endswith(first) and forward.last.name.endswith(last)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_with_checkpointing_are_those_without(form, tiny_bert_folder):
    network, method = adapted(bert(tiny_bert_folder), form=form, reduction=2)
    x = {"input_ids": torch.arange(8).view(2, 4), "attention_mask": torch.ones(2, 4)}
    found = []
    for checkpointed in (False, True):
        model = Model(network.train())
        choose_trainable(model, {"adapter": method}, CLOCK)
        if checkpointed:
            checkpoint_blocks(model)
        parameters = method.trainable(model, CLOCK)
        found.append(torch.autograd.grad(network(x).pooled.square().sum(), parameters))
    assert all(gradient.abs().sum() > 0 for gradient in found[0])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    copy.deepcopy(network)  # nothing of a pass stays behind


def test_a_copy_has_adapters_of_its_own():
    network, _ = adapted(timm("vit"), form="parallel", reduction=4)
    x, other = torch.randn(2, 3, 16, 16), copy.deepcopy(network)
    before = network(x).pooled
    with torch.no_grad():
        other.network.blocks[0].mlp.fc2.adapter.up.bias.normal_()
    assert torch.equal(network(x).pooled, before)
    assert not torch.allclose(other(x).pooled, before)


def test_activations_are_kept_up_to_the_first_adapter():
    for pattern, depth in (("all", 0), (r"blocks\.1$", 1)):
        model, method = Model(timm("vit")), Adapter(blocks=pattern)
        method.setup(model, None)
        choose_trainable(model, {"adapter": method}, CLOCK)
        assert frozen_depth(model.backbone) == depth
    nn.init.normal_(model.backbone.get_parameter("network.blocks.1.mlp.fc2.adapter.up.weight"))
    x, cut = 255 * torch.rand(2, 3, 16, 16), Cut(model.backbone, 1, [], "key")
    found = cut.features(model.backbone, x, "test", cut.compute(model.backbone, x))
    assert torch.equal(found["auto"].pooled, model.backbone(model.backbone.transform(x, "test")).pooled)


def test_adapters_of_one_block_in_the_others_names():
    network, _ = adapted(timm("vit"), blocks=r"blocks\.1$")
    assert {n.split(".adapter.")[0] for n, _ in network.named_parameters() if ".adapter." in n} == {
        "network.blocks.1.mlp.fc2"
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": 0}, "reduction: 0: must be an integer of at least 1"),
        ({"reduction": 33}, "reduction: 33: must be at most 32, the width of 'network.blocks.0.mlp.fc2'"),
        ({"scale": 0.0}, "scale: 0.0: must be a number above 0"),
        ({"form": "serial"}, "form: 'serial': unknown"),
        ({"blocks": "nowhere"}, "blocks: 'nowhere': matches none of the backbone's blocks, which are network.blocks.0"),
        ({"blocks": "blocks"}, "blocks: 'blocks': matches every block of the backbone; say all"),
        ({"blocks": "("}, r"blocks: '\(': no regular expression"),
    ],
)
def test_mistakes_are_named_before_anything_is_put_in(options, message):
    model = Model(timm("vit"))
    names = set(model.state_dict())
    with pytest.raises(ConfigError, match=message):
        Adapter(**options).setup(model, None)
    assert set(model.state_dict()) == names
