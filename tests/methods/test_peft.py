"""Every tuner of the installed peft against peft's own model of the same network, with the same tensors."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.model import Model
from tlresearch.core.seeding import seeded
from tlresearch.core.types import Clock, Spec
from tlresearch.methods.peft import PEFT
from tlresearch.nn.adapters import without_adapters
from tlresearch.nn.tuners import names

CLOCK = Clock(0, 0, 0, 10, {})
VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
REFUSED = {  # by name, whatever the network: what needs a prompt, trained adapters, other inputs or a whole transformer
    *("adaption_prompt", "cartridge", "cpt", "multitask_prompt_tuning", "p_tuning", "prefix_tuning", "prompt_tuning"),
    *("poly", "shadow", "xlora"),
}
OPTIONS = {  # where peft's own defaults are wider than layers of width 32
    "c3a": {"block_size": 8},
    "fourierft": {"n_frequency": 20},
    "miss": {"r": 4},
    "osf": {"effective_rank": 8},
    "road": {"group_size": 8},
    "shira": {"r": 4},
    "trainable_tokens": {"token_indices": [3, 5]},
    "vblora": {"num_vectors": 8, "vector_length": 8, "r": 2},
    "waveft": {"n_frequency": 20},
}
UNMERGED = {"lily"}
TYPES = [name for name in names() if name not in REFUSED]


@pytest.fixture
def model(tiny_bert_folder):
    def make(net: str) -> Model:
        folder = f"path:{tiny_bert_folder}"
        options = {
            "bert": {"name": "transformers", "model": folder, "weights": folder},
            "vit": {"name": "timm", "model": "vit_tiny_patch16_224", "arguments": VIT},
            "cnn": {"name": "timm", "model": "test_resnet"},
        }[net]
        spec = Spec("text", None, ()) if net == "bert" else Spec("image", (3, 16, 16), ())
        with seeded("network"):
            return Model(build("backbone", options, spec=spec)).eval()

    return make


def inputs(net: str):
    with seeded("inputs"):
        if net != "bert":
            size = 16 if net == "vit" else 128  # peft's OFT knows no padding: maps must be larger than kernels
            return torch.rand(3, 3, size, size)
        ids = torch.randint(3, 20, (3, 6))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def place(model: Model, kind: str, seed: int = 0, **arguments) -> PEFT:
    method = PEFT(type=kind, **{"options": OPTIONS.get(kind, {}), **arguments})
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        method.setup(model, None)
    return method


def peers_answer(net: str, network: nn.Module, trained: nn.Module, config) -> tuple[int, torch.Tensor]:
    """peft's own model around an untouched copy: its number of trainable parameters, and its features."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = get_peft_model(network, copy.deepcopy(config)).eval()
    count = peer.get_nb_trainable_parameters()[0]
    peer.get_base_model().load_state_dict(trained.state_dict(), strict=False)
    with torch.no_grad():
        return count, peer(inputs(net)).pooled


@pytest.mark.parametrize("net", ["bert", "vit", "cnn"])
@pytest.mark.parametrize("kind", TYPES)
def test_as_many_parameters_and_the_same_outputs_as_pefts_own(kind, net, model):
    ours, plain = model(net), model(net).backbone
    try:
        method = place(ours, kind)
    except ConfigError:
        assert net != "bert" and not taken_by_peft(plain, kind)
        return
    moving = list(method.trainable(ours.eval(), CLOCK))
    with seeded("trained"), torch.no_grad():
        for parameter in moving:
            parameter.add_(torch.randn_like(parameter) * 0.05)
        found = ours.backbone(inputs(net)).pooled
    count, expected = peers_answer(net, plain, ours.backbone, ours.backbone.peft_config["default"])
    assert sum(p.numel() for p in moving) == count > 0
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, plain_features(net, model), atol=1e-6)


def taken_by_peft(network: nn.Module, kind: str) -> bool:
    """Whether peft adapts any layer of the network of the type's own kind, one at a time."""
    from peft import get_peft_model
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    make = next(c for k, c in PEFT_TYPE_TO_CONFIG_MAPPING.items() if k.value.lower() == kind)
    own = nn.Embedding if kind == "trainable_tokens" else nn.Linear | nn.Conv2d  # peft puts tokens on any matrix
    layers = {name for name, module in network.named_modules() if isinstance(module, own)}
    for name in layers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                peer = get_peft_model(copy.deepcopy(network), make(target_modules=[name], **OPTIONS.get(kind, {})))
            except (TypeError, ValueError, NotImplementedError, KeyError, AttributeError, RuntimeError):
                continue
        if peer.get_nb_trainable_parameters()[0]:
            return True
    return False


def plain_features(net: str, model) -> torch.Tensor:
    with torch.no_grad():
        return model(net).backbone(inputs(net)).pooled


@pytest.mark.parametrize("kind", [name for name in TYPES if name not in UNMERGED])
def test_merged_layers_compute_the_same(kind, model):
    ours = model("bert")
    moving = place(ours, kind).trainable(ours.eval(), CLOCK)
    with seeded("trained"), torch.no_grad():
        for parameter in moving:
            parameter.add_(torch.randn_like(parameter) * 0.05)
        plain = without_adapters(ours.backbone)
        expected, found = ours.backbone(inputs("bert")).pooled, plain(inputs("bert")).pooled
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert plain.state_dict().keys() == model("bert").backbone.state_dict().keys()


@pytest.mark.parametrize("kind", sorted(UNMERGED))
def test_what_cannot_be_merged_says_so(kind, model):
    ours = model("bert")
    place(ours, kind)
    with pytest.raises(ConfigError, match=f"peft's {kind} cannot be merged"):
        without_adapters(ours.backbone)


def test_every_type_is_either_taken_or_refused_by_name():
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    assert set(names()) == {kind.value.lower() for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
    for kind in REFUSED - {"poly", "shadow"}:  # these two show on a layer
        with pytest.raises(ConfigError, match=f"^type: '{kind}': "):
            PEFT(type=kind)


@pytest.mark.parametrize("kind", ["poly", "shadow"])
def test_what_needs_more_than_a_layer_gives_is_refused_with_pefts_reason(kind, model):
    with pytest.raises(ConfigError, match="fits no module"):
        place(model("bert"), kind)


@pytest.mark.parametrize("kind", ["lora", "vera", "fourierft", "randlora"])
def test_all_that_is_random_follows_the_seed(kind, model):
    states = []
    for seed in (0, 0, 1):
        ours = model("bert")
        place(ours, kind, seed)
        states.append({name: t.clone() for name, t in ours.backbone.state_dict().items()})
    first, again, other = states
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    seeds = [config_seed for config_seed in first if not torch.equal(first[config_seed], other[config_seed])]
    assert seeds and not any("base_layer" in name for name in seeds)


def test_modules_of_a_regular_expression_and_of_all(model):
    ours = model("bert")
    place(ours, "ia3", targets=r"layer\.1\..*(key|value|output\.dense)$", options={"feedforward_modules": ["output"]})
    names = ours.backbone.peft_config["default"].target_modules
    assert sorted(name.partition("layer.1.")[2] for name in names) == [
        *("attention.output.dense", "attention.self.key", "attention.self.value", "output.dense")
    ]
    layer = ours.backbone.get_submodule("network.encoder.layer.1.output.dense")
    assert layer.is_feedforward and layer.ia3_l["default"].numel() == 64  # of its inputs
    whole = model("bert")
    place(whole, "ia3", targets="all")
    layers = [m for n, m in model("bert").backbone.named_modules() if isinstance(m, nn.Linear) and ".layer." in n]
    assert len(whole.backbone.peft_config["default"].target_modules) == len(layers) == 12


BAD = [
    ("lora", {"rnk": 4}, "auto", r"^options: 'rnk': no option of lora; did you mean 'r'\? Allowed: .*use_dora"),
    ("lora", {"target_modules": ["q"]}, "auto", "^options: 'target_modules': no option"),
    ("lora", {"init_lora_weights": "corda"}, "auto", "^options: .*corda needs data"),
    ("lora", {"init_lora_weights": "eva"}, "auto", "method.lora.initialisation=eva"),
    ("lora", {"init_lora_weights": "magic"}, "auto", "^options: .*magic"),
    ("lora", {"r": 33}, "auto", "^options: .*rank 33 is above its width 32"),
    ("lora", {"r": 33}, "query", "^targets: 'query': .*Linear 32×32.*rank 33 is above its width 32"),
    ("c3a", {"block_size": 5}, "auto", "^options: .*block size should be a factor"),
    ("lora", {}, "nowhere", "^targets: 'nowhere': matches no module; there are e.g. .*query"),
    ("lora", {}, ".", "^targets: '.': matches everything.*targets=all"),
    ("lora", {}, "LayerNorm", "^targets: 'LayerNorm': matches .*LayerNorm 32\\), which does not fit"),
    ("lora", {}, "(", "^targets: '\\(': is no regular expression"),
    ("adalora", {"init_r": 4, "target_r": 4}, "auto", "^options: .*init_r must be larger"),
    ("trainable_tokens", {}, "auto", "^options: .*nothing there would be trained"),
    ("prefix_tuning", {}, "auto", "^type: 'prefix_tuning': needs a prompt"),
    ("xlora", {}, "auto", "^type: 'xlora': .*trained already"),
    ("lorra", {}, "auto", "^type: 'lorra': unknown; did you mean 'lora'"),
]


@pytest.mark.parametrize(("kind", "options", "targets", "message"), BAD, ids=[f"{b[0]} {b[1]} {b[2]}" for b in BAD])
def test_bad_input_is_one_message(kind, options, targets, message, model):
    with pytest.raises(ConfigError, match=message) as error:
        place(model("bert"), kind, options=options, targets=targets)
    assert len(error.value.problems) == 1 and "\n" not in str(error.value)


def test_two_tuners_are_refused(model):
    ours = model("bert")
    place(ours, "ia3")
    with pytest.raises(ConfigError, match="adapters of peft already"):
        place(ours, "lora")


def test_b_learns_faster_in_the_groups_of_create_loraplus_optimizer(model):
    from peft import get_peft_model
    from peft.optimizers import create_loraplus_optimizer

    ours, plain = model("bert"), model("bert").backbone
    method = place(ours, "lora", options={"use_dora": True}, ratio=8.0)
    peer = get_peft_model(plain, copy.deepcopy(ours.backbone.peft_config["default"]))
    optimizer = create_loraplus_optimizer(peer, torch.optim.AdamW, lr=0.5, loraplus_lr_ratio=8.0)
    named = {id(p): name.removeprefix("base_model.model.") for name, p in peer.named_parameters()}
    expected = {named[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    rates = {id(p): 0.5 for p in method.trainable(ours, CLOCK)}
    for parameters, options in method.groups(ours, CLOCK):
        rates |= {id(p): 0.5 * options["lr_scale"] for p in parameters}
    assert {name: rates[id(p)] for name, p in ours.backbone.named_parameters() if id(p) in rates} == expected
    with pytest.raises(ConfigError, match=r"^ratio: 8\.0: must be 1 with type vera"):
        PEFT(type="vera", ratio=8.0)
