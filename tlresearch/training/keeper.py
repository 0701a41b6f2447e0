"""Selection, early stopping and resumable checkpoints of one run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tlresearch.config.budget import Budget
from tlresearch.core.distributed import broadcast, rank
from tlresearch.core.method import Method
from tlresearch.core.model import Model, changed_names
from tlresearch.core.tracker import Selection
from tlresearch.core.types import Clock
from tlresearch.training import checkpoint
from tlresearch.training.cost import Cost

if TYPE_CHECKING:
    from tlresearch.training.trainer import Position, Trainer

STATE = "state.safetensors"
MODEL = "model.safetensors"
HISTORY = "history.jsonl"


class RunKeeper:
    """The Trainer's Keeper. It owns what outlives a step: the best weights so far and the file to resume from.

    Args:
        original: `pristine(backbone)`. validate: the metrics of the model as it stands. cut: told that other parameters
            move from now on. `tensors` says what is saved.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        model: Model,
        methods: Mapping[str, Method],
        original: Mapping[int, int],
        selection: Selection,
        validate: Callable[[], dict[str, float]],
        cut: Callable[[Clock], None],
        cost: Cost,
    ) -> None:
        self.model, self.methods, self.original, self.selection = model, methods, original, selection
        self.evaluate, self.cut, self.cost = validate, cut, cost
        self.patience: int | None = config["patience"]
        self.seconds_between: float = config["checkpoint_seconds"]
        self.budget, self._spent = Budget(config), False
        self.folder: Path | None = None
        self.trainer: Trainer | None = None
        self.finished: list[dict[str, Any]] = []
        self.best: tuple[int, dict[str, Tensor], dict[str, dict[str, Any]]] | None = None
        self._resumed: dict[str, dict[str, Any]] | None = None
        self._saved = time.monotonic()

    def tensors(self) -> dict[str, Tensor]:
        """Copies of all tensors of the model that its weights file cannot give back."""
        return checkpoint.model_state(self.model, changed_names(self.model, self.original))

    def after_evaluation(self, position: Position) -> bool:
        """Keeps a copy of the best weights so far; returns whether patience is at its end."""
        best = self.selection.best(position.history)
        if best == len(position.history) - 1:
            self.best = (best, self.tensors(), checkpoint.method_states(self.methods))
        return self.patience is not None and len(position.history) - 1 - best >= self.patience

    def back_to_best(self) -> None:
        """Model and methods as they were at the selected evaluation."""
        if self.best is not None:
            checkpoint.load_model(self.model, self.best[1])
            checkpoint.load_methods(self.methods, self.best[2], self._device())

    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def waiting(self) -> AbstractContextManager[None]:
        """Around what the loop does to get its next batch; costs some two microseconds and reads no device."""
        return self.cost.phase("wait")

    def due(self) -> bool:
        """Whether the time between checkpoints or the budget's is over, by rank 0's clock."""
        over = time.monotonic() - self._saved >= self.seconds_between
        over, self._spent = broadcast((over, self.budget.spent()))
        return over or self._spent

    def thaw(self, names: list[str]) -> None:
        """What begins to move now was still as it is when the best weights were taken: it belongs to them."""
        if self.best is not None:
            wanted = {*names, *(name for name, _ in self.model.named_buffers())} - set(self.best[1])
            self.best[1].update(checkpoint.model_state(self.model, wanted))

    def save(self, position: Position, within: bool = True) -> None:
        """Writes the file that an interrupted run goes on from (one file, replaced in one step).

        within: in the middle of a stage, with an optimizer; otherwise between two.
        Raises Spent after writing where `due` found the budget used up.
        """
        self._saved = time.monotonic()
        if not rank() and self.folder is not None:
            self._write(self.folder, position, within)
        if self._spent:
            raise self.budget.error(started=True)

    def _write(self, folder: Path, position: Position, within: bool) -> None:
        assert self.trainer is not None
        optimizer = self.trainer.optimizer if within else None
        parts: dict[str, dict[str, dict[str, Any]]] = {
            "model": {"": dict(self.tensors())},
            "optimizer": checkpoint.optimizer_state(self.model, optimizer),
            "method": checkpoint.method_states(self.methods),
        }
        if self.best is not None:
            parts |= {"best_model": {"": dict(self.best[1])}, "best_method": self.best[2]}
        tensors: dict[str, Tensor] = {}
        rest: dict[str, Any] = {}
        for name, part in parts.items():
            flat, rest[name] = checkpoint.split_state(part)
            tensors |= {f"{name}/{key}": tensor for key, tensor in flat.items()}
        extra = {
            "position": vars(position),
            "rest": rest,
            "best": None if self.best is None else self.best[0],
            "within": within,
            "finished": self.finished,
            "trainer": self.trainer.counters(),
            "seconds": self.cost.so_far(),
        }
        checkpoint.write(folder / STATE, tensors, extra)

    def open(self, folder: Path, prepare: Callable[[int], None]) -> dict[str, Any] | None:
        """Starts in a folder; where a checkpoint lies there, loads it and returns the position to go on from.

        prepare: called with the number of the last stage begun (-1: none) before weights are loaded, so that all heads
            are there and grown as they were.
        """
        self.folder, self._saved = folder, time.monotonic()
        if not (folder / STATE).exists():
            _forget_after(folder / HISTORY, 0)
            return None
        tensors, extra = checkpoint.read(folder / STATE)
        _forget_after(folder / HISTORY, extra["trainer"]["steps_before"] + extra["position"]["step"])
        prepare(extra["position"]["stage"] - (not extra["within"]))  # between stages, the next has not grown any head
        parts = {
            name: checkpoint.join_state(checkpoint.below(tensors, f"{name}/"), rest)
            for name, rest in extra["rest"].items()
        }
        checkpoint.load_model(self.model, parts["model"][""])
        checkpoint.load_methods(self.methods, parts["method"], self._device())
        if extra["best"] is not None:
            self.best = (extra["best"], parts["best_model"][""], parts["best_method"])
        assert self.trainer is not None
        self.trainer.load_counters(extra["trainer"])
        self.finished = extra["finished"]
        self.cost.carry_over(extra["seconds"])
        self._resumed = parts["optimizer"] if extra["within"] else None
        position: dict[str, Any] = extra["position"]
        return position

    def restore(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Called by the Trainer once a stage's optimizer exists."""
        if self._resumed is not None:
            states, self._resumed = self._resumed, None
            checkpoint.load_optimizer(self.model, optimizer, states)


def _forget_after(history: Path, step: int) -> None:
    """Removes the lines of steps that will be taken again; in place, for the tracker has the file open."""
    if rank() or not history.exists():
        return
    lines = history.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    with open(history, "r+") as file:
        file.writelines(kept)
        file.truncate()
