"""Monitor: the run that is active, else the newest one, as it goes on. Reads the database alone, and together with all other sessions."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from uuid import UUID

import streamlit as st

from treadle.actions import lock, runs
from treadle.control.access import Right, allowed
from treadle.control.events import Event
from treadle.control.run import RESTORE_PREFIX, Run
from treadle.control.states import ACTIVE, RunStatus
from treadle.errors import NotFound, TreadleError
from treadle.flows.sales.outcome import was_cancelled
from treadle.flows.sales.stages import read_stages
from treadle.portal import components, words
from treadle.portal.fabric_pages import fabric_page
from treadle.portal.frame import zone
from treadle.portal.shared import portal, services
from treadle.portal.told import empty, failed, told
from treadle.portal.usual import usual_duration
from treadle.portal.watch import RunSeen
from treadle.portal.who import current, needs_operator

ASKED: Final = "monitor-asked"  # which dialog is open
SHOWN: Final = "monitor-shown"  # what the page was drawn from: run and sequence
LIVE_SECONDS: Final = 2.0  # between two looks at a run that goes on
STAGES_SECONDS: Final = 10.0  # between two drawings of its time line, whose last bar grows


def page() -> None:
    """The title with what can be done, and below it the run."""
    st.title("Monitor")
    try:
        run = shown_run()
    except NotFound as error:
        failed(error)
        st.page_link("app_pages/archive.py", label="Look in the archive", icon=":material/inventory_2:")
        return
    except TreadleError as error:
        failed(error, again="monitor")
        return
    if run is None:
        empty("No run yet", "Bring a workbook on the page Import and run it; it can be followed here.", icon=":material/monitor_heart:")
        st.page_link("app_pages/import_file.py", label="Go to Import", icon=":material/upload_file:")
        refresh()
        return
    with told(again="monitor"):
        seen = seen_now(run)
        show(seen, live=not seen.run.status.ended)
        run = seen.run
    actions(run)


def shown_run() -> Run | None:
    """The run that the address names; else the one that is active, else the newest. None: there is none at all."""
    if named := st.query_params.get("run"):
        return runs.find_run(services(), current(), named)
    held = portal().watch.lock(current()).state.run  # the frame has just looked
    if held and not held.status.ended:
        return held
    active = runs.list_runs(services(), current(), status=set(ACTIVE), limit=1).runs
    newest = active or runs.list_runs(services(), current(), limit=1).runs
    return newest[0] if newest else None


def seen_now(run: Run) -> RunSeen:
    """The run with its trail: one that goes on as all sessions see it, for they look together; one that has ended as it is recorded."""
    if not run.status.ended:
        seen = portal().watch.follow(current(), run.run_id)
        if not seen.run.status.ended:
            return seen
    run, trail = runs.follow(services(), current(), run.run_id)
    return RunSeen(run, tuple(trail), len(trail))


def show(seen: RunSeen, *, live: bool) -> None:
    """The run in parts, each at its own pace: the head moves with the time, the time line of the stages grows, the rest waits for something new."""
    st.session_state[SHOWN] = (seen.run.run_id, seen.sequence)
    st.fragment(head, run_every=LIVE_SECONDS if live else None, key="run-head")(seen)
    if not live and not st.query_params.get("run"):
        refresh()
    if seen.run.status is RunStatus.FAILED:
        failure(seen.run)
    columns = st.columns([3, 2], gap="large")
    with columns[0]:
        st.subheader("Stages")
        st.fragment(stages, run_every=STAGES_SECONDS if live else None, key="run-stages")(seen)
        st.subheader("Events")
        st.fragment(components.event_table, key="run-events")(seen.trail, key="monitor-events")
    with columns[1]:
        details(seen.run, seen.trail)


def head(drawn: RunSeen) -> None:
    """Which run, how it stands, and for how long. The one part that looks for news: when there are any, the page is drawn anew."""
    seen = drawn
    if not drawn.run.status.ended:
        with told():
            seen = portal().watch.follow(current(), drawn.run.run_id)
    run = seen.run
    if (run.run_id, seen.sequence) != st.session_state.get(SHOWN) and (run.status.ended or not st.session_state.get(ASKED)):
        st.rerun()  # while somebody answers a question, only the end of the run may take the page from under it
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        components.status_badge(run.status)
        st.markdown(f"**{words.plain(components.run_name(run))}**", width="content")
        st.caption(
            f"started by {words.plain(run.triggered_by)} at {words.since(run.created_at, components.now(), zone())}", width="content"
        )
    taken, usually = components.elapsed(run, components.now()), None
    with suppress(TreadleError):  # a database that is away is told by the look above
        usually = usual_duration()
    if not run.status.ended and usually:
        share = min(taken / usually, 0.99) if usually else 0.0
        st.progress(share, text=f"{words.duration(taken)} of usually {words.duration(usually)}")
    else:
        text = f"{'Took' if run.status.ended else 'For'} {words.duration(taken)}"
        st.caption(f"{text} · usually {words.duration(usually)}" if usually else text)


def refresh() -> None:
    """When nothing was active, and a look at what is so now: no page asks by the clock then, and its word must not look newer than it is."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(f"No run was active as of {words.clock(components.now(), zone())}.", width="content")
        st.button("Refresh", icon=":material/refresh:", type="tertiary", key="refresh", help="See whether a run has begun since.")


def stages(drawn: RunSeen) -> None:
    """The stages on the time line of the run."""
    components.stage_chart(read_stages(drawn.trail), drawn.run, components.now())


def failure(run: Run) -> None:
    """Why the run failed, in words; the text as it was recorded behind it."""
    message = run.error_message or "The reason was not recorded."
    told = words.plain(message.partition(chr(10))[0])
    if was_cancelled(message):
        st.warning(f"**{told}**", icon=":material/cancel:")
        st.caption("What was published before is still current, and the lock is free.")
        return
    st.error(f"**The run failed.** {told}", icon=":material/error:")
    st.caption("What was published before is still current, and the lock is free: correct the cause and run the file again.")
    with st.expander("As it was recorded", icon=":material/code:"):
        st.code(message, language=None, wrap_lines=True)


def details(run: Run, trail: Sequence[Event]) -> None:
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
    if link := fabric_page(portal().fabric_portal_url, run):
        st.link_button("Open in Fabric", link, icon=":material/open_in_new:", help="The pipeline run in Fabric's own pages.")
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
            st.space("stretch")
        st.button(
            "Release the lock",
            icon=":material/lock_open:",
            type="secondary" if run.status.ended else "tertiary",  # what ends a run that goes on is to cancel it
            disabled=not may_release,
            key="release",
            on_click=ask,
            args=("release", run.run_id),
        )
    match st.session_state.get(ASKED):
        case ("cancel", run.run_id):
            confirm_cancel(run)
        case ("release", run.run_id):
            confirm_release(run)
        case _:
            ask()  # nothing, or it was about another run
    if not allowed(who, Right.RUNS_CANCEL):
        st.caption(needs_operator("To cancel a run or to release the lock", who))


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
