"""On which rows of the file the findings of cleaning lie. Only an inspection asks; see `failing_rows`."""

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from treadle.flows.sales.failing_rows import ROWS_A_CHECK, ROWS_IN_ALL, FailingRows
from treadle.flows.sales.reading.column_rule import ColumnRule, trimmed_text
from treadle.flows.sales.reading.raw_table import RawTable, is_lost
from treadle.flows.sales.source_rows import SourceRows, cells_where
from treadle.flows.sales.table import CleanTable, ColumnKind, Finding


def with_failing_rows(  # noqa: PLR0913, PLR0917 - all that cleaning knows
    table: CleanTable,
    raw: RawTable,
    sources: Mapping[str, str],
    rules: Mapping[str, ColumnRule],
    lost: Mapping[str, int],
    rounded: Mapping[str, int],
) -> CleanTable:
    """The cleaned table with the rows as the file has them, and its findings with theirs.

    sources: column → its column in the raw table. lost, rounded: column → how many of its values could not be read, were rounded.
    """
    headers = {name: raw.headers[int(place)] or name for name, place in sources.items()}
    unreadable: dict[str, FailingRows] = {}
    left = ROWS_IN_ALL  # where very many columns lost values, the last of them have no rows
    for name, count in lost.items():
        unreadable[name] = _unreadable(raw, sources[name], rules[name], count, headers[name], most=min(ROWS_A_CHECK, left))
        left -= len(unreadable[name].cells)
    by_name = raw.frame.select(pl.col(place).alias(name) for name, place in sources.items())
    source = SourceRows(by_name, headers, raw.first_row, unreadable)

    def rows_of(finding: Finding) -> FailingRows | None:
        match finding:
            case Finding(check="values_readable", column=str(name)):
                return unreadable[name]
            case Finding(check="column_reading", passed=False, column=str(name), detail=detail) if "rounded" in detail and name in rounded:
                return _rounded(raw, sources[name], rules[name], rounded[name], headers[name])
            case _:
                return finding.failing

    return replace(table, findings=tuple(replace(finding, failing=rows_of(finding)) for finding in table.findings), source=source)


def kind_word(kind: ColumnKind) -> str:
    """What a value of a column should have been."""
    return {ColumnKind.INTEGER: "an integer", ColumnKind.MONEY: "an amount", ColumnKind.FLOAT: "a number"}.get(kind, f"a {kind}")


def _unreadable(raw: RawTable, place: str, rule: ColumnRule, count: int, header: str, *, most: int) -> FailingRows:  # noqa: PLR0913 - of what
    cells = cells_where(raw.frame, is_lost(raw, place, rule), place, header, raw.first_row, most=most)
    return FailingRows(f"It could not be read as {kind_word(rule.kind)}, and counts as missing.", count, cells)


def _rounded(raw: RawTable, place: str, rule: ColumnRule, count: int, header: str) -> FailingRows:
    """The amounts with more decimal places than are kept."""
    assert rule.is_rounded
    which = rule.is_rounded(trimmed_text(pl.col(place)) if rule.trims else pl.col(place))
    cells = cells_where(raw.frame, which, place, header, raw.first_row)
    return FailingRows("It has more than six decimal places, and was rounded half to even.", count, cells)
