"""What the benches of single steps share: sessions ready to train, a Keeper that does nothing, intervals of ratios."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

os.environ["TLRESEARCH_PLUGINS"] = str(Path(__file__).parent / "plugins")

from tlresearch.config.compose import check, compose
from tlresearch.runner import prepare, resolve
from tlresearch.training import launch
from tlresearch.training.meter import Meter
from tlresearch.training.session import Session
from tlresearch.training.trainer import Position, Trainer

PLAIN = ["optimizer.lr=0.0001", "tracker=[]", "progress=false", "accelerator=cpu"]


class Silent:
    """A Keeper that evaluates nothing and keeps nothing: only steps are measured."""

    def evaluate(self) -> dict[str, float]:
        return {"accuracy": 0.0}

    def after_evaluation(self, position: Position) -> bool:
        return False

    def cut(self, clock: Any) -> None: ...

    def thaw(self, names: list[str]) -> None: ...

    def waiting(self) -> AbstractContextManager[None]:
        return nullcontext()

    def due(self) -> bool:
        return False

    def save(self, position: Position) -> None: ...

    def restore(self, optimizer: torch.optim.Optimizer | None) -> None: ...


def session(*overrides: str) -> Session:
    """A run that is ready to train."""
    config = compose([*PLAIN, *overrides])
    check(config)
    resolved = resolve(config)
    prepared = prepare(resolved)
    return Session(resolved, prepared.stream, launch.make_fabric(resolved), prepared.rates, lambda values, step: None)


def interval(ratios: list[float], draws: int = 2000) -> tuple[float, float]:
    """The bootstrap's 95 % interval of the median."""
    values = torch.tensor(ratios)
    chosen = torch.randint(len(values), (draws, len(values)), generator=torch.Generator().manual_seed(0))
    low, high = torch.quantile(values[chosen].median(1).values, torch.tensor([0.025, 0.975])).tolist()
    return low, high


def alternate(made: Session, plain_step: Callable[[], object]) -> tuple[list[float], list[float]]:
    """Seconds of each step: (of the Trainer's whole loop, of the hand-written one), in turn."""
    rows = made.prepared["train"]
    ours: list[float] = []
    theirs: list[float] = []
    ended = 0.0

    def step(self: Trainer, batch: Any, clock: Any, meter: Meter) -> None:
        nonlocal ended
        now = time.perf_counter()
        if ended:
            ours.append(now - ended)  # the step before, its bookkeeping and the making of this batch
        plain_step()
        ended = time.perf_counter()
        theirs.append(ended - now)
        original(self, batch, clock, meter)

    original, Trainer.step = Trainer.step, step  # type: ignore[method-assign]
    try:
        made.trainer.fit(rows, None, made.position, Silent())
    finally:
        Trainer.step = original  # type: ignore[method-assign]
    return ours, theirs
