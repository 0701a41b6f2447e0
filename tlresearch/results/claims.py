"""Whether a published number holds: each thing that a claim says, checked on measured values, and the verdict.

Nothing here reads files or runs. Published and measured values are in the claim's own unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from tlresearch.results.report import interval

REPRODUCED, DIRECTION, REFUTED, NOT_RUN = "reproduced", "direction only", "not reproduced", "not run"
VERDICTS = (REPRODUCED, DIRECTION, REFUTED, NOT_RUN)
KINDS = {"value": 1, "order": None, "gap": 2, "equal": 2}
"""What a rule may say → of how many cells; None: at least two."""

LEAST_SEEDS = 3
"""No verdict rests on fewer."""

LEVEL = 0.05


class Rule(NamedTuple):
    """One thing that must hold. kind: one of KINDS, about `cells`; tolerance: in the claim's unit.

    value: the mean is within `tolerance` of the published value.
    gap: the first cell's mean minus the second's is within `tolerance` of the published difference, and it is told
        from 0 (paired t-test, p < 0.05); its direction is its sign.
    equal: that difference is within `tolerance` of the published one, is not told from 0, and half its interval is at
        most `tolerance` (a wide one would say nothing); its direction is that it is within `tolerance`.
    order: sorted as the published values are, each mean is above the one before it, and is told from it; its direction
        is that the means are in that order.
    """

    kind: str
    cells: tuple[str, ...]
    tolerance: float


class Cell(NamedTuple):
    """A number of the paper's table beside what was measured. values: seed → value."""

    published: float
    values: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Over the seeds; NaN where there are none."""
        return sum(self.values.values()) / len(self.values) if self.values else math.nan

    @property
    def half(self) -> float | None:
        """Half the 95 % interval of the mean."""
        return interval(list(self.values.values()))


class Difference(NamedTuple):
    """Of two cells over the seeds that both have. half: half its 95 % interval; p: of the paired t-test, two-sided."""

    published: float
    mean: float
    half: float
    p: float
    n: int

    @property
    def told(self) -> bool:
        """Whether it is told from 0."""
        return self.p < LEVEL


class Checked(NamedTuple):
    """A rule and what became of it. direction: None where it says nothing about one; text: with its numbers."""

    rule: Rule
    holds: bool
    direction: bool | None
    text: str


class Verdict(NamedTuple):
    """name: one of VERDICTS; reason: in words; checks: empty where there is nothing to check."""

    name: str
    reason: str
    checks: tuple[Checked, ...] = ()


def judge(cells: Mapping[str, Cell], rules: Sequence[Rule], seeds: int, *, comparable: bool = True) -> Verdict:
    """The verdict on a claim.

    All rules hold: reproduced. Otherwise, all directions are right, and there is one: direction only. Otherwise not
    reproduced. A cell with fewer than `seeds` seeds, or LEAST_SEEDS: not run.

    comparable: whether the values may be compared at all (same model, same data); if not, at best direction only.
    """
    needed = max(seeds, LEAST_SEEDS)
    short = [f"{name} {len(cell.values)}" for name, cell in cells.items() if len(cell.values) < needed]
    if short:
        some = any(cell.values for cell in cells.values())
        return Verdict(NOT_RUN, f"{'partial: ' if some else ''}of {needed} seeds there are {', '.join(short)}")
    for rule in rules:
        for a, b in pairwise(rule.cells):
            common = len(cells[a].values.keys() & cells[b].values.keys())
            if common < needed:
                return Verdict(NOT_RUN, f"partial: {a} and {b} have {common} of {needed} seeds in common")
    checks = tuple(check(rule, cells) for rule in rules)
    directions = [found.direction for found in checks if found.direction is not None]
    broken = sum(not found.holds for found in checks)
    if not broken and comparable:
        return Verdict(REPRODUCED, f"all {len(checks)} hold", checks)
    if directions and all(directions):
        why = f"{broken} of {len(checks)} do not hold" if broken else "another model or other data than the paper's"
        return Verdict(DIRECTION, f"{why}; the directions are right", checks)
    return Verdict(REFUTED, f"{broken} of {len(checks)} do not hold", checks)


def check(rule: Rule, cells: Mapping[str, Cell]) -> Checked:
    """One rule on cells that have values enough."""
    if rule.kind == "value":
        return _value(rule, cells[rule.cells[0]])
    if rule.kind == "order":
        return _order(rule, cells)
    first, second = (cells[name] for name in rule.cells)
    found = difference(first, second)
    off = abs(found.mean - found.published)
    close = off <= rule.tolerance
    words = f"{rule.cells[0]} − {rule.cells[1]}: {_told(found)}; {off:.2f} apart, at most {rule.tolerance:g}"
    if rule.kind == "equal":
        return Checked(rule, close and not found.told and found.half <= rule.tolerance, close, f"equal: {words}")
    right = found.mean * found.published > 0
    return Checked(rule, close and right and found.told, right, f"gap: {words}")


def _value(rule: Rule, cell: Cell) -> Checked:
    off = abs(cell.mean - cell.published)
    half = math.nan if cell.half is None else cell.half
    measured = f"published {cell.published:.2f}, measured {cell.mean:.2f} ± {half:.2f} (n = {len(cell.values)})"
    text = f"value: {rule.cells[0]}: {measured}; {off:.2f} apart, at most {rule.tolerance:g}"
    return Checked(rule, off <= rule.tolerance, None, text)


def _order(rule: Rule, cells: Mapping[str, Cell]) -> Checked:
    names = sorted(rule.cells, key=lambda name: cells[name].published)
    steps = [difference(cells[higher], cells[lower]) for lower, higher in pairwise(names)]
    right = all(step.mean > 0 for step in steps)
    told = "; ".join(f"{b} − {a}: {_told(step)}" for (a, b), step in zip(pairwise(names), steps, strict=True))
    return Checked(rule, right and all(step.told for step in steps), right, f"order: {' < '.join(names)}: {told}")


def difference(first: Cell, second: Cell) -> Difference:
    """The first minus the second, seed by seed."""
    seeds = sorted(first.values.keys() & second.values.keys())
    pairs = [(first.values[seed], second.values[seed]) for seed in seeds]
    each = [a - b for a, b in pairs]
    mean, half = sum(each) / len(each), interval(each)
    assert half is not None, "judged by fewer than two seeds"
    return Difference(first.published - second.published, mean, half, _p(pairs, mean, half), len(each))


def _p(pairs: Sequence[tuple[float, float]], mean: float, half: float) -> float:
    if half == 0:  # no scatter at all: the test divides by it
        return 1.0 if mean == 0 else 0.0
    from scipy.stats import ttest_rel

    return float(ttest_rel(*zip(*pairs, strict=True)).pvalue)


def _told(found: Difference) -> str:
    low, high = found.mean - found.half, found.mean + found.half
    measured = f"measured {found.mean:+.2f} [{low:+.2f}, {high:+.2f}], paired t p = {found.p:.2g}, n = {found.n}"
    return f"published {found.published:+.2f}, {measured}"
