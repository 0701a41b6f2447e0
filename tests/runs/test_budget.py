"""A sweep whose budget is used up ends cleanly, goes on later, and ends with the numbers of one that never stopped."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tlresearch.config import budget
from tlresearch.training import checkpoint

TICK = """
    from tlresearch import Method, register
    from tlresearch.config import budget

    @register("method", "tick")
    class Tick(Method):
        '''A second passes with each step.'''

        def after_step(self, model, clock):
            if hasattr(budget.time, "now"):
                budget.time.now += 1
"""

SWEEP = (
    "-m",
    "method=[tick,ewc]",
    "seed=0,1,2",
    "steps=20",
    "log_every=5",
    "evaluate_every=20",
    "backbone.dropout=0.2",
)

STOP = """
    import os

    from tlresearch import Method, register
    from tlresearch.config.budget import Budget

    Budget.spent = lambda self: os.path.exists("spent")

    @register("method", "stop")
    class Stop(Method):
        '''The budget is used up at the step that STOP names.'''

        def after_step(self, model, clock):
            if str(clock.step) == os.environ.get("STOP"):
                open("spent", "w").close()
"""


@pytest.fixture
def clock(monkeypatch, plugin):
    """The clock of the budget, which method `tick` moves."""

    class Clock:
        now = 0.0

        def time(self):
            return self.now

    plugin("tick.py", TICK)
    monkeypatch.setattr(budget, "time", Clock())


@pytest.fixture
def state(folder):
    """state("runs") → what each run of the store is, by its seed."""

    def read(store):
        found = [json.loads(file.read_text()) for file in (folder / store).glob("*/run.json")]
        return {record["config"]["seed"]: record for record in found}

    return read


@pytest.mark.parametrize("given", [("budget.seconds=30",), ("budget.usd=30", "prices.usd_per_cpu_hour=3600")])
def test_a_sweep_stops_goes_on_and_ends_as_if_it_had_not(train, state, folder, tensors, history, clock, given):
    first = train(*SWEEP, *given)
    assert first.code == 0
    assert first.err.splitlines()[-1] == (
        "3 runs: 1 done, 1 stopped by the budget and saved, 1 not started; the same command with a new budget goes on"
    )
    assert {seed: record["status"] for seed, record in state("runs").items()} == {0: "done", 1: "interrupted"}
    stopped = state("runs")[1]
    assert stopped["error"].startswith(f"Spent: {given[0]} is used up: the run was stopped and saved")
    _, extra = checkpoint.read(folder / "runs" / stopped["identity"] / "state.safetensors")
    assert extra["position"]["step"] == 10, "the 30th second is the 10th step of the second run"

    second = train(*SWEEP, "budget.seconds=15")
    assert second.code == 0 and "already done" in second.err
    assert {s: r["status"] for s, r in state("runs").items()} == {0: "done", 1: "done", 2: "interrupted"}
    assert second.err.splitlines()[-1] == (
        "3 runs: 1 done, 1 found done, 1 stopped by the budget and saved; the same command with a new budget goes on"
    )
    assert state("runs")[1]["cost"]["seconds_total"] > stopped["cost"]["seconds_total"], "all of it counts"

    ended = train(*SWEEP)
    straight = train(*SWEEP, "store=straight")
    assert "budget" not in ended.err
    for run, other in zip(ended.runs, straight.runs, strict=True):
        assert (run.identity, run.metrics) == (other.identity, other.metrics)
        assert run.record["stages"] == other.record["stages"]
        assert history(run.folder) == history(other.folder)
        found, expected = tensors(run), tensors(other)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_single_run_honours_it_too(train, state, clock):
    overrides = ("method=[tick]", "steps=20", "log_every=5")
    result = train(*overrides, "budget.seconds=7")
    assert (result.code, result.out) == (0, "")
    assert "budget.seconds=7 is used up: the run was stopped and saved; the same command" in result.err
    assert state("runs")[0]["status"] == "interrupted"
    assert train(*overrides).run.status == "done"


def test_a_run_that_is_done_needs_no_budget(train, clock):
    done = train("method=[tick]", "steps=2").run
    again = train("method=[tick]", "steps=2", "budget.seconds=1e-9")
    assert "already done" in again.err
    assert again.run.metrics == done.metrics


def test_the_start_of_the_sweep_reaches_other_processes(folder):
    """Were it each job's own, a job would begin: none ends within a microsecond of its own start."""
    overrides = ("backbone=mlp", "progress=false", "seed=0,1", "steps=2", "budget.seconds=1e-6")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    command = [sys.executable, "-m", "tlresearch", "train", "-m", *overrides, *launcher]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "2 runs: 2 not started; the same command with a new budget goes on"
    assert "Traceback" not in done.stderr
    assert not (folder / "runs").exists()


@pytest.mark.slow
def test_several_ranks_stop_together_and_go_on(train, plugin, folder, tensors):
    plugin("stop.py", STOP)
    overrides = ("backbone=mlp", "method=[stop]", "steps=12", "log_every=3", "devices=2", "accelerator=cpu")
    command = [sys.executable, "-m", "tlresearch", "train", "progress=false", *overrides]

    def call(*more, **environment):
        environment = {**os.environ, **environment}
        done = subprocess.run([*command, *more], capture_output=True, text=True, env=environment)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        return done

    assert "is used up: the run was stopped and saved" in call("budget.seconds=1000", STOP="7").stderr
    (record,) = (json.loads(file.read_text()) for file in folder.glob("runs/*/run.json"))
    assert record["status"] == "interrupted"
    (folder / "spent").unlink()
    call()
    call("store=straight")
    name = f"{record['identity']}/model.safetensors"
    found, expected = (checkpoint.read(folder / store / name)[0] for store in ("runs", "straight"))
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_costs_are_in_the_record(train):
    cost = train("steps=2", "prices.usd_per_cpu_hour=2.5", "prices.usd_per_gpu_hour=9").run.cost
    assert cost["usd"] == pytest.approx(cost["seconds_total"] / 3600 * 2.5)
    assert "usd" not in train("steps=3").run.cost


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget.seconds=0", "budget.seconds: 0.0: must be above 0, or null for none"),
        ("budget.usd=3", "budget.usd: 3.0: needs a price; give prices.usd_per_cpu_hour as well"),
        ("prices.usd_per_label=-1", "prices.usd_per_label: -1.0: must be above 0, or null for none"),
        ("prices.usd_per_hour=1", "prices.usd_per_hour: the price of an hour goes by the device now; give "),
        ("+budget.hours=1", "budget.hours: unknown key; "),
    ],
)
def test_what_cannot_be_a_budget_is_refused(refused, override, message):
    assert refused(override).startswith(message)
