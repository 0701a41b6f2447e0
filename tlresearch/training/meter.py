"""Adds up the terms of the loss on the device, reads them at intervals, and ends the run on a non-finite one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tlresearch.core.distributed import sum_over_ranks
from tlresearch.training.progress import Bar


class NonFiniteLoss(RuntimeError):
    """A term of the loss became NaN or infinite; the last good checkpoint is kept."""


class Meter:
    """One vector of sums on the device; reading it is the only synchronisation of the loop."""

    def __init__(
        self, log: Callable[[dict[str, float], int], None], every: int, total: int, before: int, enabled: bool = True
    ) -> None:
        self.log, self.every, self.before = log, every, before
        self.names: tuple[str, ...] = ()
        self.sums: Tensor | None = None
        self.steps, self.rows, self.done = 0, 0, 0
        self.start = time.perf_counter()
        self.bar = Bar("training", total, enabled=enabled)
        self._metric = ""

    def add(self, terms: Mapping[str, Tensor], rows: int, step: int) -> None:
        """The detached terms of optimizer step number `step` (from 0)."""
        names = tuple(sorted(terms))
        if names != self.names:
            if self.steps:
                self.flush(step)
            self.names, self.sums = names, None
        values = torch.stack([terms[name] for name in names])
        self.sums = values if self.sums is None else self.sums + values
        self.steps += 1
        self.rows += rows
        self.bar.update(step + 1)
        if (step + 1) % self.every == 0:  # not a count of steps: resumed runs read at the same places
            self.flush(step + 1)

    def take(self, name: str, sums: Tensor, steps: int, rows: int) -> None:
        """One term's sum (1,) over steps that were added up elsewhere."""
        self.names, self.sums, self.steps, self.rows = (name,), sums, steps, rows

    def flush(self, step: int) -> None:
        """Reads the means since the last time, logs them with the speed, and raises on a non-finite term."""
        if self.sums is None or not self.steps:
            return
        values = self._means(step)
        speed = self.rows / max(time.perf_counter() - self.start, 1e-9)
        logged = {f"train/{name}": value for name, value in zip(self.names, values, strict=True)}
        self.log({"train/loss": sum(values), **logged, "train/rows_per_second": speed}, self.before + step)
        self.bar.update(step, f"loss {sum(values):.4f}{self._metric} {speed:.0f} rows/s")
        self.sums, self.steps, self.rows, self.start = None, 0, 0, time.perf_counter()

    def _means(self, step: int) -> list[float]:
        """By sorted name; raises on a non-finite term."""
        assert self.sums is not None
        values: list[float] = (sum_over_ranks(self.sums) / self.steps).tolist()
        bad = [name for name, value in zip(self.names, values, strict=True) if not math.isfinite(value)]
        if bad:
            raise NonFiniteLoss(
                f"the loss term {', '.join(bad)} became {values[self.names.index(bad[0])]} between steps "
                f"{step - self.steps} and {step}; the last good checkpoint is kept. Lower optimizer.lr, set clip=1.0, "
                "or look at the data of these steps"
            )
        return values

    def restart(self) -> None:
        """The time of an evaluation is not training's."""
        self.start = time.perf_counter()

    def metric(self, values: Mapping[str, float]) -> None:
        """The last validation metrics, for the bar."""
        self._metric = "".join(f" {name} {value:.4f}" for name, value in list(values.items())[:1])

    def close(self) -> None:
        """Takes the bar off the screen."""
        self.bar.close()
