"""How long a command may compute from its start on: `budget.seconds`, or `budget.usd` at the device's hour price."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from tlresearch.config.errors import ConfigError, Problem

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
        budget = config["budget"]
        limits = {}
        if budget["seconds"] is not None:
            limits[f"budget.seconds={budget['seconds']:g}"] = budget["seconds"]
        if budget["usd"] is not None:
            limits[f"budget.usd={budget['usd']:g}"] = budget["usd"] / _hourly(config) * 3600
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


def hour_prices(accelerator: str) -> tuple[str, ...]:
    """Which of prices.* may count for `accelerator`; both where only the machine can tell (auto)."""
    names = {"auto": ("usd_per_gpu_hour", "usd_per_cpu_hour"), "cpu": ("usd_per_cpu_hour",)}
    return names.get(accelerator, ("usd_per_gpu_hour",))


def usd(config: Mapping[str, Any], seconds: float, device: str, count: int = 1) -> dict[str, float]:
    """The entry of the record's cost block, what computing has cost; none without a price for that device.

    seconds / 3600 · prices.usd_per_gpu_hour · GPUs, or on a CPU seconds / 3600 · prices.usd_per_cpu_hour · machines.
    device: cpu, cuda, mps …; count: GPUs over all machines, which do not count on a CPU.
    """
    (name,) = hour_prices(device)
    price = config["prices"][name]
    count = config["num_nodes"] if device == "cpu" else count
    return {} if price is None else {"usd": seconds / 3600 * price * count}


def _hourly(config: Mapping[str, Any]) -> float:
    """What an hour of the configuration costs here. Raises ConfigError without a price for the device it will use."""
    device, count = config["accelerator"], config["devices"]
    if device == "auto" or (count == "auto" and device != "cpu"):
        import torch

        found = torch.accelerator.current_accelerator(check_available=True)
        device = ("cpu" if found is None else found.type) if device == "auto" else device
        count = max(torch.cuda.device_count(), 1) if count == "auto" else count
    count = 1 if device == "cpu" else count * config["num_nodes"]
    price = usd(config, 3600, device, count)
    if not price:
        (name,) = hour_prices(device)
        message = f"{config['budget']['usd']!r}: this machine computes on {device}; give prices.{name} as well"
        raise ConfigError(Problem("budget.usd", message))
    return price["usd"]
