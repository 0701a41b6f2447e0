"""What a run costs: seconds by phase, peak memory, floating-point operations, parameters."""

from __future__ import annotations

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch


class Cost:
    """Stopwatches by phase (train, evaluate, prepare …) and the peak memory since it was made.

    Seconds of an interrupted run are carried over by `seconds`.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.predictions, self.flops = 0, 0.0
        reset_peak_memory()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the wall time inside to a phase; phases may nest, the inner one's time is taken off the outer's."""
        start, inner = time.perf_counter(), dict(self.seconds)
        try:
            yield
        finally:
            nested = sum(self.seconds.values()) - sum(inner.values())
            self.seconds[name] += time.perf_counter() - start - nested


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
