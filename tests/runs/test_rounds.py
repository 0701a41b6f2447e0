"""Sweeps whose best runs go on to a second round, through the real command."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sharing import total

from tlresearch.commands import rounds
from tlresearch.commands.sweep import Value
from tlresearch.config.budget import Spent
from tlresearch.config.errors import ConfigError
from tlresearch.results.runs import Run

TWO_ROUNDS = """
defaults: [config, _self_]
hydra:
  sweeper:
    params: {method: "[],[probe]", optimizer.lr: "1e-9,0.1"}
    over: [optimizer.lr]
    then: {seed: "1,2"}
"""


@pytest.fixture
def sweep(train, folder):
    (folder / "rounds.yaml").write_text(TWO_ROUNDS)
    return lambda *overrides: train("-m", "-cd", ".", "-cn", "rounds", "backbone=mlp", "steps=5", *overrides)


def made():
    """(method, rate, seed) of every run of the store; "" is no method."""
    configs = [json.loads(file.read_text())["config"] for file in Path("runs").glob("*/run.json")]
    return sorted(("".join(c["method"]), c["optimizer"]["lr"], c["seed"]) for c in configs)


@pytest.mark.parametrize("launcher", ["basic", "fused", "joblib"])
def test_the_best_rate_of_each_group_is_run_under_other_seeds(sweep, launcher):
    result = sweep(f"hydra/launcher={launcher}")
    assert result.code == 0, result.err
    assert total(result.err.splitlines()) == "8 runs: 8 done"
    assert made() == [(method, *run) for method in ("", "probe") for run in [(1e-9, 0), (0.1, 0), (0.1, 1), (0.1, 2)]]
    if launcher == "basic":
        assert "[8/8" in result.out
    again = sweep(f"hydra/launcher={launcher}")
    assert total(again.err.splitlines()) == "8 runs: 8 found done"


def test_an_axis_of_the_command_line_takes_the_place_of_the_second_round(sweep):
    assert total(sweep("seed=5").err.splitlines()) == "4 runs: 4 done"


def test_a_dry_run_tells_of_the_second_round(sweep):
    result = sweep("dry_run=true")
    assert result.out.splitlines()[-1] == "then the best of each of 2 groups again with seed=1 or seed=2"
    assert not Path("runs").exists()


def test_a_choice_over_no_axis_is_refused(sweep):
    result = sweep("hydra.sweeper.over=[optimizer.rate]")
    assert result.code == 2
    assert "'optimizer.rate': is no axis of the sweep; did you mean 'optimizer.lr'" in result.err
    assert not Path("runs").exists()


@pytest.fixture
def ended(monkeypatch):
    """ended(accuracy, loss) → the value of a run with these numbers on validation."""
    records = {}

    def load(folder):
        accuracy, loss = records[folder]
        metrics = {"validation": {"accuracy": accuracy, "loss": loss}, "test": {"accuracy": 0.5}}
        return Run(Path(folder), {"metrics": metrics, "metric": "test.accuracy"})

    def make(accuracy, loss=1.0):
        records[str(len(records))] = accuracy, loss
        return Value(0.5, False, str(len(records) - 1))

    monkeypatch.setattr(rounds.Run, "load", load)
    return make


JOBS = [["lr=1", "a=1"], ["lr=2", "a=1"], ["lr=3", "a=1"], ["lr=1", "a=2"], ["lr=2", "a=2"]]


def test_the_best_is_best_on_validation_then_by_its_loss_then_by_order(ended):
    ends = [ended(0.6, 0.3), ended(0.7, 0.9), ended(0.7, 0.8), ended(0.5), ended(0.5)]
    assert rounds.best(JOBS, ends, ["lr"], None) == ([JOBS[2], JOBS[3]], 0)
    assert rounds.best(JOBS, ends, ["lr"], "validation.loss") == ([JOBS[0], JOBS[3]], 0), "losses are minimised"
    assert rounds.best(JOBS, ends, [], None) == (JOBS, 0), "nothing to choose by: all go on"


def test_failed_runs_are_not_chosen_and_nothing_is_chosen_before_all_have_ended(ended):
    ends = [RuntimeError("nan"), ended(0.1), ended(float("nan")), Spent("over", False), ended(0.9)]
    assert rounds.best(JOBS, ends, ["lr"], None) == ([JOBS[1]], 1)
    ends = [RuntimeError("nan")] * 3 + [RuntimeError("nan"), ended(0.2)]
    assert rounds.best(JOBS, ends, ["lr"], None) == ([JOBS[4]], 0)


def test_what_was_run_in_the_first_round_is_not_listed_again():
    jobs = [["lr=1", "seed=0"], ["lr=1", "seed=1"], ["lr=2", "seed=0"]]
    axes = [["seed=1"], ["seed=2"]]
    assert rounds.following(jobs[:2], jobs, axes) == [["lr=1", "seed=2"]]


def test_to_choose_needs_something_to_do_with_it():
    with pytest.raises(ConfigError, match="nothing is done with"):
        rounds.check(JOBS, ["lr"], {})
