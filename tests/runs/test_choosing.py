"""Hyper-parameters chosen among runs of the real command."""

import json

import pytest
import torch

from tlresearch.commands.main import main
from tlresearch.training.assemble import build_stream


def test_seeds_of_real_runs_meet_in_one_group(train, capfd):
    """Also where half of them were made under a budget, and where each seed draws rows of its own."""
    sweep = ("-m", "optimizer.lr=0.1,0.001", "steps=5")
    for labels in ("null", "5"):
        train(*sweep, "seed=0", f"dataset.labels_per_class={labels}", "budget.seconds=1000")
        train(*sweep, "seed=1", f"dataset.labels_per_class={labels}", "progress=true")
    capfd.readouterr()
    asked = ["report", "--select", "validation.accuracy", "--over", "optimizer.lr", "--format", "json"]
    assert main(asked) == 0
    found = {choice["labels_per_class"]: choice for choice in json.loads(capfd.readouterr().out)}
    assert found.keys() == {None, 5}
    assert {(c["tried"], c["runs"], c["n"], tuple(c["seeds"])) for c in found.values()} == {(2, 4, 2, ("0", "1"))}


def test_settings_of_a_stream_are_chosen_on_the_validation_rows_of_all_its_stages(train, capfd):
    """By the weights that a run ends with, cut or not: the last stage's rows alone would praise forgetting."""
    stream = ("dataset=split", "dataset.stages=2", "dataset.scenario=class_incremental", "steps=20")
    for overrides in ((), ("method=[probe]", "backbone=convnet", "backbone.random_crop=0", "cache.features=always")):
        for rate in ("optimizer.lr=0.01", "optimizer.lr=1e-9"):
            run = train(*stream, *overrides, rate).run
            right = total = 0
            for stage in build_stream(run.config).stages:
                preprocess, rows = run.model.backbone.preprocess("test"), stage.validation
                batch = run.model.backbone.collate([preprocess(rows[i]) for i in range(len(rows))])
                with torch.no_grad():
                    found = run.model.eval()(batch.x).logits["digit"]
                right, total = right + int((found.argmax(-1) == rows.labels["digit"]).sum()), total + len(rows)
            validation = run.metrics["validation"]
            assert validation["all_stages"]["accuracy"] == pytest.approx(right / total)
            assert validation["all_stages"] != {"accuracy": validation["accuracy"]}
    capfd.readouterr()
    asked = ["report", "--select", "validation.all_stages.accuracy", "--over", "optimizer.lr"]
    assert main(asked) == 0
    assert "optimizer.lr chosen by validation.all_stages.accuracy (maximised)" in capfd.readouterr().out
