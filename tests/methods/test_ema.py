"""The exponential moving average against the mean of the weights along the way, by hand and by torch."""

import copy

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tlresearch.config.errors import ConfigError
from tlresearch.core.types import Clock
from tlresearch.methods.ema import EMA

CLOCK = Clock(0, 0, 0, 10, {})


@pytest.fixture
def model(small_model):
    """Its head's bias starts from 0."""
    model = small_model()
    with torch.no_grad():
        model.head("label").output.bias.zero_()
    return model


def walk(method, model, values):
    for value in values:
        with torch.no_grad():
            model.head("label").output.bias.fill_(value)
        method.after_step(model, CLOCK)


def averaged(method, model):
    with method.evaluating(model, None):
        return model.head("label").output.bias.tolist()


def begun(model, **options):
    method = EMA(**options)
    method.on_stage_start(model, None, None)
    return method


def test_at_first_it_is_the_plain_mean_and_then_decays(model):
    method = begun(model, decay=0.75)
    walk(method, model, [1.0, 2.0])
    assert averaged(method, model) == pytest.approx([1.0] * 3)
    walk(method, model, [5.0])
    assert averaged(method, model) == pytest.approx([2.0] * 3)
    walk(method, model, [6.0])  # 4 / 5 > 0.75
    assert averaged(method, model) == pytest.approx([0.75 * 2.0 + 0.25 * 6.0] * 3)


def test_once_the_decay_is_reached_it_is_the_average_of_torch(model):
    method = begun(model, decay=0.3)  # below 1 / 2: from the first step on
    oracle = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.3))
    oracle.update_parameters(model)  # the first call copies
    torch.manual_seed(1)
    for _ in range(4):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        method.after_step(model, CLOCK)
        oracle.update_parameters(model)
    expected = dict(oracle.module.named_parameters())
    with method.evaluating(model, None):
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter, expected[name], msg=name)


def test_training_goes_on_with_the_very_weights(model):
    method = begun(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    method.after_step(model, CLOCK)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    context = method.evaluating(model, None)
    context.__enter__()
    assert not torch.equal(model.head("label").output.weight, before["heads.head_label.output.weight"])
    error = RuntimeError("evaluation broke off")
    assert not context.__exit__(RuntimeError, error, None)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_frozen_weights_are_not_copied_and_late_ones_join(model):
    name, late = next(iter(model.named_parameters()))
    late.requires_grad_(False)
    method = begun(model, decay=0.5)
    assert name not in method.average
    method.after_step(model, CLOCK)
    late.requires_grad_(True)
    method.after_step(model, CLOCK)
    with torch.no_grad():
        late.add_(1.0)
    middle = late.detach() - 0.5
    method.after_step(model, CLOCK)
    with method.evaluating(model, None):
        assert torch.allclose(late, middle)


def test_a_resumed_run_averages_on(model):
    method, resumed = begun(model), EMA()
    walk(method, model, [1.0, 2.0])
    resumed.load_state_dict(copy.deepcopy(method.state_dict()))
    walk(resumed, model, [5.0])
    assert averaged(resumed, model) == pytest.approx([2.0] * 3)


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_a_decay_out_of_range(decay):
    with pytest.raises(ConfigError, match=f"decay: {decay}"):
        EMA(decay=decay)
