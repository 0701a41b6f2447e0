"""Mistakes in the configuration: one message with key, value and what is allowed; exit code 2; nothing written."""

import pytest

CASES = [
    # unknown option in a group or a list
    (["backbone=convnt"], ["backbone", "'convnt'", "did you mean 'convnet'?", "mlp"]),
    (["head=linar"], ["head", "'linar'", "did you mean 'linear'?"]),
    (["method=[lroa]"], ["method", "'lroa'", "did you mean 'lora'?"]),
    (["method=[ewc,lroa]"], ["method", "'lroa'", "did you mean 'lora'?"]),
    (["dataset=digit"], ["dataset", "'digit'", "did you mean 'digits'?"]),
    (["optimizer=adam"], ["optimizer", "'adam'", "did you mean 'adamw'?"]),
    (["schedule=cosin"], ["schedule", "'cosin'", "did you mean 'cosine'?"]),
    (["tracker=[jsonl,wandbb]"], ["tracker", "'wandbb'", "did you mean 'wandb'?"]),
    (["selection=validaton"], ["selection", "'validaton'", "did you mean 'validation'?"]),
    (["predictor=majorty"], ["predictor", "'majorty'", "did you mean 'majority'?"]),
    (["preset=prob"], ["preset", "'prob'", "did you mean 'probe'?"]),
    (["heads.digit=liner"], ["heads.digit", "'liner'", "did you mean 'linear'?"]),
    (["heads.digt=linear"], ["heads.digt", "'digt'", "did you mean 'digit'?"]),
    # wrong type
    (["epochs=abc"], ["epochs", "'abc'", "an integer"]),
    (["method=[lora]", "method.lora.rank=abc"], ["method.lora.rank", "'abc'", "an integer"]),
    (["optimizer.lr=fast"], ["optimizer.lr", "'fast'", "a number"]),
    (["deterministic=perhaps"], ["deterministic", "'perhaps'", "true or false"]),
    # unknown key
    (["epoch=3"], ["epoch", "did you mean 'epochs'?"]),
    (["method=[lora]", "method.lora.rnk=4"], ["method.lora.rnk", "did you mean 'rank'?", "alpha"]),
    (["method.lora.rank=4"], ["method.lora", "is not chosen", "method=[lora]"]),
    (["+foo=1"], ["foo", "unknown key"]),
    # out of range
    (["method=[lora]", "method.lora.rank=0"], ["method.lora.rank", "0", "at least 1"]),
    (["optimizer.lr=-1"], ["optimizer.lr", "-1", "above 0"]),
    (["batch_size=0"], ["batch_size", "0", "at least 1"]),
    (["accumulate=64"], ["accumulate", "64", "batch_size (32)"]),
    (["clip=0"], ["clip", "0.0", "above 0"]),
    (["bn=off"], ["bn", "'off'", "recalibrate"]),
    (["precision=bf16"], ["precision", "'bf16'", "did you mean 'bf16-mixed'?"]),
    (["strategy=dpp"], ["strategy", "'dpp'", "did you mean 'ddp'?"]),
    (["devices=0"], ["devices", "0", "at least 1"]),
    (["schedule.warmup=2"], ["schedule.warmup", "2.0", "[0, 1)"]),
    (["optimizer.weight_decay=-1"], ["optimizer.weight_decay", "-1.0", "at least 0"]),
    (["selection.metric=acuracy"], ["selection.metric", "'acuracy'", "did you mean 'accuracy'?"]),
    (["selection.mode=best"], ["selection.mode", "'best'", "max, min"]),
    (["head=mlp", "head.width=0"], ["head.width", "0", "at least 1"]),
    (["heads.digit={name: mlp, width: 0}"], ["heads.digit.width", "0", "at least 1"]),
    # what does not fit together
    (["method=[probe,finetune]"], ["method", "'probe'", "'finetune'", "choose one"]),
    (["method=[dann]"], ["dataset", "'dann'", "unlabelled", "'digits'", "dataset.target"]),
    (["head=prototype"], ["head", "'prototype'", "method=[probe]"]),
    (["head.pooling=cls"], ["head.pooling", "'cls'", "tokens", "auto"]),
    (["backbone=transformers"], ["backbone.model", "needed unless `weights` is a folder", "path:FOLDER"]),
    (["method=[lora]", "method.lora.targets=nothing"], ["method.lora.targets", "'nothing'", "layers.0.0"]),
    (["backbone.weights=path:nowhere.pt"], ["backbone.weights", "'path:nowhere.pt'", "no such file"]),
    (["backbone.weights=web"], ["backbone.weights", "'web'", "hub, package:NAME"]),
    (["backbone.weights=package:not_there"], ["backbone.weights", "'package:not_there'", "not installed"]),
    # what this machine does not have
    (["tracker=[wandb]", "tracker.wandb.mode=online"], ["tracker.wandb.mode", "'online'", "WANDB_API_KEY"]),
    (["accelerator=quantum"], ["accelerator", "'quantum'", "cpu, cuda"]),
    (["precision=16-mixed"], ["precision", "'16-mixed'", "bf16-mixed"]),
    (["num_nodes=2"], ["num_nodes", "2", "torchrun"]),
]


@pytest.mark.parametrize(("overrides", "parts"), CASES, ids=[" ".join(case[0]) for case in CASES])
def test_refused(refused, overrides, parts):
    message = refused(*overrides)
    key, *rest = parts
    assert key in message.split(";")[0]
    for part in rest:
        assert part in message


def test_accelerator_that_is_not_there(refused, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("gpu", "cuda", "mps"):
        message = refused(f"accelerator={name}")
        assert message == f"accelerator: {name!r}: this machine has none; allowed here: auto, cpu"


def test_more_devices_than_there_are(refused, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert refused("accelerator=gpu", "devices=2").startswith("devices: 2: this machine has 1")


def test_all_mistakes_are_told_at_once(train, folder):
    result = train("batch_size=0", "clip=-1", "seed=-1")
    assert result.code == 2
    assert {line.split(":")[1].strip() for line in result.err.splitlines()} == {"seed", "batch_size", "clip"}
    assert not list(folder.iterdir())


TWIN = """
    from tlresearch import Method, register

    @register("method", "{name}")
    class Twin(Method):
        def __init__(self, *, strength: float = 1.0) -> None: ...
"""


def test_two_plugins_of_one_name(refused, train, plugin):
    first, second = plugin("first.py", TWIN.format(name="twin")), plugin("second.py", TWIN.format(name="twin"))
    message = refused("method=[twin]")
    assert "'twin'" in message
    assert str(first) in message
    assert str(second) in message
    assert train("dataset.labels_per_class=2").code == 0, "only the run that chose it is hurt"


def test_a_plugin_with_the_name_of_a_built_in(refused, plugin):
    file = plugin("copy.py", TWIN.format(name="lora"))
    message = refused("method=[lora]")
    assert "two plugins of one name" in message
    assert str(file) in message


def test_a_plugin_that_fails_at_import(refused, plugin):
    plugin("broken.py", "import surely_not_there\n" + TWIN.format(name="broken").replace("\n    ", "\n"))
    message = refused("method=[broken]")
    assert "'broken' fails at import: ModuleNotFoundError" in message


def test_store_that_cannot_be_written(refused, folder):
    (folder / "file").write_text("")
    assert refused("store=file/below").startswith("store: 'file/below': cannot be written to")


def test_debug_shows_the_traceback_as_well(train):
    result = train("method=[lora]", "method.lora.rank=0", "debug=true")
    assert result.code == 2
    assert "Traceback" in result.err
    assert "error: method.lora.rank: 0: must be" in result.err
