"""What a sweep says of its runs, which of how many and how long the rest will take, and what it tells its sweeper."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tlresearch.config import budget
from tlresearch.config.errors import ConfigError, Problem, nearest

if TYPE_CHECKING:
    from tlresearch.results.runs import Run


def collects(sweeper: Mapping[str, Any]) -> bool:
    """Whether the sweeper runs all there is whatever becomes of single runs, as ours does."""
    return "total" in sweeper


def total(sweeper: Mapping[str, Any]) -> int | None:
    """How many runs the sweeper will make, as far as it says."""
    return sweeper["total"] if collects(sweeper) else sweeper.get("n_trials")


def objective(run: Run, name: str | None) -> float | None:
    """What a sweeper optimises: a metric on validation, by default that of the headline; None where it is no number.

    Raises ConfigError where a metric is asked for that the run does not have.
    """
    from tlresearch.results.report import metrics

    known = {key: value for key, value in metrics(run.metrics).items() if key.startswith("validation.")}
    if name is not None and name not in known:
        raise ConfigError(Problem("objective", f"{name!r}: the run has no such metric; {nearest(name, known)}"))
    value = known.get(name or f"validation.{run.metric.removeprefix('test.')}")
    return value if isinstance(value, float) and math.isfinite(value) else None


class Pace:
    """The durations of a sweep's runs in this process. Runs found done count for nothing: others are estimated by work.

    Runs in other processes are not seen; then nothing is estimated.
    """

    def __init__(self) -> None:
        self.process, self.seen, self.worked, self.seconds = 0, 0, 0, 0.0
        self.total: int | None = None

    def restart(self) -> None:
        """Forgets all: another sweep begins."""
        self.process, self.total, self.seen, self.worked, self.seconds = os.getpid(), None, 0, 0, 0.0

    @property
    def here(self) -> bool:
        """Whether this is the process that the command was started in, not one of a launcher's."""
        return self.process == os.getpid()

    def spent(self, found: Sequence[budget.Spent]) -> str:
        """The last words where the budget was used up. found: the runs of this process that it stopped or kept off."""
        if not self.seen or self.total in (None, 1):  # a single run, or all were made by other processes
            return str(found[0])
        stopped = sum(error.started for error in found)
        never = (self.total or 0) - self.seen  # a sweeper may end with the first
        return budget.summary(stopped, len(found) - stopped + never)

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


def duration(seconds: float) -> str:
    """ "40 s", "6 min" or "1 h 20 min": as exactly as an estimate deserves."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
