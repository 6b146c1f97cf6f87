"""The rows on which a check failed: what a person needs in order to find them in the file and to mend them. Pure.

Only an inspection keeps them; a run does not. They are the first ones in the order of the file, and few enough to be kept and read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any, Final

ROWS_A_CHECK: Final = 1_000
ROWS_IN_ALL: Final = 10_000  # of all checks of one file: with the longest values that are kept, some 12 MB
VALUE_LENGTH: Final = 200
_NAME_LENGTH: Final = 100
_EXACT_INTEGERS: Final = 2**53


@dataclass(frozen=True, slots=True)
class Cell:
    """A place in the file. row: as a spreadsheet counts, the header being row 1 unless lines stand above it. column: empty for the whole row.

    value: as it stood there; null for nothing.
    """

    row: int
    column: str
    value: str | None


@dataclass(frozen=True, slots=True)
class FailingRows:
    """Where a check failed and why. count: of all such places; cells: the first of them, by row."""

    reason: str
    count: int
    cells: tuple[Cell, ...]


def cell(row: int, column: str, value: Any) -> Cell:
    """A place with its value as a person reads it, neither of them longer than is kept."""
    return Cell(row, _cut(column, _NAME_LENGTH), written(value))


def written(value: Any) -> str | None:
    """A value of a file as it stands in it: a workbook's whole numbers without the `.0` they are stored with, its days without midnight."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_INTEGERS:
        value = int(value)
    if isinstance(value, datetime) and value.time() == time.min and value.tzinfo is None:
        value = value.date()
    return None if value is None else _cut(str(value), VALUE_LENGTH)


def whole_row(values: Iterable[Any]) -> str | None:
    """The values of a row in one text; null when there is none."""
    texts = [written(value) or "" for value in values]
    return " | ".join(texts) if any(texts) else None


def joined(reason: str, parts: Sequence[FailingRows]) -> FailingRows | None:
    """The rows of several columns as those of one check. None: there are none."""
    cells = sorted((one for part in parts for one in part.cells), key=lambda one: one.row)
    return FailingRows(reason, sum(part.count for part in parts), tuple(cells[:ROWS_A_CHECK])) if parts else None


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """The failing rows of one check as they are kept. place: that of the check among the `validations` of the profile, from 0."""

    place: int
    check: str
    severity: str
    reason: str
    count: int
    cells: tuple[Cell, ...]


def to_members(found: Iterable[FailedCheck]) -> list[dict[str, Any]]:
    """As JSON has them; a row is `[row, column, value]`."""
    return [
        {
            "place": one.place,
            "check": one.check,
            "severity": one.severity,
            "reason": one.reason,
            "count": one.count,
            "rows": [[kept.row, kept.column, kept.value] for kept in one.cells],
        }
        for one in found
    ]


def from_members(members: Iterable[Mapping[str, Any]]) -> list[FailedCheck]:
    """What `to_members` wrote."""
    return [
        FailedCheck(one["place"], one["check"], one["severity"], one["reason"], one["count"], tuple(Cell(*kept) for kept in one["rows"]))
        for one in members
    ]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def kept_of(count: int, kept: int) -> str:
    """How many of the failing rows are there: `12 rows`, or `first 1,000 of 4,321 rows`."""
    if kept < count:
        return f"first {kept:,} of {count:,} rows"
    return "1 row" if count == 1 else f"{count:,} rows"
