"""Optuna's sweeper over the store: it optimises a validation metric, and finds done what it has tried before."""

from pathlib import Path

import pytest
import yaml

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs pip install hydra-optuna-sweeper")

STUDY = (
    "-m",
    "hydra/sweeper=optuna",
    "hydra.sweeper.sampler.seed=3",
    "hydra.sweeper.direction=maximize",
    "hydra.sweeper.n_jobs=1",
    "hydra.sweep.dir=study",
    "steps=10",
)
RATES = "optimizer.lr=tag(log,interval(0.0003,0.3))"

BOOM = """
    from tlresearch import Method, register

    @register("method", "boom")
    class Boom(Method):
        def loss(self, model, batch, out, clock):
            raise ZeroDivisionError("the sky fell")
"""


@pytest.fixture(autouse=True)
def silence():
    """Optuna's own handler writes to what was stderr when its first study began, here that of another test."""
    from optuna import logging

    logging.disable_default_handler()
    yield
    logging.enable_default_handler()


def best():
    return yaml.safe_load(Path("study/optimization_results.yaml").read_text())


def test_a_study_optimises_validation_and_a_second_one_trains_nothing(train, folder):
    study = (*STUDY, RATES, "hydra.sweeper.n_trials=6")
    first = train(*study)
    assert first.code == 0, first.err
    assert len({run.identity for run in first.runs}) == 6
    winner = max(first.runs, key=lambda run: run.metrics["validation"]["accuracy"])
    assert best()["best_value"] == winner.metrics["validation"]["accuracy"]
    assert best()["best_params"] == {"optimizer.lr": winner.config["optimizer"]["lr"]}
    before = {file: file.stat().st_mtime_ns for file in folder.glob("runs/*/*")}
    second = train(*study)
    assert second.code == 0
    assert [run.identity for run in second.runs] == [run.identity for run in first.runs]
    assert second.err.count("already done: ") == 6
    assert {file: file.stat().st_mtime_ns for file in folder.glob("runs/*/*")} == before


def test_the_objective_may_be_another_validation_metric(train):
    result = train(
        *STUDY, RATES, "hydra.sweeper.n_trials=3", "hydra.sweeper.direction=minimize", "objective=validation.loss"
    )
    assert best()["best_value"] == min(run.metrics["validation"]["loss"] for run in result.runs)
    again = train(*STUDY, RATES, "hydra.sweeper.n_trials=3", "hydra.sweeper.direction=minimize")
    assert {run.identity for run in again.runs} & {run.identity for run in result.runs}, "it is not in the identity"


def test_a_failing_trial_does_not_end_the_study(train, plugin):
    plugin("boom.py", BOOM)
    result = train(*STUDY, "method=choice([boom],[])", "hydra.sweeper.n_trials=6", "hydra.sweeper.sampler.seed=1")
    assert result.code == 1
    assert "ZeroDivisionError: the sky fell" in result.err
    assert result.runs and best()["best_params"] == {"method": "[]"}


def test_a_study_of_failures_alone_tells_them_and_nothing_else(train):
    result = train(*STUDY, "optimizer.lr=choice(-1,-2)", "hydra.sweeper.n_trials=2")
    assert result.code == 2
    assert result.err.count("must be a number above 0") == 2
    assert "Traceback" not in result.err
    assert result.err.splitlines()[-1] == "2 runs: 2 refused (1, 2)", "twice the same"


def test_a_budget_ends_the_study(train, folder):
    result = train(*STUDY, RATES, "hydra.sweeper.n_trials=5", "budget.seconds=1e-6")
    assert result.code == 0
    assert result.err.splitlines()[-1] == "5 runs: 5 not started; the same command with a new budget goes on"
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("test.accuracy", "objective: 'test.accuracy': must be a metric of the validation rows"),
        ("validation.acc", "objective: 'validation.acc': unknown; did you mean 'validation.accuracy'?"),
    ],
)
def test_an_objective_on_test_rows_or_unknown_is_refused(refused, name, message):
    assert refused(f"objective={name}").startswith(message)
