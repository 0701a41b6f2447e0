"""What moves, at which rate, in which mode."""

import pytest
import torch
from torch import nn

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.nn.batch_norm import recalibrate
from tlresearch.training.parameters import Rates, build_optimizer, choose_trainable, parameter_groups, set_modes

CLOCK = Clock(0, 0, 0, 10, {})
RATES = Rates(1e-4, None, {}, 1.0)


class Only(Method):
    def __init__(self, *blocks):
        self.blocks = blocks

    def trainable(self, model, clock):
        return [p for i in self.blocks for p in model.backbone.blocks()[i].parameters()]


class Scale(Method):
    def __init__(self, factor, **more):
        self.options = {"lr_scale": factor, **more}

    def groups(self, model, clock):
        return [(model.backbone.blocks()[0].parameters(), self.options)]


def moving(model):
    return [i for i, block in enumerate(model.backbone.blocks()) if all(p.requires_grad for p in block.parameters())]


def test_opinions_are_united_and_none_means_all(small_model):
    model = small_model(layers=3)
    choose_trainable(model, {"a": Only(0), "b": Only(2)}, CLOCK)
    assert moving(model) == [0, 2]
    choose_trainable(model, {"a": Only(0), "probe": Only()}, CLOCK)
    assert moving(model) == [0]
    choose_trainable(model, {"c": Scale(1.0)}, CLOCK)
    assert moving(model) == [0, 1, 2]


def test_every_trainable_parameter_is_in_one_group_and_scales_multiply(small_model):
    model = small_model()
    methods = {"a": Scale(0.5), "b": Scale(0.1, weight_decay=0.3)}
    groups = parameter_groups(model, methods, CLOCK, RATES)
    listed = [id(p) for g in groups for p in g["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    rate = {id(p): g for g in groups for p in g["params"]}
    first, second = (next(block.parameters()) for block in model.backbone.blocks())
    assert rate[id(first)]["lr"] == pytest.approx(1e-4 * 0.5 * 0.1) and rate[id(first)]["weight_decay"] == 0.3
    assert rate[id(second)]["lr"] == 1e-4 and "weight_decay" not in rate[id(second)]
    head = next(model.head("label").parameters())
    assert rate[id(head)]["lr"] == model.head("label").learning_rate  # recommended by the head itself
    with pytest.raises(ConfigError, match="momentum"):
        parameter_groups(model, {"c": Scale(1.0, momentum=0.9)}, CLOCK, RATES)


def test_a_new_optimizer_keeps_the_state_of_known_parameters(small_model):
    model = small_model()
    methods = {"a": Only(1)}
    choose_trainable(model, methods, CLOCK)
    make = torch.optim.AdamW
    old = build_optimizer(make, parameter_groups(model, methods, CLOCK, RATES), None)
    model(torch.randn(2, 4)).logits["label"].sum().backward()
    old.step()
    choose_trainable(model, {}, CLOCK)
    new = build_optimizer(make, parameter_groups(model, {}, CLOCK, RATES), old)
    first, second = (next(block.parameters()) for block in model.backbone.blocks())
    assert second in new.state and first not in new.state
    assert torch.equal(new.state[second]["exp_avg"], old.state[second]["exp_avg"])
    assert build_optimizer(make, [], None) is None


def convnet():
    model = Model(
        build("backbone", {"name": "convnet", "width": 4, "random_crop": 0}, spec=Spec("image", (1, 8, 8), ()))
    )
    return model, [m for m in model.backbone.modules() if isinstance(m, nn.BatchNorm2d)]


def test_what_lies_before_the_first_weight_that_learns_is_at_rest(small_model):
    model = small_model(layers=3)
    choose_trainable(model, {"a": Only(1)}, CLOCK)
    set_modes(model, "eval")
    assert [block.training for block in model.backbone.blocks()] == [False, True, True]
    choose_trainable(model, {"a": Only()}, CLOCK)
    set_modes(model, "eval")
    assert not model.backbone.training and model.head("label").training
    choose_trainable(model, {}, CLOCK)
    set_modes(model, "eval")
    assert all(module.training for module in model.modules())


def test_batchnorm_follows_its_own_parameters_unless_told_otherwise():
    model, layers = convnet()
    choose_trainable(model, {"a": Only(len(model.backbone.blocks()) - 1)}, CLOCK)
    for bn, expected in (("eval", False), ("train", True), ("recalibrate", False)):
        set_modes(model, bn)
        assert layers[0].training is expected, bn
        assert layers[-1].training  # its own parameters learn


def test_recalibration_is_torchs_own():
    model, layers = convnet()
    other, _ = convnet()
    other.load_state_dict(model.state_dict())
    batches = [torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8) for _ in range(3)]
    recalibrate(model, batches)
    torch.optim.swa_utils.update_bn(batches, other)
    for name, value in model.state_dict().items():
        assert torch.allclose(value.float(), other.state_dict()[name].float(), atol=1e-6), name
    assert layers[0].momentum == 0.1
