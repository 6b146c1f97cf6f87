"""Columns whose values carry different marks: some a percent sign and some none, or those of several currencies.

Each value was read by itself; whether their sum means anything, only a person can say. Looked for only where a rule saw such marks.
"""

from collections.abc import Mapping

import polars as pl

from treadle.flows.sales.failing_rows import ROWS_A_CHECK, FailingRows
from treadle.flows.sales.reading.column_rule import ColumnRule, trimmed_text
from treadle.flows.sales.reading.numbers import currency_of, is_percentage, marks_of
from treadle.flows.sales.reading.raw_table import RawTable
from treadle.flows.sales.source_rows import cells_where
from treadle.flows.sales.table import Finding


def mixed_mark_findings(raw: RawTable, sources: Mapping[str, str], rules: Mapping[str, ColumnRule], *, failing_rows: bool) -> list[Finding]:
    """Warn of every column with such values, and name the first of those that differ.

    sources: column → its column in the raw table. failing_rows: whether all of them are to be named.
    """
    found = [
        _percent_finding(raw, name, sources[name], rule, failing_rows=failing_rows)
        for name, rule in rules.items()
        if _is_partly_percent(rule)
    ]
    found += [
        _currency_finding(raw, name, sources[name], rule, failing_rows=failing_rows) for name, rule in rules.items() if _has_marks(rule)
    ]
    return [finding for finding in found if finding]


def _is_partly_percent(rule: ColumnRule) -> bool:
    return rule.numbers is not None and rule.numbers.percent == "some"


def _has_marks(rule: ColumnRule) -> bool:
    """Two marks may still be those of one currency."""
    return rule.numbers is not None and len(rule.numbers.currency_marks) > 1


def _percent_finding(raw: RawTable, name: str, source: str, rule: ColumnRule, *, failing_rows: bool) -> Finding | None:
    which = is_percentage(trimmed_text(pl.col(source))) & _is_read(source, rule)
    count = raw.frame.select(which.sum()).collect(engine=raw.engine).item()
    if not count:
        return None
    cells = cells_where(raw.frame, which, source, raw.headers[int(source)] or name, raw.first_row, most=ROWS_A_CHECK if failing_rows else 1)
    carry = "1 value carries" if count == 1 else f"{count:,} values carry"
    detail = (
        f"{name}: {carry} a percent sign, first in row {cells[0].row:,}: {(cells[0].value or '').strip()[:60]!r}, and the others none; "
        "only what carries one was divided by 100. Write them all alike."
    )
    reason = "It carries a percent sign and others do not; it was divided by 100."
    rows = FailingRows(reason, count, cells) if failing_rows else None
    return Finding("percentages_mixed", passed=False, detail=detail, severity="warning", column=name, failing=rows)


def _currency_finding(raw: RawTable, name: str, source: str, rule: ColumnRule, *, failing_rows: bool) -> Finding | None:
    assert rule.numbers
    marks = marks_of(pl.col("text"), rule.numbers)
    there = _readable(raw, source, rule).with_columns(marks.alias("marks")).filter(pl.col("marks") != "")
    counted = there.group_by("marks").agg(pl.len().alias("count"), pl.col("row").min()).sort("row").collect(engine=raw.engine).rows()
    by_currency: dict[str, tuple[int, int]] = {}  # how many values, and the first row
    for spelled, count, row in counted:
        known = by_currency.get(currency_of(spelled), (0, row))
        by_currency[currency_of(spelled)] = (known[0] + count, known[1])
    if len(by_currency) <= 1:
        return None
    main = max(by_currency, key=lambda currency: by_currency[currency][0])
    told = ", ".join(f"{currency} ({count:,}, first in row {raw.first_row + row:,})" for currency, (count, row) in by_currency.items())
    detail = f"{name}: amounts in {len(by_currency)} currencies, added up as if they were one: {told}. Convert them to one currency first."
    rows = None
    if failing_rows:
        others = [spelled for spelled, _count, _row in counted if currency_of(spelled) != main]
        which = marks_of(trimmed_text(pl.col(source)), rule.numbers).is_in(others) & _is_read(source, rule)
        cells = cells_where(raw.frame, which, source, raw.headers[int(source)] or name, raw.first_row)
        number = sum(count for currency, (count, _) in by_currency.items() if currency != main)
        rows = FailingRows(f"It is in another currency than most of the column, which is in {main}.", number, cells)
    return Finding("currencies_mixed", passed=False, detail=detail, severity="warning", column=name, failing=rows)


def _readable(raw: RawTable, source: str, rule: ColumnRule) -> pl.LazyFrame:
    """The texts that were read as numbers, with the number of their row from 0."""
    return raw.frame.with_row_index("row").filter(_is_read(source, rule)).select("row", trimmed_text(pl.col(source)).alias("text"))


def _is_read(source: str, rule: ColumnRule) -> pl.Expr:
    return rule.read(trimmed_text(pl.col(source))).is_not_null()
