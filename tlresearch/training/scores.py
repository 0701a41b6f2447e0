"""The numbers of a finished run from its predictions: overall, by stage and by domain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tlresearch.core.kinds import Kind, kind_of
from tlresearch.core.metrics import falls
from tlresearch.core.types import Stage, Stream
from tlresearch.training.evaluate import Predictions, class_metrics, final_metrics
from tlresearch.training.trainer import Position

Found = Mapping[int, Mapping[str, Predictions]]
"""Stage number → task → predictions on that stage's test rows, all made by the same weights."""

CLASSES_RECORDED = 1000
"""Up to so many classes have numbers of their own in the record."""


def stage_row(stage: Stage, position: Position, best: int, predictions: Found) -> dict[str, Any]:
    """What is kept of a finished stage: its selected evaluation and the test score of every stage so far.

    The score is the headline metric of the first task's kind (`_score`).
    """
    kind = kind_of(stage.tasks[0])
    return {
        "name": stage.name,
        "steps": position.step,
        "evaluations": len(position.history),
        "selected": best,
        "validation": position.history[best],
        f"test_{kind.metrics[0]}": [_score(kind, _scored(kind, found)) for _, found in sorted(predictions.items())],
    }


def summarise(
    stream: Stream, finished: Sequence[Mapping[str, Any]], predictions: Found, validations: Found = {}
) -> dict[str, Any]:
    """`metrics` (test, class, domain, worst_domain, stage, validation) and `stages` of the record.

    Rates are fractions in [0, 1].

    What is no finite number (a class without rows has no recall) is None. `class` stands for streams of one task with
    up to 1,000 labels; over several tasks `test` holds their means, weighted by rows, and each task's own.

    Over several stages `test` pools all rows; `forgetting` is the mean over all stages but the last of the best
    accuracy a stage ever had minus the one it ends with (Chaudhry et al., 2018, arXiv:1801.10112, eq. 3), or of the
    rmse it ends with minus the lowest. `validation` is that of the last stage's rows; `validation.all_stages` has the
    headline metric over the validation rows of every stage, by the weights that the run ends with.
    """
    kinds = {task.name: kind_of(task) for task in stream.spec.tasks}
    kind = kind_of(stream.spec.tasks[0])
    headline = kind.metrics[0]
    by_task: dict[str, list[Predictions]] = {}
    for tasks in predictions.values():
        for task, found in tasks.items():
            by_task.setdefault(task, []).append(found)
    joined = {task: _concatenate(parts) for task, parts in by_task.items()}
    own = {task: final_metrics(found, kinds.get(task, kind)) for task, found in joined.items()}
    names = dict.fromkeys(name for values in own.values() for name in values)
    test: dict[str, Any] = {
        name: _mean([(values[name], len(joined[task].y)) for task, values in own.items() if name in values])
        for name in names
    }
    test["rows"] = sum(len(found.y) for found in joined.values())
    if len(own) > 1:
        test |= own
    result: dict[str, Any] = {"test": test, "validation": finished[-1]["validation"]}
    labels = stream.spec.tasks[0].labels
    if len(own) == 1 and kind.classes and len(labels) <= CLASSES_RECORDED:
        (found,) = joined.values()
        numbers = class_metrics(found.y, found.predicted, len(labels))
        result["class"] = {name: {**n, "rows": int(n["rows"])} for name, n in zip(labels, numbers, strict=True)}
    if len(stream.spec.domains) > 1:
        scored = [found for tasks in predictions.values() for found in _scored(kind, tasks)]
        parts = {name: [_within(found, i) for found in scored] for i, name in enumerate(stream.spec.domains)}
        rows = {name: sum(len(found.y) for found in of_domain) for name, of_domain in parts.items()}
        result["domain"] = {name: {headline: _score(kind, parts[name]), "rows": n} for name, n in rows.items() if n}
        of_domains = [numbers[headline] for numbers in result["domain"].values()]
        result["worst_domain"] = {headline: max(of_domains) if falls(headline) else min(of_domains)}
    if len(stream.stages) > 1:
        matrix = [row[f"test_{headline}"] for row in finished]
        result["stage"] = {str(i): {headline: value} for i, value in enumerate(matrix[-1])}
        sign = -1 if falls(headline) else 1
        lost = [max(sign * row[i] for row in matrix[i:]) - sign * matrix[-1][i] for i in range(len(matrix) - 1)]
        result["forgetting"] = sum(lost) / len(lost)
    if validations:
        seen = [found for tasks in validations.values() for found in _scored(kind, tasks)]
        result["validation"] = {**result["validation"], "all_stages": {headline: _score(kind, seen)}}
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


def _scored(kind: type[Kind], found: Mapping[str, Predictions]) -> list[Predictions]:
    """What the score is of: all tasks with classes together, or the first that is a number; units do not add up."""
    alike = [part for part in found.values() if part.y.is_floating_point() is not kind.classes]
    return alike if kind.classes else alike[:1]


def _score(kind: type[Kind], parts: Sequence[Predictions]) -> float:
    return kind.score(torch.cat([part.predicted for part in parts]), torch.cat([part.y for part in parts]))


def _within(found: Predictions, domain: int) -> Predictions:
    chosen = found.domain == domain
    return Predictions(*(column[chosen] for column in found))


def _concatenate(parts: Sequence[Predictions]) -> Predictions:
    width = max(part.logits.shape[1] for part in parts)
    wide = [torch.nn.functional.pad(p.logits, (0, width - p.logits.shape[1]), value=-torch.inf) for p in parts]
    columns = [torch.cat([getattr(part, name) for part in parts]) for name in Predictions._fields[1:]]
    return Predictions(torch.cat(wide), *columns)
