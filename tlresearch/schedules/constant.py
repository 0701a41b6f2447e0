"""A constant rate, after an optional warm-up."""

from __future__ import annotations

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.types import Clock


@register("schedule", "constant")
def constant(clock: Clock, *, warmup: float = 0.0) -> float:
    """The factor 1; before that progress / warmup, from 0 at the first step (as transformers' schedules).

    Args:
        clock: where the stage stands.
        warmup: share of the stage's steps, in [0, 1).
    """
    require(0 <= warmup < 1, "warmup", warmup, "a share of the steps in [0, 1)")
    return clock.progress / warmup if clock.progress < warmup else 1.0
