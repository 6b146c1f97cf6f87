"""The weekly job that goes on, else what came of the newest one. Live without a reload while it goes on."""

from typing import Any, Final
from uuid import UUID

import streamlit as st

from treadle.actions import jobs
from treadle.control.access import Right, allowed
from treadle.control.jobs.job import Job
from treadle.control.jobs.states import JobState
from treadle.errors import TreadleError
from treadle.flows.weekly.record import RunStatus
from treadle.flows.weekly.status import Standing
from treadle.logs import redact_value
from treadle.portal import components, words
from treadle.portal.frame import zone
from treadle.portal.next_steps import in_a_readers_words
from treadle.portal.shared import services
from treadle.portal.told import told
from treadle.portal.weekly.asking import ask, asked
from treadle.portal.weekly.job_told import job_outcome, job_progress, job_title, run_of_job
from treadle.portal.weekly.looking import JobSeen, looks
from treadle.portal.who import current

LIVE_SECONDS: Final = 2.0  # between two looks at a job that goes on
SLOW_SECONDS: Final = 15.0  # at a run that somebody else drives, such as an orchestrator


def pace(standing: Standing, seen: JobSeen | None) -> float | None:
    """How often the page looks for news. None: nothing goes on, so not at all."""
    if seen and not seen.job.state.ended:
        return LIVE_SECONDS
    return SLOW_SECONDS if any(run.status is RunStatus.STARTED for run in standing.runs) else None


def show(standing: Standing, seen: JobSeen | None) -> None:
    """The job, and below it what can be done about it."""
    drawn = signature(standing, seen)
    st.fragment(live, run_every=pace(standing, seen), key="weekly-job")(seen, drawn)
    if seen and not seen.job.state.ended:
        _cancel_button(seen.job)


def live(drawn_job: JobSeen | None, drawn: Any) -> None:
    """The one part that looks for news: when there are any, the page is drawn anew, unless somebody answers a question."""
    seen = drawn_job
    with told():
        standing, seen = looks().standing(current()), looks().job(current())
        if signature(standing, seen) != drawn and not asked():
            st.rerun(scope="app")
    if seen is None:
        return
    with st.container(border=True):
        _head(seen.job)
        if seen.job.state.ended:
            _ended(seen.job)
        else:
            _under_way(seen)


def signature(standing: Standing, seen: JobSeen | None) -> Any:
    """What the page is drawn from, but for the progress, which has a part of its own. Pure."""
    job = (seen.job.job_id, str(seen.job.state), seen.job.cancel_requested_at) if seen else None
    moved = standing.checkpoint.updated_at if standing.checkpoint else None
    return job, moved, tuple((run.run_id, str(run.status)) for run in standing.runs)


def _head(job: Job) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        components.status_badge(job.state)
        st.markdown(f"**{words.plain(job_title(job))}**", width="content")
        at = words.since(job.created_at, components.now(), zone())
        st.caption(f"asked for by {words.plain(job.requested_by)} at {at}", width="content")


def _under_way(seen: JobSeen) -> None:
    part, doing, advice = job_progress(seen.job, seen.events, components.now())
    taken = words.duration(components.now() - seen.job.started_at) if seen.job.started_at else None
    st.progress(min(part or 0.0, 0.99), text=words.plain(doing) + (f" · for {taken}" if taken else ""))
    if advice:
        st.warning(words.plain(advice), icon=":material/warning:")


def _ended(job: Job) -> None:
    """What came of it; a failure in words, its facts behind them."""
    if job.state is JobState.SUCCEEDED:
        st.caption(words.plain(job_outcome(job)))
    elif job.state is JobState.CANCELLED:
        st.caption("It was cancelled. What was done stays done; run the week again, and it goes on there.")
    else:
        st.error(
            f"**{words.plain(job.error_message or 'The reason was not recorded.')}**  \n{words.plain(in_a_readers_words(job.error_hint or ''))}",
            icon=":material/error:",
        )
        if job.error_details:
            with st.expander("As it was recorded", icon=":material/code:"):
                st.json(redact_value({name: str(value) for name, value in job.error_details.items()}))
    if run_id := run_of_job(job):
        st.page_link("app_pages/weekly.py", label="See the run", icon=":material/play_circle:", query_params={"run": str(run_id)})


def _cancel_button(job: Job) -> None:
    may = allowed(current(), Right.JOBS_MANAGE)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Cancel the job",
            icon=":material/block:",
            disabled=not may or job.cancel_requested_at is not None,
            key="weekly-cancel",
            on_click=ask,
            args=("cancel", str(job.job_id)),
        )
        if not may:
            st.caption("To cancel a job takes the role operator.", width="content")


@st.dialog("Cancel the weekly job", icon=":material/block:", on_dismiss=ask)
def confirm_cancel(job_id: UUID) -> None:
    """What will happen, and the one button that does it."""
    try:
        job = jobs.get_job(services(), current(), job_id)
    except TreadleError as error:
        st.error(words.plain(error.message))
        return
    components.status_badge(job.state)
    st.markdown(f"**{words.plain(job_title(job))}**, asked for by {words.plain(job.requested_by)}")
    st.write(
        "It ends before its next step, as cancelled, with your name. What Salesforce has taken by then it keeps; the checkpoint does not move."
        " Run again, the week goes on where it stopped."
    )
    if st.button("Cancel this job", type="primary", key="weekly-cancel-really"):
        with told():
            jobs.cancel(services(), current(), job_id)
            ask()
            st.rerun()
