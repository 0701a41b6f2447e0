"""The numbers of a finished run from its predictions: overall, by stage and by domain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tlresearch.core.types import Stage, Stream
from tlresearch.training.evaluate import Predictions, class_metrics, final_metrics
from tlresearch.training.trainer import Position

Found = Mapping[int, Mapping[str, Predictions]]
"""Stage number → task → predictions on that stage's test rows, all made by the same weights."""

CLASSES_RECORDED = 1000
"""Up to so many classes have numbers of their own in the record."""


def stage_row(stage: Stage, position: Position, best: int, predictions: Found) -> dict[str, Any]:
    """What is kept of a finished stage: its selected evaluation and the test accuracy of every stage so far."""
    return {
        "name": stage.name,
        "steps": position.step,
        "evaluations": len(position.history),
        "selected": best,
        "validation": position.history[best],
        "test_accuracy": [_accuracy(list(found.values())) for _, found in sorted(predictions.items())],
    }


def summarise(stream: Stream, finished: Sequence[Mapping[str, Any]], predictions: Found) -> dict[str, Any]:
    """`metrics` (test, class, domain, stage, validation) and `stages` of the record; rates are fractions in [0, 1].

    What is no finite number (a class without rows has no recall) is None. `class` stands for streams of one task with
    up to 1,000 labels; over several tasks `test` holds their means, weighted by rows, and each task's own.

    Over several stages `test` pools all rows; `forgetting` is the mean over all stages but the last of the best
    accuracy a stage ever had minus the one it ends with (Chaudhry et al., 2018, arXiv:1801.10112, eq. 3).
    """
    pooled = [found for tasks in predictions.values() for found in tasks.values()]
    by_task: dict[str, list[Predictions]] = {}
    for tasks in predictions.values():
        for task, found in tasks.items():
            by_task.setdefault(task, []).append(found)
    joined = {task: _concatenate(parts) for task, parts in by_task.items()}
    own = {task: final_metrics(found) for task, found in joined.items()}
    names = dict.fromkeys(name for values in own.values() for name in values)
    test: dict[str, Any] = {
        name: _mean([(values[name], len(joined[task].y)) for task, values in own.items() if name in values])
        for name in names
    }
    test["rows"] = sum(len(found.y) for found in pooled)
    if len(own) > 1:
        test |= own
    result: dict[str, Any] = {"test": test, "validation": finished[-1]["validation"]}
    labels = stream.spec.tasks[0].labels
    if len(own) == 1 and len(labels) <= CLASSES_RECORDED:
        (found,) = joined.values()
        numbers = class_metrics(found.y, found.predicted, len(labels))
        result["class"] = {name: {**n, "rows": int(n["rows"])} for name, n in zip(labels, numbers, strict=True)}
    domains = torch.cat([found.domain for found in pooled])
    right = torch.cat([(found.predicted == found.y).float() for found in pooled])
    if len(stream.spec.domains) > 1:
        result["domain"] = {
            name: {"accuracy": float(right[domains == i].mean()), "rows": int((domains == i).sum())}
            for i, name in enumerate(stream.spec.domains)
            if bool((domains == i).any())
        }
    if len(stream.stages) > 1:
        matrix = [row["test_accuracy"] for row in finished]
        result["stage"] = {str(i): {"accuracy": value} for i, value in enumerate(matrix[-1])}
        earlier = range(len(matrix) - 1)
        result["forgetting"] = sum(max(row[i] for row in matrix[i:]) - matrix[-1][i] for i in earlier) / len(earlier)
    record: dict[str, Any] = _finite({"metrics": result, "stages": list(finished)})
    return record


def _mean(weighted: Sequence[tuple[float, int]]) -> float:
    """The mean of (value, weight) over the values that are numbers; NaN where none is."""
    known = [(value, weight) for value, weight in weighted if not math.isnan(value)]
    return sum(value * weight for value, weight in known) / sum(w for _, w in known) if known else math.nan


def _finite(value: Any) -> Any:
    """The same with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _accuracy(parts: Sequence[Predictions]) -> float:
    right = torch.cat([(found.predicted == found.y).float() for found in parts])
    return float(right.mean())


def _concatenate(parts: Sequence[Predictions]) -> Predictions:
    width = max(part.logits.shape[1] for part in parts)
    wide = [torch.nn.functional.pad(p.logits, (0, width - p.logits.shape[1]), value=-torch.inf) for p in parts]
    columns = [torch.cat([getattr(part, name) for part in parts]) for name in Predictions._fields[1:]]
    return Predictions(torch.cat(wide), *columns)
