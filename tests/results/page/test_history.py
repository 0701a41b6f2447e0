"""Learning curves from history.jsonl, thinned."""

import json

import pytest

from tlresearch.results.page.history import CURVES, POINTS, curves
from tlresearch.results.page.values import thin


def write(folder, lines):
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    (folder / "history.jsonl").write_text(text)
    return curves(folder)


def test_short_histories_are_whole(tmp_path):
    lines = [{"step": s, "train/loss": 1 / s, "train/task/digit": 1.0, "train/rows_per_second": 9.0} for s in (1, 2, 3)]
    found = write(tmp_path, [*lines, {"step": 3, "validation/accuracy": 0.75}])
    assert list(found) == ["validation/accuracy", "train/loss"]
    assert found["train/loss"] == {"steps": [1, 2, 3], "values": pytest.approx([1, 0.5, 0.333333])}
    assert found["validation/accuracy"] == {"steps": [3], "values": [0.75]}


def test_long_ones_keep_both_ends_and_their_shape(tmp_path):
    lines = []
    for step in range(1, 20_001):
        lines.append({"step": step, "train/loss": float(step)})
        if step % 1000 == 0:
            lines.append({"step": step, "validation/accuracy": step / 20_000})
    found = write(tmp_path, lines)
    assert len(found["validation/accuracy"]["steps"]) == 20, "what is rare is not lost among what is frequent"
    loss = found["train/loss"]
    assert len(loss["steps"]) <= POINTS and loss["steps"] == loss["values"]
    assert (loss["steps"][0], loss["steps"][-1]) == (1, 20_000)
    gaps = [b - a for a, b in zip(loss["steps"], loss["steps"][1:], strict=False)]
    assert max(gaps) < 3 * 20_000 / POINTS


def test_of_a_resumed_run_the_later_lines_count(tmp_path):
    first = [{"step": step, "train/loss": 1.0} for step in (10, 20, 30)]
    second = [{"step": step, "train/loss": 2.0} for step in (15, 25)]
    assert write(tmp_path, [*first, *second])["train/loss"] == {"steps": [10, 15, 25], "values": [1, 2, 2]}


def test_lines_that_are_no_numbers(tmp_path):
    odd = ['{"step": 1, "train/loss": NaN}\n', "[1]\n", "null\n", '{"step": "x", "train/loss": 1}\n', "\x00\n"]
    found = write(tmp_path, [*odd, {"train/loss": 3.0}, {"step": 2, "train/loss": None}, '{"step": 3, "train/'])
    assert found == {"train/loss": {"steps": [1, 2], "values": [None, None]}}
    assert curves(tmp_path / "nowhere") == {}


def test_only_so_many_metrics(tmp_path):
    found = write(tmp_path, [{"step": 1, **{f"validation/m{i}": 0.5 for i in range(50)}, "test/accuracy": 0.5}])
    assert list(found) == [f"validation/m{i}" for i in range(CURVES)]


def test_thin():
    assert thin(range(5), 5) == [0, 1, 2, 3, 4]
    assert thin(range(101), 3) == [0, 50, 100]
