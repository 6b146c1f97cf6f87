"""What a file turned out to hold, as `import_profile.json` shows it to the person who uploaded it. Pure: a table in, values out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import narwhals as nw

from treadle.flows.sales.column_profile import ColumnFacts, Tally, column_facts, profile_column, shown_value
from treadle.flows.sales.kpis import REQUIRED_COLUMNS, REVENUE, choose_date_column
from treadle.flows.sales.orders import ORDER_ID, OrderCounts
from treadle.flows.sales.scan import collect
from treadle.flows.sales.table import CleanTable, ColumnKind, Finding, Severity

SAMPLE_ROWS: Final = 20
_EXACT_DUPLICATES: Final = 100_000  # up to so many rows are compared whole, which needs a second copy of them; more are by hash
_TIMES = {ColumnKind.DATE, ColumnKind.TIMESTAMP}


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The input file as it lay in the lake."""

    name: str
    size_bytes: int
    modified_at: datetime  # UTC


def compute_profile(table: CleanTable, file: FileFacts, today: date, orders: OrderCounts | None = None) -> dict[str, Any]:
    """Return the content of `import_profile.json`. Dates after `today` (UTC) are reported as lying in the future.

    orders: the same table's, when they are counted already.
    """
    facts, distinct_rows = column_facts(table, count_rows=table.row_count > _EXACT_DUPLICATES)
    schema = [profile_column(table, column, _counted_already(column, orders)) for column in facts]
    return {
        **_heading(table, file),
        "schema": schema,
        "date_range": _date_range(table, facts),
        "validations": [_as_json(finding) for finding in _validations(table, facts, schema, distinct_rows, today)],
        "sample_rows": _sample_rows(table),
    }


def fallback_profile(table: CleanTable, file: FileFacts, failure: Finding) -> dict[str, Any]:
    """The profile when computing it failed: what is known of the file and its columns, and the failure among the validations."""
    schema = [{"column": column.name, "source_column": column.source_column, "dtype": str(column.kind)} for column in table.columns]
    validations = [_as_json(finding) for finding in (*table.findings, failure)]
    return {
        **_heading(table, file),
        "schema": schema,
        "date_range": {"min": None, "max": None},
        "validations": validations,
        "sample_rows": [],
    }


def _counted_already(facts: ColumnFacts, orders: OrderCounts | None) -> Tally | None:
    return orders.tally if orders and facts.column.name == ORDER_ID and facts.column.kind is ColumnKind.TEXT else None


def _heading(table: CleanTable, file: FileFacts) -> dict[str, Any]:
    return {
        "file_name": file.name,
        "file_size": file.size_bytes,
        "last_modified": file.modified_at,
        "sheet": table.sheet,
        "mapping": dict(table.mapping),
        "row_count": table.row_count,
        "column_count": len(table.columns),
    }


def _date_range(table: CleanTable, facts: Sequence[ColumnFacts]) -> dict[str, Any]:
    """The range of the column that dates the orders; nulls when there is none."""
    chosen = choose_date_column(table.columns)
    dated = next((column for column in facts if column.column.name == chosen), None)
    return {"min": dated and dated.low, "max": dated and dated.high, "column": chosen}


def _sample_rows(table: CleanTable) -> list[dict[str, Any]]:
    names = [column.name for column in table.columns]
    rows = collect(nw.from_native(table.frame).head(SAMPLE_ROWS), row_count=SAMPLE_ROWS).rows()
    return [dict(zip(names, map(shown_value, row), strict=True)) for row in rows]


def _as_json(finding: Finding) -> dict[str, Any]:
    return {"check": finding.check, "passed": finding.passed, "detail": finding.detail, "severity": finding.severity}


def _validations(
    table: CleanTable, facts: Sequence[ColumnFacts], schema: Sequence[Mapping[str, Any]], distinct_rows: int | None, today: date
) -> list[Finding]:
    """What cleaning found, then every check of our own that cleaning has not answered already; a column that is missing has no checks."""
    by_name = {column.column.name: column for column in facts}
    order_ids = next((entry for entry in schema if entry["column"] == ORDER_ID), None)
    revenue = by_name.get(REVENUE)
    checks = [
        _check("required_columns", True, f"{' and '.join(REQUIRED_COLUMNS)} are there."),
        *(_required_value(name, by_name[name]) for name in REQUIRED_COLUMNS if name in by_name),
        *([_order_id_unique(table, order_ids)] if order_ids else []),
        *([_revenue_numeric(revenue), _revenue_not_negative(table, revenue)] if revenue else []),
        _no_null_rows(table),
        *_dates(facts, today),
        _duplicate_rows(table, order_ids, distinct_rows),
        _renamed_columns(table),
    ]
    answered = {finding.check for finding in table.findings}
    return [*table.findings, *(finding for finding in checks if finding.check not in answered)]


def _check(check: str, passed: bool, detail: str, severity: Severity = "warning") -> Finding:  # noqa: FBT001 - the order of Finding itself
    return Finding(check, passed=passed, detail=detail, severity="info" if passed else severity)


def _required_value(name: str, facts: ColumnFacts) -> Finding:
    missing = facts.null_count
    return _check(f"{name}_present", not missing, f"{_rows(missing)} without {name}." if missing else f"Every row has {name}.")


def _order_id_unique(table: CleanTable, order_ids: Mapping[str, Any]) -> Finding:
    """An order of several lines is ordinary, so that it is not unique is information, not a warning."""
    filled = table.row_count - order_ids["null_count"]
    about = "" if order_ids["distinct_exact"] else "about "
    unique = order_ids["distinct_count"] == filled
    return _check("order_id_unique", unique, f"{about}{order_ids['distinct_count']:,} distinct order ids on {filled:,} rows.", "info")


def _revenue_numeric(facts: ColumnFacts) -> Finding:
    count = facts.column.unparseable
    return _check(
        "revenue_numeric",
        not count,
        f"{count:,} values of {facts.column.source_column} could not be read as a number; they count as missing."
        if count
        else f"All values of {facts.column.source_column} were read as numbers.",
    )


def _revenue_not_negative(table: CleanTable, facts: ColumnFacts) -> Finding:
    if facts.low is None or facts.low >= 0:
        return _check("revenue_non_negative", True, "No revenue is negative.")
    count = _count(table, nw.col(REVENUE) < 0)
    return _check(
        "revenue_non_negative", False, f"{count:,} rows have a negative revenue, down to {shown_value(facts.low)}; they are subtracted."
    )


def _no_null_rows(table: CleanTable) -> Finding:
    count = _count(table, nw.all_horizontal(*(nw.col(column.name).is_null() for column in table.columns), ignore_nulls=False))
    return _check("no_null_rows", not count, f"{_rows(count)} empty in every column." if count else "No row is empty.")


def _dates(facts: Sequence[ColumnFacts], today: date) -> list[Finding]:
    dated = [column for column in facts if column.column.kind in _TIMES]
    unread = [f"{column.column.unparseable:,} values of {column.column.source_column}" for column in dated if column.column.unparseable]
    late = [
        f"{column.column.name} reaches {_day(column.high)}" for column in dated if column.high is not None and _day(column.high) > today
    ]
    return [
        _check(
            "dates_parse",
            not unread,
            f"Could not be read as dates: {', '.join(unread)}." if unread else f"All dates in {len(dated)} date columns were read.",
        ),
        _check("dates_not_in_future", not late, f"In the future: {', '.join(late)}." if late else f"No date lies after {today}."),
    ]


def _day(moment: date) -> date:
    return moment.date() if isinstance(moment, datetime) else moment


def _duplicate_rows(table: CleanTable, order_ids: Mapping[str, Any] | None, distinct_rows: int | None) -> Finding:
    count, how = _count_duplicates(table, order_ids, distinct_rows)
    told = f"{_rows(count)} equal to another row in every column{how}; each is counted." if count else f"No row repeats another{how}."
    return _check("duplicate_rows", not count, told)


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


def _count(table: CleanTable, condition: nw.Expr) -> int:
    return int(collect(nw.from_native(table.frame).filter(condition).select(nw.len()), row_count=table.row_count).item())
