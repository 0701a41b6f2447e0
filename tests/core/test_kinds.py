"""What a kind of task makes of labels and answers, against scikit-learn, scipy and arithmetic by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as sklearn

from tlresearch.config.errors import ConfigError
from tlresearch.core.batching import collate, join
from tlresearch.core.kinds import KINDS, Classification, Regression, kind_of
from tlresearch.core.labels import blank, labelled
from tlresearch.core.metrics import FALLING, falls
from tlresearch.core.rows import Rows
from tlresearch.core.types import IGNORE, Task
from tlresearch.training.evaluate import Predictions, metrics

NAN = torch.nan


def measured(y, predicted):
    y, predicted = torch.tensor(y), torch.tensor(predicted)
    return Regression.measure(predicted.unsqueeze(1), predicted, y)


@pytest.fixture
def drawn():
    """400 targets far from 0 in float32, some of them equal, and noisy answers."""
    rng = np.random.default_rng(0)
    y = (5000 + 30 * rng.normal(size=400)).round().astype(np.float32)
    return y, (y + 20 * rng.normal(size=400)).astype(np.float32)


def test_errors_are_scikit_learns_and_ranks_scipys(drawn):
    y, predicted = drawn
    found = measured(y, predicted)
    assert list(found) == list(Regression.metrics)
    wide = y.astype(np.float64), predicted.astype(np.float64)
    assert found["rmse"] == pytest.approx(sklearn.root_mean_squared_error(*wide), rel=1e-9)
    assert found["mae"] == pytest.approx(sklearn.mean_absolute_error(*wide), rel=1e-9)
    assert found["r2"] == pytest.approx(sklearn.r2_score(*wide), rel=1e-9)
    assert found["spearman"] == pytest.approx(stats.spearmanr(*wide).statistic, rel=1e-6)
    assert Regression.score(torch.from_numpy(predicted), torch.from_numpy(y)) == pytest.approx(found["rmse"], rel=1e-9)


def test_where_nothing_varies_there_is_no_correlation():
    flat = measured([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    assert flat["rmse"] == pytest.approx(math.sqrt(2 / 3)) and flat["r2"] == 0 and math.isnan(flat["spearman"])
    single = measured([4.0], [1.0])
    assert (single["rmse"], single["mae"]) == (3.0, 3.0) and math.isnan(single["r2"]) and math.isnan(single["spearman"])


def test_an_evaluation_has_the_metrics_and_the_loss():
    y = torch.tensor([1.0, 3.0])
    columns = (y + 1, torch.tensor([0.5, 1.5]), torch.zeros(2), torch.arange(2))
    found = metrics(Predictions((y + 1).unsqueeze(1), y, *columns), Regression)
    assert found["rmse"] == 1.0 and found["loss"] == 1.0 and list(found) == [*Regression.metrics, "loss"]


def test_the_loss_is_the_squared_error_of_the_standardised_target(drawn):
    y, predicted = map(torch.from_numpy, drawn)
    kind = Regression()
    kind.prepare(torch.cat([y, torch.tensor([NAN])]))
    assert kind.mean.item() == pytest.approx(drawn[0].mean(dtype=np.float64), rel=1e-6)
    assert kind.scale.item() == pytest.approx(drawn[0].std(dtype=np.float64), rel=1e-6) == kind.unit
    losses = kind.loss(predicted.unsqueeze(1), y)
    np.testing.assert_allclose(losses, ((drawn[1] - drawn[0]) / drawn[0].std()) ** 2, rtol=1e-3)
    outputs = torch.tensor([[0.0], [1.0]])
    assert kind(outputs)[:, 0].tolist() == pytest.approx([kind.mean.item(), kind.mean.item() + kind.scale.item()])
    assert kind(outputs.bfloat16()).dtype == torch.float32


def test_a_target_without_spread_keeps_its_unit():
    kind = Regression()
    kind.prepare(torch.tensor([7.0, 7.0, NAN]))
    assert (kind.mean.item(), kind.scale.item()) == (7.0, 1.0)
    kind.prepare(torch.tensor([NAN]))
    assert (kind.mean.item(), kind.scale.item()) == (7.0, 1.0), "no label says nothing"


def test_unlabelled_rows_have_no_loss_and_no_gradient():
    logits = torch.tensor([[1.0], [2.0]], requires_grad=True)
    losses = Regression().loss(logits, torch.tensor([NAN, 5.0]))
    losses.sum().backward()
    assert losses.tolist() == [0.0, 9.0] and logits.grad.tolist() == [[0.0], [-6.0]]


def test_what_stands_for_no_label():
    ids, targets, soft = torch.tensor([2, IGNORE]), torch.tensor([-1.0, NAN]), torch.tensor([[0.2, 0.8], [0.0, 0.0]])
    for column in (ids, targets, soft):
        assert labelled(column).tolist() == [True, False]
        assert not labelled(torch.full_like(column, blank(column))).any()


def test_rows_and_batches_without_the_task_are_unlabelled():
    x = torch.zeros(2, 3)
    both = Rows(x, {"size": torch.tensor([0.5, 1.5]), "shape": torch.tensor([1, 0])})
    shape = Rows(x, {"shape": torch.tensor([0, 1])})
    for first, second in ((both, shape), (shape, both)):
        whole = Rows.concatenate([first, second])
        assert whole.labels["size"].dtype == torch.float32 and whole.labels["shape"].dtype == torch.int64
        assert sorted(whole.labels["size"][labelled(whole.labels["size"])].tolist()) == [0.5, 1.5]
        mixed = collate([first[0], second[0]], {})
        joined = join([collate([first[0]], {}), collate([second[0]], {})], {})
        for batch in (mixed, joined):
            assert batch.y["size"].isnan().tolist() == [first is shape, second is shape]
            assert batch.y["size"].dtype == torch.float32
    masked = both.masked()
    assert masked.labels["size"].isnan().all() and (masked.labels["shape"] == IGNORE).all()


def test_every_kind_says_what_it_measures_and_which_way_it_is_better():
    found = [kind_of(Task("t", name, ())) for name in ("classification", "regression")]
    assert found == [Classification, Regression]
    for kind in KINDS.values():
        logits = torch.eye(3)[:, : kind.outputs(Task("t", kind.name, ("a", "b", "c") if kind.classes else ()))]
        answers = kind().predict(logits)
        assert tuple(kind.measure(logits, answers, answers)) == kind.metrics
        assert kind.score(answers, answers) == (0.0 if falls(kind.metrics[0]) else 1.0)
    assert falls("test.rmse") and falls("price.mae") and not falls("test.r2") and "accuracy" not in FALLING


def test_another_kind_is_refused():
    with pytest.raises(ConfigError, match=r"task spans: 'tagging': unknown kind; .*: classification, regression"):
        kind_of(Task("spans", "tagging", ()))
