"""Mistakes and failures within `-m`: the other runs go on, and the exit code says what happened."""

import subprocess
import sys

BOOM = """
    import os

    from tlresearch import Method, register

    @register("method", "boom")
    class Boom(Method):
        def loss(self, model, batch, out, clock):
            if clock.step == 2 and "CALM" not in os.environ:
                raise ZeroDivisionError("the sky fell")
            return {"nothing": out.features.pooled.sum() * 0}
"""


def test_a_mistake_in_one_run_does_not_stop_the_others(train, folder):
    result = train("-m", "optimizer.lr=-1,0.01", "steps=2")
    assert result.code == 2
    assert result.err.splitlines() == [
        "error: optimizer.lr: -1.0: must be a number above 0, or null for the recommended rate",
        "2 runs: 1 done, 1 refused (1: optimizer.lr=-1)",
    ]
    (run,) = result.runs
    assert run.config["optimizer"]["lr"] == 0.01
    assert [path.name for path in folder.iterdir()] == ["runs"]
    assert [path.name for path in (folder / "runs").iterdir()] == [run.identity]


def test_a_mistake_found_while_building_does_not_stop_the_others(train):
    result = train("-m", "method=[lora]", "method.lora.rank=0,2", "steps=2")
    assert result.code == 2
    assert result.err.splitlines() == [
        "error: method.lora.rank: 0: must be an integer of at least 1",
        "2 runs: 1 done, 1 refused (1: method.lora.rank=0)",
    ]
    assert [run.config["method"]["lora"]["rank"] for run in result.runs] == [2]


def test_a_failure_does_not_stop_the_others(train, plugin):
    plugin("boom.py", BOOM)
    result = train("-m", "method=[boom],[]", "steps=4")
    assert result.code == 1
    assert "ZeroDivisionError: the sky fell" in result.err
    assert [run.config["method"] for run in result.runs] == [{}]


def test_a_mistake_and_a_failure_count_both(train, plugin):
    plugin("boom.py", BOOM)
    result = train("-m", "method=[boom],[]", "optimizer.lr=-1,0.01", "steps=4")
    assert result.code == 1, "a failure weighs more than a mistake"
    assert result.err.splitlines()[-1] == (
        "4 runs: 1 done, 1 failed (2: method=[boom] optimizer.lr=0.01), "
        "2 refused (1: method=[boom] optimizer.lr=-1, 3: method=[] optimizer.lr=-1)"
    )
    assert len(result.runs) == 1


def test_a_name_that_does_not_exist_is_found_before_the_first_run(refused):
    assert "did you mean 'convnet'?" in refused("-m", "backbone=mlp,convnt")


def test_through_a_process_of_its_own(folder):
    command = [sys.executable, "-m", "tlresearch", "train", "-m", "progress=false"]
    done = subprocess.run([*command, "backbone=mlp", "steps=2", "schedule.warmup=0,2"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: schedule.warmup: 2.0: must be a share of the steps in [0, 1)",
        "2 runs: 1 done, 1 refused (2: schedule.warmup=2)",
    ]
    assert done.stdout.splitlines()[0].startswith("[1/2] ")
    assert "test.accuracy=" in done.stdout.splitlines()[1]
    assert [path.name for path in folder.iterdir()] == ["runs"]
    assert len(list((folder / "runs").iterdir())) == 1


def test_the_next_batch_follows_a_failed_one(train, plugin):
    plugin("boom.py", BOOM)
    result = train("-m", "method=[boom],[]", "steps=4", "hydra.sweeper.max_batch_size=1")
    assert result.code == 1
    assert len(result.runs) == 1


def test_what_was_done_and_what_was_found_done(train):
    assert train("-m", "seed=0,1", "steps=2").err == "2 runs: 2 done\n"
    again = train("-m", "seed=0,1,2", "steps=2")
    assert again.code == 0
    assert again.err.splitlines()[-1] == "3 runs: 1 done, 2 found done"


def test_a_failed_run_stays_a_row_until_it_is_retried(train, plugin, monkeypatch):
    plugin("boom.py", BOOM)
    assert train("-m", "method=[boom],[]", "steps=4").code == 1
    again = train("-m", "method=[boom],[]", "steps=4")
    assert again.code == 1
    assert "Traceback" not in again.err
    assert "failed before: ZeroDivisionError: the sky fell; retry_failed=true runs it again" in again.err
    assert again.err.splitlines()[-1] == "2 runs: 1 found done, 1 failed (1: method=[boom])"
    monkeypatch.setenv("CALM", "1")
    assert train("-m", "method=[boom],[]", "steps=4").code == 1
    retried = train("-m", "method=[boom],[]", "steps=4", "retry_failed=true")
    assert retried.code == 0
    assert retried.err.splitlines()[-1] == "2 runs: 1 done, 1 found done"
