"""L2-SP against its equation by hand."""

import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.core.types import Clock
from tlresearch.methods.l2sp import L2SP

CLOCK = Clock(0, 0, 0, 10, {})


def begun(model, strength):
    method = L2SP(strength=strength)
    method.on_stage_start(model, None, None)
    return method


def term(method, model, batch):
    return method.loss(model, batch, model(batch.x), CLOCK)["distance"]


def moved(model, *amounts):
    """The backbone's first parameters plus these; how many numbers each has."""
    parameters = list(model.backbone.parameters())[: len(amounts)]
    with torch.no_grad():
        for parameter, amount in zip(parameters, amounts, strict=True):
            parameter += amount
    return parameters


def test_the_distance_by_hand(small_model, small_batch):
    model, batch = small_model(), small_batch()
    method = begun(model, strength=0.5)
    assert term(method, model, batch).item() == 0
    first, second = moved(model, 2.0, -3.0)
    with torch.no_grad():
        model.head("label").output.weight += 100.0  # not the backbone's
    value = term(method, model, batch)
    assert value.item() == pytest.approx(0.5 / 2 * (4 * first.numel() + 9 * second.numel()), rel=1e-5)
    value.backward()
    assert torch.allclose(first.grad, torch.full_like(first, 0.5 * 2.0))
    assert model.head("label").output.weight.grad is None


def test_frozen_weights_neither_count_nor_are_kept_until_they_train(small_model, small_batch):
    model, batch = small_model(), small_batch()
    model.backbone.requires_grad_(False)
    first, second = list(model.backbone.parameters())[:2]
    first.requires_grad_(True)
    method = begun(model, strength=2.0)
    moved(model, 1.0, 1.0)
    assert term(method, model, batch).item() == pytest.approx(first.numel(), rel=1e-5)
    assert [t.shape for t in method.state_dict().values()] == [first.shape]
    second.requires_grad_(True)  # thaws now, and starts from where it is
    assert term(method, model, batch).item() == pytest.approx(first.numel(), rel=1e-5)
    moved(model, 0.0, 3.0)
    assert term(method, model, batch).item() == pytest.approx(first.numel() + 9 * second.numel(), rel=1e-5)


def test_a_stage_stays_near_the_one_before(small_model, small_batch):
    model, batch = small_model(), small_batch()
    method = begun(model, strength=1.0)
    moved(model, 1.0)
    method.on_stage_start(model, None, None)
    assert term(method, model, batch).item() == 0


def test_a_resumed_run_keeps_its_starting_point(small_model, small_batch):
    model, batch = small_model(), small_batch()
    method, resumed = begun(model, strength=1.0), L2SP(strength=1.0)
    moved(model, 1.0)
    resumed.load_state_dict(method.state_dict())
    assert term(resumed, model, batch) == term(method, model, batch) > 0


def test_a_negative_strength():
    with pytest.raises(ConfigError, match="strength: -1"):
        L2SP(strength=-1)
