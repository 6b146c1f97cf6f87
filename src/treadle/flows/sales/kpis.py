"""The figures of a cleaned sales table, as `kpis.json` holds them. Pure: a table in, values out.

Money is summed in decimals and rounded once, at the end, so the same rows give the same figures on every engine and in every order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

import narwhals as nw

from treadle.errors import InvalidInput
from treadle.flows.sales.funnel import FunnelSource, compute_funnel
from treadle.flows.sales.orders import ORDER_ID, OrderCounts, count_orders, month_of
from treadle.flows.sales.scan import collect
from treadle.flows.sales.table import CleanColumn, CleanTable, ColumnKind, Finding

REVENUE: Final = "revenue"
ORDER_DATE: Final = "order_date"
REQUIRED_COLUMNS: Final = (REVENUE, ORDER_ID)
HEADLINE_COLUMNS: Final = ("channel", "region", "product_category")  # each has a key of its own in kpis.json
MISSING: Final = "(missing)"
ROUNDING: Final = "Money is summed exactly and rounded once, half away from zero, to 2 places."
CATEGORY_VALUES: Final = range(2, 51)  # so many distinct values make a column categorical
MAX_GROUPS: Final = 1_000  # a longer headline breakdown is of no use to a reader
MAX_DAYS: Final = 20_000  # 54 years; a longer daily series comes from dates that are wrong

_MONEY = nw.Decimal(38, 6)
_CENT = Decimal("0.01")
_HEAD_ROWS = 100_000
_IDENTIFIER_ENDINGS = ("_id", "_uuid", "_guid", "_key", "_no", "_nr", "_number")
_DATE_KINDS = {ColumnKind.DATE, ColumnKind.TIMESTAMP}
_CATEGORY_KINDS = {ColumnKind.TEXT, ColumnKind.BOOLEAN}


def compute_kpis(
    table: CleanTable, funnel: FunnelSource | None = None, counts: OrderCounts | None = None
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Return the content of `kpis.json` and the warnings of what could not be computed.

    Money is Decimal with 2 places. A `revenue_by_…` of a column that the table lacks is empty; `funnel` is absent when nobody counted visitors;
    `aov` is null without orders, both series are empty without a date column.
    Rows without a value in the grouping column stand under `(missing)`; a text that reads `(missing)` counts there, too.

    funnel: the counts of the funnel file, used only when the table has none of its own. counts: from `count_table_orders`, when somebody has them already.

    Raises:
        InvalidInput: the table has no `revenue` or no `order_id`.
    """
    _require_columns(table)
    totals = _totals(table)
    date_column = choose_date_column(table.columns)
    periods = _periods(table, date_column, counts or count_orders(table, date_column))
    orders = periods.orders.tally.distinct
    findings: list[Finding] = []
    breakdowns = _breakdowns(table, findings)
    headlines = {f"revenue_by_{name}": _headline(table, name, breakdowns, findings) for name in HEADLINE_COLUMNS}
    kpis = {
        "total_revenue": money(totals["revenue"]),
        "orders": orders,
        "aov": money(totals["revenue"] / orders) if orders else None,
        **headlines,
        "breakdowns": breakdowns,
        "time_series_monthly": _monthly(periods) if date_column else [],
        "time_series_daily": _daily(periods, findings) if date_column else [],
        **_funnel(table, orders, funnel, date_column, findings),
        "row_count": table.row_count,
        "rows_without_revenue": totals["rows_without_revenue"],
        "rows_without_order_id": totals["rows_without_order_id"],
        "date_column": date_column,
        "rounding": ROUNDING,
    }
    return kpis, tuple(findings)


def count_table_orders(table: CleanTable) -> OrderCounts:
    """What both the KPIs and the profile are to be given. Raises InvalidInput as `compute_kpis` does."""
    _require_columns(table)
    return count_orders(table, choose_date_column(table.columns))


def money(amount: Decimal) -> Decimal:
    """Round an exact amount to 2 places, half away from zero (see ROUNDING)."""
    return amount.quantize(_CENT, ROUND_HALF_UP) + Decimal(0)  # the sum turns -0.00 into 0.00


def choose_date_column(columns: Iterable[CleanColumn]) -> str | None:
    """`order_date` when it holds dates, else the first column that does; None when none does."""
    dated = [column.name for column in columns if column.kind in _DATE_KINDS]
    return ORDER_DATE if ORDER_DATE in dated else next(iter(dated), None)


def is_identifier(name: str) -> bool:
    """Whether a column's name says that its values name single things, which makes it no category however few they are."""
    return name in {"id", "uuid", "guid", "key"} or name.endswith(_IDENTIFIER_ENDINGS)


def _require_columns(table: CleanTable) -> None:
    missing = [name for name in REQUIRED_COLUMNS if not table.has(name)]
    if missing:
        raise InvalidInput(
            f"The cleaned table has no column {' and no column '.join(missing)}.",
            hint="Map one of its columns, for example: --map Sales=revenue",
            details={"missing": missing, "columns": [column.name for column in table.columns]},
        )


def _frame(table: CleanTable) -> nw.LazyFrame[Any]:
    return nw.from_native(table.frame)


def _revenue() -> nw.Expr:
    return nw.col(REVENUE).cast(_MONEY)


def _totals(table: CleanTable) -> dict[str, Any]:
    totals = _frame(table).select(
        revenue=_revenue().sum(),
        rows_without_revenue=nw.col(REVENUE).is_null().sum(),
        rows_without_order_id=nw.col(ORDER_ID).is_null().sum(),
    )
    return collect(totals, row_count=table.row_count).rows(named=True)[0]


def _breakdowns(table: CleanTable, findings: list[Finding]) -> dict[str, dict[str, Decimal]]:
    """`revenue_by_<column>` for every categorical column, in the order of the columns. One that fails becomes a warning."""
    breakdowns: dict[str, dict[str, Decimal]] = {}
    for name in _likely_categories(table):
        try:
            values = _revenue_by(table, name, limit=CATEGORY_VALUES.stop)
        except Exception as error:  # noqa: BLE001 - product.md §1.2: a failing breakdown, whatever the reason, must not cost the run
            findings.append(_failed(f"revenue_by_{name}", error))
            continue
        if values is not None and len(values.keys() - {MISSING}) in CATEGORY_VALUES:
            breakdowns[f"revenue_by_{name}"] = values
    return breakdowns


def _likely_categories(table: CleanTable) -> list[str]:
    """The text and boolean columns that are no identifiers and whose first rows do not already have too many distinct values."""
    names = [column.name for column in table.columns if column.kind in _CATEGORY_KINDS and not is_identifier(column.name)]
    if not names:
        return []
    head = _frame(table).select(names).head(_HEAD_ROWS).select(nw.all().n_unique())
    try:
        counts = collect(head, row_count=0).row(0)
    except Exception:  # noqa: BLE001 - one column that cannot be computed spoils them all here; tried one by one, it spoils only its own breakdown
        return names
    return [name for name, count in zip(names, counts, strict=True) if count <= CATEGORY_VALUES.stop]  # stop: the 51st may be null


def _headline(table: CleanTable, name: str, breakdowns: Mapping[str, dict[str, Decimal]], findings: list[Finding]) -> dict[str, Decimal]:
    """The breakdown that kpis.json promises under a key of its own: as above, but with no regard to kind and, up to MAX_GROUPS, to number."""
    check = f"revenue_by_{name}"
    if not table.has(name) or check in breakdowns:
        return breakdowns.get(check, {})
    if any(finding.check == check for finding in findings):
        return {}
    try:
        values = _revenue_by(table, name, limit=MAX_GROUPS)
    except Exception as error:  # noqa: BLE001 - as in _breakdowns
        findings.append(_failed(check, error))
        return {}
    if values is None:
        findings.append(
            Finding(check, passed=False, detail=f"{name} has more than {MAX_GROUPS:,} values; {check} is left empty.", severity="warning")
        )
    return values or {}


def _failed(check: str, error: Exception) -> Finding:
    return Finding(check, passed=False, detail=f"{check} could not be computed: {type(error).__name__}: {error}"[:500], severity="warning")


def _revenue_by(table: CleanTable, name: str, *, limit: int) -> dict[str, Decimal] | None:
    """Revenue per value of a column, the largest first, equal ones by name. None when there are more than `limit` groups."""
    groups = _frame(table).group_by(name).agg(revenue=_revenue().sum()).select(name, "revenue").head(limit + 1)
    rows = collect(groups, row_count=table.row_count).rows()
    if len(rows) > limit:
        return None
    sums: dict[str, Decimal] = {}
    for value, revenue in rows:
        key = group_name(value)
        sums[key] = sums.get(key, Decimal(0)) + revenue
    return {key: money(amount) for key, amount in sorted(sums.items(), key=lambda item: (-item[1], item[0]))}


def group_name(value: Any) -> str:
    """How a group is named: null and blank text are `(missing)`, booleans `true` and `false`, dates ISO 8601."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, date) else str(value)


@dataclass(frozen=True, slots=True)
class _Periods:
    """Revenue and distinct orders by day and by month; None is the period of the rows without a date."""

    revenue_by_day: Mapping[date | None, Decimal]
    orders: OrderCounts


def _periods(table: CleanTable, date_column: str | None, orders: OrderCounts) -> _Periods:
    day = nw.col(date_column).cast(nw.Date) if date_column else nw.lit(None, dtype=nw.Date)
    revenue = collect(_frame(table).select(REVENUE, day=day).group_by("day").agg(revenue=_revenue().sum()), row_count=table.row_count)
    return _Periods(dict(revenue.rows()), orders)


def _daily(periods: _Periods, findings: list[Finding]) -> list[dict[str, Any]]:
    if len(periods.revenue_by_day) > MAX_DAYS:
        detail = f"The dates span {len(periods.revenue_by_day):,} days, more than {MAX_DAYS:,}: the daily series is left empty."
        findings.append(Finding("time_series_daily", passed=False, detail=detail, severity="warning"))
        return []
    return [
        {"day": MISSING if day is None else day.isoformat(), "revenue": money(revenue), "orders": periods.orders.by_day.get(day, 0)}
        for day, revenue in sorted(periods.revenue_by_day.items(), key=_missing_last)
    ]


def _monthly(periods: _Periods) -> list[dict[str, Any]]:
    sums: dict[date | None, Decimal] = {}
    for day, revenue in periods.revenue_by_day.items():
        month = month_of(day)
        sums[month] = sums.get(month, Decimal(0)) + revenue
    return [
        {
            "month": MISSING if month is None else month.isoformat()[:7],
            "revenue": money(revenue),
            "orders": periods.orders.by_month.get(month, 0),
        }
        for month, revenue in sorted(sums.items(), key=_missing_last)
    ]


def _missing_last(item: tuple[date | None, Any]) -> tuple[bool, date]:
    return item[0] is None, item[0] or date.max


def _funnel(
    table: CleanTable, orders: int, source: FunnelSource | None, date_column: str | None, findings: list[Finding]
) -> dict[str, Any]:
    """`{"funnel": …}`, or nothing where no visitors were counted."""
    try:
        funnel, found = compute_funnel(table, orders, source, date_column)
    except Exception as error:  # noqa: BLE001 - the funnel is no core figure: it warns as a breakdown does
        findings.append(_failed("funnel", error))
        return {}
    findings.extend(found)
    return {"funnel": funnel} if funnel else {}
