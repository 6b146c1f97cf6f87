"""Starting a run of a file: the question, and its answer."""

from typing import Final
from uuid import UUID, uuid4

import streamlit as st

from treadle.actions import files, lock, runs
from treadle.control.access import Right, allowed
from treadle.control.lock import LockState
from treadle.control.states import RunStatus
from treadle.errors import LockHeld, OutcomeUnknown, TreadleError, Unavailable
from treadle.flows.sales.verdict import Verdict
from treadle.portal import components, words
from treadle.portal.frame import holder, zone
from treadle.portal.importing.checks import verdict_told
from treadle.portal.importing.looked_up import published
from treadle.portal.importing.opened import ASKING, OPENED, Opened, is_final, name_of, not_asking
from treadle.portal.lock_taken import faster
from treadle.portal.shared import portal, services
from treadle.portal.told import failed
from treadle.portal.usual import usual_duration
from treadle.portal.who import current, needs_operator

LOCK_SECONDS: Final = 5.0  # between two looks at the lock, while somebody could start a run
RUN_ID: Final = "import-run-id"
BEATEN_BY: Final = "import-beaten-by"  # the run that had the lock when somebody said yes here
BUTTON: Final = "run"


def run_action(known: Opened) -> None:
    """The button that leads to a run, or why there is none at the moment."""
    forget_what_was_left(name_of(known))
    held, reason = why_not(known)
    if st.button("Run pipeline", type="primary", icon=":material/play_arrow:", key=BUTTON, disabled=reason is not None):
        st.session_state[RUN_ID] = str(uuid4())  # of this question: however often it is answered with yes, it is one run
        st.session_state[ASKING] = name_of(known)  # kept, so that the question stays when the page is drawn again
    if st.session_state.get(ASKING) == name_of(known):
        confirm_run(known)
    if held and held.run_id and st.session_state.get(BEATEN_BY) == held.run_id:
        st.warning(faster(held, current().name, name_of(known), zone()), icon=":material/lock:")
    elif reason:
        st.caption(reason, text_alignment="right")
    if held and held.run_id:
        st.page_link(
            "app_pages/monitor.py", label="Watch that run", icon=":material/monitor_heart:", query_params={"run": str(held.run_id)}
        )
    if allowed(current(), Right.RUNS_START) and ASKING not in st.session_state:  # a rerun of its own accord may kill an open dialog
        st.fragment(lock_watch, run_every=LOCK_SECONDS, key="import-lock")(held.run_id if held else None)


def forget_what_was_left(name: str) -> None:
    """Whoever left this file with an open question has said no. What a browser's way back leads to shows no button, and so forgets the button's state."""
    if st.session_state.get(ASKING, name) != name or BUTTON not in st.session_state:
        not_asking()
        st.session_state.pop(BEATEN_BY, None)


def why_not(known: Opened) -> tuple[LockState | None, str | None]:
    """Who holds the lock, and why no run can be started now; None when one can."""
    who = current()
    if not allowed(who, Right.RUNS_START):
        return None, f":material/lock: {needs_operator('To start a run', who)}"
    try:
        held = lock.show(services(), who)
    except TreadleError as error:
        return None, f":material/help: Whether a run is active is not known: {words.plain(error.message)}"
    if held.run_id:
        return held, f":material/lock: A run is active: {holder(held)}."
    if known["profile"] and known["profile"].verdict is Verdict.BLOCKED:
        return held, ":material/block: A run would fail; mend the errors first."
    if known["mapping_fault"] or (known["job"] and is_final(known["job"])):
        return held, ":material/block: A run could not read the file either."
    return held, None


def lock_watch(drawn: UUID | None) -> None:
    """Draw the page again when the lock has been taken or freed since; draws nothing itself."""
    try:
        held = portal().watch.lock(current()).state
    except TreadleError:
        return  # the frame says so already
    if held.run_id != drawn:
        st.rerun(scope="app")


@st.dialog("Run pipeline", width="medium", icon=":material/play_arrow:", on_dismiss=not_asking)
def confirm_run(known: Opened) -> None:
    """What a run of this file will do, who is recorded for it, and the one button that starts it."""
    who, name, stored, usual = current(), name_of(known), known["profile"], usual_duration()
    if stored:
        look = verdict_told(stored.verdict, stored.profile["validations"])
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(look.word, icon=look.icon, color=look.colour)
            st.caption(look.sentence, width="stretch")
    else:
        st.warning(
            "The file has not been inspected yet; the run may find what an inspection would have told.", icon=":material/hourglass_top:"
        )
    sheet = known["mapping"].sheet or (stored.profile.get("sheet") if stored else None)
    columns = ", ".join(f"{source} → {wanted}" for source, wanted in known["mapping"].columns.items())
    components.facts(
        [
            ("File", f"{name} ({words.size(known['file'].size_bytes)})"),
            ("Columns", columns or "as they are named in the file"),
            *([("Sheet", str(sheet))] if sheet else []),
            ("Environment", services().environment),
            ("Takes usually", words.duration(usual) if usual else "not known yet"),
            ("Recorded as", who.name),
        ]
    )
    st.markdown(becomes_current())
    st.caption("No other run can start meanwhile. The run can be cancelled on the page Monitor.")
    with st.container(horizontal=True):  # what follows a yes is told below both
        sure = st.button("Start the run", type="primary", icon=":material/play_arrow:", key="run-really")
        if st.button("Cancel", type="tertiary", key="run-not"):
            not_asking()
            st.rerun()
    if sure:
        begin_run(known)


def becomes_current() -> str:
    """What is published now, and what becomes of it."""
    try:
        shown = published(str(current().role), current())
    except TreadleError:
        return "If it succeeds, its results become the **current** ones; those before it stay in the archive."
    if shown is None:
        return "If it succeeds, its results become **current**. They will be the first."
    return (
        f"If it succeeds, its results become **current** in place of those of {words.plain(shown.profile['file_name'])}"
        f" (run {components.short_id(shown.run_id)}, {words.ago(shown.published_at, components.now())}), which stay in the archive and can be restored."
        " If it fails, nothing changes."
    )


def begin_run(known: Opened) -> None:
    """Start it, once however often the button is pressed, and go where it can be followed."""
    name = name_of(known)
    try:
        if files.get_file(services(), current(), name).etag != known["file"].etag:
            st.warning(
                "**The file was changed since you looked at it.** Nothing was started: close this, and look at it again.",
                icon=":material/sync_problem:",
            )
            st.session_state.pop(OPENED, None)
            return
        with st.spinner("Starting…"):
            run = runs.start(services(), current(), name, run_id=UUID(st.session_state[RUN_ID]))
    except LockHeld as taken:
        st.session_state[BEATEN_BY] = UUID(str(taken.details["run_id"]))  # told beside the button, where the lock is watched
        not_asking()
        st.rerun()
    except TreadleError as error:
        failed(error)
        if not isinstance(error, OutcomeUnknown | Unavailable):
            st.session_state[RUN_ID] = str(uuid4())  # it is known how this one ended: the next click means a new one
    else:
        if run.status is RunStatus.FAILED:  # that of an earlier click, whose answer was lost
            st.session_state[RUN_ID] = str(uuid4())
            st.error(f"**The start failed.** {words.plain(run.error_message or '')} Press once more to try again.", icon=":material/error:")
            return
        not_asking()
        st.switch_page("app_pages/monitor.py", query_params={"run": str(run.run_id)})
