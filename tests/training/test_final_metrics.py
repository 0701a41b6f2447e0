"""The metrics of a finished run against scikit-learn's."""

import json

import pytest
import torch
from sklearn import metrics as sklearn

from tlresearch.core.types import Spec, Stage, Stream, Task
from tlresearch.training.evaluate import Predictions, class_metrics, final_metrics as final
from tlresearch.training.scores import stage_row, summarise
from tlresearch.training.trainer import Position


def predictions(logits, y):
    predicted, zeros = logits.argmax(1), torch.zeros_like(y)
    loss = torch.nn.functional.cross_entropy(logits, y, reduction="none")
    return Predictions(logits, y, predicted, loss, zeros, torch.arange(len(y)))


@pytest.fixture
def drawn():
    """200 rows of 12 classes, of which class 4 does not occur; right about half the time."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(12, (200,), generator=generator)
    y[y == 4] = 5
    logits = torch.randn(200, 12, generator=generator) + 2 * torch.nn.functional.one_hot(y, 12)
    return predictions(logits, y)


def test_a_class_that_does_not_occur_counts_for_nothing(drawn):
    values, probabilities = final(drawn), drawn.logits.double().softmax(1)
    truth = {c: drawn.y == c for c in range(12) if c != 4}
    areas = [sklearn.roc_auc_score(y, probabilities[:, c]) for c, y in truth.items()]
    precisions = [sklearn.average_precision_score(y, probabilities[:, c]) for c, y in truth.items()]
    assert values["roc_auc"] == pytest.approx(sum(areas) / 11, abs=1e-6)
    assert values["average_precision"] == pytest.approx(sum(precisions) / 11, abs=1e-6)


def test_top_5(drawn):
    known = sklearn.top_k_accuracy_score(drawn.y, drawn.logits, k=5, labels=range(12))
    assert final(drawn)["top5_accuracy"] == pytest.approx(known, abs=1e-6)
    assert "top5_accuracy" not in final(predictions(torch.eye(10), torch.arange(10)))


def test_two_classes_have_the_usual_roc_auc():
    scores, y = torch.tensor([0.3, 2.0, -1.0, 0.5, 0.1]), torch.tensor([1, 1, 0, 0, 0])
    found = final(predictions(torch.stack([torch.zeros(5), scores], 1), y))
    assert found["roc_auc"] == pytest.approx(sklearn.roc_auc_score(y, scores)) == pytest.approx(5 / 6)


def test_calibration_by_hand():
    """Three answers of 0.9 of which two are right, one of 0.6 that is right: 3/4 · |2/3 − 0.9| + 1/4 · |1 − 0.6|."""
    p = torch.tensor([0.9, 0.9, 0.9, 0.6])
    found = final(predictions(torch.stack([p, 1 - p], 1).log(), torch.tensor([0, 0, 1, 0])))
    assert found["calibration_error"] == pytest.approx(0.75 * (0.9 - 2 / 3) + 0.25 * 0.4, abs=1e-6)


def test_logits_of_classes_never_seen_give_numbers(drawn):
    """Head `prototype` gives the lowest number there is; a stage with fewer outputs is filled up with −∞."""
    for lowest in (torch.finfo(torch.float32).min, -torch.inf):
        logits = drawn.logits.index_fill(1, torch.tensor([4, 11]), lowest)
        found = final(drawn._replace(logits=logits, predicted=logits.argmax(1)))
        assert all(found[name] == found[name] for name in found)
        assert 0.5 < found["roc_auc"] < 1


def test_numbers_of_each_class_are_scikit_learns(drawn):
    found = class_metrics(drawn.y, drawn.predicted, 12)
    known = sklearn.precision_recall_fscore_support(
        drawn.y, drawn.predicted, labels=range(12), zero_division=float("nan")
    )
    for name, column in zip(("precision", "recall", "f1", "rows"), known, strict=True):
        assert [row[name] for row in found] == pytest.approx(column.tolist(), nan_ok=True), name
    scores = [row["f1"] for row in found if row["f1"] == row["f1"]]
    assert sum(scores) / len(scores) == pytest.approx(final(drawn)["macro_f1"], abs=1e-6)


def record(found, labels):
    task = Task("label", "classification", labels)
    stream = Stream(Spec("vector", (4,), (task,)), (Stage("one", (task,), None, None, None),))
    row = stage_row(stream.stages[0], Position(0, 1, 1, [{"accuracy": 1.0, "loss": float("inf")}]), 0, found)
    return summarise(stream, [row], found)


def test_the_record_holds_null_where_there_is_no_number():
    logits, y = torch.eye(3)[[0, 0, 1]], torch.tensor([0, 0, 0])
    made = record({0: {"label": predictions(logits, y)}}, ("a", "b.c", "d"))
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    numbers = made["metrics"]
    assert numbers["test"]["roc_auc"] is None and numbers["validation"]["loss"] is None
    assert numbers["class"] == {
        "a": {"precision": 1.0, "recall": pytest.approx(2 / 3), "f1": pytest.approx(0.8), "rows": 3},
        "b.c": {"precision": 0.0, "recall": None, "f1": 0.0, "rows": 0},
        "d": {"precision": None, "recall": None, "f1": None, "rows": 0},
    }


def test_more_than_1000_classes_have_no_numbers_of_their_own():
    found = {0: {"label": predictions(torch.eye(1001)[:5], torch.arange(5))}}
    assert "class" not in record(found, tuple(map(str, range(1001))))["metrics"]


def test_several_tasks_are_averaged_by_rows_over_those_that_have_the_number():
    wide, one = predictions(torch.eye(12), torch.arange(12)), predictions(torch.eye(2)[[1, 0]], torch.tensor([0, 0]))
    test = record({0: {"wide": wide, "one": one}}, ("a", "b"))["metrics"]["test"]
    assert test["accuracy"] == pytest.approx((12 * 1.0 + 2 * 0.5) / 14)
    assert test["roc_auc"] == 1.0 and test["top5_accuracy"] == 1.0 and test["one"]["roc_auc"] is None
