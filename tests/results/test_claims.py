"""Verdicts worked out by hand, and the paired test against scipy's own."""

import math

import pytest
from scipy import stats

from tlresearch.results.claims import DIRECTION, NOT_RUN, REFUTED, REPRODUCED, Cell, Rule, check, difference, judge


def cell(published, *values):
    return Cell(published, {str(seed): value for seed, value in enumerate(values)})


LOW, HIGH = cell(50.0, 50.0, 52.0, 51.0), cell(75.0, 70.0, 73.0, 73.0)
GAP = Rule("gap", ("high", "low"), 10.0)
CELLS = {"low": LOW, "high": HIGH}


def test_a_difference_by_hand():
    found = difference(HIGH, LOW)
    assert (found.published, found.n) == (25.0, 3)
    assert found.mean == pytest.approx((20 + 21 + 22) / 3)
    assert found.half == pytest.approx(4.302652729911275 * 1 / math.sqrt(3))  # t(0.975, 2), deviation 1
    assert found.p == pytest.approx(stats.ttest_rel([70, 73, 73], [50, 52, 51]).pvalue)
    assert found.told


def test_values_are_paired_by_seed_not_by_place():
    first, second = Cell(1.0, {"2": 12.0, "0": 10.0, "1": 11.0}), Cell(0.0, {"0": 9.0, "1": 10.0, "2": 11.0})
    found = difference(first, second)
    assert found.mean == 1.0 and found.half == 0.0 and found.p == 0.0  # always one more: no scatter
    assert difference(first, first).p == 1.0


def test_a_gap_of_the_published_size_is_reproduced():
    found = judge(CELLS, [GAP], 3)
    assert found.name == REPRODUCED and found.reason == "all 1 hold"
    assert "published +25.00, measured +21.00" in found.checks[0].text and "n = 3" in found.checks[0].text


def test_a_gap_of_another_size_has_the_direction_only():
    assert judge(CELLS, [GAP._replace(tolerance=3.9)], 3).name == DIRECTION
    assert judge(CELLS, [GAP._replace(tolerance=4.0)], 3).name == REPRODUCED  # 25 against 21


def test_a_gap_that_is_not_told_from_zero_has_the_direction_only():
    noisy = {"low": cell(50.0, 50.0, 60.0, 40.0), "high": cell(75.0, 90.0, 61.0, 65.0)}
    found = judge(noisy, [GAP], 3)
    assert found.name == DIRECTION and found.checks[0].direction and not found.checks[0].holds


def test_a_gap_the_other_way_is_not_reproduced():
    assert judge({"low": HIGH._replace(published=50.0), "high": LOW._replace(published=75.0)}, [GAP], 3).name == REFUTED


@pytest.mark.parametrize(("low", "high"), [(50.0, 40.0), (90.0, 75.0), (50.0, 95.0), (20.0, 75.0)])
def test_a_falsified_value_changes_the_verdict(low, high):
    cells = {"low": LOW._replace(published=low), "high": HIGH._replace(published=high)}
    assert judge(cells, [GAP], 3).name != judge(CELLS, [GAP], 3).name


def test_equal_means_close_and_not_told_apart():
    rule = Rule("equal", ("a", "b"), 2.0)
    a, b = cell(95.1, 90.0, 91.0, 92.0), cell(94.8, 90.5, 90.5, 91.7)
    assert judge({"a": a, "b": b}, [rule], 3).name == REPRODUCED
    always_more = cell(94.8, 89.5, 90.5, 91.5)  # by half a point each time: close, and told apart
    found = judge({"a": a, "b": always_more}, [rule], 3)
    assert found.name == DIRECTION and found.checks[0].direction
    found = judge({"a": a, "b": cell(94.8, 86.0, 95.0, 92.0)}, [rule], 3)  # close by chance: the interval is wide
    assert found.name == DIRECTION and not found.checks[0].holds
    assert judge({"a": a, "b": cell(94.8, 80.0, 85.0, 99.0)}, [rule], 3).name == REFUTED  # not told apart, not close
    assert judge({"a": a._replace(published=80.0), "b": b}, [rule], 3).name == REFUTED  # falsified


def test_an_order_is_that_of_the_published_values():
    rule = Rule("order", ("c", "a", "b"), 0.0)
    cells = {"a": cell(1.0, 10.0, 11.0, 12.0), "b": cell(2.0, 20.1, 21.0, 22.2), "c": cell(3.0, 30.0, 31.3, 32.0)}
    assert judge(cells, [rule], 3).name == REPRODUCED
    assert check(rule, cells).text.startswith("order: a < b < c: ")
    assert judge({**cells, "b": cells["b"]._replace(published=4.0)}, [rule], 3).name == REFUTED
    noisy = {**cells, "b": cell(2.0, 9.0, 35.0, 20.0)}
    assert judge(noisy, [rule], 3).name == DIRECTION  # the means are in order and not told apart


def test_a_value_within_its_tolerance():
    rule = Rule("value", ("low",), 1.0)
    assert judge(CELLS, [rule], 3).name == REPRODUCED  # 50 against 51
    assert judge(CELLS, [rule._replace(tolerance=0.9)], 3).name == REFUTED  # it says nothing of a direction
    assert judge(CELLS, [rule._replace(tolerance=0.9), GAP], 3).name == DIRECTION
    half = 4.302652729911275 / math.sqrt(3)
    assert f"measured 51.00 ± {half:.2f} (n = 3)" in check(rule, CELLS).text


def test_what_cannot_be_compared_is_at_best_a_direction():
    rule = Rule("order", ("low", "high"), 0.0)
    found = judge(CELLS, [rule], 3, comparable=False)
    assert found.name == DIRECTION and found.checks[0].holds and "another model" in found.reason
    assert judge({"low": HIGH._replace(published=0.0), "high": LOW}, [rule], 3, comparable=False).name == REFUTED


def test_without_seeds_enough_there_is_no_verdict():
    nothing = judge({"low": cell(50.0), "high": cell(75.0)}, [GAP], 3)
    assert nothing == (NOT_RUN, "of 3 seeds there are low 0, high 0", ())
    assert math.isnan(cell(1.0).mean) and cell(1.0, 5.0).half is None
    partial = judge({"low": cell(50.0, 1.0, 2.0), "high": HIGH}, [GAP], 3)
    assert partial == (NOT_RUN, "partial: of 3 seeds there are low 2", ())
    assert judge({"low": cell(50.0, 1.0), "high": cell(75.0, 2.0)}, [GAP], 1).name == NOT_RUN, (
        "never by fewer than three"
    )
    assert judge(CELLS, [GAP], 5).reason == "partial: of 5 seeds there are low 3, high 3"
    elsewhere = {"low": LOW, "high": Cell(75.0, {"7": 70.0, "8": 73.0, "9": 73.0})}
    assert judge(elsewhere, [GAP], 3).reason == "partial: high and low have 0 of 3 seeds in common"
