"""The answers to a run's test rows, kept in its folder: what every later question about mistakes starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from tlresearch.core.types import Stream
from tlresearch.training import checkpoint
from tlresearch.training.scores import Found

LOGITS = "logits.safetensors"


class Answers(NamedTuple):
    """To N test rows of one task and stage: logits (N, C), labels y and numbers index (N,); stage counts from 0."""

    stage: int
    logits: Tensor
    y: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index


def write_logits(folder: Path, stream: Stream, predictions: Found) -> None:
    """Writes logits, y and index of every stage and task as "STAGE/TASK/COLUMN"."""
    columns = {
        f"{stream.stages[i].name}/{task}/{column}": getattr(found, column)
        for i, tasks in predictions.items()
        for task, found in tasks.items()
        for column in Answers._fields[1:]
    }
    checkpoint.write(folder / LOGITS, columns, {})


def read_logits(folder: Path, stages: Sequence[str], tasks: Sequence[str]) -> dict[str, list[Answers]]:
    """The inverse of `write_logits`: task → its stages' answers. Names may hold a slash, so they have to be known."""
    tensors, _ = checkpoint.read(folder / LOGITS)
    found = {
        task: [
            Answers(i, *(tensors[f"{stage}/{task}/{column}"] for column in Answers._fields[1:]))
            for i, stage in enumerate(stages)
            if f"{stage}/{task}/y" in tensors
        ]
        for task in tasks
    }
    return {task: answers for task, answers in found.items() if answers}
