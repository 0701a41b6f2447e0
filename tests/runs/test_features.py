"""What a run's keys promise, each against something that does not come from the framework."""

import copy
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tlresearch.training.assemble import assemble, build_stream


@pytest.fixture
def equal(tensors):
    def check(run, other, **tolerance):
        found, expected = tensors(run), tensors(other)
        assert found.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], **(tolerance or {"atol": 0, "rtol": 0}), msg=name)

    return check


def test_gradient_checkpointing_changes_no_weight(train, equal, monkeypatch):
    import torch.utils.checkpoint

    calls = []
    real = torch.utils.checkpoint.checkpoint
    monkeypatch.setattr(torch.utils.checkpoint, "checkpoint", lambda *a, **k: calls.append(1) or real(*a, **k))
    overrides = ("backbone=convnet", "steps=3", "dataset.labels_per_class=10", "clip=1.0")
    plain = train(*overrides, "store=a").run
    assert not calls
    again = train(*overrides, "store=b", "gradient_checkpointing=true").run
    assert calls
    assert again.identity == plain.identity
    equal(again, plain, atol=1e-6, rtol=1e-5)


def test_accumulation_is_one_batch(train, equal):
    whole, parts = train("steps=5", "store=a").run, train("steps=5", "store=b", "accumulate=5").run
    assert whole.identity != parts.identity
    equal(parts, whole, atol=1e-6, rtol=1e-5)


def test_clipping_bounds_the_step(train, tensors):
    """With SGD without momentum and lr 1, one step moves the weights by the clipped gradient's norm exactly."""
    base = ("steps=1", "optimizer=sgd", "optimizer.lr=1", "optimizer.momentum=0", "schedule=constant")
    start = train(*base, "clip=1e-12").run
    clipped, free = train(*base, "clip=0.5").run, train(*base).run

    def distance(run):
        return sum(float(((t - tensors(start)[n]) ** 2).sum()) for n, t in tensors(run).items()) ** 0.5

    assert distance(free) > 0.6
    assert distance(clipped) == pytest.approx(0.5, rel=1e-4)


def test_patience_stops_early(train):
    """A learning rate that changes nothing: the first evaluation stays the best."""
    run = train("epochs=9", "patience=2", "optimizer.lr=1e-12", "dataset.labels_per_class=5").run
    (stage,) = run.record["stages"]
    assert (stage["evaluations"], stage["selected"]) == (3, 0)
    whole = train("epochs=4", "optimizer.lr=1e-12", "dataset.labels_per_class=5").run
    assert whole.record["stages"][0]["evaluations"] == 4


def test_evaluate_every(train, history):
    run = train("steps=7", "evaluate_every=3", "log_every=2").run
    lines = history(run.folder)
    assert [line["step"] for line in lines if "validation/accuracy" in line] == [3, 6, 7]
    assert run.record["stages"][0]["evaluations"] == 3
    best = max(line["validation/accuracy"] for line in lines if "validation/accuracy" in line)
    assert run.metrics["validation"]["accuracy"] == best


def test_steps_win_over_epochs(train):
    runs = [train(f"epochs={epochs}", "steps=3").run for epochs in (1, 5)]
    assert runs[0].identity == runs[1].identity
    assert runs[0].record["stages"][0]["steps"] == 3


def test_selection_reports_the_best_weights(train, tensors, history):
    """The reported weights score what the selected evaluation said, and `last` those of the end."""
    overrides = ("epochs=4", "optimizer=sgd", "optimizer.lr=0.5", "schedule=constant", "dataset.labels_per_class=5")
    best, last = train(*overrides, "selection=validation").run, train(*overrides, "selection=last").run
    accuracies = [line["validation/accuracy"] for line in history(best.folder) if "validation/accuracy" in line]
    assert best.record["stages"][0]["selected"] == accuracies.index(max(accuracies))
    assert last.record["stages"][0]["selected"] == 3
    for run, expected in ((best, max(accuracies)), (last, accuracies[-1])):
        rows = build_stream(run.config).stages[0].validation
        logits = predict(run, rows)
        assert float((logits.argmax(-1) == rows.labels["digit"]).float().mean()) == pytest.approx(expected)


def test_bf16(train):
    full, mixed = train("steps=20").run, train("steps=20", "precision=bf16-mixed").run
    assert full.identity != mixed.identity
    assert mixed.metrics["test"]["loss"] != full.metrics["test"]["loss"]
    assert mixed.metrics["test"]["loss"] == pytest.approx(full.metrics["test"]["loss"], rel=0.05)
    assert {t.dtype for t in mixed.model.state_dict().values()} == {torch.float32}


def test_deterministic_mode(train, plugin):
    plugin(
        "asks.py",
        """
        import torch
        from tlresearch import Method, register

        @register("method", "asks")
        class Asks(Method):
            def after_step(self, model, clock):
                print("deterministic:", torch.are_deterministic_algorithms_enabled())
        """,
    )
    assert "deterministic: True" in train("method=[asks]", "steps=1", "deterministic=true").out
    assert not torch.are_deterministic_algorithms_enabled(), "the process is left as it was"
    assert "deterministic: False" in train("method=[asks]", "steps=1").out


def test_same_seed_same_weights_other_seed_other_weights(train, equal, tensors):
    first, second, third = train("steps=3").run, train("steps=3", "store=b").run, train("steps=3", "seed=1").run
    equal(first, second)
    assert any(not torch.equal(t, tensors(third)[name]) for name, t in tensors(first).items())


@pytest.mark.slow
def test_compiled_model(train):
    plain = train("steps=3", "store=a").run
    compiled = train("steps=3", "store=b", "compile=true").run
    assert compiled.identity == plain.identity
    assert compiled.metrics["test"]["loss"] == pytest.approx(plain.metrics["test"]["loss"], rel=1e-4)


def test_rows_prepared_on_the_fly(train, equal):
    overrides = ("backbone=convnet", "steps=3", "dataset.labels_per_class=10")
    kept, fresh = train(*overrides, "store=a").run, train(*overrides, "store=b", "cache.memory_gb=0").run
    assert kept.identity == fresh.identity
    equal(fresh, kept)


def test_balanced_class_weights(train, history, plugin):
    """The loss of the first batch is torch's weighted cross entropy with weights N / (C · N_c)."""
    plugin(
        "skewed.py",
        """
        import torch
        from tlresearch import Dataset, Rows, Spec, Stream, Task, register

        @register("dataset", "skewed")
        class Skewed(Dataset):
            def __init__(self, sampling) -> None:
                self.sampling = sampling

            def stream(self):
                x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
                y = torch.tensor([0] * 40 + [1] * 12 + [2] * 8)
                task = Task("kind", "classification", ("a", "b", "c"))
                stage = self.sampling.stage("skewed", (task,), Rows(x, {"kind": y}), None, None)
                return Stream(Spec("vector", (4,), (task,)), (stage,))
        """,
    )
    overrides = ("dataset=skewed", "batch_size=1000", "steps=1", "log_every=1")
    run = train(*overrides, "dataset.class_weights=balanced").run
    config, stream = run.config, build_stream(run.config)
    model = assemble(config, stream.spec, stream.stages[0].tasks).model.eval()
    rows = stream.stages[0].train
    y = rows.labels["kind"]
    x = rows.inputs[rows.positions]
    counts = torch.bincount(y).float()
    logits = model(x).logits["kind"]
    expected = F.cross_entropy(logits, y, weight=len(y) / (3 * counts)).item()
    plain = F.cross_entropy(logits, y).item()
    assert history(run.folder)[0]["train/task/kind"] == pytest.approx(expected, rel=1e-5)
    assert abs(expected - plain) > 1e-3
    unweighted = train(*overrides).run
    assert history(unweighted.folder)[0]["train/task/kind"] == pytest.approx(plain, rel=1e-5)


def test_a_head_of_its_own_for_one_task(train):
    cut = ("dataset=split", "dataset.stages=2", "dataset.scenario=task_incremental", "steps=2")
    run = train(*cut, "heads.digit_1={name: mlp, width: 7}").run
    heads = {task: type(run.model.head(task)).__name__ for task in run.model.labels}
    assert heads == {"digit_0": "Linear", "digit_1": "MLP"}
    assert 7 in [p.shape[0] for p in run.model.head("digit_1").parameters()]
    by_name = train(*cut, "heads.digit_1=mlp").run
    assert type(by_name.model.head("digit_1")).__name__ == "MLP"


def test_several_trackers_at_once(train, history):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train("steps=4", "log_every=1", "tracker=[jsonl,tensorboard,wandb]", "tracker.wandb.mode=disabled").run
    events = EventAccumulator(str(next(run.folder.rglob("events.out.*")).parent)).Reload()
    losses = [line["train/loss"] for line in history(run.folder) if "train/loss" in line]
    assert len(losses) == 4
    assert [e.value for e in events.Scalars("train/loss")] == pytest.approx(losses, rel=1e-6)


def test_jsonl_is_there_even_where_it_is_not_asked_for(train):
    run = train("steps=1", "tracker=[]").run
    assert (run.folder / "history.jsonl").exists()


def predict(run, rows):
    """Logits of a run's model on rows, by hand."""
    model = run.model
    preprocess = model.backbone.preprocess("test")
    batch = model.backbone.collate([preprocess(rows[i]) for i in range(len(rows))])
    with torch.no_grad():
        return copy.deepcopy(model).eval()(batch.x).logits[next(iter(model.labels))]


@pytest.mark.parametrize(
    "overrides",
    [
        ("backbone=convnet", "method=[lora]"),
        ("backbone=convnet", "method=[probe]", "head=prototype", "bn=recalibrate"),
        ("method=[lora,ewc,replay]", "dataset=split", "dataset.stages=2", "dataset.scenario=class_incremental"),
    ],
    ids=" ".join,
)
def test_the_loaded_model_gives_the_recorded_logits(train, tensors, overrides):
    from tlresearch import Run

    run = Run.load(train("steps=4", *overrides).run.folder)
    recorded = tensors(run, "logits.safetensors")
    right = total = 0
    for stage in build_stream(run.config).stages:
        logits, y = predict(run, stage.test), stage.test.labels["digit"]
        order = np.argsort(stage.test.index.numpy(), kind="stable")
        torch.testing.assert_close(logits[order], recorded[f"{stage.name}/digit/logits"], atol=1e-5, rtol=1e-5)
        assert torch.equal(y[order], recorded[f"{stage.name}/digit/y"])
        right, total = right + int((logits.argmax(-1) == y).sum()), total + len(y)
    assert run.metrics["test"]["accuracy"] == pytest.approx(right / total)
    assert run.metrics["test"]["rows"] == total


def test_record_says_what_was_done(train):
    run = train("steps=4", "clip=1.0").run
    record = json.loads((run.folder / "run.json").read_text())
    assert record["config"]["clip"] == 1.0
    assert "clip=1.0" in record["overrides"]
    assert record["selection"] == {"rule": "validation", "metric": None, "mode": None, "oracle": False}
    parameters = list(run.model.parameters())
    assert record["cost"]["parameters_total"] == sum(p.numel() for p in parameters)
    assert record["cost"]["bytes_on_disk"] > 4 * record["cost"]["parameters_total"]
    # 2 flops per weight and row forward, twice that backward but for the first layer's input: 4 steps of 32 rows
    sizes = [p.numel() for p in parameters if p.dim() == 2]
    assert record["cost"]["flops"] == 4 * 32 * (6 * sum(sizes) - 2 * sizes[0])
