"""The sample workbook `sales_orders_fact.xlsx`: a year of a small trader's orders, invented, and the same on every machine.

The figures that its readers may rely on: product.md §1.3 (50,000 orders, 1,428,571 visitors, 49,080 of them converting).
"""

from bisect import bisect
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Final, Generic, TypeVar

from treadle.flows.sales.sheet_writer import Cell, write_workbook

Value = TypeVar("Value")

FILE_NAME: Final = "sales_orders_fact.xlsx"
SHEET: Final = "Orders"
ORDERS: Final = 50_000
SEED: Final = 20_260_101
TOTAL_VISITORS: Final = 1_428_571
CONVERTING_VISITORS: Final = 49_080
HEADER: Final = (
    "order_id",
    "order_date",
    "channel",
    "region",
    "product_category",
    "customer",
    "quantity",
    "revenue",
    "total_visitors",
    "converting_visitors",
)

_FIRST_DAY: Final = date(2025, 1, 1)
_DAYS: Final = 365
_MONTH_WEIGHTS: Final = (0.8, 0.75, 0.9, 0.95, 1.0, 0.95, 0.85, 0.8, 1.0, 1.05, 1.5, 1.7)
_WEEKEND_WEIGHT: Final = 0.7
_CHANNELS: Final = {"Online": 0.52, "Retail": 0.27, "Marketplace": 0.14, "Partner": 0.07}
_REGIONS: Final[dict[str | None, float]] = {
    "West": 0.31,
    "East": 0.28,
    "Central": 0.22,
    "South": 0.187,
    None: 0.003,
}  # some orders lack their region
_CATEGORIES: Final = {"Electronics": 0.24, "Furniture": 0.12, "Office Supplies": 0.34, "Apparel": 0.18, "Outdoor": 0.12}
_TYPICAL_PRICE_CENTS: Final = {"Electronics": 18_900, "Furniture": 24_900, "Office Supplies": 1_290, "Apparel": 3_900, "Outdoor": 6_900}
_CUSTOMERS: Final = 8_000


def write_sales_orders(path: Path, *, orders: int = ORDERS, seed: int = SEED) -> None:
    """Write the sample workbook; the same orders and seed give the same bytes."""
    write_workbook(path, HEADER, sales_orders(orders, seed), sheet=SHEET)


def sales_orders(orders: int = ORDERS, seed: int = SEED) -> Iterator[tuple[Cell, ...]]:
    """The rows of the sample in the order of HEADER, oldest order first; one row is one order."""
    random = Random(seed)  # noqa: S311 - sample data, to be the same every time
    pick_day, pick_channel, pick_region, pick_category = (
        _Picker(_day_weights()),
        _Picker(_CHANNELS),
        _Picker(_REGIONS),
        _Picker(_CATEGORIES),
    )
    for number, day in enumerate(sorted(pick_day(random) for _ in range(orders)), start=1):
        category = pick_category(random)
        quantity = 1 + int(9 * random.random() ** 3)
        cents = int(_TYPICAL_PRICE_CENTS[category] * (0.4 + 1.2 * random.random()))
        customer = 1 + int(_CUSTOMERS * random.random() ** 2)  # the low numbers buy most
        yield (
            f"SO-{number:06d}",
            _FIRST_DAY + timedelta(days=day),
            pick_channel(random),
            pick_region(random),
            category,
            f"Customer {customer:04d}",
            quantity,
            quantity * cents / 100,
            TOTAL_VISITORS,
            CONVERTING_VISITORS,
        )


class _Picker(Generic[Value]):
    """Picks a value with the probability of its weight. Only `Random.random` is used: its sequence is the same in every version of Python."""

    def __init__(self, weights: Mapping[Value, float]) -> None:
        self._values = list(weights)
        self._bounds = list(accumulate(weights.values()))

    def __call__(self, random: Random) -> Value:
        return self._values[bisect(self._bounds, random.random() * self._bounds[-1])]


def _day_weights() -> dict[int, float]:
    """Day of the year from 0 → how many orders come in: more before Christmas, fewer at weekends."""
    days = {number: _FIRST_DAY + timedelta(days=number) for number in range(_DAYS)}
    return {number: _MONTH_WEIGHTS[day.month - 1] * (_WEEKEND_WEIGHT if day.weekday() >= 5 else 1.0) for number, day in days.items()}
