"""The nearest class mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tlresearch.config.errors import choose
from tlresearch.config.registry import register
from tlresearch.core.backbone import Backbone
from tlresearch.core.distributed import sum_over_ranks
from tlresearch.core.head import Head
from tlresearch.core.types import IGNORE, Features, Task
from tlresearch.nn.linear import check_growth


@register("head", "prototype")
class Prototype(Head):
    """Nearest class mean (Snell et al., 2017, arXiv:1703.05175, eq. 1 and 2): logit_c = −‖z − μ_c‖², or cos(z, μ_c).

    μ_c is the mean of the pooled features z (B, D) of all rows of class c that `fit` has ever seen: a class without
    rows in a later stage keeps its mean, one with new rows goes on averaging by count. A class never seen is never
    predicted. Deviation from the paper: the features are not trained episodically, here they are frozen.

    Args:
        metric: euclidean (squared distance) or cosine.
    """

    closed_form: ClassVar[bool] = True
    means: Tensor  # (C, D)
    counts: Tensor  # (C,)

    def __init__(self, backbone: Backbone, task: Task, *, metric: Literal["euclidean", "cosine"] = "euclidean") -> None:
        super().__init__()
        self.metric = choose("metric", metric, ("euclidean", "cosine"))
        self.labels = task.labels
        self.register_buffer("means", torch.zeros(len(task.labels), backbone.feature_dim))
        self.register_buffer("counts", torch.zeros(len(task.labels)))

    def forward(self, features: Features) -> Tensor:
        """Pooled features → nearness to every class mean (B, C); a class never seen gets the lowest value there is."""
        z = features.pooled.float()
        if self.metric == "euclidean":  # by matrix products, near means of long features would lose their last digits
            logits = -torch.cdist(z, self.means, compute_mode="donot_use_mm_for_euclid_dist").square()
        else:
            logits = F.normalize(z, dim=-1) @ F.normalize(self.means, dim=-1).T
        return logits.masked_fill(self.counts == 0, torch.finfo(logits.dtype).min)

    @torch.no_grad()
    def fit(self, pairs: Iterable[tuple[Features, Tensor]]) -> None:
        """Takes the labelled rows of all ranks into the class means."""
        sums, counts = torch.zeros_like(self.means), torch.zeros_like(self.counts)
        for features, y in pairs:
            labelled = y != IGNORE
            sums.index_add_(0, y[labelled], features.pooled[labelled].float())
            counts += torch.bincount(y[labelled], minlength=len(counts))
        sums, counts = sum_over_ranks(sums), sum_over_ranks(counts)
        total = self.counts + counts
        seen = counts > 0
        self.means[seen] += (sums - self.means * counts.unsqueeze(1))[seen] / total[seen].unsqueeze(1)
        self.counts.copy_(total)

    def grow(self, task: Task) -> None:
        """Appends the new classes, without a mean until rows of theirs are seen."""
        check_growth(self.labels, task.labels)
        more = len(task.labels) - len(self.labels)
        self.labels = task.labels
        self.means = torch.cat([self.means, self.means.new_zeros(more, self.means.shape[1])])
        self.counts = torch.cat([self.counts, self.counts.new_zeros(more)])
