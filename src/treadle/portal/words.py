"""Times, numbers and sizes as people read them. Pure."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Final

from treadle.visible_text import visible

DASH: Final = "–"
_MEANT: Final = r"\`*_{}[]()<>#|~:$&!@"
_NOTHING: Final = "\u2060"  # takes no room; Streamlit makes an icon of `:material/x:`, escaped or not
_ADDRESS: Final = re.compile(r"(www)(?=\.)|(?<=\\@)()", re.IGNORECASE)  # of a site, of a person: either would become a link
_LIST_MARK: Final = re.compile(r"^(\d*)([-+=.])")  # what would begin a list, or underline the line before it, at the start of a line
_UNITS: Final = ("B", "KB", "MB", "GB", "TB")


def number(value: float | Decimal | None, decimals: int = 0) -> str:
    """With thin groups of thousands; a dash for what is not known."""
    return DASH if value is None else f"{value:,.{decimals}f}"


def size(bytes_: int | None) -> str:
    """A number of bytes in the decimal unit that suits it, as browsers and Streamlit count: 1 MB is 1,000,000 bytes."""
    if bytes_ is None:
        return DASH
    value, unit = float(bytes_), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {_UNITS[unit]}"


def moment(at: datetime | None, zone: tzinfo = UTC) -> str:
    """A moment in the reader's time zone, to the minute."""
    return at.astimezone(zone).strftime("%d %b %Y, %H:%M") if at else DASH


def clock(at: datetime | None, zone: tzinfo = UTC) -> str:
    """The time of day in the reader's time zone, to the second."""
    return at.astimezone(zone).strftime("%H:%M:%S") if at else DASH


def since(at: datetime | None, now: datetime, zone: tzinfo = UTC) -> str:
    """The time of day in the reader's time zone, with the day when it is not today's."""
    if at is None:
        return DASH
    today = at.astimezone(zone).date() == now.astimezone(zone).date()
    return clock(at, zone) if today else moment(at, zone)


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago, roughly."""
    if at is None:
        return DASH
    past = now - at
    if past < timedelta(seconds=45):
        return "just now"
    return f"{duration(past)} ago"


def duration(span: timedelta | None) -> str:
    """A span of time in its two largest units."""
    if span is None:
        return DASH
    seconds = max(0, round(span.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s" if seconds < 600 else f"{seconds // 60} min"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3600} h"


def change(new: float | Decimal | None, old: float | Decimal | None) -> str | None:
    """The relative change in percent, with its sign. None: there is nothing to compare with."""
    if new is None or old is None or not old:
        return None
    percent = (float(new) - float(old)) / abs(float(old)) * 100
    return f"{percent:+,.1f} %"


def plain(text: object) -> str:
    """Text of others as it is, where Markdown is read: no letter of it makes a link, an image, a colour or a formula, and none is hidden."""
    escaped = "".join(f"\\{letter}" if letter in _MEANT else letter for letter in visible(" ".join(str(text).split())))
    return _LIST_MARK.sub(r"\1\\\2", _ADDRESS.sub(rf"\1{_NOTHING}", escaped.replace("\\:", f"\\:{_NOTHING}")))


def visible_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with texts of others as a table shows them, which reads no Markdown: nothing hidden in a text or in the name of a column."""
    return [{visible(name): visible(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows]
