"""Stores whose records are written here: every number is known."""

import json

import pytest

from tlresearch.results.comparison import compare
from tlresearch.results.report import rows


@pytest.fixture
def write(tmp_path):
    """write(0.7, seed=1, method=["lora"], …) → the folder of a finished run of the store tmp_path/runs."""
    count = iter(range(100_000))

    def call(
        value=0.5, *, seed=0, method=(), lr=0.01, dataset="digits", labels=None, split=0, weights="x", status="done",
        metrics=None, oracle=False, data="d", error=None, cost=None, options=None, **config,
    ):  # fmt: skip
        name = f"{next(count):016x}"
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        settings = {
            "seed": seed, "steps": 10, "epochs": 5, "batch_size": 32, "init_from": None, "store": str(tmp_path),
            "backbone": {"name": "mlp", "weights": weights, "model": None}, "head": {"name": "linear"},
            "method": {name: {} for name in method} if not isinstance(method, dict) else method,
            "dataset": {
                "name": dataset, "labels_per_class": labels, "sample_seed": seed, "split_seed": split, **(options or {})
            },
            "optimizer": {"name": "adamw", "lr": lr}, "selection": {"name": "validation"}, **config,
        }  # fmt: skip
        measured = {"test": {"accuracy": value}} if metrics is None else metrics
        record = {
            "schema": 2, "identity": name, "status": status, "config": settings, "overrides": [f"seed={seed}"],
            "metrics": measured if status == "done" else {}, "metric": "test.accuracy", "error": error,
            "cost": {"parameters_trainable": 100, "seconds_train": 2.0} if cost is None else cost, "weights": weights,
            "selection": {"rule": "validation", "oracle": oracle}, "data": {"fingerprint": data},
        }  # fmt: skip
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    return call


@pytest.fixture
def compared(tmp_path):
    """compared(by=["method"], …) → the comparison of the store; its groups by their names under "named"."""

    def call(metric="test.accuracy", **arguments):
        found = compare(rows([tmp_path / "runs"]), metric=metric, **arguments)
        json.dumps(found, allow_nan=False)
        return {**found, "named": {g["name"]: g for g in found["groups"]}}

    return call


@pytest.fixture
def report(tmp_path, capsys):
    """report("--by", "method") → exit code, stdout, stderr of the command on the store."""
    from tlresearch.commands.main import main

    def call(*arguments):
        capsys.readouterr()
        code = main(["report", str(tmp_path / "runs"), *arguments])
        return code, *capsys.readouterr()

    return call
