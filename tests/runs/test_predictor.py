"""A predictor passes the Trainer by and leaves a record like any other run."""

import pytest
import torch

import tlresearch
from tlresearch.config.build import build


def test_majority_scores_the_share_of_the_most_frequent_class(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tlresearch.run(["predictor=majority", "tracker=[]"])
    config = run.config["dataset"]
    (stage,) = build("dataset", config, data_dir=None).stream().stages
    train, test = stage.train.labels["digit"], stage.test.labels["digit"]
    assert run.value == pytest.approx((test == torch.mode(train).values).float().mean().item(), abs=1e-6)
    assert run.metrics["test"]["rows"] == len(test) and run.cost["parameters_total"] == 0
    assert run.status == "done"


def test_over_stages_every_stage_is_scored_after_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    split = ["dataset=split", "dataset.scenario=class_incremental", "dataset.stages=2"]
    run = tlresearch.run(["predictor=majority", "tracker=[]", *split])
    assert [len(row["test_accuracy"]) for row in run.record["stages"]] == [1, 2]
    assert run.metrics["forgetting"] >= 0
