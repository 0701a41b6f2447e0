"""What labels, computing and work are worth: pure functions of numbers, checked by hand in their tests."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

RESAMPLES = 2000
"""Bootstrap resamples where there are too many to take them all."""

Values = Mapping[float, Mapping[object, float]]
"""Number of labels → seed → metric."""


class Needed(NamedTuple):
    """How many labels reach a value. labels is exact where `within`, else the bound that the measured range gives.

    side: within, below (fewer than `labels`, the fewest measured), above (more than `labels`, the most measured).
    """

    labels: float
    side: str


class Factor(NamedTuple):
    """The data-efficiency factor: labels that the reference needs, by those that the other had.

    interval: 95 %, an end None where it lies outside the measured range; the whole None where seeds are too few.
    """

    needed: Needed
    value: float
    interval: tuple[float | None, float | None] | None
    seeds: int


class Offer(NamedTuple):
    """One way to reach a value. usd: compute and engineering by name, None = no price; labels: how many are bought."""

    labels: float
    value: float
    compute: float | None = None
    engineering: float | None = None

    def rest(self) -> float:
        """Compute and engineering together, what has no price left out."""
        return (self.compute or 0.0) + (self.engineering or 0.0)

    def total(self, usd_per_label: float | None) -> float:
        """All that it costs, what has no price left out."""
        return self.labels * (usd_per_label or 0.0) + self.rest()


def monotone(values: Sequence[float]) -> list[float]:
    """The rising sequence closest to `values` in least squares: neighbours that fall are averaged (pool adjacent
    violators; Ayer et al., 1955)."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while blocks and blocks[-1][0] > mean:
            before, n = blocks.pop()
            mean, count = (before * n + mean * count) / (n + count), n + count
        blocks.append((mean, count))
    return [mean for mean, count in blocks for _ in range(count)]


def labels_needed(curve: Mapping[float, float], target: float) -> Needed:
    """The fewest labels at which a learning curve reaches `target`, higher being better.

    The curve (labels ≥ 1 → value) is made monotone and interpolated linearly on the logarithm of labels; it is never
    continued beyond its ends. Raises ValueError for an empty one.
    """
    labels = sorted(curve)
    values = monotone([curve[n] for n in labels])
    if target > values[-1]:
        return Needed(labels[-1], "above")
    if target <= values[0]:
        return Needed(labels[0], "within" if math.isclose(target, values[0]) else "below")
    right = next(i for i, value in enumerate(values) if value >= target)
    share = (target - values[right - 1]) / (values[right] - values[right - 1])
    low, high = math.log(labels[right - 1]), math.log(labels[right])
    return Needed(math.exp(low + share * (high - low)), "within")


def efficiency(reference: Values, other: Mapping[object, float], labels: float) -> Factor:
    """How many times the labels the reference needs for what `other` reaches with `labels` of them.

    reference: its metric by labels and seed; other: seed → metric with `labels`; higher is better. The interval is the
    2.5th to 97.5th percentile over resamples of the seeds that all have, the same ones on both sides (all resamples up
    to 5 seeds, 2,000 of a fixed generator above). Raises ValueError where either side is empty.
    """
    found = _factor({n: _mean(list(v.values())) for n, v in reference.items()}, _mean(list(other.values())), labels)
    common = [seed for seed in other if all(seed in values for values in reference.values())]
    if len(common) < 2:
        return Factor(*found, None, len(common))
    drawn = []
    for seeds in _resamples(common):
        curve = {n: _mean([values[seed] for seed in seeds]) for n, values in reference.items()}
        needed, factor = _factor(curve, _mean([other[seed] for seed in seeds]), labels)
        drawn.append({"below": -math.inf, "above": math.inf}.get(needed.side, factor))
    drawn.sort()
    ends = drawn[math.floor(0.025 * (len(drawn) - 1))], drawn[math.ceil(0.975 * (len(drawn) - 1))]
    low, high = (end if math.isfinite(end) else None for end in ends)
    return Factor(*found, (low, high), len(common))


def _factor(curve: Mapping[float, float], target: float, labels: float) -> tuple[Needed, float]:
    needed = labels_needed(curve, target)
    return needed, needed.labels / labels


def _resamples(seeds: Sequence[object]) -> Iterator[Sequence[object]]:
    if len(seeds) <= 5:
        yield from itertools.product(seeds, repeat=len(seeds))
        return
    generator = random.Random(0)
    for _ in range(RESAMPLES):
        yield generator.choices(seeds, k=len(seeds))


def _mean(values: Sequence[float]) -> float:
    if not values:
        raise ValueError("no values")
    return sum(values) / len(values)


def at(curve: Mapping[float, float], labels: float) -> float:
    """A cost at a number of labels: linear on their logarithm between what was measured, its ends beyond."""
    known = sorted(curve)
    if labels <= known[0] or labels >= known[-1]:
        return curve[known[0] if labels <= known[0] else known[-1]]
    right = next(i for i, n in enumerate(known) if n >= labels)
    low, high = known[right - 1], known[right]
    share = math.log(labels / low) / math.log(high / low)
    return curve[low] + share * (curve[high] - curve[low])


def saved(reference: Offer, other: Offer, usd_per_label: float | None) -> dict[str, float | None]:
    """What `other` saves against the reference: labels, and $ of each kind that has a price on both sides.

    At one price of a label for both: a range of prices is one call for each end.
    """
    kinds = {"compute": (reference.compute, other.compute), "engineering": (reference.engineering, other.engineering)}
    labels = reference.labels - other.labels
    found = {f"usd_{kind}": None if a is None or b is None else a - b for kind, (a, b) in kinds.items()}
    return {"labels": labels, "usd_labels": None if usd_per_label is None else labels * usd_per_label, **found}


def break_even(reference: Offer, other: Offer) -> float | None:
    """The price of a label above which `other` is the cheaper one, ≥ 0 (0: at any price).

    (other's compute and engineering − the reference's) / labels saved. None where `other` saves no label: above that
    price, if any, it is the dearer one.
    """
    labels = reference.labels - other.labels
    return max((other.rest() - reference.rest()) / labels, 0.0) if labels > 0 else None


def per_point(cheaper: tuple[float, float], dearer: tuple[float, float]) -> float | None:
    """$ for each point (0.01) by which the dearer of two (usd, value) is better; None where it is no better."""
    (less, low), (more, high) = cheaper, dearer
    return (more - less) / (100 * (high - low)) if high > low else None


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of those (cost, value) that no other beats: none costs as little and is as good, one of both strictly.

    From the cheapest on; of equal ones all.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    front: list[int] = []
    for i in order:
        if not front or points[i][1] > points[front[-1]][1] or points[i] == points[front[-1]]:
            front.append(i)
    return front
