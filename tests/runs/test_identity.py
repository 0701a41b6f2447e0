"""What makes two runs the same run, and what follows: finished ones are skipped, stale ones marked."""

import json
import os
import shutil

import pytest
import torch

import tlresearch


@pytest.fixture
def identify(train):
    """identify("seed=1") → the run's identity, without training it."""
    from tlresearch.runner import prepare, resolve

    def call(*overrides):
        config = tlresearch.compose(["backbone=mlp", "accelerator=cpu", *overrides])
        return prepare(resolve(config)).identity

    return call


@pytest.mark.parametrize(
    "override",
    [
        "store=elsewhere",
        "data_dir=elsewhere",
        "devices=2",
        "accelerator=auto",
        "strategy=ddp",
        "tracker=[tensorboard]",
        "progress=false",
        "log_every=3",
        "checkpoint_seconds=1",
        "cache.memory_gb=0",
        "budget.seconds=1000",
        "prices.usd_per_cpu_hour=2",
        "prices.usd_per_label=2",
        "objective=validation.loss",
        "retry_failed=true",
        "rerun_stale=true",
        "debug=true",
        "gradient_checkpointing=true",
        "method=[finetune]",
    ],
)
def test_what_does_not_count(identify, override):
    assert identify(override) == identify()


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "epochs=3",
        "batch_size=16",
        "clip=1.0",
        "optimizer.lr=0.01",
        "optimizer=sgd",
        "schedule=linear",
        "schedule.warmup=0.1",
        "backbone.width=64",
        "head=mlp",
        "head.pooling=cls",
        "method=[ewc]",
        "bn=train",
        "precision=bf16-mixed",
        "deterministic=true",
        "patience=3",
        "dataset.labels_per_class=5",
        "dataset.split_seed=1",
        "dataset.sample_seed=1",
        "dataset.class_weights=balanced",
        "accumulate=2",
        "evaluate_every=3",
        "selection=last",
    ],
)
def test_what_counts(identify, override):
    assert identify(override) != identify()


def test_methods_are_an_ordered_list(identify):
    assert identify("method=[ewc,replay]") != identify("method=[replay,ewc]")
    assert identify("method=[ewc]", "method.ewc.strength=5") != identify("method=[ewc]")


def test_the_recommended_rate_is_another_configuration_but_is_recorded(identify, train):
    """null means the recommendation of each part; the number itself is in the record, and hashed."""
    run = train("steps=2").run
    assert run.record["learning_rates"]["backbone"] == 1e-3
    assert run.config["optimizer"]["lr"] is None
    assert identify("optimizer.lr=null") == identify()


def test_a_probe_recommends_a_rate_for_the_heads(train):
    rates = train("steps=1", "method=[probe]", "optimizer=sgd").run.record["learning_rates"]
    assert rates["head"] == pytest.approx(10 * 3e-3), "recommendations are for AdamW; SGD takes ten times as much"
    assert train("steps=1").run.record["learning_rates"]["head"] is None, "otherwise each head has its own"
    assert train("steps=1", "method=[probe]", "optimizer.lr=0.5").run.record["learning_rates"]["head"] == 0.5


def test_content_of_the_data_counts_and_their_place_does_not(identify, folder):
    text = "text,label\n" + "".join(f"film {i},{'good' if i % 2 else 'bad'}\n" for i in range(20))
    (folder / "a.csv").write_text(text)
    (folder / "moved").mkdir()
    (folder / "moved/b.csv").write_text(text)
    (folder / "c.csv").write_text(text.replace("film 7,", "film 77,"))
    common = ("backbone=transformers", "dataset=text_file")
    first = identify(*common, "dataset.path=a.csv")
    assert identify(*common, "dataset.path=moved/b.csv") == first
    assert identify(*common, "dataset.path=b.csv", "data_dir=moved") == first
    assert identify(*common, "dataset.path=c.csv") != first


def test_content_of_the_weights_counts_and_their_place_does_not(identify, folder):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, folder / "a.safetensors")
    shutil.copy(folder / "a.safetensors", folder / "b.safetensors")
    save_file({"x": torch.ones(2)}, folder / "c.safetensors")
    a, b, c = (identify(f"backbone.weights=path:{name}.safetensors") for name in "abc")
    assert a == b
    assert len({a, c, identify()}) == 3


def test_a_finished_run_is_not_run_again(train, folder):
    first = train("steps=2").run
    before = {p: p.stat().st_mtime_ns for p in first.folder.iterdir()}
    second = train("steps=2", "progress=true", "tracker=[tensorboard]")
    assert second.code == 0
    assert f"already done: runs/{first.identity}" in second.err
    assert second.run.metrics == first.metrics
    assert {p: p.stat().st_mtime_ns for p in first.folder.iterdir()} == before
    assert not (first.folder / "state.safetensors").exists()


def test_a_run_by_other_code_is_marked_and_run_again_on_request(train, plugin):
    text = """
        from tlresearch import Method, register

        @register("method", "shrink")
        class Shrink(Method):
            factor = 1.0

            def loss(self, model, batch, out, clock):
                return {"size": self.factor * out.features.pooled.square().mean()}
    """
    file = plugin("shrink.py", text)
    run = train("method=[shrink]", "steps=2").run
    assert not run.stale
    file.write_text(file.read_text().replace("1.0", "2.0"))
    assert tlresearch.Run.load(run.folder).stale
    skipped = train("method=[shrink]", "steps=2")
    assert "already done, by other code since: rerun_stale=true runs it again" in skipped.err
    again = train("method=[shrink]", "steps=2", "rerun_stale=true").run
    assert not again.stale
    assert again.record["sources"] != run.record["sources"]
    assert again.identity == run.identity
    file.unlink()
    os.environ.pop("TLRESEARCH_PLUGINS")
    assert tlresearch.Run.load(run.folder).stale, "a component that is gone cannot be the same"


def test_the_python_functions_do_what_the_command_does(train, folder):
    overrides = ["backbone=mlp", "steps=2", "accelerator=cpu", "method=[lora]", "method.lora.rank=2"]
    run = tlresearch.run(overrides)
    assert run.status == "done"
    given = {"rank": 2, "alpha": 16.0, "dropout": 0.0, "targets": "auto"}
    assert run.config["method"]["lora"].items() >= given.items() and list(run.config["method"]) == ["lora"]
    by_command = train(*overrides, "store=other").run
    assert by_command.identity == run.identity
    assert by_command.metrics == run.metrics
    assert tlresearch.run(overrides).record == json.loads((run.folder / "run.json").read_text())
    config = tlresearch.compose(overrides)
    assert (config.backbone.name, config.method.lora.rank, config.steps) == ("mlp", 2, 2)
    assert "hydra" not in config


def test_the_python_functions_raise_what_the_command_prints(folder):
    with pytest.raises(tlresearch.ConfigError, match=r"^method.lora.rank: 0: must be an integer of at least 1$"):
        tlresearch.run(["backbone=mlp", "method=[lora]", "method.lora.rank=0"])
    with pytest.raises(tlresearch.ConfigError, match="did you mean 'convnet'"):
        tlresearch.compose(["backbone=convnt"])
    with pytest.raises(tlresearch.ConfigError, match="no run here"):
        tlresearch.Run.load(folder)
    assert not list(folder.iterdir())


def test_only_a_finished_run_has_a_model(train):
    run = train("steps=2").run
    record = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps(record | {"status": "failed"}))
    with pytest.raises(tlresearch.ConfigError, match="is failed: only a run that is done has a model"):
        _ = tlresearch.Run.load(run.folder).model


def test_a_record_of_a_newer_version_is_refused(refused, train, folder):
    run = train("steps=2").run
    record = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps(record | {"schema": 99}))
    assert "was written by a newer tlresearch (schema 99" in refused("steps=2")
