"""Which question of the page Weekly is open. It stays open over reruns until it is answered or dismissed."""

from typing import Final

import streamlit as st

from treadle.control.access import Principal, Right, allowed
from treadle.control.jobs.job import Job
from treadle.errors import MissingSettings, TreadleError
from treadle.portal import words
from treadle.portal.next_steps import next_step
from treadle.portal.shared import services
from treadle.portal.weekly.job_told import job_title
from treadle.portal.who import needs_operator

ASKED: Final = "weekly-asked"


def ask(what: str | None = None, about: str = "") -> None:
    """Open a question, or none."""
    st.session_state[ASKED] = (what, about) if what else None


def asked() -> tuple[str, str] | None:
    """Which question is open, and about what."""
    found: tuple[str, str] | None = st.session_state.get(ASKED)
    return found


def missing_settings() -> str | None:
    """What the weekly flow lacks here, in words. None: nothing that is known before it begins."""
    try:
        services().weekly().settings.require_weekly({"events", "salesforce"})
    except MissingSettings as error:
        return error.message
    except TreadleError as error:
        return f"{error.message} {next_step(error)}".strip()
    return None


def why_not(who: Principal, job: Job | None, missing: str | None) -> str | None:
    """Why nothing can be started now, as Markdown; None when something can. job: the newest weekly job."""
    if not allowed(who, Right.RUNS_START):
        return f":material/lock: {needs_operator('To run weeks', who)}"
    if job and not job.state.ended:
        return f":material/hourglass_top: {words.plain(job_title(job))} is under way; one weekly job runs at a time."
    if missing:
        return f":material/settings: {words.plain(missing)}"
    return None
