"""The nearest rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tlresearch.config.errors import choose, fail, require
from tlresearch.config.registry import register
from tlresearch.core.backbone import Backbone
from tlresearch.core.head import Head
from tlresearch.core.labels import labelled
from tlresearch.core.types import Features, Task
from tlresearch.nn.linear import check_growth
from tlresearch.nn.row_bank import RowBank


@register("head", "knn")
class KNN(Head):
    """The k nearest training rows vote (Cover & Hart, 1967); those of a regression are averaged.

    logit_c = log of class c's share of the votes, at least −20. Each has one vote, or with a temperature τ the weight
    exp(cos(z, zᵢ) / τ) (Wu et al., 2018, arXiv:1805.01978, section 3.4, with τ = 0.07 and k = 200). A class never seen
    is never predicted.

    Args:
        neighbours: k, at least 1; where fewer rows are known, all of them.
        metric: euclidean or cosine.
        temperature: τ above 0, for the cosine only; null = one vote each.
        most_rows: rows that may be kept, 4 D bytes each; more are refused.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"classification", "regression"})
    closed_form: ClassVar[bool] = True

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        *,
        neighbours: int = 5,
        metric: Literal["euclidean", "cosine"] = "euclidean",
        temperature: float | None = None,
        most_rows: int = 100_000,
    ) -> None:
        super().__init__(task)
        require(neighbours >= 1, "neighbours", neighbours, "an integer of at least 1")
        self.metric = choose("metric", metric, ("euclidean", "cosine"))
        require(temperature is None or temperature > 0, "temperature", temperature, "a number above 0, or null")
        if temperature is not None and metric != "cosine":
            fail(
                "temperature", temperature, f"it weighs cosines and metric={metric}; add metric=cosine, or leave it out"
            )
        self.neighbours, self.temperature, self.labels = neighbours, temperature, task.labels
        self.outputs = self.kind.outputs(task)
        dtype = torch.int64 if self.kind.classes else torch.float32
        self.bank = RowBank(backbone.feature_dim, dtype, most_rows)

    def prepare(self, y: Tensor) -> None:
        """Refuses, before anything is computed, more rows than may be kept."""
        super().prepare(y)
        self.bank.check(int(labelled(y).sum()))

    def forward(self, features: Features) -> Tensor:
        """Pooled features → log shares (B, C), or numbers (B, 1)."""
        z = features.pooled.float()
        if not len(self.bank):
            return self.kind(z.new_zeros(len(z), self.outputs))
        if self.metric == "cosine":
            near = F.normalize(z, dim=-1) @ F.normalize(self.bank.features, dim=-1).T
        else:  # by matrix products, near rows of long features would lose their last digits
            near = -torch.cdist(z, self.bank.features, compute_mode="donot_use_mm_for_euclid_dist")
        nearness, rows = near.topk(min(self.neighbours, len(self.bank)), dim=1)
        votes = torch.ones_like(nearness) if self.temperature is None else (nearness / self.temperature).softmax(1)
        votes = votes / votes.sum(1, keepdim=True)
        if not self.kind.classes:
            return self.kind((votes * self.kind.standardised(self.bank.labels)[rows]).sum(1, keepdim=True))
        shares = votes.new_zeros(len(z), self.outputs).scatter_add(1, self.bank.labels[rows], votes)
        return self.kind(shares.log().clamp(min=-20))

    @torch.no_grad()
    def fit(self, pairs: Iterable[tuple[Features, Tensor]]) -> None:
        """Takes the labelled rows along."""
        for features, y in pairs:
            known = labelled(y)
            self.bank.add(features.pooled[known], y[known])

    def grow(self, task: Task) -> None:
        """More classes may vote."""
        check_growth(self.labels, task.labels)
        self.labels = task.labels
        self.outputs = self.kind.outputs(task)
