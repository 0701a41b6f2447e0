"""The jobs of a sweep: run here, or handed to a launcher of other processes as far as they have to be run at all."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

Compose = Callable[[int], DictConfig]
"""The configuration of the job with this number, with Hydra's part."""

Launch = Callable[[Sequence[int], bool], Sequence[JobReturn]]
"""Runs the jobs with these numbers elsewhere. The second argument: whether they wait for what is under way."""


class Host(Protocol):
    """What a sweeper and a launcher have in common once they are set up."""

    hydra_context: HydraContext | None
    task_function: TaskFunction | None


def outcome(result: JobReturn) -> Any:
    """The value that a run returned, or the exception that ended it; Hydra's own property would raise it."""
    assert result.status != JobStatus.UNKNOWN
    return result._return_value


def run_here(host: Host, config: DictConfig) -> JobReturn:
    """Runs a job in this process. config: with Hydra's part, and the job's number in it."""
    assert host.hydra_context is not None and host.task_function is not None
    return run_job(
        hydra_context=host.hydra_context,
        task_function=host.task_function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def run_elsewhere(host: Host, count: int, compose: Compose, launch: Launch, batch: int) -> list[JobReturn]:
    """Runs `count` jobs by a launcher of other processes, which get only what is neither done nor under way.

    What the store has is told here; what another sweep is at, or a job that outlived its command, is waited for here
    and not by a job that would hold memory or a node for it. A job whose state cannot be known here (a pipeline; data
    that this machine does not have) is launched and waits by itself. batch: the most jobs that are launched at once.
    """
    from tlresearch.results.lock import pauses

    setup_globals()
    planned = {number: _plan(compose(number)) for number in range(count)}
    results: dict[int, JobReturn] = {}
    left, said = list(planned), False
    for pause in pauses():
        waiting, new = [], []
        for number in left:
            known = planned[number]
            now = None if known is None else known.now()
            if now is None or now.open:
                new.append(number)
            elif now.state == "running":
                waiting.append(number)
            else:
                results[number] = run_here(host, compose(number))
        for start in range(0, len(new), batch):
            for unknown in (False, True):
                chosen = [number for number in new[start : start + batch] if (planned[number] is None) == unknown]
                results.update(zip(chosen, launch(chosen, unknown), strict=True) if chosen else ())
        left = [number for number in left if number in waiting or _busy(results[number])]
        if not left:
            break
        if not said:
            print(
                f"waiting for {len(left)} of {count} runs, which are being run elsewhere", file=sys.stderr, flush=True
            )
        said = True
        time.sleep(pause)
    return [results[number] for number in range(count)]


def _plan(config: DictConfig) -> Any:
    """The run with what the store knows of it; None where that cannot be known here, which the job itself will tell."""
    from tlresearch.commands.dry_run import plan
    from tlresearch.config.compose import check

    plain = config.copy()
    with open_dict(plain):
        del plain["hydra"]
    if plain.pipeline is not None:
        return None
    with suppress(Exception):
        check(plain)
        return plan(plain)
    return None


def _busy(result: JobReturn) -> bool:
    from tlresearch.results.lock import Busy

    return isinstance(outcome(result), Busy)
