"""What a finished run got right and wrong: numbers of each class, confusions, confident mistakes; largest errors."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from tlresearch.core.types import Stream, Task
from tlresearch.results.runs import Run, look_up
from tlresearch.results.text import one_line
from tlresearch.training.evaluate import class_metrics
from tlresearch.training.logits import LOGITS, Answers, read_logits

LISTED = 100
"""So many mistakes are kept as a list: what a person may want to look through."""

CLASSES, WORST, MISTAKES = 30, 15, 10
"""Up to so many classes have a line, of more only the worst, and so many mistakes."""


class Table(NamedTuple):
    """What is printed: cells of text below a header; without a body the title says it all."""

    title: str
    header: list[str]
    body: list[list[str]]


class View(Protocol):
    """How the answers to the test rows of one task are shown; one class a kind of task."""

    @property
    def task(self) -> Task:
        """Whose answers they are."""

    def mistakes(self, stream: Stream | None, most: int = LISTED) -> Sequence[Any]:
        """NamedTuples with `text` (the input) and `caption`, the worst first; inputs where a stream is given."""

    def tables(self, mistakes: Sequence[Any], name: str) -> list[Table]:
        """What is printed, of `mistakes` too. name: stands for the task in titles, "" where there is only one."""

    def draw(self, folder: Path, suffix: str) -> list[Path]:
        """Writes the pictures of the whole; suffix ends their names."""


class Mistake(NamedTuple):
    """One test row. index: its number in the data set; probability: of the predicted label, in [0, 1].

    input: the text, path or image as it came; None where the data are not at hand.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index
    true: str
    predicted: str
    probability: float
    input: Any = None

    @property
    def text(self) -> str | None:
        """The input as a text: itself, or the path of a file; None for anything else."""
        return _as_text(self.input)

    @property
    def caption(self) -> str:
        """What stands above its picture."""
        true, predicted = one_line(self.true, 24), one_line(self.predicted, 24)
        break_or_blank = " " if len(true + predicted) < 20 else "\n"
        return f"{true}{break_or_blank}→ {predicted}\n{self.probability:.3f}"


class LargeError(NamedTuple):
    """One test row. index: its number in the data set; error: predicted - true, in the target's unit; input: as above.

    A mistake of a regression.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index
    true: float
    predicted: float
    error: float
    input: Any = None

    @property
    def text(self) -> str | None:
        """The input as a text: itself, or the path of a file; None for anything else."""
        return _as_text(self.input)

    @property
    def caption(self) -> str:
        """What stands above its picture."""
        return f"{self.true:.5g} → {self.predicted:.5g}"


class Details(NamedTuple):
    """One task's N test rows, of all stages: label, predicted label, its probability, number and stage, each (N,).

    A probability is softmax(logits), in float64: near 1 they stay apart.
    """

    task: Task
    y: Tensor
    predicted: Tensor
    probability: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index
    stage: Tensor

    @classmethod
    def of(cls, task: Task, parts: Sequence[Answers]) -> Details:
        """From the answers to a task with classes."""
        best = [part.logits.double().softmax(1).max(1) for part in parts]
        answers = torch.cat([b.indices for b in best]), torch.cat([b.values for b in best])
        return cls(task, torch.cat([part.y for part in parts]), *answers, *_places(parts))

    def classes(self) -> list[dict[str, float]]:
        """precision, recall, f1 (NaN for 0 / 0) and rows of each label, in their order."""
        return class_metrics(self.y, self.predicted, len(self.task.labels))

    def confusion(self) -> Tensor:
        """(C, C) counts: row true, column predicted label."""
        c = len(self.task.labels)
        return (self.y * c + self.predicted).bincount(minlength=c * c).view(c, c)

    def mistakes(self, stream: Stream | None, most: int = LISTED) -> list[Mistake]:
        """The most confident first, equal ones by their order in the data; their inputs where a stream is given."""
        wrong = (self.y != self.predicted).nonzero()[:, 0]
        order = wrong[self.probability[wrong].argsort(descending=True, stable=True)][:most]
        labels = self.task.labels
        return [
            Mistake(n, labels[int(self.y[i])], labels[int(self.predicted[i])], float(self.probability[i]), value)
            for i, n, value in _numbered(self, order, stream)
        ]

    def tables(self, mistakes: Sequence[Mistake], name: str) -> list[Table]:
        """The classes, the worst first, and the most confident mistakes."""
        rows = list(zip(self.task.labels, self.classes(), strict=True))
        rows.sort(key=lambda row: math.inf if math.isnan(row[1]["f1"]) else row[1]["f1"])
        title = f"classes{name}, the worst first"
        if len(rows) > CLASSES:
            title = f"the {WORST} worst of {len(rows)} classes{name}"
            rows = rows[:WORST]
        classes = [
            [one_line(label, 40), *(shown(v[c]) for c in ("precision", "recall", "f1")), f"{v['rows']:.0f}"]
            for label, v in rows
        ]
        body = [
            [one_line(m.true, 30), one_line(m.predicted, 30), f"{m.probability:.4f}", _line(m)]
            for m in mistakes[:MISTAKES]
        ]
        wrong = int((self.y != self.predicted).sum())
        said = f"the {len(body)} most confident of {wrong} mistakes{name}" if body else f"no mistakes{name}"
        return [
            Table(title, ["class", "precision", "recall", "f1", "rows"], classes),
            Table(said, ["true", "predicted", "probability", "input"], body),
        ]

    def draw(self, folder: Path, suffix: str) -> list[Path]:
        """confusion.png and .svg, where they are not too many classes."""
        from tlresearch.results.pictures import PICTURED, draw_confusion

        if len(self.task.labels) > PICTURED:
            return []
        return draw_confusion(self.confusion(), self.task.labels, folder / f"confusion{suffix}")


class Errors(NamedTuple):
    """One regression's N test rows, of all stages: target, predicted number, number of the row, stage, each (N,)."""

    task: Task
    y: Tensor
    predicted: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index
    stage: Tensor

    @classmethod
    def of(cls, task: Task, parts: Sequence[Answers]) -> Errors:
        """From the answers to a regression."""
        answers = torch.cat([part.logits[:, 0] for part in parts])
        return cls(task, torch.cat([part.y for part in parts]), answers, *_places(parts))

    def mistakes(self, stream: Stream | None, most: int = LISTED) -> list[LargeError]:
        """The largest first, equal ones by their order in the data; their inputs where a stream is given."""
        errors = (self.predicted - self.y).double()
        order = errors.abs().argsort(descending=True, stable=True)[:most]
        return [
            LargeError(n, float(self.y[i]), float(self.predicted[i]), float(errors[i]), value)
            for i, n, value in _numbered(self, order, stream)
        ]

    def tables(self, mistakes: Sequence[LargeError], name: str) -> list[Table]:
        """The largest errors."""
        body = [[*(f"{value:.5g}" for value in (m.true, m.predicted, m.error)), _line(m)] for m in mistakes[:MISTAKES]]
        return [Table(f"the {len(body)} largest errors{name}", ["true", "predicted", "error", "input"], body)]

    def draw(self, folder: Path, suffix: str) -> list[Path]:
        """predicted.png and .svg: predicted against true numbers."""
        from tlresearch.results.pictures import draw_errors

        return draw_errors(self.y, self.predicted, self.task.name, folder / f"predicted{suffix}")


_VIEWS: dict[str, Callable[[Task, Sequence[Answers]], View]] = {
    "classification": Details.of,
    "regression": Errors.of,
}
"""By the task's kind."""


def has_details(run: Run) -> bool:
    """Whether the run's answers were kept, as `details` needs them."""
    return (run.folder / LOGITS).exists()


def details(run: Run) -> list[View]:
    """One for each task that the run answered, by its kind."""
    stages = [stage["name"] for stage in look_up(run.record, "data.stages", [])]
    answered = read_logits(run.folder, stages, [task.name for task in run.spec.tasks])
    return [_VIEWS[task.kind](task, answered[task.name]) for task in run.spec.tasks if task.name in answered]


def _places(parts: Sequence[Answers]) -> tuple[Tensor, Tensor]:
    """Number and stage of every row."""
    stages = [torch.full_like(part.index, part.stage) for part in parts]
    return torch.cat([part.index for part in parts]), torch.cat(stages)


def _numbered(of: Details | Errors, order: Tensor, stream: Stream | None) -> Iterator[tuple[int, int, Any]]:
    """For each place of `order` that place, the row's number in the data, and its input: None without a stream."""
    tests = [stage.test for stage in stream.stages] if stream is not None else []
    places = [{number: i for i, number in enumerate(rows.index.tolist())} for rows in tests]
    for i in order.tolist():
        stage, number = int(of.stage[i]), int(of.index[i])
        yield i, number, tests[stage][places[stage][number]]["input"] if tests else None


def _as_text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | Path) else None


def write_mistakes(mistakes: Sequence[Mistake | LargeError], file: Path) -> None:
    """One JSON object a line; `input` is the text or the path, null for anything else."""
    kept = [{**m._asdict(), "input": m.text} for m in mistakes]
    partial = file.with_name(file.name + ".partial")
    with open(partial, "w", encoding="utf-8", errors="surrogateescape") as target:  # a path's bytes as they are
        target.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
    os.replace(partial, file)


def shown(value: float | None) -> str:
    """A number for a table."""
    if value is None or math.isnan(value):
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def _line(mistake: Mistake | LargeError) -> str:
    return one_line(mistake.text or f"row {mistake.index}", 100)
