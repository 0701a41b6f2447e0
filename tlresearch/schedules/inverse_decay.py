"""A power of the inverse of the progress."""

from __future__ import annotations

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.types import Clock


@register("schedule", "inverse_decay")
def inverse_decay(clock: Clock, *, alpha: float = 10.0, beta: float = 0.75) -> float:
    """Annealing of domain-adversarial training (Ganin et al., 2016, arXiv:1505.07818, sec. 5.2.2).

    (1 + α p)^−β, with p the progress in [0, 1): the paper's μ_p = μ₀ / (1 + α p)^β, where μ₀ is `optimizer.lr`.

    Args:
        clock: where the stage stands.
        alpha: α ≥ 0, how fast it falls; 0 is constant.
        beta: β ≥ 0, the power.
    """
    require(alpha >= 0, "alpha", alpha, "a number of at least 0")
    require(beta >= 0, "beta", beta, "a number of at least 0")
    return float((1 + alpha * clock.progress) ** -beta)
