import pytest
import torch

from tlresearch.config.errors import ConfigError


def term(method, model, clock):
    out = model(torch.ones(4, 2))
    return method.loss(model, None, out, clock)["distance"]


def test_the_distance_by_hand(plugin, model, stage, clock):
    method = plugin("l2sp").L2SP(strength=0.5)
    method.on_stage_start(model, stage, None)
    assert term(method, model, clock).item() == 0
    with torch.no_grad():
        model.backbone.stem.weight += 2.0  # 6 numbers: 6 · 4
        model.backbone.norm.bias[0] -= 3.0  # 9
        model.head("fine").linear.weight += 100.0  # not the backbone's
    value = term(method, model, clock)
    assert value.item() == pytest.approx(0.5 / 2 * (24 + 9), rel=1e-6)
    value.backward()
    assert torch.allclose(model.backbone.stem.weight.grad, torch.full((3, 2), 0.5 * 2.0))
    assert model.head("fine").linear.weight.grad is None


def test_frozen_weights_do_not_count(plugin, model, stage, clock):
    method = plugin("l2sp").L2SP(strength=2.0)
    method.on_stage_start(model, stage, None)
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter += 1.0
    model.backbone.requires_grad_(False)
    model.backbone.norm.bias.requires_grad_(True)
    assert term(method, model, clock).item() == pytest.approx(3.0)


def test_a_resumed_run_keeps_its_starting_point(plugin, model, stage, clock):
    L2SP = plugin("l2sp").L2SP
    method, resumed = L2SP(strength=1.0), L2SP(strength=1.0)
    method.on_stage_start(model, stage, None)
    with torch.no_grad():
        model.backbone.norm.bias += 1.0
    resumed.load_state_dict(method.state_dict())
    assert term(resumed, model, clock).item() == pytest.approx(1.5)


def test_a_negative_strength(plugin):
    with pytest.raises(ConfigError, match="strength: -1"):
        plugin("l2sp").L2SP(strength=-1)
