"""Stochastic weight averaging against torch's own."""

import copy

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, update_bn

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.model import Model
from tlresearch.core.types import TRAIN, Batch, Clock, Spec, Task
from tlresearch.methods.swa import SWA

TOTAL = 8


def wander(method, model, steps=TOTAL, first=0, each=None):
    """Random weights for a step each; `each` sees the model after a step."""
    generator = torch.Generator().manual_seed(3 + first)
    for step in range(first, first + steps):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        method.after_step(model, Clock(0, 0, step, TOTAL, {}))
        if each is not None:
            each(step)


def averaged(method, model, batches=None):
    with method.evaluating(model, batches):
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(("start", "every", "counted"), [(0.5, 1, [4, 5, 6, 7]), (0.25, 3, [2, 5]), (0.0, 4, [0, 4])])
def test_the_average_is_that_of_torch(small_model, start, every, counted):
    model, method = small_model(), SWA(start=start, every=every)
    oracle = AveragedModel(model)
    method.on_stage_start(model, None, None)
    wander(method, model, each=lambda step: oracle.update_parameters(model) if step in counted else None)
    assert int(oracle.n_averaged) == len(counted)
    found = averaged(method, model)
    for name, expected in oracle.module.state_dict().items():
        torch.testing.assert_close(found[name], expected, msg=name)
    assert not torch.allclose(found["heads.head_label.output.bias"], model.head("label").output.bias)


def test_before_its_start_the_weights_themselves_are_evaluated(small_model):
    model, method = small_model(), SWA(start=0.75)
    method.on_stage_start(model, None, None)
    wander(method, model, steps=6)
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in averaged(method, model).items())
    assert method.average == {}


def test_a_resumed_run_averages_on(small_model):
    straight, method = small_model(), SWA(start=0.25, every=2)
    method.on_stage_start(straight, None, None)
    wander(method, straight, steps=4)
    resumed, other = copy.deepcopy(straight), SWA(start=0.25, every=2)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    for one, model in ((method, straight), (other, resumed)):
        wander(one, model, steps=4, first=4)
    found = averaged(other, resumed)
    assert all(torch.equal(tensor, found[name]) for name, tensor in averaged(method, straight).items())


@pytest.fixture
def convolutional():
    task = Task("label", "classification", ("a", "b"))
    torch.manual_seed(0)
    options = {"name": "convnet", "width": 4, "layers": 2, "random_crop": 0}
    backbone = build("backbone", options, spec=Spec("image", (1, 8, 8), (task,)))
    model = Model(backbone)
    model.add_head(task, build("head", {"name": "linear"}, backbone=backbone, task=task))
    return model.train()


def images(count=3):
    """split → batches without any label."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count, 4, 1, 8, 8), generator=generator, dtype=torch.uint8)
    zeros = torch.zeros(4, dtype=torch.int64)
    rows = [Batch(part, {}, zeros, zeros, torch.full((4,), TRAIN), torch.ones(4)) for part in x]
    return {"train": rows}.__getitem__


def test_statistics_are_those_that_torch_measures_for_the_average(convolutional):
    model, method = convolutional, SWA(start=0.0)
    oracle = AveragedModel(model)
    method.on_stage_start(model, None, None)
    wander(method, model, each=lambda step: oracle.update_parameters(model))
    update_bn((batch.x for batch in images()("train")), oracle)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = averaged(method, model, images())
    for name, expected in oracle.module.state_dict().items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5, msg=name)
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items()), "training goes on as it was"
    assert any("running_mean" in name and not torch.equal(found[name], before[name]) for name in found)


def test_layers_at_rest_keep_their_statistics(convolutional):
    model, method = convolutional, SWA(start=0.0)
    model.backbone.blocks()[0].requires_grad_(False)
    method.on_stage_start(model, None, None)
    wander(method, model)
    found, own = averaged(method, model, images()), model.state_dict()
    moved = {name for name in found if "running" in name and not torch.equal(found[name], own[name])}
    assert moved == {f"backbone.layers.1.1.running_{what}" for what in ("mean", "var")}


@pytest.mark.parametrize("bad", [{"start": 1.5}, {"every": 0}])
def test_values_out_of_range(bad):
    (key,) = bad
    with pytest.raises(ConfigError, match=f"{key}: {bad[key]}"):
        SWA(**bad)
