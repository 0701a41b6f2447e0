import copy

import pytest
import torch

from tlresearch.config.errors import ConfigError


def walk(method, model, clock, values):
    for value in values:
        with torch.no_grad():
            model.backbone.norm.bias.fill_(value)
        method.after_step(model, clock)


def averaged(method, model):
    with method.evaluating(model, None):
        return model.backbone.norm.bias.tolist()


def test_at_first_it_is_the_plain_mean_and_then_decays(plugin, model, stage, clock):
    method = plugin("ema").EMA(decay=0.75)
    method.on_stage_start(model, stage, None)
    walk(method, model, clock, [1.0, 2.0])  # LayerNorm's bias starts from 0
    assert averaged(method, model) == pytest.approx([1.0] * 3)
    walk(method, model, clock, [5.0])
    assert averaged(method, model) == pytest.approx([2.0] * 3)
    walk(method, model, clock, [6.0])  # 4 / 5 > 0.75
    assert averaged(method, model) == pytest.approx([0.75 * 2.0 + 0.25 * 6.0] * 3)


def test_training_goes_on_with_the_very_weights(plugin, model, stage, clock):
    method = plugin("ema").EMA()
    method.on_stage_start(model, stage, None)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    method.after_step(model, clock)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    context = method.evaluating(model, None)
    context.__enter__()
    assert not torch.equal(model.head("fine").linear.weight, before["heads.head_fine.linear.weight"])
    error = RuntimeError("evaluation broke off")
    assert not context.__exit__(RuntimeError, error, None)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_frozen_weights_are_not_copied_and_late_ones_join(plugin, model, stage, clock):
    model.backbone.stem.requires_grad_(False)
    method = plugin("ema").EMA(decay=0.5)
    method.on_stage_start(model, stage, None)
    assert "backbone.stem.weight" not in method.average
    method.after_step(model, clock)
    model.backbone.stem.requires_grad_(True)
    method.after_step(model, clock)
    with torch.no_grad():
        model.backbone.stem.weight.add_(1.0)
    middle = model.backbone.stem.weight.detach() - 0.5
    method.after_step(model, clock)
    with method.evaluating(model, None):
        assert torch.allclose(model.backbone.stem.weight, middle)


def test_a_resumed_run_averages_on(plugin, model, stage, clock):
    EMA = plugin("ema").EMA
    method, resumed = EMA(), EMA()
    method.on_stage_start(model, stage, None)
    walk(method, model, clock, [1.0, 2.0])
    resumed.load_state_dict(copy.deepcopy(method.state_dict()))
    walk(resumed, model, clock, [5.0])
    assert averaged(resumed, model) == pytest.approx([2.0] * 3)


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_a_decay_out_of_range(plugin, decay):
    with pytest.raises(ConfigError, match=f"decay: {decay}"):
        plugin("ema").EMA(decay=decay)
