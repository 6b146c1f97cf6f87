"""The week that a run is about. Pure."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from treadle.errors import InvalidInput

FIRST_DAY: Final = date(1970, 1, 1)
_SEVEN: Final = 7
LAST_DAY: Final = date(9998, 12, 31)  # the moment at which it ends is the last that every system here can tell


@dataclass(frozen=True, slots=True, order=True)
class Week:
    """A span of whole days in UTC, both ends included; usually seven, from Monday to Sunday.

    Days are counted in UTC, where none is longer or shorter than 24 hours, so that clock changes of any country move no event to another week.
    """

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise InvalidInput(f"The week ends ({self.end}) before it starts ({self.start}).", hint="Give the earlier date as the start.")
        if self.start < FIRST_DAY or self.end > LAST_DAY:
            raise _beyond(f"{self.start}…{self.end}")

    @classmethod
    def recorded(cls, start: date, end: date) -> "Week":
        """A span as it stands in a database, whatever its years: one that is refused today can still be listed."""
        week = object.__new__(cls)
        object.__setattr__(week, "start", start)
        object.__setattr__(week, "end", end)
        return week

    @property
    def opens_at(self) -> datetime:
        """The first moment that belongs to the week (UTC)."""
        return datetime.combine(self.start, time(), UTC)

    @property
    def closes_at(self) -> datetime:
        """The first moment that no longer belongs to it (UTC): the week is half-open."""
        return datetime.combine(self.end, time(), UTC) + timedelta(days=1)

    @property
    def folder(self) -> str:
        """Where its files lie below a base folder, as engines read partitions."""
        return f"week_start={self.start}/week_end={self.end}"

    @property
    def next(self) -> "Week":
        """The span of the same length that follows."""
        return Week(days_after(self.end, 1), days_after(self.end, (self.end - self.start).days + 1))

    @property
    def options(self) -> str:
        """How a command is told of it: seven days by their first."""
        until = "" if (self.end - self.start).days == _SEVEN - 1 else f" --week-end {self.end}"
        return f"--week-start {self.start}{until}"

    def shares_days_with(self, other: "Week") -> bool:
        """Whether any day belongs to both."""
        return self.start <= other.end and other.start <= self.end

    def __str__(self) -> str:
        return f"{self.start}…{self.end}"


def week_of(start: date) -> Week:
    """The seven days that begin with `start`."""
    return Week(start, days_after(start, _SEVEN - 1))


def days_after(day: date, days: int) -> date:
    """The day so many days later. Raises InvalidInput when the calendar has none."""
    try:
        return day + timedelta(days=days)
    except OverflowError as error:
        raise _beyond(f"of {day}") from error


def require_begun(week: Week, now: datetime) -> None:
    """Return when the week has begun, so that it can have events. now: aware.

    Raises:
        InvalidInput: it has not.
    """
    if now <= week.opens_at:
        raise InvalidInput(f"The week {week} has not begun.", hint="Choose a week that began before now.", details={"week": str(week)})


def _beyond(what: str) -> InvalidInput:
    return InvalidInput(
        f"The week {what} lies outside the years {FIRST_DAY.year} to {LAST_DAY.year}.", hint="Check the year; write dates as YYYY-MM-DD."
    )
