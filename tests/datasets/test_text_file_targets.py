"""Tables whose labels are numbers to predict: what is read, and what is refused by file and line."""

import json

import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Task
from tlresearch.datasets.text_file import TextFile

SPELT = {"3": 3.0, " +4.5 ": 4.5, "-.5": -0.5, "2e3": 2000.0, "1.": 1.0, "-1E-2": -0.01, "007": 7.0, "3.0": 3.0}


def stream(path, **options):
    return TextFile(Sampling(), None, path=str(path), label_column="price", kind="regression", **options).stream()


def table(path, cells):
    path.write_text("text,price\n" + "".join(f'film {i},"{cell}"\n' for i, cell in enumerate(cells)))
    return path


def test_numbers_come_back_as_they_are_spelt(tmp_path):
    spec, (stage,) = stream(table(tmp_path / "a.csv", SPELT))
    assert spec.tasks == stage.tasks == (Task("price", "regression", (), "rmse"),)
    rows = sorted((row for part in stage[2:5] for row in part), key=lambda row: row["index"])
    assert torch.stack([row["labels"]["price"] for row in rows]).tolist() == torch.tensor(list(SPELT.values())).tolist()
    assert rows[0]["labels"]["price"].dtype == torch.float32


def test_numbers_of_json_and_sets_that_the_data_bring(tmp_path):
    for name, values in {"train": [1, 2.5, -3e2], "dev": [4], "test": [1e6, 0]}.items():
        rows = [json.dumps({"text": "x", "price": value}) for value in values]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    _, (stage,) = stream(tmp_path)
    assert [part.labels["price"].tolist() for part in stage[2:5]] == [[1.0, 2.5, -300.0], [4.0], [1e6, 0.0]]


def test_numbers_stay_names_of_classes_unless_asked(tmp_path):
    path = table(tmp_path / "a.csv", ["10", "9", "10", "9"] * 3)
    (task,) = TextFile(Sampling(), None, path=str(path), label_column="price").stream().spec.tasks
    assert task == Task("price", "classification", ("9", "10"))


@pytest.mark.parametrize(
    "cell", ["cheap", "3,5", "1 000", "€5", "nan", "inf", "1e39", "0x10", "1_000", "٣", "--1", "1e"]
)
def test_what_is_no_number_is_named_by_file_and_line(tmp_path, cell):
    path = table(tmp_path / "a.csv", ["1", "2", cell, "3", "4", "5", "6"])
    with pytest.raises(ConfigError) as caught:
        stream(path)
    (problem,) = caught.value.problems
    assert problem.key == "label_column"
    assert f"'price': holds {cell!r}, and is no number in 1 row (line 4) of {path}; write numbers" in problem.message


def test_truth_values_of_json_are_no_numbers(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x", "price": 1}\n{"text": "y", "price": true}\n')
    with pytest.raises(ConfigError, match=r"holds 'true', and is no number in 1 row \(line 2\)"):
        stream(tmp_path / "a.jsonl")


def test_an_empty_cell_and_a_column_of_one_number_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"is empty in 1 row \(line 3\); every row needs a value"):
        stream(table(tmp_path / "a.csv", ["1", "", "2"]))
    with pytest.raises(ConfigError, match=r"'price': is 5 in every row"):
        stream(table(tmp_path / "a.csv", ["5", "5.0", "5"]))
