"""Dates and times that are written as text: which formats one column uses, and how they are then read.

Whether `03/04/2020` is in March or April is decided for the column as a whole, and reported when nothing in it decides.
Reading is a Polars expression: narwhals has no parsing that tolerates other text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import polars as pl

DayMonthOrder = Literal["day first", "month first"]
EARLIEST: Final = date(1000, 1, 1)  # a year of two digits read as one of four is earlier

_MIDNIGHT: Final = r" 0{1,2}:00(?::00(?:\.0+)?)?"  # as a workbook has it where dates and texts share a column
_ISO_DATE: Final = r"\d{4}-\d{1,2}-\d{1,2}"
_MONTH: Final = r"(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_LONG_MONTH: Final = r"(?i:january|february|march|april|may|june|july|august|september|october|november|december)"
_ORDERS: Final[tuple[tuple[DayMonthOrder, str, str], ...]] = (("day first", "%d", "%m"), ("month first", "%m", "%d"))
_DAY_FORMATS: Final[tuple[tuple[str, str, DayMonthOrder | None], ...]] = (
    (_ISO_DATE, "%Y-%m-%d", None),
    (r"\d{4}/\d{1,2}/\d{1,2}", "%Y/%m/%d", None),
    (r"\d{4}\.\d{1,2}\.\d{1,2}", "%Y.%m.%d", None),
    *(
        (rf"\d{{1,2}}\.\d{{1,2}}\.{digits}", f"%d.%m.{year}", None) for digits, year in ((r"\d{4}", "%Y"), (r"\d{2}", "%y"))
    ),  # points: day first
    *(
        (rf"\d{{1,2}}{mark}\d{{1,2}}{mark}{digits}", f"{first}{mark}{second}{mark}{year}", order)
        for mark in "/-"
        for digits, year in ((r"\d{4}", "%Y"), (r"\d{2}", "%y"))
        for order, first, second in _ORDERS
    ),
    *(
        (pattern, text, None)
        for month, word in ((_MONTH, "%b"), (_LONG_MONTH, "%B"))
        for pattern, text in (
            *((rf"\d{{1,2}}{gap}{month}{gap}\d{{4}}", f"%d{gap}{word}{gap}%Y") for gap in " -/"),
            *((rf"\d{{1,2}}{gap}{month}{gap}\d{{2}}", f"%d{gap}{word}{gap}%y") for gap in " -/"),
            (rf"\d{{1,2}}\. ?{month} \d{{4}}", f"%d. {word} %Y"),
            (rf"{month} \d{{1,2}}, \d{{4}}", f"{word} %d, %Y"),
            (rf"{month} \d{{1,2}} \d{{4}}", f"{word} %d %Y"),
        )
    ),
)
_TIME_FORMATS: Final = (
    ("", ""),
    (_MIDNIGHT, ""),
    (r" \d{1,2}:\d{2}", " %H:%M"),
    (r" \d{1,2}:\d{2}:\d{2}", " %H:%M:%S"),
    (r" \d{1,2}:\d{2}:\d{2}\.\d{1,9}", " %H:%M:%S%.f"),
    (r" \d{1,2}:\d{2} ?(?i:am|pm)", " %I:%M %p"),
    (r" \d{1,2}:\d{2}:\d{2} ?(?i:am|pm)", " %I:%M:%S %p"),
    (r" \d{1,2}:\d{2}:\d{2}(?:Z|z|[+\-]\d{2}:?\d{2})", " %H:%M:%S%#z"),
    (r" \d{1,2}:\d{2}:\d{2}\.\d{1,9}(?:Z|z|[+\-]\d{2}:?\d{2})", " %H:%M:%S%.f%#z"),
)
_LOOKS_LIKE_DATE: Final = r"^\d{1,4}[./\- ] ?(?:\d{1,2}|[A-Za-z]{3,9})[./\- ]|^[A-Za-z]{3,9} \d{1,2},? \d"
_COMPACT: Final = r"^(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])$"


class TextFormat(NamedTuple):
    """One way to write a moment, and the strptime pattern that reads it."""

    pattern: str
    strptime: str
    order: DayMonthOrder | None
    has_time: bool
    has_zone: bool


@dataclass(frozen=True, slots=True)
class DateFormat:
    """The formats that a column uses; `assumed` says that no value shows whether day or month comes first, `order` which it is taken to be."""

    formats: tuple[TextFormat, ...]
    order: DayMonthOrder | None = None
    assumed: bool = False

    @property
    def has_time(self) -> bool:
        """Whether any value has a time of day that is not midnight."""
        return any(text.has_time for text in self.formats)

    @property
    def needs_space(self) -> bool:
        """Whether a `T` or a midnight may stand behind the day, which is put in order before reading."""
        return any(" " in text.pattern for text in self.formats)


def date_format(values: pl.Series, *, otherwise: DayMonthOrder | None = None, compact: bool = False) -> DateFormat | None:
    """Decide how a column of texts writes dates. None: hardly any of them is a date.

    values: trimmed, not empty, no nulls. otherwise: the order that other columns of the file use.
    compact: whether eight digits may be a date, which only a column called a date may.
    """
    if compact and values.str.contains(_COMPACT).all():
        return DateFormat((_COMPACT_FORMAT,))
    likely = values.filter(values.str.contains(_LOOKS_LIKE_DATE))
    if likely.is_empty():
        return None
    matching = tuple(_formats_of(likely.str.replace(_T_BEFORE_TIME, "$1 ").unique(maintain_order=True)))
    if not matching:
        return None
    ordered = [text for text in matching if text.order]
    if not ordered:
        return DateFormat(matching)
    order, assumed = _day_month_order(likely, ordered, otherwise)
    return DateFormat(tuple(text for text in matching if text.order in {None, order}), order, assumed)


def as_moment(values: pl.Expr, written: DateFormat) -> pl.Expr:
    """Read trimmed texts as dates, or as microsecond timestamps in UTC without zone when any of them has a time. Null: not a date."""
    spaced = values.str.replace(_T_BEFORE_TIME, "$1 ") if written.needs_space else values
    bare = spaced.str.replace(f"{_MIDNIGHT}$", "") if written.needs_space else spaced
    return pl.coalesce([_read(bare, text, as_timestamp=written.has_time) for text in written.formats])


def _read(values: pl.Expr, text: TextFormat, *, as_timestamp: bool) -> pl.Expr:
    moment = values.str.strptime(pl.Datetime("us") if as_timestamp else pl.Date, text.strptime, strict=False)
    if text.has_zone:
        moment = moment.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return pl.when(moment >= EARLIEST).then(moment)


_T_BEFORE_TIME: Final = rf"^({_ISO_DATE})[Tt]"
_COMPACT_FORMAT: Final = TextFormat(_COMPACT, "%Y%m%d", None, has_time=False, has_zone=False)


@lru_cache(maxsize=1)
def _all_formats() -> tuple[TextFormat, ...]:
    return tuple(
        TextFormat(f"^{day}{time}$", text + clock, order, has_time=bool(clock), has_zone=clock.endswith("z"))
        for day, text, order in _DAY_FORMATS
        for time, clock in _TIME_FORMATS
    )


def _formats_of(values: pl.Series) -> Iterator[TextFormat]:
    """The formats that some value fits; of those with a choice of order, both."""
    left = values
    for text in _all_formats():
        fits = left.str.contains(text.pattern)
        if not fits.any():
            continue
        yield text
        if text.order != "day first":  # its twin comes next, and fits the same values
            left = left.filter(~fits)
        if left.is_empty():
            return


def _day_month_order(values: pl.Series, formats: list[TextFormat], otherwise: DayMonthOrder | None) -> tuple[DayMonthOrder, bool]:
    """The order that more values prove by a number above twelve; failing that the other columns' order, failing that what is usual."""
    parts = values.str.extract_groups(r"^(\d{1,2})[/\-](\d{1,2})[/\-]").struct.unnest()
    first, second = (int((parts[name].cast(pl.Int64) > 12).sum()) for name in parts.columns)
    if first != second:
        return ("day first" if first > second else "month first"), False
    if otherwise:
        return otherwise, False
    return ("month first" if any("/" in text.strptime for text in formats) else "day first"), True
