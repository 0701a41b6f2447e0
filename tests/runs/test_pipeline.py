"""Pipelines: runs in order that start from each other, each found in the store as any other run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import tlresearch
from tlresearch.config.registry import shipped
from tlresearch.pipeline import plan

TURNED = ["dataset=rotated", "dataset.source=[90]", "dataset.target=[]"]


def pipeline(**runs):
    """The override: pipeline(pre=["epochs=1"], task=["init_from=pre"])."""
    return f"pipeline={{{','.join(f'{name}:{json.dumps(overrides)}' for name, overrides in runs.items())}}}"


QUIET = ["progress=false", "accelerator=cpu"]
SMALL = ["backbone=mlp", "backbone.width=32", "steps=20"]
TWO = pipeline(pre=[*SMALL, *TURNED], task=[*SMALL, "init_from=pre"])


@pytest.fixture
def pipe(capfd):
    """pipe("seed=1", …) → the runs that the command told of, in order; no defaults but for machine and output."""
    from tlresearch.commands.main import main

    def call(*overrides):
        capfd.readouterr()
        code = main(["train", *overrides, *QUIET])
        captured = capfd.readouterr()
        assert code == 0, captured.err
        lines = [line for line in captured.out.splitlines() if not line.startswith("[")]
        return [tlresearch.Run.load(line.split("  ")[0]) for line in lines]

    return call


def folders(store="runs"):
    return {path.name for path in Path(store).iterdir()}


def test_each_entry_is_an_ordinary_run(pipe, train, tensors):
    pre, task = pipe(TWO)
    assert folders() == {pre.identity, task.identity}
    alone = train(*SMALL, *TURNED, "store=alone").run
    assert (alone.identity, alone.metrics) == (pre.identity, pre.metrics)
    by_hand = train(*SMALL, f"init_from={alone.folder}", "store=alone").run
    assert by_hand.identity == task.identity
    assert by_hand.metrics == {name: value for name, value in task.metrics.items() if name != "pipeline"}
    assert all(torch.equal(tensors(task)[name], tensor) for name, tensor in tensors(by_hand).items())
    assert task.config["init_from"] == pre.identity
    assert task.config["pipeline"] is None
    assert task.record["overrides"] == [*SMALL, "init_from=pre", *QUIET]


def test_the_headline_of_each_run_is_told(folder, train):
    result = train(TWO, "backbone.width=32", "epochs=20")
    first, last = result.out.splitlines()
    pre, task = result.runs
    assert first == f"{pre.folder}  test.accuracy={pre.value:.4f}  (pre)"
    assert last == f"{task.folder}  test.accuracy={task.value:.4f}"


def test_the_python_function_does_the_same(folder):
    run = tlresearch.run([TWO, *QUIET])
    assert run.config["dataset"]["name"] == "digits"
    assert set(run.metrics["pipeline"]) == {"start", "pre"}
    again = tlresearch.run([TWO, *QUIET])
    assert again.reused
    assert again.record == json.loads((run.folder / "run.json").read_text())


def test_a_sweep_trains_the_prefix_once(pipe, plugin, folder):
    plugin(
        "counted.py",
        """
        from pathlib import Path

        from tlresearch import Method, register

        @register("method", "counted")
        class Counted(Method):
            def on_stage_start(self, model, stage, batches):
                with open("count", "a") as file:
                    file.write(f"{len(stage.train)}\\n")
        """,
    )
    settings = pipeline(
        pre=[*SMALL, *TURNED, "method=[counted]"],
        task=[*SMALL, "dataset.labels_per_class=5", "method=[counted]", "init_from=pre"],
    )
    runs = pipe("-m", settings, "optimizer.lr=0.001,0.002,0.003", "seed=0,1")
    count = [int(rows) for rows in (folder / "count").read_text().split()]
    assert len(count) == 7
    assert sum(rows == 50 for rows in count) == 6
    assert len(folders()) == 7
    assert len({run.identity for run in runs[::2]}) == 1
    assert len({run.identity for run in runs[1::2]}) == 6
    measured = [path.name for path in folder.rglob("after-*.json")]
    assert len(measured) == 2, "once for each choice of labelled rows: their seed is that of the run"


def test_a_killed_pipeline_goes_on(pipe, folder, plugin):
    plugin(
        "brake.py",
        """
        import os
        import signal

        from tlresearch import Method, register

        @register("method", "brake")
        class Brake(Method):
            def after_step(self, model, clock):
                if os.environ.get("KILL") == f"{len(os.listdir('killed'))}/{clock.step}":
                    os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    more = [*SMALL, "method=[brake]", "log_every=1", "checkpoint_seconds=0", "evaluate_every=4"]
    three = pipeline(pre=[*more, *TURNED], mid=[*more, "seed=1", "init_from=pre:last"], task=[*more, "init_from=mid"])
    done = subprocess.run(
        [sys.executable, "-m", "tlresearch", "train", three, *QUIET, "store=killed"],
        env={**os.environ, "KILL": "2/9"},  # the first is done, the last not begun
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(folders("killed")) == 2
    pipe(three, "store=killed")
    pipe(three, "store=straight")
    assert folders("killed") == folders("straight")
    for name in folders("killed"):
        killed, straight = (tlresearch.Run.load(f"{store}/{name}") for store in ("killed", "straight"))
        assert killed.metrics == straight.metrics
        assert killed.record.get("pipeline") == straight.record.get("pipeline")
        assert not (killed.folder / "state.safetensors").exists()


def nearest_means(model, stages, task):
    """The rows that scikit-learn's nearest class means on the model's features get right, and how many there are."""
    from sklearn.neighbors import NearestCentroid

    def seen(parts):
        with torch.no_grad():
            features = [model.backbone(model.backbone.transform(rows.inputs[rows.positions], "test")) for rows in parts]
        labels = torch.cat([torch.as_tensor(rows.labels[task]) for rows in parts])
        return torch.cat([f.pooled for f in features]).numpy(), labels.numpy()

    (x, y), (test, labels) = seen([stage.train for stage in stages]), seen([stage.test for stage in stages])
    return int((NearestCentroid().fit(x, y).predict(test) == labels).sum()), len(labels)


def test_the_last_task_after_each_with_the_head_it_has(folder):
    run = tlresearch.run([TWO, *QUIET])
    pre = tlresearch.Run.load(f"runs/{run.config['init_from']}")
    test = run.stream.stages[0].test
    with torch.no_grad():
        logits = pre.model(test.inputs[test.positions]).logits["digit"]
    right = (logits.argmax(1) == torch.as_tensor(test.labels["digit"])).double().mean()
    assert run.metrics["pipeline"]["pre"]["accuracy"] == pytest.approx(float(right), abs=1e-9)
    assert run.record["pipeline"]["pre"] == {"run": pre.identity, "head": "kept"}


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_")
def test_the_last_task_after_each_by_nearest_means(folder):
    split = ["dataset=split", "dataset.scenario=task_incremental", "dataset.stages=2"]
    run = tlresearch.run([pipeline(pre=[*SMALL, "steps=90"], task=[*SMALL, *split, "init_from=pre"]), *QUIET])
    pre = tlresearch.Run.load(f"runs/{run.config['init_from']}")
    untrained = tlresearch.run([*SMALL, *QUIET, "steps=1", "optimizer=sgd", "optimizer.lr=1e-30"])
    for name, model in (("start", untrained.model), ("pre", pre.model)):
        scores = [nearest_means(model, [stage], stage.tasks[0].name) for stage in run.stream.stages]
        expected = sum(right for right, _ in scores) / sum(rows for _, rows in scores)
        assert run.record["pipeline"][name] == {"run": pre.identity, "head": "prototype"}
        assert run.metrics["pipeline"][name]["accuracy"] == pytest.approx(expected, abs=1e-9)
    assert run.metrics["pipeline"]["start"] != run.metrics["pipeline"]["pre"]


def test_from_scratch_beside_the_pipeline(pipe):
    """An axis over init_from: the run without it starts as it always did, and is measured by itself alone."""
    _, scratch, _, after = pipe("-m", TWO, "init_from=null,pre")
    assert "pipeline" not in scratch.metrics
    assert "pipeline" in after.metrics
    assert scratch.identity == tlresearch.run([*SMALL, *QUIET]).identity


def test_what_a_later_run_needs_is_kept(pipe):
    ewc = [*SMALL, "method=[ewc]"]
    given = pipeline(pre=[*ewc, *TURNED], task=[*ewc, "init_from=pre:last", "init_methods=[ewc]"])
    pre, task = pipe(given)
    assert pre.config["keep"] == ["last", "methods"]
    assert task.record["start"]["runs"] == [f"{pre.identity}:last"]
    assert pre.identity == tlresearch.run([*ewc, *TURNED, *QUIET]).identity


def test_a_soup_within_a_pipeline(pipe, tensors):
    last = [*SMALL, "optimizer=sgd", "optimizer.lr=1e-30", "init_from=[a,b]"]
    a, b, soup = map(tensors, pipe(pipeline(a=[*SMALL, "seed=1"], b=[*SMALL, "seed=2"], soup=last)))
    for name, tensor in soup.items():
        torch.testing.assert_close(tensor, (a[name] + b[name]) / 2)


def test_another_folder_of_yaml(pipe, folder):
    """`--config-dir` holds for the runs of a pipeline too."""
    (folder / "mine").mkdir()
    runs = {"pre": [*SMALL, *TURNED], "task": [*SMALL, "init_from=pre"]}
    text = OmegaConf.to_yaml({"defaults": ["config", "_self_"], "epochs": 3, "pipeline": runs})
    (folder / "mine/own.yaml").write_text(text)
    pre, task = pipe("--config-dir", "mine", "-cn", "own", "seed=3")
    assert (pre.config["epochs"], pre.config["seed"]) == (3, 0)
    assert (task.config["epochs"], task.config["seed"]) == (3, 3)


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ({}, ["pipeline", "names no run"]),
        ({"a": ["init_from=a"]}, ["pipeline: a → a: a cycle"]),
        ({"a": ["init_from=c"], "b": ["init_from=a"], "c": ["init_from=b"]}, ["pipeline: a → c → b → a: a cycle"]),
        ({"a": ["init_from=b"], "b": []}, ["pipeline.a.init_from: 'b'", "a later run", "change the order"]),
        ({"pre": [], "task": ["init_from=per"]}, ["pipeline.task.init_from: 'per'", "did you mean 'pre'?"]),
        ({"pre": ["epochs=abc"], "task": ["init_from=pre"]}, ["pipeline.pre: epochs: 'abc': must be an integer"]),
        (
            {"pre": ["backbone=mlp", "epochs=0"], "task": ["init_from=pre"]},
            ["pipeline.pre.epochs: 0: must be at least 1"],
        ),
        ({"pre": ["epochs"], "task": []}, ["pipeline.pre: 'epochs': must be an override"]),
        ({"pre": "epochs=1", "task": []}, ["pipeline.pre: 'epochs=1': must be a list of overrides"]),
        ({"start": []}, ["pipeline.start", "is not 'start'"]),
        ({"a": ["pipeline={b:[]}"]}, ["pipeline.a", "no pipeline of its own"]),
        (
            {"pre": ["backbone=mlp"], "task": ["init_from=pre", "predictor=majority"]},
            ["pipeline.task.init_from", "predictor"],
        ),
    ],
)
def test_bad_pipelines(refused, runs, words):
    message = refused(pipeline(**runs))
    for word in words:
        assert word in message


def test_the_backbone_of_the_command_line_is_the_last_run_s_alone(refused):
    message = refused(pipeline(pre=["backbone=convnet"], task=["init_from=pre"]), "backbone=mlp")
    assert "pipeline.task.init_from: 'pre': its body is backbone 'convnet' and here it is 'mlp'" in message
    assert "choose it in the YAML or in every run" in message


@pytest.mark.parametrize("file", sorted(shipped("sweeps").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_runs_of_every_shipped_pipeline_compose(file):
    if "pipeline" in OmegaConf.load(file):
        sweeper = OmegaConf.load(file).hydra.sweeper
        axes = sweeper.params if "params" in sweeper else sweeper.grids[0]
        overrides = [f"{key}={str(value).split(',')[-1]}" for key, value in axes.items()]
        steps = plan(tlresearch.compose(overrides, file.stem), overrides, file.stem)
        assert steps[-1].start


def test_a_pipeline_in_a_sweep_is_counted_and_the_budget_ends_it(train, folder):
    spent = train("-m", TWO, "seed=0,1", "budget.seconds=1e-6")
    assert spent.code == 0, spent.err
    assert spent.err.splitlines()[-1] == "2 runs: 2 not started; the same command with a new budget goes on"
    assert not (folder / "runs").exists()
    done = train("-m", TWO, "seed=0,1", "hydra/launcher=fused")
    assert done.code == 0, done.err
    assert done.err.splitlines()[-1] == "2 runs: 2 done"
    assert len(list((folder / "runs").glob("*/run.json"))) == 3, "the first run of the pipeline is made once"
