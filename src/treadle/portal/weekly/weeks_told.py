"""Weeks for people: what they are called, how each stands, and the calendar of half a year. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from treadle.flows.weekly.record import Checkpoint, RunStatus, WeeklyRun
from treadle.flows.weekly.week import Week, week_of
from treadle.looks import look_of

COLUMNS: Final = 9
WEEKS: Final = 27  # half a year, in rows of COLUMNS
_LEAD: Final = timedelta(weeks=13)  # behind a chosen week that lies far back
_FILLS: Final = {"green": "#1b7f4d", "orange": "#b35900", "red": "#c2312b", "blue": "#1d63c8"}  # white text on each reads well
_FAINT: Final = "#8a8f98"  # reads on both themes' grounds


@dataclass(frozen=True, slots=True)
class CalendarWeek:
    """A week with how it stands, which is a name of `looks.LOOKS`. run: the one that says so; None: there is none."""

    week: Week
    state: str
    run: WeeklyRun | None = None


def week_label(week: Week) -> str:
    """Its days, as people write them."""
    if week.start.year != week.end.year:
        return f"{week.start:%-d %b %Y} – {week.end:%-d %b %Y}"
    return f"{week.start:%-d}{'' if week.start.month == week.end.month else f'{week.start: %b}'} – {week.end:%-d %b %Y}"


def week_line(one: CalendarWeek) -> str:
    """A week with its state as one line of a list."""
    look = look_of(one.state)
    return f"{week_label(one.week)} · {look.sign} {look.word}"


def judge_week(week: Week, runs: Sequence[WeeklyRun], checkpoint: Checkpoint | None, now: datetime) -> CalendarWeek:
    """How a week stands. runs: of this week, newest first."""
    started = next((run for run in runs if run.status is RunStatus.STARTED), None)
    whole = next((run for run in runs if run.complete), None)
    told = started or whole
    if told:
        return CalendarWeek(week, str(told.status), told)
    if runs:
        newest = runs[0]
        return CalendarWeek(week, "INCOMPLETE" if newest.status.succeeded else str(newest.status), newest)
    if now < week.closes_at:
        return CalendarWeek(week, "NOT_OVER")
    return CalendarWeek(week, "DUE" if checkpoint and week.start >= checkpoint.next.start else "NEVER_RUN")


def align(day: date, checkpoint: Checkpoint | None, runs: Sequence[WeeklyRun]) -> Week:
    """The week that holds a day, counted as the checkpoint counts, else as the newest run, else from Monday."""
    known = checkpoint.next.start if checkpoint else runs[0].week.start if runs else date(2019, 12, 2)
    return week_of(day - timedelta(days=(day - known).days % 7))


def calendar_weeks(
    runs: Sequence[WeeklyRun], checkpoint: Checkpoint | None, now: datetime, chosen: Week | None = None
) -> list[CalendarWeek]:
    """Half a year of weeks, oldest first: up to the present where that is near, else up to the week that comes next; the chosen one among them."""
    present = align(now.date(), checkpoint, runs)
    span = timedelta(weeks=WEEKS - 1)
    last = max([run.week.start for run in runs] + ([checkpoint.next.start] if checkpoint else []), default=present.start)
    last = align(last, checkpoint, runs).start
    if last <= present.start <= last + span:
        last = present.start
    if chosen and chosen.start > last:
        last = chosen.start
    elif chosen and chosen.start < last - span:
        last = min(last, chosen.start + _LEAD)
    weeks = [week_of(last - timedelta(weeks=back)) for back in reversed(range(WEEKS))]
    return [judge_week(week, runs_of(week, runs), checkpoint, now) for week in weeks]


def runs_of(week: Week, runs: Sequence[WeeklyRun]) -> list[WeeklyRun]:
    """Those of a week; also of one that begins on another of its days."""
    return [run for run in runs if week.start <= run.week.start <= week.end]


def calendar_spec(weeks: Sequence[CalendarWeek], chosen: Week) -> dict[str, Any]:
    """The calendar as Vega-Lite: in each cell its state's sign and its first day. A click chooses (`pick`, by the field `week`)."""
    rows = [_cell(position, one, chosen) for position, one in enumerate(weeks)]
    place = {
        "x": {"field": "column", "type": "ordinal", "axis": None, "scale": {"paddingInner": 0.08, "paddingOuter": 0}},
        "y": {"field": "row", "type": "ordinal", "axis": None, "scale": {"paddingInner": 0.12, "paddingOuter": 0.06}},
    }
    told = [
        {"field": name, "type": "nominal", "title": title} for name, title in (("days", "Week"), ("word", "State"), ("events", "Events"))
    ]
    colour = {"field": "ink", "type": "nominal", "scale": None}
    return {
        "data": {"values": rows},
        "height": 48 * -(-len(weeks) // COLUMNS),
        "config": {"view": {"stroke": None}},
        "params": [{"name": "pick", "select": {"type": "point", "fields": ["week"]}, "views": ["cells"]}],
        "encoding": place,
        "layer": [
            {
                "name": "cells",
                "mark": {"type": "rect", "cornerRadius": 4, "cursor": "pointer"},
                "encoding": {
                    "fill": {"field": "fill", "type": "nominal", "scale": None},
                    "stroke": {"field": "edge", "type": "nominal", "scale": None},
                    "strokeWidth": {"field": "edge_width", "type": "quantitative", "scale": None},
                    "opacity": {"value": 1},
                    "tooltip": told,
                },
            },
            {
                "mark": {"type": "text", "dy": -8, "fontSize": 14},
                "encoding": {"text": {"field": "sign", "type": "nominal"}, "color": colour},
            },
            {
                "mark": {"type": "text", "dy": 10, "fontSize": 10},
                "encoding": {"text": {"field": "day", "type": "nominal"}, "color": colour},
            },
        ],
    }


def _cell(position: int, one: CalendarWeek, chosen: Week) -> Mapping[str, Any]:
    look, is_chosen = look_of(one.state), one.week == chosen
    fill = _FILLS.get(look.colour) if one.run else None
    ink = "#ffffff" if fill else _FAINT if look.colour == "gray" else "#4a8af4"
    return {
        "column": position % COLUMNS,
        "row": position // COLUMNS,
        "week": str(one.week.start),
        "days": week_label(one.week),
        "day": f"{one.week.start:%-d %b}",
        "sign": look.sign,
        "word": look.word,
        "events": f"{one.run.rows_fetched:,}" if one.run and one.run.rows_fetched is not None else "–",
        "fill": fill or "transparent",
        "ink": ink,
        "edge": "#f0a020" if is_chosen else fill or _FAINT,
        "edge_width": 3 if is_chosen else 0.5,
    }


def legend(weeks: Sequence[CalendarWeek]) -> str:
    """The time that the calendar spans, and the signs in it with their words and how many weeks have each."""
    states = list(dict.fromkeys(one.state for one in weeks))
    counts = {state: sum(one.state == state for one in weeks) for state in states}
    signs = [f"{look_of(state).sign} {look_of(state).word}: {counts[state]}" for state in states]
    return " · ".join([week_label(Week(weeks[0].week.start, weeks[-1].week.end)), *signs])
