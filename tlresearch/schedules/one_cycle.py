"""One rise to a large rate, and a fall far below where it began."""

from __future__ import annotations

import math
from typing import Literal

from tlresearch.config.errors import choose, require
from tlresearch.config.registry import register
from tlresearch.core.types import Clock


@register("schedule", "one_cycle")
def one_cycle(
    clock: Clock,
    *,
    warmup: float = 0.3,
    initial: float = 0.04,
    final: float = 4e-6,
    shape: Literal["cosine", "linear"] = "cosine",
    symmetric: bool = False,
) -> float:
    """The 1cycle policy (Smith, 2018, arXiv:1803.09820, section 4.2; Smith and Topin, 2017, arXiv:1708.07120).

    From `initial` up to 1 at step warmup · T − 1 of T, and down to `final` at the last one; with `symmetric`, as in the
    paper, first down to `initial` in as many steps as up. Steps and shapes are those of torch's OneCycleLR, whose
    `initial` is 1 / div_factor and whose `final` is initial / final_div_factor. Deviation: the paper lets the momentum
    fall as the rate rises, here it stays where the optimizer has it.

    Args:
        clock: where the stage stands.
        warmup: share of the stage's steps on which the rate rises, in (0, 1), with `symmetric` below 0.5.
        initial: factor at the first step, in [0, 1].
        final: factor at the last step, in [0, 1].
        shape: cosine or linear, of each way.
        symmetric: three ways (up, down, and on to `final`) instead of two.
    """
    highest = 0.5 if symmetric else 1
    require(0 < warmup < highest, "warmup", warmup, f"a share of the steps in (0, {highest:g})")
    require(0 <= initial <= 1, "initial", initial, "a factor in [0, 1]")
    require(0 <= final <= 1, "final", final, "a factor in [0, 1]")
    choose("shape", shape, ("cosine", "linear"))
    top, last = warmup * clock.total - 1, clock.total - 1
    corners = [(0.0, initial), (top, 1.0), *([(2 * top, initial)] if symmetric else []), (last, final)]
    end = next((i for i in range(1, len(corners) - 1) if clock.step <= corners[i][0]), len(corners) - 1)
    (since, low), (until, high) = corners[end - 1], corners[end]
    share = (clock.step - since) / (until - since) if until > since else 1.0
    if shape == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    return low + (high - low) * share
