"""Predictions and metrics of one set of rows; the only place that sees test labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from tlresearch.core.distributed import gather, ranks
from tlresearch.core.kinds import Classification, Kind
from tlresearch.core.labels import labelled
from tlresearch.core.method import Batches, Method, uses
from tlresearch.core.model import Model
from tlresearch.core.types import Batch


class Predictions(NamedTuple):
    """Of N rows, in the order of their `index`: logits (N, C), y and predicted (N,), loss, domain, index (N,).

    y and predicted are ids or, of a regression, numbers.
    """

    logits: Tensor
    y: Tensor
    predicted: Tensor
    loss: Tensor
    domain: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index


@contextmanager
def evaluating(model: Model, methods: Mapping[str, Method], batches: Batches) -> Iterator[None]:
    """Evaluation mode within every method's `evaluating` context; the former modes are put back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with ExitStack() as stack:
        for method in methods.values():
            if uses(method, "evaluating"):
                stack.enter_context(method.evaluating(model, batches))
        yield
    for module, mode in modes.items():
        module.training = mode


def predict(
    model: Model, batches: Iterable[Batch], tasks: Iterable[str], precision: Callable[[], AbstractContextManager[Any]]
) -> dict[str, Predictions]:
    """Logits, decoded predictions and losses of the tasks' labelled rows, gathered over ranks, on the CPU."""
    parts: dict[str, list[tuple[Tensor, ...]]] = {task: [] for task in tasks}
    with torch.no_grad():
        for batch in batches:
            with precision():
                out = model(batch.x, batch.activations)
            for task, found in parts.items():
                y = batch.y.get(task)
                if y is None or task not in out.logits:
                    continue
                head, logits = model.head(task), out.logits[task].float()
                losses = head.loss(logits, y)
                predicted = head.predict(logits, out.features.mask)
                row = (logits, y, predicted, losses, batch.domain, batch.index)
                keep = labelled(y)
                found.append(tuple(t[keep].cpu() for t in row))
    own = {task: [torch.cat(columns) for columns in zip(*found, strict=True)] for task, found in parts.items() if found}
    return {task: _ordered(columns) for task, columns in _gathered(own).items()}


def _gathered(own: dict[str, list[Tensor]]) -> dict[str, list[Tensor]]:
    """Every rank's columns together; a rank without rows of a task still takes part."""
    everyone = gather(own)
    tasks = dict.fromkeys(task for part in everyone for task in part)
    return {
        task: [torch.cat(columns) for columns in zip(*(p[task] for p in everyone if task in p), strict=True)]
        for task in tasks
    }


def _ordered(columns: list[Tensor]) -> Predictions:
    order = torch.argsort(columns[-1], stable=True)
    return Predictions(*(column[order] for column in columns))


def metrics(predictions: Predictions, kind: type[Kind] = Classification) -> dict[str, float]:
    """What `kind` measures at every evaluation, and the mean loss; {} for no rows."""
    if not len(predictions.y):
        return {}
    measured = kind.measure(predictions.logits, predictions.predicted, predictions.y)
    return {**measured, "loss": float(predictions.loss.mean())}


def final_metrics(predictions: Predictions, kind: type[Kind] = Classification) -> dict[str, float]:
    """What `metrics` gives and what `kind` asks of a finished run alone."""
    values = metrics(predictions, kind)
    return {**values, **kind.measure_finally(predictions.logits, predictions.y)} if values else values


def class_metrics(y: Tensor, predicted: Tensor, classes: int) -> list[dict[str, float]]:
    """precision, recall, f1 and rows of each class, from ids y and predicted (N,); NaN where it would be 0 / 0.

    The mean of all f1 that are numbers is `macro_f1`.
    """
    right, rows, claimed = (ids.bincount(minlength=classes).double() for ids in (y[y == predicted], y, predicted))
    columns = {"precision": right / claimed, "recall": right / rows, "f1": 2 * right / (rows + claimed), "rows": rows}
    return [{name: float(column[c]) for name, column in columns.items()} for c in range(classes)]


def synchronise_buffers(model: Model) -> None:
    """Rank 0's buffers (BatchNorm statistics) on every rank, as DDP does; those at rest are equal already."""
    if ranks() > 1:
        for module in model.modules():
            for buffer in module.buffers(recurse=False) if module.training else ():
                dist.broadcast(buffer, 0)
