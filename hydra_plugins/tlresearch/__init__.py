"""The sweeper of `tlresearch train -m`: Hydra's own, and beside its axes a list of grids that are run one by one.

Hydra takes sweepers and launchers from packages below `hydra_plugins` only. It may load them without entering them in
sys.modules, where a dataclass would look up annotations that are strings: so they are none here.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
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

SUBMITIT_LOCAL = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"
TOLD = "hydra.sweeper."
WAITING = 500
"""So many composed configurations are kept between validation and launch."""


class _Once:
    """Composes each job of a sweep once, though it is asked twice: to be validated and to be launched.

    What a job is told of its sweep (`hydra.sweeper.number=3`) is known at its launch only, and set in what there is.
    """

    def __init__(self, compose: Callable[[DictConfig, list[str]], DictConfig]) -> None:
        self.compose = compose
        self.waiting: dict[tuple[str, ...], DictConfig] = {}

    def validate(self, master_config: DictConfig, job: Sequence[str]) -> None:
        """Raises what Hydra finds wrong with a job."""
        composed = self.compose(master_config, list(job))
        if len(self.waiting) < WAITING:
            self.waiting[tuple(job)] = composed

    def __call__(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        told = [override.removeprefix(TOLD).split("=") for override in sweep_overrides if override.startswith(TOLD)]
        job = tuple(override for override in sweep_overrides if not override.startswith(TOLD))
        config = self.waiting.pop(job, None) or self.compose(master_config, list(job))
        with read_write(config.hydra), open_dict(config.hydra):
            for name, value in told:
                config.hydra.sweeper[name] = json.loads(value)
        return config


@dataclass
class GridSweeperConf(BasicSweeperConf):
    """hydra.sweeper.*: `params` as ever, or `grids`, a list of such mappings; the rest is filled in for the runs."""

    _target_: str = "hydra_plugins.tlresearch.GridSweeper"
    grids: list[dict[str, Any]] = field(default_factory=list)
    over: list[str] = field(default_factory=list)  # keys whose best values go on to `then`
    then: dict[str, Any] = field(default_factory=dict)  # axes that are run with those alone
    total: int | None = None  # runs of the sweep
    number: int | None = None  # which of them this is, from 0
    wait: bool = True  # for a run that is under way elsewhere


class GridSweeper(BasicSweeper):
    """All combinations of each grid in turn, no run twice; an axis on the command line takes the place of the grids'.

    grids: mappings from key to "value,value"; a grid that the command line leaves no axis of its own is dropped.
    then: axes that come last, with the best of each group of runs that are equal but for the keys in `over`.
    """

    def __init__(
        self,
        max_batch_size: int | None,
        params: Mapping[str, str] | None = None,
        grids: list[dict[str, Any]] | None = None,
        over: list[str] | None = None,
        then: Mapping[str, Any] | None = None,
        **told: Any,
    ) -> None:
        super().__init__(max_batch_size, dict(params or {}))
        self.grids = [dict(grid) for grid in grids or ()]
        self.over, self.then = list(over or ()), dict(then or {})
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

    def sweep(self, arguments: list[str]) -> list[list[JobReturn]]:
        """Runs all there are, whatever becomes of single ones; what is under way elsewhere comes last.

        All are composed first, so that a mistake in a key or a name is told before anything is written.
        """
        from tlresearch.commands import rounds
        from tlresearch.commands.train import conclude, list_runs

        assert self.config is not None
        jobs = self._jobs(arguments)
        axes = self._then(arguments)
        rounds.check(jobs, self.over, self.then)
        configs = (self._composed(job, number, len(jobs)) for number, job in enumerate(jobs))
        first = next(configs)
        if first.dry_run:
            list_runs((_without_hydra(config), job) for config, job in zip(chain([first], configs), jobs, strict=True))
            if axes:
                print(rounds.announcement(jobs, self.over, axes))
            return []
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        results = self._run(jobs, 0)
        more, missing = [], 0
        if axes:
            ends = [outcome(result) for result in results]
            chosen, unended = rounds.best(jobs, ends, self.over, first.objective)
            more, missing = rounds.following(chosen, jobs, axes), unended * len(axes)
            self._validate(more)
            results += self._run(more, len(jobs)) if more else []
        conclude([*jobs, *more], [outcome(result) for result in results], missing)
        return [results]

    def _run(self, jobs: Sequence[list[str]], first: int) -> list[JobReturn]:
        """first: how many have been run before."""
        batch = self.max_batch_size or self._at_once() or max(len(jobs), 1)
        if isinstance(self.launcher, BasicLauncher):
            return self._run_in_turn(jobs, first, batch)
        return run_elsewhere(
            self,
            len(jobs),
            lambda number: self._composed(jobs[number], first + number, first + len(jobs)),
            lambda numbers, wait: self._launch(jobs, numbers, first, wait=wait),
            batch,
        )

    def _at_once(self) -> int | None:
        """The most jobs that a launcher should get at once; None where it sees to that itself.

        submitit's local one starts a process for each job at once: a dozen that import torch on two cores take minutes
        and gigabytes, and are all left behind where the command is killed.
        """
        assert self.config is not None
        return os.cpu_count() if self.config.hydra.launcher._target_ == SUBMITIT_LOCAL else None

    def _run_in_turn(self, jobs: Sequence[list[str]], first: int, batch: int) -> list[JobReturn]:
        """By a launcher of this process: all that are free first, then those that were under way elsewhere."""
        from tlresearch.results.lock import Busy

        results: list[JobReturn] = []
        for start in range(0, len(jobs), batch):
            results += self._launch(jobs, range(start, min(start + batch, len(jobs))), first, wait=False)
        for number, result in enumerate(results):
            if isinstance(outcome(result), Busy):
                results[number : number + 1] = self._launch(jobs, [number], first, wait=True)
        return results

    def _launch(
        self, jobs: Sequence[list[str]], numbers: Sequence[int], first: int, *, wait: bool
    ) -> Sequence[JobReturn]:
        from tlresearch.config.compose import user_error
        from tlresearch.results.claim import RunFailed

        assert self.launcher is not None
        told = [f"{TOLD}total={first + len(jobs)}", f"{TOLD}wait={str(wait).lower()}"]
        launched = [[*jobs[number], *told, f"{TOLD}number={first + number}"] for number in numbers]
        try:
            return self.launcher.launch(launched, first + numbers[0])
        except Exception as error:
            if user_error(error) is not None:
                raise
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            advice = "what is done is kept, and the same command runs the rest"
            raise RunFailed(f"the launcher lost its runs ({reason}); {advice}") from None

    def _composed(self, job: Sequence[str], number: int, total: int) -> DictConfig:
        """The configuration of a job, with Hydra's part."""
        assert self.config is not None
        config = self._load(self.config, [*job, f"{TOLD}number={number}", f"{TOLD}total={total}"])
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return config

    def _jobs(self, arguments: Sequence[str]) -> list[list[str]]:
        """The overrides of every run, each of which has been composed once."""
        parser = self._parser()
        (jobs,) = self.split_arguments(parser.parse_overrides([*self._parse_config(), *arguments]), None)
        self._validate(jobs)
        return jobs

    def _validate(self, jobs: Sequence[Sequence[str]]) -> None:
        assert self.config is not None
        for job in jobs:
            self._load.validate(self.config, job)

    def _parser(self) -> OverridesParser:
        assert self.hydra_context is not None
        return OverridesParser.create(config_loader=self.hydra_context.config_loader)

    @classmethod
    def jobs(cls, config: DictConfig, loader: ConfigLoader) -> list[list[str]]:
        """The overrides of every run of a sweep. config: as it is composed for all of them; loader: composed it."""
        sweeper = cls(None, config.hydra.sweeper.get("params"), config.hydra.sweeper.get("grids"))
        sweeper.hydra_context = HydraContext(loader, Callbacks())
        arguments = [*sweeper._parse_config(), *config.hydra.overrides.task]
        (jobs,) = sweeper.split_arguments(sweeper._parser().parse_overrides(arguments), None)
        return jobs

    def split_arguments(  # type: ignore[override]  # there it is a static method, called on the instance
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """The runs as lists of overrides, in batches."""
        given = {override.get_key_element() for override in overrides}
        runs: dict[tuple[str, ...], None] = {}
        for grid in self._left(given):
            axes = self._parser().parse_overrides([f"{key}={value}" for key, value in grid.items()])
            (jobs,) = BasicSweeper.split_arguments([*axes, *overrides], None)
            runs.update(dict.fromkeys(tuple(job) for job in jobs))
        return list(self.split_overrides_to_chunks([list(job) for job in runs], max_batch_size))

    def _left(self, given: set[str]) -> list[dict[str, Any]]:
        left = [{key: value for key, value in grid.items() if key not in given} for grid in self.grids]
        return [grid for grid in left if grid] or [{}]

    def _then(self, arguments: Sequence[str]) -> list[list[str]]:
        """The combinations of `then`'s axes that the command line has none of; none where there is no `then`."""
        given = {override.get_key_element() for override in self._parser().parse_overrides(list(arguments))}
        axes = [f"{key}={value}" for key, value in self.then.items() if key not in given]
        if not axes:
            return []
        (combinations,) = BasicSweeper.split_arguments(self._parser().parse_overrides(axes), None)
        return combinations


def _without_hydra(config: DictConfig) -> DictConfig:
    with open_dict(config):
        del config["hydra"]
    return config


def install_sweeper() -> None:
    """Makes Hydra know the sweeper as `hydra/sweeper=grid`; a second call changes nothing."""
    Plugins.instance().register(GridSweeper)
    ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=GridSweeperConf, provider="tlresearch")
