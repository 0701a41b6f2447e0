"""What a stage's training reports to: evaluation, selection and checkpoints, which are not the loop's business."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from tlresearch.core.types import Clock
    from tlresearch.training.trainer import Position


class Keeper(Protocol):
    """What the Trainer knows of it; `RunKeeper` is the one there is."""

    def evaluate(self) -> dict[str, float]:
        """The validation metrics of the model as it stands."""

    def after_evaluation(self, position: Position) -> bool:
        """Told of every evaluation; returns whether to stop early."""

    def cut(self, clock: Clock) -> None:
        """Told that another set of parameters moves from now on: activations of what rests may be kept."""

    def thaw(self, names: list[str]) -> None:
        """Told which parameters begin to move in the middle of a stage, before they do."""

    def waiting(self) -> AbstractContextManager[None]:
        """Around what the loop does to get its next batch."""

    def due(self) -> bool:
        """Whether a resumable checkpoint should be written now; all ranks give the same answer."""

    def save(self, position: Position) -> None:
        """Writes that checkpoint."""

    def restore(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Fills a fresh optimizer where an interrupted stage goes on."""
