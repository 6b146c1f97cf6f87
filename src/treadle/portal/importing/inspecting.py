"""One file: how its inspection goes on, what it found, and what can be done."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import streamlit as st

from treadle.actions import jobs
from treadle.control.access import Right, allowed
from treadle.control.jobs.job import Job
from treadle.control.jobs.states import JobState
from treadle.errors import NotFound, TreadleError
from treadle.flows.sales.drift import compare_profiles
from treadle.flows.sales.profiles import StoredProfile
from treadle.flows.sales.reading.container import is_refused_whole
from treadle.logs import redact_value
from treadle.portal import components, words
from treadle.portal.frame import zone
from treadle.portal.importing.change_panel import change_panel
from treadle.portal.importing.checks import without_commands
from treadle.portal.importing.column_panel import column_panel, sample_panel
from treadle.portal.importing.headline import headline, period
from treadle.portal.importing.looked_up import published
from treadle.portal.importing.mapping import mapping_editor
from treadle.portal.importing.opened import ASKING, OPENED, TAB, Opened, is_final, name_of, open_file, opened
from treadle.portal.importing.progress import inspection_told
from treadle.portal.importing.starting import run_action
from treadle.portal.importing.verdict_card import verdict_card
from treadle.portal.next_steps import in_a_readers_words
from treadle.portal.shared import services
from treadle.portal.told import empty, failed, told
from treadle.portal.who import current, needs_operator

INSPECTION_SECONDS: Final = 1.0  # between two looks at an inspection that goes on
TABS: Final = ("Columns", "Mapping", "Changes", "Sample")
FIRST_TAB: Final = "import-first-tab"  # the default of the tabs as they are drawn now


def inspect(name: str) -> None:
    """What is in a file, and what can be done with it."""
    if st.button("All files", icon=":material/arrow_back:", type="tertiary", key="back"):
        open_file(None)
    try:
        known = opened(name)
    except NotFound:
        st.title(words.plain(name), anchor=False)
        empty(
            "Not in the lake",
            "No file of this name is there; it may have been renamed or removed. Go back to all files.",
            icon=":material/search_off:",
        )
        return
    except TreadleError as error:
        st.title(words.plain(name), anchor=False)
        failed(error)
        if st.button("Try again", icon=":material/refresh:", key="try-again"):
            st.rerun()
        return
    head(known)
    if known["mapping_fault"]:
        failed(known["mapping_fault"])
        mapping_editor(known)
    elif known["profile"]:
        contents(known, known["profile"])
    elif known["job"] and not known["job"].state.ended:
        every = (
            None if ASKING in st.session_state else INSPECTION_SECONDS
        )  # the end draws the page anew, which takes a dialog's answer away
        st.fragment(watch, run_every=every, key="import-inspection")(known["job"].job_id)
    elif known["job"]:
        failure(known, known["job"])


def head(known: Opened) -> None:
    """Which file, and the one thing to do with it."""
    file = known["file"]
    left, right = st.columns([3, 2], vertical_alignment="center", gap="large")
    with left:
        st.title(words.plain(file.name), anchor=False)
        profile: Mapping[str, Any] = known["profile"].profile if known["profile"] else {}
        facts = [words.size(file.size_bytes), f"changed {words.moment(file.modified_at, zone())}"]
        facts += [f"sheet {words.plain(profile['sheet'])}"] if profile.get("sheet") else []
        facts += [f"dates from {period(profile)}"] if profile and period(profile) else []
        st.caption(" · ".join(facts))
    with right, st.container(horizontal_alignment="right", gap="xsmall"):
        run_action(known)


def watch(job_id: UUID) -> None:
    """How far the inspection is. The page begins anew when it has ended."""
    with told():
        job = jobs.get_job(services(), current(), job_id)
        known: Opened | None = st.session_state.get(OPENED)
        if job.state.ended:
            if known:
                known["job"] = job
            st.rerun(scope="app")
        trail = jobs.list_events(services(), current(), job_id, after_seq=max(0, job.last_seq - 10))
        part, doing, advice = inspection_told(job, trail, components.now())
        with st.container(border=True):
            st.markdown("**:material/search: Being inspected** – a worker reads the file as a run would; nothing is changed by it.")
            st.progress(part, text=f"{words.plain(doing)} · {words.duration(components.now() - job.created_at)}")
            st.caption("It goes on when you leave this page, and is there at once for the next person who looks.")
            if advice:
                st.warning(words.plain(advice), icon=":material/hourglass_disabled:")


def failure(known: Opened, job: Job) -> None:
    """Why the file could not be inspected, and what may help: trying again, and reading it otherwise unless it was refused for what it is."""
    with st.container(border=True):
        if job.state is JobState.CANCELLED:
            st.warning(
                f"**The inspection was cancelled** by {words.plain(job.cancel_requested_by or 'somebody')}.", icon=":material/block:"
            )
        else:
            message, hint = job.error_message or "The reason was not recorded.", in_a_readers_words(without_commands(job.error_hint or ""))
            st.error(
                f"**{words.plain(name_of(known))} could not be inspected.** {words.plain(message)}  \n{words.plain(hint)}",
                icon=":material/error:",
            )
            if job.error_details or job.error_hint:
                details = {"hint": job.error_hint or "", **{key: str(value) for key, value in (job.error_details or {}).items()}}
                with st.expander("Details", icon=":material/code:"):
                    st.json(redact_value(details))
        final = is_final(job)
        if final and not allowed(current(), Right.JOBS_MANAGE):
            st.caption(f":material/lock: {needs_operator('To try the same file again', current())}")
        elif st.button("Inspect again", icon=":material/refresh:", key="inspect-again"):
            with told():
                if final:
                    jobs.retry(services(), current(), job.job_id)
                st.session_state.pop(OPENED, None)
                st.rerun()
    if not is_refused_whole(job.error_details):
        st.subheader("Read it otherwise", anchor=False)
        mapping_editor(known)


def contents(known: Opened, stored: StoredProfile) -> None:
    """The verdict with its checks, and the details by tabs, of which only the open one is made."""
    profile = stored.profile
    changes = None
    with told():
        shown = published(str(current().role), current())
        changes = compare_profiles(shown.profile, profile) if shown else None
    verdict_card(known, stored, changes)
    with st.grid(4, min_column_width=150, gap="small"):
        for label, value in headline(profile):
            st.metric(label, value, border=True)
    key = f"import-tabs-{name_of(known)}"
    columns, mapping, different, sample = st.tabs(TABS, key=key, default=first_tab(key), on_change="rerun")
    keep_tab_in_address([columns.open, mapping.open, different.open, sample.open])
    if columns.open:
        with columns:
            st.fragment(column_panel, key="import-columns")(profile)
    if mapping.open:
        with mapping:
            mapping_editor(known)
    if different.open:
        with different:
            change_panel(changes)
    if sample.open:
        with sample:
            sample_panel(profile)


def first_tab(key: str) -> str:
    """The tab that the address named when these tabs were first drawn: another default would undo what was chosen since."""
    if key not in st.session_state:
        st.session_state[FIRST_TAB] = tab_of_address()
    return str(st.session_state[FIRST_TAB])


def tab_of_address() -> str:
    """The tab that the address names; the first when it names none."""
    named = st.query_params.get(TAB, TABS[0])
    return named if named in TABS else TABS[0]


def keep_tab_in_address(opened_tabs: Sequence[bool | None]) -> None:
    """By hand: an address that is bound to the tabs could not be left, as Streamlit lets no page be switched while it is."""
    now = next((tab for tab, is_open in zip(TABS, opened_tabs, strict=True) if is_open), TABS[0])
    if now != tab_of_address():
        st.query_params[TAB] = now
