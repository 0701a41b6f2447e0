"""The sweeper of `tlresearch train -m`: Hydra's own, and beside its axes a list of grids that are run one by one.

Hydra takes sweepers and launchers from packages below `hydra_plugins` only. It may load them without entering them in
sys.modules, where a dataclass would look up annotations that are strings: so they are none here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

WAITING = 500
"""So many composed configurations are kept between validation and launch."""


@dataclass
class GridSweeperConf(BasicSweeperConf):
    """hydra.sweeper.*: `params` as ever, or `grids`, a list of such mappings; total is filled in for the runs."""

    _target_: str = "hydra_plugins.tlresearch.GridSweeper"
    grids: list[dict[str, Any]] = field(default_factory=list)
    total: int | None = None


class GridSweeper(BasicSweeper):
    """All combinations of each grid in turn, no run twice; an axis on the command line takes the place of the grids'.

    grids: mappings from key to "value,value"; a grid that the command line leaves no axis of its own is dropped.
    """

    def __init__(
        self,
        max_batch_size: int | None,
        params: Mapping[str, str] | None = None,
        grids: list[dict[str, Any]] | None = None,
        total: int | None = None,
    ) -> None:
        super().__init__(max_batch_size, dict(params or {}))
        self.grids = [dict(grid) for grid in grids or ()]

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """As ever; a configuration that was composed to be validated is not composed again to be launched."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        loader = hydra_context.config_loader
        compose, waiting = loader.load_sweep_config, dict[tuple[str, ...], DictConfig]()

        def once(master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
            key = tuple(sweep_overrides)
            found = waiting.pop(key, None)
            if found is None:
                found = compose(master_config, sweep_overrides)
                if len(waiting) < WAITING:
                    waiting[key] = found
            return found

        if any(here in config.hydra.launcher._target_ for here in ("basic_launcher", "fused")):  # no other process
            loader.load_sweep_config = once  # type: ignore[method-assign]

    def split_arguments(  # type: ignore[override]  # there it is a static method, called on the instance
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """The runs as lists of overrides, in batches; each is told how many there are."""
        from hydra.core.override_parser.overrides_parser import OverridesParser

        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = {override.get_key_element() for override in overrides}
        runs: dict[tuple[str, ...], None] = {}
        for grid in self._left(given):
            axes = parser.parse_overrides([f"{key}={value}" for key, value in grid.items()])
            (jobs,) = BasicSweeper.split_arguments([*axes, *overrides], None)
            runs.update(dict.fromkeys(tuple(job) for job in jobs))
        jobs = [[*job, f"hydra.sweeper.total={len(runs)}"] for job in runs]
        return list(self.split_overrides_to_chunks(jobs, max_batch_size)) if jobs else [[]]

    def _left(self, given: set[str]) -> list[dict[str, Any]]:
        left = [{key: value for key, value in grid.items() if key not in given} for grid in self.grids]
        return [grid for grid in left if grid] or [{}]


def install_sweeper() -> None:
    """Makes Hydra know the sweeper as `hydra/sweeper=grid`; a second call changes nothing."""
    Plugins.instance().register(GridSweeper)
    ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="tlresearch")
