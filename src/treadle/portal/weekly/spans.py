"""Which weeks there are: the spans of the runs themselves, that of the checkpoint, and weeks of seven days between and around them. Pure."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Final

from treadle.errors import InvalidInput
from treadle.flows.weekly.record import Checkpoint, WeeklyRun
from treadle.flows.weekly.week import Week

FIRST_DAY, LAST_DAY = date(1971, 1, 1), date(2999, 12, 31)  # of the weeks that the page makes up; a run may lie outside
FAR: Final = timedelta(weeks=13)  # behind the present; a run beyond it is taken for a slip of the pen
_MONDAY: Final = date(2019, 12, 2)


def known_spans(runs: Iterable[WeeklyRun], checkpoint: Checkpoint | None) -> list[Week]:
    """The spans that nobody has to make up: of the runs, newest first, then the one that comes next."""
    return list(dict.fromkeys([run.week for run in runs] + ([checkpoint.next] if checkpoint else [])))


def span_at(day: date, known: Sequence[Week]) -> Week:
    """The span that begins on a day, else one that holds it, of those known; else the week of seven days, counted from its neighbour.

    The neighbour is the known span before the day, else the one after it; a gap that is no whole number of weeks ends with a shorter one.

    Raises:
        InvalidInput: the day lies outside what the page makes weeks for.
    """
    for found in (
        next((span for span in known if span.start == day), None),
        next((span for span in known if span.start <= day <= span.end), None),
    ):
        if found:
            return found
    if not FIRST_DAY <= day <= LAST_DAY:
        raise InvalidInput(f"No week is shown for {day}.", hint=f"Name a day from {FIRST_DAY} to {LAST_DAY}.")
    before = max((span.end for span in known if span.end < day), default=None)
    after = min((span.start for span in known if span.start > day), default=None)
    origin = before + timedelta(days=1) if before else after or _MONDAY
    start = day.toordinal() - (day - origin).days % 7
    end = min(start + 6, after.toordinal() - 1 if after else start + 6)
    return Week(date.fromordinal(start), date.fromordinal(end))


def spans_between(first: date, last: date, known: Sequence[Week]) -> list[Week]:
    """Every known span with a day from `first` to `last`, and what fills the gaps between them; by their first days."""
    found = {span for span in known if span.start <= last and span.end >= first}
    ends = sorted((span.start.toordinal(), span.end.toordinal()) for span in found)
    day, until = max(first, FIRST_DAY).toordinal(), min(last, LAST_DAY).toordinal()
    while day <= until:
        reached = max((end for start, end in ends if start <= day <= end), default=None)
        if reached is None:
            fill = span_at(date.fromordinal(day), known)
            found.add(fill)
            reached = fill.end.toordinal()
        day = reached + 1
    return sorted(found)


def near_runs(runs: Sequence[WeeklyRun], checkpoint: Checkpoint | None, now: datetime) -> list[WeeklyRun]:
    """Without those of weeks that lie so far ahead that somebody has mistyped the year: one of them would shift all that follows."""
    present = max(now.date(), checkpoint.next.start) if checkpoint else now.date()
    return [run for run in runs if run.week.start - present <= FAR]


def span_name(span: Week) -> str:
    """How addresses name a span: by its first day; one that is not of seven days by both, as ISO 8601 writes an interval."""
    return str(span.start) if (span.end - span.start).days == 6 else f"{span.start}/{span.end}"


def named_span(name: str, known: Sequence[Week]) -> Week:
    """The span that an address names.

    Raises:
        InvalidInput: it names no day, or one for which no week is shown.
    """
    first, _, last = name.partition("/")
    try:
        start = date.fromisoformat(first)
        exact = Week(start, date.fromisoformat(last)) if last else None
    except ValueError:
        raise InvalidInput(f"{name!a} is no day.", hint="Name the first day of a week, such as 2019-12-02.") from None
    if exact and exact in known:
        return exact
    whole = next((span for span in known if span.start == start and (span.end - start).days == 6), None)
    return whole or span_at(start, known)
