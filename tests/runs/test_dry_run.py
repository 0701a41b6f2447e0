"""dry_run=true lists the runs of a sweep with their state and the time left, and neither trains nor writes."""

import json
import os

import pytest

from tlresearch.commands.sweep import duration
from tlresearch.results.lock import process


def files(folder):
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def change(run, **values):
    """The run's record with other values."""
    record = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps({**record, **values}))


def test_nothing_is_there_and_nothing_is_made(train, folder):
    result = train("-m", "seed=0,1", "dry_run=true")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines[:2]] == [
        f"to do        backbone=mlp epochs=1 progress=False accelerator=cpu seed={seed}" for seed in (0, 1)
    ]
    assert lines[2:] == ["2 runs: 2 to do", "time left: unknown, the store has no like run for 2 runs"]
    assert list(folder.iterdir()) == []
    identities = [line.split()[0] for line in lines[:2]]
    assert [run.identity for run in train("-m", "seed=0,1").runs] == identities


def test_every_state(train, folder):
    runs = train("-m", "seed=0,1,2,3,4").runs
    change(runs[1], sources={})
    change(runs[2], status="failed", error="ValueError: no")
    change(runs[3], status="running")
    change(runs[4], status="running")
    (runs[4].folder / "lock").write_text(json.dumps({**process(), "token": "x"}))
    before = files(folder)
    result = train("-m", "seed=0,1,2,3,4,5", "epochs=1", "dry_run=true")
    assert result.code == 0
    lines = result.out.splitlines()
    assert [line[18:31].strip() for line in lines[:6]] == ["done", "stale", "failed", "interrupted", "running", "to do"]
    assert lines[6] == (
        "6 runs: 1 done, 1 stale (rerun_stale=true runs it again), 1 failed (retry_failed=true runs it again), "
        "1 running, 1 interrupted, 1 to do"
    )
    took = [json.loads((run.folder / "run.json").read_text())["cost"]["seconds_total"] for run in runs[:2]]
    assert lines[7] == f"time left: about {duration(sum(took))}, one run after the other, by 2 like runs of the store"
    assert files(folder) == before
    again = train("-m", "seed=0,1,2,3,4,5", "epochs=1", "dry_run=true", "rerun_stale=true", "retry_failed=true")
    assert "1 stale, 1 failed, 1 running" in again.out


def test_one_run_alone(train, folder):
    assert "1 run: 1 to do" in train("dry_run=true").out
    assert list(folder.iterdir()) == []
    train()
    done = train("dry_run=true")
    assert done.out.splitlines()[-1] == "1 run: 1 done"


def test_a_refused_run_is_told_and_the_others_are_listed(train, folder):
    result = train("-m", "batch_size=0,8", "dry_run=true")
    assert result.code == 2
    assert result.err == "error: batch_size: 0: must be at least 1\n"
    assert result.out.splitlines()[1] == "2 runs: 1 to do, 1 refused"
    assert list(folder.iterdir()) == []


def test_the_same_run_twice_is_counted_once(train):
    out = train("-m", "steps=2", "epochs=1,2", "dry_run=true").out
    assert "1 run: 1 to do; 1 more that are the same as one of them" in out


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_no_launcher_is_asked(train, folder, launcher):
    result = train("-m", "seed=0,1", "dry_run=true", f"hydra/launcher={launcher}")
    assert (result.code, "2 runs: 2 to do" in result.out) == (0, True)
    assert list(folder.iterdir()) == []


def test_it_is_no_part_of_the_identity(train):
    run = train("dry_run=false", "steps=2").run
    assert os.path.basename(run.folder) == train("dry_run=true", "steps=2").out.split()[0]


def test_from_python_it_is_refused(folder):
    import tlresearch
    from tlresearch.config.errors import ConfigError

    with pytest.raises(ConfigError, match="dry_run: True: lists runs on the command line"):
        tlresearch.run(["backbone=mlp", "dry_run=true"])
    assert list(folder.iterdir()) == []


def test_a_pipeline_cannot_be_listed(train, folder):
    result = train('pipeline={pre:["steps=2"],task:["init_from=pre"]}', "dry_run=true")
    assert (result.code, result.out) == (2, "1 run: 1 refused\n")
    assert "what a later run of a pipeline starts from is known once the earlier ones are done" in result.err
    assert list(folder.iterdir()) == []
