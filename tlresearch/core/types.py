"""What travels between data, model, methods and Trainer: plain NamedTuples (Fabric refuses frozen dataclasses)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from tlresearch.core.rows import Rows

IGNORE: Final = -100
"""The label of a row (or token) that is unlabelled, as torch's cross entropy ignores it."""

TRAIN: Final = 0
UNLABELLED: Final = 1
REPLAYED: Final = 2
"""Values of `Batch.origin`: a row of the stage's training set, of its unlabelled rows, or of an earlier stage."""

Inputs = Tensor | dict[str, Tensor]


class Task(NamedTuple):
    """A label space. metric: its headline metric.

    kind: classification (a row's label is an id into `labels`, IGNORE where unlabelled) or regression (no `labels`; a
    row's label is a float32, NaN where unlabelled; its headline metric is rmse). `core.kinds` says what each means.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    metric: str = "accuracy"


class Spec(NamedTuple):
    """What all stages of a stream share.

    modality: image, text or vector; input_shape: (C, H, W) or (D,), None if it varies.
    tasks: every task of the stream with its final labels; domains: names, a row's `domain` is an index into them.
    """

    modality: str
    input_shape: tuple[int, ...] | None
    tasks: tuple[Task, ...]
    domains: tuple[str, ...] = ("default",)


class Batch(NamedTuple):
    """B rows on the device. x: (B, …) or a dict of such, preprocessed but not yet transformed (the Model does that).

    y: task → (B,) class ids (IGNORE where unlabelled), (B, C) soft labels (zeros), (B, L) tags
    (IGNORE) or (B,) float32 targets (NaN); weight: (B,) float32;
    domain, index, origin: (B,) int64 (origin: TRAIN, UNLABELLED or REPLAYED; index: the row's number in its dataset).
    activations: name → (B, …), what a frozen part of the backbone has made of x before; usually none.
    """

    x: Inputs
    y: dict[str, Tensor]
    domain: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a batch
    origin: Tensor
    weight: Tensor
    activations: Mapping[str, Tensor] = MappingProxyType({})

    @property
    def rows(self) -> int:
        """B. (`len` of a NamedTuple is the number of its fields.)"""
        return self.index.shape[0]


class Features(NamedTuple):
    """tokens: (B, L, D), None where there is no sequence; pooled: (B, D); mask: (B, L) bool, None where all count."""

    tokens: Tensor | None
    pooled: Tensor
    mask: Tensor | None


class Output(NamedTuple):
    """features of the backbone and logits: task → (B, C), or (B, 1) numbers of a regression."""

    features: Features
    logits: dict[str, Tensor]


class Clock(NamedTuple):
    """Where training stands. step: optimizer steps of this stage, 0 to total - 1.

    history: the validation metrics of this stage's evaluations so far, the headline metric first in each.
    """

    stage: int
    epoch: int
    step: int
    total: int
    history: Sequence[Mapping[str, float]]

    @property
    def validation(self) -> Mapping[str, float]:
        """The last metrics, {} before the first evaluation."""
        return self.history[-1] if self.history else {}

    @property
    def progress(self) -> float:
        """The share of this stage's steps that lies behind, in [0, 1]."""
        return self.step / max(self.total, 1)


class Drawn(NamedTuple):
    """What chance decided of a stage's rows, for the report on the data; training never asks.

    split_off: set → the share (of each class) that was split off, with split_seed; other sets came with the data.
    labels_per_class: how many training rows of each class were kept, with sample_seed, out of `rows`; None = all.
    """

    split_off: dict[str, float]
    split_seed: int
    labels_per_class: int | None
    sample_seed: int
    rows: int


class Stage(NamedTuple):
    """One experience of a stream. tasks: those trained here, with the labels so far (a head grows when they do).

    drawn: what `Sampling` split off and drew; None where it had no part.
    """

    name: str
    tasks: tuple[Task, ...]
    train: Rows
    validation: Rows
    test: Rows
    unlabelled: Rows | None = None
    drawn: Drawn | None = None

    def without_test_labels(self) -> Stage:
        """What methods and Trainer see: the test rows' labels are masked, as those of `unlabelled` always are."""
        return self._replace(test=self.test.masked())


class Stream(NamedTuple):
    """An ordered sequence of stages (one for plain transfer) and what they share."""

    spec: Spec
    stages: tuple[Stage, ...]
