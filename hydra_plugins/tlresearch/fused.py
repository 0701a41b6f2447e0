"""The launcher `hydra/launcher=fused`: trains together what can be, then runs the others one by one."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from omegaconf import DictConfig, open_dict

from hydra_plugins.tlresearch.jobs import run_here


@dataclass
class FusedLauncherConf:
    """It has no options."""

    _target_: str = "hydra_plugins.tlresearch.fused.FusedLauncher"


class FusedLauncher(BasicLauncher):
    """In this process. Runs over the same frozen features train as one computation."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Composes every job once; a job that cannot join others runs as it always does."""
        from tlresearch.commands.sweep import collects
        from tlresearch.together import train_together

        setup_globals()
        assert self.hydra_context is not None and self.config is not None and self.task_function is not None
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        loader = self.hydra_context.config_loader
        configs = [loader.load_sweep_config(self.config, list(overrides)) for overrides in job_overrides]
        plain = []
        for i, config in enumerate(configs):
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = initial_job_idx + i
            copied = config.copy()
            with open_dict(copied):
                del copied["hydra"]
            plain.append((copied, list(config.hydra.overrides.task)))
        made = train_together(plain)
        return [
            self._made(config, made[i]) if i in made and collects(config.hydra.sweeper) else run_here(self, config)
            for i, config in enumerate(configs)
        ]

    @staticmethod
    def _made(config: DictConfig, run: Any) -> JobReturn:
        from tlresearch.commands.train import told

        overrides = list(config.hydra.overrides.task)
        value = told(run, config.hydra.sweeper.number, overrides, config.hydra.sweeper.total)
        return JobReturn(overrides, working_dir=os.getcwd(), status=JobStatus.COMPLETED, _return_value=value)


def install_launcher() -> None:
    """Makes Hydra know the launcher as `hydra/launcher=fused`; a second call changes nothing."""
    Plugins.instance().register(FusedLauncher)
    ConfigStore.instance().store(group="hydra/launcher", name="fused", node=FusedLauncherConf, provider="tlresearch")
