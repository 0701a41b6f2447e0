"""The fingerprint of the data: equal exactly where every row that a run can see is equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tlresearch.core.rows import Rows
from tlresearch.core.types import Stream


def fingerprint(stream: Stream) -> str:
    """SHA-256 (hex) over the spec and over inputs, labels, domain, index and weight of all rows of all stages.

    Files count by their content, not by their name or place, so a data set that was moved keeps its fingerprint.
    """
    digest = hashlib.sha256()
    _add(digest, json.dumps(stream.spec))
    for stage in stream.stages:
        _add(digest, json.dumps((stage.name, stage.tasks)))
        for rows in (stage.train, stage.validation, stage.test, stage.unlabelled):
            _add(digest, None if rows is None else _of_rows(rows))
    return digest.hexdigest()


def of_input(value: Any) -> bytes:
    """SHA-256 of one input; a file counts by its content and is read once."""
    digest = hashlib.sha256()
    _add(digest, value)
    return digest.digest()


def _of_rows(rows: Rows) -> bytes:
    digest = hashlib.sha256()
    inputs = rows.inputs.numpy() if isinstance(rows.inputs, Tensor) else rows.inputs
    if isinstance(inputs, np.ndarray):
        _add(digest, inputs[rows.positions.numpy()])
    else:
        for position in rows.positions.tolist():
            _add(digest, inputs[position])
    for column in (rows.labels, rows.domain, rows.index, rows.weight):
        _add(digest, column)
    return digest.digest()


def _add(digest: Any, value: Any) -> None:
    """Adds a value with its type and length in front, so that no two sequences of values read the same."""
    if isinstance(value, Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        header, content = f"array {value.dtype.str} {value.shape}", np.ascontiguousarray(value).tobytes()
    elif isinstance(value, str):
        header, content = "text", value.encode("utf-8", "surrogatepass")
    elif isinstance(value, bytes):
        header, content = "bytes", value
    elif isinstance(value, Path):
        status = value.stat()
        header, content = "file", _of_file(value, status.st_size, status.st_mtime_ns)
    elif value is None or isinstance(value, bool | int | float | np.generic):
        header, content = type(value).__name__, repr(value).encode()
    else:
        parts = _parts(value)
        digest.update(f"{type(value).__name__} of {len(parts)}\0".encode())
        for part in parts:
            _add(digest, part)
        return
    digest.update(f"{header} {len(content)}\0".encode())
    digest.update(content)


def _parts(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return [part for key in sorted(value) for part in (key, value[key])]
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"no fingerprint for inputs of type {type(value).__name__}; give tensors, arrays, texts or paths")


@cache
def _of_file(path: Path, size: int, changed: int) -> bytes:
    """The digest of a file's content; read anew when size or time of change are others."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
