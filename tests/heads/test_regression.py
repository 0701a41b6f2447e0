"""Heads of a regression: least squares, any unit, and one layer that computes the same."""

import numpy as np
import pytest
import torch
from torch import nn

from tlresearch.core.backbone import Backbone
from tlresearch.core.types import Features, Task
from tlresearch.heads.linear import Linear
from tlresearch.heads.mlp import MLP

TASK = Task("price", "regression", (), "rmse")


class Flat(Backbone):
    feature_dim = 5


@pytest.fixture
def toy():
    """60 rows, a target that is nearly linear in 5 features."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5))
    y = 300 + x @ np.array([40.0, -10.0, 0.0, 5.0, 90.0]) + 3 * rng.normal(size=60)
    return torch.from_numpy(x).float(), torch.from_numpy(y).float()


def features(x):
    return Features(None, x, None)


def trained(head, x, y, steps=200):
    head.prepare(y)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = head.loss(head(features(x)), y).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return head


def test_linear_comes_to_least_squares(toy):
    x, y = toy
    torch.manual_seed(0)
    layer = trained(Linear(Flat(), TASK), x, y)
    folded = layer.kind.folded(layer.output)
    wide = np.column_stack([x.double().numpy(), np.ones(len(x))])
    oracle = np.linalg.lstsq(wide, y.double().numpy(), rcond=None)[0]
    np.testing.assert_allclose(folded.weight.detach()[0], oracle[:5], rtol=1e-3, atol=0.05)
    assert folded.bias.item() == pytest.approx(oracle[5], rel=1e-4)
    torch.testing.assert_close(layer(features(x)), folded(x), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("make", [Linear, MLP])
def test_the_unit_of_the_target_changes_nothing_but_the_unit(make, toy):
    """Euro or cents, from 0 or from far off: the same losses, the same steps, the same answers."""
    x, y = toy
    heads = []
    for target in (y, 1024 * y - 2048):  # powers of two round alike
        torch.manual_seed(0)
        head = make(Flat(), TASK)
        head.prepare(target)
        optimizer = torch.optim.AdamW(head.parameters(), lr=0.01)
        for _ in range(20):
            optimizer.zero_grad()
            loss = head.loss(head(features(x)), target).mean()
            loss.backward()
            optimizer.step()
        heads.append((head(features(x)).detach(), loss.item()))
    (small, loss), (large, same) = heads
    assert same == pytest.approx(loss, rel=1e-3)
    torch.testing.assert_close((large + 2048) / 1024, small, rtol=1e-3, atol=0.1)


@pytest.mark.parametrize("make", [Linear, MLP])
def test_it_starts_at_the_mean_and_keeps_it_in_its_state(make, toy):
    x, y = toy
    head = make(Flat(), TASK)
    head.prepare(y)
    nn.init.zeros_(head.output.weight)
    nn.init.zeros_(head.output.bias)
    assert head.predict(head(features(x)), None).tolist() == pytest.approx([y.mean().item()] * len(x), rel=1e-6)
    assert {name for name, _ in head.named_buffers()} == {"kind.mean", "kind.scale"} <= set(head.state_dict())
    assert not any(name.startswith("kind") for name, _ in head.named_parameters())
