"""Least squares with a penalty."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.backbone import Backbone
from tlresearch.core.head import Head
from tlresearch.core.labels import labelled
from tlresearch.core.types import Features, Task
from tlresearch.nn.linear import check_growth
from tlresearch.nn.moments import Moments
from tlresearch.nn.solved import Solved


@register("head", "ridge")
class Ridge(Head):
    """Ridge regression (Hoerl & Kennard, 1970) of the pooled features z (B, D), solved in float64:

    W = argmin Σᵢ ‖W (zᵢ − z̄) − (yᵢ − ȳ)‖² + λ ‖W‖², b = ȳ − W z̄, on one-hot classes (the largest output answers)
    or on the standardised target of a regression. Only sums are kept (`Moments`): memory does not grow with the rows,
    and fitting stage by stage is fitting at once. A class never seen is never predicted.

    Args:
        penalty: λ above 0, on the scale of a sum over rows, as scikit-learn's alpha.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"classification", "regression"})
    closed_form: ClassVar[bool] = True

    def __init__(self, backbone: Backbone, task: Task, *, penalty: float = 1.0) -> None:
        super().__init__(task)
        require(penalty > 0, "penalty", penalty, "a number above 0")
        self.penalty, self.labels = penalty, task.labels
        self.moments = Moments(backbone.feature_dim, self.kind.outputs(task))
        self.output = Solved(backbone.feature_dim, self.kind.outputs(task), classes=self.kind.classes)

    def forward(self, features: Features) -> Tensor:
        """Pooled features → outputs (B, C), or numbers (B, 1)."""
        return self.kind(self.output(features.pooled))

    @torch.no_grad()
    def fit(self, pairs: Iterable[tuple[Features, Tensor]]) -> None:
        """Takes the labelled rows into the sums and solves for all rows ever seen."""
        sums = self.moments
        for features, y in pairs:
            known = labelled(y)
            sums.add(features.pooled[known], self._targets(y[known]))
        rows = sums.rows.clamp(min=1)
        mean, middle = sums.total / rows, sums.sums / rows
        gram = sums.gram - rows * torch.outer(mean, mean)
        gram.diagonal().add_(self.penalty)
        weight = torch.linalg.solve(gram, (sums.cross - rows * torch.outer(middle, mean)).T).T
        self.output.set(weight, middle - weight @ mean, sums.sums > 0)

    def _targets(self, y: Tensor) -> Tensor:
        if self.kind.classes:
            return F.one_hot(y, len(self.labels))
        return self.kind.standardised(y).unsqueeze(1)

    def grow(self, task: Task) -> None:
        """Appends the new classes, without a row so far."""
        check_growth(self.labels, task.labels)
        self.labels = task.labels
        self.moments.grow(len(task.labels))
        self.output.grow(len(task.labels))
