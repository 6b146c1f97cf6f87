"""The visitor funnel: how many came, how many of them bought, and what the two ratios that people mix up really are. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, cast

import narwhals as nw

from treadle.errors import InvalidInput
from treadle.flows.sales.scan import collect, partitions
from treadle.flows.sales.table import CleanTable, ColumnKind, Finding

VISITOR_COLUMNS: Final = ("total_visitors", "visitors")
CONVERTING_COLUMN: Final = "converting_visitors"
ID_COLUMN: Final = "visitor_id"
FUNNEL_COUNTS: Final = (*VISITOR_COLUMNS, CONVERTING_COLUMN)
NUMERIC: Final = frozenset({ColumnKind.INTEGER, ColumnKind.FLOAT, ColumnKind.MONEY})


@dataclass(frozen=True, slots=True)
class FunnelSource:
    """What a `<stem>.funnel.json` beside the workbook states."""

    total_visitors: int
    converting_visitors: int | None = None


@dataclass(frozen=True, slots=True)
class _Count:
    """A number of visitors and the words for how it was found."""

    value: int
    formula: str


def parse_funnel(content: Any) -> FunnelSource:
    """Read the parsed JSON of a funnel file: `{"total_visitors": n, "converting_visitors": n}`; the second may be absent.

    Raises:
        InvalidInput: it is not an object, or a count is missing, not whole, or negative.
    """
    if not isinstance(content, Mapping):
        raise InvalidInput("The funnel file is not a JSON object.", hint='Write {"total_visitors": 1000, "converting_visitors": 40}.')
    stated = cast("Mapping[str, Any]", content)
    total = _whole(stated, "total_visitors")
    if total is None:
        raise InvalidInput("The funnel file has no total_visitors.", hint='Write {"total_visitors": 1000, "converting_visitors": 40}.')
    return FunnelSource(total, _whole(stated, "converting_visitors"))


def compute_funnel(
    table: CleanTable, orders: int, source: FunnelSource | None, date_column: str | None
) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Return the funnel of the table's own columns, else of the funnel file, else None; and what stood in the way.

    orders: the distinct orders of the table, the numerator of the second ratio.
    """
    total, converting, findings = _from_columns(table, date_column)
    origin = "columns"
    if total is None and source is not None:
        origin, total = "file", _Count(source.total_visitors, "total_visitors as the funnel file states it")
        stated = source.converting_visitors
        converting = None if stated is None else _Count(stated, "converting_visitors as the funnel file states it")
    if total is None:
        return None, findings
    if converting is not None and converting.value > total.value:
        detail = f"The funnel has more converting visitors ({converting.value:,}) than visitors ({total.value:,})."
        findings.append(Finding("funnel", passed=False, detail=detail, severity="warning"))
    return _funnel(origin, total, converting, orders), findings


def _funnel(origin: str, total: _Count, converting: _Count | None, orders: int) -> dict[str, Any]:
    by_orders = _ratio("orders / visitors", orders, total.value)
    ratios = [by_orders] if converting is None else [_ratio("converting visitors / visitors", converting.value, total.value), by_orders]
    parts = [f"visitors = {total.formula}."]
    if converting is not None:
        parts += [f"converting visitors = {converting.formula}.", "conversion_rate_pct = converting visitors / visitors."]
    parts += ["orders = distinct order_id.", "orders_per_visitor_pct = orders / visitors: a visitor with two orders counts twice in it."]
    return {
        "source": origin,
        "total_visitors": total.value,
        "converting_visitors": None if converting is None else converting.value,
        "orders": orders,
        "conversion_rate_pct": None if converting is None else ratios[0]["pct"],
        "orders_per_visitor_pct": by_orders["pct"],
        "ratios": ratios,
        "definition": " ".join(parts),
    }


def _ratio(label: str, numerator: int, denominator: int) -> dict[str, Any]:
    """A ratio with its parts; pct is None when nobody came."""
    pct = (Decimal(numerator) * 100 / denominator).quantize(Decimal("0.01"), ROUND_HALF_UP) if denominator else None
    return {"label": label, "numerator": numerator, "denominator": denominator, "pct": pct}


def _from_columns(table: CleanTable, date_column: str | None) -> tuple[_Count | None, _Count | None, list[Finding]]:
    findings: list[Finding] = []
    usable = [name for name in FUNNEL_COUNTS if table.has(name) and _is_numeric(table, name, findings)]
    findings += doubtful_counts(table, usable)
    total = next((_count_of(table, name, date_column) for name in usable if name in VISITOR_COLUMNS), None)
    converting = _count_of(table, CONVERTING_COLUMN, date_column) if CONVERTING_COLUMN in usable else None
    if table.has(ID_COLUMN):
        total = total or _Count(_distinct_visitors(table, buyers=False), f"distinct values of {ID_COLUMN}")
        converting = converting or _Count(
            _distinct_visitors(table, buyers=True), f"distinct values of {ID_COLUMN} on rows with an order_id"
        )
    return total, converting, findings


def doubtful_counts(table: CleanTable, names: Sequence[str]) -> list[Finding]:
    """Warn of rows with visitors below zero, or with more converting visitors than visitors; the funnel adds them up like any other.

    names: those of the funnel's columns that hold numbers.
    """
    doubts = {f"{name} below zero": nw.col(name) < 0 for name in names}
    total = next((name for name in names if name in VISITOR_COLUMNS), None)
    if total and CONVERTING_COLUMN in names:
        doubts[f"more {CONVERTING_COLUMN} than {total}"] = nw.col(CONVERTING_COLUMN) > nw.col(total)
    if not doubts:
        return []
    counted = [is_so.sum().alias(str(place)) for place, is_so in enumerate(doubts.values())]
    counts = _row(nw.from_native(table.frame).select(counted), table)
    return [
        Finding("funnel", passed=False, detail=f"{_rows(count)} {what}; the funnel takes them as they stand.", severity="warning")
        for what, count in zip(doubts, counts, strict=True)
        if count
    ]


def _rows(count: int) -> str:
    return "1 row has" if count == 1 else f"{count:,} rows have"


def _is_numeric(table: CleanTable, name: str, findings: list[Finding]) -> bool:
    kind = next(column.kind for column in table.columns if column.name == name)
    if kind not in NUMERIC:
        findings.append(
            Finding("funnel", passed=False, detail=f"{name} holds {kind}, not numbers, and is left out of the funnel.", severity="warning")
        )
    return kind in NUMERIC


def _count_of(table: CleanTable, name: str, date_column: str | None) -> _Count | None:
    """Tell apart the three ways in which files carry a count, and add it up accordingly. None: the column is empty.

    One and the same value above 1 in every row is the total of the whole file, stated on each row. One value per day is the total of that day, stated
    on each of its rows. Everything else is a count of its own on each row.
    """
    column = nw.col(name)
    frame = nw.from_native(table.frame).filter(~column.is_null())
    low, high, total, rows = _row(frame.select(low=column.min(), high=column.max(), total=column.sum(), rows=nw.len()), table)
    if not rows:
        return None
    if low == high and high > 1:
        return _Count(round(high), f"the one value of {name} that every row repeats, taken once")
    if high > 1 and date_column is not None:
        days = frame.group_by(nw.col(date_column).cast(nw.Date).alias("day")).agg(low=column.min(), high=column.max())
        varying, day_count, by_day = _row(
            days.select(varying=(nw.col("low") != nw.col("high")).sum(), days=nw.len(), total=nw.col("high").sum()), table
        )
        if not varying and day_count < rows:
            return _Count(round(by_day), f"the sum over days of {name}, which repeats one value on all rows of a day ({date_column})")
    return _Count(round(total), f"the sum of {name} over all rows")


def _distinct_visitors(table: CleanTable, *, buyers: bool) -> int:
    frame = nw.from_native(table.frame).filter(~nw.col(ID_COLUMN).is_null())
    if buyers:
        frame = frame.filter(~nw.col("order_id").is_null())
    parts = partitions(frame.select(ID_COLUMN), ID_COLUMN, groups=table.row_count)
    return sum(_row(part.select(nw.col(ID_COLUMN).n_unique()), table)[0] for part in parts)


def _row(frame: nw.LazyFrame[Any], table: CleanTable) -> tuple[Any, ...]:
    return collect(frame, row_count=table.row_count).row(0)


def _whole(content: Mapping[str, Any], name: str) -> int | None:
    value = content.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != round(value):
        raise InvalidInput(f"{name} in the funnel file is not a whole number of 0 or more.", details={"column": name})
    return round(value)
