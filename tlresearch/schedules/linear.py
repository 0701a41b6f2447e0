"""A straight line down, after an optional warm-up."""

from __future__ import annotations

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.types import Clock


@register("schedule", "linear")
def linear(clock: Clock, *, warmup: float = 0.0, final: float = 0.0) -> float:
    """Linear decay (as in the fine-tuning of BERT: Devlin et al., 2019, arXiv:1810.04805, appendix A.2).

    1 − (1 − final) · p, where p in [0, 1) is the share of the steps after the warm-up that lies behind; during it
    progress / warmup, from 0 at the first step (as transformers' schedules).

    Args:
        clock: where the stage stands.
        warmup: share of the stage's steps, in [0, 1).
        final: the factor that the last step comes close to, in [0, 1].
    """
    require(0 <= warmup < 1, "warmup", warmup, "a share of the steps in [0, 1)")
    require(0 <= final <= 1, "final", final, "a factor in [0, 1]")
    if clock.progress < warmup:
        return clock.progress / warmup
    return 1 - (1 - final) * (clock.progress - warmup) / (1 - warmup)
