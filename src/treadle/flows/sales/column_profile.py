"""What one column holds: its range, its distinct values, the most frequent ones, and how its numbers or dates spread. Pure.

Everything is derived from the column's value counts, part by part where it has many values: exact, in bounded memory, the same on every run.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import narwhals as nw

from treadle.flows.sales.scan import collect, look_over, partitions
from treadle.flows.sales.table import CleanColumn, CleanTable, ColumnKind

TOP_VALUES: Final = 10
HISTOGRAM_BINS: Final = 20
TEXT_LENGTH: Final = 200  # a longer text is cut, with an ellipsis as its last character
EXACT_DISTINCT: Final = 20_000_000  # a column with more distinct values than about this gets an estimate instead of counts

_NUMBERS = {ColumnKind.INTEGER, ColumnKind.FLOAT, ColumnKind.MONEY}
_TIMES = {ColumnKind.DATE, ColumnKind.TIMESTAMP}
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the timestamps of a workbook have no zone
_MICROSECONDS_A_DAY = 86_400_000_000
_LAST_MOMENT = datetime(9999, 12, 31)  # noqa: DTZ001 - as above; the last edge of a histogram that reaches the last year would lie beyond it


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """What one pass over the table tells of a column. low and high are null when it holds no value, and for text and booleans."""

    column: CleanColumn
    null_count: int
    estimated_distinct: int
    low: Any
    high: Any


@dataclass(slots=True)
class Tally:
    """The value counts of a column, summed up part by part."""

    distinct: int = 0
    low: Any = None
    high: Any = None
    top: list[tuple[Any, int]] = field(default_factory=list[tuple[Any, int]])
    bins: Counter[int] = field(default_factory=Counter[int])


@dataclass(frozen=True, slots=True)
class _Bins:
    """Bins of equal width over a column's range; positions are numbers, or microseconds since 1970."""

    low: float
    width: float
    count: int


def column_facts(table: CleanTable, *, count_rows: bool) -> tuple[list[ColumnFacts], int | None]:
    """Look over every column in one pass: nulls, the estimated number of distinct values, the range of numbers and dates; and the distinct rows.

    count_rows: whether the distinct rows are wanted; see `look_over`.
    """
    ranged = {column.name for column in table.columns if column.kind in _NUMBERS | _TIMES}
    names = [column.name for column in table.columns]
    looks, distinct_rows = look_over(nw.from_native(table.frame), names, ranged=ranged, count_rows=count_rows, row_count=table.row_count)
    return [ColumnFacts(column, *looks[column.name]) for column in table.columns], distinct_rows


def profile_column(table: CleanTable, facts: ColumnFacts, known: Tally | None = None) -> dict[str, Any]:
    """Return one entry of the profile's `schema`.

    `top_values` has up to TOP_VALUES of `{value, count}`, the most frequent first, equal ones by value. `histogram` has up to HISTOGRAM_BINS of
    `{from, to, count}`, the last one closed, the others open at `to`; it is null for text and booleans.
    A column with more than EXACT_DISTINCT distinct values has `distinct_exact` false, an estimate, and neither top values nor histogram.

    known: the value counts of a column of text, when somebody has them already.
    """
    exact = facts.estimated_distinct <= EXACT_DISTINCT
    bins = _bins(facts) if exact else None
    tally = (known or _tally(table, facts, bins)) if exact else _estimate(table, facts)
    rows = table.row_count
    return {
        "column": facts.column.name,
        "source_column": facts.column.source_column,
        "dtype": str(facts.column.kind),
        "null_count": facts.null_count,
        "null_pct": round(100 * facts.null_count / rows, 2) if rows else 0.0,
        "unparseable_count": facts.column.unparseable,
        "distinct_count": tally.distinct,
        "distinct_exact": exact,
        "min": shown_value(tally.low),
        "max": shown_value(tally.high),
        "top_values": [{"value": shown_value(value), "count": count} for value, count in tally.top],
        "histogram": _histogram(facts.column.kind, bins, tally.bins) if bins else None,
    }


def shown_value(value: Any) -> Any:
    """A value as the profile shows it: text cut to TEXT_LENGTH, decimals without trailing zeros, no NaN or infinity, dates left as dates."""
    if isinstance(value, str):
        return value if len(value) <= TEXT_LENGTH else value[: TEXT_LENGTH - 1] + "…"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return _without_trailing_zeros(value)
    return value


def _estimate(table: CleanTable, facts: ColumnFacts) -> Tally:
    values = nw.col(facts.column.name)
    low, high = facts.low, facts.high
    if low is None:
        low, high = collect(nw.from_native(table.frame).select(low=values.min(), high=values.max()), row_count=table.row_count).row(0)
    return Tally(facts.estimated_distinct, low, high)


def _tally(table: CleanTable, facts: ColumnFacts, bins: _Bins | None) -> Tally:
    name = facts.column.name
    values = nw.from_native(table.frame).select(nw.col(name).alias("value")).filter(~nw.col("value").is_null())
    tally = Tally(low=facts.low, high=facts.high)
    ranged = facts.column.kind in _NUMBERS | _TIMES
    for part in partitions(values, "value", groups=facts.estimated_distinct):
        counted = collect(part.group_by("value").agg(count=nw.len()), row_count=table.row_count)
        add_counts(tally, counted, find_range=not ranged)
        if bins:
            tally.bins.update(_binned(counted, facts.column.kind, bins))
    return tally


def add_counts(tally: Tally, counted: nw.DataFrame[Any], *, find_range: bool) -> None:
    """Add the counts of one part: each `value`, none of them null or of another part, and its `count`."""
    tally.distinct += len(counted)
    tally.top = _most_frequent([*tally.top, *_top_of(counted.select("value", "count"))])
    if len(counted) and find_range:
        tally.low, tally.high = _wider((tally.low, tally.high), counted.get_column("value"))


def _wider(known: tuple[Any, Any], values: nw.Series[Any]) -> tuple[Any, Any]:
    low, high = values.min(), values.max()
    return (low, high) if known[0] is None else (min(known[0], low), max(known[1], high))


def _top_of(counted: nw.DataFrame[Any]) -> Sequence[tuple[Any, int]]:
    """The most frequent values of one part; where all are equally rare, only the first by value have to be sorted out."""
    floor = counted.get_column("count").sort(descending=True).head(TOP_VALUES).min() if len(counted) else 0
    return counted.filter(nw.col("count") >= floor).sort("count", "value", descending=[True, False]).head(TOP_VALUES).rows()


def _most_frequent(counts: list[tuple[Any, int]]) -> list[tuple[Any, int]]:
    by_value = sorted(counts, key=lambda item: item[0])
    return sorted(by_value, key=lambda item: -item[1])[:TOP_VALUES]


def _bins(facts: ColumnFacts) -> _Bins | None:
    """None where values have no distance (text, booleans) or there is none. A column of whole numbers gets no more bins than it can have values."""
    kind = facts.column.kind
    if kind not in _NUMBERS | _TIMES or facts.low is None:
        return None
    low, high = _position(facts.low), _position(facts.high)
    step = {ColumnKind.INTEGER: 1, ColumnKind.DATE: _MICROSECONDS_A_DAY}.get(kind)
    if low == high:
        return _Bins(low, 0, 1)
    if step and (high - low) / step < HISTOGRAM_BINS:
        return _Bins(low, step, round((high - low) / step) + 1)
    return _Bins(low, high / HISTOGRAM_BINS - low / HISTOGRAM_BINS, HISTOGRAM_BINS)


def _position(value: Any) -> float:
    if isinstance(value, datetime):
        return (value.replace(tzinfo=None) - _EPOCH) / timedelta(microseconds=1)
    if isinstance(value, date):
        return (value - _EPOCH.date()).days * float(_MICROSECONDS_A_DAY)
    return float(value)


def _binned(counted: nw.DataFrame[Any], kind: ColumnKind, bins: _Bins) -> dict[int, int]:
    """Bin number → rows, of one part's value counts."""
    position = nw.col("value").cast(nw.Datetime("us")).cast(nw.Int64) if kind in _TIMES else nw.col("value")
    position = position.cast(nw.Float64)
    frame = counted.filter(nw.col("value").is_finite()) if kind is ColumnKind.FLOAT else counted
    number = ((position - bins.low) / bins.width).floor().clip(0, bins.count - 1) if bins.width else position * 0
    return dict(frame.select(number.cast(nw.Int64).alias("bin"), "count").group_by("bin").agg(nw.col("count").sum()).rows())


def _histogram(kind: ColumnKind, bins: _Bins, counts: Counter[int]) -> list[dict[str, Any]]:
    edges = [
        _edge(2 * (bins.low / 2 + bins.width / 2 * index), kind) for index in range(bins.count + 1)
    ]  # halved on the way: the range may overflow
    return [{"from": edges[index], "to": edges[index + 1], "count": counts[index]} for index in range(bins.count)]


def _edge(position: float, kind: ColumnKind) -> Any:
    if kind in _TIMES:
        moment = _EPOCH + min(timedelta(microseconds=position), _LAST_MOMENT - _EPOCH)
        return moment.date() if kind is ColumnKind.DATE else moment
    return round(position) if position == round(position) and abs(position) < 2**53 else float(f"{position:.12g}")


def _without_trailing_zeros(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal(1)) if amount == amount.to_integral_value() else amount.normalize()
