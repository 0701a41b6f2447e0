"""`tlresearch train`: passes everything on to Hydra, and runs what it composes."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from tlresearch.commands import details
from tlresearch.commands.main import FAILED, USAGE, complain
from tlresearch.commands.sweep import Pace, Value, summary
from tlresearch.config import source
from tlresearch.config.compose import VERSION_BASE, check, user_error
from tlresearch.config.errors import ConfigError, fail
from tlresearch.config.names import check_name
from tlresearch.config.quoting import quote
from tlresearch.results import announcement
from tlresearch.results.claim import RunFailed
from tlresearch.results.lock import Busy

_failed: list[Exception] = []
"""What went wrong: a failing run of a sweep is told at once and must not stop the others."""

_pace = Pace()


def main(arguments: list[str]) -> int:
    """Composes and runs. A user's mistake is a message and exit code 2; anything else a traceback and 1."""
    debug = any(a.lower() in ("debug=true", "debug=1", "debug=yes", "debug=on") for a in arguments)
    source.install()
    _failed.clear()
    _pace.restart()
    announcement.forget()
    try:
        check_name(arguments)
        with _hydra_arguments(arguments):
            hydra.main(version_base=VERSION_BASE, config_path=None, config_name="config")(task)()
    except SystemExit as stop:
        return int(stop.code or 0)
    except Exception as error:
        _fail(error, debug)
    return _exit_code()


def task(config: DictConfig) -> float | None:
    """One run; its last line is the run's folder and headline metric."""
    job = HydraConfig.get()
    sweep = not OmegaConf.is_missing(job.job, "num")
    overrides = list(job.overrides.task)
    if sweep and _speaks() and not config.dry_run:
        print(_pace.line(job.job.num, job.sweeper.get("total"), overrides), flush=True)
    if config.dry_run:
        _list(config, overrides, sweep)
        return None
    start = time.time()
    try:
        check(config)
        from tlresearch.runner import execute

        run = execute(config, overrides, wait=sweep and bool(job.sweeper.get("wait", True)))
    except Busy as busy:
        _pace.add(time.time() - start, worked=False)
        if sweep:
            print("being run elsewhere; left for the end", file=sys.stderr)
            raise
        _fail(busy, config.debug)
        return None
    except Exception as error:
        _pace.add(time.time() - start, worked=True)
        if not _pace.here:
            raise _sent(error) from None
        _fail(error, config.debug)
        if sweep:
            raise  # the sweeper has to know
        return None
    _pace.add(time.time() - start, worked=not run.reused)
    if _speaks():
        if config.progress and not run.reused and not sweep:
            details.show(run)
        print(f"{run.folder}  {run.metric}={run.value:.4f}", flush=True)
    return Value(run.value, run.reused)


def _list(config: DictConfig, overrides: list[str], sweep: bool) -> None:
    if sweep:  # the grid sweeper lists its runs itself
        fail("dry_run", True, "this hydra/sweeper chooses its runs as it goes; only those of a grid can be listed")
    list_runs([(config, overrides)])


def list_runs(runs: Iterable[tuple[DictConfig, Sequence[str]]]) -> None:
    """dry_run: what there is to do. runs: configuration and overrides of each."""
    from tlresearch.commands.dry_run import show

    show(runs, lambda error: _fail(error, debug=False))


def conclude(jobs: Sequence[Sequence[str]], results: Sequence[Any]) -> None:
    """The end of a sweep. jobs: each run's overrides; results: its value, or what ended it, from whichever process."""
    for error in results:
        if isinstance(error, Exception):
            _fail(error, debug=False)
    if _speaks():
        print(summary(jobs, results), file=sys.stderr)


def _fail(error: Exception, debug: bool) -> None:
    """Tells an error and keeps it for the exit code, once."""
    if not any(error is known for known in _failed):
        _tell(error, debug)
        _failed.append(error)


def _sent(error: Exception) -> Exception:
    """The error of a run in another process as its sweeper gets it, which tells it; any other may not survive that."""
    message = user_error(error)
    if message is not None:
        return error if isinstance(error, ConfigError) else ConfigError(message)
    if not _failed_before(error):
        traceback.print_exception(error)
    return RunFailed(str(error) if isinstance(error, RunFailed) else f"{type(error).__name__}: {error}")


def _speaks() -> bool:
    """Whether this process prints results: of the ranks that torchrun or Slurm started, the first one alone."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"


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
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = ["tlresearch train", *flags, *map(quote, overrides)], "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full
