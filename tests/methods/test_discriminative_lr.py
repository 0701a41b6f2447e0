"""Rates from the head down, against ULMFiT's recursion and one step of SGD by hand."""

import pytest
import torch

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.methods.discriminative_lr import DiscriminativeLR
from tlresearch.training.parameters import Rates, build_optimizer, parameter_groups

CLOCK = Clock(0, 0, 0, 1, ())


def optimizer_of(model, method, lr=0.1):
    groups = parameter_groups(model, {"discriminative_lr": method}, CLOCK, Rates(lr, lr, {}, 1.0))
    return build_optimizer(torch.optim.SGD, groups, None)


def rates(model, method, lr=0.1):
    """Parameter name → its rate in the optimizer."""
    own = {id(p): group["lr"] for group in optimizer_of(model, method, lr).param_groups for p in group["params"]}
    return {name: own[id(p)] for name, p in model.named_parameters()}


def test_each_block_learns_at_the_rate_of_the_one_above_it_by_the_factor(small_model):
    model = small_model(layers=3)
    found = rates(model, DiscriminativeLR())
    rate = next(found[name] for name in found if name.startswith("heads."))
    assert rate == 0.1
    named = {id(p): name for name, p in model.named_parameters()}
    for block in reversed(model.backbone.blocks()):
        rate = rate / 2.6
        assert [found[named[id(p)]] for p in block.parameters()] == pytest.approx([rate, rate])


def test_stem_and_embeddings_are_one_step_below_the_first_block(tiny_bert_folder):
    options = {"name": "transformers", "weights": f"path:{tiny_bert_folder}"}
    model = Model(build("backbone", options, spec=Spec("text", None, ())))
    found = rates(model, DiscriminativeLR(factor=2.0))
    parts = ("embeddings", "layer.0", "layer.1")
    by_part = {part: {lr for name, lr in found.items() if part in name} for part in parts}
    assert by_part == {"embeddings": {0.0125}, "layer.0": {0.025}, "layer.1": {0.05}}


def test_one_factor_between_backbone_and_head(small_model):
    found = rates(small_model(layers=3), DiscriminativeLR(factor=4.0, between="backbone"))
    assert {lr for name, lr in found.items() if name.startswith("backbone.")} == {0.025}
    assert {lr for name, lr in found.items() if name.startswith("heads.")} == {0.1}


def test_a_step_moves_each_block_by_its_rate(small_model, small_batch):
    model = small_model(layers=2)
    optimizer = optimizer_of(model, DiscriminativeLR(factor=2.0), lr=0.4)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model(small_batch().x).logits["label"].square().sum().backward()
    optimizer.step()
    shares = {"heads.": 0.4, "backbone.layers.1": 0.2, "backbone.layers.0": 0.1}
    for name, parameter in model.named_parameters():
        (rate,) = (rate for prefix, rate in shares.items() if name.startswith(prefix))
        torch.testing.assert_close(parameter.detach(), before[name] - rate * parameter.grad)


@pytest.mark.parametrize(("options", "key"), [({"factor": 0.5}, "factor"), ({"between": "layers"}, "between")])
def test_values_out_of_range_are_named(options, key):
    with pytest.raises(ConfigError) as error:
        DiscriminativeLR(**options)
    assert [problem.key for problem in error.value.problems] == [key]
