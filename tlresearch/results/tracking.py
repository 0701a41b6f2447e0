"""All trackers of a run as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.tracker import RunInfo, Tracker

FINAL = ("test", "domain", "stage", "forgetting")
"""What of a finished run's metrics goes to the trackers. Of its classes they would have a curve each, of one point."""


class Trackers:
    """The run's trackers as one; jsonl is always among them."""

    def __init__(self, config: Mapping[str, Any], writes: bool) -> None:
        chosen = {"jsonl": {}, **config["tracker"]} if writes else {}
        self.waiting: list[tuple[str, Tracker]] = [(n, build("tracker", {**o, "name": n})) for n, o in chosen.items()]
        self.trackers: list[Tracker] = []
        self.step = 0

    def start(self, name: str, folder: Path, config: Mapping[str, Any]) -> None:
        """Starts each tracker that has not started; a mistake in its options names it."""
        while self.waiting:
            kind, tracker = self.waiting.pop(0)
            try:
                tracker.start(RunInfo(name, folder, config))
            except ConfigError as error:
                raise error.below(f"tracker.{kind}") from error
            self.trackers.append(tracker)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Passes the numbers on to all that have started."""
        self.step = step
        for tracker in self.trackers:
            tracker.log(values, step)

    def conclude(self, metrics: Mapping[str, Any]) -> None:
        """Passes on the numbers of a finished run, "test/accuracy" and the like, at its last step."""
        final = dict(_numbers({name: metrics[name] for name in FINAL if name in metrics}))
        if final:
            self.log(final, self.step)

    def finish(self) -> None:
        """Ends all that have started."""
        for tracker in self.trackers:
            tracker.finish()


def _numbers(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Each number by its path; what is no number (recall of a class without rows) is left out."""
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif value is not None:
            yield prefix + name, value
