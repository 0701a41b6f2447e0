import pytest

from tlresearch.config.errors import ConfigError


def test_one_scale_for_each_depth(plugin, model, clock):
    groups = plugin("layer_decay").LayerDecay(decay=0.5).groups(model, clock)
    names = {id(p): name for name, p in model.backbone.named_parameters()}
    scales = {names[id(p)]: options for parameters, options in groups for p in parameters}
    expected = {"stem.weight": 0.25, "layers.0.weight": 0.5, "layers.0.bias": 0.5, "layers.1.weight": 1.0}
    expected |= {"layers.1.bias": 1.0, "norm.weight": 1.0, "norm.bias": 1.0}
    assert scales == {name: {"lr_scale": scale} for name, scale in expected.items()}
    assert sum(len(list(parameters)) for parameters, _ in groups) == len(expected)


def test_one_means_no_decay(plugin, model, clock):
    groups = plugin("layer_decay").LayerDecay(decay=1.0).groups(model, clock)
    assert {options["lr_scale"] for _, options in groups} == {1.0}


def test_heads_are_left_alone(plugin, model, clock):
    touched = {id(p) for parameters, _ in plugin("layer_decay").LayerDecay().groups(model, clock) for p in parameters}
    assert not touched & {id(p) for p in model.heads.parameters()}


@pytest.mark.parametrize("decay", [0.0, 1.5])
def test_a_decay_out_of_range(plugin, decay):
    with pytest.raises(ConfigError, match=f"decay: {decay}"):
        plugin("layer_decay").LayerDecay(decay=decay)
