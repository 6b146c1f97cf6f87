"""Which question about scenarios or connections is open. It stays open over reruns until it is answered or dismissed."""

from typing import Final

import streamlit as st

from treadle.control.access import Principal, Right, allowed
from treadle.control.jobs.job import Job
from treadle.portal import words
from treadle.portal.scenarios.job_told import job_title
from treadle.portal.visited import just_entered
from treadle.portal.who import needs_operator

ASKED: Final = "scenarios-asked"


def ask(what: str | None = None, about: str = "") -> None:
    """Open a question, or none."""
    st.session_state[ASKED] = (what, about) if what else None


def asked() -> tuple[str, str] | None:
    """Which question is open, and about what."""
    found: tuple[str, str] | None = st.session_state.get(ASKED)
    return found


def forget_when_entered() -> None:
    """A question that was left open on another page is not asked on this one."""
    if just_entered():
        ask()


def why_not_build(who: Principal) -> str | None:
    """Why this person can build nothing, as Markdown; None when they can."""
    if allowed(who, Right.SCENARIOS_BUILD):
        return None
    return f":material/lock: {needs_operator('To build and remove scenarios', who)}"


def why_not_now(who: Principal, active: Job | None) -> str | None:
    """Why nothing can be done about a scenario now, as Markdown; None when something can. active: its job that goes on."""
    if reason := why_not_build(who):
        return reason
    return f":material/hourglass_top: {words.plain(job_title(active))} is under way." if active else None
