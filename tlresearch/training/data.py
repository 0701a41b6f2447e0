"""Rows preprocessed once, and the order in which training draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from tlresearch.config.errors import ConfigError
from tlresearch.core.backbone import Backbone
from tlresearch.core.batching import take
from tlresearch.core.rows import Row, Rows
from tlresearch.core.seeding import mix
from tlresearch.core.types import TRAIN, Batch, Inputs
from tlresearch.training.progress import track
from tlresearch.training.table import Table

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


class Preprocessed(NamedTuple):
    """What the backbone's preprocessing makes of an input. cut: whether that was longer than the backbone reads."""

    input: Inputs
    cut: bool | None


class Prepared:
    """Rows after the backbone's preprocessing.

    Kept in memory up to `memory_bytes`: equal shapes as one tensor, so that a batch is one gather; unequal ones as a
    list that is padded batch by batch. What does not fit is preprocessed again for every batch, by threads.

    known: digest → what preprocessing made of rows that earlier runs had; those of these rows are added.
    """

    def __init__(
        self,
        rows: Rows,
        backbone: Backbone,
        split: str,
        memory_bytes: float,
        name: str,
        known: dict[bytes, Preprocessed] | None = None,
    ) -> None:
        self.rows, self.backbone, self.split = rows, backbone, split
        self._tables: dict[str, Table] = {}
        self._lean = False
        self._preprocess = backbone.preprocess(split)
        self._known = {} if known is None else known
        self._memory_bytes, self._name = memory_bytes, name
        if not self._known.keys() >= set(rows.digests):  # or else nothing can go wrong later
            self._kept  # noqa: B018  # so that rows that cannot be read show now

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _kept(self) -> Batch | list[Row] | None:
        """All rows preprocessed: as one batch where they stack, as a list where not, None where they are too many."""
        rows = self.rows
        if not len(rows):
            return None
        first = self._kept_row(0)
        if not self._fits(first):
            return None
        others = (self._kept_row(i) for i in range(1, len(rows)))
        prepared = [first, *track(others, f"preparing {self._name}", len(rows) - 1)]
        if type(self.backbone).collate is Backbone.collate and len({_shapes(row) for row in prepared}) == 1:
            return self.backbone.collate(prepared)
        return prepared

    @cached_property
    def cut(self) -> int | None:
        """How many inputs are longer than the backbone reads; None where it does not say, or rows are too many."""
        if not len(self.rows) or not self._fits(self._kept_row(0)):
            return None
        cuts = [self._known[digest].cut for digest in self.rows.digests]
        return None if cuts[0] is None else sum(map(bool, cuts))

    def _fits(self, first: Row) -> bool:
        return _bytes(first) * len(self.rows) <= self._memory_bytes

    @property
    def in_memory(self) -> bool:
        """Whether batches come out of memory."""
        return self._lean or self._kept is not None

    @property
    def lean(self) -> bool:
        """Whether batches bring activations instead of inputs."""
        return self._lean

    @property
    def ragged(self) -> bool:
        """Whether rows differ in length, so that batches are padded."""
        return isinstance(self._kept, list)

    def length(self, i: int) -> int:
        """How long row i is before padding; 0 where all are equal."""
        return len(next(iter(_named(self._kept[i]).values()))) if isinstance(self._kept, list) else 0

    def attach(self, tables: Mapping[str, Table], lean: bool = False) -> None:
        """From now on batches bring these activations along. lean: without their inputs, which nobody looks at."""
        self._tables, self._lean = dict(tables), lean

    def some(self, positions: Sequence[int]) -> Batch:
        """These rows as a batch with inputs; the others need not be prepared for it."""
        return self.backbone.collate([self._kept_row(i) for i in positions])

    def batch(self, positions: Tensor) -> Batch:
        """The rows at `positions` as one batch on the CPU."""
        if not self._tables:
            return self._inputs(positions)
        batch = self._labels(positions) if self._lean else self._inputs(positions)
        longest = max(map(self.length, positions.tolist())) if not self._lean and self.ragged else None
        given = {name: table.rows(positions, longest) for name, table in self._tables.items()}
        return batch._replace(activations=given)

    def _labels(self, positions: Tensor) -> Batch:
        """A batch whose x is empty."""
        rows = self.rows
        y = {task: column[positions] for task, column in rows.labels.items()}
        origin = torch.full((len(positions),), TRAIN)
        return Batch({}, y, rows.domain[positions], rows.index[positions], origin, rows.weight[positions])

    def _inputs(self, positions: Tensor) -> Batch:
        if isinstance(self._kept, Batch):
            return take(self._kept, positions)
        if self._kept is not None:
            return self.backbone.collate([self._kept[i] for i in positions.tolist()])
        return self.backbone.collate([self._row(i) for i in positions.tolist()])

    def batches(self, plan: Iterable[Tensor]) -> Iterator[Batch]:
        """A batch for each tensor of positions; computed ahead by threads where rows are not in memory."""
        return map(self.batch, plan) if self.in_memory else ahead(self.batch, plan)

    def _kept_row(self, i: int) -> Row:
        digest = self.rows.digests[i]
        if digest in self._known:
            return {**self.rows[i], "input": self._known[digest].input}
        row = self._row(i)
        self._known[digest] = Preprocessed(row["input"], row.get("cut"))
        return row

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


def _named(row: Row) -> dict[str, Tensor]:
    x: Inputs = row["input"]
    return x if isinstance(x, dict) else {"": x}


def _shapes(row: Row) -> tuple[object, ...]:
    labels = tuple((k, torch.as_tensor(v).shape) for k, v in row["labels"].items())
    return tuple((k, v.shape, v.dtype) for k, v in _named(row).items()) + labels


def _bytes(row: Row) -> int:
    return sum(t.numel() * t.element_size() for t in _named(row).values())
