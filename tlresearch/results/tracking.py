"""All trackers of a run as one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.tracker import RunInfo, Tracker


class Trackers:
    """The run's trackers as one; jsonl is always among them."""

    def __init__(self, config: Mapping[str, Any], writes: bool) -> None:
        chosen = {"jsonl": {}, **config["tracker"]} if writes else {}
        self.waiting: list[tuple[str, Tracker]] = [(n, build("tracker", {**o, "name": n})) for n, o in chosen.items()]
        self.trackers: list[Tracker] = []

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
        for tracker in self.trackers:
            tracker.log(values, step)

    def finish(self) -> None:
        """Ends all that have started."""
        for tracker in self.trackers:
            tracker.finish()
