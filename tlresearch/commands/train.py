"""`tlresearch train`: passes everything on to Hydra, and runs what it composes."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from tlresearch.commands import details
from tlresearch.commands.main import FAILED, USAGE, complain
from tlresearch.commands.sweep import Pace, collects, objective, total
from tlresearch.config import budget, source
from tlresearch.config.compose import VERSION_BASE, check, user_error
from tlresearch.config.errors import ConfigError
from tlresearch.config.quoting import quote
from tlresearch.results import announcement

_failed: list[Exception] = []
"""What went wrong in this process: a failing run of a sweep is told at once and must not stop the others."""

_spent: list[budget.Spent] = []
"""The runs of this process that the budget stopped or kept from starting."""

_pace = Pace()

_EMPTY_STUDY = "No trials are completed yet"  # Optuna's last word where all runs failed, each of which is told already


def main(arguments: list[str]) -> int:
    """Composes and runs. A user's mistake is a message and exit code 2; anything else a traceback and 1."""
    debug = any(a.lower() in ("debug=true", "debug=1", "debug=yes", "debug=on") for a in arguments)
    source.install()
    _failed.clear()
    _spent.clear()
    _pace.restart()
    announcement.forget()
    try:
        with _hydra_arguments(arguments):
            hydra.main(version_base=VERSION_BASE, config_path=None, config_name="config")(task)()
    except SystemExit as stop:
        return int(stop.code or 0)
    except budget.Spent as spent:
        _spent.extend([] if _spent else [spent])  # where a launcher's process had it, the others' are not known
    except Exception as error:
        if not any(error is known for known in _failed) and not (_failed and _EMPTY_STUDY in str(error)):
            _tell(error, debug)
            _failed.append(error)
    if _spent and _speaks():
        print(_pace.spent(_spent), file=sys.stderr)
    return _exit_code()


def task(config: DictConfig) -> float | None:
    """One run; its last line is the run's folder and headline metric."""
    job = HydraConfig.get()
    sweep = not OmegaConf.is_missing(job.job, "num")
    overrides = list(job.overrides.task)
    _pace.total = total(job.sweeper) if sweep else 1
    start = time.time()
    try:
        check(config)
        budget.Budget(config).check()
        if sweep and _speaks():
            print(_pace.line(job.job.num, _pace.total, overrides), flush=True)
        from tlresearch.runner import execute

        run = execute(config, overrides)
    except budget.Spent as spent:
        _spent.append(spent)
        _pace.add(time.time() - start, worked=spent.started)
        if sweep:
            raise
        return None
    except Exception as error:
        _tell(error, config.debug)
        _failed.append(error)
        _pace.add(time.time() - start, worked=True)
        if sweep and (collects(job.sweeper) or not _pace.here):
            raise  # the sweeper has to know
        return None  # to a sweeper that would end with the first error, it is a trial without a value
    _pace.add(time.time() - start, worked=not run.reused)
    if _speaks():
        if config.progress and not run.reused and not sweep:
            details.show(run)
        print(f"{run.folder}  {run.metric}={run.value:.4f}", flush=True)
    return objective(run, config.objective) if sweep and not collects(job.sweeper) else float(run.value)


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
