"""What a sweep says: before each of its runs which of how many, and how long the rest will take; at its end the sum."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tlresearch.config.compose import user_error


class Value(float):
    """A run's headline value, as a launcher carries it from its process; reused: the run was found done."""

    reused: bool

    def __new__(cls, value: float, reused: bool = False) -> Value:
        self = super().__new__(cls, value)
        self.reused = reused
        return self


class Pace:
    """The durations of a sweep's runs in this process. Runs found done count for nothing: others are estimated by work.

    Runs in other processes are not seen; then nothing is estimated.
    """

    def __init__(self) -> None:
        self.process, self.seen, self.worked, self.seconds = 0, 0, 0, 0.0

    def restart(self) -> None:
        """Forgets all: another sweep begins, and this is its process."""
        self.process, self.seen, self.worked, self.seconds = os.getpid(), 0, 0, 0.0

    @property
    def here(self) -> bool:
        """Whether this is the process that the command was started in, not one of a launcher's."""
        return self.process == os.getpid()

    def add(self, seconds: float, *, worked: bool) -> None:
        """One more run has ended; worked: it was really run."""
        self.seen += 1
        if worked:
            self.worked += 1
            self.seconds += seconds

    def line(self, number: int, total: int | None, overrides: Sequence[str]) -> str:
        """The head line of run `number` (from 0): "[4/25, about 6 min left] seed=1 preset=lora"."""
        place = f"{number + 1}/{total}" if total else f"{number + 1}"
        left = self.seconds / max(self.worked, 1) * ((total or 0) - number)
        if self.seen == number and left >= 1:
            place += f", about {duration(left)} left"
        return " ".join([f"[{place}]", *overrides])


def summary(jobs: Sequence[Sequence[str]], results: Sequence[Any]) -> str:
    """The last line of a sweep: "12 runs: 8 done, 3 found done, 1 failed (4: seed=3 lr=1.0)".

    jobs: the overrides of each run; results: its Value, or the exception that ended it.
    """
    groups: dict[str, list[int]] = {"done": [], "found done": [], "failed": [], "refused": []}
    for number, result in enumerate(results):
        if isinstance(result, BaseException):
            groups["failed" if user_error(result) is None else "refused"].append(number)
        else:
            groups["found done" if getattr(result, "reused", False) else "done"].append(number)
    shared = set.intersection(*(set(job) for job in jobs)) if len(jobs) > 1 else set()
    parts = []
    for name, numbers in groups.items():
        which = ""
        if name in ("failed", "refused"):
            told = [" ".join([f"{n + 1}:", *(o for o in jobs[n] if o not in shared)]) for n in numbers[:5]]
            which = f" ({', '.join(told)}{f' and {len(numbers) - 5} more' * (len(numbers) > 5)})"
        parts += [f"{len(numbers)} {name}{which}"] if numbers else []
    return f"{len(results)} run{'s' * (len(results) != 1)}: {', '.join(parts)}"


def duration(seconds: float) -> str:
    """ "40 s", "6 min" or "1 h 20 min": as exactly as an estimate deserves."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
