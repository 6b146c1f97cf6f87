"""A scenario's jobs: the one that goes on, live; what came of the last ones; cancel and retry."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import streamlit as st

from treadle.actions import jobs
from treadle.control.access import Right, allowed
from treadle.control.jobs.job import Job, Step
from treadle.control.jobs.states import JobState
from treadle.errors import TreadleError
from treadle.flows.scenario.flow import DESTROY
from treadle.looks import look_of
from treadle.portal import components, job_card, words
from treadle.portal.frame import zone
from treadle.portal.scenarios.asking import ask, asked
from treadle.portal.scenarios.job_told import job_outcome, job_progress, job_title, name_of, part_done, slot_states, step_rows
from treadle.portal.scenarios.looking import JobSeen, looks
from treadle.portal.shared import services
from treadle.portal.told import told
from treadle.portal.who import current, needs_operator

LIVE_SECONDS: Final = 2.0  # between two looks at a job that goes on
SHORT: Final = 10  # rows; a longer table scrolls


def jobs_of(name: str, newest_first: Sequence[Job]) -> list[Job]:
    """Those of one scenario."""
    return [job for job in newest_first if name_of(job) == name]


def active_of(of_scenario: Sequence[Job]) -> Job | None:
    """The job that goes on: the one that runs, else the oldest that waits. of_scenario: newest first."""
    running = [job for job in of_scenario if job.state is JobState.RUNNING]
    waiting = [job for job in of_scenario if job.state is JobState.QUEUED]
    return (running or waiting or [None])[-1]


def is_over(of_scenario: Sequence[Job]) -> bool:
    """Whether there is nothing left to do about a scenario that is not there: it was removed, or nobody ever asked for it."""
    return not of_scenario or (of_scenario[0].kind == DESTROY and of_scenario[0].state is JobState.SUCCEEDED)


def show(name: str, of_scenario: Sequence[Job]) -> None:
    """The job that goes on, else the newest if it did not succeed; below it what can be done about it."""
    job = active_of(of_scenario) or (of_scenario[0] if of_scenario else None)
    drawn = signature(of_scenario)
    live = job is not None and not job.state.ended
    st.fragment(_follow, run_every=LIVE_SECONDS if live else None, key="scenario-job")(name, job, drawn)
    if job and live:
        job_card.cancel_button(job, key="scenario-cancel", ask=ask)
    elif job and job.state is not JobState.SUCCEEDED:
        _retry_button(job)


def signature(of_scenario: Sequence[Job]) -> Any:
    """What the page is drawn from, but for the progress, which has a part of its own. Pure."""
    return tuple((job.job_id, str(job.state), job.cancel_requested_at) for job in of_scenario)


def _follow(name: str, job: Job | None, drawn: Any) -> None:
    """The one part that looks for news: when there are any, the page is drawn anew, unless somebody answers a question."""
    with told():
        if signature(jobs_of(name, looks().jobs(current()))) != drawn and not asked():
            looks().look_again()
            st.rerun(scope="app")
        if job and job.state is not JobState.SUCCEEDED:
            seen = looks().job(current(), job.job_id)
            with st.container(border=True):
                job_card.head(seen.job, job_title(seen.job))
                if seen.job.state.ended:
                    _ended(seen.job)
                else:
                    job_card.under_way(seen.job, *job_progress(seen.job, seen.events, components.now()))
                _steps(seen, expanded=not seen.job.state.ended)


def _ended(job: Job) -> None:
    """What came of it; a failure in words, its facts behind them."""
    if job.state is not JobState.FAILED:
        st.caption(words.plain(job_outcome(job)))
        return
    job_card.failure(job, job_outcome(job))


def _steps(seen: JobSeen, *, expanded: bool) -> None:
    """How each part stands, and behind it every step."""
    states = slot_states(seen.job, seen.steps)
    if states:
        with st.container(horizontal=True, gap="small"):
            for word, state in states:
                look = look_of(state)
                st.badge(f"{word}: {look.word.lower()}", icon=look.icon, color=look.colour)
    if not seen.steps:
        return
    with st.expander(
        part_done(seen.job, seen.steps) or f"{len(seen.steps)} steps", icon=":material/checklist:", expanded=expanded, key="scenario-steps"
    ):
        step_table(seen.steps[::-1])


def step_table(steps: Sequence[Step], *, key: str = "scenario-step-rows") -> None:
    """Each with its state and time; what kept one from its end."""
    rows = words.visible_rows(step_rows(steps, components.now()))
    st.dataframe(
        rows,
        hide_index=True,
        height="content" if len(rows) <= SHORT else 420,
        key=key,
        alt="The steps of the job",
        column_order=[name for name in rows[0] if name != "Note" or any(row["Note"] for row in rows)],
        column_config={
            "State": st.column_config.TextColumn(width=90),
            "Step": st.column_config.TextColumn(width=380),
            "Part": st.column_config.TextColumn(width=90),
            "Took": st.column_config.TextColumn(width=80),
            "Note": st.column_config.TextColumn(width="large"),
        },
    )


def history(of_scenario: Sequence[Job]) -> None:
    """The last jobs; of the chosen one every step."""
    if not of_scenario:
        st.caption("No job of this scenario is kept any more; jobs that ended are deleted after a month.")
        return
    names = {job.job_id: job_line(job) for job in of_scenario}
    key = f"scenario-history-{hash(tuple(names.values()))}"  # a box knows its choice by its label, and a state changes that
    chosen: UUID = st.selectbox("Job", list(names), format_func=lambda job_id: names.get(job_id, ""), key=key, width=520)
    with told():
        seen = looks().job(current(), chosen)
        job_card.head(seen.job, job_title(seen.job))
        if seen.job.state.ended:
            _ended(seen.job)
        if seen.steps:
            step_table(seen.steps, key="scenario-history-steps")
        else:
            st.caption("It has not begun a step." if not seen.job.state.ended else "It ended before its first step.")


def job_line(job: Job) -> str:
    """A job as one line of a list."""
    look = look_of(job.state)
    return f"{words.moment(job.created_at, zone())} · {'Removal' if job.kind == DESTROY else 'Build'} · {look.sign} {look.word} · {job.requested_by}"


def _retry_button(job: Job) -> None:
    may = allowed(current(), Right.JOBS_MANAGE)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button("Retry", icon=":material/replay:", disabled=not may, key="scenario-retry", on_click=_retry, args=(job.job_id,))
        said = st.session_state.pop("scenario-retry-said", None)
        st.caption(
            words.plain(said)
            if said
            else "It goes on from the first step that is not done."
            if may
            else needs_operator("To retry a job", current()),
            width="content",
        )


def _retry(job_id: UUID) -> None:
    try:
        jobs.retry(services(), current(), job_id)
    except TreadleError as error:
        st.session_state["scenario-retry-said"] = error.message
    looks().look_again()


@st.dialog("Cancel the job", icon=":material/block:", on_dismiss=ask)
def confirm_cancel(job_id: UUID) -> None:
    """What will happen, and the one button that does it."""
    follows = "It ends before its next step, as cancelled, with your name. What was done stays done; retried, it goes on from there."
    if job_card.cancel_question(job_id, title=job_title, follows=follows, key="scenario-cancel-really"):
        looks().look_again()
        ask()
        st.rerun()
