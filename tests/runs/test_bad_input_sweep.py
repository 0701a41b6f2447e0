"""Mistakes and failures within `-m`: the other runs go on, and the exit code says what happened."""

import subprocess
import sys

BOOM = """
    from tlresearch import Method, register

    @register("method", "boom")
    class Boom(Method):
        def loss(self, model, batch, out, clock):
            if clock.step == 2:
                raise ZeroDivisionError("the sky fell")
            return {"nothing": out.features.pooled.sum() * 0}
"""


def told(err):
    """The messages; Hydra adds the overrides of the run they belong to."""
    return [line for line in err.splitlines() if not line.startswith("Error executing job with overrides: ")]


def test_a_mistake_in_one_run_does_not_stop_the_others(train, folder):
    result = train("-m", "optimizer.lr=-1,0.01", "steps=2")
    assert result.code == 2
    assert told(result.err) == ["error: optimizer.lr: -1.0: must be a number above 0, or null for the recommended rate"]
    (run,) = result.runs
    assert run.config["optimizer"]["lr"] == 0.01
    assert [path.name for path in folder.iterdir()] == ["runs"]
    assert [path.name for path in (folder / "runs").iterdir()] == [run.identity]


def test_a_mistake_found_while_building_does_not_stop_the_others(train):
    result = train("-m", "method=[lora]", "method.lora.rank=0,2", "steps=2")
    assert result.code == 2
    assert told(result.err) == ["error: method.lora.rank: 0: must be an integer of at least 1"]
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
    assert result.err.splitlines()[-1] == "3 runs failed"
    assert len(result.runs) == 1


def test_a_name_that_does_not_exist_is_found_before_the_first_run(refused):
    assert "did you mean 'convnet'?" in refused("-m", "backbone=mlp,convnt")


def test_through_a_process_of_its_own(folder):
    command = [sys.executable, "-m", "tlresearch", "train", "-m", "progress=false"]
    done = subprocess.run([*command, "backbone=mlp", "steps=2", "schedule.warmup=0,2"], capture_output=True, text=True)
    assert done.returncode == 2
    assert told(done.stderr) == ["error: schedule.warmup: 2.0: must be a share of the steps in [0, 1)"]
    assert done.stdout.splitlines()[0].startswith("[1/2] ")
    assert "test.accuracy=" in done.stdout.splitlines()[1]
    assert [path.name for path in folder.iterdir()] == ["runs"]
    assert len(list((folder / "runs").iterdir())) == 1
