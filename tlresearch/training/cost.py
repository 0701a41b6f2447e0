"""What a run costs: seconds by phase, peak memory, floating-point operations, parameters.

What the cost block of a record means beside what its names say:

- `flops`: of all training steps, forward and backward, over all ranks, by torch's counter on a few rows of the first
  batch of each stage (and when other parameters begin to move), times the rows of each step, replayed and unlabelled
  ones included. It counts multiplications and additions of matrix products, convolutions and attention as two; padding
  counts. Steps on kept activations cost what comes behind them.
- `flops_features`: of computing the activations that this run has added to the feature cache; runs that find them
  there have 0. Evaluations and what methods do at the ends of stages are in neither.
- `seconds_wait`: what training waited for its batches: reading, preprocessing, gathering and padding rows, as far as
  threads had not done so ahead. `seconds_train` is without it, and without the evaluations and features in between.
- `seconds_*` and `peak_memory_bytes` are those of the first rank's process.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import torch


class Cost:
    """Stopwatches by phase (prepare, features, train, wait, evaluate) and the peak memory since it was made."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.predictions = 0
        self._open: list[str] = []
        self._since = time.perf_counter()
        reset_peak_memory()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the wall time inside to a phase; phases may nest, the inner one's time is taken off the outer's."""
        self._account()
        self._open.append(name)
        try:
            yield
        finally:
            self._account()
            self._open.pop()

    def so_far(self) -> dict[str, float]:
        """Seconds by phase up to now, those of the phases that are not over included."""
        self._account()
        return dict(self.seconds)

    def carry_over(self, seconds: Mapping[str, float]) -> None:
        """Adds the seconds of the process whose work goes on here."""
        for phase, value in seconds.items():
            self.seconds[phase] += value

    def _account(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


def reset_peak_memory() -> None:
    """Forgets the peak of earlier runs in this process (Linux; elsewhere the peak is the process's)."""
    with suppress(OSError):  # not Linux, or not allowed: the peak then includes what came before
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_bytes() -> int:
    """Peak resident memory of this process in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
