"""Predictions and metrics of one set of rows; the only place that sees test labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from tlresearch.core.distributed import gather, ranks
from tlresearch.core.method import Batches, Method, uses
from tlresearch.core.model import Model
from tlresearch.core.types import IGNORE, Batch


class Predictions(NamedTuple):
    """Of N rows, in the order of their `index`: logits (N, C), ids y and predicted (N,), loss, domain, index (N,)."""

    logits: Tensor
    y: Tensor
    predicted: Tensor
    loss: Tensor
    domain: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index

    @property
    def accuracy(self) -> float:
        """The share of rows predicted right, in [0, 1]."""
        return float((self.predicted == self.y).float().mean()) if len(self.y) else float("nan")


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
                keep = y != IGNORE
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


def metrics(predictions: Predictions) -> dict[str, float]:
    """accuracy, macro_f1 over the classes that occur (both from torchmetrics) and mean loss."""
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

    if not len(predictions.y):
        return {}
    classes = max(predictions.logits.shape[1], 2)
    arguments = (predictions.predicted, predictions.y, classes)
    return {
        "accuracy": float(multiclass_accuracy(*arguments, average="micro")),
        "macro_f1": float(multiclass_f1_score(*arguments, average="macro")),
        "loss": float(predictions.loss.mean()),
    }


def final_metrics(predictions: Predictions) -> dict[str, float]:
    """What `metrics` gives and what is asked of a finished run alone, all from torchmetrics and in [0, 1].

    roc_auc and average_precision: one against the rest, the mean over the classes that occur; NaN where only one does.
    calibration_error: the expected one over 15 bins, l1 (Guo et al., 2017, arXiv:1706.04599, eq. 3).
    top5_accuracy: where there are more than 10 classes.
    """
    from torchmetrics.functional import classification as functional

    values = metrics(predictions)
    if not values:
        return values
    y, probabilities = predictions.y, predictions.logits.double().softmax(1)
    present, ids = y.unique(return_inverse=True)
    values |= {"roc_auc": float("nan"), "average_precision": float("nan")}
    if len(present) > 1:
        ranked = (probabilities[:, present], ids, len(present))
        values["roc_auc"] = float(functional.multiclass_auroc(*ranked))
        values["average_precision"] = float(functional.multiclass_average_precision(*ranked))
    classes = probabilities.shape[1]
    if classes > 1:
        values["calibration_error"] = float(functional.multiclass_calibration_error(probabilities, y, classes))
    if classes > 10:
        best = functional.multiclass_accuracy(probabilities, y, classes, average="micro", top_k=5)
        values["top5_accuracy"] = float(best)
    return values


def class_metrics(y: Tensor, predicted: Tensor, classes: int) -> list[dict[str, float]]:
    """precision, recall, f1 and rows of each class, from ids y and predicted (N,); NaN where it would be 0 / 0.

    The mean of all f1 that are numbers is `macro_f1`.
    """
    right, rows, claimed = (ids.bincount(minlength=classes).double() for ids in (y[y == predicted], y, predicted))
    columns = {"precision": right / claimed, "recall": right / rows, "f1": 2 * right / (rows + claimed), "rows": rows}
    return [{name: float(column[c]) for name, column in columns.items()} for c in range(classes)]


def synchronise_buffers(model: Model) -> None:
    """Rank 0's buffers (BatchNorm statistics) on every rank, as DDP does at its next forward pass."""
    if ranks() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)
