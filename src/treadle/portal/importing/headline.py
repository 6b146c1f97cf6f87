"""The file as a whole: its few figures and its period. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from treadle.portal.importing.values import percent
from treadle.portal.words import DASH, number


def headline(profile: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The few figures that say what kind of file this is."""
    rows, columns = int(profile["row_count"]), int(profile["column_count"])
    missing = sum(int(entry.get("null_count") or 0) for entry in profile["schema"])
    dates: Mapping[str, Any] = profile.get("date_range") or {}
    return [
        ("Rows", number(rows)),
        ("Columns", number(columns)),
        ("Missing values", percent(100 * missing / (rows * columns)) if rows and columns else DASH),
        ("Days covered", number(_days(dates.get("min"), dates.get("max")))),
    ]


def period(profile: Mapping[str, Any]) -> str:
    """From which day to which the file reaches, in words; empty when no column dates its rows."""
    dates: Mapping[str, Any] = profile.get("date_range") or {}
    first, last = _moment(dates.get("min")), _moment(dates.get("max"))
    if first is None or last is None:
        return ""
    return f"{first:%d %b %Y}" if first.date() == last.date() else f"{first:%d %b %Y} to {last:%d %b %Y}"


def _days(first: Any, last: Any) -> int | None:
    low, high = _moment(first), _moment(last)
    return None if low is None or high is None else (high.date() - low.date()).days + 1


def _moment(value: Any) -> datetime | None:
    """An ISO date, with or without a time."""
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None
