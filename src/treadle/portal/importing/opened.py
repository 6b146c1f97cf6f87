"""The file that this session looks at: what was read of it, kept for a moment, and the address that names it."""

import time
from typing import Final, TypedDict

import streamlit as st

from treadle.actions import files, jobs
from treadle.clients.onelake import LakeFile
from treadle.control.jobs.job import Job
from treadle.control.jobs.states import FINAL_ERRORS, JobState
from treadle.errors import InvalidInput, TreadleError
from treadle.flows.sales.column_mapping import ColumnMapping
from treadle.flows.sales.profiles import StoredProfile
from treadle.portal.looking import a_look
from treadle.portal.shared import services
from treadle.portal.who import current

FRESH_SECONDS: Final = 20.0  # what was read of a file is taken for true so long: a page is drawn again with each click
OPENED: Final = "import-opened"
GOING: Final = "import-going"  # the file to go to, or None for all of them
ASKING: Final = "import-asking"  # the file of which somebody is being asked whether to run it
TAB: Final = "tab"


class Opened(TypedDict):
    """What this session has read of the file that it looks at. profile: None while there is none; job: what makes it, or failed to."""

    file: LakeFile
    mapping: ColumnMapping
    mapping_fault: TreadleError | None
    profile: StoredProfile | None
    job: Job | None
    read_at: float


def opened(name: str) -> Opened:
    """The file with its profile, or with the job that makes it; asked for when nobody has yet. What was read a moment ago is not read again."""
    known: Opened | None = st.session_state.get(OPENED)
    if known and known["file"].name == name and time.monotonic() - known["read_at"] < FRESH_SECONDS:
        if known["job"] and not known["job"].state.ended:
            known["job"] = jobs.get_job(services(), current(), known["job"].job_id)
        if known["job"] is None or known["job"].state is not JobState.SUCCEEDED:
            return known
    before = known if known and known["file"].name == name else None
    st.session_state[OPENED] = known = read_again(name, before)
    return known


def read_again(name: str, before: Opened | None) -> Opened:
    """Look at the file as it is now. An inspection that failed is not begun again by looking: the same bytes would fail again."""
    who = current()
    with a_look():
        file = files.get_file(services(), who, name)
    known = Opened(file=file, mapping=ColumnMapping(), mapping_fault=None, profile=None, job=None, read_at=time.monotonic())
    try:
        with a_look():
            known["mapping"] = files.get_mapping(services(), who, name)
    except InvalidInput as fault:
        known["mapping_fault"] = fault
        return known
    job = before["job"] if before and (before["file"].etag, before["mapping"]) == (file.etag, known["mapping"]) else None
    if job and job.state in (JobState.FAILED, JobState.CANCELLED):
        known["job"] = job
        return known
    asked = files.request_profile(services(), who, name)
    if isinstance(asked, StoredProfile):
        known["profile"] = asked
    else:
        known["job"] = asked
    return known


def is_final(job: Job) -> bool:
    """Whether the same bytes would fail again."""
    return job.state is JobState.FAILED and (job.error_details or {}).get("kind") in {kind.__name__ for kind in FINAL_ERRORS}


def name_of(known: Opened) -> str:
    """The name of the file that is shown."""
    return known["file"].name


def open_file(name: str | None) -> None:
    """Go to one file, or back to all. The address is written by the run that follows: what is sent before a rerun may never arrive."""
    not_asking()
    st.session_state.pop(OPENED, None)
    st.session_state[GOING] = name
    st.rerun(scope="app")


def write_address(name: str | None) -> None:
    """Let the address name the file that is shown, so that it can be reloaded and sent to others."""
    for parameter in ("file", TAB):
        st.query_params.pop(parameter, None)
    if name:
        st.query_params["file"] = name


def not_asking() -> None:
    """The question was put away."""
    st.session_state.pop(ASKING, None)
