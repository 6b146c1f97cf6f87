"""The checks of a cleaned table, as `validations` of its profile lists them; where the rows are asked for, with those that fail. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any, Final

import narwhals as nw

from treadle.flows.sales.column_profile import ColumnFacts, shown_value
from treadle.flows.sales.failing_rows import ROWS_A_CHECK, Cell, FailingRows, joined
from treadle.flows.sales.funnel import FUNNEL_COUNTS, NUMERIC, doubtful_counts
from treadle.flows.sales.kpis import REQUIRED_COLUMNS, REVENUE
from treadle.flows.sales.orders import ORDER_ID
from treadle.flows.sales.scan import collect, first_repeats, first_rows
from treadle.flows.sales.source_rows import cells_at, whole_rows_at
from treadle.flows.sales.table import CleanTable, ColumnKind, Finding, Severity

_LATE: Final = "The date lies in the future."
_TIMES = {ColumnKind.DATE, ColumnKind.TIMESTAMP}


def check_table(
    table: CleanTable, facts: Sequence[ColumnFacts], schema: Sequence[Mapping[str, Any]], distinct_rows: int | None, today: date
) -> list[Finding]:
    """What cleaning found, then every check of our own that cleaning has not answered already; a column that is missing has no checks."""
    by_name = {column.column.name: column for column in facts}
    order_ids = next((entry for entry in schema if entry["column"] == ORDER_ID), None)
    revenue = by_name.get(REVENUE)
    checks = [
        _check("required_columns", True, f"{' and '.join(REQUIRED_COLUMNS)} are there."),
        *(_required_value(table, name, by_name[name]) for name in REQUIRED_COLUMNS if name in by_name),
        *([_order_id_unique(table, order_ids)] if order_ids else []),
        *([_revenue_numeric(table, revenue), _revenue_not_negative(table, revenue)] if revenue else []),
        _no_null_rows(table),
        *_dates(table, facts, today),
        *_funnel_counts(table, by_name),
        _duplicate_rows(table, order_ids, distinct_rows),
        _renamed_columns(table),
    ]
    answered = {finding.check for finding in table.findings}
    return [*table.findings, *(finding for finding in checks if finding.check not in answered)]


def _check(check: str, passed: bool, detail: str, severity: Severity = "warning") -> Finding:  # noqa: FBT001 - the order of Finding itself
    return Finding(check, passed=passed, detail=detail, severity="info" if passed else severity)


def _with_rows(finding: Finding, rows: Callable[[], FailingRows | None]) -> Finding:
    """A check with its failing rows, where it failed and where they are asked for."""
    return finding if finding.passed else replace(finding, failing=rows())


def _where(table: CleanTable, column: str, condition: nw.Expr, count: int, reason: str) -> FailingRows | None:
    """The first rows for which something holds, with what stood there in the file. None: nobody asks."""
    if table.source is None:
        return None
    places = first_rows(nw.from_native(table.frame), condition, most=ROWS_A_CHECK, row_count=table.row_count)
    return FailingRows(reason, count, cells_at(table.source, places, column))


def _repeats(table: CleanTable, columns: Sequence[str], count: int, reason: str, *, empty_too: bool) -> FailingRows | None:
    """The first rows that have what an earlier one has: in one column, which is shown, or in all of them."""
    if table.source is None:
        return None
    places = first_repeats(nw.from_native(table.frame), columns, most=ROWS_A_CHECK, row_count=table.row_count, empty_too=empty_too)
    cells: tuple[Cell, ...] = cells_at(table.source, places, columns[0]) if not empty_too else whole_rows_at(table.source, places)
    return FailingRows(reason, max(count, len(cells)), cells)  # where distinct values are an estimate, the count is one


def _unreadable(table: CleanTable, columns: Iterable[str], reason: str) -> FailingRows | None:
    """What cleaning could not read in these columns."""
    if table.source is None:
        return None
    known = table.source.unreadable
    return joined(reason, [known[name] for name in columns if name in known])


def _required_value(table: CleanTable, name: str, facts: ColumnFacts) -> Finding:
    missing = facts.null_count
    found = _check(f"{name}_present", not missing, f"{_rows(missing)} without {name}." if missing else f"Every row has {name}.")
    reason = f"The row has no {name.replace('_', ' ')} that can be used."
    return _with_rows(found, lambda: _where(table, name, nw.col(name).is_null(), missing, reason))


def _order_id_unique(table: CleanTable, order_ids: Mapping[str, Any]) -> Finding:
    """An order of several lines is ordinary, so that it is not unique is information, not a warning."""
    filled = table.row_count - order_ids["null_count"]
    about = "" if order_ids["distinct_exact"] else "about "
    unique = order_ids["distinct_count"] == filled
    found = _check("order_id_unique", unique, f"{about}{order_ids['distinct_count']:,} distinct order ids on {filled:,} rows.", "info")
    repeated, reason = (
        filled - int(order_ids["distinct_count"]),
        "An earlier row has the same order id. That is ordinary where an order has several lines.",
    )
    return _with_rows(found, lambda: _repeats(table, [ORDER_ID], repeated, reason, empty_too=False))


def _revenue_numeric(table: CleanTable, facts: ColumnFacts) -> Finding:
    count = facts.column.unparseable
    found = _check(
        "revenue_numeric",
        not count,
        f"{_values(count)} of {facts.column.source_column} could not be read as a number, and {'counts' if count == 1 else 'count'} as missing."
        if count
        else f"All values of {facts.column.source_column} were read as numbers.",
    )
    return _with_rows(found, lambda: _unreadable(table, [REVENUE], "It is not a number, and counts as missing."))


def _revenue_not_negative(table: CleanTable, facts: ColumnFacts) -> Finding:
    if facts.low is None or facts.low >= 0:
        return _check("revenue_non_negative", True, "No revenue is negative.")
    count = _count(table, nw.col(REVENUE) < 0)
    found = _check(
        "revenue_non_negative",
        False,
        f"{count:,} {'row has' if count == 1 else 'rows have'} a negative revenue, down to {shown_value(facts.low)}; {'it is' if count == 1 else 'they are'} subtracted.",
    )
    return _with_rows(found, lambda: _where(table, REVENUE, nw.col(REVENUE) < 0, count, "The revenue is negative, and is subtracted."))


def _no_null_rows(table: CleanTable) -> Finding:
    is_empty = nw.all_horizontal(*(nw.col(column.name).is_null() for column in table.columns), ignore_nulls=False)
    count = _count(table, is_empty)
    found = _check("no_null_rows", not count, f"{_rows(count)} empty in every column." if count else "No row is empty.")
    return _with_rows(found, lambda: _empty_rows(table, is_empty, count))


def _empty_rows(table: CleanTable, is_empty: nw.Expr, count: int) -> FailingRows | None:
    if table.source is None:
        return None
    places = first_rows(nw.from_native(table.frame), is_empty, most=ROWS_A_CHECK, row_count=table.row_count)
    return FailingRows("The row has no value that can be used.", count, whole_rows_at(table.source, places))


def _dates(table: CleanTable, facts: Sequence[ColumnFacts], today: date) -> list[Finding]:
    dated = [column for column in facts if column.column.kind in _TIMES]
    unread = [f"{_values(column.column.unparseable)} of {column.column.source_column}" for column in dated if column.column.unparseable]
    late = [column for column in dated if column.high is not None and _day(column.high) > today]
    told = ", ".join(f"{column.column.name} reaches {_day(column.high)}" for column in late)
    parsed = _check(
        "dates_parse",
        not unread,
        f"Could not be read as dates: {', '.join(unread)}." if unread else f"All dates in {len(dated)} date columns were read.",
    )
    past = _check("dates_not_in_future", not late, f"In the future: {told}." if late else f"No date lies after {today}.")
    names = [column.column.name for column in dated]
    return [
        _with_rows(parsed, lambda: _unreadable(table, names, "It is not a date, and counts as missing.")),
        _with_rows(past, lambda: joined(_LATE, [rows for column in late if (rows := _late_rows(table, column, today))])),
    ]


def _late_rows(table: CleanTable, facts: ColumnFacts, today: date) -> FailingRows | None:
    """The dates of a column that lie after today, by UTC."""
    if table.source is None:
        return None
    name, is_date = facts.column.name, facts.column.kind is ColumnKind.DATE
    is_late = nw.col(name) > today if is_date else nw.col(name) >= datetime.combine(today, time.min) + timedelta(days=1)
    return _where(table, name, is_late, _count(table, is_late), _LATE)


def _funnel_counts(table: CleanTable, facts: Mapping[str, ColumnFacts]) -> list[Finding]:
    names = [name for name in FUNNEL_COUNTS if name in facts and facts[name].column.kind in NUMERIC]
    return doubtful_counts(table, names)


def _day(moment: date) -> date:
    return moment.date() if isinstance(moment, datetime) else moment


def _duplicate_rows(table: CleanTable, order_ids: Mapping[str, Any] | None, distinct_rows: int | None) -> Finding:
    count, how = _count_duplicates(table, order_ids, distinct_rows)
    told = f"{_rows(count)} equal to another row in every column{how}; each is counted." if count else f"No row repeats another{how}."
    found = _check("duplicate_rows", not count, told)
    names = [column.name for column in table.columns]
    return _with_rows(found, lambda: _repeats(table, names, count, "An earlier row has the same values in every column.", empty_too=True))


def _count_duplicates(table: CleanTable, order_ids: Mapping[str, Any] | None, distinct_rows: int | None) -> tuple[int, str]:
    """distinct_rows: by their hash; None when they are few enough to be compared whole."""
    if order_ids and order_ids["distinct_exact"] and order_ids["distinct_count"] == table.row_count:
        return 0, ""  # no two rows share an order id, so none are equal
    if distinct_rows is not None:
        return table.row_count - distinct_rows, " (compared by a 64-bit hash)"
    return table.row_count - collect(nw.from_native(table.frame).unique(keep="any").select(nw.len()), row_count=table.row_count).item(), ""


def _renamed_columns(table: CleanTable) -> Finding:
    renamed = [f"{column.source_column} → {column.name}" for column in table.columns if column.source_column != column.name]
    return Finding("columns_renamed", passed=True, detail=f"Renamed: {', '.join(renamed)}." if renamed else "No column was renamed.")


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count:,} rows are"


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count:,} values"


def _count(table: CleanTable, condition: nw.Expr) -> int:
    return int(collect(nw.from_native(table.frame).filter(condition).select(nw.len()), row_count=table.row_count).item())
