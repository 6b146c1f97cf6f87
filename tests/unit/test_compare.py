from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.control.compare import compare_kpis

BEFORE = {
    "total_revenue": 2297200.86,
    "orders": 5009,
    "aov": 458.61,
    "revenue_by_region": {"West": 725457.82, "East": 678781.24, "South": 391721.9},
    "breakdowns": {"revenue_by_region": {"West": 725457.82, "East": 678781.24, "South": 391721.9}, "revenue_by_segment": {"Consumer": 10}},
    "time_series_monthly": [{"month": "2024-01", "revenue": 1, "orders": 1}],
    "funnel": {"visitors": 1428571, "conversion": 0.0344, "definition": "orders / visitors"},
}
AFTER = {
    "total_revenue": 2297200.96,
    "orders": 5009,
    "revenue_by_region": {"West": 725457.82, "Central": 501239.89, "South": 391721.9},
    "funnel": {"visitors": 1428571, "conversion": 0.035, "definition": "other"},
}


def _row(found, name):
    return next(row for row in found.rows if row.name == name)


def test_a_change_is_exact_in_decimals_and_relative_to_the_first_run():
    row = _row(compare_kpis({"x": 0.1}, {"x": 0.3}), "x")
    assert (row.a, row.b, row.change, row.relative_change) == (Decimal("0.1"), Decimal("0.3"), Decimal("0.2"), Decimal(2))


def test_a_fall_from_a_negative_figure_has_a_negative_relative_change():
    row = _row(compare_kpis({"x": -10}, {"x": -15}), "x")
    assert (row.change, row.relative_change) == (Decimal(-5), Decimal("-0.5"))


def test_headline_figures_come_first_and_the_funnel_is_among_the_figures():
    names = [row.name for row in compare_kpis(BEFORE, AFTER).rows]
    assert names == ["total_revenue", "orders", "aov", "funnel.conversion", "funnel.visitors"]


def test_a_figure_that_one_run_lacks_is_shown_without_a_change():
    row = _row(compare_kpis(BEFORE, AFTER), "aov")
    assert (row.a, row.b, row.change, row.relative_change) == (Decimal("458.61"), None, None, None)


def test_nothing_is_divided_by_zero():
    row = _row(compare_kpis({"orders": 0}, {"orders": 5}), "orders")
    assert (row.change, row.relative_change) == (Decimal(5), None)


def test_a_breakdown_is_compared_value_by_value_once_with_what_only_one_run_has():
    found = [row for row in compare_kpis(BEFORE, AFTER).breakdowns if row.breakdown == "revenue_by_region"]
    assert [(row.value, row.a, row.b) for row in found] == [
        ("West", Decimal("725457.82"), Decimal("725457.82")),
        ("East", Decimal("678781.24"), None),
        ("Central", None, Decimal("501239.89")),
        ("South", Decimal("391721.9"), Decimal("391721.9")),
    ]


def test_a_breakdown_that_one_run_lacks_whole_is_listed():
    assert [row.value for row in compare_kpis(BEFORE, AFTER).breakdowns if row.breakdown == "revenue_by_segment"] == ["Consumer"]


@pytest.mark.parametrize("odd", [True, "12", None, [1], {"a": 1}, float("nan")])
def test_what_is_not_a_number_is_not_compared_as_one(odd):
    assert compare_kpis({"x": odd}, {"x": 1}).rows[0].a is None


def test_runs_without_figures_compare_to_nothing():
    found = compare_kpis({}, {})
    assert (found.rows, found.breakdowns) == ((), ())


numbers = (
    st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False, places=4)
)
kpis = st.dictionaries(st.text(max_size=8), numbers | st.dictionaries(st.text(max_size=4), numbers, max_size=3) | st.none(), max_size=6)


@given(kpis, kpis)
def test_any_two_sets_of_figures_compare_the_same_way_in_both_directions(first, second):
    there, back = compare_kpis(first, second), compare_kpis(second, first)
    assert [(row.name, row.a, row.b) for row in there.rows] == [(row.name, row.b, row.a) for row in back.rows]
    for ours, theirs in zip(there.rows, back.rows, strict=True):
        assert ours.change is None or ours.change == theirs.change.copy_negate()  # a plain minus would round
    assert there == compare_kpis(dict(reversed(first.items())), dict(reversed(second.items())))
