"""The orders of a table, counted once for the KPIs and the profile alike: it is the costliest count of a long table. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import narwhals as nw

from treadle.flows.sales.column_profile import Tally, add_counts
from treadle.flows.sales.scan import collect, partitions
from treadle.flows.sales.table import CleanTable

ORDER_ID: Final = "order_id"


@dataclass(frozen=True, slots=True)
class OrderCounts:
    """Distinct orders by day and by month, which its first day names; None is the period of the rows without a date. `tally`: of the order ids.

    An order with rows on two days counts once on each of them, and once in their month; so the orders of a series may add up to more than all orders.
    """

    tally: Tally
    by_day: Mapping[date | None, int]
    by_month: Mapping[date | None, int]


def count_orders(table: CleanTable, date_column: str | None) -> OrderCounts:
    """Count the orders of every period, exactly and in bounded memory. The table must have an `order_id`."""
    frame: nw.LazyFrame[Any] = nw.from_native(table.frame)
    day = nw.col(date_column).cast(nw.Date) if date_column else nw.lit(None, dtype=nw.Date)
    lines = frame.select(value=nw.col(ORDER_ID), day=day).filter(~nw.col("value").is_null())
    tally, by_day, by_month = Tally(), Counter[date | None](), Counter[date | None]()
    for part in partitions(lines, "value", groups=table.row_count):
        counted = collect(part.group_by("value").agg(**_OF_AN_ORDER), row_count=table.row_count)
        add_counts(tally, counted, find_range=True)
        daily, monthly = _periods_of(counted) if counted.select(_ON_ONE_DAY.all()).item() else _periods_of_several(part, table.row_count)
        by_day.update(daily)
        by_month.update(monthly)
    return OrderCounts(tally, by_day, by_month)


_OF_AN_ORDER: Final = {"count": nw.len(), "first": nw.col("day").min(), "last": nw.col("day").max(), "dated": nw.col("day").count()}
_ON_ONE_DAY: Final = (nw.col("dated") == 0) | ((nw.col("dated") == nw.col("count")) & (nw.col("first") == nw.col("last")))


def _periods_of(counted: nw.DataFrame[Any]) -> tuple[Counter[date | None], Counter[date | None]]:
    """Per day and per month, of orders none of which can count twice, as each has one day or none."""
    by_day = Counter[date | None](dict(counted.group_by("first").agg(orders=nw.len()).rows()))
    by_month = Counter[date | None]()
    for day, count in by_day.items():
        by_month[month_of(day)] += count
    return by_day, by_month


def _periods_of_several(part: nw.LazyFrame[Any], row_count: int) -> tuple[Counter[date | None], Counter[date | None]]:
    daily = collect(part.group_by("value", "day").agg(rows=nw.len()), row_count=row_count)
    monthly = daily.with_columns(day=nw.col("day").dt.truncate("1mo")).group_by("value", "day").agg(rows=nw.len())
    by_day, by_month = (dict(orders.group_by("day").agg(orders=nw.len()).rows()) for orders in (daily, monthly))
    return Counter[date | None](by_day), Counter[date | None](by_month)


def month_of(day: date | None) -> date | None:
    """The first day of its month."""
    return day and day.replace(day=1)
