"""What is different between the file behind `current/` and the one that is to replace it: two profiles in, changes out. Pure.

Only what the two profiles can prove is told. A profile lists at most the ten most frequent values of a column, so a value that is missing
from a longer list may well be in the file; that it is new or gone is said only where the list it is missing from is complete.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

REQUIRED: Final = frozenset({"revenue", "order_id"})
FEWER_ROWS: Final = 0.8  # of the rows there were: less is more than a file usually shrinks
MORE_ROWS: Final = 2.0  # twice as many rows is what a file has that holds the same twice
NULL_POINTS: Final = 5.0  # so many percentage points more of missing values are worth a look
LEAST_NULL_POINTS: Final = 0.5  # and so few are not worth a word
NOTABLE_SHARE: Final = 0.05  # of the rows: a value as frequent as this is one that a breakdown shows
MAGNITUDE: Final = 10.0  # a range that grows so many times over is another unit, or a slip of the decimal mark

Severity = Literal["error", "warning", "info"]
_ORDER: Final[Mapping[Severity, int]] = {"error": 0, "warning": 1, "info": 2}
_NUMBERS: Final = frozenset({"integer", "float", "money"})
_TIMES: Final = frozenset({"date", "timestamp"})
_WORDS: Final = frozenset({"text", "boolean"})


class Shift(StrEnum):
    """How a range moved."""

    EARLIER = "ends earlier"  # the new file is older than what is published
    LATER = "moves on"
    LARGER = "reaches much further"
    NEGATIVE = "has negative values now"
    OTHER = "differs"


@dataclass(frozen=True, slots=True)
class ColumnAdded:
    """A column that was not there."""

    column: str
    kind: str
    severity: Severity = "info"


@dataclass(frozen=True, slots=True)
class ColumnRemoved:
    """A column that is not there any more."""

    column: str
    kind: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class ColumnRetyped:
    """A column that holds another kind of values."""

    column: str
    was: str
    now: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class RowCountChanged:
    """More rows, or fewer."""

    was: int
    now: int
    severity: Severity


@dataclass(frozen=True, slots=True)
class NullsChanged:
    """A larger or smaller part of a column's values is missing; in percent of the rows."""

    column: str
    was: float
    now: float
    severity: Severity


@dataclass(frozen=True, slots=True)
class ValuesChanged:
    """Values of a column that appeared, vanished, or are among the frequent ones for the first time; the most frequent first."""

    column: str
    appeared: tuple[str, ...]
    vanished: tuple[str, ...]
    risen: tuple[str, ...]
    severity: Severity


@dataclass(frozen=True, slots=True)
class RangeShifted:
    """Other least and greatest values, as the profiles have them: numbers, or ISO dates."""

    column: str
    was: tuple[Any, Any]
    now: tuple[Any, Any]
    shift: Shift
    severity: Severity


Change = ColumnAdded | ColumnRemoved | ColumnRetyped | RowCountChanged | NullsChanged | ValuesChanged | RangeShifted


def compare_profiles(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """What is different in `now`, the gravest first, then in the order of the columns; both have the form of `import_profile.json`.

    A profile that could not be computed in full has columns without counts; what cannot be compared is left out.
    """
    changes = [*_rows(before, now), *_columns(before, now)]
    return sorted(changes, key=lambda change: _ORDER[change.severity])  # sorting is stable


def _rows(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    was, is_now = int(before["row_count"]), int(now["row_count"])
    if was != is_now:
        ordinary = was * FEWER_ROWS <= is_now <= was * MORE_ROWS
        yield RowCountChanged(was, is_now, "info" if ordinary else "warning")


def _columns(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    old, new = _by_name(before), _by_name(now)
    for name, entry in old.items():
        if name not in new:
            yield ColumnRemoved(name, str(entry["dtype"]), "error" if name in REQUIRED else "warning")
    for name, entry in new.items():
        if name not in old:
            yield ColumnAdded(name, str(entry["dtype"]))
        else:
            yield from _column(name, old[name], entry, int(before["row_count"]), int(now["row_count"]))


def _by_name(profile: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {str(entry["column"]): entry for entry in profile["schema"]}


def _column(name: str, old: Mapping[str, Any], new: Mapping[str, Any], old_rows: int, new_rows: int) -> Iterator[Change]:
    was, is_now = str(old["dtype"]), str(new["dtype"])
    if was != is_now:
        alike = {was, is_now} <= _NUMBERS or {was, is_now} <= _TIMES
        yield ColumnRetyped(name, was, is_now, "info" if alike else "error" if name == "revenue" else "warning")
    yield from _nulls(name, old, new)
    if {was, is_now} <= _WORDS:
        yield from _values(name, old, new, old_rows, new_rows)
    elif {was, is_now} <= _NUMBERS:
        yield from _numbers(name, old, new)
    elif {was, is_now} <= _TIMES:
        yield from _times(name, old, new)


def _nulls(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    was, is_now = old.get("null_pct"), new.get("null_pct")
    if was is None or is_now is None or abs(is_now - was) < LEAST_NULL_POINTS:
        return
    yield NullsChanged(name, float(was), float(is_now), "warning" if is_now - was >= NULL_POINTS else "info")


def _values(name: str, old: Mapping[str, Any], new: Mapping[str, Any], old_rows: int, new_rows: int) -> Iterator[Change]:
    old_counts, new_counts = _counts(old), _counts(new)
    if not {*old_counts.values()} - {1} or not {*new_counts.values()} - {1}:
        return  # each value is there once, as ids are: that others follow is their nature
    old_whole, new_whole = _is_complete(old, old_counts), _is_complete(new, new_counts)
    appeared = [value for value in new_counts if value not in old_counts] if old_whole else []
    vanished = [value for value in old_counts if value not in new_counts] if new_whole else []
    frequent = [value for value, count in new_counts.items() if count >= NOTABLE_SHARE * max(new_rows, 1) and value not in old_counts]
    risen = [] if old_whole else frequent
    if not (appeared or vanished or risen):
        return
    missed = [value for value in vanished if old_counts[value] >= NOTABLE_SHARE * max(old_rows, 1)]
    notable = bool(missed) or (old_whole and bool(frequent))
    yield ValuesChanged(name, tuple(appeared), tuple(vanished), tuple(risen), "warning" if notable else "info")


def _counts(entry: Mapping[str, Any]) -> dict[str, int]:
    listed: Sequence[Mapping[str, Any]] = entry.get("top_values") or ()
    return {str(item["value"]): int(item["count"]) for item in listed}


def _is_complete(entry: Mapping[str, Any], counts: Mapping[str, int]) -> bool:
    return bool(entry.get("distinct_exact")) and len(counts) == entry.get("distinct_count")


def _numbers(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    was, is_now = _range(old), _range(new)
    if was is None or is_now is None or was == is_now:
        return
    if was[0] >= 0 > is_now[0]:
        yield RangeShifted(name, was, is_now, Shift.NEGATIVE, "warning")
    elif _reach(is_now) > MAGNITUDE * _reach(was) > 0:
        yield RangeShifted(name, was, is_now, Shift.LARGER, "warning")
    else:
        yield RangeShifted(name, was, is_now, Shift.OTHER, "info")


def _reach(bounds: tuple[Any, Any]) -> float:
    return max(abs(float(bounds[0])), abs(float(bounds[1])))


def _times(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """ISO dates and timestamps are in order as text; a date is the beginning of each timestamp of its day."""
    was, is_now = _range(old), _range(new)
    if was is None or is_now is None or was == is_now:
        return
    if _day(is_now[1]) < _day(was[1]):
        yield RangeShifted(name, was, is_now, Shift.EARLIER, "warning")
    else:
        later = _day(is_now[1]) > _day(was[1]) and _day(is_now[0]) >= _day(was[0])
        yield RangeShifted(name, was, is_now, Shift.LATER if later else Shift.OTHER, "info")


def _day(moment: Any) -> str:
    return str(moment)[:10]


def _range(entry: Mapping[str, Any]) -> tuple[Any, Any] | None:
    low, high = entry.get("min"), entry.get("max")
    return None if low is None or high is None else (low, high)
