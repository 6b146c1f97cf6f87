"""The week that a run is about. Pure."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from treadle.errors import InvalidInput


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
        return Week(self.end + timedelta(days=1), self.end + (self.end - self.start) + timedelta(days=1))

    def __str__(self) -> str:
        return f"{self.start}…{self.end}"


def week_of(start: date) -> Week:
    """The seven days that begin with `start`."""
    return Week(start, start + timedelta(days=6))
