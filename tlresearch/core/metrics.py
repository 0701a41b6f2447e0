"""Which way a metric is better. Imports no torch: reports ask too."""

from __future__ import annotations

FALLING = frozenset({"loss", "rmse", "mae", "calibration_error", "forgetting"})
"""Metrics that are better when they are lower; of all others the highest is best."""


def falls(metric: str) -> bool:
    """Whether lower is better; the metric's name may be a dotted one ("test.rmse")."""
    return metric.rpartition(".")[2] in FALLING
