"""Numbers for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tlresearch.config.registry import register
from tlresearch.core.tracker import RunInfo, Tracker


@register("tracker", "tensorboard")
class TensorBoard(Tracker):
    """Writes scalars, and the configuration as text, below tensorboard/ in the run's folder.

    Look at several runs with `tensorboard --logdir runs`.
    """

    def start(self, run: RunInfo) -> None:
        """Opens the log below the run's folder and writes the configuration into it."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.folder / "tensorboard"))
        text = json.dumps(dict(run.config), indent=2, default=str)
        self._writer.add_text("config", f"```json\n{text}\n```")

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Writes one scalar for each value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Closes the log."""
        self._writer.close()
