"""Linear discriminant analysis."""

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


@register("head", "lda")
class LDA(Head):
    """Classes as Gaussians with one covariance (Fisher, 1936; Rao, 1948): log p(c | z) up to a constant,

    logit_c = μ_cᵀ Σ⁻¹ z − ½ μ_cᵀ Σ⁻¹ μ_c + log π_c with class means μ_c, shares π_c, and the covariance within classes
    shrunk towards its mean variance, Σ = (1 − s) S + s (tr S / D) I; solved in float64. Only sums are kept, so that
    memory does not grow with the rows and fitting stage by stage is fitting at once. A class never seen is never
    predicted.

    Args:
        shrinkage: s in (0, 1]; needed, since S has no inverse where there are fewer rows than features.
    """

    closed_form: ClassVar[bool] = True

    def __init__(self, backbone: Backbone, task: Task, *, shrinkage: float = 0.1) -> None:
        super().__init__(task)
        require(0 < shrinkage <= 1, "shrinkage", shrinkage, "a number in (0, 1]")
        self.shrinkage, self.labels = shrinkage, task.labels
        self.moments = Moments(backbone.feature_dim, len(task.labels))
        self.output = Solved(backbone.feature_dim, len(task.labels))

    def forward(self, features: Features) -> Tensor:
        """Pooled features → logits (B, C)."""
        return self.kind(self.output(features.pooled))

    @torch.no_grad()
    def fit(self, pairs: Iterable[tuple[Features, Tensor]]) -> None:
        """Takes the labelled rows into the sums and solves for all rows ever seen."""
        sums = self.moments
        for features, y in pairs:
            known = labelled(y)
            sums.add(features.pooled[known], F.one_hot(y[known], len(self.labels)))
        rows, counts = sums.rows.clamp(min=1), sums.sums.clamp(min=1).unsqueeze(1)
        means = sums.cross / counts
        within = (sums.gram - means.T @ sums.cross) / rows
        spread = within.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)  # rows that are all alike
        shrunk = (1 - self.shrinkage) * within
        shrunk.diagonal().add_(self.shrinkage * spread)
        weight = torch.linalg.solve(shrunk, means.T).T
        bias = (sums.sums.clamp(min=1) / rows).log() - (weight * means).sum(1) / 2
        self.output.set(weight, bias, sums.sums > 0)

    def grow(self, task: Task) -> None:
        """Appends the new classes, without a row so far."""
        check_growth(self.labels, task.labels)
        self.labels = task.labels
        self.moments.grow(len(task.labels))
        self.output.grow(len(task.labels))
