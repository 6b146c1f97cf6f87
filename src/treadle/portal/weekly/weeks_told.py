"""Weeks for people: what they are called, how each stands, and the calendar of half a year. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from treadle.flows.weekly.record import Checkpoint, RunStatus, WeeklyRun
from treadle.flows.weekly.week import Week
from treadle.looks import look_of
from treadle.portal.weekly.spans import LAST_DAY, known_spans, near_runs, span_at, span_name, spans_between

COLUMNS: Final = 9
WEEKS: Final = 27  # half a year, in rows of COLUMNS
_SPAN: Final = timedelta(weeks=WEEKS - 1)  # from the first day of the first week to that of the last
_LEAD: Final = timedelta(weeks=13)  # behind a chosen week that lies far back
_FILLS: Final = {"green": "#1b7f4d", "orange": "#b35900", "red": "#c2312b", "blue": "#1d63c8"}  # white text on each reads well
_FAINT: Final = "#8a8f98"  # reads on both themes' grounds


@dataclass(frozen=True, slots=True)
class CalendarWeek:
    """A week with how it stands, which is a name of `looks.LOOKS`. run: the one that says so; done_before: an older one that had done the week whole."""

    week: Week
    state: str
    run: WeeklyRun | None = None
    done_before: WeeklyRun | None = None


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
    """How a week stands: one that is under way, else the newest run decides. runs: of this week, newest first."""
    newest = next((run for run in runs if run.status is RunStatus.STARTED), runs[0] if runs else None)
    if newest:
        done_before = next((run for run in runs if run.complete and run is not newest), None)
        unfinished = newest.status.succeeded and not newest.complete
        return CalendarWeek(week, "INCOMPLETE" if unfinished else str(newest.status), newest, done_before)
    if now < week.closes_at:
        return CalendarWeek(week, "NOT_OVER")
    return CalendarWeek(week, "DUE" if checkpoint and week.start >= checkpoint.next.start else "NEVER_RUN")


def calendar_weeks(
    runs: Sequence[WeeklyRun], checkpoint: Checkpoint | None, now: datetime, chosen: Week | None = None
) -> list[CalendarWeek]:
    """Half a year of weeks, oldest first: up to the present where that is near, else up to the week that comes next; the chosen one among them.

    Each run stands in a cell of its own span, and so does the checkpoint; what nobody has run fills the gaps in weeks of seven days.
    """
    known = known_spans(runs, checkpoint) + ([chosen] if chosen else [])
    last = _last_week(known, near_runs(runs, checkpoint, now), checkpoint, now)
    if chosen and chosen.start > last.start:
        last = chosen
    elif chosen and last.start.toordinal() - chosen.start.toordinal() > _SPAN.days:
        last = min(last, span_at(min(chosen.start + _LEAD, LAST_DAY), known))
    first = date.fromordinal(max(last.start.toordinal() - _SPAN.days, 1))
    spans = [span for span in spans_between(first, last.start, known) if span.start <= last.start]
    begin = max(len(spans) - WEEKS, 0)
    if chosen in spans:
        begin = min(begin, spans.index(chosen))
    return [judge_week(span, runs_of(span, runs), checkpoint, now) for span in spans[begin : begin + WEEKS]]


def _last_week(known: Sequence[Week], runs: Sequence[WeeklyRun], checkpoint: Checkpoint | None, now: datetime) -> Week:
    """The last one of the calendar while none is chosen. runs: those that count for it."""
    present = span_at(now.date(), known)
    last = max(known_spans(runs, checkpoint), default=present)
    return present if last.start <= present.start <= last.start + _SPAN else last


def runs_of(week: Week, runs: Sequence[WeeklyRun]) -> list[WeeklyRun]:
    """Those of a week, from its first day to its last; one of another span stands under its own."""
    return [run for run in runs if run.week == week]


def calendar_spec(weeks: Sequence[CalendarWeek], chosen: Week) -> dict[str, Any]:
    """The calendar as Vega-Lite: in each cell its state's sign and its first day. A click chooses (`pick`, by the field `week`)."""
    rows = [_cell(position, one, chosen) for position, one in enumerate(weeks)]
    place = {
        "x": {"field": "column", "type": "ordinal", "axis": None, "scale": {"paddingInner": 0.08, "paddingOuter": 0}},
        "y": {"field": "row", "type": "ordinal", "axis": None, "scale": {"paddingInner": 0.12, "paddingOuter": 0.06}},
    }
    told = [
        {"field": name, "type": "nominal", "title": title}
        for name, title in (("days", "Week"), ("word", "State"), ("events", "Events"), ("before", "Before that"))
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
        "week": span_name(one.week),
        "days": week_label(one.week),
        "day": f"{one.week.start:%-d %b}",
        "sign": look.sign,
        "word": look.word,
        "events": f"{one.run.rows_fetched:,}" if one.run and one.run.rows_fetched is not None else "–",
        "before": f"{look_of(one.done_before.status).word} of {one.done_before.started_at:%-d %b %Y}" if one.done_before else "–",
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
