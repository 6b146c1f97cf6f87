"""Monitor: the run that is active, else the newest one, as it goes on. Reads the database alone."""

from datetime import timedelta
from typing import Final
from uuid import UUID

import streamlit as st

from treadle.actions import lock, runs
from treadle.control.access import Right, allowed
from treadle.control.events import Event
from treadle.control.run import RESTORE_PREFIX, Run
from treadle.control.states import ACTIVE, RunStatus
from treadle.errors import NotFound, TreadleError
from treadle.flows.sales.stages import read_stages
from treadle.portal import components, words
from treadle.portal.frame import zone
from treadle.portal.shared import services
from treadle.portal.told import empty, failed, told
from treadle.portal.who import current

ASKED: Final = "monitor-asked"  # which dialog is open
LIVE_SECONDS: Final = 2.0  # between two looks at a run that goes on
IDLE_SECONDS: Final = 10.0  # and while there is none: somebody may start one


def shown_run() -> Run | None:
    """The run that the address names; else the one that is active, else the newest. None: there is none at all."""
    if named := st.query_params.get("run"):
        return runs.find_run(services(), current(), named)
    active = runs.list_runs(services(), current(), status=set(ACTIVE), limit=1).runs
    newest = active or runs.list_runs(services(), current(), limit=1).runs
    return newest[0] if newest else None


@st.cache_data(ttl=60, max_entries=1, show_spinner=False)
def usual() -> timedelta | None:
    """How long a run usually takes; the same for everybody who may see it."""
    return components.usual_duration(
        runs.list_runs(services(), current(), status={RunStatus.SUCCEEDED}, include_restores=False, limit=20).runs
    )


def page() -> None:
    """The title with what can be done, and below it the part that lives."""
    st.title("Monitor")
    try:
        run = shown_run()
    except NotFound as error:
        failed(error)
        st.page_link("app_pages/archive.py", label="Look in the archive", icon=":material/inventory_2:")
        return
    except TreadleError as error:
        failed(error)
        return
    if run is None:
        empty("No run yet", "Bring a workbook on the page Import and run it; it can be followed here.", icon=":material/monitor_heart:")
        st.page_link("app_pages/import_file.py", label="Go to Import", icon=":material/upload_file:")
        return
    every = LIVE_SECONDS if not run.status.ended else (None if st.query_params.get("run") else IDLE_SECONDS)
    st.fragment(live, run_every=every, key="run-live")(run.run_id)
    actions(run)


def live(run_id: UUID) -> None:
    """The run as the database has it now. The page begins anew when the run has ended, or another one is active."""
    with told():
        run, trail = runs.follow(services(), current(), run_id)
        if st.session_state.get("monitor-state") not in (None, (run.run_id, run.status.ended)) or moved_on(run):
            st.session_state["monitor-state"] = None
            st.rerun()
        st.session_state["monitor-state"] = (run.run_id, run.status.ended)
        head(run)
        if run.status is RunStatus.FAILED:
            failure(run)
        columns = st.columns([3, 2], gap="large")
        with columns[0]:
            st.subheader("Stages")
            components.stage_chart(read_stages(trail), run, components.now())
            st.subheader("Events")
            components.event_table(trail, key="monitor-events")
        with columns[1]:
            details(run, trail)


def moved_on(run: Run) -> bool:
    """Whether somebody else's run is active now, and this page shows whichever is."""
    if st.query_params.get("run") or not run.status.ended:
        return False
    newest = runs.list_runs(services(), current(), limit=1).runs
    return bool(newest) and newest[0].run_id != run.run_id


def head(run: Run) -> None:
    """Which run, how it stands, and for how long."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        components.status_badge(run.status)
        st.markdown(f"**{words.plain(components.run_name(run))}**", width="content")
        st.caption(
            f"started by {words.plain(run.triggered_by)} at {words.since(run.created_at, components.now(), zone())}", width="content"
        )
    taken, usually = components.elapsed(run, components.now()), usual()
    if not run.status.ended and usually:
        share = min(taken / usually, 0.99) if usually else 0.0
        st.progress(share, text=f"{words.duration(taken)} of usually {words.duration(usually)}")
    else:
        text = f"{'Took' if run.status.ended else 'For'} {words.duration(taken)}"
        st.caption(f"{text} · usually {words.duration(usually)}" if usually else text)


def failure(run: Run) -> None:
    """Why the run failed, in words; the text as it was recorded behind it."""
    message = run.error_message or "The reason was not recorded."
    st.error(f"**The run failed.** {words.plain(message.partition(chr(10))[0])}", icon=":material/error:")
    st.caption("What was published before is still current, and the lock is free: correct the cause and run the file again.")
    with st.expander("As it was recorded", icon=":material/code:"):
        st.code(message, language=None, wrap_lines=True)


def details(run: Run, trail: list[Event]) -> None:
    """What Fabric calls it, and where to look."""
    st.subheader("Details")
    components.facts(
        [
            ("Run", str(run.run_id)),
            ("Fabric job", run.fabric_job_id or "none yet"),
            ("Started", words.moment(run.started_at, zone())),
            ("Finished", words.moment(run.finished_at, zone())),
            ("Notebook", run.notebook_version or words.DASH),
        ]
    )
    for stage in read_stages(trail):
        if stage.link and stage.link.startswith("https://"):
            st.link_button(f"Output of {words.plain(stage.name)}", stage.link, icon=":material/open_in_new:")
    if run.status is RunStatus.SUCCEEDED:
        made_by = run.input_file.removeprefix(RESTORE_PREFIX) if run.is_restore else str(run.run_id)
        st.page_link("app_pages/results.py", label="See the results", icon=":material/bar_chart:", query_params={"run": made_by})
    st.page_link("app_pages/run.py", label="Open this run", icon=":material/play_circle:", query_params={"run": str(run.run_id)})


def actions(run: Run) -> None:
    """What can be done about the run; each is decided again in the action itself."""
    who = current()
    if run.status.ended and not holds_lock(run):
        ask()
        return
    with st.container(horizontal=True):
        may_cancel, may_release = allowed(who, Right.RUNS_CANCEL), allowed(who, Right.LOCK_RELEASE)
        if not run.status.ended:
            asked = ("cancel", run.run_id)
            st.button("Cancel the run", icon=":material/block:", disabled=not may_cancel, key="cancel", on_click=ask, args=asked)
        asked = ("release", run.run_id)
        st.button("Release the lock", icon=":material/lock_open:", disabled=not may_release, key="release", on_click=ask, args=asked)
    match st.session_state.get(ASKED):
        case ("cancel", run.run_id):
            confirm_cancel(run)
        case ("release", run.run_id):
            confirm_release(run)
        case _:
            ask()  # nothing, or it was about another run
    if not allowed(who, Right.RUNS_CANCEL):
        st.caption("To cancel a run or to release the lock takes the role operator.")


def holds_lock(run: Run) -> bool:
    """Whether a run that has ended holds the lock all the same: its worker died in between, and nobody else may come."""
    try:
        return lock.show(services(), current()).run_id == run.run_id
    except TreadleError:
        return False  # the frame says what is the matter


def ask(what: str | None = None, run_id: UUID | None = None) -> None:
    """Open a dialog about a run, or none: it stays open over reruns until it is answered or dismissed, or the page shows another run."""
    st.session_state[ASKED] = (what, run_id) if what else None


@st.dialog("Cancel the run", on_dismiss=ask)
def confirm_cancel(run: Run) -> None:
    """One more question, and what follows."""
    components.status_badge(run.status)
    st.markdown(
        f"**Run {components.short_id(run.run_id)}** of {words.plain(components.run_name(run))}, started by {words.plain(run.triggered_by)}"
    )
    st.write("Fabric is asked to stop the job. The run then ends as failed, with your name; what is published now stays as it is.")
    if st.button("Cancel this run", type="primary", key="cancel-really"):
        with told():
            runs.cancel(services(), current(), run.run_id)
            ask()
            st.rerun()


@st.dialog("Release the lock", on_dismiss=ask)
def confirm_release(run: Run) -> None:
    """Why, and what follows."""
    st.write(
        f"Run {components.short_id(run.run_id)} holds the lock. Its job is stopped first; the run ends as failed, and the next one can start."
        " Your name and the reason stay in the trail."
    )
    reason = st.text_input("Reason", key="release-reason", max_chars=500, placeholder="Why nobody waits for this run any more")
    if st.button("Release the lock", type="primary", key="release-really", disabled=not reason.strip()):
        with told(), st.spinner("Stopping the job and waiting for its end…"):
            lock.release(services(), current(), reason.strip(), run_id=run.run_id)
            ask()
            st.rerun()


page()
