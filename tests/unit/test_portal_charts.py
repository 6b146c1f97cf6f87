"""What the cards, bars and lines of a run say."""

import json
from datetime import date
from typing import Any

import pytest

from treadle.portal import charts

KPIS: dict[str, Any] = {
    "total_revenue": 1_234_567.89,
    "orders": 5000,
    "aov": 246.91,
    "row_count": 5100,
    "rows_without_revenue": 3,
    "rows_without_order_id": 0,
    "revenue_by_channel": {},
    "revenue_by_region": {"West": 700.0, "(missing)": 100.5, "East": 200.0},
    "breakdowns": {
        "revenue_by_product_category": {"A": 1, "B": 2},
        "revenue_by_region": {"West": 700.0, "(missing)": 100.5, "East": 200.0},
    },
    "funnel": {"total_visitors": 1000, "converting_visitors": 40, "orders": 50, "conversion_rate_pct": 4.0},
}


def card(label: str, **known: Any) -> charts.Card:
    [found] = [one for one in charts.cards(**known) if one.label == label]
    return found


def test_cards_say_figures_with_separators_and_how_they_changed():
    cards = {one.label: one for one in charts.cards(KPIS, {**KPIS, "total_revenue": 1_000_000, "orders": 5000})}
    assert (cards["Revenue"].value, cards["Revenue"].delta) == ("1,234,567.89", "+23.5 %")
    assert (cards["Orders"].delta, cards["Converting / visitors"].value) == (0, "4.00 %")
    assert cards["Average order value"].value == "246.91"


def test_more_rows_without_revenue_are_bad_and_more_rows_neither_good_nor_bad():
    assert card("Rows without revenue", kpis=KPIS, previous=None).colour == "inverse"
    assert card("Rows", kpis=KPIS, previous=None).colour == "off"
    assert card("Revenue", kpis=KPIS, previous=None).colour == "normal"


def test_a_trouble_that_nobody_has_or_had_needs_no_card():
    labels = {one.label for one in charts.cards(KPIS, None)}
    assert "Rows without order id" not in labels
    gone = charts.cards({**KPIS, "rows_without_revenue": 0}, KPIS)
    assert "Rows without revenue" in {one.label for one in gone}, "that it is gone is worth saying"


def test_without_a_run_before_nothing_is_compared():
    assert {(one.delta, one.trend) for one in charts.cards(KPIS, None, [KPIS])} == {(None, ())}


def test_a_trend_has_the_last_runs_and_leaves_out_those_without_the_figure():
    history = [{"orders": number} for number in range(20)] + [{}, {"orders": None}, {"orders": 5000}]
    assert card("Orders", kpis=KPIS, previous=None, history=history).trend == (*(float(n) for n in range(11, 20)), 5000.0)


@pytest.mark.parametrize(
    ("now", "before", "said"),
    [(2, 2, 0), (110, 100, "+10.0 %"), (90, 100, "-10.0 %"), (1, 0, "+1.00"), (-50, -100, "+50.0 %"), (100_000.01, 100_000, "+0.01")],
)
def test_a_difference_is_relative_unless_that_says_nothing(now, before, said):
    assert charts.difference(now, before) == said


def test_a_percentage_changes_by_points():
    assert charts.difference(4.0, 3.25, in_points=True) == "+0.75 points"


def test_the_headline_breakdowns_come_first_and_each_once():
    assert list(charts.breakdowns(KPIS)) == ["region", "product_category"]


def test_missing_values_have_a_bar_of_their_own_at_the_end():
    bars = charts.breakdown_bars(charts.breakdowns(KPIS)["region"], "region")
    assert [(bar.label, bar.kind) for bar in bars] == [("West", "value"), ("East", "value"), ("No region", "missing")]
    assert bars[0].share == pytest.approx(69.97, abs=0.01)


def test_many_values_are_the_largest_and_the_sum_of_the_rest():
    parts = {f"city {number}": float(100 - number) for number in range(40)} | {"(missing)": 7.0}
    bars = charts.breakdown_bars(parts, "city")
    assert len(bars) == 17
    assert (bars[15].label, bars[15].kind) == ("25 others", "rest")
    assert sum(bar.amount for bar in bars) == pytest.approx(sum(parts.values()))
    assert len(charts.breakdown_bars({f"c{n}": 1.0 for n in range(16)}, "city")) == 16, "a rest of one is shown as itself"


def test_a_value_named_like_the_missing_ones_stays_apart():
    labels = [bar.label for bar in charts.breakdown_bars({"No region": 1.0, "(missing)": 2.0}, "region")]
    assert labels == ["No region", "(No region)"]


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>", "[x](javascript:alert(1))", "$x$", "=1+1", "שלום", "🙂", "a\nb", "x" * 500]
)
def test_names_of_others_are_data_of_the_chart_and_nothing_else(name):
    spec = charts.bar_chart(charts.breakdown_bars({name: 1.0, "y": 2.0}, "region"), "Revenue").to_dict()
    data = json.dumps(spec.pop("data"), ensure_ascii=False)
    assert json.dumps(name, ensure_ascii=False) in data
    assert name not in json.dumps(spec, ensure_ascii=False) or len(name) == 1


def test_bars_of_losses_and_of_nothing_have_an_axis():
    for amounts in ({"a": -5.0, "b": -1.0}, {"a": 0.0, "b": 0.0}, {"a": -5.0, "b": 9.0}):
        spec = charts.bar_chart(charts.breakdown_bars(amounts, "region"), "Revenue").to_dict()
        low, high = spec["layer"][0]["encoding"]["x"]["scale"]["domain"]
        assert low <= min(amounts.values())
        assert high >= max(amounts.values())
        assert low < high


def test_days_without_a_row_had_no_revenue_and_what_has_no_date_is_told_apart():
    daily = [
        {"day": "2026-01-01", "revenue": 5.0, "orders": 1},
        {"day": "2026-01-03", "revenue": 6, "orders": 2},
        {"day": "(missing)", "revenue": 7, "orders": 3},
    ]
    found = charts.series({"time_series_daily": daily}, "Day")
    assert [(point.begins.day, point.revenue, point.orders) for point in found.points] == [(1, 5.0, 1), (2, 0.0, 0), (3, 6.0, 2)]
    assert found.undated == (7.0, 3)


def test_very_long_series_of_days_show_the_last_years():
    days = [{"day": date.fromordinal(730_000 + number).isoformat(), "revenue": 1.0, "orders": 1} for number in range(3000)]
    found = charts.series({"time_series_daily": days}, "Day")
    assert (len(found.points), found.left_out) == (charts.MAX_DAYS_SHOWN, 3000 - charts.MAX_DAYS_SHOWN)


def months(number: int) -> charts.Series:
    return charts.series(
        {"time_series_monthly": [{"month": f"2026-{n:02d}", "revenue": 5.0, "orders": 1} for n in range(1, number + 1)]}, "Month"
    )


def test_months_are_bars_at_the_readers_own_midnight():
    spec = charts.time_chart(months(12), "Month").to_dict()
    assert spec["mark"]["type"] == "bar"
    assert spec["data"]["values"][0]["at"] == "2026-01-01T00:00:00"
    assert [value["month"] for value in spec["encoding"]["x"]["axis"]["values"]] == [1, 3, 5, 7, 9, 11]


def test_one_month_is_a_bar_with_its_name():
    spec = charts.time_chart(months(1), "Month").to_dict()
    assert spec["data"]["values"][0]["label"] == "January 2026"


def test_no_series_or_a_strange_one_is_an_empty_one():
    for kpis in ({}, {"time_series_daily": None}, {"time_series_daily": [None, 3, {"day": "x"}]}):
        assert charts.series(kpis, "Day") == charts.Series((), None)


def test_a_funnel_shows_what_was_counted():
    assert [(bar.label, bar.text) for bar in charts.funnel_bars(KPIS["funnel"])] == [
        ("Visitors", "1,000"),
        ("Converting visitors", "40"),
        ("Orders", "50"),
    ]
    assert [bar.label for bar in charts.funnel_bars({"total_visitors": 0, "converting_visitors": None, "orders": 2})] == [
        "Visitors",
        "Orders",
    ]


def test_a_ratio_says_what_was_divided_by_what():
    known = {"ratios": [{"label": "orders / visitors", "numerator": 50, "denominator": 1000, "pct": 5.0}]}
    assert charts.ratios(known) == [("Orders / visitors", "5.00 %", "50 of 1,000: orders / visitors.")]


def test_large_amounts_at_a_bar_are_short():
    assert [charts.short_money(amount) for amount in (999_999, 1_234_567, -2_500_000_000)] == ["999,999", "1.23 M", "-2.50 bn"]
