"""LP-FT by its preset: two runs of the same data and backbone, the second from the first one's head."""

import torch

import tlresearch

SMALL = ("backbone.width=32", "dataset.labels_per_class=10", "epochs=3")


def training_loss(run):
    """The mean cross entropy over the training rows, by torch."""
    from tlresearch.training.assemble import build_stream

    rows = build_stream(run.config).stages[0].train
    model = tlresearch.Run.load(run.folder).model
    x = torch.stack([rows[i]["input"] for i in range(len(rows))])
    with torch.no_grad():
        logits = model(x).logits["digit"]
    return float(torch.nn.functional.cross_entropy(logits, rows.labels["digit"]))


def test_it_ends_no_lower_than_the_probe(train):
    probe, last = train("preset=lp_ft", *SMALL).runs
    assert (probe.config["backbone"], probe.config["dataset"]) == (last.config["backbone"], last.config["dataset"])
    assert [list(run.config["method"]) for run in (probe, last)] == [["probe"], ["finetune"]]
    assert last.config["init_from"] == probe.identity and last.config["pipeline_shared"] == []
    assert training_loss(last) < training_loss(probe)


def test_each_run_is_the_one_made_by_hand(train):
    probe, last = train("preset=lp_ft", *SMALL, "optimizer.lr=0.002").runs
    alone = train(*SMALL, "method=[probe]", "store=hand").run
    assert alone.identity == probe.identity, "the rate is for the second run"
    second = train(*SMALL, "optimizer.lr=0.002", "method=[finetune]", f"init_from={alone.folder}", "store=hand").run
    assert second.identity == last.identity


def test_a_key_to_share_that_is_none(refused):
    assert "did you mean 'dataset'?" in refused("preset=lp_ft", "pipeline_shared=[datset]")
