"""What the numbers of a regression are, found before training: their range, and those that lie far from the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tlresearch.core.rows import Rows
    from tlresearch.core.types import Stream

    Numbers = np.ndarray[Any, np.dtype[np.float64]]

FAR = 10.0
"""Targets so many interquartile ranges outside the middle half are suspicious: -999 for "unknown", a slipped comma."""

_QUANTILES = {
    "minimum": 0.0,
    "percentile_5": 0.05,
    "percentile_25": 0.25,
    "median": 0.5,
    "percentile_75": 0.75,
    "percentile_95": 0.95,
    "maximum": 1.0,
}


def describe_targets(stream: Stream, sets: Mapping[str, Rows]) -> dict[str, dict[str, dict[str, float]]]:
    """Task → set → rows, mean, deviation and quantiles of the labelled rows' targets, for tasks without classes.

    test also has rmse_of_mean, the error of always guessing the mean of the train rows.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for task, columns in _targets(stream, sets):
        found[task] = {split: _numbers(y) for split, y in columns.items() if len(y)}
        if "train" in found[task] and "test" in found[task]:
            errors = columns["test"] - columns["train"].mean()
            found[task]["test"]["rmse_of_mean"] = float(np.sqrt(np.square(errors).mean()))
    return found


def suspicious_targets(stream: Stream, sets: Mapping[str, Rows]) -> list[dict[str, Any]]:
    """Findings about targets, in the form of `suspicion.suspicious_rows`."""
    far: list[str] = []
    for task, columns in _targets(stream, sets):
        everything = np.concatenate(list(columns.values()))
        if not len(everything):
            continue
        low, high = np.quantile(everything, (0.25, 0.75))
        reach = FAR * (high - low)
        for split, rows in sets.items() if reach else ():
            y = rows.labels[task].double().numpy()
            outside = np.flatnonzero((y < low - reach) | (y > high + reach))  # no NaN is
            far += [f"{split} {int(rows.index[i])}: {y[i]:.7g}" for i in outside]
    return [{"kind": "far_targets", "count": len(far), "examples": far[:3]}] if far else []


def said(task: str, found: Mapping[str, Mapping[str, float]]) -> str:
    """One line for people, about the train rows."""
    if "train" not in found:
        return f"{task}; no train row has one"
    n = {name: f"{value:.5g}" for name, value in found["train"].items()}
    line = f"{task}; train rows: {n['minimum']} to {n['maximum']}, half of them {n['percentile_25']} to "
    line += f"{n['percentile_75']}, mean {n['mean']}, standard deviation {n['deviation']}"
    guess = found.get("test", {}).get("rmse_of_mean")
    return line if guess is None else f"{line}; always guessing the mean has test.rmse {guess:.4f}"


def _targets(stream: Stream, sets: Mapping[str, Rows]) -> Iterator[tuple[str, dict[str, Numbers]]]:
    """Each task without classes, and set → its labelled rows' targets."""
    from tlresearch.core.kinds import kind_of
    from tlresearch.core.labels import labelled

    for task in stream.spec.tasks:
        if not kind_of(task).classes:
            columns = {split: rows.labels[task.name] for split, rows in sets.items()}
            yield task.name, {split: y[labelled(y)].double().numpy() for split, y in columns.items()}


def _numbers(y: Numbers) -> dict[str, float]:
    quantiles = {name: float(np.quantile(y, share)) for name, share in _QUANTILES.items()}
    return {"rows": len(y), "mean": float(y.mean()), "deviation": float(y.std()), **quantiles}
