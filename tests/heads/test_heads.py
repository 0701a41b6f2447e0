"""Linear, MLP and prototype heads against products written by hand and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestCentroid
from torch import Tensor, nn

from tlresearch.config.errors import ConfigError
from tlresearch.core.backbone import Backbone
from tlresearch.core.head import Head
from tlresearch.core.types import IGNORE, Features, Task
from tlresearch.heads.linear import Linear
from tlresearch.heads.mlp import MLP
from tlresearch.heads.prototype import Prototype


class Flat(Backbone):
    feature_dim = 64


def task(classes: int) -> Task:
    return Task("digit", "classification", tuple(str(i) for i in range(classes)))


def features(pooled: Tensor) -> Features:
    return Features(None, pooled, None)


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    return torch.from_numpy(data.data).float(), torch.from_numpy(data.target)


def pairs(x: Tensor, y: Tensor) -> list[tuple[Features, Tensor]]:
    return [(features(a), b) for a, b in zip(x.split(100), y.split(100), strict=True)]


def test_linear_is_a_product_with_its_own_weights() -> None:
    head, x = Linear(Flat(), task(3)), torch.randn(5, 64)
    weight, bias = (p.detach().numpy() for p in head.parameters())
    expected = np.einsum("bd,cd->bc", x.numpy(), weight) + bias
    torch.testing.assert_close(head(features(x)), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)


def test_mlp_is_two_products_and_a_rectifier() -> None:
    head, x = MLP(Flat(), task(3), width=7), torch.randn(5, 64)
    w1, b1, w2, b2 = (p.detach().numpy() for p in head.parameters())
    assert w1.shape == (7, 64) and w2.shape == (3, 7)
    expected = np.maximum(x.numpy() @ w1.T + b1, 0) @ w2.T + b2
    torch.testing.assert_close(head(features(x)), torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


def test_mlp_with_more_layers_is_more_products() -> None:
    head, x = MLP(Flat(), task(3), width=7, layers=2), torch.randn(5, 64)
    (first, second), output = (m for m in head.hidden if isinstance(m, torch.nn.Linear)), head.output
    inner = torch.relu(torch.relu(x @ first.weight.T + first.bias) @ second.weight.T + second.bias)
    expected = inner @ output.weight.T + output.bias
    assert torch.allclose(head(Features(None, x, None)), expected, atol=1e-6)


@pytest.mark.parametrize("make", [Linear, MLP])
def test_dropout_acts_in_training_only(make: type[Linear] | type[MLP]) -> None:
    head, x = make(Flat(), task(3), dropout=0.5), features(torch.randn(4, 64))
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.equal(head(x), head(x))


@pytest.mark.parametrize("make", [Linear, MLP])
def test_growing_keeps_the_old_outputs(make: type[Linear] | type[MLP]) -> None:
    head, x = make(Flat(), task(3)), features(torch.randn(4, 64))
    old, before = {n: p.detach().clone() for n, p in head.named_parameters()}, head(x)
    head.grow(task(5))
    assert head(x).shape == (4, 5)
    torch.testing.assert_close(head(x)[:, :3], before, rtol=1e-6, atol=1e-6)
    for name, parameter in head.named_parameters():
        kept = parameter[:3] if name.startswith("output") else parameter
        assert torch.equal(kept, old[name]), name
    assert bool((head.output.weight[3:] != 0).all())


@pytest.mark.parametrize("make", [Linear, MLP, Prototype])
def test_a_head_does_not_grow_into_other_labels(make: type[Head]) -> None:
    head = make(Flat(), task(3))
    with pytest.raises(AssertionError, match="cannot grow"):
        head.grow(Task("digit", "classification", ("2", "1", "0", "3")))


@pytest.mark.parametrize("make", [Linear, MLP, Prototype])
def test_state_reloads_into_a_head_of_another_seed(make: type[Head], digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    torch.manual_seed(0)
    head = make(Flat(), task(10))
    if head.closed_form:
        head.fit(pairs(x, y))
    torch.manual_seed(1)
    other = make(Flat(), task(10))
    assert not torch.equal(other(features(x)), head(features(x)))
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(features(x)), head(features(x)))


def test_prototype_is_scikit_learns_nearest_centroid(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    head = Prototype(Flat(), task(10))
    head.fit(pairs(x[:1000], y[:1000]))
    oracle = NearestCentroid().fit(x[:1000].numpy(), y[:1000].numpy())
    np.testing.assert_allclose(head.means.numpy(), oracle.centroids_, rtol=1e-5, atol=1e-5)
    assert head.predict(head(features(x[1000:])), None).tolist() == oracle.predict(x[1000:].numpy()).tolist()
    distances = ((x[1000:1020, None].numpy() - oracle.centroids_[None]) ** 2).sum(-1)
    np.testing.assert_allclose(head(features(x[1000:1020])).numpy(), -distances, rtol=1e-4)


def test_prototype_by_cosine(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    head = Prototype(Flat(), task(10), metric="cosine")
    head.fit(pairs(x, y))
    means = torch.stack([x[y == c].mean(0) for c in range(10)])
    expected = torch.stack([F.cosine_similarity(x[:50], mean.expand(50, -1)) for mean in means], 1)
    torch.testing.assert_close(head(features(x[:50])), expected, rtol=1e-4, atol=1e-5)


def test_prototype_in_stages_is_prototype_at_once(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    staged, whole = Prototype(Flat(), task(5)), Prototype(Flat(), task(10))
    first = (y < 5) & (torch.arange(len(y)) < 1500)
    staged.fit(pairs(x[first], y[first]))
    early = staged.means.clone()
    staged.grow(task(10))
    assert torch.equal(staged.means[:5], early)
    second = (y >= 5) | (y == 2) & ~first  # class 2 comes again with rows not seen before
    staged.fit(pairs(x[second], y[second]))
    assert torch.equal(staged.means[[0, 1, 3, 4]], early[[0, 1, 3, 4]])
    union = first | second
    whole.fit(pairs(x[union], y[union]))
    torch.testing.assert_close(staged.means, whole.means, rtol=1e-5, atol=1e-4)
    assert staged.counts.tolist() == whole.counts.tolist()


def test_prototype_skips_unlabelled_rows_and_never_predicts_an_unseen_class(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    head = Prototype(Flat(), task(10))
    hidden = torch.where(y >= 8, IGNORE, y)
    head.fit(pairs(x, hidden))
    assert head.counts[8:].tolist() == [0, 0]
    predicted = head(features(x)).argmax(1)
    assert int(predicted.max()) == 7
    assert head(features(x)).isfinite().all()


def test_prototype_trains_nothing() -> None:
    head = Prototype(Flat(), task(3))
    assert head.closed_form and not list(head.parameters())


@pytest.mark.parametrize(
    ("make", "arguments", "key"),
    [
        (Linear, {"dropout": 1.0}, "dropout"),
        (Linear, {"dropout": -0.1}, "dropout"),
        (MLP, {"width": 0}, "width"),
        (MLP, {"dropout": 2}, "dropout"),
        (Prototype, {"metric": "cosin"}, "metric"),
    ],
)
def test_values_out_of_range_are_refused_by_key(make: type[nn.Module], arguments: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(Flat(), task(3), **arguments)
    assert [problem.key for problem in caught.value.problems] == [key]
