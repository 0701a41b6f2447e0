"""One configuration to one record: looks whether it is done, starts ranks where asked, trains, writes."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tlresearch.config.compose import check, compose
from tlresearch.config.errors import ConfigError, Problem
from tlresearch.results import store
from tlresearch.results.announcement import announce
from tlresearch.results.description import describe, lines, row, warnings
from tlresearch.results.environment import commit, device, device_line
from tlresearch.results.identity import identity, source_hashes
from tlresearch.results.runs import Run
from tlresearch.results.tracking import Trackers
from tlresearch.training import launch

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from omegaconf import DictConfig

    from tlresearch.core.types import Stream
    from tlresearch.training.parameters import Rates
    from tlresearch.training.sources import Start

logger = logging.getLogger("tlresearch")


class RunFailed(RuntimeError):
    """A run that failed: now (the cause is attached) or earlier, with its record kept as a row of the store.

    time: when, in seconds since the epoch; of several ranks that fail, the first has the cause.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.time = time.time()


def run(overrides: Sequence[str] = (), config_name: str = "config") -> Run:
    """What `tlresearch train OVERRIDES…` does: `tlresearch.run(["method=[lora]", "seed=1"]).metrics`.

    Raises ConfigError for a user's mistake, before anything is written, and RunFailed where the run itself fails.
    """
    config = compose(overrides, config_name)
    check(config)
    if config.pipeline is not None:
        from tlresearch.pipeline import run_pipeline

        return run_pipeline(config, overrides, config_name)
    return execute(config, list(overrides))


def execute(config: DictConfig, overrides: Sequence[str]) -> Run:
    """Runs a checked configuration unless its identity is done; resumes an interrupted one."""
    plain = resolve(config)
    plan = prepare(plain)
    finished = _existing(plan, plain)
    if finished is not None:
        return finished
    if launch.needs_ranks(plain):
        made = _outcome(plan.folder, launch.start_ranks(plain, list(overrides)))
    else:
        made = execute_here(plan, plain, overrides)
    made.stream = plan.stream  # as it was trained on; no need to read it again
    return made


def resolve(config: DictConfig) -> dict[str, Any]:
    """Plain dicts and lists, interpolations resolved, with the values that nulls stand for."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    values: dict[str, Any] = {str(key): value for key, value in plain.items() if key not in ("hydra", "preset")}
    if values["dataset"].get("sample_seed", 0) is None:
        values["dataset"]["sample_seed"] = values["seed"]
    return values


class Prepared(NamedTuple):
    """What is known of a run before it starts."""

    identity: str
    folder: Path
    stream: Stream
    rates: Rates
    fingerprint: str
    weights: str
    start: Start | None


def prepare(config: Mapping[str, Any]) -> Prepared:
    """Builds the data and the run's identity; checks what can be checked without building the model."""
    from tlresearch.core.fingerprint import fingerprint
    from tlresearch.core.weights import Weights
    from tlresearch.training import sources
    from tlresearch.training.assemble import build_stream, check_fit, recommended_rates

    store.writable(Path(config["store"]))
    launch.check_devices(config)
    stream = build_stream(config)
    check_fit(config, stream.spec)
    rates, digest = recommended_rates(config), fingerprint(stream)
    try:
        weights = Weights.parse(config["backbone"]["weights"]).digest(config["backbone"].get("model") or "")
    except ConfigError as error:
        raise error.below("backbone") from error
    start = sources.find(config, stream.stages[0].tasks)
    name = identity(config, digest, weights, rates, None if start is None else start.content())
    return Prepared(name, Path(config["store"]) / name, stream, rates, digest, weights, start)


def execute_here(prepared: Prepared, config: Mapping[str, Any], overrides: Sequence[str]) -> Run:
    """Trains in this process, which is the only one or one rank of several; rank 0 alone writes."""
    from tlresearch.core.seeding import reseed
    from tlresearch.training.session import Session

    fabric = launch.make_fabric(config)
    reseed(config["seed"])
    trackers = Trackers(config, fabric.is_global_zero)
    if config["predictor"] is not None:
        from tlresearch.training.prediction import Prediction as Work
    else:
        Work = Session  # type: ignore[assignment,misc]
    try:
        with launch.determinism(config["deterministic"]):
            work = Work(config, prepared.stream, fabric, prepared.rates, trackers.log)
            made = _record(prepared, config, overrides, fabric, trackers, work.run)
            fabric.barrier()  # the record is there for every rank: a run that starts from it may follow
            return made
    finally:
        launch.end_ranks()


def _record(
    prepared: Prepared,
    config: Mapping[str, Any],
    overrides: Sequence[str],
    fabric: Fabric,
    trackers: Trackers,
    work: Callable[[Path], Mapping[str, Any]],
) -> Run:
    writes = fabric.is_global_zero
    record = _first_record(prepared, config, overrides)
    if writes:
        record["data"]["description"] = describe(prepared.stream)
        record["hardware"] = {**record["hardware"], "device": device(fabric)}

    def save(**values: Any) -> None:
        record.update(values, updated=_now())
        if writes:
            store.write_record(prepared.folder, record)

    if writes:
        prepared.folder.mkdir(parents=True, exist_ok=True)
        save(status="running", process=store.process())
    start = time.perf_counter()
    try:
        trackers.start(prepared.identity, prepared.folder, config)
        if writes:
            _announce(record, config)
        results = work(prepared.folder)
    except BaseException as error:
        interrupted = isinstance(error, (KeyboardInterrupt, SystemExit))
        save(
            status="interrupted" if interrupted else "failed",
            error=f"{type(error).__name__}: {error}",
            traceback=traceback.format_exc(),
        )
        if isinstance(error, Exception) and not isinstance(error, ConfigError):
            raise RunFailed(f"{prepared.folder}: {type(error).__name__}: {error}") from error
        raise
    finally:
        trackers.finish()
    size = sum(file.stat().st_size for file in prepared.folder.rglob("*") if file.is_file()) if writes else 0
    cost = {**results["cost"], "seconds_total": time.perf_counter() - start, "bytes_on_disk": size}
    save(**{**results, "cost": cost}, status="done", error=None)
    if writes:
        (prepared.folder / "state.safetensors").unlink(missing_ok=True)
    return Run(prepared.folder, record)


def _announce(record: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Says which device computes and what the data are; without `progress` only what is suspicious about them."""
    found = record["data"]["description"]
    if not config["progress"]:
        announce(warnings(found))
        return
    computes = device_line(record["hardware"]["device"], config["accelerator"], config["precision"])
    announce([row("device", computes)])
    announce(lines(found), otherwise=row("data", f"{found['name']}, as described above"))


def _first_record(prepared: Prepared, config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    from tlresearch.results.environment import hardware, versions

    selection, spec = config["selection"], prepared.stream.spec
    data = {
        "fingerprint": prepared.fingerprint,
        "spec": {**spec._asdict(), "tasks": [task._asdict() for task in spec.tasks]},
        "stages": [
            {
                "name": s.name,
                "train": len(s.train),
                "validation": len(s.validation),
                "test": len(s.test),
                "unlabelled": 0 if s.unlabelled is None else len(s.unlabelled),
            }
            for s in prepared.stream.stages
        ],
    }
    return {
        "schema": store.SCHEMA,
        "identity": prepared.identity,
        "status": "running",
        "overrides": list(overrides),
        "config": dict(config),
        "weights": prepared.weights,
        "start": None if prepared.start is None else prepared.start.record(),
        "data": data,
        "metric": f"test.{spec.tasks[0].metric}",
        "learning_rates": prepared.rates._asdict(),
        "selection": {
            "rule": selection["name"],
            **{k: v for k, v in selection.items() if k != "name"},
            "oracle": _is_oracle(selection["name"]),
        },
        "sources": source_hashes(config),
        "versions": versions(),
        "hardware": hardware(),
        "git": commit(),
        "started": _now(),
    }


def _existing(prepared: Prepared, config: Mapping[str, Any]) -> Run | None:
    """A run of this identity that must not be run again: done, failed (unless retried) or under way elsewhere."""
    record = store.read_record(prepared.folder)
    if record is None:
        return None
    existing = Run(prepared.folder, record)
    if record["status"] == "running":
        owner = record["process"]
        raise ConfigError(
            Problem(
                "store",
                f"{str(prepared.folder)!r} is being run by process {owner['pid']} on {owner['host']}; "
                "wait for it, or change the store or the configuration",
            )
        )
    stale = existing.stale
    lacking = record["status"] == "done" and set(config["keep"]) - set(existing.config.get("keep", ()))
    if (stale and config["rerun_stale"]) or (record["status"] == "failed" and config["retry_failed"]) or lacking:
        (prepared.folder / "state.safetensors").unlink(missing_ok=True)
        (prepared.folder / "history.jsonl").unlink(missing_ok=True)
        return None
    if record["status"] == "done":
        note = ", by other code since: rerun_stale=true runs it again" if stale else ""
        print(f"already done{note}: {prepared.folder}", file=sys.stderr)
        existing.reused = True
        return existing
    if record["status"] == "failed":
        raise RunFailed(f"{prepared.folder} failed before: {record.get('error')}; retry_failed=true runs it again")
    return None


def _outcome(folder: Path, failure: Mapping[str, Any] | None) -> Run:
    """What the ranks left behind; one that fails takes the first with it, which then does not know the cause."""
    record = store.read_record(folder)
    if failure is not None and record is not None and record["status"] in ("interrupted", "failed"):
        record.update(status="failed", error=failure["error"], traceback=failure["traceback"])
        store.write_record(folder, record)
    if record is None or record["status"] != "done":
        raise RunFailed(f"{folder}: {'no record' if record is None else record.get('error')}")
    return Run(folder, record)


def _is_oracle(name: str) -> bool:
    from tlresearch.config.registry import load

    return bool(load("selection", name).oracle)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
