"""Stores that cannot be used: one clear message, no record damaged; once that is mended the same command goes on."""

import errno
import json
import os
import subprocess
import time

import pytest

from tlresearch.results import lock, store
from tlresearch.training import checkpoint


def record(run):
    return json.loads((run.folder / "run.json").read_text())


def fails_at(monkeypatch, module, name, number, code=errno.ENOSPC):
    """The function's call `number` (from 0) and all later ones fail as on a full (or other) disk."""
    real, calls = getattr(module, name), []

    def call(*arguments):
        calls.append(arguments)
        if len(calls) > number:
            raise OSError(code, os.strerror(code))
        return real(*arguments)

    monkeypatch.setattr(module, name, call)


def test_a_locked_run_is_left_alone(train, folder):
    run = train("steps=2").run
    before = {**record(run), "status": "running"}
    (run.folder / "run.json").write_text(json.dumps(before))
    (run.folder / "lock").write_text(json.dumps({"host": "another", "space": "", "pid": 7, "token": "x"}))
    result = train("steps=2")
    assert result.code == 2
    assert result.err == (
        f"error: store: 'runs/{run.identity}' is being run by process 7 on another; "
        "wait for it, or change the store or the configuration\n"
    )
    assert record(run) == before
    assert (run.folder / "lock").exists()


def test_in_a_sweep_it_comes_last_and_is_waited_for(train, monkeypatch):
    run = train("steps=2", "seed=0").run
    done = record(run)
    (run.folder / "run.json").write_text(json.dumps({**done, "status": "running"}))
    (run.folder / "lock").write_text(json.dumps({"host": "another", "space": "", "pid": 7, "token": "x"}))
    waited = []

    def wait(folder):  # the other machine ends its run meanwhile
        waited.append(folder.name)
        (folder / "run.json").write_text(json.dumps(done))
        (folder / "lock").unlink()

    monkeypatch.setattr(lock, "wait", wait)
    result = train("-m", "seed=0,1", "steps=2")
    assert result.code == 0, result.err
    assert waited == [run.identity]
    assert [found.config["seed"] for found in result.runs] == [1, 0]
    assert result.err.splitlines() == [
        "being run elsewhere; left for the end",
        f"waiting: 'runs/{run.identity}' is being run by process 7 on another",
        f"already done: runs/{run.identity}",
        "2 runs: 1 done, 1 found done",
    ]


@pytest.mark.slow
def test_ranks_that_find_it_locked_say_so_as_one(train, monkeypatch):
    run = train("steps=2").run
    (run.folder / "run.json").write_text(json.dumps({**record(run), "status": "running"}))
    (run.folder / "lock").write_text(json.dumps({"host": "another", "space": "", "pid": 7, "token": "x"}))
    monkeypatch.setattr("tlresearch.runner.refuse_busy", lambda folder: None)  # locked only after we had looked
    result = train("steps=2", "devices=2", "strategy=ddp")
    assert result.code == 2
    assert result.err.startswith(f"error: store: 'runs/{run.identity}' is being run by process 7 on another")
    assert result.err.count("\n") == 1


def test_whose_owner_dies_is_run_here(train, monkeypatch):
    run = train("steps=2").run
    (run.folder / "run.json").write_text(json.dumps({**record(run), "status": "running"}))
    (run.folder / "lock").write_text(json.dumps({"host": "another", "space": "", "pid": 7, "token": "x"}))
    silent = time.time() - lock.EXPIRY - 60
    monkeypatch.setattr(lock, "wait", lambda folder: os.utime(folder / "lock", (silent, silent)))
    result = train("-m", "seed=0", "steps=2")
    assert result.err.splitlines()[-1] == "1 run: 1 done"
    assert record(run)["metrics"] == run.metrics


def test_a_file_in_the_way_of_a_run(train, folder):
    run = train("steps=2").run
    for file in run.folder.iterdir():
        file.unlink()
    run.folder.rmdir()
    run.folder.write_text("mine")
    result = train("steps=2")
    assert result.code == 2
    assert result.err.startswith(f"error: store: 'runs/{run.identity}': cannot be written to (")
    assert result.err.count("\n") == 1
    assert run.folder.read_text() == "mine"


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_where_no_lock_can_be_made(train, monkeypatch, code):
    fails_at(monkeypatch, lock, "_create", 0, code)
    result = train("steps=2")
    assert result.code == 2
    assert result.err.startswith("error: store: 'runs/")
    assert f"cannot be written to ({os.strerror(code)})" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_may_only_be_read(train, folder):
    (folder / "runs").mkdir(mode=0o500)
    result = train("steps=2")
    assert result.code == 2
    assert "cannot be written to" in result.err


@pytest.mark.parametrize(
    ("module", "name", "number"),
    [
        (store, "write_record", 0),  # before training
        (checkpoint, "write", 0),  # while training
        (checkpoint, "write", 3),
        (store, "write_record", 1),  # after training
    ],
)
def test_a_full_disk_ends_a_run_that_goes_on_later(train, folder, module, name, number):
    overrides = ("epochs=2", "checkpoint_seconds=0")
    straight = train(*overrides, "store=straight").run
    with pytest.MonkeyPatch.context() as patch:
        fails_at(patch, module, name, number)
        result = train(*overrides)
    assert result.code == 1
    assert result.err == (
        f"error: 'runs/{straight.identity}': cannot be written to (No space left on device); "
        "free some space or choose another store=PATH\n"
    )
    home = folder / "runs" / straight.identity
    if (home / "run.json").exists():
        assert store.read_record(home)["status"] == "interrupted"
    assert not list(home.glob("lock*")), "nobody holds it"
    assert not list(home.glob("*.partial"))
    assert train(*overrides).run.metrics == straight.metrics


def test_a_full_disk_in_a_sweep(train, monkeypatch):
    fails_at(monkeypatch, store, "write_record", 2)
    result = train("-m", "seed=0,1", "steps=2")
    assert result.code == 1
    assert "Traceback" not in result.err
    assert result.err.splitlines()[-1].startswith("2 runs: 1 done, 1 failed (2: ")


@pytest.fixture
def small_disk(folder):
    """small_disk(kilobytes): the store lies on a file system of that size; again: it is as large as that now."""
    place = folder / "runs"
    place.mkdir()

    def make(kilobytes):
        mounted = os.path.ismount(place)
        options = f"{'remount,' if mounted else ''}size={kilobytes}k"
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")

    yield make
    if os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("kilobytes", [4, 16, 64, 300])
def test_a_disk_that_is_really_full(train, small_disk, kilobytes):
    overrides = ("epochs=2", "checkpoint_seconds=0", "log_every=1")
    straight = train(*overrides, "store=straight").run
    small_disk(kilobytes)
    result = train(*overrides)
    assert result.code in (1, 2)
    assert "No space left on device" in result.err
    assert result.err.count("\n") == 1
    small_disk(100_000)
    assert train(*overrides).run.metrics == straight.metrics


def test_a_record_of_a_newer_schema_within_a_sweep(train, folder):
    run = train("steps=2", "seed=1").run
    newer = json.dumps({**record(run), "schema": 99})
    (run.folder / "run.json").write_text(newer)
    for overrides in (["-m", "seed=0,1,2"], ["-m", "seed=1,0,2", "dry_run=true"]):
        result = train("steps=2", *overrides)
        assert result.code == 2
        errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert "was written by a newer tlresearch (schema 99" in errors[0]
    assert "3 runs: 2 done, 1 refused" in result.out
    assert (run.folder / "run.json").read_text() == newer


def test_a_report_of_a_store_with_a_newer_record(train, capfd):
    """It is said, and hides no other run."""
    from tlresearch.commands.main import main

    other, run = train("steps=2", "seed=1").run, train("steps=2").run
    (run.folder / "run.json").write_text(json.dumps({**record(run), "schema": 99}))
    capfd.readouterr()
    assert main(["report"]) == 0
    out, err = capfd.readouterr()
    assert err == "" and f"{other.value:.4f}" in out
    assert f"unreadable: runs/{run.identity}" in out and "was written by a newer tlresearch (schema 99" in out


@pytest.mark.parametrize("launcher", ["basic", "submitit_local"])
@pytest.mark.parametrize("override", ["no_such_key=1,2", "backbone.no_such_key=1,2", "seed=1,x"])
def test_a_sweep_over_what_does_not_exist(refused, launcher, override):
    message = refused("-m", override, f"hydra/launcher={launcher}", "store=other")
    assert override.partition("=")[0] in message


SWEEP = "defaults: [config, _self_]\nhydra: {sweeper: {params: {seed: '0,1'}}}\n"


@pytest.mark.parametrize("place", ["sweeps", "own"])
def test_two_sweeps_of_one_name(refused, folder, place):
    (folder / place).mkdir()
    (folder / place / "quickstart.yaml").write_text(SWEEP)
    message = refused("-m", "-cn", "quickstart", *(["-cd", "own"] if place == "own" else []))
    assert message.startswith(f"config name: 'quickstart': two files have it, '{place}/quickstart.yaml' and '")


def test_a_sweep_of_ones_own_folder(train, folder):
    (folder / "own").mkdir()
    (folder / "own" / "mine.yaml").write_text(SWEEP)
    result = train("-m", "-cd", "own", "-cn", "mine", "steps=2")
    assert (result.code, result.err) == (0, "2 runs: 2 done\n")
