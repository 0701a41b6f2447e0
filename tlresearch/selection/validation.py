"""The checkpoint that is best on the validation set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from tlresearch.config.errors import choose, require
from tlresearch.config.registry import register
from tlresearch.core.tracker import Selection


@register("selection", "validation")
class Validation(Selection):
    """Reports the checkpoint with the best validation metric; among equals the lowest loss, then the earliest.

    NaN counts as worst. (Accuracy on few rows takes few values, and the earliest of many equals is the least trained.)

    The rule that a benchmark may use where the test set stays closed ("training-domain validation" of Gulrajani and
    Lopez-Paz, 2021, arXiv:2007.01434, section 3, where validation rows come from the training domains).

    Args:
        metric: a validation metric: accuracy, macro_f1, loss …
        mode: max or min.
    """

    def __init__(self, *, metric: str = "accuracy", mode: Literal["max", "min"] = "max") -> None:
        choose("mode", mode, ("max", "min"))
        require(metric != "loss" or mode == "min", "mode", mode, "min where metric is loss, else the worst is picked")
        self.metric, self.mode = metric, mode

    def best(self, history: Sequence[Mapping[str, float]]) -> int:
        """Raises ConfigError for a metric that the history lacks."""
        for metrics in history:
            choose("metric", self.metric, metrics)
        sign = 1 if self.mode == "max" else -1
        scores = [sign * metrics[self.metric] for metrics in history]
        losses = [metrics.get("loss", 0.0) for metrics in history]
        return max(range(len(scores)), key=lambda i: (_rank(scores[i]), _rank(-losses[i])))


def _rank(value: float) -> float:
    return -math.inf if math.isnan(value) else value
