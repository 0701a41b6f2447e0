"""`tlresearch train`: passes everything on to Hydra, and runs what it composes."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from tlresearch.commands import details
from tlresearch.commands.main import FAILED, USAGE, complain
from tlresearch.commands.sweep import Pace, Value, collects, number, objective, summary, total
from tlresearch.config import budget, source
from tlresearch.config.compose import VERSION_BASE, check, user_error
from tlresearch.config.errors import ConfigError, fail
from tlresearch.config.names import check_name
from tlresearch.config.processes import speaks, within_ranks
from tlresearch.config.quoting import quote
from tlresearch.results import announcement
from tlresearch.results.claim import RunFailed
from tlresearch.results.lock import Busy

if TYPE_CHECKING:
    from tlresearch.results.runs import Run

_failed: list[Exception] = []
"""What went wrong: a failing run of a sweep is told at once and must not stop the others."""

_ended: list[tuple[list[str], Any]] = []
"""Overrides and value, or what ended it, of each run of this process whose sweeper does not hand them to `conclude`."""

_pace = Pace()

_EMPTY_STUDY = "No trials are completed yet"  # Optuna's last word where all runs failed, each of which is told already


def main(arguments: list[str]) -> int:
    """Composes and runs. A user's mistake is a message and exit code 2; anything else a traceback and 1."""
    debug = any(a.lower() in ("debug=true", "debug=1", "debug=yes", "debug=on") for a in arguments)
    source.install()
    _failed.clear()
    _ended.clear()
    _pace.restart()
    announcement.forget()
    try:
        check_name(arguments)
        with _hydra_arguments(arguments):
            hydra.main(version_base=VERSION_BASE, config_path=None, config_name="config")(task)()
    except SystemExit as stop:
        return int(stop.code or 0)
    except budget.Spent as spent:
        if speaks() and not _ended:  # a single run, or one in a launcher's process
            print(spent, file=sys.stderr)
    except Exception as error:
        if not (_failed and _EMPTY_STUDY in str(error)):
            _fail(error, debug)
    if _ended:
        stopped = any(isinstance(result, budget.Spent) for _, result in _ended)
        missing = (_pace.total or 0) - len(_ended) if stopped else 0
        conclude([overrides for overrides, _ in _ended], [result for _, result in _ended], max(missing, 0))
    return _exit_code()


def task(config: DictConfig) -> float | None:
    """One run; its last line is the run's folder and headline metric."""
    job = HydraConfig.get()
    sweep = not OmegaConf.is_missing(job.job, "num")
    overrides = list(job.overrides.task)
    if config.dry_run:
        _list(config, overrides, sweep)
        return None
    collected = not sweep or collects(job.sweeper)
    try:
        run = _run(config, overrides, job, sweep)
    except Exception as error:
        if not _pace.here:
            raise _sent(error) from None
        if not collected:
            _ended.append((overrides, error))
        if isinstance(error, budget.Spent):
            raise
        if sweep and isinstance(error, Busy):
            print("being run elsewhere; left for the end", file=sys.stderr)
            raise
        _fail(error, config.debug)
        if sweep and collected:
            raise  # the sweeper has to know
        return None  # to a sweeper that would end with the first error, it is a trial without a value
    if config.progress and not run.reused and not sweep and speaks():
        details.show(run)
    value = _result(run)
    if collected:
        return value
    _ended.append((overrides, value))
    return objective(run, config.objective)


def told(run: Run, number: int, overrides: Sequence[str], total: int) -> Value:
    """Tells of a sweep's run `number` (from 0) that was made together with others; its value."""
    _pace.total = total
    if speaks():
        print(_pace.line(number, total, overrides), flush=True)
    _pace.add(0.0, worked=False)
    return _result(run)


def _result(run: Run) -> Value:
    if speaks():
        print(f"{run.folder}  {run.metric}={run.value:.4f}", flush=True)
    return Value(run.value, run.reused, str(run.folder))


def _run(config: DictConfig, overrides: list[str], job: HydraConf, sweep: bool) -> Run:
    """Runs it, and keeps the sweep's pace. job: Hydra's part of the configuration."""
    start, worked = time.time(), True
    _pace.total = total(job.sweeper) if sweep else None
    try:
        check(config)
        pipeline = config.pipeline is not None  # the budget of one is checked with its runs
        if not pipeline and not within_ranks():  # ranks have to decide as one, by one clock
            budget.Budget(config).check()
        if sweep and speaks():
            print(_pace.line(number(job), _pace.total, overrides), flush=True)
        wait = sweep and bool(job.sweeper.get("wait", True))
        if pipeline:
            from tlresearch.pipeline import run_pipeline

            run = run_pipeline(config, overrides, str(job.job.config_name), _folders(job), _headline, wait=wait)
        else:
            from tlresearch.runner import execute

            run = execute(config, overrides, wait=wait)
        worked = not run.reused
        return run
    except (Busy, budget.Spent) as error:
        worked = isinstance(error, budget.Spent) and error.started
        raise
    finally:
        _pace.add(time.time() - start, worked=worked)


def _folders(job: HydraConf) -> list[str]:
    """The folders with YAML that `--config-dir` named."""
    return [source.path for source in job.runtime.config_sources if source.provider == "command-line"]


def _headline(name: str, run: Run) -> None:
    """A line for each run of a pipeline but the last."""
    if speaks():
        print(f"{run.folder}  {run.metric}={run.value:.4f}  ({name})", flush=True)


def _list(config: DictConfig, overrides: list[str], sweep: bool) -> None:
    if sweep:  # the grid sweeper lists its runs itself
        fail("dry_run", True, "this hydra/sweeper chooses its runs as it goes; only those of a grid can be listed")
    list_runs([(config, overrides)])


def list_runs(runs: Iterable[tuple[DictConfig, Sequence[str]]]) -> None:
    """dry_run: what there is to do. runs: configuration and overrides of each."""
    from tlresearch.commands.dry_run import show

    show(runs, lambda error: _fail(error, debug=False))


def conclude(jobs: Sequence[Sequence[str]], results: Sequence[Any], missing: int = 0) -> None:
    """The end of a sweep. jobs: each run's overrides; results: its value, or what ended it, from whichever process.

    missing: runs that the sweeper would have made, had the budget not ended it.
    """
    for error in results:
        if isinstance(error, Exception) and not isinstance(error, budget.Spent):
            _fail(error, debug=False)
    if speaks():
        print(summary(jobs, results, missing), file=sys.stderr)


def _fail(error: Exception, debug: bool) -> None:
    """Tells an error and keeps it for the exit code, once."""
    if not any(error is known for known in _failed):
        _tell(error, debug)
        _failed.append(error)


def _sent(error: Exception) -> Exception:
    """The error of a run in another process as its sweeper gets it, which tells it; any other may not survive that."""
    if isinstance(error, budget.Spent):
        return error
    message = user_error(error)
    if message is not None:
        return error if isinstance(error, ConfigError) else ConfigError(message)
    if not _failed_before(error):
        traceback.print_exception(error)
    return RunFailed(str(error) if isinstance(error, RunFailed) else f"{type(error).__name__}: {error}")


def _tell(error: Exception, debug: bool) -> None:
    message = user_error(error)
    if message is None and _failed_before(error):
        print(f"error: {error}", file=sys.stderr)
    elif message is None:
        traceback.print_exception(error)
    else:
        complain(error if isinstance(error, ConfigError) else ConfigError(message), debug)


def _failed_before(error: Exception) -> bool:
    """Whether the run failed in an earlier call or in another process, so that there is nothing to trace."""
    return isinstance(error, RunFailed) and error.__cause__ is None


def _exit_code() -> int:
    if any(user_error(error) is None for error in _failed):
        return FAILED
    return USAGE if _failed else 0


@contextmanager
def _hydra_arguments(arguments: list[str]) -> Iterator[None]:
    """Hydra reads sys.argv, and hands exceptions on (instead of exiting with 1) only if the environment says so."""
    argv, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    overrides = [argument for argument in arguments if not argument.startswith("-") and "=" in argument]
    flags = [argument for argument in arguments if argument not in overrides]  # argparse wants overrides in one piece
    overrides.append(f"++hydra.job.env_set.{budget.STARTED}='{budget.start()}'")  # reaches the jobs of every launcher
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = ["tlresearch train", *flags, *map(quote, overrides)], "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full
