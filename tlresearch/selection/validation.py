"""The checkpoint that is best on the validation set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from tlresearch.config.errors import choose, require
from tlresearch.config.registry import register
from tlresearch.core.metrics import falls
from tlresearch.core.tracker import Selection


@register("selection", "validation")
class Validation(Selection):
    """Reports the checkpoint with the best validation metric; among equals the lowest loss, then the earliest.

    NaN counts as worst. (Accuracy on few rows takes few values, and the earliest of many equals is the least trained.)

    The rule that a benchmark may use where the test set stays closed ("training-domain validation" of Gulrajani and
    Lopez-Paz, 2021, arXiv:2007.01434, section 3, where validation rows come from the training domains).

    Args:
        metric: a validation metric: accuracy, macro_f1, rmse, loss …; null = the headline metric of the first task.
        mode: max or min; null = whatever is better of the metric, min of loss, rmse and mae.
    """

    def __init__(self, *, metric: str | None = None, mode: Literal["max", "min"] | None = None) -> None:
        if mode is not None:
            choose("mode", mode, ("max", "min"))
        lowest = metric is not None and falls(metric)
        require(mode != "max" or not lowest, "mode", mode, f"min where metric is {metric}, else the worst is picked")
        self.metric, self.mode = metric, mode

    def best(self, history: Sequence[Mapping[str, float]]) -> int:
        """Raises ConfigError for a metric that the history lacks."""
        name = self.metric or next(iter(history[0]))
        for metrics in history:
            choose("metric", name, metrics)
        mode = self.mode or ("min" if falls(name) else "max")
        scores = [metrics[name] if mode == "max" else -metrics[name] for metrics in history]
        losses = [metrics.get("loss", 0.0) for metrics in history]
        return max(range(len(scores)), key=lambda i: (_rank(scores[i]), _rank(-losses[i])))


def _rank(value: float) -> float:
    return -math.inf if math.isnan(value) else value
