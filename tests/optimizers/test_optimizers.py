"""One and two steps by hand, in float64, beside the fused kernels."""

import math

import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.optimizers.adamw import adamw
from tlresearch.optimizers.sgd import sgd

WEIGHTS = [1.0, -2.0, 0.5]
GRADIENTS = [[0.1, -0.3, 0.0], [-0.2, -0.4, 1.0]]


def stepped(make, **options):
    parameter = torch.nn.Parameter(torch.tensor(WEIGHTS, dtype=torch.float64))
    optimizer = make([{"params": [parameter], "lr": 0.1}], **options)
    for gradient in GRADIENTS:
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    return parameter.detach().tolist()


def test_adamw_takes_the_steps_of_algorithm_2():
    expected = []
    for i, w in enumerate(WEIGHTS):
        m = v = 0.0
        for t, g in enumerate((step[i] for step in GRADIENTS), start=1):
            m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
            w -= 0.1 * (m / (1 - 0.8**t) / (math.sqrt(v / (1 - 0.9**t)) + 1e-3) + 0.05 * w)
        expected.append(w)
    assert stepped(adamw, betas=[0.8, 0.9], epsilon=1e-3, weight_decay=0.05) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_takes_the_steps_of_momentum(nesterov):
    expected = []
    for i, w in enumerate(WEIGHTS):
        velocity = None
        for g in (step[i] for step in GRADIENTS):
            g += 0.05 * w
            velocity = g if velocity is None else 0.7 * velocity + g
            w -= 0.1 * (g + 0.7 * velocity if nesterov else velocity)
        expected.append(w)
    result = stepped(sgd, momentum=0.7, nesterov=nesterov, weight_decay=0.05)
    assert result == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("make", [adamw, sgd])
def test_a_group_keeps_its_own_rate_and_decay(make):
    parameters = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    groups = [{"params": [parameters[0]], "lr": 0.3, "weight_decay": 0.0}, {"params": [parameters[1]], "lr": 0.4}]
    first, second = make(groups, weight_decay=0.5).param_groups
    assert (first["lr"], first["weight_decay"]) == (0.3, 0.0)
    assert (second["lr"], second["weight_decay"]) == (0.4, 0.5)


@pytest.mark.parametrize("make", [adamw, sgd])
def test_runs_fused_where_it_can(make):
    real = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.1}]
    complex_valued = [{"params": [torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))], "lr": 0.1}]
    assert make(real).defaults["fused"]
    assert not make(complex_valued).defaults["fused"]


@pytest.mark.parametrize(
    ("make", "options", "key"),
    [
        (adamw, {"weight_decay": -0.1}, "weight_decay"),
        (adamw, {"betas": [0.9]}, "betas"),
        (adamw, {"betas": [0.9, 1.0]}, "betas"),
        (adamw, {"epsilon": 0.0}, "epsilon"),
        (sgd, {"momentum": 1.0}, "momentum"),
        (sgd, {"momentum": 0.0, "nesterov": True}, "nesterov"),
        (sgd, {"weight_decay": -1.0}, "weight_decay"),
    ],
)
def test_values_out_of_range_are_named(make, options, key):
    with pytest.raises(ConfigError) as error:
        make([{"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.1}], **options)
    assert [problem.key for problem in error.value.problems] == [key]
    assert repr(options[key]) in str(error.value)
