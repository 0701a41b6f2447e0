"""Closed forms at chosen steps, and torch's and transformers' own schedules along a whole stage."""

import math
from itertools import pairwise

import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.core.types import Clock
from tlresearch.schedules.constant import constant
from tlresearch.schedules.cosine import cosine
from tlresearch.schedules.inverse_decay import inverse_decay
from tlresearch.schedules.linear import linear
from tlresearch.schedules.one_cycle import one_cycle
from tlresearch.schedules.slanted_triangular import slanted_triangular

TOTAL = 20


def factors(schedule, **options):
    return [schedule(Clock(0, 0, step, TOTAL, {}), **options) for step in range(TOTAL)]


def peer(make):
    """The factors of a torch scheduler over the same steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler, values = make(optimizer), []
    for _ in range(TOTAL):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def test_without_warm_up_they_are_torchs():
    rates = torch.optim.lr_scheduler
    for final in (0.0, 0.2):
        cosines = peer(lambda o, end=final: rates.CosineAnnealingLR(o, TOTAL, end))
        line = peer(lambda o, end=final: rates.LinearLR(o, 1.0, end, TOTAL))
        assert factors(cosine, final=final) == pytest.approx(cosines, abs=1e-12)
        assert factors(linear, final=final) == pytest.approx(line, abs=1e-12)
    assert factors(constant) == [1.0] * TOTAL


def test_with_warm_up_they_are_those_of_transformers():
    from transformers import optimization as hf

    assert factors(cosine, warmup=0.25) == pytest.approx(
        peer(lambda o: hf.get_cosine_schedule_with_warmup(o, 5, TOTAL)), abs=1e-12
    )
    assert factors(linear, warmup=0.25) == pytest.approx(
        peer(lambda o: hf.get_linear_schedule_with_warmup(o, 5, TOTAL)), abs=1e-12
    )
    assert factors(constant, warmup=0.25) == pytest.approx(
        peer(lambda o: hf.get_constant_schedule_with_warmup(o, 5)), abs=1e-12
    )


def test_closed_forms():
    assert factors(cosine, final=0.2)[10] == pytest.approx(0.6)
    assert factors(cosine)[5] == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert factors(cosine, warmup=0.5)[:11:5] == pytest.approx([0.0, 0.5, 1.0])
    assert factors(linear, warmup=0.5, final=0.5)[15] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("schedule", "key", "value"),
    [(s, "warmup", v) for s in (constant, cosine, linear) for v in (-0.1, 1.0)]
    + [(s, "final", v) for s in (cosine, linear) for v in (-0.1, 1.1)],
)
def test_values_out_of_range_are_named(schedule, key, value):
    with pytest.raises(ConfigError, match=rf"{key}: {value}: must be"):
        schedule(Clock(0, 0, 0, 1, {}), **{key: value})


def test_inverse_decay_at_chosen_steps():
    found = factors(inverse_decay)
    assert found[0] == 1.0 and found[2] == pytest.approx(2**-0.75) and found[10] == pytest.approx(6**-0.75)
    assert factors(inverse_decay, alpha=20.0, beta=1.0)[5] == pytest.approx(1 / 6)
    assert factors(inverse_decay, alpha=0.0) == [1.0] * TOTAL
    for key in ("alpha", "beta"):
        with pytest.raises(ConfigError, match=rf"{key}: -1: must be"):
            inverse_decay(Clock(0, 0, 0, 1, {}), **{key: -1})


@pytest.mark.parametrize("warmup", [0.1, 0.25])
def test_slanted_triangular_is_equation_3(warmup):
    """Where T · cut_frac is whole, as the paper assumes."""
    total, ratio, expected = 20, 32, []
    cut = math.floor(total * warmup)
    for t in range(total):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / warmup - 1))
        expected.append((1 + p * (ratio - 1)) / ratio)
    assert factors(slanted_triangular, warmup=warmup) == pytest.approx(expected, abs=1e-12)


def test_slanted_triangular_with_a_cut_between_two_steps_stays_a_triangle():
    found = factors(slanted_triangular, warmup=0.19)  # 3.8 steps
    assert max(found) == found[3] == 1.0 and found[0] == 1 / 32
    assert all(a < b for a, b in pairwise(found[:4]))
    assert all(a > b for a, b in pairwise(found[3:])) and found[-1] > 1 / 32
    assert factors(slanted_triangular, warmup=0.0)[0] == 1.0


@pytest.mark.parametrize("shape", ["cosine", "linear"])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("warmup", [0.3, 0.23])
def test_one_cycle_is_torchs(shape, symmetric, warmup):
    def make(optimizer):
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=1.0,
            total_steps=TOTAL,
            pct_start=warmup,
            anneal_strategy=shape.removesuffix("ine"),
            cycle_momentum=False,
            div_factor=10.0,
            final_div_factor=50.0,
            three_phase=symmetric,
        )

    found = factors(one_cycle, warmup=warmup, initial=0.1, final=0.002, shape=shape, symmetric=symmetric)
    assert found == pytest.approx(peer(make), abs=1e-12)


def test_one_cycles_defaults_are_torchs():
    make = torch.optim.lr_scheduler.OneCycleLR
    assert factors(one_cycle) == pytest.approx(peer(lambda o: make(o, 1.0, TOTAL, cycle_momentum=False)), abs=1e-12)


@pytest.mark.parametrize(
    ("schedule", "options", "key"),
    [
        (slanted_triangular, {"warmup": 1.0}, "warmup"),
        (slanted_triangular, {"ratio": 0.5}, "ratio"),
        (one_cycle, {"warmup": 0.0}, "warmup"),
        (one_cycle, {"warmup": 0.5, "symmetric": True}, "warmup"),
        (one_cycle, {"initial": 1.5}, "initial"),
        (one_cycle, {"final": -0.1}, "final"),
        (one_cycle, {"shape": "step"}, "shape"),
    ],
)
def test_values_out_of_range_of_triangle_and_cycle(schedule, options, key):
    with pytest.raises(ConfigError) as error:
        schedule(Clock(0, 0, 0, 1, ()), **options)
    assert [problem.key for problem in error.value.problems] == [key]
