"""Every registered optimizer, schedule, selection, tracker and predictor."""

import copy
import math
from pathlib import Path

import torch

from tlresearch import Clock
from tlresearch.core.tracker import RunInfo

from .harness import Kit, equal
from .registered import every


def quadratic(parameters) -> torch.Tensor:
    return sum((p - 1).square().sum() for p in parameters)


def groups(parameters, rates):
    return [{"params": [p], "lr": rate, "initial_lr": rate} for p, rate in zip(parameters, rates, strict=True)]


def step(optimizer, parameters) -> None:
    """As the Trainer takes it: gradients, and a closure for who wants them at a second point."""

    def gradients() -> torch.Tensor:
        optimizer.zero_grad()
        loss = quadratic(parameters)
        loss.backward()
        return loss

    gradients()
    optimizer.step(*([gradients] if getattr(optimizer, "needs_closure", False) else []))


@every("optimizer")
def test_optimizer_goes_down_at_the_rates_of_its_groups(kit: Kit, name: str) -> None:
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(4, 3)), torch.nn.Parameter(torch.randn(5))]
    still = parameters[1].detach().clone()
    optimizer = kit.build("optimizer", name)(groups(parameters, (0.01, 0.0)))
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.0]
    before = quadratic(parameters).item()
    for _ in range(20):
        step(optimizer, parameters)
    assert quadratic(parameters).item() < before
    assert torch.equal(parameters[1], still), "a rate of 0 holds a parameter"


@every("optimizer")
def test_optimizer_goes_on_from_its_state(kit: Kit, name: str) -> None:
    """As the Trainer carries it over: parameter by parameter, tensors and plain values."""
    torch.manual_seed(0)
    start, rates = [torch.randn(4, 3), torch.randn(5)], (0.01, 0.02)
    straight = [torch.nn.Parameter(t.clone()) for t in start]
    make = kit.build("optimizer", name)
    optimizer = make(groups(straight, rates))
    for i in range(6):
        if i == 3:
            resumed = [torch.nn.Parameter(p.detach().clone()) for p in straight]
            again = make(groups(resumed, rates))
            for old, new in zip(straight, resumed, strict=True):
                if old in optimizer.state:
                    values = copy.deepcopy(optimizer.state[old])
                    assert all(isinstance(v, torch.Tensor | int | float | bool | None) for v in values.values())
                    again.state[new] = values
        step(optimizer, straight)
        if i >= 3:
            step(again, resumed)
    assert all(equal(a, b) for a, b in zip(straight, resumed, strict=True))


@every("schedule")
def test_schedule_is_a_finite_factor(kit: Kit, name: str) -> None:
    schedule = kit.build("schedule", name)
    for total in (1, 2, 7, 1000):
        clocks = [Clock(stage, step // 5, step, total, {}) for stage in (0, 1) for step in range(total)]
        factors = [schedule(clock) for clock in clocks]
        assert all(math.isfinite(factor) and factor >= 0 for factor in factors)
        assert max(factors) > 0
        assert factors == [schedule(clock) for clock in clocks], "a function of the clock"
        assert factors[:total] == factors[total:], "every stage has its own"


@every("selection")
def test_selection_picks_an_evaluation(kit: Kit, name: str) -> None:
    rule = kit.build("selection", name)
    values = [0.3, 0.7, math.nan, 0.7, 0.1]
    history = [{"accuracy": v, "macro_f1": v, "loss": 1 - v} for v in values]
    kept = copy.deepcopy(history)
    for length in range(1, len(history) + 1):
        best = rule.best(history[:length])
        assert isinstance(best, int) and 0 <= best < length
        assert best == rule.best(history[:length])
    assert str(history) == str(kept), "it changes nothing"
    assert isinstance(rule.oracle, bool)


@every("tracker")
def test_tracker_takes_numbers_and_goes_on_after_an_interruption(kit: Kit, name: str, tmp_path: Path) -> None:
    run = RunInfo("0123456789abcdef", tmp_path, {"seed": 0, "method": {"lora": {"rank": 8}}, "steps": None})
    for start in (0, 2):
        tracker = kit.build("tracker", name)
        tracker.start(run)
        tracker.log({"train/loss": 0.5, "validation/accuracy": 1.0}, start)
        tracker.log({"train/loss": math.nan, "train/rows_per_second": math.inf}, start + 1)
        tracker.finish()


@every("predictor")
def test_predictor_answers_every_row_without_its_label(kit: Kit, name: str) -> None:
    spec, (stage,) = kit.build("dataset", "contract_texts").stream()
    task = spec.tasks[0]
    answers = []
    for _ in range(2):
        predictor = kit.build("predictor", name, task=task)
        predictor.fit(stage.without_test_labels())
        answers.append(predictor.predict(stage.test.masked()))
    assert answers[0].shape == (len(stage.test), len(task.labels))
    assert answers[0].is_floating_point() and not answers[0].isnan().any()
    assert torch.equal(*answers)
