"""The contracts around a run: where its numbers go, which checkpoint is reported, what steps its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple


class RunInfo(NamedTuple):
    """What a tracker learns of a run. config: the resolved configuration as plain dicts; folder: the run's own."""

    identity: str
    folder: Path
    config: Mapping[str, Any]


class Tracker:
    """Takes numbers as they come. A plugin is written as `__init__(self, *, its own options)`."""

    def start(self, run: RunInfo) -> None:
        """Before the first step; also when an interrupted run goes on (the same identity again)."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """values: names such as train/loss, validation/accuracy; step: optimizer steps since the run began."""

    def finish(self) -> None:
        """After the last number, also when the run failed."""


class Selection:
    """The rule that picks the reported checkpoint. A plugin is written as `__init__(self, *, its own options)`.

    Attributes:
        oracle: whether the rule saw target labels; such numbers are marked wherever they are shown.
    """

    oracle: ClassVar[bool] = False

    def best(self, history: Sequence[Mapping[str, float]]) -> int:
        """history: the validation metrics of every evaluation so far → the index of the one to report.

        The first of an evaluation is the headline metric of the first task.
        """
        raise NotImplementedError


class Optimizer:
    """A plugin is a function `(parameter_groups, *, its own options) -> torch.optim.Optimizer`; groups hold `lr`."""

    @staticmethod
    def common(*, lr: float | None = None) -> dict[str, Any]:
        """Options of every optimizer. lr: rate of all parameters; null = as backbone, method and head recommend."""
        from tlresearch.config.errors import require

        require(lr is None or lr > 0, "lr", lr, "a number above 0, or null for the recommended rate")
        return {}
