import pytest

from tlresearch.commands.sweep import Pace, Value, duration, summary
from tlresearch.config.budget import Spent


def test_the_rest_is_estimated_by_the_runs_that_worked():
    pace = Pace()
    assert pace.line(0, 10, ["seed=0"]) == "[1/10] seed=0"
    pace.add(0.1, worked=False)  # found done
    assert pace.line(1, 10, ["seed=1"]) == "[2/10] seed=1"
    pace.add(30, worked=True)
    pace.add(50, worked=True)
    assert pace.line(3, 10, []) == "[4/10, about 5 min left]"  # 40 s a run, 7 runs left


def test_nothing_is_estimated_where_other_processes_run_too():
    pace = Pace()
    pace.add(30, worked=True)
    assert pace.line(4, 10, []) == "[5/10]"


def test_a_sweeper_that_does_not_know_how_many_is_not_asked():
    pace = Pace()
    pace.add(30, worked=True)
    assert pace.line(1, None, ["seed=1"]) == "[2] seed=1"


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.4, "4 s"), (89, "89 s"), (100, "2 min"), (3599, "1 h 0 min"), (4800, "1 h 20 min")]
)
def test_durations_are_as_exact_as_an_estimate_deserves(seconds, text):
    assert duration(seconds) == text


def test_the_sum_counts_what_the_budget_stopped_and_what_it_kept_from_starting():
    jobs = [[f"seed={i}"] for i in range(4)]
    results = [Value(0.5), Value(0.5, reused=True), Spent("", started=True), Spent("", started=False)]
    ended = "the same command with a new budget goes on"
    counted = "1 done, 1 found done, 1 stopped by the budget and saved"
    assert summary(jobs, results) == f"4 runs: {counted}, 1 not started; {ended}"
    assert summary(jobs, results, missing=3) == f"7 runs: {counted}, 4 not started; {ended}"
    assert summary(jobs[:1], results[:1]) == "1 run: 1 done"
