"""The weekly job that goes on, else what came of the newest one. Live without a reload while it goes on."""

from typing import Any, Final
from uuid import UUID

import streamlit as st

from treadle.control.jobs.job import Job
from treadle.control.jobs.states import JobState
from treadle.flows.weekly.record import RunStatus
from treadle.flows.weekly.status import Standing
from treadle.portal import components, job_card, words
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
        job_card.cancel_button(seen.job, key="weekly-cancel", ask=ask)


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
        job_card.head(seen.job, job_title(seen.job))
        if seen.job.state.ended:
            _ended(seen.job)
        else:
            job_card.under_way(seen.job, *job_progress(seen.job, seen.events, components.now()))


def signature(standing: Standing, seen: JobSeen | None) -> Any:
    """What the page is drawn from, but for the progress, which has a part of its own. Pure."""
    job = (seen.job.job_id, str(seen.job.state), seen.job.cancel_requested_at) if seen else None
    moved = standing.checkpoint.updated_at if standing.checkpoint else None
    return job, moved, tuple((run.run_id, str(run.status)) for run in standing.runs)


def _ended(job: Job) -> None:
    """What came of it; a failure in words, its facts behind them."""
    if job.state is JobState.SUCCEEDED:
        st.caption(words.plain(job_outcome(job)))
    elif job.state is JobState.CANCELLED:
        st.caption("It was cancelled. What was done stays done; run the week again, and it goes on there.")
    else:
        job_card.failure(job, job.error_message or "The reason was not recorded.")
    if run_id := run_of_job(job):
        st.page_link("app_pages/weekly.py", label="See the run", icon=":material/play_circle:", query_params={"run": str(run_id)})


@st.dialog("Cancel the weekly job", icon=":material/block:", on_dismiss=ask)
def confirm_cancel(job_id: UUID) -> None:
    """What will happen, and the one button that does it."""
    follows = (
        "It ends before its next step, as cancelled, with your name. What Salesforce has taken by then it keeps; the checkpoint does not move."
        " Run again, the week goes on where it stopped."
    )
    if job_card.cancel_question(job_id, title=job_title, follows=follows, key="weekly-cancel-really"):
        ask()
        st.rerun()
