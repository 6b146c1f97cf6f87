from collections import Counter, defaultdict
from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sales_tables import clean_table, table_of

from treadle.errors import InvalidInput
from treadle.flows.sales import scan
from treadle.flows.sales.json_text import to_json
from treadle.flows.sales.kpis import compute_kpis, count_table_orders
from treadle.flows.sales.orders import count_orders
from treadle.flows.sales.profile import FileFacts, compute_profile
from treadle.flows.sales.table import ColumnKind

FILE = FileFacts("orders.csv", 1, datetime(2026, 1, 1, tzinfo=UTC))
TODAY = date(2026, 1, 1)
lines = st.lists(
    st.tuples(
        st.one_of(st.none(), st.sampled_from(["1", "01", "001", "", " ", "É"])),  # as numbers, the first three would be one
        st.one_of(st.none(), st.dates(date(2023, 12, 30), date(2024, 1, 2))),
    ),
    max_size=20,
)


def orders_table(drawn):
    ids, days = [order for order, _ in drawn], [day for _, day in drawn]
    return table_of(pl.DataFrame({"order_id": pl.Series(ids, dtype=pl.String), "order_date": pl.Series(days, dtype=pl.Date)}))


@pytest.mark.parametrize("groups", [2, 1000])
@settings(max_examples=60, deadline=None)
@given(drawn=lines)
def test_orders_are_counted_as_sets_would_count_them(groups, drawn):
    by_day, by_month = defaultdict(set), defaultdict(set)
    for order, day in drawn:
        if order is not None:
            by_day[day].add(order)
            by_month[day and day.replace(day=1)].add(order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "GROUPS_IN_MEMORY", groups)
        counts = count_orders(orders_table(drawn), "order_date")
    assert counts.by_day == {day: len(orders) for day, orders in by_day.items()}
    assert counts.by_month == {month: len(orders) for month, orders in by_month.items()}
    ids = Counter(order for order, _ in drawn if order is not None)
    assert counts.tally.distinct == len(ids)
    assert counts.tally.top == sorted(ids.items(), key=lambda item: (-item[1], item[0]))[:10]
    assert (counts.tally.low, counts.tally.high) == (min(ids, default=None), max(ids, default=None))


@pytest.mark.parametrize("days", [[date(2024, 1, 2)] * 6, [date(2024, 1, 2), date(2024, 2, 3), None] * 2, None])
def test_with_orders_counted_before_kpis_and_profile_are_the_same(days):
    columns = {"order_id": ["007", "7", "007", None, "a", "a"], "revenue": ["1"] * 6} | ({"order_date": days} if days else {})
    table = clean_table(columns)
    counts = count_table_orders(table)
    assert to_json(compute_kpis(table, None, counts)[0]) == to_json(compute_kpis(table)[0])
    assert to_json(compute_profile(table, FILE, TODAY, counts)) == to_json(compute_profile(table, FILE, TODAY))


def test_order_ids_that_are_no_text_get_a_profile_of_their_own_kind():
    """Counted as an order's id they have no histogram, which numbers do have."""
    table = clean_table({"order_id": [1, 2, 2], "revenue": ["1"] * 3})
    assert table.columns[0].kind is ColumnKind.INTEGER
    counts = count_table_orders(table)
    assert compute_profile(table, FILE, TODAY, counts)["schema"] == compute_profile(table, FILE, TODAY)["schema"]


def test_orders_of_a_table_without_order_ids_are_refused():
    table = clean_table({"revenue": ["1"]})
    with pytest.raises(InvalidInput, match="order_id"):
        count_table_orders(table)
