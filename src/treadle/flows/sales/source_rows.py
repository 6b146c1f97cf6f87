"""The rows as the file has them, for whoever asks where a check failed. Polars, like the reading that they come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from treadle.flows.sales.failing_rows import ROWS_A_CHECK, Cell, FailingRows, cell, whole_row

_COLUMNS_SHOWN: Final = 30  # of a whole row
_PLACE: Final = "row\0"  # no column's name has a NUL


@dataclass(frozen=True, slots=True)
class SourceRows:
    """The rows as the file has them, beside the cleaned table that was made of them: a second copy, which only an inspection keeps.

    frame: columns named as in the cleaned table, the same rows in the same order, values untouched. headers: column → what the file calls it.
    first_row: the number of the first row of the frame. unreadable: column → the values that could not be read.
    """

    frame: pl.LazyFrame
    headers: Mapping[str, str]
    first_row: int
    unreadable: Mapping[str, FailingRows] = field(default_factory=dict[str, FailingRows])


def cells_where(  # noqa: PLR0913 - of what, and where from
    frame: pl.LazyFrame, which: pl.Expr, value: str, header: str, first_row: int, *, most: int = ROWS_A_CHECK
) -> tuple[Cell, ...]:
    """The first rows of a frame for which something holds, with the value of one column. Streamed: it stops as soon as there are enough."""
    found = frame.with_row_index(_PLACE).filter(which).select(_PLACE, value).head(most).collect(engine="streaming")
    return tuple(cell(first_row + place, header, held) for place, held in found.rows())


def cells_at(source: SourceRows, places: Sequence[int], column: str) -> tuple[Cell, ...]:
    """What stood in a column of the file in these rows of the table, which count from 0."""
    header = source.headers[column]
    return tuple(cell(source.first_row + place, header, value) for place, (value,) in _rows_at(source, places, [column]))


def whole_rows_at(source: SourceRows, places: Sequence[int]) -> tuple[Cell, ...]:
    """These rows of the table as they stood in the file, their values one after the other."""
    columns = list(source.headers)[:_COLUMNS_SHOWN]
    return tuple(cell(source.first_row + place, "", whole_row(values)) for place, values in _rows_at(source, places, columns))


def _rows_at(source: SourceRows, places: Sequence[int], columns: list[str]) -> list[tuple[int, tuple[Any, ...]]]:
    """Read no further than to the last place."""
    if not places:
        return []
    rows = source.frame.head(max(places) + 1).select(columns).with_row_index(_PLACE)
    wanted = rows.filter(pl.col(_PLACE).is_in(list(places))).collect(engine="streaming")
    return [(row[0], row[1:]) for row in wanted.rows()]
