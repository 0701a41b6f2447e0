"""What is said of a regression before and after training, by hand."""

import json
import re

import numpy as np
import pytest
import torch

from tlresearch.core.rows import Rows
from tlresearch.core.types import Drawn, Spec, Stage, Stream, Task
from tlresearch.results.curves import draw
from tlresearch.results.description import describe, lines
from tlresearch.results.details import Errors
from tlresearch.results.pictures import write
from tlresearch.results.report import Group, best_first

TASK = Task("price", "regression", (), "rmse")
TRAIN, VALIDATION, TEST = [1.0, 2.0, 3.0, 4.0, -999.0], [2.5, torch.nan], [2.0, 4.0]


@pytest.fixture
def stream():
    texts = iter(["a", "b", "c", "d", "e", "f", "g", "B", "h"])
    parts, start = [], 0
    for values in (TRAIN, VALIDATION, TEST):
        index = torch.arange(start, start + len(values))
        parts.append(Rows([next(texts) for _ in values], {"price": torch.tensor(values)}, index=index))
        start += len(values)
    drawn = Drawn({"test": 0.2, "validation": 0.25}, 3, None, 0, 5)
    return Stream(Spec("text", None, (TASK,)), (Stage("mails", (TASK,), *parts, drawn=drawn),))


def test_range_mean_and_quantiles_of_every_set(stream):
    found = json.loads(json.dumps(describe(stream)))
    train = found["targets"]["price"]["train"]
    assert (train["rows"], train["minimum"], train["median"], train["maximum"]) == (5, -999.0, 2.0, 4.0)
    assert train["mean"] == pytest.approx(np.mean(TRAIN)) and train["deviation"] == pytest.approx(np.std(TRAIN))
    assert train["percentile_25"] == 1.0 and train["percentile_75"] == 3.0
    assert found["targets"]["price"]["validation"]["rows"] == 1, "one of the two has no target"
    guess = np.sqrt(np.mean((np.array(TEST) - np.mean(TRAIN)) ** 2))
    assert found["targets"]["price"]["test"]["rmse_of_mean"] == pytest.approx(guess)
    assert found["labels"] == {} and found["stages"][0]["labels"] == {}


def test_it_is_said_in_one_line_without_classes(stream):
    said = lines(describe(stream))
    assert said[1].endswith("split off: test 20 % and validation 25 % at random (split_seed=3)")
    assert said[2] == (
        "target      price; train rows: -999 to 4, half of them 1 to 3, mean -197.8, standard deviation 400.6; "
        "always guessing the mean has test.rmse 200.8025"
    )
    assert not any(line.startswith("classes") for line in said)


def test_far_targets_and_equal_texts_with_other_targets_are_suspicious(stream):
    found = {f["kind"]: (f["count"], f["examples"]) for f in describe(stream)["suspicious"]}
    assert found["far_targets"] == (1, ["train 4: -999"])
    assert found["test_in_train"] == (1, ["test 7 'B' = train 1"])
    assert "several_labels" not in found, "the same text with the same target"
    stream.stages[0].test.labels["price"][0] = 2.25
    found = {f["kind"]: f["count"] for f in describe(stream)["suspicious"]}
    assert found["several_labels"] == 1


def errors(stream):
    index = torch.tensor([7, 8])
    return Errors(TASK, torch.tensor(TEST), torch.tensor([2.5, 1.0]), index, torch.zeros_like(index))


def test_the_largest_errors_come_first_with_their_inputs(stream):
    first, second = errors(stream).mistakes(stream)
    assert (first.index, first.true, first.predicted, first.error, first.text) == (8, 4.0, 1.0, -3.0, "h")
    assert (second.index, second.error, second.text) == (7, 0.5, "B")
    assert errors(stream).mistakes(None, most=1)[0].input is None
    (table,) = errors(stream).tables([first, second], " of price")
    assert table.title == "the 2 largest errors of price"
    assert table.body == [["4", "1", "-3", "h"], ["2", "2.5", "0.5", "B"]]


def test_the_picture_and_the_list(stream, tmp_path):
    view = errors(stream)
    files = write(tmp_path, view, view.mistakes(stream), stream, "")
    assert [file.name for file in files] == ["predicted.png", "predicted.svg", "mistakes.jsonl"]
    group = re.search(r'<g id="PathCollection_1">.*?</defs>(.*?)</g>\s*</g>', files[1].read_text(), re.DOTALL)
    assert group and group[1].count("<use ") == 2, "a point a row"
    listed = [json.loads(line) for line in files[2].read_text().splitlines()]
    assert listed[0] == {"index": 8, "true": 4.0, "predicted": 1.0, "error": -3.0, "input": "h"}


def test_many_points_are_drawn_too(tmp_path):
    y = torch.randn(1500, generator=torch.Generator().manual_seed(0))
    view = Errors(TASK, y, y + 0.1, torch.arange(1500), torch.zeros(1500, dtype=torch.int64))
    svg = view.draw(tmp_path, "-price")[1]
    assert svg.name == "predicted-price.svg" and svg.stat().st_size < 200_000, "as one image, not as 1,500 paths"


def group(mean, method):
    row = {
        "method": [method], "labels_per_class": None, "weights": "none", "head": "linear", "dataset": "mails",
        "model": None, "backbone": "mlp", "predictor": None, "cost": {"seconds_train": 2.0},
    }  # fmt: skip
    return Group([row], 3, mean, 0.1)


def test_the_lowest_error_is_the_best(tmp_path):
    groups = [group(3.0, "ewc"), group(1.0, "lora"), group(2.0, "probe")]
    assert [g.mean for g in best_first(groups, "test.rmse")] == [1.0, 2.0, 3.0]
    assert [g.mean for g in best_first(groups, "test.r2")] == [3.0, 2.0, 1.0]
    _, svg = draw(groups, "test.rmse", tmp_path / "rmse")
    text = svg.read_text()
    assert text.index("<!-- lora -->") < text.index("<!-- probe -->") < text.index("<!-- ewc -->"), "the legend's order"
