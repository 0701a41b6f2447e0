"""Closed forms at chosen steps, and torch's and transformers' own schedules along a whole stage."""

import math

import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.core.types import Clock
from tlresearch.schedules.constant import constant
from tlresearch.schedules.cosine import cosine
from tlresearch.schedules.inverse_decay import inverse_decay
from tlresearch.schedules.linear import linear

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
