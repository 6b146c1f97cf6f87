"""One weekly run for people: its stages on the time line, its trail, what became of its rows, and why it failed. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from treadle.control.events import Event
from treadle.flows.weekly.record import RunStatus, StageRecord, StageStatus, WeeklyEvent, WeeklyRun
from treadle.looks import look_of
from treadle.portal.words import duration, number

COUNTS: Final = ("created", "updated", "unchanged", "invalid", "refused", "pending")
_FILLS: Final = {"SUCCESS": "#1b7f4d", "FAILED": "#c2312b", "STARTED": "#1d63c8", "SKIPPED": "#6b7280"}
_KINDS: Final = {"WARNING": "WARNING", "ERROR": "ERROR"}
_MEANT: Final[Mapping[str, str]] = {
    "Cancelled": "Somebody cancelled it. Run the week again: it goes on where it stopped.",
    "Interrupted": "Its process was stopped. Run the week again: it goes on where it stopped.",
    "Abandoned": "Its process is gone. Run the week again: it goes on where it stopped.",
    "Unavailable": "Another system was away. Nothing is lost: run the week again, and it goes on where it stopped.",
    "Throttled": "Another system asked for fewer requests. Run the week again later; it goes on where it stopped.",
    "MissingSettings": "The weekly flow lacks settings. An admin sets them; then run the week again.",
    "Unauthenticated": "Another system did not take the credentials. An admin corrects them; then run the week again.",
    "PermissionDenied": "Another system takes the credentials, but does not allow this. Its admin gives the right; then run the week again.",
    "ChecksumMismatch": "A file of the week is not what was written. Run the week again with force: it fetches the events anew.",
    "OutcomeUnknown": "An answer was lost. Run the week again: what was done already is found, and not done twice.",
    "Conflict": "What was found is not what was expected. Read the reason; look at the plan, and decide.",
}
_STAYED: Final = "The checkpoint has not moved."
_ELSE: Final = f"{_STAYED} Read the reason, correct the cause, and run the week again."
_ANEW: Final = "Then run the week again: it fetches the events anew."
_EVENTS: Final = ("EXTRACT", "TRANSFORM", "LOAD", "QUALITY_GATE")  # stages before Salesforce is asked for anything


def stage_name(stage: str) -> str:
    """A stage as people call it."""
    return stage.capitalize().replace("_", " ")


def took(stage: StageRecord, now: datetime) -> str:
    """How long a stage took, or has taken so far."""
    span = (stage.ended_at or now) - stage.started_at
    return duration(span) if span >= timedelta(seconds=1) else f"{max(span, timedelta()).total_seconds():.1f} s"


def stage_rows(stages: Sequence[StageRecord], now: datetime, zone: tzinfo) -> list[dict[str, Any]]:
    """Every attempt at a stage as a row: where its bar lies, and what is told of it."""
    if not stages:
        return []
    end = max((stage.ended_at or now) for stage in stages)
    least = max(end - stages[0].started_at, timedelta(seconds=1)) / 60  # one that was over at once must still be seen
    return [
        {
            "stage": stage_name(stage.stage),
            "from": stage.started_at.astimezone(zone).isoformat(),
            "to": max(stage.ended_at or now, stage.started_at + least).astimezone(zone).isoformat(),
            "state": f"{look_of(stage.status).sign} {look_of(stage.status).word}",
            "fill": _FILLS[stage.status],
            "took": took(stage, now),
            "rows": number(stage.row_count),
        }
        for stage in stages
    ]


def stage_spec(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The stages on the time line of the run as Vega-Lite. Each bar is one attempt."""
    names = list(dict.fromkeys(row["stage"] for row in rows))
    told = [("stage", "Stage"), ("state", "State"), ("took", "Took"), ("rows", "Rows")]
    return {
        "data": {"values": list(rows)},
        "height": 30 * len(names) + 4,
        "mark": {"type": "bar", "cornerRadius": 3, "height": 14},
        "encoding": {
            "x": {"field": "from", "type": "temporal", "title": None, "axis": {"format": "%H:%M:%S", "tickCount": 4}},
            "x2": {"field": "to"},
            "y": {"field": "stage", "type": "nominal", "title": None, "sort": names, "axis": {"labelLimit": 120}},
            "color": {"field": "fill", "type": "nominal", "scale": None},
            "tooltip": [{"field": name, "type": "nominal", "title": title} for name, title in told],
        },
    }


def stage_table(stages: Sequence[StageRecord], now: datetime) -> list[dict[str, object]]:
    """The same in words, for a table."""
    return [
        {
            "Stage": stage_name(stage.stage),
            "State": f"{look_of(stage.status).sign} {look_of(stage.status).word}",
            "Took": took(stage, now) + ("" if stage.ended_at else " so far"),
            "Rows": stage.row_count,
        }
        for stage in stages
    ]


def trail_of(events: Sequence[WeeklyEvent]) -> list[Event]:
    """The timeline as the portal's other trails are: what concerns the whole run counts as a change of its status."""
    return [
        Event(
            uuid5(NAMESPACE_URL, f"{event.run_id}/{event.seq}"),
            event.run_id,
            event.at,
            _KINDS.get(event.level, "LOG" if event.stage else "STATUS_CHANGE"),
            event.message,
        )
        for event in events
    ]


def sync_counts(events: Sequence[WeeklyEvent]) -> dict[str, int] | None:
    """What became of the run's rows in Salesforce, as the end of its stage SYNC told. None: the stage was not reached, or has not ended."""
    for event in reversed(events):
        if event.stage == "SYNC" and event.data and all(name in event.data for name in COUNTS):
            return {name: int(event.data[name]) for name in COUNTS}
    return None


def started_by(events: Sequence[WeeklyEvent]) -> str | None:
    """Who started the run, as its first event tells. None: it does not."""
    name, found, _ = (events[0].message if events else "").partition(" started a run of the week ")
    return name if found else None


def reached(stages: Sequence[StageRecord]) -> str:
    """The stage in which a run ended or is, in words; empty before the first."""
    failed = next((stage for stage in reversed(stages) if stage.status is StageStatus.FAILED), None)
    last = failed or (stages[-1] if stages else None)
    return stage_name(last.stage) if last else ""


def failure_told(run: WeeklyRun, stages: Sequence[StageRecord]) -> tuple[str, str]:
    """What happened, and what to do next, of a run that failed."""
    where = f" in the stage {reached(stages)}" if stages else ""
    message = (run.error_message or "The reason was not recorded.").partition("\n")[0]
    return f"The run failed{where}. {message}", _MEANT.get(run.error_type or "") or _advice(run, reached(stages))


def _advice(run: WeeklyRun, stage: str) -> str:
    """What to do where the kind of error alone does not say it."""
    of_events = stage in {stage_name(name) for name in _EVENTS}
    match run.error_type:
        case "UnexpectedAnswer" if of_events:
            return f"{_STAYED} Nothing was sent. Run the week again: it fetches the events anew. If it fails the same way, tell those who run the events API."
        case "UnexpectedAnswer":
            return f"{_STAYED} Run the week again: what Salesforce has acknowledged is not sent again. If it fails the same way, tell those who run it."
        case "OperationFailed" if of_events and run.rows_rejected:
            return f"{_STAYED} Nothing was sent. See under Rejects what is wrong with which events, and have them corrected where they come from. {_ANEW}"
        case "OperationFailed" if of_events:
            return f"{_STAYED} Nothing was sent. Have the events corrected where they come from. {_ANEW}"
        case "OperationFailed":
            return (
                f"{_STAYED} See under Salesforce which rows were refused and why, and correct the cause. Then run the week again: what was acknowledged"
                " is not sent again."
            )
        case _:
            return _ELSE


def event_facts(run: WeeklyRun) -> list[tuple[str, str]]:
    """The figures of a run's events."""
    share = f"{run.reject_rate_pct:,.2f} %" if run.reject_rate_pct is not None else "–"
    if run.reject_threshold_pct is not None:
        share += f" of {run.reject_threshold_pct.normalize():f} % allowed"
    return [
        ("Events fetched", number(run.rows_fetched)),
        ("Valid", number(run.rows_output)),
        ("Rejected", number(run.rows_rejected)),
        ("Reject rate", share),
    ]


def where_it_counts(run: WeeklyRun) -> str:
    """How far the week has come by this run, in a sentence; empty when its state says all."""
    if run.status is RunStatus.SUPERSEDED:
        return "A later run of the same week took its place."
    if run.status.succeeded and not run.synced:
        return "It stayed on this machine: neither the lake nor Salesforce has its results, and the checkpoint did not move."
    if run.status.succeeded and not run.complete:
        return "It was begun before the week was over, so the checkpoint did not move; run the week again once it is over."
    return ""
