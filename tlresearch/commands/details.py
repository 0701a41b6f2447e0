"""The end of a run, and `tlresearch report RUN`: its numbers, its classes, its mistakes and where the pictures are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tlresearch.commands.table import print_table
from tlresearch.config.errors import ConfigError

if TYPE_CHECKING:
    from tlresearch.results.details import Details, Mistake
    from tlresearch.results.runs import Run

CLASSES, WORST, MISTAKES = 30, 15, 10
"""Up to so many classes are listed, of more only the worst, and so many mistakes."""


def show(run: Run) -> None:
    """Prints a run's details and writes its pictures; of one that is not done, how it stands."""
    if run.status != "done":
        print(f"{run.folder} is {run.status}: {run.record.get('error') or 'tlresearch train goes on with it'}")
        return
    from tlresearch.results.details import details, has_details
    from tlresearch.results.pictures import PICTURED, write

    test = {name: value for name, value in run.metrics["test"].items() if not isinstance(value, dict)}
    print_table(list(test), [[_number(value) for value in test.values()]], "on the test rows")
    if not has_details(run):
        print(f"{run.folder} keeps no logits; run it again in a new store for classes and mistakes")
        return
    found, stream = details(run), None
    notes: list[str] = []
    written: list[Path] = []
    try:
        stream = run.stream
    except ConfigError as error:
        notes.append(f"the mistakes' inputs cannot be shown without the data ({error})")
    for task in found:
        name = f" of {task.task.name}" if len(found) > 1 else ""
        suffix = "" if len(found) == 1 else f"-{quote(task.task.name, safe=' ')}"
        mistakes = task.mistakes(stream)
        _print_classes(task, name)
        _print_mistakes(mistakes[:MISTAKES], int((task.y != task.predicted).sum()), name)
        if len(task.task.labels) > PICTURED:
            notes.append(f"no picture of the confusions{name}: more than {PICTURED} classes")
        try:
            written += write(run.folder, task, mistakes, stream, suffix)
        except OSError as error:
            notes.append(f"nothing can be written to {run.folder}: {error}")
    print()
    for note in notes:
        print(note)
    if written:
        print(f"in {run.folder}: {', '.join(file.name for file in written)}")


def _print_classes(task: Details, name: str) -> None:
    from tlresearch.results.details import one_line

    rows = list(zip(task.task.labels, task.classes(), strict=True))
    rows.sort(key=lambda row: math.inf if math.isnan(row[1]["f1"]) else row[1]["f1"])
    title = f"classes{name}, the worst first"
    if len(rows) > CLASSES:
        title = f"the {WORST} worst of {len(rows)} classes{name}"
        rows = rows[:WORST]
    body = [
        [one_line(label, 40), *(_number(v[c]) for c in ("precision", "recall", "f1")), f"{v['rows']:.0f}"]
        for label, v in rows
    ]
    print()
    print_table(["class", "precision", "recall", "f1", "rows"], body, title)


def _print_mistakes(mistakes: Sequence[Mistake], wrong: int, name: str) -> None:
    from tlresearch.results.details import one_line

    print()
    if not mistakes:
        print(f"no mistakes{name}")
        return
    body = []
    for m in mistakes:
        shown = one_line(m.text or f"row {m.index}", 100)
        body.append([one_line(m.true, 30), one_line(m.predicted, 30), f"{m.probability:.4f}", shown])
    title = f"the {len(mistakes)} most confident of {wrong} mistakes{name}"
    print_table(["true", "predicted", "probability", "input"], body, title)


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
