"""BatchNorm under freezing: `bn=eval` leaves its statistics alone, `train` updates, `recalibrate` averages anew."""

import copy

import pytest
import torch

from tlresearch.training.assemble import assemble, build_stream

OVERRIDES = (
    "backbone=convnet",
    "backbone.random_crop=0",
    "method=[probe]",
    "steps=4",
    "dataset.labels_per_class=10",
    "selection=last",
)


def statistics(model):
    return {k: v for k, v in model.state_dict().items() if "running_" in k or "num_batches" in k}


@pytest.fixture
def weights(train, folder):
    """A network whose statistics are those of a training run, not zeros and ones."""
    run = train("backbone=convnet", "steps=10").run
    source = run.model
    from safetensors.torch import save_file

    save_file({k: v.contiguous() for k, v in source.backbone.state_dict().items()}, folder / "source.safetensors")
    return source, f"backbone.weights=path:{folder}/source.safetensors"


def test_eval_keeps_train_updates(train, weights):
    source, path = weights
    kept = statistics(train(*OVERRIDES, path, "bn=eval").run.model)
    assert kept
    assert all(torch.equal(value, statistics(source)[name]) for name, value in kept.items())
    moved = statistics(train(*OVERRIDES, path, "bn=train").run.model)
    assert all(not torch.equal(value, statistics(source)[name]) for name, value in moved.items())
    (counted,) = {int(v) - int(statistics(source)[k]) for k, v in moved.items() if "num_batches" in k}
    assert counted == 4


def test_bn_is_part_of_the_identity(train, weights):
    _, path = weights
    runs = [train(*OVERRIDES, path, f"bn={bn}").run for bn in ("eval", "train", "recalibrate")]
    assert len({run.identity for run in runs}) == 3


def test_recalibrate_is_a_plain_average(train, weights):
    """As torch.optim.swa_utils.update_bn over the same batches."""
    source, path = weights
    run = train(*OVERRIDES, path, "bn=recalibrate", "batch_size=25").run  # 100 rows: equal batches
    found = statistics(run.model)
    rows = build_stream(run.config).stages[0].train
    expected = copy.deepcopy(source)
    expected.backbone.random_crop = 0  # update_bn runs in training mode, which would move the images
    preprocess = expected.backbone.preprocess("train")
    batches = [
        expected.backbone.collate([preprocess(rows[i]) for i in part.tolist()]).x
        for part in torch.arange(len(rows)).split(25)
    ]
    torch.optim.swa_utils.update_bn(batches, expected)
    for name, value in statistics(expected).items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5, msg=name)
    assert not all(torch.equal(value, statistics(source)[name]) for name, value in found.items())


def test_trainable_layers_learn_whatever_bn_says(train, weights):
    source, path = weights
    overrides = [o for o in OVERRIDES if o != "method=[probe]"]
    model = train(*overrides, path, "bn=eval").run.model
    assert all(not torch.equal(value, statistics(source)[name]) for name, value in statistics(model).items())


def test_probe_moves_nothing_but_the_head(train, weights):
    source, path = weights
    run = train(*OVERRIDES, path).run
    body = run.model.backbone.state_dict()
    assert all(torch.equal(value, body[name]) for name, value in source.backbone.state_dict().items())
    stream = build_stream(run.config)
    fresh = assemble(run.config, stream.spec, stream.stages[0].tasks).model
    assert not torch.equal(next(fresh.heads.parameters()), next(run.model.heads.parameters()))
    assert run.cost["parameters_changed"] == sum(p.numel() for p in run.model.heads.parameters())
