"""In the head of every page: which scenario jobs go on, and which failed lately. Nothing at all when there is nothing to say."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import streamlit as st

from treadle.control.access import Principal, Right, allowed
from treadle.control.jobs.job import Job
from treadle.errors import TreadleError
from treadle.looks import look_of
from treadle.portal import components, words
from treadle.portal.scenarios.job_told import (
    job_outcome,
    job_progress,
    job_title,
    name_of,
    part_done,
    pill_label,
    slot_states,
    step_lines,
    worth_a_word,
)
from treadle.portal.scenarios.looking import JobSeen, looks
from treadle.portal.shared import portal
from treadle.portal.ticking import stop_ticking

LIVE_SECONDS: Final = 2.0  # between two looks while a job goes on; nobody looks when none does
SHOWN: Final = 5  # jobs in the list; the page Scenarios has all
STEPS: Final = 5  # last ones of each
_FOLLOWED: Final = "scenario-pill-followed"  # the jobs that this session has seen going on


def scenario_pill(who: Principal) -> None:
    """The pill, kept true by itself while a job goes on. A job that somebody else starts later is seen with the next click."""
    if not (allowed(who, Right.JOBS_READ) and allowed(who, Right.SCENARIOS_READ)):
        return
    told: Sequence[Job] = ()
    with suppress(TreadleError):  # a database that is away is told by the page, and by the lock's pill
        portal().watch.lock(who)  # looked at a moment ago: where that failed, nobody waits a second time
        told = worth_a_word(looks().jobs(who), components.now())
    if told:
        live = any(not job.state.ended for job in told)
        st.fragment(_pill, run_every=LIVE_SECONDS if live else None, key="scenario-pill")(who)


def _pill(who: Principal) -> None:
    try:
        told = worth_a_word(looks().jobs(who), components.now())
        seen = [looks().job(who, job.job_id) for job in told[:SHOWN]]
    except TreadleError as error:
        st.badge("Scenario jobs unknown", icon=":material/help:", color="gray", help=words.plain(error.message))
        return
    _tell_of_ends(who, told)
    active = [each for each in seen if not each.job.state.ended]
    if not active:
        stop_ticking()
    if not seen:
        return
    part = job_progress(active[0].job, active[0].events, components.now())[0] if active else None
    icon = ":material/progress_activity:" if active else ":material/error:"
    with st.popover(words.plain(pill_label(told, part)), icon=icon, type="tertiary", key="scenario-pill-list"):
        for each in seen:
            _job(each)
        st.page_link("app_pages/scenarios.py", label="All scenarios", icon=":material/hub:")


def _job(seen: JobSeen) -> None:
    job = seen.job
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            components.status_badge(job.state)
            st.markdown(f"**{words.plain(job_title(job))}**", width="content")
        if job.state.ended:
            st.caption(words.plain(job_outcome(job)))
        else:
            part, doing, advice = job_progress(job, seen.events, components.now())
            st.progress(min(part or 0.0, 0.99), text=words.plain(doing))
            if advice:
                st.caption(f":material/warning: {words.plain(advice)}")
        slots = [f"{word}: {look_of(state).word.lower()}" for word, state in slot_states(job, seen.steps)]
        if told := " · ".join([*slots, *filter(None, [part_done(job, seen.steps)])]):
            st.caption(words.plain(told))
        if lines := step_lines(seen.steps, STEPS):
            st.caption("  \n".join(words.plain(line) for line in lines))
        if name := name_of(job):
            st.page_link(
                "app_pages/scenario.py", label="Open the scenario", icon=":material/arrow_forward:", query_params={"scenario": name}
            )


def _tell_of_ends(who: Principal, told: Sequence[Job]) -> None:
    """A word when a job that this session saw going on has ended, wherever in the portal its person is by then."""
    followed: set[str] = st.session_state.get(_FOLLOWED, set())
    active = {str(job.job_id) for job in told if not job.state.ended}
    for job in looks().jobs(who):
        if str(job.job_id) in followed - active and job.state.ended:
            look = look_of(job.state)
            st.toast(f"{words.plain(job_title(job))}: {look.word.lower()}.", icon=look.icon)
    st.session_state[_FOLLOWED] = active
