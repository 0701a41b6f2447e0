"""Hyper-parameters chosen among runs of the real command."""

import json

from tlresearch.commands.main import main


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
