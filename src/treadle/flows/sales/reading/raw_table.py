"""A table as it was read, before its columns are."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from treadle.flows.sales.reading.column_rule import ColumnRule, trimmed_text
from treadle.flows.sales.table import Finding


@dataclass(frozen=True, slots=True)
class RawTable:
    """A table as its file has it: columns `0`, `1` … by position, values untouched; texts may be untrimmed or empty.

    `in_memory`: the frame is there already; otherwise it is streamed from the file, and cleaning writes it to disk once.
    `first_row`: the number that a spreadsheet gives to its first row.
    """

    frame: pl.LazyFrame
    headers: tuple[str | None, ...]
    in_memory: bool
    sheet: str | None = None
    findings: tuple[Finding, ...] = ()
    first_row: int = 2

    @property
    def engine(self) -> Literal["in-memory", "streaming"]:
        """How Polars should compute on it."""
        return "in-memory" if self.in_memory else "streaming"


def is_lost(raw: RawTable, source: str, rule: ColumnRule) -> pl.Expr:
    """Whether a value is there in the file and null when it is read by this rule."""
    column = pl.col(source)
    there = trimmed_text(column) if raw.frame.collect_schema()[source] == pl.String else column
    return there.is_not_null() & rule.read(there if rule.trims else column).is_null()
