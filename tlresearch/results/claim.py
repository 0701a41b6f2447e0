"""Whether a run has to be run, and the right to run it: decided by rank 0 for all ranks, once the lock is won."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tlresearch.config.budget import Budget, Spent
from tlresearch.config.errors import ConfigError, Problem
from tlresearch.results import lock, store
from tlresearch.results.runs import Run

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


class RunFailed(RuntimeError):
    """A run that failed: now (the cause is attached) or earlier, with its record kept as a row of the store.

    time: when, in seconds since the epoch; of several ranks that fail, the first has the cause. resumable: whether the
    same command goes on with it (the store could not be written to), without retry_failed.
    """

    def __init__(self, message: str, resumable: bool = False) -> None:
        super().__init__(message)
        self.time, self.resumable = time.time(), resumable


class Claim(NamedTuple):
    """found: the run that was done meanwhile, otherwise this process may run it; lock: on rank 0 while it does."""

    found: Run | None
    lock: lock.Lock | None

    def write(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Replaces the record, on rank 0; raises RunFailed where that is impossible or the run is another's now."""
        if self.lock is None:
            return
        try:
            if not self.lock.held():
                raise RunFailed(f"{folder}: taken over by another process, as this one was stopped for minutes", True)
            store.write_record(folder, record)
        except OSError as error:
            raise unwritable(folder, error) from None


@contextmanager
def claimed(folder: Path, config: Mapping[str, Any], first: bool) -> Iterator[Claim]:
    """Claims a run; all ranks call it, and the first one (`first`) decides.

    Raises Busy where another process runs it, ConfigError where the store cannot be written to, RunFailed where it
    failed before, Spent where the budget is used up.
    """
    from tlresearch.core.distributed import broadcast

    held: lock.Lock | None = None
    try:
        found, error = None, None
        if first:
            try:
                held = lock.claim(folder)
                found = existing(folder, config)
                if found is None:
                    Budget(config).check()
                    _forget(folder, config)
            except (ConfigError, RunFailed, Spent) as problem:
                error = problem
            except OSError as problem:
                error = ConfigError(Problem("store", str(unwritable(folder, problem))))
        error, done = broadcast((error, found is not None))
        if error is not None:
            raise error
        yield Claim(Run.load(folder) if done and found is None else found, held)
    finally:
        if held is not None:
            held.release()


def existing(folder: Path, config: Mapping[str, Any]) -> Run | None:
    """A run that must not be run again: found done. Raises RunFailed for a failed one, unless it is to be retried."""
    record = store.read_record(folder)
    if record is None or _again(folder, record, config):
        return None
    if record["status"] == "done":
        run = Run(folder, record)
        note = ", by other code since: rerun_stale=true runs it again" if run.stale else ""
        print(f"already done{note}: {folder}", file=sys.stderr)
        run.reused = True
        return run
    if record["status"] == "failed":
        raise RunFailed(f"{folder} failed before: {record.get('error')}; retry_failed=true runs it again")
    return None


def refuse_busy(folder: Path) -> None:
    """Raises Busy where a live process runs the folder, before anything is built for it."""
    owner = lock.holder(folder)
    if owner is not None:
        raise lock.busy(folder, owner)


def unwritable(folder: Path, error: OSError) -> RunFailed:
    """What to say where a file of a run could not be written."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    advice = "free some space" if error.errno in FULL else "make it writable"
    return RunFailed(f"{str(folder)!r}: cannot be written to ({reason}); {advice} or choose another store=PATH", True)


def disk_error(folder: Path, error: BaseException | None) -> OSError | None:
    """The reason why the store's disk ended a run, None where something else did."""
    while error is not None:
        if isinstance(error, OSError):
            below = str(error.filename or "").startswith(str(folder))
            if error.errno in FULL or (error.errno in FORBIDDEN and below):
                return error
        elif type(error).__name__ == "SafetensorError" and f"os error {errno.ENOSPC}" in str(error):
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        error = error.__cause__ or error.__context__
    return None


def _again(folder: Path, record: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    run = Run(folder, record)
    retried = record["status"] == "failed" and config["retry_failed"]
    lacking = record["status"] == "done" and set(config["keep"]) - set(run.config.get("keep", ()))
    return bool(retried or lacking or (config["rerun_stale"] and run.stale))


def _forget(folder: Path, config: Mapping[str, Any]) -> None:
    """Removes what an earlier attempt left, where this one does not go on with it."""
    record = store.read_record(folder)
    if record is not None and _again(folder, record, config):
        for name in ("state.safetensors", "history.jsonl"):
            (folder / name).unlink(missing_ok=True)
