"""Rows to batches: padding, stacking, joining, slicing, moving. Backbones use these unless they know better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tlresearch.core.labels import blank
from tlresearch.core.rows import Row
from tlresearch.core.types import TRAIN, Batch, Inputs


def pad(tensors: Sequence[Tensor], value: float) -> Tensor:
    """Stacks tensors (L_i, …) to (B, max L, …), filled up with `value`; equal shapes are stacked as they are."""
    if all(t.shape == tensors[0].shape for t in tensors):
        return torch.stack(list(tensors))
    return torch.nn.utils.rnn.pad_sequence(list(tensors), batch_first=True, padding_value=value)


def collate(rows: Sequence[Row], padding: Mapping[str, float]) -> Batch:
    """Preprocessed rows → Batch. padding: input name → filling value (0 for names that are not listed)."""
    first = rows[0]["input"]
    x: Inputs
    if isinstance(first, dict):
        x = {name: pad([row["input"][name] for row in rows], padding.get(name, 0)) for name in first}
    else:
        x = pad([row["input"] for row in rows], padding.get("", 0))
    known = {task: torch.as_tensor(label) for row in rows for task, label in row["labels"].items()}
    y = {task: _column(task, label.unsqueeze(0), rows) for task, label in known.items()}
    domain, index = (torch.tensor([row[k] for row in rows]) for k in ("domain", "index"))
    weight = torch.tensor([row["weight"] for row in rows])
    return Batch(x, y, domain, index, torch.full((len(rows),), TRAIN), weight)


def join(batches: Sequence[Batch], padding: Mapping[str, float]) -> Batch:
    """Concatenates along the rows; sequences of unequal length are padded to the longest, absent tasks unlabelled."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0].x
    x: Inputs
    if isinstance(first, dict):
        x = {k: _cat([_named(b.x, k) for b in batches], padding.get(k, 0)) for k in first}
    else:
        x = _cat([_plain(b.x) for b in batches], padding.get("", 0))
    tasks = dict.fromkeys(task for batch in batches for task in batch.y)
    y = {}
    for task in tasks:
        known = next(b.y[task] for b in batches if task in b.y)
        absent = blank(known)
        parts = [b.y[task] if task in b.y else known.new_full((b.rows, *known.shape[1:]), absent) for b in batches]
        y[task] = _cat(_alike(parts), absent)
    domain, index, origin = (torch.cat([getattr(b, k) for b in batches]) for k in ("domain", "index", "origin"))
    weight = torch.cat([batch.weight for batch in batches])
    shared = set.intersection(*(set(batch.activations) for batch in batches))
    kept = [name for name in sorted(shared) if len({batch.activations[name].shape[1:] for batch in batches}) == 1]
    activations = {name: torch.cat([batch.activations[name] for batch in batches]) for name in kept}
    return Batch(x, y, domain, index, origin, weight, activations)


def take(batch: Batch, chosen: slice | Tensor) -> Batch:
    """The rows `chosen` of a batch."""
    return _map(batch, lambda t: t[chosen])


def move(batch: Batch, device: torch.device) -> Batch:
    """The batch on `device`; copies from pinned memory do not wait."""
    return _map(batch, lambda t: t.to(device, non_blocking=True))


def clone(batch: Batch) -> Batch:
    """A copy whose tensors share no memory with the original."""
    return _map(batch, torch.Tensor.clone)


def flatten(batch: Batch) -> dict[str, Tensor]:
    """The batch as flat named tensors, for `Method.state_dict`; `unflatten` is its inverse, without activations."""
    x = {f"x.{k}": v for k, v in batch.x.items()} if isinstance(batch.x, dict) else {"x": batch.x}
    rest = {k: getattr(batch, k) for k in ("domain", "index", "origin", "weight")}
    return {**x, **{f"y.{k}": v for k, v in batch.y.items()}, **rest}


def unflatten(tensors: Mapping[str, Tensor]) -> Batch:
    """The batch that `flatten` took apart."""
    x = {k[2:]: v for k, v in tensors.items() if k.startswith("x.")} or tensors["x"]
    y = {k[2:]: v for k, v in tensors.items() if k.startswith("y.")}
    return Batch(x, y, tensors["domain"], tensors["index"], tensors["origin"], tensors["weight"])


def _column(task: str, like: Tensor, rows: Sequence[Row]) -> Tensor:
    """The labels of a task, unlabelled where a row has none. like: a column of one row."""
    absent = torch.full_like(like[0], blank(like))
    return pad([torch.as_tensor(row["labels"].get(task, absent)) for row in rows], blank(like))


def _alike(columns: list[Tensor]) -> list[Tensor]:
    """Columns of one task: ids beside soft labels become soft ones (rows of mixup beside replayed ones)."""
    soft = [column for column in columns if column.ndim == 2 and column.is_floating_point()]
    if len(soft) in (0, len(columns)):
        return columns
    classes = soft[0].shape[1]
    return [c if c.ndim == 2 else one_hot(c, classes) for c in columns]


def one_hot(y: Tensor, classes: int) -> Tensor:
    """Ids (B,) → soft labels (B, classes), zeros where unlabelled."""
    return torch.nn.functional.one_hot(y.clamp(min=0), classes).float() * (y >= 0).unsqueeze(1)


def _map(batch: Batch, f: Any) -> Batch:
    x = {k: f(v) for k, v in batch.x.items()} if isinstance(batch.x, dict) else f(batch.x)
    y = {k: f(v) for k, v in batch.y.items()}
    activations = {name: f(a) for name, a in batch.activations.items()}
    return Batch(x, y, f(batch.domain), f(batch.index), f(batch.origin), f(batch.weight), activations)


def _cat(parts: Sequence[Tensor], value: float) -> Tensor:
    if len({part.shape[1:] for part in parts}) == 1:
        return torch.cat(list(parts))
    return pad([row for part in parts for row in part], value)


def _named(x: Inputs, name: str) -> Tensor:
    assert isinstance(x, dict), "one batch has named inputs, another has not"
    return x[name]


def _plain(x: Inputs) -> Tensor:
    assert isinstance(x, Tensor), "one batch has named inputs, another has not"
    return x
