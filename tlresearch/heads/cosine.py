"""A linear layer of directions alone."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.backbone import Backbone
from tlresearch.core.head import Head
from tlresearch.core.types import Features, Task
from tlresearch.nn.linear import check_growth, grown


@register("head", "cosine")
class Cosine(Head):
    """logit_c = s · cos(z, w_c) with a learnt scale s (Gidaris & Komodakis, 2018, arXiv:1804.09458, eq. 3 and 4).

    The paper's τ is s here. Lengths of features and weights, and so how often a class was seen, do not count.

    Args:
        scale: s at the start, above 0; learnt as its logarithm, so that it stays above 0 (a deviation from the paper).
    """

    def __init__(self, backbone: Backbone, task: Task, *, scale: float = 10.0) -> None:
        super().__init__(task)
        require(scale > 0, "scale", scale, "a number above 0")
        self.labels = task.labels
        self.output = nn.Linear(backbone.feature_dim, self.kind.outputs(task), bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, features: Features) -> Tensor:
        """Pooled features (B, D) → logits (B, C)."""
        cosines = F.linear(F.normalize(features.pooled, dim=-1), F.normalize(self.output.weight, dim=-1))
        return self.kind(self.log_scale.exp() * cosines)

    def grow(self, task: Task) -> None:
        """Appends directions for the new classes."""
        check_growth(self.labels, task.labels)
        self.labels = task.labels
        self.output = grown(self.output, len(task.labels))
