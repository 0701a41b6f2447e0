"""Method peft with type adalora against a hand-written loop around peft's own model, as its documentation has it."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from unittest import mock

import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.core.types import Clock
from tlresearch.methods.peft import PEFT

STEPS = 12
OPTIONS = {"init_r": 4, "target_r": 2, "tinit": 2, "tfinal": 3, "deltaT": 2, "orth_reg_weight": 0.3}


@pytest.fixture
def adapted(small_model):
    def make() -> tuple:
        torch.manual_seed(0)
        model = small_model(width=6)
        plain = copy.deepcopy(model.backbone)
        method = PEFT(type="adalora", options=OPTIONS)
        method.setup(model, None)
        method.on_stage_start(model, None, None)
        for parameter in model.backbone.parameters():
            parameter.requires_grad_(any(parameter is p for p in method.trainable(model, None)))
        return model, method, plain

    return make


def take_steps(model, method, batch, start: int, stop: int, optimizer) -> list[float]:
    """Steps in the Trainer's order: terms, gradients, hook, clipping, optimizer, zero, hook."""
    losses = []
    for step in range(start, stop):
        clock = Clock(0, 0, step, STEPS, {})
        out = model(batch.x)
        terms = method.loss(model, batch, out, clock)
        loss = out.features.pooled.square().mean() + terms["orthogonality"]
        loss.backward()
        method.on_gradients(model, clock)
        torch.nn.utils.clip_grad_norm_(list(method.trainable(model, clock)), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(model, clock)
        losses.append(loss.item())
    return losses


def test_terms_and_allocation_are_those_of_pefts_own_loop(adapted, small_batch):
    from peft import AdaLoraConfig, get_peft_model

    model, method, plain = adapted()
    batch = small_batch()
    targets = list(model.backbone.peft_config["default"].target_modules)
    peer = get_peft_model(plain, AdaLoraConfig(target_modules=targets, total_step=STEPS, **OPTIONS))
    peer.get_base_model().load_state_dict(model.backbone.state_dict())
    learning = [p for p in peer.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=0.05)
    theirs = []
    for step in range(STEPS):
        task = peer.get_base_model()(batch.x).pooled.square().mean()
        with mock.patch.object(peer.base_model.model, "forward", return_value=SimpleNamespace(loss=task)):
            loss = peer.base_model.forward().loss  # adds the regulariser to what the network calls its loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 0.5)
        optimizer.step()
        peer.base_model.update_and_allocate(step)
        optimizer.zero_grad()
        theirs.append(loss.item())
    ours = take_steps(model, method, batch, 0, STEPS, torch.optim.AdamW(method.trainable(model, None), lr=0.05))
    assert ours == pytest.approx(theirs, rel=1e-5)
    state = peer.get_base_model().state_dict()
    for name, tensor in model.backbone.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=1e-4, atol=1e-6)
    left = [int(t.count_nonzero()) for name, t in model.backbone.state_dict().items() if "lora_E" in name]
    assert sum(left) == OPTIONS["target_r"] * len(left) < OPTIONS["init_r"] * len(left)


def test_a_resumed_run_allocates_the_same(adapted, small_batch):
    batch = small_batch()
    straight, method, _ = adapted()
    take_steps(straight, method, batch, 0, STEPS, torch.optim.SGD(method.trainable(straight, None), lr=0.05))
    first, method, _ = adapted()
    take_steps(first, method, batch, 0, 7, torch.optim.SGD(method.trainable(first, None), lr=0.05))
    second, fresh, _ = adapted()
    second.load_state_dict(first.state_dict())
    fresh.load_state_dict(copy.deepcopy(method.state_dict()))
    take_steps(second, fresh, batch, 7, STEPS, torch.optim.SGD(fresh.trainable(second, None), lr=0.05))
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_a_plan_longer_than_the_stage_is_refused(adapted, small_batch):
    model, method, _ = adapted()
    batch = small_batch()
    with pytest.raises(ConfigError, match=r"^method\.peft\.options: 'tinit=2 and tfinal=3'.*5"):
        method.loss(model, batch, model(batch.x), Clock(0, 0, 0, 5, {}))
