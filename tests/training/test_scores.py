"""Numbers of a run over several stages, by hand."""

import pytest
import torch
from sklearn.metrics import f1_score

from tlresearch.core.types import Spec, Stage, Stream, Task
from tlresearch.training.evaluate import Predictions, metrics
from tlresearch.training.scores import stage_row, summarise
from tlresearch.training.trainer import Position

TASK = Task("label", "classification", ("a", "b"))


def predictions(predicted, y, domain=0):
    predicted, y = torch.tensor(predicted), torch.tensor(y)
    logits = torch.nn.functional.one_hot(predicted, 3).float()
    return Predictions(
        logits, y, predicted, torch.full((len(y),), 0.5), torch.full_like(y, domain), torch.arange(len(y))
    )


def test_macro_f1_is_scikit_learns():
    found = predictions([0, 1, 2, 2, 1, 0, 0], [0, 1, 1, 2, 2, 0, 1])
    values = metrics(found)
    assert values["macro_f1"] == pytest.approx(f1_score(found.y, found.predicted, average="macro"), abs=1e-6)
    assert values["accuracy"] == pytest.approx(4 / 7, abs=1e-6)
    assert values["loss"] == 0.5


def test_a_rank_without_rows_takes_part_in_the_gathering(monkeypatch):
    from tlresearch.training import evaluate

    columns = list(predictions([1, 0, 1], [1, 1, 1])._replace(index=torch.tensor([4, 0, 2])))
    monkeypatch.setattr(evaluate, "gather", lambda own: [own, {}, {"label": [c[:1] for c in columns]}])
    found = evaluate._ordered(evaluate._gathered({"label": columns})["label"])
    assert found.index.tolist() == [0, 2, 4, 4] and found.predicted.tolist() == [0, 1, 1, 1]


def test_forgetting_domains_and_pooling_by_hand():
    stages = tuple(Stage(name, (TASK,), None, None, None) for name in ("one", "two", "three"))
    stream = Stream(Spec("vector", (4,), (TASK,), ("one", "two", "three")), stages)
    right = lambda n, k, domain: {"label": predictions([1] * k + [0] * (n - k), [1] * n, domain)}  # noqa: E731
    after = [
        {0: right(4, 4, 0)},
        {0: right(4, 2, 0), 1: right(2, 2, 1)},
        {0: right(4, 3, 0), 1: right(2, 0, 1), 2: right(4, 4, 2)},
    ]
    history = [{"accuracy": 0.1}, {"accuracy": 0.9}]
    finished = [
        stage_row(s, Position(i, 9, 9, history), 1, a) for i, (s, a) in enumerate(zip(stages, after, strict=True))
    ]
    result = summarise(stream, finished, after[-1], after[1])
    found = result["metrics"]
    assert found["test"]["accuracy"] == pytest.approx(7 / 10) and found["test"]["rows"] == 10
    assert [row["test_accuracy"] for row in result["stages"]] == [[1.0], [0.5, 1.0], [0.75, 0.0, 1.0]]
    assert found["stage"]["1"]["accuracy"] == 0.0 and found["domain"]["three"] == {"accuracy": 1.0, "rows": 4}
    assert found["worst_domain"] == {"accuracy": 0.0}
    assert found["forgetting"] == pytest.approx(((1.0 - 0.75) + (1.0 - 0.0)) / 2)
    assert found["validation"] == {"accuracy": 0.9, "all_stages": {"accuracy": pytest.approx(4 / 6)}}


def test_a_regression_over_stages_and_domains_by_hand():
    task = Task("size", "regression", (), "rmse")
    stages = tuple(Stage(name, (task,), None, None, None) for name in ("one", "two"))
    stream = Stream(Spec("vector", (4,), (task,), ("north", "south")), stages)

    def found(errors, domain):
        y = torch.tensor([1.0, 2.0])
        answers = y + torch.tensor(errors)
        numbers = torch.full((2,), domain), torch.arange(2)
        return {"size": Predictions(answers.unsqueeze(1), y, answers, torch.tensor(errors) ** 2, *numbers)}

    after = [{0: found([1.0, -1.0], 0)}, {0: found([3.0, 3.0], 0), 1: found([0.0, 4.0], 1)}]
    history = [{"rmse": 0.5}]
    finished = [
        stage_row(s, Position(i, 9, 9, history), 0, a) for i, (s, a) in enumerate(zip(stages, after, strict=True))
    ]
    result = summarise(stream, finished, after[-1])
    numbers = result["metrics"]
    assert numbers["test"]["rmse"] == pytest.approx(((9 + 9 + 0 + 16) / 4) ** 0.5) and numbers["test"]["rows"] == 4
    assert [row["test_rmse"] for row in result["stages"]] == [[1.0], pytest.approx([3.0, 8**0.5])]
    assert numbers["domain"] == {"north": {"rmse": 3.0, "rows": 2}, "south": {"rmse": pytest.approx(8**0.5), "rows": 2}}
    assert numbers["worst_domain"] == {"rmse": 3.0}  # the highest error
    assert numbers["stage"]["1"]["rmse"] == pytest.approx(8**0.5)
    assert numbers["forgetting"] == pytest.approx(3.0 - 1.0)  # the lowest error was the best
    assert "class" not in numbers
