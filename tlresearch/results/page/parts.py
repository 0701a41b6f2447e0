"""The parts that a metric is made of: domains, and the stages of runs over several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlresearch.results import store
from tlresearch.results.page.values import number, rounded, text, thin
from tlresearch.results.report import interval
from tlresearch.results.runs import look_up

DOMAINS, STAGES = 40, 24
"""So many domains (the worst) of a group and stages (evenly spread) of a run are shown."""


def domains(members: Sequence[Mapping[str, Any]], metric: str, better: str) -> dict[str, Any] | None:
    """Each domain's mean over the runs of a group, the worst first, with its 95 % interval (t) where it has several.

    metric: the group's own, such as test.accuracy; where domains lack it they are shown by what they have.
    None where no run has domains.
    """
    values: dict[str, list[float]] = {}
    rows: dict[str, int] = {}
    names: set[str] = set()
    for row in members:
        found = row["metrics"].get("domain")
        for domain, numbers in found.items() if isinstance(found, Mapping) else ():
            name, value = _score(numbers, metric.rpartition(".")[2])
            if value is not None:
                values.setdefault(domain, []).append(value)
                rows[domain] = int(number(numbers.get("rows")) or 0)
                names.add(name)
    if not values or len(names) > 1:  # an accuracy and an error have no mean
        return None
    means = {domain: sum(of_domain) / len(of_domain) for domain, of_domain in values.items()}
    worst = sorted(means, key=lambda domain: means[domain] if better == "higher" else -means[domain])
    return {
        "metric": text(names.pop()),
        "of": len(worst),
        "domains": [
            {
                "name": text(domain),
                "mean": rounded(means[domain]),
                "half": rounded(interval(values[domain])),
                "n": len(values[domain]),
                "rows": rows[domain],
            }
            for domain in worst[:DOMAINS]
        ],
    }


def _score(numbers: Any, name: str) -> tuple[str, float | None]:
    """The metric asked for, or the first that is one."""
    known = numbers if isinstance(numbers, Mapping) else {}
    names = [name, *(other for other in known if other != "rows")]
    return next(((n, found) for n in names if (found := number(known.get(n))) is not None), (name, None))


def stages(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of a run over several stages: its matrix, and what it knows of the newest and of all earlier ones.

    matrix[i][j]: the score on stage j's test rows after stage i. new[i] = matrix[i][i]; old[i] = the mean over j < i,
    weighted by their test rows, so that of class-incremental runs it is the accuracy on all rows of the old classes.
    None where the record has no such matrix.
    """
    if not isinstance(row["metrics"].get("stage"), Mapping):
        return None
    record = store.read_record(Path(row["folder"])) or {}
    finished = record.get("stages") or []
    key = next((key for key in (finished[0] if finished else ()) if key.startswith("test_")), None)
    matrix = [stage.get(key) for stage in finished] if key else []
    if len(matrix) < 2 or any(not isinstance(scores, list) or len(scores) <= i for i, scores in enumerate(matrix)):
        return None
    tests = [number(stage.get("test")) or 0 for stage in look_up(record, "data.stages", [])]
    weights = tests if len(tests) >= len(matrix) and all(tests) else [1] * len(matrix)
    shown = thin(range(len(matrix)), STAGES)
    return {
        "metric": text(key).removeprefix("test_"),
        "of": len(matrix),
        "numbers": shown,
        "names": [text(finished[i].get("name")) for i in shown],
        "matrix": [[rounded(matrix[i][j]) for j in shown if j <= i] for i in shown],
        "new": [rounded(matrix[i][i]) for i in shown],
        "old": [rounded(_mean(matrix[i][:i], weights)) for i in shown],
        "forgetting": rounded(row["metrics"].get("forgetting")),
    }


def _mean(scores: Sequence[Any], weights: Sequence[float]) -> float | None:
    """The weighted mean; None where there is none or one of them is no number."""
    if not scores or any(number(score) is None for score in scores):
        return None
    parts = list(zip(scores, weights, strict=False))
    return float(sum(score * weight for score, weight in parts) / sum(weight for _, weight in parts))
