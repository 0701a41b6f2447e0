import math

import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.core.rows import Rows
from tlresearch.core.types import IGNORE, Stage, Task
from tlresearch.predictors.majority import Majority

TASK = Task("digit", "classification", ("a", "b", "c", "d"))


def stage(labels):
    rows = Rows(torch.zeros(len(labels), 1), {"digit": torch.tensor(labels)})
    return Stage("only", (TASK,), rows, rows, rows)


def test_log_frequencies_of_the_labelled_rows():
    predictor = Majority(TASK)
    predictor.fit(stage([2, 2, 2, 0, IGNORE, IGNORE]))
    result = predictor.predict(stage([IGNORE] * 5).test)
    expected = [math.log(n / 8) for n in (2, 1, 4, 1)]  # four labelled rows, one more for each of four classes
    assert result.shape == (5, 4)
    for row in result:
        assert row.tolist() == pytest.approx(expected, rel=1e-6)


def test_each_fit_starts_anew():
    predictor = Majority(TASK)
    predictor.fit(stage([0, 0, 0]))
    predictor.fit(stage([3]))
    assert predictor.predict(stage([0]).test).argmax(1).tolist() == [3]


def test_other_tasks_are_refused():
    with pytest.raises(ConfigError, match="'tagging'"):
        Majority(TASK._replace(kind="tagging"))
