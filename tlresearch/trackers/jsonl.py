"""Numbers as lines of JSON: the record that every run keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from tlresearch.config.registry import register
from tlresearch.core.tracker import RunInfo, Tracker


@register("tracker", "jsonl")
class JSONL(Tracker):
    """Appends one line a call, {"step": …, NAME: value, …}, to history.jsonl in the run's folder.

    What is not finite becomes null, as JSON knows no other way. A resumed run goes on in the same file: steps after the
    checkpoint stand there twice, and the later line counts.
    """

    def start(self, run: RunInfo) -> None:
        """Opens history.jsonl in the run's folder and goes on where it ends."""
        self._file = (run.folder / "history.jsonl").open("a", encoding="utf-8")

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Appends one line; a number that is not finite becomes null."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **finite}) + "\n")
        self._file.flush()  # a killed run keeps its lines

    def finish(self) -> None:
        """Closes the file."""
        self._file.close()
