"""Stores to make pages of: a real one, and records written by hand."""

import contextlib
import io
import json
from pathlib import Path

import pytest

from tlresearch.commands.main import main
from tlresearch.results.comparison import compare
from tlresearch.results.page.gather import gather
from tlresearch.results.page.write import page
from tlresearch.results.report import rows

QUICK = ("backbone=mlp", "backbone.width=16", "epochs=2", "accelerator=cpu", "progress=false")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A store of eight short runs: digits with 5 labels a class and all, split over three stages, two domains."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.chdir(folder)
        assert main(["train", "-m", *QUICK, "dataset.labels_per_class=5,null", "seed=0,1"]) == 0
        split = ["dataset=split", "dataset.scenario=class_incremental", "dataset.stages=3"]
        assert main(["train", "-m", *QUICK, *split, "seed=0,1"]) == 0
        assert main(["train", "-m", *QUICK, "dataset=rotated", "dataset.target=[45]", "seed=0,1"]) == 0
    return folder / "runs"


@pytest.fixture
def add(tmp_path):
    """add(0.5, method="lora", seed=1): a finished run in the store tmp_path/"runs", written by hand; its folder."""
    numbers = iter(range(10_000))

    def call(value, *, metric="test.accuracy", method="finetune", seed=0, status="done", history=(), **record):
        name = f"{next(numbers):016x}"
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        split, _, headline = metric.partition(".")
        config = {
            "seed": seed, "backbone": {"name": "mlp", "weights": "none"}, "head": {"name": "linear"},
            "method": {method: {}}, "dataset": {"name": "digits", "labels_per_class": None, "sample_seed": seed},
        }  # fmt: skip
        written = {
            "schema": 2, "identity": name, "status": status, "metric": metric, "weights": "none",
            "config": {**config, **record.pop("config", {})}, "overrides": [f"method=[{method}]", f"seed={seed}"],
            "metrics": {split: {headline: value}} if status == "done" else {}, "data": {"fingerprint": "d"},
            "cost": {"seconds_train": 1.0 + seed, "parameters_trainable": 100}, "error": None,
            "selection": {"rule": "validation", "oracle": False},
        }  # fmt: skip
        written["metrics"] |= record.pop("metrics", {})
        (folder / "run.json").write_text(json.dumps({**written, **record}))
        if history:
            (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history))
        return folder

    return call


def _comparisons(found):
    metrics = list(dict.fromkeys(r["metric"] for r in found)) or ["test.accuracy"]
    return [compare([r for r in found if r["metric"] == metric], metric=metric) for metric in metrics]


@pytest.fixture(scope="session")
def gathered():
    """gathered(store) → the page's data."""

    def call(store: Path):
        found = rows([store])
        return gather(_comparisons(found), found)

    return call


@pytest.fixture(scope="session")
def document():
    """document(store) → the page."""

    def call(store: Path) -> str:
        found = rows([store])
        return page(_comparisons(found), found)

    return call
