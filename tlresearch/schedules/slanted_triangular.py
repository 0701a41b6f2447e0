"""A short way up, a long way down."""

from __future__ import annotations

import math

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.types import Clock


@register("schedule", "slanted_triangular")
def slanted_triangular(clock: Clock, *, warmup: float = 0.1, ratio: float = 32.0) -> float:
    """Slanted triangular rates (Howard and Ruder, 2018, arXiv:1801.06146, equation 3).

    cut = ⌊T · warmup⌋;  p = t / cut for t < cut, 1 − (t − cut) / (T − cut) after it;  (1 + p · (ratio − 1)) / ratio,
    with t of T steps taken. The paper has cut · (1 / warmup − 1) in place of T − cut, which is the same where
    T · warmup is whole; elsewhere it would end below zero.

    Args:
        clock: where the stage stands.
        warmup: the paper's cut_frac, the share of the stage's steps on which the rate rises, in [0, 1).
        ratio: how much smaller than the largest rate the smallest one is, at least 1.
    """
    require(0 <= warmup < 1, "warmup", warmup, "a share of the steps in [0, 1)")
    require(ratio >= 1, "ratio", ratio, "a number of at least 1")
    cut = math.floor(clock.total * warmup)
    p = clock.step / cut if clock.step < cut else 1 - (clock.step - cut) / (clock.total - cut)
    return (1 + p * (ratio - 1)) / ratio
