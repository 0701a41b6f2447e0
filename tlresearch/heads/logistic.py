"""Logistic regression, solved to its optimum."""

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
from tlresearch.nn.row_bank import RowBank
from tlresearch.nn.solved import Solved


@register("head", "logistic")
class Logistic(Head):
    """Multinomial logistic regression on the pooled features z (B, D):

    W, b = argmin Σᵢ −log softmax(W zᵢ + b)_{yᵢ} + λ/2 ‖W‖², by L-BFGS in float64, all rows at once. The minimum is one
    (b up to a constant), so that no seed, rate or schedule counts. It has no formula, hence the rows of all stages are
    kept and it is solved anew with each. A class never seen is never predicted.

    Args:
        penalty: λ above 0, on the scale of a sum over rows: 1 / C of scikit-learn.
        most_rows: rows that may be kept, 4 D bytes each; more are refused.
    """

    closed_form: ClassVar[bool] = True

    def __init__(self, backbone: Backbone, task: Task, *, penalty: float = 1.0, most_rows: int = 100_000) -> None:
        super().__init__(task)
        require(penalty > 0, "penalty", penalty, "a number above 0")
        self.penalty, self.labels = penalty, task.labels
        self.bank = RowBank(backbone.feature_dim, torch.int64, most_rows)
        self.output = Solved(backbone.feature_dim, len(task.labels))

    def prepare(self, y: Tensor) -> None:
        """Refuses, before anything is computed, more rows than may be kept."""
        super().prepare(y)
        self.bank.check(int(labelled(y).sum()))

    def forward(self, features: Features) -> Tensor:
        """Pooled features → logits (B, C)."""
        return self.kind(self.output(features.pooled))

    def fit(self, pairs: Iterable[tuple[Features, Tensor]]) -> None:
        """Takes the labelled rows along and solves for all rows ever seen."""
        for features, y in pairs:
            known = labelled(y)
            self.bank.add(features.pooled[known], y[known])
        if not len(self.bank):
            return
        seen = torch.bincount(self.bank.labels, minlength=len(self.labels)) > 0
        weight, bias = _solve(self.bank.features.double(), self.bank.labels, seen, self.penalty)
        self.output.set(weight, bias, seen)

    def grow(self, task: Task) -> None:
        """Appends the new classes, without a row so far."""
        check_growth(self.labels, task.labels)
        self.labels = task.labels
        self.output.grow(len(task.labels))


@torch.enable_grad()
def _solve(z: Tensor, y: Tensor, seen: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """(C, D) and (C,). Centred, which moves b alone: nearer to the minimum from the start."""
    middle = z.mean(0)
    z = z - middle
    weight = torch.zeros(len(seen), z.shape[1], dtype=z.dtype, device=z.device, requires_grad=True)
    bias = torch.zeros(len(seen), dtype=z.dtype, device=z.device, requires_grad=True)
    unseen = torch.where(seen, 0.0, -torch.inf).to(z)
    solver = torch.optim.LBFGS(
        [weight, bias],
        max_iter=1000,
        tolerance_grad=1e-6,
        tolerance_change=1e-12,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        solver.zero_grad()
        value = F.cross_entropy(F.linear(z, weight, bias) + unseen, y, reduction="sum")
        value = value + penalty / 2 * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    solved = weight.detach()
    return solved, bias.detach() - solved @ middle
