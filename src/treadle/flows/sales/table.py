"""The cleaned table and what was found while making it: the value that reading hands to KPIs, profile and publication."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

import polars as pl

from treadle.flows.sales.failing_rows import FailingRows
from treadle.flows.sales.source_rows import SourceRows

Severity = Literal["error", "warning", "info"]


class ColumnKind(StrEnum):
    """What a column holds after cleaning; the dtype of the frame follows from it."""

    TEXT = "text"
    INTEGER = "integer"
    FLOAT = "float"
    MONEY = "money"  # Decimal(38, 6): summed exactly
    DATE = "date"
    TIMESTAMP = "timestamp"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class CleanColumn:
    """One column of the cleaned table."""

    name: str
    source_column: str
    kind: ColumnKind
    unparseable: int = 0  # values that were present in the source but could not be read as `kind`, and are null here


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and its outcome, as `validations` of the profile lists it. failing: the rows of a failed one, when they were asked for."""

    check: str
    passed: bool
    detail: str
    severity: Severity = "info"
    column: str | None = None  # which the finding is about; None: not about one, or not told
    failing: FailingRows | None = None


@dataclass(frozen=True, slots=True)
class CleanTable:
    """A cleaned workbook: one row per source row, in source order.

    `frame` may be scanned more than once. `columns` are in the order of the frame.
    """

    frame: pl.LazyFrame
    columns: tuple[CleanColumn, ...]
    row_count: int
    sheet: str | None = None  # None: the format has no sheets
    mapping: Mapping[str, str] = field(default_factory=dict[str, str])  # source column → wanted name, as it was applied
    findings: tuple[Finding, ...] = ()
    parquet: Path | None = (
        None  # a file with exactly the rows and columns of `frame`, when reading had to write one: publish this, do not write it again
    )

    source: SourceRows | None = None  # only when the failing rows are asked for

    def has(self, name: str) -> bool:
        """Whether the cleaned table has a column of this name."""
        return any(column.name == name for column in self.columns)
