"""Learning curves: what trackers wrote while a run trained, thinned to what a line of a chart can show."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tlresearch.results.page.values import number, rounded, text, thin

POINTS = 80
"""A curve has up to so many points."""

CURVES = 4
"""And a run so many curves: validation first, the training loss, then others in their order."""

_READ = 4 * POINTS
"""Of lines of one kind (validation, training) twice as many are in memory, and read as JSON, at most."""

Curve = dict[str, list[float | int | None]]


class _Lines:
    """Evenly spread lines of a stream of unknown length, the last always among them."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.last = b""
        self._every, self._seen = 1, 0

    def add(self, line: bytes) -> None:
        """Takes the next line; every second one is given up whenever they are too many."""
        if self._seen % self._every == 0:
            self.kept.append(line)
            if len(self.kept) > 2 * _READ:
                del self.kept[1::2]
                self._every *= 2
        self._seen += 1
        self.last = line

    def all(self) -> list[bytes]:
        """What was kept, in order."""
        return self.kept if not self.kept or self.kept[-1] is self.last else [*self.kept, self.last]


def curves(folder: Path) -> dict[str, Curve]:
    """Metric → {"steps": […], "values": […]} of history.jsonl, {} where there is none that can be read.

    Where a resumed run wrote a step twice, the later line counts. A value that was not finite is None. Lines that
    are no JSON, such as one that was being written when the process died, are left out.
    """
    validation, other = _Lines(), _Lines()
    try:
        with (folder / "history.jsonl").open("rb") as file:
            for line in file:
                (validation if b'"validation/' in line else other).add(line)
    except OSError:
        return {}
    series: dict[str, dict[int, Any]] = {}
    for lines in (validation.all(), other.all()):
        _collect(lines, series)
    chosen = sorted((name for name in series if _is_curve(name)), key=_rank)[:CURVES]
    return {text(name): _curve(series[name]) for name in chosen}


def _collect(lines: Iterable[bytes], series: dict[str, dict[int, Any]]) -> None:
    """Adds the lines' values by name and step; a step back takes away what an earlier attempt had written behind it."""
    before: float = -1
    for line in lines:
        try:
            values = json.loads(line)
            step = number(values["step"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if step is None:
            continue
        if step < before:
            for name in values:
                series[name] = {at: value for at, value in series.get(name, {}).items() if at < step}
        before = step
        for name, value in values.items():
            if name != "step":
                series.setdefault(name, {})[int(step)] = value


def _is_curve(name: str) -> bool:
    """Not the speed, not a part of the loss, and not the final numbers, which are single points."""
    kind, _, rest = name.partition("/")
    return kind in ("validation", "train") and not rest.startswith(("task/", "rows_per_second"))


def _rank(name: str) -> tuple[bool, bool]:
    return not name.startswith("validation/"), name != "train/loss"


def _curve(points: dict[int, Any]) -> Curve:
    chosen = thin(sorted(points.items()), POINTS)
    return {"steps": [step for step, _ in chosen], "values": [rounded(value) for _, value in chosen]}
