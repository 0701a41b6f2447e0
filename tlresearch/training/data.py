"""Rows preprocessed once, and the order in which training draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from tlresearch.config.errors import ConfigError
from tlresearch.core.backbone import Backbone
from tlresearch.core.batching import take
from tlresearch.core.rows import Row, Rows
from tlresearch.core.seeding import mix
from tlresearch.core.types import Batch, Inputs
from tlresearch.training.progress import track

S = TypeVar("S")
T = TypeVar("T")


class Endless:
    """An endless concatenation of seeded permutations of n rows: batch k is rows [k·b, (k+1)·b) of it.

    Position is all there is to it, so resuming needs no state and ranks agree without a word.
    """

    def __init__(self, n: int, *seed: object) -> None:
        self.n, self.seed = n, seed
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    def positions(self, start: int, count: int) -> Tensor:
        """The rows `start` to `start + count` of the endless order, (count,) int64."""
        parts = []
        while count > 0:
            epoch, offset = divmod(start, self.n)
            part = self._order(epoch)[offset : offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _order(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(mix(*self.seed, epoch))
            self._epoch, self._permutation = epoch, torch.randperm(self.n, generator=generator)
        return self._permutation


class Prepared:
    """Rows after the backbone's preprocessing.

    Kept in memory up to `memory_bytes`: equal shapes as one tensor, so that a batch is one gather; unequal ones as a
    list that is padded batch by batch. What does not fit is preprocessed again for every batch, by threads.

    cut: how many inputs are longer than the backbone reads; None where it does not say, or rows are not in memory.
    """

    def __init__(self, rows: Rows, backbone: Backbone, split: str, memory_bytes: float, name: str) -> None:
        self.rows, self.backbone = rows, backbone
        self.cut: int | None = None
        self._preprocess = backbone.preprocess(split)
        self._table: Batch | None = None
        self._list: list[Row] | None = None
        if not len(rows):
            return
        first = self._row(0)
        if _bytes(first) * len(rows) > memory_bytes:
            return
        prepared = [first, *track((self._row(i) for i in range(1, len(rows))), f"preparing {name}", len(rows) - 1)]
        if "cut" in first:
            self.cut = sum(row["cut"] for row in prepared)
        stacks = type(backbone).collate is Backbone.collate and len({_shapes(row) for row in prepared}) == 1
        if stacks:
            self._table = backbone.collate(prepared)
        else:
            self._list = prepared

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def in_memory(self) -> bool:
        """Whether the preprocessed rows are kept in memory."""
        return self._table is not None or self._list is not None

    def batch(self, positions: Tensor) -> Batch:
        """The rows at `positions` as one batch on the CPU."""
        if self._table is not None:
            return take(self._table, positions)
        if self._list is not None:
            return self.backbone.collate([self._list[i] for i in positions.tolist()])
        return self.backbone.collate([self._row(i) for i in positions.tolist()])

    def batches(self, plan: Iterable[Tensor]) -> Iterator[Batch]:
        """A batch for each tensor of positions; computed ahead by threads where rows are not in memory."""
        return map(self.batch, plan) if self.in_memory else ahead(self.batch, plan)

    def _row(self, i: int) -> Row:
        row = self.rows[i]
        try:
            return self._preprocess(row)
        except ConfigError:
            raise
        except (OSError, ValueError) as error:
            raise ConfigError(f"row {row['index']} ({str(row['input'])[:120]!r}) cannot be read: {error}") from error


def ahead(make: Callable[[S], T], plan: Iterable[S], workers: int = 2) -> Iterator[T]:
    """`map(make, plan)` with the next results computed by threads meanwhile (one worker: in strict order)."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[Future[T]] = []
        for part in plan:
            waiting.append(pool.submit(make, part))
            if len(waiting) > workers:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _inputs(row: Row) -> dict[str, Tensor]:
    x: Inputs = row["input"]
    return x if isinstance(x, dict) else {"": x}


def _shapes(row: Row) -> tuple[object, ...]:
    labels = tuple((k, torch.as_tensor(v).shape) for k, v in row["labels"].items())
    return tuple((k, v.shape, v.dtype) for k, v in _inputs(row).items()) + labels


def _bytes(row: Row) -> int:
    return sum(t.numel() * t.element_size() for t in _inputs(row).values())
