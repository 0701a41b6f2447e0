import pytest

from tlresearch.config.errors import ConfigError
from tlresearch.selection.last import Last
from tlresearch.selection.validation import Validation

HISTORY = [
    {"accuracy": 0.5, "loss": 0.9},
    {"accuracy": 0.8, "loss": 0.4},
    {"accuracy": 0.8, "loss": 0.3},
    {"accuracy": 0.7, "loss": 0.3},
]


def test_the_best_and_among_equals_the_one_with_the_lowest_loss():
    assert Validation().best(HISTORY) == 2
    assert Validation().best([{"accuracy": h["accuracy"]} for h in HISTORY]) == 1  # no loss: the earliest
    assert Validation(metric="loss", mode="min").best(HISTORY) == 2
    assert Validation(mode="min").best(HISTORY) == 0


@pytest.mark.parametrize("mode", ["max", "min"])
def test_nan_is_never_the_best(mode):
    nan = float("nan")
    assert Validation(mode=mode).best([{"accuracy": nan}, {"accuracy": 0.1}, {"accuracy": nan}]) == 1


def test_last():
    assert Last().best(HISTORY) == 3
    assert Last().best(HISTORY[:1]) == 0


def test_a_metric_that_is_not_there_names_those_that_are():
    with pytest.raises(ConfigError, match=r"'acuracy': unknown; did you mean 'accuracy'\? Allowed: accuracy, loss"):
        Validation(metric="acuracy").best(HISTORY)


@pytest.mark.parametrize("metric", ["loss", "rmse", "price.mae"])
def test_the_highest_error_is_refused(metric):
    with pytest.raises(ConfigError, match=f"mode: 'max': must be min where metric is {metric}"):
        Validation(metric=metric, mode="max")


def test_the_headline_metric_comes_first_and_says_what_is_better():
    """rmse falls, r2 rises, and among equal errors the lowest loss decides."""
    history = [
        {"rmse": 2.0, "r2": 0.1, "loss": 0.4},
        {"rmse": 1.0, "r2": 0.9, "loss": 0.3},
        {"rmse": 1.0, "r2": 0.8, "loss": 0.2},
        {"rmse": 3.0, "r2": 0.2, "loss": 0.1},
    ]
    assert Validation().best(history) == 2
    assert Validation(metric="r2").best(history) == 1
    assert Validation(metric="loss").best(history) == 3


def test_an_unknown_mode():
    with pytest.raises(ConfigError, match="mode: 'maximum'"):
        Validation(mode="maximum")


def test_among_equal_accuracies_the_lowest_loss_decides_then_the_earliest():
    rule = Validation()
    history = [(0.9, 0.3), (0.95, 0.4), (0.95, 0.2), (0.95, 0.2), (0.94, 0.1), (0.95, float("nan"))]
    assert rule.best([{"accuracy": a, "loss": b} for a, b in history]) == 2
