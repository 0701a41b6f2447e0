"""Rows of a dataset: inputs as they came (pixels, text, paths), labels, domain and a stable number for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor

from tlresearch.core.labels import blank


class Row(TypedDict):
    """One row. input: raw before `Backbone.preprocess` (text, path, array), a tensor or dict of tensors after it.

    labels: task → class id or number (or a (L,) tensor of tags); domain, index: int; weight: float. cut: after
    `preprocess` of a backbone that reads so many tokens and no more, whether the input was longer.
    """

    input: Any
    labels: dict[str, Any]
    domain: int
    index: int
    weight: float
    cut: NotRequired[bool]


class Rows:
    """An immutable table. Slicing by `take` makes a view: inputs are shared, never copied.

    Args:
        inputs: any sequence: a tensor or array whose first dimension is the row, a list of texts, a list of `Path`s.
        labels: task → (N,) int64 class ids (or a list of N (L,) tensors for tags), IGNORE where unlabelled; or (N,)
            float32 targets of a regression, NaN where unlabelled.
        domain: (N,) int64 index into `Spec.domains`; zeros if omitted.
        index: (N,) int64 number of the row within its dataset, kept through every `take`; 0 … N-1 if omitted.
        weight: (N,) float32 weight in the loss; ones if omitted.
    """

    def __init__(
        self,
        inputs: Sequence[Any] | Tensor,
        labels: Mapping[str, Tensor],
        domain: Tensor | None = None,
        index: Tensor | None = None,
        weight: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> None:
        n = len(inputs) if positions is None else len(positions)
        self.inputs = inputs
        self.positions = torch.arange(n) if positions is None else positions
        self.labels = dict(labels)
        self.domain = torch.zeros(n, dtype=torch.int64) if domain is None else domain
        self.index = torch.arange(n) if index is None else index
        self.weight = torch.ones(n) if weight is None else weight
        for name, column in {**self.labels, "domain": self.domain, "index": self.index, "weight": self.weight}.items():
            assert len(column) == n, f"column {name!r} has {len(column)} entries for {n} rows"

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, i: int) -> Row:
        return Row(
            input=self.inputs[int(self.positions[i])],
            labels={task: column[i] for task, column in self.labels.items()},
            domain=int(self.domain[i]),
            index=int(self.index[i]),
            weight=float(self.weight[i]),
        )

    def __iter__(self) -> Iterable[Row]:
        return (self[i] for i in range(len(self)))

    @cached_property
    def digests(self) -> list[bytes]:
        """32 bytes a row that stand for its input: equal where the inputs are (files: their contents)."""
        from tlresearch.core.fingerprint import of_input

        return [of_input(self.inputs[i]) for i in self.positions.tolist()]

    def take(self, chosen: Tensor) -> Rows:
        """The rows at positions `chosen` (M,), in that order."""
        labels = {task: column[chosen] for task, column in self.labels.items()}
        parts = (self.domain[chosen], self.index[chosen], self.weight[chosen], self.positions[chosen])
        return Rows(self.inputs, labels, *parts)

    def masked(self) -> Rows:
        """The same rows with no label: IGNORE, or NaN where labels are numbers."""
        return self.with_labels({task: torch.full_like(column, blank(column)) for task, column in self.labels.items()})

    def with_labels(self, labels: Mapping[str, Tensor]) -> Rows:
        """The same rows under other labels (class-incremental order, task-incremental names)."""
        return Rows(self.inputs, labels, self.domain, self.index, self.weight, self.positions)

    def with_domain(self, domain: Tensor) -> Rows:
        """The same rows with other domains."""
        return Rows(self.inputs, self.labels, domain, self.index, self.weight, self.positions)

    def with_weight(self, weight: Tensor) -> Rows:
        """The same rows with other weights."""
        return Rows(self.inputs, self.labels, self.domain, self.index, weight, self.positions)

    @staticmethod
    def concatenate(parts: Sequence[Rows]) -> Rows:
        """All rows of `parts` in order; a task that a part lacks is unlabelled there. Inputs stay lazy."""
        assert parts, "nothing to concatenate"
        first = parts[0]
        same = all(part.inputs is first.inputs for part in parts)
        inputs = first.inputs if same else _Chain([part.inputs for part in parts])
        offsets = [0] * len(parts) if same else _offsets([len(part.inputs) for part in parts])
        known = {task: column for part in parts for task, column in part.labels.items()}
        return Rows(
            inputs,
            {task: torch.cat([_labels(part, task, column) for part in parts]) for task, column in known.items()},
            torch.cat([part.domain for part in parts]),
            torch.cat([part.index for part in parts]),
            torch.cat([part.weight for part in parts]),
            torch.cat([part.positions + o for part, o in zip(parts, offsets, strict=True)]),
        )


def _labels(rows: Rows, task: str, like: Tensor) -> Tensor:
    """The labels of a task, a column like `like`; unlabelled where the rows have none."""
    absent = like.new_full((len(rows), *like.shape[1:]), blank(like))
    return rows.labels.get(task, absent)


def _offsets(lengths: Sequence[int]) -> list[int]:
    total, offsets = 0, []
    for length in lengths:
        offsets.append(total)
        total += length
    return offsets


class _Chain(Sequence[Any]):
    """Several sequences read as one, without copying any."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts, self.offsets = parts, _offsets([len(part) for part in parts])

    def __len__(self) -> int:
        return self.offsets[-1] + len(self.parts[-1])

    def __getitem__(self, i: Any) -> Any:
        part = next(k for k in reversed(range(len(self.parts))) if self.offsets[k] <= i)
        return self.parts[part][i - self.offsets[part]]
