"""Two steps of SAM by hand on a quadratic, around either optimizer."""

import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.optimizers.adamw import adamw
from tlresearch.optimizers.sam import sam
from tlresearch.optimizers.sgd import sgd

A = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 3.0]], dtype=torch.float64)
START = [torch.tensor([1.0, -2.0], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)]


def groups(parameters):
    return [{"params": [parameters[0]], "lr": 0.1}, {"params": [parameters[1]], "lr": 0.02}]


def quadratic(parameters):
    """L = ½ wᵀ A w over both parameters together, whose gradient is A w."""
    w = torch.cat(list(parameters))
    return 0.5 * w @ A @ w


def sam_steps(count, **options):
    parameters = [torch.nn.Parameter(p.clone()) for p in START]
    optimizer = sam(groups(parameters), **options)

    def closure():
        optimizer.zero_grad()
        loss = quadratic(parameters)
        loss.backward()
        return loss

    for _ in range(count):
        closure()
        optimizer.step(closure)
    return [p.detach() for p in parameters], optimizer


@pytest.mark.parametrize(("base", "make", "arguments"), [("sgd", sgd, {"momentum": 0.7}), ("adamw", adamw, {})])
@pytest.mark.parametrize("rho", [0.0, 0.05, 0.5])
def test_it_steps_along_the_gradient_at_the_ascended_point(base, make, arguments, rho):
    found, _ = sam_steps(3, rho=rho, base=base, base_arguments=arguments)
    expected = [torch.nn.Parameter(p.clone()) for p in START]
    plain = make(groups(expected), **arguments)
    for _ in range(3):
        w = torch.cat([p.detach() for p in expected])
        gradient = A @ w
        ascended = A @ (w + rho * gradient / gradient.norm())
        expected[0].grad, expected[1].grad = ascended[:2].clone(), ascended[2:].clone()
        plain.step()
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-10, atol=1e-12)


def test_rates_and_states_are_those_of_the_base():
    _, optimizer = sam_steps(1, base="sgd")
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.02]
    assert optimizer.param_groups is optimizer.base.param_groups
    assert {key for state in optimizer.state.values() for key in state} == {"momentum_buffer"}


def test_a_gradient_of_zero_moves_nothing_and_gives_no_nan():
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = sam([{"params": [parameter], "lr": 0.1}], base="sgd")
    parameter.grad = torch.zeros(2)
    optimizer.step(lambda: parameter.sum())
    assert torch.equal(parameter, torch.zeros(2))


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"rho": -0.1}, "rho"),
        ({"base": "sam"}, "base"),
        ({"base": "sgd", "base_arguments": {"momentum": 2.0}}, "base_arguments.momentum"),
    ],
)
def test_values_out_of_range_are_named(options, key):
    with pytest.raises(ConfigError) as error:
        sam([{"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.1}], **options)
    assert [problem.key for problem in error.value.problems] == [key]
