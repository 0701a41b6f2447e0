"""Statistics of repeated runs: intervals, paired tests, Holm's correction, power, ranks. Functions of numbers alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

LEVEL = 0.05
"""Tests and intervals are made at this level: p < 0.05, 95 % intervals."""

POWER = 0.8
"""`more_pairs` asks for this probability of finding a difference that is there."""

MOST_PAIRS = 1000
"""A difference that this many pairs would not tell is not worth a number."""

RESAMPLES, RESAMPLES_OF_MANY, MANY = 9999, 999, 100
"""Bootstrap resamples of up to 100 values, and of more (where the two intervals hardly differ any more)."""


class Paired(NamedTuple):
    """Paired differences between two groups.

    difference: their mean. p_t, p_wilcoxon: two-sided p of the paired t-test and of Wilcoxon's signed-rank test.
    effect: Cohen's d_z, the mean difference over the standard deviation of the differences.
    None where it cannot be said: of fewer than two pairs, and where all differences are the same number.
    """

    n: int
    difference: float
    p_t: float | None
    p_wilcoxon: float | None
    effect: float | None


def mean(values: Sequence[float]) -> float:
    """Their arithmetic mean; at least one."""
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float | None:
    """The sample standard deviation (n − 1); None for fewer than two values."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1))


def half_width(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % confidence interval of the mean, t(n−1) · s / √n; None for fewer than two values."""
    n, spread = len(values), deviation(values)
    return None if spread is None else _quantile(n - 1) * spread / math.sqrt(n)


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % percentile bootstrap interval of the mean (Efron 1979), drawn with seed 0; None for fewer than two.

    Equals `scipy.stats.bootstrap(…, method="percentile", rng=numpy.random.default_rng(0))`. Of few values it is too
    narrow: of three, the chance to hold the mean is about 75 %. Student's interval is the one to trust then.
    """
    if len(values) < 2:
        return None
    import numpy as np

    low, high = np.quantile(_resampled(len(values)) @ np.asarray(values, float), (LEVEL / 2, 1 - LEVEL / 2))
    return float(low), float(high)


def paired(differences: Sequence[float]) -> Paired:
    """Both tests of the hypothesis that paired differences are 0 in the mean, and the effect; at least one pair."""
    n, centre, spread = len(differences), mean(differences), deviation(differences)
    if not any(differences):
        return Paired(n, 0.0, None if n < 2 else 1.0, None if n < 2 else 1.0, None if n < 2 else 0.0)
    if spread is None or spread <= 1e-12 * max(map(abs, differences)):  # no spread: rounding would decide
        return Paired(n, centre, None, None, None)
    from scipy.special import stdtr

    effect = centre / spread
    p = 2 * float(stdtr(n - 1, -abs(effect) * math.sqrt(n)))
    return Paired(n, centre, p, _wilcoxon(signed_ranks(differences)), effect)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) step-down correction: p of rank i (from 0) times m − i, made monotone; None does not count."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        corrected[i] = largest
    return corrected


def power(effect: float, n: int) -> float:
    """The power of the two-sided paired t-test of n ≥ 2 pairs for a true d_z, at level 0.05.

    P(|T| > t) of the noncentral t, as the mean of Φ(δ − t·s) + Φ(−δ − t·s) over quantiles of the deviation s: scipy's
    noncentral t is NaN for large δ.
    """
    from scipy.special import ndtr

    limits, shift = _quantile(n - 1) * _deviations(n - 1), abs(effect) * math.sqrt(n)
    return float((ndtr(shift - limits) + ndtr(-shift - limits)).mean())


def more_pairs(effect: float | None, n: int) -> int | None:
    """About how many pairs beside those n would tell a difference: power 80 % at level 0.05, were d_z the true effect.

    At least 1; None where nobody can say (no effect known) or more than 1,000 pairs would be needed.
    """
    if effect is None or not effect or power(effect, MOST_PAIRS) < POWER:
        return None
    low, high = 1, MOST_PAIRS  # power(low) < POWER <= power(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle) >= POWER else (middle, high)
    return max(1, high - n)


def signed_ranks(differences: Sequence[float]) -> tuple[float, ...]:
    """Ranks of the absolute differences (from 1, ties averaged) with the sign of the difference; 0 for none."""
    ranks = average_rank([abs(d) for d in differences])
    return tuple(sorted(math.copysign(rank, d) if d else 0.0 for rank, d in zip(ranks, differences, strict=True)))


def average_rank(values: Sequence[float]) -> list[float]:
    """Each value's rank from 1, the smallest first; equal ones share the mean of their ranks."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks = [0.0] * len(values)
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or values[order[end]] != values[order[start]]:
            for i in order[start:end]:
                ranks[i] = (start + 1 + end) / 2
            start = end
    return ranks


def mean_ranks(scores: Sequence[Mapping[str, float]], *, lower_is_better: bool) -> dict[str, float]:
    """Who → the mean of its ranks over the blocks (1 is best), as Friedman's test takes them (Demšar, JMLR 2006).

    scores: of each block (a data set) who → score; every block has everybody.
    """
    sums: dict[str, float] = {}
    for found in scores:
        ranks = average_rank([score if lower_is_better else -score for score in found.values()])
        for who, rank in zip(found, ranks, strict=True):
            sums[who] = sums.get(who, 0.0) + rank
    return {who: total / len(scores) for who, total in sums.items()}


@cache
def _quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 1 - LEVEL / 2))


@cache
def _deviations(degrees: int) -> Array:
    """(1000,): quantiles of the standard deviation of samples of unit variance."""
    import numpy as np
    from scipy.special import gammaincinv

    shares = (np.arange(1000) + 0.5) / 1000
    found: Array = np.sqrt(2 * gammaincinv(degrees / 2, shares) / degrees)
    return found


@cache
def _resampled(n: int) -> Array:
    """(resamples, n): the weight of each value in each resample, the same for all groups of n."""
    import numpy as np

    resamples = RESAMPLES if n <= MANY else RESAMPLES_OF_MANY
    drawn = np.random.default_rng(0).integers(0, n, (resamples, n))
    places = (drawn + n * np.arange(resamples)[:, None]).ravel()
    weights: Array = np.bincount(places, minlength=resamples * n).reshape(resamples, n) / n
    return weights


@cache
def _wilcoxon(ranks: tuple[float, ...]) -> float:
    """The test depends on the signed ranks alone, of which few runs have few."""
    from scipy.stats import wilcoxon

    return float(wilcoxon(ranks).pvalue)
