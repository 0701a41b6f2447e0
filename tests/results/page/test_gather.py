"""What the page shows of real runs, recomputed from their records and kept answers by other means."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy import stats
from sklearn.metrics import confusion_matrix

from tlresearch.core.types import Task
from tlresearch.results.details import Details
from tlresearch.results.page.confusion import CLASSES, _matrix
from tlresearch.results.page.gather import GROUPS, gather
from tlresearch.results.page.parts import DOMAINS, domains
from tlresearch.results.page.write import page


def record(run):
    return json.loads((run / "run.json").read_text())


@pytest.fixture
def data(trained, gathered, monkeypatch):
    monkeypatch.chdir(trained.parent)
    return gathered(trained)


def runs_of(trained, data, dataset):
    """Number in the page and folder of each run on a data set."""
    folders = [trained.parent / run["folder"] for run in data["runs"]]
    return [(i, f) for i, f in enumerate(folders) if record(f)["config"]["dataset"]["name"] == dataset]


def test_groups_refer_to_their_runs(trained, data):
    (comparison,) = data["comparisons"]
    assert sum(group["n"] for group in comparison["groups"]) == len(data["runs"]) == 8
    for group in comparison["groups"]:
        values = [data["runs"][number]["values"][0] for number in group["runs"]]
        assert group["mean"] == pytest.approx(np.mean(values)) and len(values) == group["n"] == 2
        low, high = stats.t.interval(0.95, 1, np.mean(values), stats.sem(values))
        assert group["interval"] == pytest.approx([low, high])
    digits = [group for group in comparison["groups"] if group["cells"]["dataset"] == "digits"]
    assert {group["labels"] for group in digits} == {5, "all"}
    assert len({group["line"] for group in digits}) == 1, "a line joins what differs in its labels alone"


def test_new_and_old_classes_are_those_of_the_kept_answers(trained, data):
    runs = runs_of(trained, data, "split")
    assert len(runs) == 2
    for number, folder in runs:
        stages = data["stages"][str(number)]
        answers = load_file(folder / "logits.safetensors")
        names = [stage["name"] for stage in record(folder)["data"]["stages"]]
        right = {}
        for name in names:
            columns = {key.rpartition("/")[2]: value for key, value in answers.items() if key.startswith(f"{name}/")}
            right[name] = columns["logits"].argmax(1) == columns["y"]
        assert stages["new"][-1] == pytest.approx(right[names[-1]].mean(), abs=1e-5)
        assert stages["old"][-1] == pytest.approx(np.concatenate([right[name] for name in names[:-1]]).mean(), abs=1e-5)
        assert stages["matrix"][-1] == pytest.approx([right[name].mean() for name in names], abs=1e-5)
        assert [len(row) for row in stages["matrix"]] == [1, 2, 3]
        assert stages["old"][0] is None, "there is nothing old before the first stage"


def test_confusions_are_those_of_the_kept_answers(trained, data):
    for number, folder in runs_of(trained, data, "digits"):
        (matrix,) = data["confusions"][str(number)]
        answers = {key.rpartition("/")[2]: v for key, v in load_file(folder / "logits.safetensors").items()}
        oracle = confusion_matrix(answers["y"], answers["logits"].argmax(1), labels=range(10))
        assert matrix["counts"] == oracle.tolist() and matrix["classes"] == 10


def test_domains_name_the_worst(trained, data):
    (group,) = [g for g in data["comparisons"][0]["groups"] if g["cells"]["dataset"] == "rotated"]
    found = [record(folder)["metrics"]["domain"] for _, folder in runs_of(trained, data, "rotated")]
    means = {name: np.mean([values[name]["accuracy"] for values in found]) for name in found[0]}
    shown = group["domains"]["domains"]
    assert [one["name"] for one in shown] == sorted(means, key=means.get)
    for one in shown:
        values = [of_run[one["name"]]["accuracy"] for of_run in found]
        low, high = stats.t.interval(0.95, 1, np.mean(values), stats.sem(values))
        assert one["mean"] == pytest.approx(means[one["name"]], abs=1e-5)
        assert one["half"] == pytest.approx((high - low) / 2, rel=1e-4)


def test_of_an_error_the_highest_domain_is_the_worst():
    members = [{"metrics": {"domain": {f"d{i}": {"rmse": float(i), "rows": 1} for i in range(DOMAINS + 5)}}}]
    found = domains(members, "test.rmse", "lower")
    assert [one["mean"] for one in found["domains"][:2]] == [DOMAINS + 4.0, DOMAINS + 3.0]
    assert found["of"] == DOMAINS + 5 and len(found["domains"]) == DOMAINS


def test_of_many_classes_the_worst_are_shown_and_no_row_is_lost():
    import torch

    c = CLASSES + 6
    y = torch.arange(c).repeat(10)
    predicted = y.clone()
    predicted[: c * 5 : 7] = (y[: c * 5 : 7] + 1) % c
    part = torch.zeros_like(y)
    task = Task("t", "classification", tuple(f"c{i}" for i in range(c)))
    view = Details(task, y, predicted, part.double(), part, part)
    matrix = _matrix(view)
    assert matrix["classes"] == c and len(matrix["labels"]) == len(matrix["counts"]) == CLASSES
    assert [sum(row) for row in matrix["counts"]] == matrix["rows"] == [10] * CLASSES
    shown = set(matrix["labels"])
    left_out = [n["f1"] for label, n in zip(task.labels, view.classes(), strict=True) if label not in shown]
    assert max(matrix["f1"]) <= min(left_out) + 1e-4


def test_runs_without_history_answers_or_numbers(add, tmp_path, gathered):
    add(0.5)
    add(float("nan"), method="lora")
    add(None, method="ewc", status="failed", error="out of memory")
    (tmp_path / "runs" / f"{0:016x}" / "logits.safetensors").write_bytes(b"cut off")
    (tmp_path / "runs" / f"{0:016x}" / "history.jsonl").write_bytes(b'{"step": 1, "train/lo')
    data = gathered(tmp_path / "runs")
    assert data["curves"] == data["confusions"] == data["stages"] == {}
    (comparison,) = data["comparisons"]
    assert [group["mean"] for group in comparison["groups"]] == [0.5]
    assert comparison["groups"][0]["interval"] is None, "no interval of one run"
    assert [(run["status"], run["error"]) for run in comparison["not_done"]] == [("failed", "out of memory")]


def test_a_store_of_any_size_makes_a_page_of_a_few_megabytes():
    long = "x" * 5000
    groups, rows = [], []
    for i in range(GROUPS + 500):
        names = [f"{i}-{seed}" for seed in range(3)]
        groups.append(
            {
                "name": f"{long}{i}", "cells": {"method": f"{i}{long}", "dataset": long}, "identities": names, "n": 3,
                "mean": i / 10_000, "interval": [0, 1], "selection": long,
                "cost": {f"cost_{k}": 0.1 for k in range(12)},
            }
        )  # fmt: skip
        rows += [
            {
                "identity": name, "folder": f"{long[:200]}/{name}", "status": "done", "stale": False, "seed": 0,
                "metrics": {"test": {"accuracy": 0.5}}, "cost": {}, "overrides": [long], "labels_per_class": None,
            } for name in names
        ]  # fmt: skip
    comparison = {"metric": "test.accuracy", "better": "higher", "by": ["method"], "groups": groups, "notes": [long]}
    data = gather([comparison], rows)
    assert len(data["comparisons"][0]["groups"]) == GROUPS
    assert data["comparisons"][0]["groups"][0]["mean"] == (GROUPS + 499) / 10_000, "the best are kept"
    assert data["limits"]["groups"] == GROUPS + 500
    assert len(page([comparison], rows)) < 8_000_000
