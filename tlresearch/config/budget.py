"""How long a command may compute: `budget.seconds`, or `budget.usd` at `prices.usd_per_hour`, from its start on."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

STARTED = "TLRESEARCH_STARTED"
"""When the command began (seconds since the epoch), as an environment variable: all jobs of a sweep read the same."""


def start() -> str:
    """The value of `STARTED` for a command that begins now."""
    return repr(time.time())


class Spent(Exception):
    """The budget is used up. started: whether a run was under way, which is saved then and can go on."""

    def __init__(self, message: str, started: bool) -> None:
        super().__init__(message, started)  # both, so that it can be sent from a launcher's process
        self.started = started

    def __str__(self) -> str:
        return str(self.args[0])


class Budget:
    """The budget of one configuration. Where no command has begun (`tlresearch.run`), its time begins here."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        budget, price = config["budget"], config["prices"]["usd_per_hour"]
        limits = {}
        if budget["seconds"] is not None:
            limits[f"budget.seconds={budget['seconds']:g}"] = budget["seconds"]
        if budget["usd"] is not None:
            limits[f"budget.usd={budget['usd']:g}"] = budget["usd"] / price * 3600
        self._name = min(limits, key=lambda name: limits[name], default="")
        self._end = float(os.environ.get(STARTED) or time.time()) + limits[self._name] if limits else None

    def spent(self) -> bool:
        """Whether it is used up; never, where there is none."""
        return self._end is not None and time.time() >= self._end

    def check(self) -> None:
        """Raises Spent where it is used up, so that no further run is begun."""
        if self.spent():
            raise self.error(started=False)

    def error(self, *, started: bool) -> Spent:
        """What ends a run then."""
        what = "the run was stopped and saved" if started else "not started"
        return Spent(f"{self._name} is used up: {what}; the same command with a new budget goes on", started)


def usd(config: Mapping[str, Any], seconds: float) -> dict[str, float]:
    """The entry of the record's cost block: seconds / 3600 · prices.usd_per_hour; none without a price."""
    price = config["prices"]["usd_per_hour"]
    return {} if price is None else {"usd": seconds / 3600 * price}
