"""What a launcher of other processes gets of a sweep: what is neither done nor under way, and nothing twice."""

from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus

from hydra_plugins.tlresearch import jobs
from tlresearch.commands.dry_run import Planned
from tlresearch.results.lock import Busy


def returned(value):
    status = JobStatus.FAILED if isinstance(value, Exception) else JobStatus.COMPLETED
    return JobReturn(status=status, _return_value=value)


@pytest.fixture
def sweep(monkeypatch):
    """sweep(states, outcomes) → (values, launches, pauses); each list is what one run's state or end is in turn."""

    def run(states, ends, batch=10):
        launches, pauses = [], []

        class Known(Planned):
            def now(self):
                number = int(self.folder.name)
                state = states[number].pop(0) if len(states[number]) > 1 else states[number][0]
                return Planned(self.folder, {}, state, state in ("to do", "interrupted"))

        def plan(number):
            return None if states[number] is None else Known(Path(str(number)), {}, "", False)

        def launch(numbers, wait):
            launches.append((numbers, wait))
            return [returned(ends[number].pop(0)) for number in numbers]

        monkeypatch.setattr(jobs, "_plan", plan)
        monkeypatch.setattr(jobs, "run_here", lambda host, number: returned(f"{number} told"))
        monkeypatch.setattr(jobs.time, "sleep", pauses.append)
        made = jobs.run_elsewhere(None, len(states), lambda number: number, launch, batch)
        return [jobs.outcome(result) for result in made], launches, pauses

    return run


def test_only_what_is_to_do_is_launched(sweep):
    states = [["done"], ["to do"], ["failed"], ["interrupted"], ["stale"]]
    values, launches, pauses = sweep(states, {1: ["one"], 3: ["three"]})
    assert values == ["0 told", "one", "2 told", "three", "4 told"]
    assert launches == [([1, 3], False)]
    assert pauses == []


def test_what_is_under_way_is_waited_for_and_no_job_does(sweep, capsys):
    states = [["running", "running", "running", "done"], ["to do"], ["running", "interrupted"]]
    values, launches, pauses = sweep(states, {1: ["one"], 2: ["two"]})
    assert values == ["0 told", "one", "two"]
    assert launches == [([1], False), ([2], False)], "what is left behind by one that died is run at once"
    assert len(pauses) == 3
    assert pauses == sorted(pauses), "it asks ever more seldom"
    assert capsys.readouterr().err == "waiting for 2 of 3 runs, which are being run elsewhere\n"


def test_what_another_process_was_faster_at_is_looked_at_again(sweep):
    states = [["to do", "running", "done"]]
    values, launches, _ = sweep(states, {0: [Busy("elsewhere")]})
    assert values == ["0 told"]
    assert launches == [([0], False)]


def test_what_cannot_be_known_here_waits_by_itself(sweep):
    values, launches, _ = sweep([None, ["to do"], None], {0: ["zero"], 1: [ValueError("no")], 2: ["two"]})
    assert values[0::2] == ["zero", "two"]
    assert isinstance(values[1], ValueError), "an error is a result like another"
    assert launches == [([1], False), ([0, 2], True)]


def test_no_more_are_launched_at_once_than_asked(sweep):
    _, launches, _ = sweep([["to do"]] * 5, {number: [number] for number in range(5)}, batch=2)
    assert launches == [([0, 1], False), ([2, 3], False), ([4], False)]
