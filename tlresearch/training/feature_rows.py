"""Activations of sets of rows: read where they are kept, computed and kept where they are not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tlresearch.config.errors import ConfigError, Problem
from tlresearch.core.distributed import broadcast, rank
from tlresearch.core.prefix import CannotCut, Cut
from tlresearch.core.types import Batch
from tlresearch.results import lock
from tlresearch.training.data import Prepared
from tlresearch.training.memory import memory
from tlresearch.training.progress import track
from tlresearch.training.table import Entry, Table

CHUNK, ROWS = 256e6, 128
"""Bytes of activations a file; rows of one forward pass."""


class FeatureRows:
    """The entries of a store, for one run.

    Args:
        home: the folder of all entries; options: cache.* of the configuration.
        compute: preprocessed rows on the CPU → activations by name, as they are kept.
    """

    def __init__(
        self, home: Path, options: Mapping[str, Any], compute: Callable[[Cut, Batch], Mapping[str, Tensor]]
    ) -> None:
        self.home, self.options, self.compute = home, options, compute
        self.keys: dict[str, dict[str, Any]] = {}
        self.computed = 0
        self._known: dict[str, dict[str, Entry]] = {}

    def missing(self, cut: Cut, rows: Prepared) -> int:
        """How many of the rows have no activations yet."""
        return max(len(entry.missing(rows.rows.digests)) for entry in self._entries(cut, rows.split).values())

    def tables(self, cut: Cut, rows: Prepared, name: str) -> dict[str, Table]:
        """Name of an activation → those of the rows, in their order; what is missing is computed first."""
        entries = self._entries(cut, rows.split)
        if rank() == 0 and self.missing(cut, rows):
            with _alone([entry.folder for entry in entries.values()]):
                for entry in entries.values():
                    entry.refresh()
                self._fill(cut, entries, rows, name)
        broadcast(None)  # the other ranks read what the first has written
        tables = {}
        for key, entry in entries.items():
            entry.refresh()
            tables[key] = self._table(entry, rows.rows.digests)
        return tables

    def _entries(self, cut: Cut, split: str) -> dict[str, Entry]:
        """Name of an activation → its folder, for rows preprocessed as in `split`."""
        found = self._known.get(cut.key + split)
        if found is None:
            key = self.keys[cut.key]
            found = {name: _entry(self.home, {**key, "split": split, "part": part}) for part, name in cut.names.items()}
            self._known[cut.key + split] = found
        for entry in found.values():
            entry.refresh()
        return found

    def _table(self, entry: Entry, digests: list[bytes]) -> Table:
        """The table of these rows, one for all runs of this process."""
        limit = self.options["memory_gb"] * 1e9
        key = ("table", entry.folder, hashlib.blake2b(b"".join(digests)).digest())
        found: Table | None = memory.get(key)
        if found is None:
            found = entry.table(digests, limit)
            memory.keep(key, found, found.bytes, limit)
        return found

    def _fill(self, cut: Cut, entries: Mapping[str, Entry], rows: Prepared, name: str) -> None:
        """Computes what is in no file yet, the shortest rows first, so that little of a batch is padding."""
        digests = rows.rows.digests
        needed = sorted({i for entry in entries.values() for i in entry.missing(digests)}, key=rows.length)
        seen: set[bytes] = set()
        needed = [i for i in needed if not (digests[i] in seen or seen.add(digests[i]))]  # type: ignore[func-returns-value]
        waiting: dict[str, list[Tensor]] = {key: [] for key in entries}
        kept: list[bytes] = []

        def write() -> None:
            for key, entry in entries.items():
                ragged = cut.depth is not None and rows.ragged
                entry.add(kept, waiting[key], ragged=ragged, max_bytes=self.options["max_gb"] * 1e9)
                waiting[key] = []
            kept.clear()

        parts = [needed[i : i + ROWS] for i in range(0, len(needed), ROWS)]
        for part in track(parts, f"features of {name}", len(parts)):
            for key, activation in self.compute(cut, rows.batch(torch.tensor(part))).items():
                waiting[key] += _single(activation.cpu(), rows, part, cut)
            kept += [digests[i] for i in part]
            if sum(a.numel() * a.element_size() for found in waiting.values() for a in found) > CHUNK:
                write()
        if kept:
            write()
        self.computed += len(needed)


@contextmanager
def _alone(folders: Sequence[Path]) -> Iterator[None]:
    """Waits for other processes that compute the same; raises ConfigError where the store cannot be written to."""
    held: list[lock.Lock] = []
    try:
        for folder in sorted(folders):
            while True:
                try:
                    held.append(lock.claim(folder))
                    break
                except lock.Busy:
                    lock.wait(folder)
                except OSError as error:
                    raise ConfigError(Problem("cache.features", f"nothing can be kept in {folder}: {error}")) from error
        yield
    finally:
        for one in held:
            one.release()


def _entry(home: Path, key: Mapping[str, object]) -> Entry:
    """The entry of a key, one for all runs of this process: its files are checked once."""
    entry = Entry(home.absolute(), key)
    found: Entry | None = memory.get(("entry", entry.folder))
    if found is None:
        memory.keep(("entry", entry.folder), entry)
    return found or entry


def _single(activation: Tensor, rows: Prepared, part: list[int], cut: Cut) -> Iterator[Tensor]:
    """The rows of a batch one by one, without what the padding of their inputs has become."""
    if cut.depth is None or not rows.ragged:
        return iter(activation)
    longest = max(map(rows.length, part))
    if activation.ndim < 2 or activation.shape[1] != longest:
        raise CannotCut("its activations are not as long as its inputs, so padding cannot be told from rows")
    return (activation[k, : rows.length(i)] for k, i in enumerate(part))
