"""One run of a week: state, stages on the time line, trail, figures, and why it failed. Live while it goes on."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import streamlit as st

from treadle.control.events import Event
from treadle.flows.weekly.record import RunStatus, WeeklyRun
from treadle.flows.weekly.status import RunDetails
from treadle.looks import look_of
from treadle.portal import components, words
from treadle.portal.components import now
from treadle.portal.frame import zone
from treadle.portal.told import empty, told
from treadle.portal.weekly.looking import looks
from treadle.portal.weekly.run_told import (
    event_facts,
    failure_told,
    stage_rows,
    stage_spec,
    stage_table,
    started_by,
    trail_of,
    where_it_counts,
)
from treadle.portal.who import current

LIVE_SECONDS: Final = 2.0


def show(runs: Sequence[WeeklyRun], named: UUID | None) -> None:
    """The run that is named, else the newest of the week. runs: of the week, newest first."""
    run_id = named or (runs[0].run_id if runs else None)
    if run_id is None:
        empty("No run of this week", "Nothing was done about this week yet. Run it with the buttons above.", icon=":material/event_busy:")
        return
    if len(runs) > 1:
        run_id = _choose(runs, run_id)
    details = looks().details(current(), run_id)
    live = details.run.status is RunStatus.STARTED
    st.fragment(_head, run_every=LIVE_SECONDS if live else None, key="weekly-run-head")(details)
    if details.run.status is RunStatus.FAILED:
        _failure(details)
    if note := where_it_counts(details.run):
        st.info(note, icon=":material/info:")
    main, aside = st.columns([3, 2], gap="large")
    with main:
        st.fragment(_progress, run_every=LIVE_SECONDS if live else None, key="weekly-run-progress")(details)
    with aside:
        _facts(details)


def _choose(runs: Sequence[WeeklyRun], shown: UUID) -> UUID:
    """Which of the week's runs; the choice stands in the address."""
    ids = [run.run_id for run in runs]
    if shown not in ids:
        return shown
    names = {run.run_id: run_line(run) for run in runs}
    key = f"weekly-run-{shown}-{hash(tuple(names.values()))}"  # a box knows its choice by its label, and a state changes that
    chosen: UUID = st.selectbox("Run", ids, index=ids.index(shown), format_func=lambda run_id: names.get(run_id, ""), key=key, width=520)
    if chosen != shown:
        st.query_params["run"] = str(chosen)
        st.rerun()
    return chosen


def run_line(run: WeeklyRun) -> str:
    """A run as one line of a list."""
    look = look_of(run.status)
    return f"{words.moment(run.started_at, zone())} · {look.sign} {look.word} · {components.short_id(run.run_id)}"


def _head(drawn: RunDetails) -> None:
    details = _seen(drawn)
    run = details.run
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        components.status_badge(run.status)
        st.markdown(f"**Run {components.short_id(run.run_id)}**", width="content")
        by = started_by(details.events)
        st.caption(f"started {f'by {words.plain(by)} ' if by else ''}{words.moment(run.started_at, zone())}", width="content")
        taken = (run.ended_at or now()) - run.started_at
        st.caption(f"{'Took' if run.ended_at else 'For'} {words.duration(taken)}", width="content")


def _progress(drawn: RunDetails) -> None:
    """Stages and trail."""
    details = _seen(drawn)
    st.subheader("Stages")
    rows = stage_rows(details.stages, now(), zone())
    if rows:
        st.vega_lite_chart(spec=stage_spec(rows), width="stretch", key="weekly-stages", alt="Stages of the run on its time line")
        st.dataframe(
            stage_table(details.stages, now()),
            hide_index=True,
            height="content",
            placeholder=words.DASH,
            key="weekly-stage-table",
            column_config={
                "Took": st.column_config.TextColumn(alignment="right"),
                "Rows": st.column_config.NumberColumn(format="localized"),
            },
        )
    else:
        st.caption("No stage has begun yet.")
    st.subheader("Events")
    _trail(trail_of(details.events))


def _trail(trail: Sequence[Event]) -> None:
    """What happened, newest first, with a choice of kinds. Each message has the whole width below its time, so that none runs over an edge."""
    kinds = st.pills(
        "Kinds of event",
        ["Status", "Log", "Warning", "Error"],
        selection_mode="multi",
        key="weekly-events-kinds",
        label_visibility="collapsed",
    )
    rows = [row for row in components.event_rows(trail) if not kinds or row["Kind"] in kinds]
    if not rows:
        st.caption("No event of this kind." if trail else "Nothing has happened yet.")
        return
    place, pages = st.container(), -(-len(rows) // components.EVENTS_A_PAGE)
    at = st.pagination(pages, key="weekly-events-page") if pages > 1 else 1
    place.markdown("\n\n".join(event_line(row) for row in rows[(at - 1) * components.EVENTS_A_PAGE : at * components.EVENTS_A_PAGE]))


def event_line(row: Mapping[str, str]) -> str:
    """An event as a paragraph of Markdown; its message is escaped already. Pure."""
    colour = {"Warning": "orange", "Error": "red"}.get(row["Kind"], "gray")
    return f":gray[:small[{row['Time']}]] :{colour}[:small[{row['Kind']}]]  \n{row['Message']}"


def _seen(drawn: RunDetails) -> RunDetails:
    """The run as it is now, while it goes on."""
    if drawn.run.status.ended:
        return drawn
    with told():
        return looks().details(current(), drawn.run.run_id)
    return drawn


def _failure(details: RunDetails) -> None:
    what, next_step = failure_told(details.run, details.stages)
    st.error(f"**{words.plain(what)}**  \n{words.plain(next_step)}", icon=":material/error:")
    if message := details.run.error_message:
        with st.expander("As it was recorded", icon=":material/code:"):
            st.code(f"{details.run.error_type or 'Error'}: {message}", language=None, wrap_lines=True)


def _facts(details: RunDetails) -> None:
    run = details.run
    st.subheader("Details")
    components.facts(
        [
            *event_facts(run),
            ("Sent to Salesforce", "yes" if run.synced else "no"),
            ("Ended", words.moment(run.ended_at, zone())),
            ("Valid events", run.output_path or words.DASH),
            ("Rejected events", run.rejects_path or words.DASH),
            ("Run", str(run.run_id)),
        ]
    )
    st.page_link("app_pages/weekly.py", label="Link to this run", icon=":material/link:", query_params={"run": str(run.run_id)})
