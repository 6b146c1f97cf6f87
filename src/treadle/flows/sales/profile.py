"""What a file turned out to hold, as `import_profile.json` shows it to the person who uploaded it. Pure: a table in, values out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import narwhals as nw

from treadle.flows.sales.column_profile import ColumnFacts, Tally, column_facts, profile_column, shown_value
from treadle.flows.sales.failing_rows import ROWS_A_CHECK, ROWS_IN_ALL, FailedCheck
from treadle.flows.sales.kpis import choose_date_column
from treadle.flows.sales.orders import ORDER_ID, OrderCounts
from treadle.flows.sales.profile_checks import check_table
from treadle.flows.sales.scan import collect
from treadle.flows.sales.table import CleanTable, ColumnKind, Finding, Severity

SAMPLE_ROWS: Final = 20
_EXACT_DUPLICATES: Final = 100_000  # up to so many rows are compared whole, which needs a second copy of them; more are by hash
_GRAVITY: Final[Sequence[Severity]] = ("error", "warning", "info")


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
    return _profile(table, file, today, orders)[0]


def compute_inspection(table: CleanTable, file: FileFacts, today: date) -> tuple[dict[str, Any], list[FailedCheck]]:
    """Return the profile, and where the checks failed, of a table that was read for inspection.

    A validation with such rows has `failing_rows`: their `count`, and how many are `kept` – up to ROWS_A_CHECK, and ROWS_IN_ALL of all checks.
    """
    profile, findings = _profile(table, file, today)
    failed = _kept(findings)
    for one in failed:
        profile["validations"][one.place]["failing_rows"] = {"count": one.count, "kept": len(one.cells)}
    return profile, failed


def _kept(findings: Iterable[Finding]) -> list[FailedCheck]:
    """The failing rows of each check, the gravest first, as long as there is room for them."""
    kept: list[FailedCheck] = []
    left = ROWS_IN_ALL
    for place, finding in sorted(enumerate(findings), key=lambda found: _GRAVITY.index(found[1].severity)):
        rows = finding.failing
        if rows is None or finding.passed:
            continue
        cells = rows.cells[: min(ROWS_A_CHECK, left)]
        left -= len(cells)
        if cells:
            kept.append(FailedCheck(place, finding.check, finding.severity, rows.reason, rows.count, cells))
    return kept


def _profile(
    table: CleanTable, file: FileFacts, today: date, orders: OrderCounts | None = None
) -> tuple[dict[str, Any], Sequence[Finding]]:
    facts, distinct_rows = column_facts(table, count_rows=table.row_count > _EXACT_DUPLICATES)
    schema = [profile_column(table, column, _counted_already(column, orders)) for column in facts]
    findings = check_table(table, facts, schema, distinct_rows, today)
    profile = {
        **_heading(table, file),
        "schema": schema,
        "date_range": _date_range(table, facts),
        "validations": [_as_json(finding) for finding in findings],
        "sample_rows": _sample_rows(table),
    }
    return profile, findings


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
