"""What labels, computing and work are worth, by hand."""

import math

import pytest

from tlresearch.results.returns import (
    Offer,
    at,
    break_even,
    efficiency,
    labels_needed,
    monotone,
    pareto,
    per_point,
    saved,
)

SCRATCH = Offer(100_000, 0.92, compute=200 * 3.0, engineering=40 * 800.0)
TRANSFER = Offer(5_000, 0.90, compute=20 * 3.0, engineering=10 * 800.0)
"""Two months are 40 days of work and two weeks 10, at $800; 200 and 20 GPU-hours at $3."""


def test_a_hundred_thousand_labels_against_five_thousand():
    found = saved(SCRATCH, TRANSFER, 0.10)
    assert found == {"labels": 95_000, "usd_labels": 9_500, "usd_compute": 540, "usd_engineering": 24_000}
    assert SCRATCH.total(0.10) == 10_000 + 600 + 32_000
    assert TRANSFER.total(0.10) == 500 + 60 + 8_000
    assert break_even(SCRATCH, TRANSFER) == 0, "cheaper in all else too: at any price of a label"
    # the two points more that scratch reaches: (42,600 - 8,560) / 2
    assert per_point((8_560, 0.90), (42_600, 0.92)) == pytest.approx(17_020)
    assert pareto([(42_600, 0.92), (8_560, 0.90)]) == [1, 0]


def test_one_point_of_scratch_gives_a_bound_and_no_factor():
    """It reaches 92 % with 100,000 labels; how many 90 % take is not measured, so 20 is not claimed."""
    found = efficiency({100_000: {0: 0.92}}, {0: 0.90}, 5_000)
    assert (found.needed.side, found.value, found.interval) == ("below", 20, None)


def test_the_probe_for_eight_and_fine_tuning_for_eighty_dollars():
    probe, finetune = (8.0, 0.91), (80.0, 0.94)
    assert per_point(probe, finetune) == pytest.approx(24)  # 72 / 3
    assert per_point(finetune, probe) is None
    assert pareto([finetune, probe]) == [1, 0]
    assert pareto([finetune, probe, (90.0, 0.93), (8.0, 0.90)]) == [1, 0]


def test_where_the_range_of_the_reviews_comes_from():
    """50,000 against 5,000 reviews at $0.50 to $5.00 a label: 22,500 to 225,000 saved. 247,500 is none of it.

    It is what 50,000 labels cost at $5.00 less what 5,000 cost at $0.50: two prices in one difference.
    """
    many, few = Offer(50_000, 0.9), Offer(5_000, 0.9)
    assert saved(many, few, 0.50)["usd_labels"] == 22_500
    assert saved(many, few, 5.00)["usd_labels"] == 225_000
    assert many.total(5.00) - few.total(0.50) == 247_500
    assert many.total(0.50) - few.total(5.00) == 0, "the other end of that mixture is no saving at all"


def test_dearer_computing_pays_from_a_price_of_a_label_on():
    cheap, dear = Offer(1_000, 0.9, compute=10.0), Offer(100, 0.9, compute=100.0)
    assert break_even(cheap, dear) == pytest.approx(0.1)
    assert cheap.total(0.1) == pytest.approx(dear.total(0.1))
    assert break_even(dear, cheap) is None


def test_what_has_no_price_is_left_out():
    found = saved(SCRATCH, Offer(5_000, 0.90), None)
    assert found == {"labels": 95_000, "usd_labels": None, "usd_compute": None, "usd_engineering": None}


@pytest.mark.parametrize("values", [[0.1, 0.5, 0.3, 0.9], [3, 2, 1], [1, 1, 2], [0.4, 0.2, 0.3, 0.1, 0.9]])
def test_the_monotone_curve_is_that_of_scikit_learn(values):
    from sklearn.isotonic import isotonic_regression

    assert monotone(values) == pytest.approx(list(isotonic_regression(values)))


def test_labels_are_interpolated_on_their_logarithm():
    curve = {10: 0.5, 1000: 0.9}
    assert labels_needed(curve, 0.7).labels == pytest.approx(100)  # half way on the logarithm
    assert labels_needed(curve, 0.9) == (pytest.approx(1000), "within")
    assert labels_needed(curve, 0.5) == (10, "within")
    assert labels_needed(curve, 0.91) == (1000, "above")
    assert labels_needed(curve, 0.4) == (10, "below")
    assert labels_needed({10: 0.6, 100: 0.4, 1000: 0.9}, 0.5).side == "within"


def test_the_factor_has_an_interval_over_paired_seeds():
    """Seed 1 is better everywhere, by as much: whichever seeds are drawn, the factor is the same."""
    shift = {0: 0.0, 1: 0.1, 2: 0.05}
    scratch = {n: {s: v + d for s, d in shift.items()} for n, v in {10: 0.3, 100: 0.5, 1000: 0.7}.items()}
    found = efficiency(scratch, {s: 0.6 + d for s, d in shift.items()}, 20)
    assert found.needed == (pytest.approx(100 * math.sqrt(10)), "within")
    assert found.value == pytest.approx(5 * math.sqrt(10))
    assert found.interval == pytest.approx((found.value, found.value))
    assert found.seeds == 3


def test_an_end_beyond_what_was_measured_is_open():
    scratch = {10: {0: 0.5, 1: 0.5}, 100: {0: 0.7, 1: 0.7}}
    found = efficiency(scratch, {0: 0.6, 1: 0.75}, 10)
    assert found.needed.side == "within"
    low, high = found.interval
    assert low == pytest.approx(math.sqrt(10)), "seed 0 alone"
    assert high is None, "seed 1 alone"


def test_seeds_are_paired_over_what_is_common():
    scratch = {10: {0: 0.5, 1: 0.6}, 100: {0: 0.7, 1: 0.8, 5: 0.9}}
    assert efficiency(scratch, {0: 0.6, 5: 0.9}, 10).seeds == 1
    assert efficiency(scratch, {0: 0.6, 5: 0.9}, 10).interval is None
    with pytest.raises(ValueError, match="no values"):
        efficiency(scratch, {}, 10)


def test_costs_lie_between_those_measured():
    assert at({10: 1.0, 1000: 3.0}, 100) == pytest.approx(2.0)
    assert (at({10: 1.0, 1000: 3.0}, 1), at({10: 1.0, 1000: 3.0}, 1e6)) == (1.0, 3.0)
