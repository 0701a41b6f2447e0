import math

import pytest
import torch


def prepared(plugin, model, spec, values):
    method = plugin("uncertainty").Uncertainty()
    method.setup(model, spec)
    s = next(model.aux["uncertainty"].parameters())
    with torch.no_grad():
        s.copy_(torch.tensor(values))
    return method, s


def test_equation_10_by_hand(plugin, model, spec, clock):
    method, s = prepared(plugin, model, spec, [math.log(4.0), -2.0])
    losses = {"task/coarse": torch.tensor(3.0), "task/fine": torch.tensor(0.5), "ewc/penalty": torch.tensor(7.0)}
    terms = method.reweight(losses, model, None, None, clock)
    assert terms["task/coarse"].item() == pytest.approx(3.0 / 4 + math.log(2.0))
    assert terms["task/fine"].item() == pytest.approx(0.5 * math.e**2 - 1.0)
    assert terms["ewc/penalty"].item() == 7.0
    assert losses["task/coarse"].item() == 3.0  # given terms stay as they came
    (terms["task/coarse"] + terms["task/fine"]).backward()
    assert s.grad.tolist() == pytest.approx([0.5 - 3.0 / 4, 0.5 - 0.5 * math.e**2], rel=1e-6)


def test_it_starts_as_if_it_were_not_there(plugin, model, spec, clock):
    method, _ = prepared(plugin, model, spec, [0.0, 0.0])
    losses = {"task/coarse": torch.tensor(3.25), "task/fine": torch.tensor(0.1)}
    terms = method.reweight(losses, model, None, None, clock)
    assert {name: value.item() for name, value in terms.items()} == {n: v.item() for n, v in losses.items()}


def test_a_task_of_another_stage_is_left_out(plugin, model, spec, clock):
    method, _ = prepared(plugin, model, spec, [1.0, 1.0])
    assert set(method.reweight({"task/fine": torch.tensor(1.0)}, model, None, None, clock)) == {"task/fine"}


def test_its_weights_settle_at_the_losses(plugin, model, spec, clock):
    """At the optimum σ² = 2L: exp(−s)L + s/2 has its minimum there."""
    method, s = prepared(plugin, model, spec, [0.0, 0.0])
    optimizer = torch.optim.SGD([s], lr=0.5)
    for _ in range(200):
        losses = {"task/coarse": torch.tensor(3.0), "task/fine": torch.tensor(0.5)}
        optimizer.zero_grad()
        sum(method.reweight(losses, model, None, None, clock).values()).backward()
        optimizer.step()
    assert s.exp().tolist() == pytest.approx([6.0, 1.0], rel=1e-3)
