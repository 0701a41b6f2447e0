"""What a finished run got right and wrong: numbers of each class, confusions, the most confident mistakes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tlresearch.core.types import Stream, Task
from tlresearch.results.runs import Run, look_up
from tlresearch.training.evaluate import class_metrics
from tlresearch.training.logits import LOGITS, read_logits

LISTED = 100
"""So many mistakes are kept as a list: what a person may want to look through."""


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
        return str(self.input) if isinstance(self.input, str | Path) else None


class Details(NamedTuple):
    """One task's N test rows, of all stages: label, predicted label, its probability, number and stage, each (N,)."""

    task: Task
    y: Tensor
    predicted: Tensor
    probability: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index
    stage: Tensor

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
        labels, found = self.task.labels, []
        tests = [stage.test for stage in stream.stages] if stream is not None else []
        places = [{number: i for i, number in enumerate(rows.index.tolist())} for rows in tests]
        for row in order.tolist():
            stage, number = int(self.stage[row]), int(self.index[row])
            value = tests[stage][places[stage][number]]["input"] if tests else None
            names = labels[int(self.y[row])], labels[int(self.predicted[row])]
            found.append(Mistake(number, *names, float(self.probability[row]), value))
        return found


def has_details(run: Run) -> bool:
    """Whether the run's answers were kept, as `details` needs them."""
    return (run.folder / LOGITS).exists()


def details(run: Run) -> list[Details]:
    """One for each task that the run answered. A probability is softmax(logits), in float64: near 1 they stay apart."""
    stages = [stage["name"] for stage in look_up(run.record, "data.stages", [])]
    answered = read_logits(run.folder, stages, [task.name for task in run.spec.tasks])
    found = []
    for task in run.spec.tasks:
        parts = answered.get(task.name, [])
        if parts:
            best = [part.logits.double().softmax(1).max(1) for part in parts]
            found.append(
                Details(
                    task,
                    torch.cat([part.y for part in parts]),
                    torch.cat([b.indices for b in best]),
                    torch.cat([b.values for b in best]),
                    torch.cat([part.index for part in parts]),
                    torch.cat([torch.full_like(part.y, part.stage) for part in parts]),
                )
            )
    return found


def write_mistakes(mistakes: Sequence[Mistake], file: Path) -> None:
    """One JSON object a line; `input` is the text or the path, null for anything else."""
    kept = [{**m._asdict(), "input": m.text} for m in mistakes]
    partial = file.with_name(file.name + ".partial")
    with open(partial, "w", encoding="utf-8", errors="surrogateescape") as target:  # a path's bytes as they are
        target.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
    os.replace(partial, file)


def one_line(text: str, most: int) -> str:
    """The text on one line of up to `most` characters, without what moves the cursor or turns the reading direction."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text[: 8 * most]).split())
    return plain if len(plain) <= most else plain[: most - 1] + "…"
