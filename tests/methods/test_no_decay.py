"""What no weight decay falls on, by transformers' Trainer and by a step without a gradient."""

import pytest
import torch

from tlresearch.config.build import build
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.methods.no_decay import NoDecay
from tlresearch.training.parameters import Rates, build_optimizer, parameter_groups

CLOCK = Clock(0, 0, 0, 1, ())


@pytest.fixture
def bert(tiny_bert_folder):
    options = {"name": "transformers", "weights": f"path:{tiny_bert_folder}"}
    return Model(build("backbone", options, spec=Spec("text", None, ())))


def test_decayed_is_what_transformers_trainer_decays(bert):
    from transformers import Trainer

    peer = set(Trainer.get_decay_parameter_names(None, bert))
    groups = parameter_groups(bert, {"no_decay": NoDecay()}, CLOCK, Rates(1e-3, 1e-3, {}, 1.0))
    names = {id(p): name for name, p in bert.named_parameters()}
    decayed = {names[id(p)] for group in groups if "weight_decay" not in group for p in group["params"]}
    assert decayed == peer
    exempt = {names[id(p)] for group in groups if group.get("weight_decay") == 0.0 for p in group["params"]}
    assert decayed | exempt == set(names.values()) and not decayed & exempt


def test_a_step_without_gradient_shrinks_weights_alone(small_model):
    model = small_model()
    groups = parameter_groups(model, {"no_decay": NoDecay()}, CLOCK, Rates(0.1, 0.1, {}, 1.0))
    optimizer = build_optimizer(lambda g: torch.optim.SGD(g, weight_decay=0.5), groups, None)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        shrunk = 1.0 if name.endswith("bias") else 1 - 0.1 * 0.5
        torch.testing.assert_close(parameter.detach(), shrunk * before[name], msg=name)
