"""The contract of a head: features → outputs of one task, with its loss or its closed form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tlresearch.config.errors import choose, fail, require
from tlresearch.core.kinds import Classification, Kind, kind_of
from tlresearch.core.labels import labelled, smoothed
from tlresearch.core.types import Features, Task
from tlresearch.nn.pooling import LEARNT

FIXED_POOLINGS = ("auto", "cls", "mean", "max")
POOLINGS = (*FIXED_POOLINGS, *sorted(LEARNT))


class Head(nn.Module):
    """A plugin is written as `__init__(self, backbone, task, *, its own options)` and does not keep the backbone.

    One that serves several kinds of tasks begins with `super().__init__(task)`, has `self.kind.outputs(task)` outputs
    and ends with `self.kind(outputs)`.

    Attributes:
        kinds: the `Task.kind`s it can serve.
        kind: its last part, which knows the task's kind: what outputs mean, loss and decoding.
        learning_rate: recommended for AdamW; used where `optimizer.lr` is null.
        pooling: of `head.pooling=attention` or gem, which learn; `Model.add_head` puts it here. None for the others.
        label_smoothing: of `training_loss`; set from the option of that name.
        closed_form: it is fitted by `fit` at each stage's end, has no loss, and goes only with a frozen backbone.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"classification"})
    learning_rate: ClassVar[float] = 1e-3
    label_smoothing: float = 0.0
    closed_form: ClassVar[bool] = False

    def __init__(self, task: Task | None = None) -> None:
        super().__init__()
        self.pooling: nn.Module | None = None
        self.kind: Kind = Classification() if task is None else kind_of(task)()

    @staticmethod
    def common(*, pooling: str = "auto", label_smoothing: float = 0.0) -> dict[str, Any]:
        """Options of every head. pooling: auto (the checkpoint's own), cls, mean, max, attention or gem over tokens.

        attention (softmax weights of a learnt query) and gem (generalised mean with a learnt power) are trained with
        the head; of a frozen backbone the tokens are then cached, not the pooled features.

        label_smoothing: in training a class counts 1 − ε and all alike share ε, in [0, 1); losses of evaluations and
            methods are those of the labels themselves (Szegedy et al., 2016, arXiv:1512.00567, section 7).
        """
        require(0 <= label_smoothing < 1, "label_smoothing", label_smoothing, "a number in [0, 1)")
        return {"pooling": choose("pooling", pooling, POOLINGS), "label_smoothing": label_smoothing}

    def forward(self, features: Features) -> Tensor:
        """Features → logits (B, C), or numbers (B, 1) of a regression."""
        raise NotImplementedError

    def prepare(self, y: Tensor) -> None:
        """Sees the training labels (N,) of its first stage, before the first step; ranks see the same."""
        self.kind.prepare(y)

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Per row the sum of its labelled items' losses (B,), 0 where it has none; the Trainer weighs and divides.

        Here: that of the kind, such as cross entropy against ids (B,) or soft labels (B, C).
        """
        return self.kind.loss(logits, y)

    def training_loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """What training minimises (B,): `loss`, the labels smoothed."""
        if not self.label_smoothing:
            return self.loss(logits, y)
        return self.loss(logits, smoothed(y, logits.shape[1], self.label_smoothing))

    def count(self, y: Tensor) -> Tensor:
        """Per row the number of labelled items (B,) that `loss` sums over; known before the forward pass."""
        return labelled(y).to(torch.float32)

    def predict(self, logits: Tensor, mask: Tensor | None) -> Tensor:
        """Decoding: logits (B, C) → ids (B,), or numbers (B, 1) → (B,)."""
        return self.kind.predict(logits)

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
    tokens, keep = _tokens(features, pooling)
    if pooling == "cls":
        return features._replace(pooled=tokens[:, 0])
    if pooling == "mean":
        weights = keep.unsqueeze(-1).to(tokens.dtype)
        return features._replace(pooled=(tokens * weights).sum(1) / weights.sum(1).clamp(min=1))
    return features._replace(pooled=tokens.masked_fill(~keep.unsqueeze(-1), -torch.inf).amax(1))


def pool_by(features: Features, pooling: str, learnt: nn.Module) -> Features:
    """The same by a module that learns (`nn.pooling`): tokens (B, L, D) and which of them count (B, L) → (B, D)."""
    return features._replace(pooled=learnt(*_tokens(features, pooling)))


def _tokens(features: Features, pooling: str) -> tuple[Tensor, Tensor]:
    """The tokens, and which of them count."""
    tokens, mask = features.tokens, features.mask
    if tokens is None:
        fail("head.pooling", pooling, "needs tokens and this backbone gives none; use auto")
    everything = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    return tokens, everything if mask is None else mask.bool()
