"""Confusion matrices of runs, from the answers to their test rows that they keep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlresearch.config.errors import ConfigError
from tlresearch.results.page.values import text

CLASSES = 24
"""Up to so many classes have a row and a column; of more those with the lowest F1, and the others as one column."""

LABEL = 60


def has_answers(row: Mapping[str, Any]) -> bool:
    """Whether the run of a row of `report.rows` kept its answers. Imports nothing: most stores have many runs."""
    return row["status"] == "done" and (Path(row["folder"]) / "logits.safetensors").is_file()


def confusions(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One matrix a task with classes: counts[true][predicted] of all test rows; [] where they cannot be read.

    labels, f1 (None for 0 / 0) and rows of the classes shown; classes: of how many; counts has one more column than
    labels where there are other classes.
    """
    from safetensors import SafetensorError

    from tlresearch.results.details import Details, details
    from tlresearch.results.runs import Run

    try:
        views = details(Run.load(row["folder"]))
    except (ConfigError, OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
        return []  # a store made elsewhere: another run's page is not worth less for it
    return [_matrix(view) for view in views if isinstance(view, Details)]


def _matrix(view: Any) -> dict[str, Any]:
    counts, numbers, labels = view.confusion(), view.classes(), view.task.labels
    shown = list(range(len(labels)))
    if len(shown) > CLASSES:
        ranked = sorted(shown, key=lambda c: math.inf if math.isnan(numbers[c]["f1"]) else numbers[c]["f1"])
        shown = ranked[:CLASSES]
    body = counts[shown][:, shown].tolist()
    if len(shown) < len(labels):
        body = [[*row, n - sum(row)] for row, n in zip(body, counts[shown].sum(1).tolist(), strict=True)]
    return {
        "task": text(view.task.name),
        "labels": [text(labels[c], LABEL) for c in shown],
        "classes": len(labels),
        "counts": body,
        "rows": [int(numbers[c]["rows"]) for c in shown],
        "f1": [None if math.isnan(numbers[c]["f1"]) else round(numbers[c]["f1"], 4) for c in shown],
    }
