from collections import defaultdict
from dataclasses import replace
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sales_tables import clean_table, table_of

from treadle.errors import InvalidInput
from treadle.flows.sales import kpis as kpis_module
from treadle.flows.sales import scan
from treadle.flows.sales.json_text import to_json
from treadle.flows.sales.kpis import MISSING, compute_kpis, is_identifier, money

ORDERS = {"order_id": ["A", "A", "B", "C"], "revenue": ["10.10", "5.05", "20", "0.005"]}


def compute(columns, **fields):
    return compute_kpis(clean_table(columns, **fields))[0]


def test_total_revenue_distinct_orders_and_average_order_value():
    kpis = compute(ORDERS)
    assert kpis["total_revenue"] == Decimal("35.16")  # 35.155, half away from zero
    assert kpis["orders"] == 3
    assert kpis["aov"] == Decimal("11.72")


def test_money_is_rounded_half_away_from_zero_once_and_never_shows_a_negative_zero():
    assert [str(money(Decimal(text))) for text in ("2.675", "-2.675", "391721.905", "-0.001", "0.004999")] == [
        "2.68",
        "-2.68",
        "391721.91",
        "0.00",
        "0.00",
    ]


def test_many_small_amounts_are_summed_without_binary_noise():
    kpis = compute({"order_id": [str(number) for number in range(1000)], "revenue": ["0.1"] * 1000})
    assert kpis["total_revenue"] == Decimal("100.00")
    assert '"total_revenue": 100.00' in to_json(kpis)


@pytest.mark.parametrize("missing", ["revenue", "order_id"])
def test_a_table_without_a_required_column_is_refused_and_the_column_named(missing):
    columns = {name: values for name, values in ORDERS.items() if name != missing}
    with pytest.raises(InvalidInput, match=missing) as caught:
        compute(columns)
    assert caught.value.details["missing"] == [missing]


def test_rows_without_a_group_stand_under_missing_together_with_blank_text_and_the_literal_word():
    kpis = compute(ORDERS | {"region": ["West", None, "  ", MISSING]})
    assert kpis["revenue_by_region"] == {MISSING: Decimal("25.06"), "West": Decimal("10.10")}


def test_a_breakdown_is_ordered_by_revenue_and_then_by_name():
    kpis = compute({"order_id": list("abcd"), "revenue": ["1", "7", "1", "1"], "region": ["Z", "M", "A", "K"]})
    assert list(kpis["revenue_by_region"]) == ["M", "A", "K", "Z"]


def test_every_categorical_column_is_broken_down_and_nothing_else():
    many = [f"value {number}" for number in range(51)]
    columns = {
        "order_id": [str(number) for number in range(51)],
        "revenue": ["1"] * 51,
        "segment": ["a", "b", None] * 17,
        "returned": [True, False, None] * 17,
        "fifty": [*many[:50], many[0]],
        "fifty_one": many,
        "constant": ["x"] * 51,
        "customer_id": ["c1", "c2", "c3"] * 17,
        "quantity": [1, 2, 3] * 17,
        "discount": [0.1, 0.2, 0.3] * 17,
        "order_date": [date(2024, 1, 1), date(2024, 1, 2), None] * 17,
    }
    breakdowns = compute(columns)["breakdowns"]
    assert list(breakdowns) == ["revenue_by_segment", "revenue_by_returned", "revenue_by_fifty"]
    assert set(breakdowns["revenue_by_returned"]) == {"true", "false", MISSING}


def test_fifty_values_and_missing_ones_are_still_a_category():
    values = [f"value {number}" for number in range(50)]
    kpis = compute({"order_id": [str(n) for n in range(51)], "revenue": ["1"] * 51, "shop": [*values, None]})
    assert len(kpis["breakdowns"]["revenue_by_shop"]) == 51


def test_a_headline_breakdown_is_given_whatever_its_kind_and_is_empty_without_its_column():
    kpis = compute(ORDERS | {"region": [1, 1, 2, 2], "channel": ["only one"] * 4})
    assert kpis["revenue_by_region"] == {"2": Decimal("20.01"), "1": Decimal("15.15")}
    assert kpis["revenue_by_channel"] == {"only one": Decimal("35.16")}
    assert kpis["revenue_by_product_category"] == {}
    assert kpis["breakdowns"] == {}


def test_a_headline_column_with_too_many_values_is_left_empty_with_a_warning():
    rows = kpis_module.MAX_GROUPS + 1
    table = clean_table({"order_id": [str(n) for n in range(rows)], "revenue": ["1"] * rows, "region": [f"r{n}" for n in range(rows)]})
    kpis, findings = compute_kpis(table)
    assert kpis["revenue_by_region"] == {}
    assert [(finding.check, finding.severity) for finding in findings] == [("revenue_by_region", "warning")]


def test_a_breakdown_that_fails_is_a_warning_and_everything_else_stands():
    table = clean_table({"order_id": ["A", "B"], "revenue": ["1.00", "2.00"], "region": ["West", "East"], "segment": ["x", "y"]})
    broken = table.frame.with_columns(pl.col("region").cast(pl.Int64, strict=True).cast(pl.String))
    kpis, findings = compute_kpis(replace(table, frame=broken))
    assert kpis["total_revenue"] == Decimal("3.00")
    assert kpis["revenue_by_region"] == {}
    assert kpis["breakdowns"] == {"revenue_by_segment": {"y": Decimal("2.00"), "x": Decimal("1.00")}}
    assert [(finding.check, finding.passed, finding.severity) for finding in findings] == [("revenue_by_region", False, "warning")]


def test_orders_of_a_period_are_distinct_also_when_an_order_has_lines_on_several_days():
    days = [date(2024, 1, 31), date(2024, 1, 31), date(2024, 2, 1), date(2024, 2, 2)]
    kpis = compute({"order_id": ["A", "A", "A", "B"], "revenue": ["1", "2", "4", "8"], "order_date": days})
    assert kpis["time_series_daily"] == [
        {"day": "2024-01-31", "revenue": Decimal("3.00"), "orders": 1},
        {"day": "2024-02-01", "revenue": Decimal("4.00"), "orders": 1},
        {"day": "2024-02-02", "revenue": Decimal("8.00"), "orders": 1},
    ]
    assert kpis["time_series_monthly"] == [
        {"month": "2024-01", "revenue": Decimal("3.00"), "orders": 1},
        {"month": "2024-02", "revenue": Decimal("12.00"), "orders": 2},
    ]


@pytest.mark.parametrize("groups", [1, 1000])
def test_an_order_on_two_days_is_counted_rightly_whatever_the_other_orders_of_its_part_do(monkeypatch, groups):
    """Months are added up from days only where no order has a second one; 'D' has two in one month, 'E' a day and none."""
    monkeypatch.setattr(scan, "GROUPS_IN_MEMORY", groups)
    orders = {
        "A": [date(2024, 1, 1)],
        "B": [date(2024, 1, 1)],
        "C": [None],
        "D": [date(2024, 2, 1), date(2024, 2, 9)],
        "E": [date(2024, 2, 1), None],
    }
    lines = [(order, day) for order, days in orders.items() for day in days * 2]
    kpis = compute({"order_id": [order for order, _ in lines], "revenue": ["1"] * len(lines), "order_date": [day for _, day in lines]})
    assert kpis["orders"] == 5
    assert {row["day"]: row["orders"] for row in kpis["time_series_daily"]} == {
        "2024-01-01": 2,
        "2024-02-01": 2,
        "2024-02-09": 1,
        MISSING: 2,
    }
    assert {row["month"]: row["orders"] for row in kpis["time_series_monthly"]} == {"2024-01": 2, "2024-02": 2, MISSING: 2}


def test_rows_without_a_date_stand_last_under_missing():
    kpis = compute({"order_id": ["A", "B", None], "revenue": ["1", "2", "4"], "order_date": [None, date(2024, 5, 6), None]})
    assert kpis["time_series_daily"] == [
        {"day": "2024-05-06", "revenue": Decimal("2.00"), "orders": 1},
        {"day": MISSING, "revenue": Decimal("5.00"), "orders": 1},
    ]
    assert [row["month"] for row in kpis["time_series_monthly"]] == ["2024-05", MISSING]


def test_rows_without_revenue_or_order_are_counted_and_not_lost():
    kpis = compute({"order_id": ["A", None, "B"], "revenue": [None, "2.00", "3.00"]})
    assert (kpis["rows_without_revenue"], kpis["rows_without_order_id"], kpis["row_count"]) == (1, 1, 3)
    assert (kpis["total_revenue"], kpis["orders"]) == (Decimal("5.00"), 2)


def test_without_any_order_or_revenue_there_is_no_average_and_the_total_is_zero():
    kpis = compute({"order_id": [None, None], "revenue": [None, None]})
    assert (kpis["total_revenue"], kpis["orders"], kpis["aov"]) == (Decimal("0.00"), 0, None)


def test_the_date_column_is_order_date_else_the_first_that_holds_dates_else_none():
    shipped = [datetime.fromisoformat("2024-03-04T23:59"), datetime.fromisoformat("2024-04-01")]
    two = {"order_id": ["A", "B"], "revenue": ["1", "2"]}
    assert compute(two)["date_column"] is None
    assert compute(two)["time_series_daily"] == []
    assert compute(two | {"shipped": shipped})["date_column"] == "shipped"
    assert [row["day"] for row in compute(two | {"shipped": shipped})["time_series_daily"]] == ["2024-03-04", "2024-04-01"]
    assert compute(two | {"shipped": shipped, "order_date": [date(2024, 1, 1)] * 2})["date_column"] == "order_date"
    assert compute(two | {"shipped": shipped, "order_date": ["soon", "later"]})["date_column"] == "shipped"


def test_a_daily_series_of_centuries_is_left_empty_with_a_warning():
    days = [date.fromordinal(700_000 + number) for number in range(kpis_module.MAX_DAYS + 1)]
    table = clean_table({"order_id": ["A"] * len(days), "revenue": ["1"] * len(days), "order_date": days})
    kpis, findings = compute_kpis(table)
    assert kpis["time_series_daily"] == []
    assert sum(row["revenue"] for row in kpis["time_series_monthly"]) == len(days)
    assert [finding.check for finding in findings] == ["time_series_daily"]


@pytest.mark.parametrize("name", ["id", "order_id", "customer_key", "invoice_number", "row_uuid"])
def test_names_that_mean_single_things_are_identifiers(name):
    assert is_identifier(name)


@pytest.mark.parametrize("name", ["region", "country_code", "paid", "kidney", "valid"])
def test_other_names_are_not_identifiers(name):
    assert not is_identifier(name)


def test_counting_in_parts_gives_the_same_orders_as_counting_at_once(monkeypatch):
    columns = {
        "order_id": [f"O{number % 37}" for number in range(300)],
        "revenue": [str(number) for number in range(300)],
        "order_date": [date(2024, 1 + number % 12, 1 + number % 28) for number in range(300)],
    }
    at_once = compute(columns)
    monkeypatch.setattr(scan, "GROUPS_IN_MEMORY", 10)
    assert compute(columns) == at_once


def test_streaming_and_in_memory_give_the_same_bytes(monkeypatch):
    columns = {
        "order_id": [f"O{number % 37}" for number in range(300)],
        "revenue": [f"{number}.{number:03d}" for number in range(300)],
        "region": [None, "West", "East"] * 100,
        "order_date": [date(2024, 1 + number % 12, 1 + number % 28) for number in range(300)],
    }
    in_memory = to_json(compute(columns))
    monkeypatch.setattr(scan, "_IN_MEMORY_ROWS", 0)
    assert to_json(compute(columns)) == in_memory


amounts = st.one_of(st.none(), st.decimals(min_value=-(10**9), max_value=10**9, places=4))
rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.sampled_from("ABCDE")),
        amounts,
        st.one_of(st.none(), st.sampled_from(["West", "East", " ", MISSING, "Ærø"])),
        st.one_of(st.none(), st.dates(date(2023, 11, 1), date(2024, 2, 28))),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(rows)
def test_the_figures_equal_those_of_exact_arithmetic_row_by_row(drawn):
    order_ids, revenues, regions, days = (list(column) for column in zip(*drawn, strict=True))
    frame = pl.DataFrame({"order_id": pl.Series(order_ids, dtype=pl.String), "region": pl.Series(regions, dtype=pl.String)}).with_columns(
        pl.Series("revenue", revenues, dtype=pl.Decimal(38, 6)), pl.Series("order_date", days, dtype=pl.Date)
    )
    kpis, _ = compute_kpis(table_of(frame))
    by_region: defaultdict[str, Fraction] = defaultdict(Fraction)
    by_month: defaultdict[str, set[str]] = defaultdict(set)
    for order_id, revenue, region, day in drawn:
        by_region[region if region and region.strip() else MISSING] += Fraction(revenue or 0)
        by_month[day.isoformat()[:7] if day else MISSING] |= {order_id} - {None}
    assert kpis["total_revenue"] == rounded(sum(by_region.values(), Fraction()))
    assert kpis["orders"] == len(set(order_ids) - {None})
    assert kpis["revenue_by_region"] == {region: rounded(revenue) for region, revenue in by_region.items()}
    assert {row["month"]: row["orders"] for row in kpis["time_series_monthly"]} == {month: len(ids) for month, ids in by_month.items()}


def rounded(amount: Fraction) -> Decimal:
    return (Decimal(amount.numerator) / Decimal(amount.denominator)).quantize(Decimal("0.01"), ROUND_HALF_UP)


def test_the_table_is_not_touched_by_computing():
    table = clean_table(ORDERS)
    before = table.frame.collect()
    compute_kpis(table)
    assert table.frame.collect().equals(before)
