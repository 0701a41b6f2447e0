"""Rows that spoil a number unnoticed: repeats, sets that overlap, contradicting labels, empty texts, lone classes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tlresearch.core.rows import Rows

    Numbers = np.ndarray[Any, np.dtype[np.int64]]

MEANING = {
    "test_in_train": "test rows that occur in train too, so that test scores are too good",
    "validation_in_train": "validation rows that occur in train too",
    "test_in_validation": "test rows that occur in validation too",
    "repeated": "rows that repeat an earlier one of their set",
    "several_labels": "rows that occur before under another label",
    "far_targets": "numbers to predict that lie far from all others",
    "empty_texts": "rows with an empty text",
    "single_row_classes": "classes of a single row",
    "absent_from_train": "classes without a train row",
    "absent_from_validation": "classes without a validation row",
    "absent_from_test": "classes without a test row",
}
"""Kind of a finding → what was found, in words."""

_OVERLAPS = (("test", "train"), ("validation", "train"), ("test", "validation"))
_EXAMPLES, _CHARACTERS = 3, 30
_EMPTY = 0

Counts = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Task → label → set → rows."""


def contents(rows: Rows) -> list[Hashable] | None:
    """What each row is recognised by: a text without case and surplus white space, anything else by its bytes.

    None where inputs are made one by one as they are asked for: comparing them would decode the data set once more.
    """
    from torch import Tensor

    from tlresearch.core.fingerprint import of_input

    inputs, positions = rows.inputs, rows.positions.tolist()
    first = inputs[positions[0]]
    if isinstance(first, str):
        texts = inputs if isinstance(inputs, list) else list(inputs)  # a column of a table is slow cell by cell
        return [" ".join(texts[p].casefold().split()) for p in positions]
    if isinstance(first, Path) or isinstance(inputs, Tensor | np.ndarray | list):
        return [of_input(inputs[p]) for p in positions]
    return None


def suspicious_rows(
    sets: Mapping[str, Rows], known: Mapping[str, Sequence[Hashable]], tasks: Sequence[str]
) -> list[dict[str, Any]]:
    """Findings about rows. sets: train, validation, test → rows; known: the same → `contents` of the rows.

    Each has a kind (a key of MEANING), a count and up to three examples. Empty texts are no repeats of each other.
    """
    import torch

    from tlresearch.core.labels import labelled

    seen: dict[Hashable, int] = {"": _EMPTY}
    numbers = {s: np.array([seen.setdefault(c, len(seen)) for c in found]) for s, found in known.items()}
    ends = np.cumsum([len(rows) for rows in sets.values()]).tolist()
    start = dict(zip(sets, [0, *ends], strict=False))
    hits = {  # kind → (K, 2): rows, numbered through all sets, and the earlier ones that they are like
        f"{split}_in_{other}": np.add(_pairs(numbers[split], numbers[other]), (start[split], start[other]))
        for split, other in _OVERLAPS
        if split in sets and other in sets
    }
    hits["repeated"] = np.concatenate([_repeats(numbers[split]) + start[split] for split in sets])
    everything = np.concatenate(list(numbers.values()))
    none = np.empty((0, 2), int)
    labels = (torch.cat([rows.labels[task] for rows in sets.values()]) for task in tasks)
    contradictions = (_contradictions(everything, y.numpy(), labelled(y).numpy()) for y in labels)
    hits["several_labels"] = np.concatenate([none, *contradictions])
    hits["empty_texts"] = np.flatnonzero(everything == _EMPTY)[:, None]
    return [
        _finding(kind, len(rows), [_example(sets, start, *row) for row in rows[:_EXAMPLES].tolist()])
        for kind, rows in hits.items()
        if len(rows)
    ]


def suspicious_classes(counts: Counts, sets: Sequence[str], *, drawn: bool) -> list[dict[str, Any]]:
    """Findings about classes, in the form of `suspicious_rows`.

    drawn: whether only some training rows were kept, so that a class of a single row is nobody's mistake.
    """
    classes = [(label, of_set) for labels in counts.values() for label, of_set in labels.items()]
    found = {"single_row_classes": [] if drawn else [label for label, n in classes if sum(n.values()) == 1]}
    found |= {f"absent_from_{split}": [label for label, n in classes if not n[split]] for split in sets}
    return [
        _finding(kind, len(labels), [repr(label) for label in labels[:_EXAMPLES]])
        for kind, labels in found.items()
        if labels
    ]


def _pairs(rows: Numbers, others: Numbers) -> Numbers:
    """(K, 2): positions of the rows whose content is among the others, and the first that has it there."""
    values, first = np.unique(others, return_index=True)
    at = np.searchsorted(values, rows).clip(max=len(values) - 1)
    found = (values[at] == rows) & (rows != _EMPTY)
    return np.stack([np.flatnonzero(found), first[at[found]]], 1)


def _repeats(rows: Numbers) -> Numbers:
    """(K, 2): positions of the rows that are like an earlier one, and the first of those."""
    pairs = _pairs(rows, rows)
    again: Numbers = pairs[pairs[:, 0] != pairs[:, 1]]
    return again


def _contradictions(rows: Numbers, labels: Numbers, known: Numbers) -> Numbers:
    """(K, 2): positions of the rows with another label than the first that has the same content, and that first."""
    compared = np.flatnonzero(known & (rows != _EMPTY))
    _, first, inverse = np.unique(rows[compared], return_index=True, return_inverse=True)
    pairs = np.stack([compared, compared[first[inverse]]], 1)
    against: Numbers = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
    return against


def _finding(kind: str, count: int, examples: list[str]) -> dict[str, Any]:
    return {"kind": kind, "count": count, "examples": examples}


def _example(sets: Mapping[str, Rows], start: Mapping[str, int], number: int, twin: int | None = None) -> str:
    """A row as a person finds it again: the end of its path, or its set, its index and the start of its text."""
    value, said = _where(sets, start, number)
    if isinstance(value, str) and value.strip():
        text = " ".join(value[: 4 * _CHARACTERS].split())
        said += f" {text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1] + '…'!r}"
    return said if twin is None else f"{said} = {_where(sets, start, twin)[1]}"


def _where(sets: Mapping[str, Rows], start: Mapping[str, int], number: int) -> tuple[Any, str]:
    """A row's input, and where it is."""
    split = max((split for split in sets if start[split] <= number), key=lambda split: start[split])
    rows, i = sets[split], number - start[split]
    value = rows.inputs[int(rows.positions[i])]
    return value, "/".join(value.parts[-3:]) if isinstance(value, Path) else f"{split} {int(rows.index[i])}"
