"""Two processes give what one gives, leave one record, and no process behind."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SMALL = ("backbone=mlp", "accelerator=cpu", "progress=false", "epochs=1", "dataset.labels_per_class=20")
TWO = ("devices=2", "strategy=ddp")


def children():
    """The processes below this one, by /proc."""
    found, parents = set(), {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if fields[0] != "Z":
            parents[int(stat.parent.name)] = int(fields[1])
    for process in parents:
        above = process
        while above in parents:
            above = parents[above]
            if above == os.getpid():
                found.add(process)
    return found


@pytest.fixture(autouse=True)
def nobody_left():
    before = children()
    yield
    end = time.monotonic() + 5
    while children() - before and time.monotonic() < end:
        time.sleep(0.05)
    assert children() <= before


def close(found, expected):
    """Metrics within 1e-5, the loss relative to its size."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-5, rel=1e-5), name


@pytest.mark.parametrize("seeds", ["1", pytest.param("0,1", marks=pytest.mark.slow)])
def test_a_sweep_on_two_processes(train, folder, history, seeds):
    single = train(*SMALL, "-m", f"seed={seeds}", "store=one", "log_every=1")
    double = train(*SMALL, "-m", f"seed={seeds}", "store=two", "log_every=1", *TWO)
    assert (single.code, double.code) == (0, 0), double.err
    assert "Traceback" not in double.err
    assert ",".join(str(run.config["seed"]) for run in double.runs) == seeds
    assert sorted(p.name for p in (folder / "two").iterdir()) == sorted(p.name for p in (folder / "one").iterdir())
    for one, two in zip(single.runs, double.runs, strict=True):
        assert one.identity == two.identity, "the number of devices is not part of a run's identity"
        close(two.metrics["test"], one.metrics["test"])
        close(two.metrics["validation"], one.metrics["validation"])
        assert two.cost["flops"] == one.cost["flops"], "over all ranks"
        assert len(history(two.folder)) == len(history(one.folder))
        for mine, theirs in zip(history(two.folder), history(one.folder), strict=True):
            close(mine, theirs)
    assert sorted(p.name for p in folder.iterdir()) == ["one", "two"]


@pytest.mark.slow
def test_a_mistake_and_a_failure_in_the_ranks(train, folder, plugin):
    plugin(
        "boom.py",
        """
        from tlresearch import Method, register

        @register("method", "boom")
        class Boom(Method):
            def after_step(self, model, clock):
                from tlresearch.core.distributed import rank
                if rank() == 1:
                    raise ZeroDivisionError("the sky fell")
        """,
    )
    mistake = train(*SMALL, *TWO, "method=[lora]", "method.lora.targets=nothing")
    assert mistake.code == 2
    assert mistake.err.startswith("error: method.lora.targets: 'nothing': matches no linear")
    assert "Traceback" not in mistake.err
    assert not list(folder.iterdir())
    failure = train(*SMALL, *TWO, "method=[boom]")
    assert failure.code == 1
    (home,) = (folder / "runs").iterdir()
    record = json.loads((home / "run.json").read_text())
    assert record["status"] == "failed"
    assert record["error"].endswith("ZeroDivisionError: the sky fell")
    assert "after_step" in record["traceback"]
    again = train(*SMALL, *TWO, "method=[boom]")
    assert again.code == 1
    assert "failed before" in again.err


@pytest.mark.slow
def test_under_torchrun(train, folder):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "tlresearch", "train", *SMALL, *TWO, "store=torchrun"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test.accuracy=") == 1
    (home,) = (folder / "torchrun").iterdir()
    record = json.loads((home / "run.json").read_text())
    assert record["status"] == "done"
    one = train(*SMALL).run
    assert home.name == one.identity
    close(record["metrics"]["test"], one.metrics["test"])
    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "already done" in again.stderr
    assert json.loads((home / "run.json").read_text()) == record
