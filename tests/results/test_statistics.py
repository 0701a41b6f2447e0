"""Every statistic against scipy's own, against numbers worked out by hand, and against simulation."""

import numpy as np
import pytest
from scipy import stats

from tlresearch.results import statistics
from tlresearch.results.statistics import holm, mean_ranks, more_pairs, paired, power


@pytest.fixture(params=[2, 3, 5, 12, 40])
def pairs(request):
    generator = np.random.default_rng(request.param)
    return generator.normal(0.8, 0.1, request.param).tolist(), generator.normal(0.7, 0.1, request.param).tolist()


def test_intervals_are_those_of_scipy(pairs):
    ours, _ = pairs
    low, high = stats.t.interval(0.95, len(ours) - 1, np.mean(ours), stats.sem(ours))
    assert statistics.half_width(ours) == pytest.approx((high - low) / 2)
    assert statistics.deviation(ours) == pytest.approx(np.std(ours, ddof=1))
    expected = stats.bootstrap((ours,), np.mean, method="percentile", rng=np.random.default_rng(0))
    assert statistics.bootstrap_interval(ours) == pytest.approx(tuple(expected.confidence_interval))


def test_the_bootstrap_of_many_values_is_close_to_students():
    values = np.random.default_rng(0).normal(0.5, 0.1, 2000).tolist()
    low, high = statistics.bootstrap_interval(values)
    half = statistics.half_width(values)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)


def test_one_value_has_no_interval():
    assert statistics.deviation([0.5]) is None
    assert statistics.half_width([0.5]) is None
    assert statistics.bootstrap_interval([0.5]) is None


def test_paired_tests_are_those_of_scipy(pairs):
    ours, others = pairs
    differences = [a - b for a, b in zip(ours, others, strict=True)]
    found = paired(differences)
    assert found.p_t == pytest.approx(stats.ttest_rel(ours, others).pvalue)
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(ours, others).pvalue)
    assert found.effect == pytest.approx(np.mean(differences) / np.std(differences, ddof=1))
    assert (found.n, found.difference) == (len(ours), pytest.approx(np.mean(differences)))


def test_ties_and_zeros_go_to_wilcoxon_as_they_are():
    for differences in ([0.1, 0.1, -0.1, 0.2], [0.0, 0.1, -0.1, 0.2], [0.1, 0.1, 0.1, 0.3, 0.0]):
        assert paired(differences).p_wilcoxon == pytest.approx(stats.wilcoxon(differences).pvalue)


def test_what_cannot_be_tested():
    """One pair, and differences that are all one number: its spread would be that of rounding."""
    assert paired([0.1]) == (1, 0.1, None, None, None)
    constant = paired([0.7 - 0.6, 0.8 - 0.7, 0.3 - 0.2])
    assert constant.difference == pytest.approx(0.1)
    assert (constant.p_t, constant.p_wilcoxon, constant.effect) == (None, None, None)
    assert paired([0.0, 0.0]) == (2, 0.0, 1.0, 1.0, 0.0)


def test_holm_by_hand():
    """Holm's own scheme: sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, and never below an earlier one."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


def test_power_is_what_simulation_finds():
    generator = np.random.default_rng(0)
    for effect, n in ((1.0, 5), (0.5, 20), (3.0, 3), (8.0, 2)):
        drawn = generator.normal(effect, 1, (20_000, n))
        share = (stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05).mean()
        assert power(effect, n) == pytest.approx(share, abs=0.012)  # three standard errors


def test_power_is_that_of_the_noncentral_t():
    for effect, n in ((0.1, 3), (0.5, 5), (1.0, 10), (0.2, 200)):
        limit, shift = stats.t.ppf(0.975, n - 1), effect * np.sqrt(n)
        exact = stats.nct.sf(limit, n - 1, shift) + stats.nct.cdf(-limit, n - 1, shift)
        assert power(effect, n) == pytest.approx(exact, abs=1e-4)


def test_pairs_that_cohens_tables_ask_for():
    """Paired t-test, 80 %, 0.05 two-sided: 199, 34 and 15 pairs for d_z 0.2, 0.5 and 0.8 (G*Power's numbers)."""
    assert [more_pairs(effect, 0) for effect in (0.2, 0.5, -0.8)] == [199, 34, 15]
    assert more_pairs(0.5, 10) == 24
    assert more_pairs(0.5, 50) == 1, "more than enough, and yet it was not told"
    assert more_pairs(0.01, 3) is None and more_pairs(0.0, 3) is None and more_pairs(None, 3) is None


def test_average_ranks_by_hand():
    scores = [{"a": 0.9, "b": 0.8, "c": 0.7}, {"a": 0.5, "b": 0.6, "c": 0.5}]
    assert mean_ranks(scores, lower_is_better=False) == {"a": 1.75, "b": 1.5, "c": 2.75}
    assert mean_ranks(scores, lower_is_better=True) == {"a": 2.25, "b": 2.5, "c": 1.25}
    values = [3.0, 1.0, 3.0, 2.0, 3.0]
    assert statistics.average_rank(values) == stats.rankdata(values).tolist()
