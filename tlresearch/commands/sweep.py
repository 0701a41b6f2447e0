"""What a sweep says before each of its runs: which of how many, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Sequence


class Pace:
    """The durations of a sweep's runs in this process. Runs found done count for nothing: others are estimated by work.

    Runs in other processes are not seen; then nothing is estimated.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forgets all: another sweep begins."""
        self.seen, self.worked, self.seconds = 0, 0, 0.0

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
