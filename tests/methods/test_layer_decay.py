"""Scales of the rate by depth, against the powers written out."""

import pytest
from torch import nn

from tlresearch.config.errors import ConfigError
from tlresearch.core.backbone import Backbone
from tlresearch.core.model import Model
from tlresearch.core.types import Clock
from tlresearch.methods.layer_decay import LayerDecay

CLOCK = Clock(0, 0, 0, 1, ())


class Tiny(Backbone):
    """A stem without bias, two blocks, a final scale: depths 0, 1, 2 and 2."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(2, 3, bias=False)
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.norm = nn.LayerNorm(3)

    def blocks(self):
        return list(self.layers)


def scales(method, model):
    """Parameter name → options of its one group."""
    groups = method.groups(model, CLOCK)
    names = {id(p): name for name, p in model.backbone.named_parameters()}
    listed = [(names[id(p)], options) for parameters, options in groups for p in parameters]
    assert len(listed) == len(dict(listed)), "each in one group"
    return dict(listed)


def test_one_scale_for_each_depth():
    expected = {"stem.weight": 0.25, "layers.0.weight": 0.5, "layers.0.bias": 0.5, "layers.1.weight": 1.0}
    expected |= {"layers.1.bias": 1.0, "norm.weight": 1.0, "norm.bias": 1.0}
    found = scales(LayerDecay(decay=0.5), Model(Tiny()))
    assert found == {name: {"lr_scale": scale} for name, scale in expected.items()}


def test_one_means_no_decay_and_heads_are_left_alone(small_model):
    model = small_model()
    groups = LayerDecay(decay=1.0).groups(model, CLOCK)
    assert {options["lr_scale"] for _, options in groups} == {1.0}
    touched = {id(p) for parameters, _ in groups for p in parameters}
    assert not touched & {id(p) for p in model.heads.parameters()}


@pytest.mark.parametrize("decay", [0.0, 1.5])
def test_a_decay_out_of_range(decay):
    with pytest.raises(ConfigError, match=f"decay: {decay}"):
        LayerDecay(decay=decay)
