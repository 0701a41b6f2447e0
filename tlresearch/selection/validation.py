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
    """Reports the checkpoint with the best validation metric, the earliest among equals; NaN counts as worst.

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
        return max(range(len(scores)), key=lambda i: -math.inf if math.isnan(scores[i]) else scores[i])
