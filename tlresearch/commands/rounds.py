"""A sweep in two rounds: all its runs, then the best of each group again, say under other seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tlresearch.commands.sweep import Value, objective
from tlresearch.config.budget import Spent
from tlresearch.config.errors import fail, nearest
from tlresearch.core.metrics import falls
from tlresearch.results.lock import Busy
from tlresearch.results.report import metrics
from tlresearch.results.runs import Run

Job = list[str]


def check(jobs: Sequence[Job], over: Sequence[str], then: Mapping[str, Any]) -> None:
    """Raises ConfigError where there is nothing to choose by `over`, or nothing to be done with what is chosen."""
    if over and not then:
        advice = "hydra.sweeper.then={seed: '1,2'} says under which axes; or leave it out"
        fail("hydra.sweeper.over", list(over), f"chooses runs that nothing is done with; {advice}")
    keys = {_key(override) for job in jobs for override in job}
    for key in over:
        if key not in keys:
            fail("hydra.sweeper.over", key, f"is no axis of the sweep; {nearest(key, keys)}")


def announcement(jobs: Sequence[Job], over: Sequence[str], axes: Sequence[Job]) -> str:
    """What a dry run says of the second round."""
    groups = _groups(jobs, over)
    return f"then the best of each of {len(groups)} groups again with {' or '.join(' '.join(axis) for axis in axes)}"


def best(
    jobs: Sequence[Job], outcomes: Sequence[Any], over: Sequence[str], metric: str | None
) -> tuple[list[Job], int]:
    """The best job of each group of jobs that are equal but for the keys in `over`, in their order; how many are open.

    By `metric`, of the headline's on validation (None), among equals by the lower loss there, among equals by order. A
    run that failed is never the best; a group of which a run has not ended is open: nothing is chosen of it yet.

    outcomes: each job's Value, or what ended it. Raises ConfigError where a run has no such metric.
    """
    chosen, unended = [], 0
    for numbers in _groups(jobs, over):
        if any(isinstance(outcomes[number], (Spent, Busy)) for number in numbers):
            unended += 1
            continue
        scores = {n: _score(outcomes[n], metric) for n in numbers if isinstance(outcomes[n], Value)}
        if scores:
            chosen.append(jobs[max(scores, key=lambda number: (scores[number], -number))])
    return chosen, unended


def following(chosen: Iterable[Job], jobs: Iterable[Job], axes: Sequence[Job]) -> list[Job]:
    """The second round: each chosen job with each combination of `axes`, but what was run in the first."""
    known = {frozenset(job) for job in jobs}
    found: dict[frozenset[str], Job] = {}
    for job in chosen:
        for combination in axes:
            keys = {_key(override) for override in combination}
            new = [*(override for override in job if _key(override) not in keys), *combination]
            found.setdefault(frozenset(new), new)
    return [job for key, job in found.items() if key not in known]


def _groups(jobs: Sequence[Job], over: Sequence[str]) -> list[list[int]]:
    groups: dict[frozenset[str], list[int]] = {}
    for number, job in enumerate(jobs):
        groups.setdefault(frozenset(o for o in job if _key(o) not in over), []).append(number)
    return list(groups.values())


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def _score(value: Value, metric: str | None) -> tuple[float, float]:
    """The larger the better."""
    run = Run.load(value.folder)
    wanted = objective(run, metric)
    loss = metrics(run.metrics).get("validation.loss")
    sign = -1 if falls(metric or run.metric) else 1
    return (
        -math.inf if wanted is None else sign * wanted,
        -loss if isinstance(loss, float) and math.isfinite(loss) else -math.inf,
    )
