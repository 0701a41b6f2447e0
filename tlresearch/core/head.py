"""The contract of a head: features → outputs of one task, with its loss or its closed form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlresearch.config.errors import choose, fail
from tlresearch.core.types import IGNORE, Features, Task

POOLINGS = ("auto", "cls", "mean", "max")


class Head(nn.Module):
    """A plugin is written as `__init__(self, backbone, task, *, its own options)` and does not keep the backbone.

    Attributes:
        kinds: the `Task.kind`s it can serve.
        learning_rate: recommended for AdamW; used where `optimizer.lr` is null.
        closed_form: it is fitted by `fit` at each stage's end, has no loss, and goes only with a frozen backbone.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"classification"})
    learning_rate: ClassVar[float] = 1e-3
    closed_form: ClassVar[bool] = False

    @staticmethod
    def common(*, pooling: str = "auto") -> dict[str, Any]:
        """Options of every head. pooling: auto (the checkpoint's own), cls, mean or max over the tokens."""
        return {"pooling": choose("pooling", pooling, POOLINGS)}

    def forward(self, features: Features) -> Tensor:
        """Features → logits (B, C)."""
        raise NotImplementedError

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Per row the sum of its labelled items' losses (B,), 0 where it has none; the Trainer weighs and divides.

        Here: cross entropy of logits (B, C) against ids (B,) or soft labels (B, C); a soft row of zeros is unlabelled.
        """
        if y.is_floating_point():
            return F.cross_entropy(logits, y, reduction="none")
        return F.cross_entropy(logits, y, reduction="none", ignore_index=IGNORE)

    def count(self, y: Tensor) -> Tensor:
        """Per row the number of labelled items (B,) that `loss` sums over; known before the forward pass."""
        return (y.sum(1) > 0).to(torch.float32) if y.is_floating_point() else (y != IGNORE).to(torch.float32)

    def predict(self, logits: Tensor, mask: Tensor | None) -> Tensor:
        """Decoding: logits (B, C) → ids (B,)."""
        return logits.argmax(-1)

    def fit(self, pairs: Iterable[tuple[Features, Tensor]]) -> None:
        """Closed form (where `closed_form`): fitted on (features, y) of a stage; classes of earlier stages are kept."""
        raise NotImplementedError

    def grow(self, task: Task) -> None:
        """More classes (where the head can): outputs are appended, those of old classes keep their rows bit by bit."""
        raise NotImplementedError

    def __call__(self, features: Features) -> Tensor:  # nn.Module's own returns Any
        logits: Tensor = super().__call__(features)
        return logits


def pool(features: Features, pooling: str) -> Features:
    """Features whose `pooled` is taken anew: the first token, or the mean or maximum over the tokens the mask keeps."""
    if pooling == "auto":
        return features
    if features.tokens is None:
        fail("head.pooling", pooling, "needs tokens and this backbone gives none; use auto")
    tokens, mask = features.tokens, features.mask
    if pooling == "cls":
        return features._replace(pooled=tokens[:, 0])
    keep = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if mask is None else mask.bool()
    if pooling == "mean":
        weights = keep.unsqueeze(-1).to(tokens.dtype)
        return features._replace(pooled=(tokens * weights).sum(1) / weights.sum(1).clamp(min=1))
    return features._replace(pooled=tokens.masked_fill(~keep.unsqueeze(-1), -torch.inf).amax(1))
