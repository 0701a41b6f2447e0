"""What a sweep says of its runs (which of how many, how long the rest will take, the sum) and tells its sweeper."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tlresearch.config.budget import Spent
from tlresearch.config.compose import user_error
from tlresearch.config.errors import ConfigError, Problem, nearest

if TYPE_CHECKING:
    from hydra.conf import HydraConf

    from tlresearch.results.runs import Run


def collects(sweeper: Mapping[str, Any]) -> bool:
    """Whether the sweeper runs all there is whatever becomes of single runs, and gets their ends, as ours does."""
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


def number(job: HydraConf) -> int:
    """Which run of the sweep this is, from 0, by the sweeper where it says so: a launcher may get only some of them."""
    return int(job.sweeper["number"] if collects(job.sweeper) else job.job.num)


STOPPED = "stopped by the budget and saved"
UNSTARTED = "not started"


class Value(float):
    """A run's headline value, as a launcher carries it from its process; reused: the run was found done."""

    reused: bool
    folder: str

    def __new__(cls, value: float, reused: bool = False, folder: str = "") -> Value:
        self = super().__new__(cls, value)
        self.reused, self.folder = reused, folder
        return self


class Pace:
    """The durations of a sweep's runs in this process. Runs found done count for nothing: others are estimated by work.

    Runs in other processes are not seen; then nothing is estimated.
    """

    def __init__(self) -> None:
        self.process, self.seen, self.worked, self.seconds = 0, 0, 0, 0.0
        self.total: int | None = None

    def restart(self) -> None:
        """Forgets all: another sweep begins, and this is its process."""
        self.process, self.total, self.seen, self.worked, self.seconds = os.getpid(), None, 0, 0, 0.0

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


def summary(jobs: Sequence[Sequence[str]], results: Sequence[Any], missing: int = 0) -> str:
    """The last line of a sweep: "12 runs: 8 done, 3 found done, 1 failed (4: seed=3 lr=1.0)".

    jobs: the overrides of each run; results: its Value, or the exception that ended it; missing: runs that the sweeper
    would have made, had the budget not ended it.
    """
    groups: dict[str, list[int]] = {"done": [], "found done": [], "failed": [], "refused": []}
    groups |= {STOPPED: [], UNSTARTED: []}
    for number, result in enumerate(results):
        if isinstance(result, Spent):
            groups[STOPPED if result.started else UNSTARTED].append(number)
        elif isinstance(result, BaseException):
            groups["failed" if user_error(result) is None else "refused"].append(number)
        else:
            groups["found done" if getattr(result, "reused", False) else "done"].append(number)
    shared = set.intersection(*(set(job) for job in jobs)) if len(jobs) > 1 else set()
    parts = []
    for name, numbers in groups.items():
        which = ""
        if name in ("failed", "refused"):
            own = {n: " ".join(o for o in jobs[n] if o not in shared) for n in numbers[:5]}
            told = [f"{n + 1}: {overrides}" if overrides else str(n + 1) for n, overrides in own.items()]
            which = f" ({', '.join(told)}{f' and {len(numbers) - 5} more' * (len(numbers) > 5)})"
        count = len(numbers) + missing * (name == UNSTARTED)
        parts += [f"{count} {name}{which}"] if count else []
    ended = "; the same command with a new budget goes on" if missing or groups[STOPPED] or groups[UNSTARTED] else ""
    count = len(results) + missing
    return f"{count} run{'s' * (count != 1)}: {', '.join(parts)}{ended}"


def duration(seconds: float) -> str:
    """ "40 s", "6 min" or "1 h 20 min": as exactly as an estimate deserves."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
