"""Runs that train together leave the records they would leave alone; what cannot join them runs as ever."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tlresearch import Run
from tlresearch.commands.main import main
from tlresearch.heads.linear import Linear
from tlresearch.training.memory import memory

pytestmark = pytest.mark.usefixtures("forgotten")


@pytest.fixture
def base(folder, tiny_bert_folder):
    """Overrides of a probe with a tiny BERT on 60 texts of three classes."""
    with open(folder / "mails.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        words = ["good", "bad", "film", "plot", "dull"]
        table.writerows([f"{words[i % 5]} {'very ' * (i % 4)}{i}", "abc"[i % 3]] for i in range(60))
    model = ["backbone=transformers", f"backbone.weights=path:{tiny_bert_folder}", "accelerator=cpu"]
    data = ["dataset=text_file", "dataset.path=mails.csv"]
    return [*model, *data, "method=[probe]", "epochs=4", "batch_size=8", "log_every=3", "progress=false"]


@pytest.fixture
def sweep(base, capfd):
    """sweep(launcher, *axes) → exit code, runs by identity and what was said."""

    def call(launcher, *axes):
        capfd.readouterr()
        code = main(["train", "-m", *base, *axes, f"hydra/launcher={launcher}", f"store={launcher}"])
        said = capfd.readouterr()
        return code, runs(launcher), said.err

    return call


def runs(store):
    return {f.parent.name: Run.load(f.parent) for f in Path(store).glob("*/run.json")}


AXES = {
    "rates, decay, seeds": ("optimizer.lr=1e-3,1e-2", "optimizer.weight_decay=0,0.5", "seed=0,1"),
    "label counts": ("dataset.labels_per_class=2,5,null", "seed=0,1"),
    "mlp head": ("head=mlp", "head.width=8", "optimizer.lr=1e-3,1e-2", "seed=0,1"),
    "other pooling": ("head.pooling=auto,mean,max", "optimizer.lr=1e-3,1e-2"),
    "optimizers, schedules, clipping": ("optimizer=adamw,sgd", "schedule=constant,cosine", "clip=null,0.1"),
    "early stops": ("patience=1,null", "optimizer.lr=1e-4,0.1", "evaluate_every=2"),
    "class weights, lengths": ("dataset.class_weights=none,balanced", "steps=5,9", "batch_size=4,8,100"),
}


@pytest.mark.parametrize("name", AXES)
def test_records_are_those_of_runs_alone(sweep, history, tensors, name):
    axes = AXES[name]
    code, together, said = sweep("fused", *axes)
    assert code == 0 and "runs train together" in said and "one by one" not in said, said
    assert said.rstrip().endswith(f"{len(together)} runs: {len(together)} done")
    alone_code, alone, _ = sweep("basic", *axes)
    assert alone_code == 0 and together.keys() == alone.keys() and len(alone) >= 4
    lengths = {run.record["stages"][0]["steps"] for run in alone.values()}
    assert len(lengths) > 1 or name not in ("early stops", "class weights, lengths")
    for identity, run in alone.items():
        other = together[identity]
        assert other.metrics["test"] == pytest.approx(run.metrics["test"], abs=1e-4)
        assert other.metrics["validation"] == pytest.approx(run.metrics["validation"], abs=1e-4)
        for one, two in zip(history(other.folder), history(run.folder), strict=True):
            assert one == pytest.approx(two, abs=1e-4)
        mine, theirs = tensors(other), tensors(run)
        assert mine.keys() == theirs.keys()
        assert all(mine[key].shape == theirs[key].shape for key in theirs)
        steps = [[stage[key] for key in ("steps", "evaluations", "selected")] for stage in run.record["stages"]]
        assert steps == [[s[key] for key in ("steps", "evaluations", "selected")] for s in other.record["stages"]]
        same = ("parameters_total", "parameters_trainable", "parameters_changed", "flops")
        assert [other.cost[key] for key in same] == [run.cost[key] for key in same]
        assert other.record.keys() == run.record.keys()
        assert other.cost["seconds_total"] > 0 and other.cost["seconds_train"] > 0


def test_one_that_diverges_fails_alone(sweep):
    code, found, said = sweep("fused", "optimizer=sgd", "optimizer.lr=1e-2,1e-3,1e38", "log_every=1")
    assert code == 1 and "became" in said
    assert sorted(run.status for run in found.values()) == ["done", "done", "failed"]


HEEDING = """
from tlresearch.config.registry import register
from tlresearch.core.types import Clock


@register("schedule", "heeding")
def heeding(clock: Clock) -> float:
    \"\"\"Slower by what validation says: each run has a rate of its own.\"\"\"
    return 1 / (1 + sum(row["loss"] for row in clock.history))
"""


def test_a_schedule_that_heeds_validation_is_asked_for_each_run(sweep, plugin):
    plugin("heeding.py", HEEDING)
    axes = ("schedule=heeding", "optimizer.lr=1e-3,1e-2", "seed=0,1")
    _, together, said = sweep("fused", *axes)
    assert "4 runs train together" in said and "one by one" not in said
    _, alone, _ = sweep("basic", *axes)
    for identity, run in alone.items():
        assert together[identity].metrics["test"] == pytest.approx(run.metrics["test"], abs=1e-4)


def test_a_loss_that_cannot_be_batched_trains_one_by_one(sweep, monkeypatch):
    """Its head looks at values, which a traced computation cannot."""
    usual = Linear.training_loss
    asked = lambda self, logits, y: usual(self, logits, y) * (2.0 if bool(logits.detach().sum() > 1e9) else 1.0)  # noqa: E731
    monkeypatch.setattr(Linear, "training_loss", asked)
    code, found, said = sweep("fused", "optimizer.lr=1e-3,1e-2")
    assert code == 0 and "2 runs train one by one: it cannot be batched" in said
    assert [run.status for run in found.values()] == ["done", "done"]


def test_what_cannot_join_runs_alone(sweep):
    code, found, said = sweep("fused", "head.dropout=0.5,0", "seed=0,1", "method=[probe],[finetune]", "steps=2")
    assert code == 0 and len(found) == 8 and all(run.status == "done" for run in found.values())
    assert "2 runs train together" in said, "the two without dropout and with a frozen backbone"


def test_a_second_call_trains_nothing(sweep):
    sweep("fused", "optimizer.lr=1e-3,1e-2", "seed=0,1")
    times = {name: run.record["started"] for name, run in runs("fused").items()}
    code, found, said = sweep("fused", "optimizer.lr=1e-3,1e-2,2e-2", "seed=0,1")
    assert code == 0 and len(found) == 6 and "2 runs train together" in said
    assert {name: found[name].record["started"] for name in times} == times


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_and_again(base, sweep, kills):
    """Killed in the middle of training together, the same command ends with the rows of an undisturbed sweep."""
    seeds, epochs = ("0,1", 30) if kills == 1 else ("0,1,2,3,4,5", 200)
    axes = ("optimizer.lr=1e-3,1e-2", f"seed={seeds}", f"epochs={epochs}")
    command = [sys.executable, "-m", "tlresearch", "train", "-m", *base, *axes, "hydra/launcher=fused", "store=fused"]
    moments = random.Random(0)
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ})
        end = time.monotonic() + 60
        while not any(Path("fused").glob("*/lock")) and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 3) * (kills > 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
    code, found, said = sweep("fused", *axes)
    assert code == 0 and len(found) == (4 if kills == 1 else 12), said
    memory.clear()
    _, straight, _ = sweep("basic", *axes)
    for identity, run in straight.items():
        assert found[identity].metrics["test"] == pytest.approx(run.metrics["test"], abs=1e-4)
    assert not list(Path("fused").glob("*/lock"))


def test_trackers_get_what_a_run_alone_logs(sweep):
    _, together, _ = sweep("fused", "tracker=[tensorboard]", "optimizer.lr=1e-3,1e-2")
    for run in together.values():
        steps = [json.loads(line)["step"] for line in (run.folder / "history.jsonl").read_text().splitlines()]
        assert steps == sorted(steps) and steps
        assert list(run.folder.rglob("*tfevents*"))
