"""Progress bars for what takes over two seconds; quiet where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")
PATIENCE_SECONDS = 2.0


class Bar:
    """A bar on stderr that appears after two seconds, in a terminal only.

    rich shows elapsed and remaining time itself; `update` adds what the loop knows (loss, metric, speed).
    """

    def __init__(self, name: str, total: int | None, *, enabled: bool = True) -> None:
        self.enabled = enabled and sys.stderr.isatty()
        self.name, self.total, self.start = name, total, time.perf_counter()
        self._done, self._text = 0, ""
        self._progress: Progress | None = None

    def update(self, done: int, text: str = "") -> None:
        """Shows how much is done, once the work has taken a while."""
        if not self.enabled:
            return
        self._done, self._text = done, text or self._text
        if self._progress is None:
            if time.perf_counter() - self.start < PATIENCE_SECONDS:
                return
            self._open()
        if self._progress is not None:
            self._progress.update(self._task, completed=done, text=self._text)

    def close(self) -> None:
        """Takes the bar off the screen; later updates show nothing."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        self.enabled = False

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = bar.add_task(self.name, total=self.total, text=self._text)
        bar.start()
        self._progress = bar


def track(items: Iterable[T], name: str, total: int | None) -> Iterator[T]:
    """Iterates with a bar; total: how many items there are, None = nobody knows."""
    bar = Bar(name, total)
    try:
        for done, item in enumerate(items, 1):
            yield item
            bar.update(done)
    finally:
        bar.close()
