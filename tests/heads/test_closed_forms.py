"""Heads that are solved: ridge, logistic, lda and knn against scikit-learn on the same tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge as SklearnRidge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from torch import Tensor, nn

from tlresearch.config.errors import ConfigError
from tlresearch.core.backbone import Backbone
from tlresearch.core.head import Head
from tlresearch.core.model import Model
from tlresearch.core.types import IGNORE, Features, Task
from tlresearch.heads.knn import KNN
from tlresearch.heads.lda import LDA
from tlresearch.heads.logistic import Logistic
from tlresearch.heads.ridge import Ridge
from tlresearch.training.checkpoint import load_model

PRICE = Task("price", "regression", (), "rmse")
HEADS = [Ridge, Logistic, LDA, KNN]


class Flat(Backbone):
    feature_dim = 64

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.zeros(1))


def task(classes: int) -> Task:
    return Task("digit", "classification", tuple(str(i) for i in range(classes)))


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    x = torch.from_numpy(data.data).float() / 16
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))  # whole numbers have equal distances
    return x + 0.01 * noise, torch.from_numpy(data.target)


def features(x: Tensor) -> Features:
    return Features(None, x, None)


def fitted(head: Any, x: Tensor, y: Tensor) -> Any:
    head.prepare(y)
    head.fit([(features(a), b) for a, b in zip(x.split(100), y.split(100), strict=True)])
    return head


def test_ridge_is_scikit_learns(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    head = fitted(Ridge(Flat(), task(10), penalty=3.0), x[:300], y[:300])
    oracle = SklearnRidge(alpha=3.0).fit(x[:300].double().numpy(), np.eye(10)[y[:300].numpy()])
    np.testing.assert_allclose(head.output.weight.numpy(), oracle.coef_, atol=1e-5)
    np.testing.assert_allclose(head(features(x[300:])).numpy(), oracle.predict(x[300:].double().numpy()), atol=1e-4)
    classifier = RidgeClassifier(alpha=3.0).fit(x[:300].double().numpy(), y[:300].numpy())
    found = head.predict(head(features(x[300:])), None)
    assert found.tolist() == classifier.predict(x[300:].double().numpy()).tolist()


def test_ridge_of_numbers_is_scikit_learns_in_any_unit(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    target = 300 + 50 * y.float()
    head = fitted(Ridge(Flat(), PRICE, penalty=2.0), x[:300], target[:300])
    oracle = SklearnRidge(alpha=2.0).fit(x[:300].double().numpy(), target[:300].double().numpy())
    np.testing.assert_allclose(
        head(features(x[300:]))[:, 0].numpy(), oracle.predict(x[300:].double().numpy()), rtol=1e-4
    )


def test_lda_is_scikit_learns(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    head = fitted(LDA(Flat(), task(10), shrinkage=0.2), x[:300], y[:300])
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2).fit(x[:300].double().numpy(), y[:300].numpy())
    expected = oracle.predict_proba(x[300:].double().numpy())
    np.testing.assert_allclose(head(features(x[300:])).softmax(1).numpy(), expected, atol=1e-4)


def test_logistic_is_scikit_learns(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    head = fitted(Logistic(Flat(), task(10), penalty=0.5), x[:300], y[:300])
    oracle = LogisticRegression(C=2.0, tol=1e-8, max_iter=10000)
    oracle.fit(x[:300].double().numpy(), y[:300].numpy())
    np.testing.assert_allclose(head.output.weight.numpy(), oracle.coef_, atol=1e-3)
    expected = oracle.predict_proba(x[300:].double().numpy())
    np.testing.assert_allclose(head(features(x[300:])).softmax(1).numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_knn_is_scikit_learns(metric: str, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    head = fitted(KNN(Flat(), task(10), neighbours=7, metric=metric), x[:300], y[:300])  # type: ignore[arg-type]
    oracle = KNeighborsClassifier(7, metric=metric).fit(x[:300].numpy(), y[:300].numpy())
    shares = head(features(x[300:])).exp().numpy()
    np.testing.assert_allclose(shares, oracle.predict_proba(x[300:].numpy()), atol=1e-5)
    numbers = fitted(KNN(Flat(), PRICE, neighbours=7, metric=metric), x[:300], y[:300].float())  # type: ignore[arg-type]
    regressor = KNeighborsRegressor(7, metric=metric).fit(x[:300].numpy(), y[:300].numpy())
    found = numbers(features(x[300:]))[:, 0].numpy()
    np.testing.assert_allclose(found, regressor.predict(x[300:].numpy()), atol=1e-4)


def test_votes_are_weighed_by_the_cosine() -> None:
    """exp(cos / τ) by hand: two rows of class 0 at cos 0.6, one of class 1 at cos 1."""
    x = torch.zeros(3, 64)
    x[:, 0], x[:2, 1] = torch.tensor([0.6, 0.6, 1.0]), 0.8
    head = fitted(KNN(Flat(), task(2), neighbours=3, metric="cosine", temperature=0.5), x, torch.tensor([0, 0, 1]))
    query = torch.zeros(1, 64)
    query[0, 0] = 2.0
    weights = np.exp(np.array([2 * 0.6, 2 * 1.0])) * [2, 1]
    np.testing.assert_allclose(head(features(query)).exp().numpy()[0], weights / weights.sum(), rtol=1e-5)


@pytest.mark.parametrize("make", HEADS)
def test_in_stages_is_at_once(make: Any, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:400], digits[1][:400]
    whole, staged = fitted(make(Flat(), task(10)), x, y), make(Flat(), task(5))
    fitted(staged, x[y < 5], y[y < 5])
    early = staged(features(x[:50]))
    staged.grow(task(10))
    torch.testing.assert_close(staged(features(x[:50]))[:, :5], early, rtol=1e-5, atol=1e-5)
    assert int(staged(features(x)).argmax(1).max()) < 5, "a class is predicted that no row has been seen of"
    staged.fit([(features(x[y >= 5]), y[y >= 5])])
    found, expected = (head(features(digits[0][400:])).softmax(1) for head in (staged, whole))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", HEADS)
def test_unlabelled_rows_do_not_count(make: Any, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:200], digits[1][:200]
    hidden = torch.where(torch.arange(200) < 100, y, IGNORE)
    some, half = fitted(make(Flat(), task(10)), x, hidden), fitted(make(Flat(), task(10)), x[:100], y[:100])
    torch.testing.assert_close(some(features(x)), half(features(x)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", HEADS)
def test_a_checkpoint_brings_it_back(make: Any, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:150], digits[1][:150]

    def model() -> Model:
        found = Model(Flat())
        found.add_head(task(10), make(Flat(), task(10)))
        return found

    first, second = model(), model()
    fitted(first.head("digit"), x, y)
    load_model(second, first.state_dict())
    assert torch.equal(second.head("digit")(features(x)), first.head("digit")(features(x)))


@pytest.mark.parametrize("make", [Ridge, LDA])
def test_memory_does_not_grow_with_the_rows(make: type[Head], digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    sizes = [
        sum(t.nbytes for t in fitted(make(Flat(), task(10)), x[:n], y[:n]).state_dict().values()) for n in (100, 1000)
    ]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("make", [KNN, Logistic])
def test_more_rows_than_may_be_kept_are_refused_before_training(make: Any, digits: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ConfigError, match=r"most_rows: 50: .*at least 100.*ridge"):
        make(Flat(), task(10), most_rows=50).prepare(digits[1][:100])


@pytest.mark.parametrize(
    ("make", "arguments", "key"),
    [
        (Ridge, {"penalty": 0.0}, "penalty"),
        (Logistic, {"penalty": -1.0}, "penalty"),
        (LDA, {"shrinkage": 0.0}, "shrinkage"),
        (LDA, {"shrinkage": 1.1}, "shrinkage"),
        (KNN, {"neighbours": 0}, "neighbours"),
        (KNN, {"metric": "cosin"}, "metric"),
        (KNN, {"metric": "cosine", "temperature": 0.0}, "temperature"),
        (KNN, {"temperature": 0.07}, "temperature"),
        (KNN, {"most_rows": 0}, "most_rows"),
    ],
)
def test_values_out_of_range_are_refused_by_key(make: Any, arguments: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(Flat(), task(3), **arguments)
    assert [problem.key for problem in caught.value.problems] == [key]
