"""Cleaned tables for tests, built from plain columns."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from treadle.flows.sales.table import CleanColumn, CleanTable, ColumnKind

_KINDS = {
    pl.String: ColumnKind.TEXT,
    pl.Int64: ColumnKind.INTEGER,
    pl.Float64: ColumnKind.FLOAT,
    pl.Decimal: ColumnKind.MONEY,
    pl.Date: ColumnKind.DATE,
    pl.Datetime: ColumnKind.TIMESTAMP,
    pl.Boolean: ColumnKind.BOOLEAN,
}


def clean_table(columns: Mapping[str, Sequence[Any]], *, unparseable: Mapping[str, int] | None = None, **fields: Any) -> CleanTable:
    """Revenue may be given as text, and is money; the other columns keep the type of their values. A column of nulls is text."""
    frame = pl.DataFrame({name: pl.Series(name, values, strict=False) for name, values in columns.items()})
    frame = frame.with_columns(pl.col(pl.Null).cast(pl.String))
    if "revenue" in columns:
        frame = frame.with_columns(pl.col("revenue").cast(pl.String).cast(pl.Decimal(38, 6)))
    return table_of(frame, unparseable=unparseable, **fields)


def table_of(frame: pl.DataFrame, *, unparseable: Mapping[str, int] | None = None, **fields: Any) -> CleanTable:
    unread = unparseable or {}
    columns = tuple(CleanColumn(name, name, _KINDS[dtype.base_type()], unread.get(name, 0)) for name, dtype in frame.schema.items())
    return CleanTable(frame.lazy(), columns, frame.height, **fields)
