"""LoRA against the paper's formula and against peft applied to the same network by hand."""

import pytest
import torch

from tlresearch.config.build import build
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
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
