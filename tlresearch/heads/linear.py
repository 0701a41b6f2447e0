"""One linear layer."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.backbone import Backbone
from tlresearch.core.head import Head
from tlresearch.core.types import Features, Task
from tlresearch.nn.linear import check_growth, grown


@register("head", "linear")
class Linear(Head):
    """Logits = W z + b on the pooled features z (B, D) → (B, C), of a regression the standardised target (B, 1).

    Args:
        dropout: probability that a feature is dropped in training, in [0, 1).
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"classification", "regression"})

    def __init__(self, backbone: Backbone, task: Task, *, dropout: float = 0.0) -> None:
        super().__init__(task)
        require(0 <= dropout < 1, "dropout", dropout, "a number in [0, 1)")
        self.labels = task.labels
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(backbone.feature_dim, self.kind.outputs(task))

    def forward(self, features: Features) -> Tensor:
        """Pooled features → logits (B, C), or numbers (B, 1)."""
        return self.kind(self.output(self.dropout(features.pooled)))

    def grow(self, task: Task) -> None:
        """Appends outputs for the new classes."""
        check_growth(self.labels, task.labels)
        self.labels = task.labels
        self.output = grown(self.output, len(task.labels))
