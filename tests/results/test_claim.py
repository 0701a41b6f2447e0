"""The right to run a run: what was found once the lock is won, and what the disk or another process may do to it."""

import errno
import json
import pickle

import pytest

from tlresearch.config.budget import STARTED, Spent
from tlresearch.config.errors import ConfigError, Problem
from tlresearch.results import lock, store
from tlresearch.results.claim import RunFailed, claimed, disk_error

CONFIG = {
    "retry_failed": False,
    "rerun_stale": False,
    "keep": [],
    "budget": {"seconds": None, "usd": None},
    "prices": {},
}


def write(folder, status, **values):
    store.write_record(folder, {"schema": 2, "identity": "x", "status": status, **values})


def test_nobody_runs_it_while_it_is_claimed(tmp_path):
    with claimed(tmp_path, CONFIG, True) as claim:
        assert claim.found is None
        with pytest.raises(lock.Busy), claimed(tmp_path, CONFIG, True):
            pass
        claim.write(tmp_path, {"status": "done"})
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_what_was_done_while_the_lock_was_another_s_is_not_run_again(tmp_path, monkeypatch):
    real = lock.claim

    def claim(folder):  # between our first look and our claim another process comes and goes
        write(folder, "done")
        return real(folder)

    monkeypatch.setattr(lock, "claim", claim)
    with claimed(tmp_path, CONFIG, True) as found:
        assert found.found.reused
    assert lock.holder(tmp_path) is None


def test_a_failed_run_lets_go_of_its_lock(tmp_path):
    write(tmp_path, "failed", error="ValueError: no")
    told = "failed before: ValueError: no; retry_failed=true"
    with pytest.raises(RunFailed, match=told), claimed(tmp_path, CONFIG, True):
        pass
    assert not (tmp_path / lock.LOCK).exists()


@pytest.mark.parametrize(("status", "kept"), [("failed", False), ("interrupted", True)])
def test_a_retried_run_starts_anew_and_an_interrupted_one_goes_on(tmp_path, status, kept):
    write(tmp_path, status)
    (tmp_path / "state.safetensors").touch()
    with claimed(tmp_path, {**CONFIG, "retry_failed": True}, True):
        assert (tmp_path / "state.safetensors").exists() == kept


def test_who_lost_the_lock_writes_no_record(tmp_path):
    with claimed(tmp_path, CONFIG, True) as claim:
        (tmp_path / lock.LOCK).write_text(json.dumps({**lock.process(), "token": "theirs"}))
        with pytest.raises(RunFailed, match="taken over by another process"):
            claim.write(tmp_path, {"status": "done"})
    assert [path.name for path in tmp_path.iterdir()] == [lock.LOCK]


def test_only_the_disks_own_errors_are_its_fault(tmp_path):
    def wrapped(error):
        outer = RuntimeError("it did not work")
        outer.__cause__ = error
        return outer

    full = OSError(errno.ENOSPC, "No space left on device")
    assert disk_error(tmp_path, wrapped(full)) is full
    here = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "history.jsonl"))
    assert disk_error(tmp_path, here) is here
    assert disk_error(tmp_path, PermissionError(errno.EACCES, "Permission denied", "/data/photo.png")) is None
    assert disk_error(tmp_path, wrapped(ValueError("nan"))) is None


def test_errors_come_through_between_processes():
    error = pickle.loads(pickle.dumps(lock.Busy(Problem("store", "is being run"))))
    assert type(error) is lock.Busy
    assert isinstance(error, ConfigError)
    assert error.problems == (Problem("store", "is being run"),)


def test_no_run_begins_once_the_budget_is_used_up_and_one_found_done_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv(STARTED, "1.0")
    spent = {**CONFIG, "budget": {"seconds": 1.0, "usd": None}}
    with pytest.raises(Spent), claimed(tmp_path / "new", spent, True):
        pass
    assert lock.holder(tmp_path / "new") is None
    write(tmp_path, "done")
    with claimed(tmp_path, spent, True) as claim:
        assert claim.found is not None


@pytest.mark.parametrize(("status", "seconds"), [("interrupted", 7.0), ("running", 7.0), ("done", 0.0)])
def test_the_time_of_an_interrupted_or_killed_run_counts(tmp_path, status, seconds):
    write(tmp_path, status, cost={"seconds_total": 7.0})
    held = lock.claim(tmp_path)
    assert store.seconds_before(tmp_path) == seconds
    held.release()
