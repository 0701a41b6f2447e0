"""Numbers for Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tlresearch.config.errors import choose, fail
from tlresearch.config.registry import register
from tlresearch.core.tracker import RunInfo, Tracker


@register("tracker", "wandb")
class WandB(Tracker):
    """Logs to a Weights & Biases run that has this run's identity as its id, so that a resumed run goes on there.

    Files lie below wandb/ in the run's folder; `wandb sync` sends those of an offline run later. The key comes from the
    environment (WANDB_API_KEY) or `wandb login`, and is never part of the configuration.

    Args:
        mode: online, offline (nothing leaves the machine) or disabled.
        project: the project that runs are collected in.
        entity: user or team; null = the account's own.
    """

    def __init__(
        self,
        *,
        mode: Literal["online", "offline", "disabled"] = "offline",
        project: str = "tlresearch",
        entity: str | None = None,
    ) -> None:
        choose("mode", mode, ("online", "offline", "disabled"))
        if mode == "online":
            _require_key()
        self.mode, self.project, self.entity = mode, project, entity

    def start(self, run: RunInfo) -> None:
        """Opens the run at Weights & Biases, or goes on with it."""
        import wandb

        quiet = wandb.Settings(console="off", save_code=False, silent=True, x_disable_stats=True)
        try:
            self._run = wandb.init(
                project=self.project,
                entity=self.entity,
                id=run.identity,
                dir=run.folder,
                config=dict(run.config),
                mode=self.mode,
                resume="allow",
                reinit="create_new",
                settings=quiet,
            )
        except wandb.errors.UsageError as error:
            fail("mode", self.mode, f"{error}; set WANDB_API_KEY, or use mode=offline and sync later")

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Sends the values with their step."""
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        """Ends the run and the service process behind it."""
        import wandb

        self._run.finish()
        wandb.teardown()  # else its service process outlives the run


def _require_key() -> None:
    """Looks for a key before anything is written."""
    import wandb

    if not wandb.login(prompt=False, verify=False):
        fail("mode", "online", "no key is configured; set WANDB_API_KEY, or use mode=offline and sync later")
