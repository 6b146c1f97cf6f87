"""A table as it was read, before its columns are."""

from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

from treadle.flows.sales.reading.column_rule import ColumnRule, trimmed_text
from treadle.flows.sales.table import Finding

UNCACHED_FORMULAS: Final = "formulas_uncached"  # the check that a workbook's reader reports under this name
SAVE_AGAIN: Final = "Open the workbook in Excel and save it again, so that it holds the results of its formulas."


@dataclass(frozen=True, slots=True)
class RawTable:
    """A table as its file has it: columns `0`, `1` … by position, values untouched; texts may be untrimmed or empty.

    `in_memory`: the frame is there already; otherwise it is streamed from the file, and cleaning writes it to disk once.
    `first_row`: the number that a spreadsheet gives to its first row.
    `rounds_long_numbers`: a text may be a number that the reader wrote out, and of which it kept no more than 15 digits or so.
    """

    frame: pl.LazyFrame
    headers: tuple[str | None, ...]
    in_memory: bool
    sheet: str | None = None
    findings: tuple[Finding, ...] = ()
    first_row: int = 2
    rounds_long_numbers: bool = False

    @property
    def engine(self) -> Literal["in-memory", "streaming"]:
        """How Polars should compute on it."""
        return "in-memory" if self.in_memory else "streaming"


def is_lost(raw: RawTable, source: str, rule: ColumnRule) -> pl.Expr:
    """Whether a value is there in the file and null when it is read by this rule."""
    column = pl.col(source)
    there = trimmed_text(column) if raw.frame.collect_schema()[source] == pl.String else column
    return there.is_not_null() & rule.read(there if rule.trims else column).is_null()
