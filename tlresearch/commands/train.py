"""`tlresearch train`: passes everything on to Hydra, and runs what it composes."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from tlresearch.commands import details
from tlresearch.commands.main import FAILED, USAGE, complain
from tlresearch.commands.sweep import Pace
from tlresearch.config import source
from tlresearch.config.compose import VERSION_BASE, check, user_error
from tlresearch.config.errors import ConfigError
from tlresearch.config.quoting import quote
from tlresearch.results import announcement

if TYPE_CHECKING:
    from tlresearch.results.runs import Run

_failed: list[Exception] = []
"""What went wrong in this process: a failing run of a sweep is told at once and must not stop the others."""

_pace = Pace()


def main(arguments: list[str]) -> int:
    """Composes and runs. A user's mistake is a message and exit code 2; anything else a traceback and 1."""
    debug = any(a.lower() in ("debug=true", "debug=1", "debug=yes", "debug=on") for a in arguments)
    source.install()
    _failed.clear()
    _pace.restart()
    announcement.forget()
    try:
        with _hydra_arguments(arguments):
            hydra.main(version_base=VERSION_BASE, config_path=None, config_name="config")(task)()
    except SystemExit as stop:
        return int(stop.code or 0)
    except Exception as error:
        if not any(error is known for known in _failed):
            _tell(error, debug)
            _failed.append(error)
    return _exit_code()


def task(config: DictConfig) -> float | None:
    """One run; its last line is the run's folder and headline metric."""
    job = HydraConfig.get()
    sweep = not OmegaConf.is_missing(job.job, "num")
    overrides = list(job.overrides.task)
    if sweep and announcement.speaks():
        print(_pace.line(job.job.num, job.sweeper.get("total"), overrides), flush=True)
    start = time.time()
    try:
        if config.get("pipeline") is not None:
            from tlresearch.pipeline import run_pipeline

            run = run_pipeline(config, overrides, str(job.job.config_name), _folders(job), _headline)
        else:
            check(config)
            from tlresearch.runner import execute

            run = execute(config, overrides)
    except Exception as error:
        _tell(error, config.debug)
        _failed.append(error)
        _pace.add(time.time() - start, worked=True)
        if sweep:
            raise  # the sweeper has to know
        return None
    _pace.add(time.time() - start, worked=not run.reused)
    if announcement.speaks():
        if config.progress and not run.reused and not sweep:
            details.show(run)
        print(f"{run.folder}  {run.metric}={run.value:.4f}", flush=True)
    return float(run.value)


def _folders(job: HydraConf) -> list[str]:
    """The folders with YAML that `--config-dir` named."""
    return [source.path for source in job.runtime.config_sources if source.provider == "command-line"]


def _headline(name: str, run: Run) -> None:
    """A line for each run of a pipeline but the last."""
    if announcement.speaks():
        print(f"{run.folder}  {run.metric}={run.value:.4f}  ({name})", flush=True)


def _tell(error: Exception, debug: bool) -> None:
    message = user_error(error)
    if message is None and _failed_before(error):
        print(f"error: {error}", file=sys.stderr)
    elif message is None:
        traceback.print_exception(error)
    else:
        complain(error if isinstance(error, ConfigError) else ConfigError(message), debug)


def _failed_before(error: Exception) -> bool:
    """Whether the run failed in an earlier call, so that there is a record and nothing to trace."""
    runner = sys.modules.get("tlresearch.runner")
    return runner is not None and isinstance(error, runner.RunFailed) and error.__cause__ is None


def _exit_code() -> int:
    if len(_failed) > 1:
        print(f"{len(_failed)} runs failed", file=sys.stderr)
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
