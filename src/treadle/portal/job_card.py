"""A background job as the pages show it: what it is, how far it is, why it failed, and the button and the question that cancel it."""

from collections.abc import Callable
from uuid import UUID

import streamlit as st

from treadle.actions import jobs
from treadle.control.access import Right, allowed
from treadle.control.jobs.job import Job
from treadle.errors import TreadleError
from treadle.logs import redact_value
from treadle.portal import components, words
from treadle.portal.frame import zone
from treadle.portal.next_steps import in_a_readers_words
from treadle.portal.shared import services
from treadle.portal.told import told
from treadle.portal.who import current, needs_operator


def head(job: Job, title: str) -> None:
    """Its state, what it is, who asked for it and when."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        components.status_badge(job.state)
        st.markdown(f"**{words.plain(title)}**", width="content")
        at = words.since(job.created_at, components.now(), zone())
        st.caption(f"asked for by {words.plain(job.requested_by)} at {at}", width="content")


def under_way(job: Job, part: float | None, doing: str, advice: str | None) -> None:
    """How far it is. part: of 1, never shown as all of it; None: not known. advice: what to know while it lasts."""
    taken = words.duration(components.now() - job.started_at) if job.started_at else None
    st.progress(min(part or 0.0, 0.99), text=words.plain(doing) + (f" · for {taken}" if taken else ""))
    if advice:
        st.warning(words.plain(advice), icon=":material/warning:")


def failure(job: Job, message: str) -> None:
    """Why it failed, in words; the facts behind them."""
    st.error(f"**{words.plain(message)}**  \n{words.plain(in_a_readers_words(job.error_hint or ''))}", icon=":material/error:")
    if job.error_details:
        with st.expander("As it was recorded", icon=":material/code:"):
            st.json(redact_value({name: str(value) for name, value in job.error_details.items()}))


def cancel_button(job: Job, *, key: str, ask: Callable[[str, str], None]) -> None:
    """The button that opens the question. ask: notes which one, and about what."""
    may = allowed(current(), Right.JOBS_MANAGE)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Cancel the job",
            icon=":material/block:",
            disabled=not may or job.cancel_requested_at is not None,
            key=key,
            on_click=ask,
            args=("cancel", str(job.job_id)),
        )
        if not may:
            st.caption(needs_operator("To cancel a job", current()), width="content")


def cancel_question(job_id: UUID, *, title: Callable[[Job], str], follows: str, key: str) -> bool:
    """What is inside the question: which job, what follows, and the one button that cancels it. Returns whether it was just cancelled."""
    try:
        job = jobs.get_job(services(), current(), job_id)
    except TreadleError as error:
        st.error(words.plain(error.message))
        return False
    components.status_badge(job.state)
    st.markdown(f"**{words.plain(title(job))}**, asked for by {words.plain(job.requested_by)}")
    st.write(follows)
    if st.button("Cancel this job", type="primary", key=key):
        with told():
            jobs.cancel(services(), current(), job_id)
            return True
    return False
