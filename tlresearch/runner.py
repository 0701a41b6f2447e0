"""One configuration to one record: looks whether it is done, starts ranks where asked, trains, writes."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tlresearch.config import garbage
from tlresearch.config.budget import Budget, Spent, usd
from tlresearch.config.compose import check, compose
from tlresearch.config.errors import ConfigError, fail
from tlresearch.config.processes import within_ranks
from tlresearch.results import lock, store
from tlresearch.results.announcement import announce
from tlresearch.results.claim import Claim, RunFailed, claimed, disk_error, existing, refuse_busy, unwritable
from tlresearch.results.description import lines, row, warnings
from tlresearch.results.environment import device, device_line
from tlresearch.results.expense import Energy, peak_device_memory
from tlresearch.results.identity import identity
from tlresearch.results.record import description, first_record, now
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


def run(overrides: Sequence[str] = (), config_name: str = "config") -> Run:
    """What `tlresearch train OVERRIDES…` does: `tlresearch.run(["method=[lora]", "seed=1"]).metrics`.

    Raises ConfigError for a user's mistake, before anything is written, and RunFailed where the run itself fails.
    """
    config = compose(overrides, config_name)
    check(config)
    if config.dry_run:
        fail("dry_run", True, "lists runs on the command line; leave it out here")
    if config.pipeline is not None:
        from tlresearch.pipeline import run_pipeline

        return run_pipeline(config, overrides, config_name)
    return execute(config, list(overrides))


def execute(config: DictConfig, overrides: Sequence[str], *, wait: bool = False) -> Run:
    """Runs a checked configuration unless its identity is done; resumes an interrupted one.

    wait: for one that another process is running; otherwise that raises Busy.
    """
    plain = resolve(config)
    plan = prepare(plain)
    while True:
        try:
            return _attempt(plan, plain, overrides)
        except lock.Busy as busy:
            if not wait:
                raise
            print(f"waiting: {busy.problems[0].message.partition(';')[0]}", file=sys.stderr, flush=True)
            lock.wait(plan.folder)


def _attempt(plan: Prepared, plain: Mapping[str, Any], overrides: Sequence[str]) -> Run:
    if not within_ranks():  # several ranks have to decide as one, in `claimed`
        finished = existing(plan.folder, plain)
        if finished is not None:
            return finished
        refuse_busy(plan.folder)
        Budget(plain).check()
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
    from tlresearch.core.weights import Weights
    from tlresearch.training import sources
    from tlresearch.training.assemble import check_fit, recommended_rates
    from tlresearch.training.memory import read_data

    store.writable(Path(config["store"]))
    launch.check_devices(config)
    launch.flush_denormals()
    stream, digest = read_data(config)
    check_fit(config, stream.spec)
    rates = recommended_rates(config)
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
    from tlresearch.results.latency import run_timed
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
            garbage.resume()
            with claimed(prepared.folder, config, fabric.is_global_zero) as claim:
                made = claim.found or record_run(
                    prepared, config, overrides, fabric, trackers, claim, partial(run_timed, work)
                )
                fabric.barrier()  # the record is there for every rank: a run that starts from it may follow
                return made
    finally:
        launch.end_ranks()


def record_run(
    prepared: Prepared,
    config: Mapping[str, Any],
    overrides: Sequence[str],
    fabric: Fabric,
    trackers: Trackers,
    claim: Claim,
    work: Callable[[Path], Mapping[str, Any]],
) -> Run:
    """Does a run's work in its folder, with its record kept from start to end, failure and interruption included."""
    writes = fabric.is_global_zero
    record = first_record(prepared, config, overrides)
    earlier = store.seconds_before(prepared.folder)
    start, energy = time.perf_counter() - earlier, Energy(fabric.device)
    if writes:
        record["data"]["description"] = description(prepared)
        record["hardware"] = {**record["hardware"], "device": device(fabric)}

    def save(**values: Any) -> None:
        record.update(values, updated=now())
        claim.write(prepared.folder, record)

    save(status="running", process=lock.process(), cost={"seconds_total": earlier})
    try:
        trackers.start(prepared.identity, prepared.folder, config)
        if writes:
            _announce(record, config)
        results = work(prepared.folder)
        trackers.conclude(results["metrics"])
    except BaseException as error:
        full = disk_error(prepared.folder, error)
        interrupted = full is not None or isinstance(error, (KeyboardInterrupt, SystemExit, Spent))
        with suppress(RunFailed):  # a record that cannot be written stays as it was
            save(
                status="interrupted" if interrupted else "failed",
                cost={"seconds_total": time.perf_counter() - start},
                error=f"{type(error).__name__}: {error}",
                traceback=traceback.format_exc(),
            )
        if full is not None:
            raise unwritable(prepared.folder, full) from None
        if isinstance(error, Exception) and not isinstance(error, (ConfigError, Spent)):
            raise RunFailed(f"{prepared.folder}: {type(error).__name__}: {error}") from error
        raise
    finally:
        trackers.finish()
    files = [f for f in prepared.folder.rglob("*") if f.is_file() and f.name != lock.LOCK] if writes else []
    size = sum(file.stat().st_size for file in files)
    seconds = time.perf_counter() - start + results["cost"].get("seconds_total", 0.0)  # what it did with other runs
    spent = usd(config, seconds, fabric.device.type, fabric.world_size)
    alone = not earlier and "seconds_total" not in results["cost"]  # or else part of the work was not watched
    measured = {**(energy.joules() if alone else {}), **peak_device_memory(fabric.device)}
    cost = {**results["cost"], **measured, "seconds_total": seconds, **spent, "bytes_on_disk": size}
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


def _outcome(folder: Path, failure: Mapping[str, Any] | None) -> Run:
    """What the ranks left behind; one that fails takes the first with it, which then does not know the cause."""
    record = store.read_record(folder)
    resumable = failure is not None and failure["resumable"]
    if failure is not None and not resumable and record is not None and record["status"] in ("interrupted", "failed"):
        record.update(status="failed", error=failure["error"], traceback=failure["traceback"])
        store.write_record(folder, record)
    if record is None or record["status"] != "done":
        raise RunFailed(f"{folder}: {'no record' if record is None else record.get('error')}")
    return Run(folder, record)
