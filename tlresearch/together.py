"""Runs of a sweep that differ in their heads alone, trained as one computation; each leaves its own record."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig

from tlresearch import runner
from tlresearch.config.budget import Budget, Spent
from tlresearch.config.compose import check
from tlresearch.config.errors import ConfigError
from tlresearch.results import store
from tlresearch.results.claim import Claim, RunFailed, claimed
from tlresearch.results.identity import IRRELEVANT
from tlresearch.results.tracking import Trackers

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from tlresearch.core.backbone import Backbone
    from tlresearch.results.runs import Run
    from tlresearch.training.member import Member

FREE = ("optimizer", "schedule", "seed", "selection", "patience", "clip", "epochs", "steps", "batch_size")
"""Top-level keys in which runs that train together may differ; beside them head.pooling and the drawing of labels."""

FREE_DATA = ("labels_per_class", "sample_seed", "class_weights")
AT_MOST = 128


class _Job(NamedTuple):
    """A run to be made; place: its number in the sweep."""

    place: int
    config: dict[str, Any]
    prepared: runner.Prepared
    overrides: Sequence[str]


def train_together(jobs: Sequence[tuple[DictConfig, Sequence[str]]]) -> dict[int, Run]:
    """Trains what can be trained together among a sweep's jobs, and says so; the runs it has made, by their place.

    Everything else, and whatever goes wrong here, is left to the ordinary way of running.
    """
    groups: dict[str, list[_Job]] = {}
    for place, (config, overrides) in enumerate(jobs):
        found = _candidate(place, config, overrides)
        if found is not None:
            groups.setdefault(_key(found.config), []).append(found)
    made: dict[int, Run] = {}
    for runs in groups.values():
        for start in range(0, len(runs), AT_MOST):
            part = runs[start : start + AT_MOST]
            if len(part) > 1 and not Budget(part[0].config).spent():
                made |= _train(part)
    return made


def _candidate(place: int, config: DictConfig, overrides: Sequence[str]) -> _Job | None:
    """A run that is neither done nor begun and may train on features; its mistakes are told when it runs alone."""
    try:
        check(config)
        plain = runner.resolve(config)
        if not _plain(plain):
            return None
        prepared = runner.prepare(plain)
        if store.read_record(prepared.folder) is not None:
            return None
    except ConfigError:
        return None
    return _Job(place, plain, prepared, list(overrides))


def _plain(config: Mapping[str, Any]) -> bool:
    single = config["devices"] == 1 and config["accumulate"] == 1 and config["precision"] == "32-true"
    alone = config["pipeline"] is not None or config["init_from"] is not None or config["keep"]
    single = single and not alone
    return single and config["predictor"] is None and bool(config["method"]) and config["cache"]["features"] != "never"


def _key(config: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in config.items() if key not in (*IRRELEVANT, *FREE)}
    kept["dataset"] = {key: value for key, value in config["dataset"].items() if key not in FREE_DATA}
    kept["head"] = {key: value for key, value in config["head"].items() if key != "pooling"}
    return json.dumps([kept, config["store"], config["cache"], config["log_every"]], sort_keys=True, default=str)


class _Log:
    """Keeps what is logged until the run's trackers have started."""

    def __init__(self, trackers: Trackers) -> None:
        self.trackers = trackers
        self.waiting: list[tuple[Mapping[str, float], int]] = []

    def __call__(self, values: Mapping[str, float], step: int) -> None:
        self.waiting.append((values, step))

    def flush(self) -> None:
        for values, step in self.waiting:
            self.trackers.log(values, step)
        self.waiting.clear()


def _train(runs: Sequence[_Job]) -> dict[int, Run]:
    from tlresearch.training import launch
    from tlresearch.training.fused import train_together as steps
    from tlresearch.training.member import CannotJoin

    fabric = launch.make_fabric(runs[0].config)
    with ExitStack() as claims:
        try:
            joined = _join(runs, fabric, claims)
            print(f"{len(joined)} runs train together, over the same features", file=sys.stderr, flush=True)
            ended = steps([member.member for member in joined]) if joined else []
        except (CannotJoin, ConfigError) as error:
            print(f"{len(runs)} runs train one by one: {error}", file=sys.stderr, flush=True)
            return {}
        return {part.run.place: part.record(fabric) for part in joined if part.member in ended}


def _join(runs: Sequence[_Job], fabric: Fabric, claims: ExitStack) -> list[_Joined]:
    """Those of the runs that this process may run, begun, over one backbone."""
    from tlresearch.core.seeding import reseed
    from tlresearch.training.member import Member
    from tlresearch.training.session import Session

    joined: list[_Joined] = []
    backbone: Backbone | None = None
    for run in runs:
        try:
            claim = claims.enter_context(claimed(run.prepared.folder, run.config, True))
        except (ConfigError, RunFailed, Spent):  # another process runs it, or it cannot be run
            continue
        if claim.found is None:
            reseed(run.config["seed"])
            trackers = Trackers(run.config, True)
            log = _Log(trackers)
            session = Session(run.config, run.prepared.stream, fabric, run.prepared.rates, log, backbone)
            backbone = session.model.backbone
            joined.append(_Joined(run, claim, Member(session), trackers, log))
    return joined


class _Joined(NamedTuple):
    """A run on its way."""

    run: _Job
    claim: Claim
    member: Member
    trackers: Trackers
    log: _Log

    def record(self, fabric: Fabric) -> Run:
        """The run with its record, whose steps are taken."""
        run = self.run
        return runner.record_run(
            run.prepared, run.config, run.overrides, fabric, self.trackers, self.claim, self._finish
        )

    def _finish(self, folder: Path) -> Mapping[str, Any]:
        """What is left of the run's work once its steps are taken."""
        from tlresearch.results.latency import run_timed

        results = run_timed(self.member.session, folder)
        self.log.flush()  # a run begins its history anew
        before = sum(results["cost"].get(f"seconds_{phase}", 0.0) for phase in ("prepare", "features", "train"))
        return {**results, "cost": {**results["cost"], "seconds_total": before}}
