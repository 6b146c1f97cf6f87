"""Small parts that several pages are made of."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from uuid import UUID

import altair as alt
import streamlit as st

from treadle.control.events import Event
from treadle.control.run import RESTORE_PREFIX, Run
from treadle.control.states import RunStatus
from treadle.flows.sales.stages import Stage
from treadle.looks import look_of
from treadle.portal import words
from treadle.portal.frame import zone

ID_LENGTH = 8
EVENTS_A_PAGE = 50


def short_id(run_id: UUID | str) -> str:
    """The beginning of an id, which is enough for people."""
    return str(run_id)[:ID_LENGTH]


def run_name(run: Run) -> str:
    """What a run read, in words."""
    return f"restore of {short_id(run.input_file.removeprefix(RESTORE_PREFIX))}" if run.is_restore else run.input_file


def status_badge(status: str) -> None:
    """A state with icon, word and colour."""
    look = look_of(status)
    st.badge(look.word, icon=look.icon, color=look.colour)


def elapsed(run: Run, now: datetime) -> timedelta:
    """How long a run took, or has taken so far."""
    return (run.finished_at or now) - run.created_at


def usual_duration(runs: Sequence[Run]) -> timedelta | None:
    """How long the runs that succeeded took, in the middle of them. None: there are none."""
    spans = [(run.finished_at - run.created_at).total_seconds() for run in runs if run.finished_at and run.status is RunStatus.SUCCEEDED]
    return timedelta(seconds=median(spans)) if spans else None


def stage_chart(stages: Sequence[Stage], run: Run, now: datetime) -> None:
    """The stages of the pipeline on the time line of the run."""
    end = run.finished_at or now
    least = max(end - run.created_at, timedelta(seconds=1)) / 50  # a stage that was met at its end alone must still be seen
    rows = [
        {
            "stage": stage.name,
            "from": (stage.began or run.created_at).astimezone(zone()).isoformat(),
            "to": max(stage.ended or end, (stage.began or end) + least).astimezone(zone()).isoformat(),
            "state": stage.word,
            "time": words.duration((stage.ended or end) - (stage.began or end)),
        }
        for stage in stages
        if stage.began
    ]
    if not rows:
        st.caption("No stage has begun yet.")
        return
    states = {"succeeded": "#1b7f4d", "failed": "#c2312b", "in progress": "#1d63c8", "cancelled": "#b35900"}
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(cornerRadius=3, height=14)
        .encode(
            x=alt.X("from:T", title=None, axis=alt.Axis(format="%H:%M:%S", tickCount=4)),
            x2="to:T",
            y=alt.Y("stage:N", title=None, sort=None, axis=alt.Axis(labelLimit=180)),
            color=alt.Color("state:N", scale=alt.Scale(domain=list(states), range=list(states.values())), legend=None),
            tooltip=[alt.Tooltip("stage:N"), alt.Tooltip("state:N"), alt.Tooltip("time:N", title="took")],
        )
        .properties(height=34 * len(rows) + 36)
    )
    st.altair_chart(chart, width="stretch")


def event_rows(trail: Sequence[Event]) -> list[dict[str, str]]:
    """A trail as rows of a table that reads Markdown, newest first, times in the reader's zone."""
    return [
        {
            "Time": f"{event.event_time.astimezone(zone()):%d %b, %H:%M:%S}",
            "Kind": kind_word(event.event_type),
            "Message": words.plain(event.message or ""),
        }
        for event in reversed(trail)
    ]


def kind_word(event_type: str | None) -> str:
    """The kind of an event as a person calls it."""
    return {"STATUS_CHANGE": "Status", "LOG": "Log", "WARNING": "Warning", "ERROR": "Error"}.get(event_type or "", "Other")


def event_table(trail: Sequence[Event], *, key: str) -> None:
    """A trail with a choice of kinds. Its messages are sentences: they are written out in full, on as many lines as the window needs."""
    kinds = st.pills(
        "Kinds of event", ["Status", "Log", "Warning", "Error"], selection_mode="multi", key=f"{key}-kinds", label_visibility="collapsed"
    )
    rows = [row for row in event_rows(trail) if not kinds or row["Kind"] in kinds]
    if not rows:
        st.caption("No event of this kind." if trail else "Nothing has happened yet.")
        return
    place, pages = st.container(), -(-len(rows) // EVENTS_A_PAGE)
    at = st.pagination(pages, key=f"{key}-page") if pages > 1 else 1
    place.table(
        rows[(at - 1) * EVENTS_A_PAGE : at * EVENTS_A_PAGE], border="horizontal", hide_index=True, alt="What happened, newest first"
    )


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Names and what they are, one a line. The values are texts of others: they are shown as they are."""
    for name, value in pairs:
        st.markdown(f":gray[:small[{words.plain(name)}]]  \n{words.plain(value)}")


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)
