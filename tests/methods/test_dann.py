"""DANN against the paper's schedule and gradients taken by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from tlresearch.core.batching import join
from tlresearch.core.types import REPLAYED, UNLABELLED, Clock
from tlresearch.methods.dann import DANN
from tlresearch.nn.gradient_reversal import reverse_gradient


def clock(step: int, total: int = 10) -> Clock:
    return Clock(0, 0, step, total, {})


@pytest.mark.parametrize("step", [0, 3, 10])
def test_lambda_follows_the_paper(step):
    p = step / 10
    assert DANN().factor(clock(step)) == pytest.approx(2 / (1 + math.exp(-10 * p)) - 1)  # sec. 5.2.2
    assert DANN(gamma=0.0, weight=0.3).factor(clock(step)) == 0.3


def test_reversal_is_identity_forwards_and_minus_lambda_backwards():
    x = torch.randn(3, 2, requires_grad=True)
    y = reverse_gradient(x, 0.25)
    assert torch.equal(x, y)
    direction = torch.randn(3, 2)
    y.backward(direction)
    assert torch.allclose(x.grad, -0.25 * direction)


def prepared(small_model, small_batch, **options):
    model = small_model()
    method = DANN(width=32, **options)
    torch.manual_seed(0)
    method.setup(model, None)
    batch = join([small_batch(4), small_batch(3, seed=1, origin=UNLABELLED)], {})
    return model, method, batch


def by_hand(model, batch, keep):
    pooled = model(batch.x).features.pooled
    logits = model.aux["dann"](pooled).squeeze(1)[keep]
    return F.binary_cross_entropy_with_logits(logits, (batch.origin == UNLABELLED).float()[keep])


def test_features_receive_minus_lambda_times_the_classifiers_gradient(small_model, small_batch):
    model, method, batch = prepared(small_model, small_batch, weight=0.7, gamma=0.0)
    loss = method.loss(model, batch, model(batch.x), clock(5))["domain"]
    weights = [*model.backbone.parameters()], [*model.aux.parameters()]
    body, classifier = (torch.autograd.grad(loss, w, retain_graph=True) for w in weights)
    plain = by_hand(model, batch, torch.ones(7, dtype=torch.bool))
    assert torch.allclose(loss, plain)
    for ours, theirs in zip(body, torch.autograd.grad(plain, weights[0], retain_graph=True), strict=True):
        assert torch.allclose(ours, -0.7 * theirs, atol=1e-7)
    for ours, theirs in zip(classifier, torch.autograd.grad(plain, weights[1]), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-7)
    assert max(g.abs().max() for g in body) > 0


def test_replayed_rows_belong_to_neither_domain(small_model, small_batch):
    model, method, batch = prepared(small_model, small_batch)
    more = join([batch, small_batch(5, seed=9, origin=REPLAYED)], {})
    loss = method.loss(model, more, model(more.x), clock(5))["domain"]
    assert torch.allclose(loss, by_hand(model, more, more.origin != REPLAYED), atol=1e-6)


@pytest.mark.parametrize("bad", [{"weight": -1.0}, {"gamma": -1.0}, {"width": 0}, {"share": 0.0}])
def test_bad_values_name_their_key(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        DANN(**bad)
