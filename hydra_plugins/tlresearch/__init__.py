"""The sweeper of `tlresearch train -m`: Hydra's own, and beside its axes a list of grids that are run one by one.

Hydra takes sweepers and launchers from packages below `hydra_plugins` only. It may load them without entering them in
sys.modules, where a dataclass would look up annotations that are strings: so they are none here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_plugins.tlresearch.jobs import outcome, run_elsewhere

WAIT = "hydra.sweeper.wait="
WAITING = 500
"""So many composed configurations are kept between validation and launch."""


class _Once:
    """Composes each job of a sweep once, though it is asked twice: to be validated and to be launched."""

    def __init__(self, compose: Callable[[DictConfig, list[str]], DictConfig]) -> None:
        self.compose = compose
        self.waiting: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        wait = f"{WAIT}true" in sweep_overrides
        key = tuple(override for override in sweep_overrides if not override.startswith(WAIT))
        found = self.waiting.pop(key, None)
        if found is not None:
            with read_write(found.hydra), open_dict(found.hydra):
                found.hydra.sweeper.wait = wait
            return found
        found = self.compose(master_config, sweep_overrides)
        if len(key) == len(sweep_overrides) and len(self.waiting) < WAITING:  # asked by the validation
            self.waiting[key] = found
        return found


@dataclass
class GridSweeperConf(BasicSweeperConf):
    """hydra.sweeper.*: `params` as ever, or `grids`, a list of such mappings; the rest is filled in for the runs."""

    _target_: str = "hydra_plugins.tlresearch.GridSweeper"
    grids: list[dict[str, Any]] = field(default_factory=list)
    total: int | None = None  # runs of the sweep
    number: int | None = None  # which of them this is, from 0
    wait: bool = True  # for a run that is under way elsewhere


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
        number: int | None = None,
        wait: bool = True,
    ) -> None:
        super().__init__(max_batch_size, dict(params or {}))
        self.grids = [dict(grid) for grid in grids or ()]
        self.task_function: TaskFunction | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """As ever; a configuration that was composed to be validated is not composed again."""
        from tlresearch.config.alike import Alike

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.task_function = task_function
        loader: Any = hydra_context.config_loader
        self._load = _Once(Alike(loader.load_sweep_config, loader))
        if isinstance(self.launcher, BasicLauncher):  # others hand the loader to their processes
            loader.load_sweep_config = self._load

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Composes every job, which raises what Hydra finds wrong with one."""
        assert self.config is not None
        for job in batch:
            self._load(self.config, list(job))

    def sweep(self, arguments: list[str]) -> list[list[JobReturn]]:
        """Runs all there are, whatever becomes of single ones; what is under way elsewhere comes last.

        All are composed first, so that a mistake in a key or a name is told before anything is written.
        """
        from tlresearch.commands.train import conclude, list_runs

        assert self.config is not None and self.launcher is not None and self.hydra_context is not None
        batches = self._batches(arguments)
        for batch in batches:
            self.validate_batch_is_legal(batch)
        jobs = [list(job) for batch in batches for job in batch]
        if jobs and self._compose(jobs[0]).dry_run:
            list_runs((self._compose(job), _told(job)) for job in jobs)
            return []
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        if isinstance(self.launcher, BasicLauncher):
            results = self._run_in_turn(batches, jobs)
        else:
            results = run_elsewhere(
                self,
                len(jobs),
                lambda number: self._composed(jobs[number], number),
                lambda chosen, wait: self._launch([jobs[number] for number in chosen], chosen[0], wait=wait),
                self.max_batch_size or len(jobs),
            )
        conclude([_told(job) for job in jobs], [outcome(result) for result in results])
        return [results]

    def _run_in_turn(self, batches: Sequence[list[list[str]]], jobs: Sequence[list[str]]) -> list[JobReturn]:
        """By a launcher of this process: all that are free first, then those that were under way elsewhere."""
        from tlresearch.results.lock import Busy

        results: list[JobReturn] = []
        for batch in batches:
            results += self._launch(batch, len(results), wait=False)
        for number, result in enumerate(results):
            if isinstance(outcome(result), Busy):
                results[number : number + 1] = self._launch([jobs[number]], number, wait=True)
        return results

    def _batches(self, arguments: Sequence[str]) -> list[list[list[str]]]:
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        return self.split_arguments(parser.parse_overrides([*self._parse_config(), *arguments]), self.max_batch_size)

    @classmethod
    def jobs(cls, config: DictConfig, loader: ConfigLoader) -> list[list[str]]:
        """The overrides of every run of a sweep. config: as it is composed for all of them; loader: composed it."""
        sweeper = cls(None, config.hydra.sweeper.get("params"), config.hydra.sweeper.get("grids"))
        sweeper.hydra_context = HydraContext(loader, Callbacks())
        return [job for batch in sweeper._batches(list(config.hydra.overrides.task)) for job in batch]

    def _compose(self, job: Sequence[str]) -> DictConfig:
        config = self._composed(job)
        with open_dict(config):
            del config["hydra"]
        return config

    def _composed(self, job: Sequence[str], number: int = 0) -> DictConfig:
        """The configuration of a job, with Hydra's part."""
        assert self.config is not None
        config = self._load(self.config, list(job))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return config

    def _launch(self, jobs: Sequence[Sequence[str]], first: int, *, wait: bool) -> Sequence[JobReturn]:
        from tlresearch.config.compose import user_error
        from tlresearch.results.claim import RunFailed

        assert self.launcher is not None
        try:
            return self.launcher.launch([[*job, f"{WAIT}{str(wait).lower()}"] for job in jobs], first)
        except Exception as error:
            if user_error(error) is not None:
                raise
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            advice = "what is done is kept, and the same command runs the rest"
            raise RunFailed(f"the launcher lost its runs ({reason}); {advice}") from None

    def split_arguments(  # type: ignore[override]  # there it is a static method, called on the instance
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """The runs as lists of overrides, in batches; each is told which it is and how many there are."""
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = {override.get_key_element() for override in overrides}
        runs: dict[tuple[str, ...], None] = {}
        for grid in self._left(given):
            axes = parser.parse_overrides([f"{key}={value}" for key, value in grid.items()])
            (jobs,) = BasicSweeper.split_arguments([*axes, *overrides], None)
            runs.update(dict.fromkeys(tuple(job) for job in jobs))
        of = f"hydra.sweeper.total={len(runs)}"
        jobs = [[*job, of, f"hydra.sweeper.number={number}"] for number, job in enumerate(runs)]
        return list(self.split_overrides_to_chunks(jobs, max_batch_size)) if jobs else [[]]

    def _left(self, given: set[str]) -> list[dict[str, Any]]:
        left = [{key: value for key, value in grid.items() if key not in given} for grid in self.grids]
        return [grid for grid in left if grid] or [{}]


def _told(job: Sequence[str]) -> list[str]:
    """A run's overrides without those that only tell Hydra something."""
    return [override for override in job if not override.startswith("hydra.")]


def install_sweeper() -> None:
    """Makes Hydra know the sweeper as `hydra/sweeper=grid`; a second call changes nothing."""
    Plugins.instance().register(GridSweeper)
    ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="tlresearch")
