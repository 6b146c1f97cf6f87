from datetime import date
from decimal import Decimal

import pytest
from tests.unit.sales_tables import clean_table

from treadle.errors import InvalidInput
from treadle.flows.sales import scan
from treadle.flows.sales.funnel import FunnelSource, parse_funnel
from treadle.flows.sales.kpis import compute_kpis

FOUR_ORDERS = {"order_id": ["A", "B", "C", "D"], "revenue": ["1", "2", "3", "4"]}


def funnel_of(columns, source=None):
    return compute_kpis(clean_table(FOUR_ORDERS | columns), source)[0].get("funnel")


def test_without_visitors_anywhere_there_is_no_funnel():
    assert "funnel" not in compute_kpis(clean_table(FOUR_ORDERS))[0]


def test_a_total_that_every_row_repeats_is_taken_once_and_both_ratios_are_labelled():
    funnel = funnel_of({"total_visitors": [1_428_571] * 4, "converting_visitors": [49_080] * 4})
    assert (funnel["total_visitors"], funnel["converting_visitors"], funnel["orders"]) == (1_428_571, 49_080, 4)
    assert (funnel["source"], funnel["conversion_rate_pct"]) == ("columns", Decimal("3.44"))
    assert [(ratio["label"], ratio["numerator"], ratio["denominator"]) for ratio in funnel["ratios"]] == [
        ("converting visitors / visitors", 49_080, 1_428_571),
        ("orders / visitors", 4, 1_428_571),
    ]
    assert "every row repeats" in funnel["definition"]


def test_the_reference_ratios_of_the_sample():
    columns = {
        "order_id": [str(number) for number in range(50_000)],
        "revenue": ["1"] * 50_000,
        "total_visitors": [1_428_571] * 50_000,
        "converting_visitors": [49_080] * 50_000,
    }
    funnel = compute_kpis(clean_table(columns))[0]["funnel"]
    assert (funnel["conversion_rate_pct"], funnel["orders_per_visitor_pct"]) == (Decimal("3.44"), Decimal("3.50"))


def test_a_value_that_differs_by_row_is_summed():
    assert funnel_of({"visitors": [10, 20, 30, 40]})["total_visitors"] == 100


def test_a_value_that_each_day_repeats_is_summed_over_days():
    days = [date(2024, 1, 1), date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 2)]
    funnel = funnel_of({"visitors": [10, 10, 25, 25], "order_date": days})
    assert funnel["total_visitors"] == 35
    assert "sum over days" in funnel["definition"]


def test_one_row_a_day_is_a_sum_like_any_other():
    days = [date(2024, 1, number) for number in (1, 2, 3, 4)]
    assert funnel_of({"visitors": [10, 20, 30, 40], "order_date": days})["total_visitors"] == 100


def test_flags_on_rows_are_summed_also_where_all_are_set():
    funnel = funnel_of({"visitors": [1, 1, 1, 1], "converting_visitors": [1, 0, 1, 0]})
    assert (funnel["total_visitors"], funnel["converting_visitors"]) == (4, 2)


def test_visitor_ids_are_counted_once_each_and_convert_where_there_is_an_order():
    columns = {"order_id": ["A", "B", None, None], "revenue": ["1", "2", None, None], "visitor_id": ["v1", "v1", "v2", None]}
    funnel = compute_kpis(clean_table(columns))[0]["funnel"]
    assert (funnel["total_visitors"], funnel["converting_visitors"], funnel["orders"]) == (2, 1, 2)
    assert funnel["conversion_rate_pct"] == Decimal("50.00")


def test_visitor_ids_counted_in_parts_are_the_same(monkeypatch):
    columns = {"order_id": [str(n) for n in range(100)], "revenue": ["1"] * 100, "visitor_id": [f"v{n % 41}" for n in range(100)]}
    monkeypatch.setattr(scan, "GROUPS_IN_MEMORY", 7)
    assert compute_kpis(clean_table(columns))[0]["funnel"]["total_visitors"] == 41


def test_the_funnel_file_counts_when_the_table_has_no_visitors():
    funnel = funnel_of({}, FunnelSource(200, 8))
    assert (funnel["source"], funnel["total_visitors"], funnel["conversion_rate_pct"]) == ("file", 200, Decimal("4.00"))
    assert funnel["orders_per_visitor_pct"] == Decimal("2.00")


def test_the_tables_own_visitors_go_before_the_funnel_file():
    assert funnel_of({"visitors": [10, 20, 30, 40]}, FunnelSource(999))["total_visitors"] == 100


def test_without_converting_visitors_only_the_ratio_of_orders_is_given():
    funnel = funnel_of({}, FunnelSource(200))
    assert (funnel["converting_visitors"], funnel["conversion_rate_pct"]) == (None, None)
    assert [ratio["label"] for ratio in funnel["ratios"]] == ["orders / visitors"]


def test_nobody_came_gives_no_ratio_instead_of_a_division_by_zero():
    assert funnel_of({}, FunnelSource(0, 0))["orders_per_visitor_pct"] is None


def test_visitors_that_are_no_numbers_are_left_out_with_a_warning():
    kpis, findings = compute_kpis(clean_table(FOUR_ORDERS | {"visitors": ["many", "few", "few", "none"]}))
    assert "funnel" not in kpis
    assert [(finding.check, finding.severity) for finding in findings] == [("funnel", "warning")]


def test_an_empty_column_of_visitors_counts_as_none():
    table = clean_table(FOUR_ORDERS | {"visitors": [0, 0, 0, 0]})
    nulls = table.frame.collect().with_columns(visitors=None).cast({"visitors": int}).lazy()
    assert "funnel" not in compute_kpis(type(table)(nulls, table.columns, 4))[0]


@pytest.mark.parametrize(
    "content", [[], "text", {}, {"total_visitors": -1}, {"total_visitors": 1.5}, {"total_visitors": "7"}, {"total_visitors": True}]
)
def test_a_funnel_file_that_makes_no_sense_is_refused(content):
    with pytest.raises(InvalidInput, match="funnel file"):
        parse_funnel(content)


def test_a_funnel_file_is_read():
    assert parse_funnel({"total_visitors": 10.0, "converting_visitors": 2, "note": "x"}) == FunnelSource(10, 2)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"visitors": [-5, 20, 30, 40]}, ["1 row has visitors below zero"]),
        ({"visitors": [5, 6, 7, 8], "converting_visitors": [1, -1, -2, 1]}, ["2 rows have converting_visitors below zero"]),
        (
            {"visitors": [5] * 4, "converting_visitors": [100] * 4},
            ["4 rows have more converting_visitors than visitors", "more converting visitors (100) than visitors (5)"],
        ),
        ({"visitors": [5] * 4, "converting_visitors": [2] * 4}, []),
    ],
)
def test_numbers_of_visitors_that_cannot_be_are_warned_of(columns, told):
    table = clean_table(FOUR_ORDERS | columns)
    _, findings = compute_kpis(table)
    funnel = [finding for finding in findings if finding.check == "funnel"]
    assert [words for words, finding in zip(told, funnel, strict=True) if words not in finding.detail] == []
    assert all(finding.severity == "warning" and not finding.passed for finding in funnel)


def test_a_funnel_file_with_more_converting_than_coming_is_warned_of():
    _, findings = compute_kpis(clean_table(FOUR_ORDERS), FunnelSource(5, 100))
    assert [finding.detail for finding in findings if finding.check == "funnel"] == [
        "The funnel has more converting visitors (100) than visitors (5)."
    ]
