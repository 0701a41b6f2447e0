"""Activations on disk: a folder for each thing they depend on, in it files of rows, found by what a row's input is."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tlresearch.config.errors import ConfigError, Problem

logger = logging.getLogger("tlresearch")
KEY = "key.json"


class Part(NamedTuple):
    """One file's rows. values: (N, …), or (ΣL, …) where rows differ in length; ends: (N,) where each row's end."""

    values: Tensor
    ends: Tensor | None

    def row(self, i: int) -> Tensor:
        """The activation of row i."""
        if self.ends is None:
            return self.values[i]
        return self.values[int(self.ends[i - 1]) if i else 0 : int(self.ends[i])]


class Table:
    """The rows of one set in order. Batches are gathered out of memory-mapped files, or of memory where all fit."""

    def __init__(self, parts: Sequence[Part], places: Tensor, memory_bytes: float) -> None:
        """places: (N, 2) int64, each row's part and its number there."""
        self.parts, self.places = list(parts), places
        self.ragged = any(part.ends is not None for part in parts)
        size = sum(part.values.numel() * part.values.element_size() for part in parts)
        self.whole: Tensor | None = None
        if not self.ragged and size <= memory_bytes:
            self.whole = self._gather(places)

    def bytes(self) -> float:
        """What it takes of the memory (a mapped file takes none)."""
        return 0.0 if self.whole is None else float(self.whole.numel() * self.whole.element_size())

    def rows(self, positions: Tensor, length: int | None) -> Tensor:
        """The activations at `positions` (B,); those that differ in length are filled up with zeros to `length`."""
        if self.whole is not None:
            return self.whole[positions]
        if not self.ragged:
            return self._gather(self.places[positions])
        found = [self.parts[part].row(i) for part, i in self.places[positions].tolist()]
        batch: Tensor = found[0].new_zeros(len(found), length or max(map(len, found)), *found[0].shape[1:])
        for place, activation in zip(batch, found, strict=True):
            place[: len(activation)] = activation
        return batch

    def _gather(self, places: Tensor) -> Tensor:
        first = self.parts[0].values
        batch = first.new_empty(len(places), *first.shape[1:])
        for number, part in enumerate(self.parts):
            mine = places[:, 0] == number
            batch[mine] = part.values[places[mine, 1]]
        return batch


class Entry:
    """The folder of one key. Files in it are complete or are not there; one whose checksum is wrong is taken away.

    Args:
        home: the folder of all entries; key: everything that the activations depend on but the rows.
    """

    def __init__(self, home: Path, key: Mapping[str, object]) -> None:
        self.home, self.key = home, dict(key)
        text = json.dumps(self.key, sort_keys=True, default=str)
        self.folder = home / hashlib.sha256(text.encode()).hexdigest()[:16]
        self._read: dict[Path, tuple[Part, dict[bytes, int]]] = {}

    def refresh(self) -> None:
        """Looks for files that others have written meanwhile."""
        there = set(self.folder.glob("*.safetensors"))
        for gone in self._read.keys() - there:  # an entry that made room for others
            del self._read[gone]
        for path in sorted(there - self._read.keys()):
            found = _load(path)
            if found is None:
                logger.warning("%s is damaged; its rows are computed again", path)
                path.unlink(missing_ok=True)
            else:
                self._read[path] = found
        if there:
            os.utime(self.folder)  # the least recently used entry is the first to make room

    def missing(self, rows: Sequence[bytes]) -> list[int]:
        """The positions of rows that are in no file."""
        known = set().union(*(index.keys() for _, index in self._read.values()))
        return [i for i, row in enumerate(rows) if row not in known]

    def table(self, rows: Sequence[bytes], memory_bytes: float) -> Table:
        """These rows, all of them known."""
        where: dict[bytes, tuple[int, int]] = {}
        for number, (_, index) in enumerate(self._read.values()):
            where.update({row: (number, i) for row, i in index.items()})
        places = torch.tensor([where[row] for row in rows], dtype=torch.int64).reshape(-1, 2)
        return Table([part for part, _ in self._read.values()], places, memory_bytes)

    def add(self, rows: Sequence[bytes], activations: Sequence[Tensor], *, ragged: bool, max_bytes: float) -> None:
        """Writes rows as one more file and reads it back; makes room by removing the entries unused for longest.

        Raises ConfigError where it does not fit at all, or cannot be written.
        """
        values = torch.cat(list(activations)) if ragged else torch.stack(list(activations))
        tensors = {"rows": torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8), "values": values}
        if ragged:
            tensors["ends"] = torch.tensor([len(a) for a in activations]).cumsum(0)
        try:
            self._make_room(values.numel() * values.element_size(), max_bytes)
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / KEY).write_text(json.dumps(self.key, indent=1, sort_keys=True, default=str), "utf-8")
            _save(self.folder / f"{secrets.token_hex(8)}.safetensors", tensors)
        except OSError as error:
            raise ConfigError(Problem("cache.features", f"nothing can be kept in {self.folder}: {error}")) from error
        self.refresh()

    def _make_room(self, wanted: float, max_bytes: float) -> None:
        if wanted + _size(self.folder) > max_bytes:
            need = (wanted + _size(self.folder)) / 1e9
            raise ConfigError(Problem("cache.max_gb", f"{max_bytes / 1e9:g}: these activations need {need:.2f} GB"))
        others = sorted((f for f in _folders(self.home) if f != self.folder), key=lambda f: f.stat().st_mtime)
        total = wanted + _size(self.folder) + sum(map(_size, others))
        for folder in others:
            if total <= max_bytes:
                return
            total -= _size(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _folders(home: Path) -> Iterator[Path]:
    return (f for f in home.iterdir() if f.is_dir()) if home.is_dir() else iter(())


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir()) if folder.is_dir() else 0


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    partial = path.with_suffix(".partial")
    try:
        save_file(dict(tensors), partial, metadata={"checksum": _checksum(tensors)})
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _load(path: Path) -> tuple[Part, dict[bytes, int]] | None:
    """A file's rows, memory-mapped; None where it is not whole."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
            checksum = (file.metadata() or {}).get("checksum")
    except (SafetensorError, OSError):
        return None
    if not {"rows", "values"} <= tensors.keys() or checksum != _checksum(tensors):
        return None
    rows = tensors["rows"].numpy().tobytes()
    return Part(tensors["values"], tensors.get("ends")), {rows[i : i + 32]: i // 32 for i in range(0, len(rows), 32)}


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
