"""A checked CSV file as Parquet with the types that the ontology gives its columns: what Fabric loads into a Delta table.

Loading the CSV itself would let Fabric guess the types; an identifier such as 007 would become a number, and edges would find no ends.
"""

from pathlib import Path
from typing import Final

import polars as pl

from treadle.flows.scenario.column_types import Column
from treadle.flows.scenario.scenario import Table
from treadle.flows.scenario.schema import ValueType
from treadle.flows.scenario.tables import lines_of

# Date; hours and minutes, seconds and their fraction; sign, hours and minutes of the offset. Each but the first may be missing.
_MOMENT: Final = r"^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2}(?:\.\d{1,9})?)?(?:Z|([+-])(\d{2}):?(\d{2}))?)?$"
_USUAL: Final = "%Y-%m-%dT%H:%M:%S%.fZ"
_DATE_TIME: Final = pl.Datetime("us", "UTC")


def write_parquet(table: Table, target: Path) -> int:
    """Write the table to a new file, in the file's order, and return its size in bytes. Memory is bounded by a few batches of rows."""
    lines_of(table.path).select(typed(column) for column in table.columns).sink_parquet(target, compression="snappy", statistics=False)
    return target.stat().st_size


def typed(column: Column) -> pl.Expr:
    """A text column as its type. Empty cells are null. The values were checked: one that does not fit is an error here.

    DateTime is in microseconds and UTC; a time without an offset is UTC.
    """
    text = pl.col(column.name)
    if column.type is ValueType.BIG_INT:
        return text.str.strip_prefix("+").cast(pl.Int64)
    if column.type is ValueType.DOUBLE:
        return text.cast(pl.Float64)
    if column.type is ValueType.BOOLEAN:
        return text.str.to_lowercase() == "true"
    if column.type is ValueType.DATE_TIME:
        return text.map_batches(_moments, return_dtype=_DATE_TIME, is_elementwise=True)
    return text


def _moments(texts: pl.Series) -> pl.Series:
    """A batch of times; most files write all of theirs in the one form that is quick to read."""
    quick = texts.str.to_datetime(_USUAL, time_unit="us", time_zone="UTC", strict=False)
    if quick.null_count() == texts.null_count():
        return quick
    return texts.to_frame("text").select(_moment(pl.col("text"))).to_series()


def _moment(text: pl.Expr) -> pl.Expr:
    def part(number: int) -> pl.Expr:
        return text.str.extract(_MOMENT, number)

    seconds = part(3).fill_null(":00")
    clock = pl.concat_str(part(1), pl.lit("T"), part(2).fill_null("00:00"), seconds)
    local = clock.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", time_zone="UTC")
    minutes = part(5).cast(pl.Int64) * 60 + part(6).cast(pl.Int64)
    ahead = pl.when(part(4) == "-").then(-minutes).otherwise(minutes).fill_null(0)
    return local - pl.duration(minutes=ahead)
