"""Rows: views share inputs, columns travel with their rows, parts join lazily."""

import numpy as np
import pytest
import torch

from tlresearch.core.rows import Rows
from tlresearch.core.types import IGNORE


def table(n: int = 6) -> Rows:
    return Rows([f"text {i}" for i in range(n)], {"label": torch.arange(n) % 3}, domain=torch.arange(n) % 2)


def test_take_of_take_keeps_the_row_together() -> None:
    rows = table().take(torch.tensor([5, 3, 1])).take(torch.tensor([2, 0]))
    assert [row["input"] for row in rows] == ["text 1", "text 5"]
    assert [int(row["labels"]["label"]) for row in rows] == [1, 2]
    assert [row["index"] for row in rows] == [1, 5]
    assert [row["domain"] for row in rows] == [1, 1]


def test_take_copies_no_inputs() -> None:
    rows = table()
    assert rows.take(torch.tensor([0])).inputs is rows.inputs


def test_masked_hides_every_label_and_nothing_else() -> None:
    rows = table()
    masked = rows.masked()
    assert masked.labels["label"].tolist() == [IGNORE] * 6
    assert rows.labels["label"].tolist() == [0, 1, 2, 0, 1, 2]
    assert masked.domain.tolist() == rows.domain.tolist()


@pytest.mark.parametrize("wrap", [list, np.array, lambda texts: torch.arange(len(texts)) * 10])
def test_concatenate_of_different_inputs_reads_each_from_its_own(wrap) -> None:
    first = Rows(wrap(["a", "b", "c"]), {"label": torch.zeros(3)})
    second = Rows(wrap(["d", "e"]), {"label": torch.ones(2)})
    joined = Rows.concatenate([first.take(torch.tensor([2, 0])), second.take(torch.tensor([1]))])
    expected = [first[2]["input"], first[0]["input"], second[1]["input"]]
    assert [row["input"] for row in joined] == expected
    assert joined.labels["label"].tolist() == [0, 0, 1]


def test_concatenate_of_views_of_one_table_stays_a_view() -> None:
    rows = table()
    joined = Rows.concatenate([rows.take(torch.tensor([4])), rows.take(torch.tensor([0, 2]))])
    assert joined.inputs is rows.inputs
    assert [row["input"] for row in joined] == ["text 4", "text 0", "text 2"]


def test_concatenate_ignores_a_task_that_a_part_lacks() -> None:
    rows = table(2)
    joined = Rows.concatenate([rows, rows.with_labels({"other": torch.tensor([7, 8])})])
    assert joined.labels["label"].tolist() == [0, 1, IGNORE, IGNORE]
    assert joined.labels["other"].tolist() == [IGNORE, IGNORE, 7, 8]


def test_a_column_of_another_length_is_refused() -> None:
    with pytest.raises(AssertionError, match="label"):
        Rows(["a", "b"], {"label": torch.tensor([1])})
