"""The time of runs to come, by the most like ones of their store."""

import json

import pytest

from tlresearch.results.estimate import Estimate, estimate


@pytest.fixture
def config(tmp_path):
    def make(**values):
        base = {
            "store": str(tmp_path), "backbone": {"name": "mlp"}, "method": {"lora": {}}, "head": {"name": "linear"},
            "dataset": {"name": "digits", "labels_per_class": 5}, "epochs": 3,
        }  # fmt: skip
        return {**base, **values}

    return make


@pytest.fixture
def add(tmp_path, config):
    def add(name, seconds, status="done", schema=2, **values):
        folder = tmp_path / name
        folder.mkdir()
        cost = {"seconds_total": seconds}
        record = {"schema": schema, "identity": name, "status": status, "cost": cost, "config": config(**values)}
        (folder / "run.json").write_text(json.dumps(record))

    return add


def test_the_most_like_ones_count(add, config):
    add("a", 10.0)
    add("b", 20.0)
    add("longer", 600.0, epochs=90)
    add("other_method", 1000.0, method={"probe": {}})
    assert estimate([config(), config(seed=7)]) == Estimate(30.0, 2, 0)


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({"epochs": 5}, 10.0),
        ({"head": {"name": "mlp"}}, 10.0),
        ({"method": {"probe": {}}}, 30.0),  # any method on these data
        ({"dataset": {"name": "support"}}, 30.0),
    ],
)
def test_less_alike_ones_where_there_are_no_others(add, config, values, seconds):
    add("a", 10.0)
    add("b", 50.0, method={"ewc": {}})
    assert estimate([config(**values)]).seconds == seconds


def test_what_is_unknown_is_said(add, config):
    add("a", 10.0)
    assert estimate([config(), config(backbone={"name": "convnet"})]) == Estimate(10.0, 1, 1)
    assert estimate([config(store="nowhere")]) == Estimate(0.0, 0, 1)


def test_only_what_is_done_and_can_be_read(add, config):
    add("failed", 10.0, status="failed")
    add("newer", 10.0, schema=99)
    assert estimate([config()]) == Estimate(0.0, 0, 1)
