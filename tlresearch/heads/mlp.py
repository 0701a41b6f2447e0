"""Hidden layers, one unless told otherwise."""

from __future__ import annotations

from itertools import chain, pairwise
from typing import ClassVar

from torch import Tensor, nn

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.backbone import Backbone
from tlresearch.core.head import Head
from tlresearch.core.types import Features, Task
from tlresearch.nn.linear import check_growth, grown


@register("head", "mlp")
class MLP(Head):
    """Logits = W₂ max(0, W₁ z + b₁) + b₂ on the pooled features z (B, D) → (B, C); with more layers, more of the inner.

    Of a regression it is the standardised target (B, 1).

    Args:
        width: units of each hidden layer, at least 1.
        layers: hidden layers, at least 1.
        dropout: probability that a hidden unit is dropped in training, in [0, 1).
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"classification", "regression"})

    def __init__(
        self, backbone: Backbone, task: Task, *, width: int = 256, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__(task)
        require(width >= 1, "width", width, "an integer of at least 1")
        require(layers >= 1, "layers", layers, "an integer of at least 1")
        require(0 <= dropout < 1, "dropout", dropout, "a number in [0, 1)")
        self.labels = task.labels
        sizes = [backbone.feature_dim] + [width] * layers
        parts = ((nn.Linear(i, o), nn.ReLU(), nn.Dropout(dropout)) for i, o in pairwise(sizes))
        self.hidden = nn.Sequential(*chain.from_iterable(parts))
        self.output = nn.Linear(width, self.kind.outputs(task))

    def forward(self, features: Features) -> Tensor:
        """Pooled features → logits (B, C), or numbers (B, 1)."""
        return self.kind(self.output(self.hidden(features.pooled)))

    def grow(self, task: Task) -> None:
        """Appends outputs for the new classes."""
        check_growth(self.labels, task.labels)
        self.labels = task.labels
        self.output = grown(self.output, len(task.labels))
