"""Which runs another one starts from, what it can take from them, and what its identity knows of that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tlresearch.config import registry, schema
from tlresearch.config.errors import ConfigError, Problem, Problems, choose, fail
from tlresearch.config.start import FORMS, Reference, references
from tlresearch.core.types import Task
from tlresearch.core.weights import kept_digest
from tlresearch.results import store
from tlresearch.results.runs import Run, look_up
from tlresearch.training.assemble import head_config
from tlresearch.training.checkpoint import content_digest
from tlresearch.training.keeper import MODEL
from tlresearch.training.kept import LAST, METHODS


class Source(NamedTuple):
    """A finished run and which of its weights. digest: SHA-256 (hex) of all that these weights depend on."""

    run: Run
    which: str
    digest: str

    @property
    def files(self) -> list[Path]:
        """The files that hold the weights; a tensor of a later one takes the place of the same in an earlier one."""
        last = self.run.folder / LAST
        return [self.run.folder / MODEL, *([last] if self.which == "last" and last.exists() else [])]


class Start(NamedTuple):
    """What a run takes over. sources: in order of their digest; heads: tasks; methods: name → digest of its state."""

    sources: tuple[Source, ...]
    heads: tuple[str, ...]
    methods: dict[str, str]

    def content(self) -> dict[str, Any]:
        """For the identity: what is taken over, wherever it lies and whatever it is called."""
        return {"weights": [s.digest for s in self.sources], "heads": list(self.heads), "methods": self.methods}

    def record(self) -> dict[str, Any]:
        """For the record: the same, and the runs."""
        return {"runs": [f"{s.run.identity}:{s.which}" for s in self.sources], **self.content()}


def find(config: Mapping[str, Any], tasks: Sequence[Task]) -> Start | None:
    """The sources of `init_from`, None where it is null; no weights are read yet.

    tasks: those of the run's first stage, which are there when it starts.
    Raises ConfigError where a source is unknown, not done, has not kept what is asked for, or does not fit.
    """
    problems = Problems()
    found = [
        problems.attempt("", partial(_source, named, Path(config["store"])))
        for named in references(config["init_from"])
    ]
    problems.raise_any()
    sources = sorted((source for source in found if source is not None), key=lambda source: source.digest)
    if not sources:
        return None
    for source in sources:
        problems.attempt("", partial(_check_backbone, source.run, config))
    heads = problems.attempt("", partial(_heads, config, tasks, [source.run for source in sources]))
    methods = problems.attempt("", partial(_methods, config["init_methods"], sources[0].run))
    problems.raise_any()
    assert heads is not None
    assert methods is not None
    return Start(tuple(sources), heads, methods)


def find_run(name: str, place: Path) -> Run:
    """A run by its folder or its identity in the store `place`; raises ConfigError where there is none."""
    for folder in (Path(name), place / name):
        record = store.read_record(folder)
        if record is not None:
            return Run(folder, record)
    fail("init_from", name, f"no run folder, and no run of store {str(place)!r}; {FORMS}")


def weights_digest(run: Run, files: Sequence[Path]) -> str:
    """SHA-256 (hex) of weights files, of the weights below them, and of the methods that say how to read them."""
    parts = [*(kept_digest(file, content_digest) for file in files), run.record.get("weights"), run.config["method"]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _source(named: Reference, place: Path) -> Source:
    run = find_run(named.run, place)
    told = f"{str(run.folder)!r}"
    if run.status == "failed":
        fail("init_from", named.run, f"{told} failed ({run.record.get('error')}); run it again with retry_failed=true")
    if run.status != "done":
        fail("init_from", named.run, f"{told} is {run.status}, not done; let it end, or run it again to go on with it")
    if run.config["predictor"] is not None:
        fail("init_from", named.run, f"{told} is a predictor's and has no weights; name a trained run")
    if not (run.folder / MODEL).is_file():
        fail("init_from", named.run, f"{told} has lost its {MODEL}; train it again in a new store")
    if named.which == "last" and not _has_last(run):
        fail("init_from", str(named), f"{told} has not kept its last weights; run it again with keep=[last]")
    source = Source(run, named.which, "")
    return source._replace(digest=weights_digest(run, source.files))


def _has_last(run: Run) -> bool:
    """Whether the last weights were kept, or are the reported ones."""
    stage = run.record["stages"][-1]
    changed = run.config["bn"] == "recalibrate" or stage.get("changed_at_end", False)
    reported = stage["selected"] + 1 == stage["evaluations"] and not changed
    return reported or "last" in run.config.get("keep", ())


def _check_backbone(run: Run, config: Mapping[str, Any]) -> None:
    theirs, own = look_up(run.config, "backbone.name"), config["backbone"]["name"]
    if theirs != own:
        message = f"its body is backbone {theirs!r} and this run's is {own!r}; choose the same for both"
        fail("init_from", str(run.folder), f"{message} (in a pipeline, in the YAML or in every run)")


def _heads(config: Mapping[str, Any], tasks: Sequence[Task], runs: Sequence[Run]) -> tuple[str, ...]:
    asked = config["init_heads"]
    obstacles = {task.name: next(filter(None, (_obstacle(task, config, run) for run in runs)), "") for task in tasks}
    if asked is None:
        return tuple(name for name, obstacle in obstacles.items() if not obstacle)
    for name in asked:
        choose("init_heads", name, obstacles)
        if obstacles[name]:
            fail("init_heads", name, f"cannot be carried on: {obstacles[name]}; leave it out for a new head")
    return tuple(asked)


def _obstacle(task: Task, config: Mapping[str, Any], run: Run) -> str:
    """Why the run's head cannot serve the task, "" where it can."""
    place, tasks = str(run.folder), {found.name: found for found in run.spec.tasks}
    if task.name not in tasks:
        return f"{place!r} has no task {task.name!r}, only {', '.join(tasks)}"
    theirs = tasks[task.name]
    if (theirs.kind, theirs.labels) != (task.kind, task.labels):
        return f"its labels in {place!r} are others ({len(theirs.labels)} there, {len(task.labels)} here)"
    heads = _complete(head_config(run.config, theirs)), _complete(head_config(config, task))
    if heads[0] != heads[1]:
        return f"its head in {place!r} is {_told(heads[0])}, and here {_told(heads[1])}"
    return ""


def _complete(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a head with the defaults of those that were not given."""
    entry = registry.find("head", options["name"])
    return {**{option.name: option.default for option in schema.options(entry)}, **options}


def _told(head: Mapping[str, Any]) -> str:
    return f"{head['name']}({', '.join(f'{k}={v}' for k, v in head.items() if k != 'name')})"


def _methods(asked: Sequence[str], run: Run) -> dict[str, str]:
    file = run.folder / METHODS
    for name in asked:
        choose("init_methods", name, run.config["method"])
    if asked and not file.is_file():
        message = f"{str(run.folder)!r} has not kept its methods' states; run it again with keep=[methods]"
        raise ConfigError(Problem("init_methods", f"{list(asked)!r}: {message}"))
    return {name: kept_digest(file, content_digest) for name in asked}
