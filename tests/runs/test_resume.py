"""An interrupted run goes on where it was, and ends with the numbers of one that never stopped, to the last bit."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

BRAKE = """
    import os
    import signal
    import time

    from tlresearch import Method, register

    @register("method", "brake")
    class Brake(Method):
        '''Waits after each step as long as BRAKE says; interrupts itself at the step that INTERRUPT names.'''

        def after_step(self, model, clock):
            time.sleep(float(os.environ.get("BRAKE", "0")))
            if os.environ.get("INTERRUPT") == f"{clock.stage}/{clock.step}":
                os.kill(os.getpid(), signal.SIGINT)
"""

OVERRIDES = (
    "backbone=mlp",
    "backbone.dropout=0.2",
    "progress=false",
    "accelerator=cpu",
    "epochs=2",
    "method=[ewc,replay,brake]",
    "dataset=split",
    "dataset.scenario=class_incremental",
    "dataset.stages=2",
    "log_every=1",
    "checkpoint_seconds=0",
    "clip=1.0",
    "evaluate_every=9",
)


@pytest.fixture(autouse=True)
def brake(plugin):
    plugin("brake.py", BRAKE)


@pytest.fixture
def same(tensors, history):
    """same(run, other): equal weights, logits, metrics, stages and histories."""

    def check(run, other):
        assert run.identity == other.identity
        assert run.metrics == other.metrics
        assert run.record["stages"] == other.record["stages"]
        assert run.cost["flops"] == other.cost["flops"]
        assert history(run.folder) == history(other.folder)
        for name in ("model.safetensors", "logits.safetensors"):
            found, expected = tensors(run, name), tensors(other, name)
            assert found.keys() == expected.keys()
            assert [k for k in found if not torch.equal(found[k], expected[k])] == []

    return check


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def test_kill_and_again(train, folder, same):
    straight = train(*OVERRIDES, "store=straight").run
    home = folder / "runs" / straight.identity
    steps = straight.record["stages"][0]["steps"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tlresearch", "train", *OVERRIDES],
        env={**os.environ, "BRAKE": "0.03"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        log = home / "history.jsonl"
        wait_for(lambda: process.poll() is not None or (log.exists() and log.read_text().count("\n") > steps + 20))
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGSTOP)  # alive, and on a busy machine not through before the second has looked
        second = train(*OVERRIDES)
        assert second.code == 2
        assert second.err.startswith(f"error: store: 'runs/{home.name}' is being run by process {process.pid} on ")
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert json.loads((home / "run.json").read_text())["status"] == "running", "nobody could write the end"
    (home / "history.jsonl").open("a").write('{"step": 99')  # a line cut by the kill
    resumed = train(*OVERRIDES)
    assert resumed.code == 0, resumed.err
    same(resumed.run, straight)
    assert not (home / "state.safetensors").exists()


@pytest.mark.parametrize("place", ["0/0", "0/30", "1/0", "1/30"])
def test_interrupt_and_again(train, folder, same, monkeypatch, place):
    straight = train(*OVERRIDES, "store=straight").run
    monkeypatch.setenv("INTERRUPT", place)
    stopped = train(*OVERRIDES)
    monkeypatch.delenv("INTERRUPT")
    assert stopped.code == 130
    assert "interrupted" in stopped.err
    assert "Traceback" not in stopped.err
    assert json.loads((folder / "runs" / straight.identity / "run.json").read_text())["status"] == "interrupted"
    same(train(*OVERRIDES).run, straight)


def left_running(run, silent=0.0, **owner):
    """The run's record and lock as a process leaves them that was killed `silent` seconds after its last heartbeat."""
    record = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps({**record, "status": "running"}))
    lock = run.folder / "lock"
    lock.write_text(json.dumps({**record["process"], "token": "x", **owner}))
    os.utime(lock, (time.time() - silent,) * 2)


def test_a_run_of_another_machine_is_under_way_until_it_falls_silent(train):
    run = train("steps=2").run
    left_running(run, silent=60, host="another", pid=1)
    result = train("steps=2")
    assert result.code == 2
    assert "is being run by process 1 on another" in result.err
    left_running(run, silent=180, host="another", pid=1)
    assert train("steps=2").run.metrics == run.metrics
    assert not (run.folder / "lock").exists()


def test_the_number_of_a_dead_process_may_be_in_use_again(train):
    run = train("steps=2").run
    left_running(run, started="1")  # our own number, another start
    again = train("steps=2").run
    assert not again.reused
    assert again.metrics == run.metrics
