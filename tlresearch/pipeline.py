"""A pipeline: ordinary runs in order, each of which may start from the weights of earlier ones (`init_from=NAME`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from tlresearch.config.compose import check, compose
from tlresearch.config.errors import Problems, fail, nearest
from tlresearch.config.processes import speaks
from tlresearch.config.start import START, Reference, check_pipeline, in_order, override_key, references
from tlresearch.results import lock, store
from tlresearch.results.identity import IRRELEVANT

if TYPE_CHECKING:
    from tlresearch.results.runs import Run

EVERYWHERE = IRRELEVANT - {"preset", "keep", "pipeline", "pipeline_shared", "objective"}
"""Keys that change no number: on the command line they are meant for every run (store, accelerator, tracker …)."""

Tell = Callable[[str, "Run"], None]


class Step(NamedTuple):
    """One run of a pipeline: its configuration, the overrides that made it, and what it starts from."""

    name: str
    config: DictConfig
    overrides: list[str]
    start: tuple[Reference, ...]


def run_pipeline(
    config: DictConfig,
    overrides: Sequence[str],
    config_name: str,
    folders: Sequence[str] = (),
    tell: Tell = lambda name, run: None,
    *,
    wait: bool = False,
) -> Run:
    """Runs what is not done of `config.pipeline` and returns its last run, with the metrics of its task after each.

    The configuration of a run is the YAML `config_name` with the run's own overrides. `overrides`, those of the command
    line or of a sweep's axes, go to the last run; what changes no number (store, accelerator …), and the keys that
    `pipeline_shared` names, go to all. Runs are found done in the store as ever, so that a sweep over the last one
    makes the others once.

    folders: more folders with YAML. tell: called with name and run after each but the last.
    wait: for runs that another process is running; otherwise that raises Busy.
    Raises ConfigError for a mistake in any of the configurations before the first run begins.
    """
    steps = plan(config, overrides, config_name, folders)
    from tlresearch.runner import execute

    made: dict[str, Run] = {}
    for step in steps:
        _point(step, made)
        made[step.name] = execute(step.config, step.overrides, wait=wait)
        if step is not steps[-1]:
            tell(step.name, made[step.name])
    if speaks():  # of several ranks, the first one alone writes
        _measure(steps, made)
    return made[steps[-1].name]


def plan(config: DictConfig, overrides: Sequence[str], config_name: str, folders: Sequence[str] = ()) -> list[Step]:
    """The runs of a pipeline in their order, composed and checked; see `run_pipeline`."""
    entries = check_pipeline(_plain(config.pipeline))
    command = [override for override in overrides if override_key(override) != "pipeline"]
    everywhere = EVERYWHERE.union(config.pipeline_shared)
    shared = [override for override in command if override_key(override) in everywhere]
    problems, composed, given = Problems(), {}, {}
    for name, own in entries.items():
        given[name] = [*own, *(command if name == list(entries)[-1] else shared)]
        found = problems.attempt(f"pipeline.{name}", partial(compose, given[name], config_name, folders))
        if found is not None:
            composed[name] = found
    problems.raise_any()
    steps = []
    for name, found in composed.items():
        found.pipeline, found.pipeline_shared = None, []
        start = problems.attempt(f"pipeline.{name}", partial(references, _plain(found.init_from))) or ()
        steps.append(Step(name, found, given[name], start))
    problems.raise_any()
    in_order({step.name: step.start for step in steps})
    _keep(steps)
    for step in steps:
        problems.attempt(f"pipeline.{step.name}", partial(check, step.config))
        problems.attempt(f"pipeline.{step.name}", partial(_check_start, step, steps))
    problems.raise_any()
    return steps


def _keep(steps: Sequence[Step]) -> None:
    """Lets every run keep what a later one takes over from it."""
    for step in steps:
        wanted = set(step.config.keep)
        for later in steps:
            for reference in later.start:
                if reference.run == step.name:
                    wanted |= {"last"} if reference.which == "last" else set()
                    wanted |= {"methods"} if later.config.init_methods else set()
        step.config.keep = sorted(wanted)


def _check_start(step: Step, steps: Sequence[Step]) -> None:
    """What can be said of a run's start before any run is made."""
    known = {other.name: other for other in steps}
    for reference in step.start:
        if reference.run not in known:
            if not any(store.read_record(place) for place in (Path(reference.run), _store(step) / reference.run)):
                message = f"no run of this pipeline, no run folder, and no run of store {str(_store(step))!r}"
                fail("init_from", reference.run, f"{message}; {nearest(reference.run, known)}")
            continue
        theirs, own = known[reference.run].config.backbone.name, step.config.backbone.name
        if theirs != own:
            message = f"its body is backbone {theirs!r} and here it is {own!r}; choose it in the YAML or in every run, "
            fail("init_from", reference.run, f"{message}for the command line is about the last run alone")


def _store(step: Step) -> Path:
    return Path(step.config.store)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _point(step: Step, made: Mapping[str, Run]) -> None:
    """Puts runs in the place of names: the record of a run says what it started from, whatever it was called."""
    found = []
    for reference in step.start:
        name = reference.run
        if name in made:
            folder = made[name].folder
            name = folder.name if folder.parent == _store(step) else str(folder)
        found.append(str(reference._replace(run=name)))
    if found:
        step.config.init_from = found if len(found) > 1 else found[0]


def _measure(steps: Sequence[Step], made: Mapping[str, Run]) -> None:
    """Adds to the last run's record what the weights before it, which it goes back to, reach on its task."""
    last = steps[-1]
    before = [step.name for step in steps if step.name in _ancestors(last, steps)]
    if not before:
        return
    from tlresearch.training.transfer import after, at_start, measurable

    run = made[last.name]
    if not measurable(run):
        return
    found = {START: at_start(made[before[0]], run), **{name: after(made[name], run) for name in before}}
    metrics = {name: {"accuracy": entry["accuracy"]} for name, entry in found.items()}
    how = {name: {"run": entry["run"], "head": entry["head"]} for name, entry in found.items()}
    if run.metrics.get("pipeline") != metrics or run.record.get("pipeline") != how:
        try:
            held = lock.claim(run.folder)
        except lock.Busy:  # whoever has it says the same, or trains it anew
            return
        try:
            run.record |= {"metrics": {**run.metrics, "pipeline": metrics}, "pipeline": how}
            store.write_record(run.folder, run.record)
        finally:
            held.release()


def _ancestors(step: Step, steps: Sequence[Step]) -> set[str]:
    by_name = {other.name: other for other in steps}
    direct = [by_name[reference.run] for reference in step.start if reference.run in by_name]
    return {other.name for other in direct}.union(*(_ancestors(other, steps) for other in direct))
