"""Self-distillation against the equation of learning without forgetting, by hand, and against a frozen copy."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tlresearch.config.errors import ConfigError
from tlresearch.core.types import Clock, Task
from tlresearch.methods.self_distillation import SelfDistillation, distillation

CLOCK = Clock(0, 0, 0, 10, {})


def by_hand(own, old, temperature):
    """Equations 2 to 4: y' ∝ y^(1/T) of the softmax y, −Σ y'_o log ŷ'_o."""
    sharpened = [torch.softmax(logits, 1) ** (1 / temperature) for logits in (old, own)]
    target, answer = (p / p.sum(1, keepdim=True) for p in sharpened)
    return -(target * answer.log()).sum(1).mean()


def test_the_term_is_that_of_the_paper():
    torch.manual_seed(0)
    own, old = 3 * torch.randn(5, 4), 3 * torch.randn(5, 4)
    for temperature in (0.5, 1.0, 2.0):
        torch.testing.assert_close(distillation(own, old, temperature), by_hand(own, old, temperature))
    entropy = -(old.softmax(1) * old.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(distillation(old, old, 1.0), entropy)  # its minimum


def moved(model, seed=1):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def begun(model, **options):
    method = SelfDistillation(**options)
    method.on_stage_start(model, None, None)
    return method


def test_the_starting_model_is_a_frozen_copy(small_model, small_batch):
    model, batch = small_model(), small_batch()
    method, frozen = begun(model, strength=0.7, temperature=3.0), copy.deepcopy(model).eval()
    moved(model)
    out = model(batch.x)
    terms = method.loss(model, batch, out, CLOCK)
    expected = 0.7 * by_hand(out.logits["label"], frozen(batch.x).logits["label"], 3.0)
    torch.testing.assert_close(terms["label"], expected)
    terms["label"].backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.heads.parameters())


def test_it_is_asked_without_dropout_and_leaves_no_trace(small_model, small_batch):
    model, batch = small_model(), small_batch()
    model.head("label").dropout.p = 0.5
    model.train()
    method, frozen = begun(model), copy.deepcopy(model).eval()
    modes = {name: module.training for name, module in model.named_modules()}
    out, state = model(batch.x), torch.random.get_rng_state()
    term = method.loss(model, batch, out, CLOCK)["label"]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert modes == {name: module.training for name, module in model.named_modules()}
    torch.testing.assert_close(term, by_hand(out.logits["label"], frozen(batch.x).logits["label"], 2.0))


def test_what_rests_is_not_copied(small_model, small_batch):
    model, batch = small_model(), small_batch()
    model.backbone.requires_grad_(False)
    method = begun(model)
    assert {name.split(".")[1] for name in method.state_dict() if name != "known"} == {"heads"}
    frozen = copy.deepcopy(model).eval()
    moved(model.head("label"))
    model.backbone.blocks()[-1].requires_grad_(True)  # thaws, and is copied before it moves
    method.loss(model, batch, model(batch.x), CLOCK)
    moved(model.backbone.blocks()[-1])
    out = model(batch.x)
    term = method.loss(model, batch, out, CLOCK)["label"]
    torch.testing.assert_close(term, by_hand(out.logits["label"], frozen(batch.x).logits["label"], 2.0))


def test_a_later_stage_holds_the_classes_of_earlier_ones(small_model, small_batch):
    model, batch = small_model(), small_batch()
    method = begun(model)
    method.on_stage_end(model, None, None)
    model.grow_head(Task("label", "classification", ("a", "b", "c", "d", "e")))
    method.on_stage_start(model, None, None)
    resumed = SelfDistillation()
    resumed.load_state_dict(copy.deepcopy(method.state_dict()))
    frozen = copy.deepcopy(model).eval()
    moved(model)
    out, old = model(batch.x), frozen(batch.x).logits["label"]
    for one in (method, resumed):
        term = one.loss(model, batch, out, CLOCK)["label"]
        torch.testing.assert_close(term, by_hand(out.logits["label"][:, :3], old[:, :3], 2.0))


def test_the_checkpoints_own_classifier(small_model, small_batch):
    model, batch = small_model(), small_batch()
    model.backbone.__dict__["pretrained_head"] = source = nn.Linear(5, 7).requires_grad_(False)
    method = SelfDistillation(to="source", temperature=1.0)
    method.setup(model, None)
    method.on_stage_start(model, None, None)
    frozen = copy.deepcopy(model.backbone).eval()
    moved(model)
    out = model(batch.x)
    term = method.loss(model, batch, out, CLOCK)["source"]
    own = model.aux["self_distillation"](out.features.pooled)
    torch.testing.assert_close(term, F.cross_entropy(own, source(frozen(batch.x).pooled).softmax(1)))
    assert not torch.equal(model.aux["self_distillation"].weight, source.weight), "the copy learns, the source does not"


def test_a_backbone_without_classifier_is_refused(small_model):
    with pytest.raises(ConfigError, match=r"to: 'source'.*no classifier"):
        SelfDistillation(to="source").setup(small_model(), None)


@pytest.mark.parametrize("bad", [{"strength": -1.0}, {"temperature": 0.0}, {"to": "teacher"}])
def test_bad_values_name_their_key(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        SelfDistillation(**bad)
