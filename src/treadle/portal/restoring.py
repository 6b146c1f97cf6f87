"""The restore dialog: what is current, what it becomes, whether it can be done, and what follows from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final
from uuid import UUID, uuid4

import streamlit as st

from treadle.actions import lock, runs
from treadle.clients.onelake import LakeFile
from treadle.control.access import Principal, Right, allowed
from treadle.control.lock import LockState
from treadle.control.run import RESTORE_PREFIX, Run
from treadle.control.states import RunStatus
from treadle.errors import LockHeld, NotFound, OutcomeUnknown, TreadleError, Unavailable
from treadle.flows.sales.lakehouse import CURRENT, DATA_FILES, IMPORT, RUN_METADATA, run_path
from treadle.flows.sales.manifest import FileEntry, Manifest
from treadle.flows.sales.published import read_published_manifest
from treadle.portal import comparing, components, run_detail, words
from treadle.portal.frame import zone
from treadle.portal.lock_taken import faster
from treadle.portal.looking import a_look
from treadle.portal.shared import services
from treadle.portal.told import failed, told
from treadle.portal.who import current, needs_operator
from treadle.visible_text import visible

FILES: Final = (*DATA_FILES, RUN_METADATA)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold before a restore can begin, and whether it does; `told` may hold texts of others."""

    passed: bool
    told: str


@dataclass(frozen=True, slots=True)
class Published:
    """What is current now: the manifest, and the run that it names where that is still recorded."""

    manifest: Manifest
    run: Run | None


def why_not(run: Run, who: Principal) -> str | None:
    """Why this person cannot restore a run from here, in words. None: the dialog can be opened. Pure."""
    if reason := nothing_to_restore(run):
        return reason
    return None if allowed(who, Right.RUNS_RESTORE) else needs_operator("To restore a run", who)


def nothing_to_restore(run: Run) -> str | None:
    """Why there is nothing to bring back, whoever asks. None: there is. Pure."""
    if run.is_restore:
        return "A restore has no files of its own; open the run that it brought back, and restore that one."
    if run.status is not RunStatus.SUCCEEDED:
        return "Only a run that succeeded can be restored."
    return None


def check_source(run: Run) -> Check:
    """Whether there is something to bring back. Pure."""
    reason = nothing_to_restore(run)
    return Check(passed=reason is None, told=reason or "The run succeeded.")


def check_files(seen: Sequence[LakeFile], recorded: Sequence[FileEntry]) -> Check:
    """Whether the run's five files are in its folder with the sizes that it recorded. Their checksums are the notebook's to compare. Pure."""
    sizes = {file.name: file.size_bytes for file in seen}
    missing = [name for name in FILES if name not in sizes]
    if missing:
        return Check(passed=False, told=f"Missing in the run's folder: {', '.join(missing)}.")
    changed = [entry.name for entry in recorded if sizes.get(entry.name) != entry.size_bytes]
    if changed:
        return Check(passed=False, told=f"Not of the size that the run recorded: {', '.join(changed)}.")
    return Check(passed=True, told=f"Its {len(FILES)} files are there, {words.size(sum(sizes[name] for name in FILES))} in all.")


def check_lock(held: LockState, zone_: tzinfo) -> Check:
    """Whether a run can begin now. Pure."""
    if held.run_id is None:
        return Check(passed=True, told="The lock is free.")
    since = f" since {words.clock(held.locked_at, zone_)}" if held.locked_at else ""
    return Check(passed=False, told=f"{held.locked_by or 'Somebody'} holds the lock with run {components.short_id(held.run_id)}{since}.")


def restore_button(run: Run, *, key: str, ask: Callable[[Run], None] | None = None) -> str | None:
    """The button that opens the dialog. Returns why it cannot be used, for the page to say; None: it can.

    ask: opens it another way, for where the button stands in a dialog itself; None: opens it here.
    """
    reason = why_not(run, current())
    if st.button("Restore this run", icon=":material/restore:", type="primary", disabled=reason is not None, help=reason, key=key):
        (ask or restore_dialog)(run)
    return reason


@st.dialog("Restore a run", width="medium", icon=":material/restore:")
def restore_dialog(run: Run) -> None:
    """What will change, whether it can, what follows, and the button."""
    possible = False
    with told():
        _change(run, published())
        st.markdown("**Checks**")
        checks = look(run)
        for check in checks:
            _check_line(check)
        possible = all(check.passed for check in checks)
    st.markdown(
        f"Everybody who reads `{CURRENT}/` gets the figures of run {components.short_id(run.run_id)} as soon as the files are published."
        " It is a run of its own, in your name."
    )
    st.caption(
        f"Not affected: the folder of any run, the workbooks in `{IMPORT}/`, and what is recorded. To go back, restore the run that is current now."
    )
    short = components.short_id(run.run_id)
    with st.container(horizontal=True):  # what follows a yes is told below both
        sure = st.button(f"Restore run {short}", icon=":material/restore:", type="primary", disabled=not possible, key="restore-really")
        if st.button("Cancel", type="tertiary", key="restore-not"):
            st.rerun()
    if sure:
        with told():
            _restore(run)


def published() -> Published | None:
    """What is current. None: nothing was ever published."""
    try:
        with a_look():
            manifest = read_published_manifest(services().sales.lake)
    except NotFound:
        return None
    try:
        return Published(manifest, runs.get_run(services(), current(), manifest.run_id))
    except NotFound:
        return Published(manifest, None)


def look(run: Run) -> list[Check]:
    """Every check, as things stand at this moment; the action itself looks again."""
    recorded = run_detail.checksums(run)
    with a_look():
        seen = services().sales.lake.list_files(run_path(run.run_id))
    return [check_source(run), check_files(seen, list(recorded.values())), check_lock(lock.show(services(), current()), zone())]


def _change(run: Run, now: Published | None) -> None:
    """Current beside becomes."""
    before, after = st.columns(2, gap="medium")
    with before, st.container(border=True, height="stretch"):
        st.caption("Current")
        if now is None:
            st.markdown("Nothing is published yet.")
        elif now.run is None:
            st.badge("Not recorded", icon=":material/help:", color="gray")
            st.markdown(f"Run {components.short_id(now.manifest.run_id)}")
        else:
            _card(now.run)
        if now and now.manifest.run_id == run.run_id:
            st.caption("This run is current already; restoring it publishes the same files again.")
    with after, st.container(border=True, height="stretch"):
        st.caption("Becomes")
        _card(run)


def _card(run: Run) -> None:
    components.status_badge(run.status)
    st.markdown(f"**Run {components.short_id(run.run_id)}**")
    st.text(visible(components.run_name(run)))
    revenue = (run.kpis or {}).get("total_revenue")
    figure = comparing.written("total_revenue", revenue) if isinstance(revenue, int | float) else words.DASH
    st.caption(f"Revenue {figure} · {words.moment(run.created_at, zone())}")


def _check_line(check: Check) -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        if check.passed:
            st.badge("OK", icon=":material/check:", color="green")
        else:
            st.badge("Not now", icon=":material/close:", color="red")
        st.text(visible(check.told), width="stretch")


def _restore(run: Run) -> None:
    """Start it under an id that is kept until the answer is known, so that a second click cannot start a second one."""
    kept = f"restore-id-{run.run_id}"
    run_id: UUID = st.session_state.setdefault(kept, uuid4())
    try:
        started = runs.restore(services(), current(), run.run_id, run_id=run_id)
    except LockHeld:
        del st.session_state[kept]
        held = lock.show(services(), current())
        st.warning(faster(held, current().name, f"{RESTORE_PREFIX}{run.run_id}", zone()), icon=":material/lock:")
        return
    except TreadleError as error:
        if not isinstance(error, OutcomeUnknown | Unavailable):
            del st.session_state[kept]  # it is known that this one did not begin, or how it ended: the next click means a new one
        failed(error)
        return
    del st.session_state[kept]
    if started.status is RunStatus.FAILED:  # that of an earlier click, whose answer was lost
        st.error(
            f"**The restore failed.** {words.plain(started.error_message or '')} Press once more to try again.", icon=":material/error:"
        )
        return
    st.switch_page("app_pages/monitor.py", query_params={"run": str(started.run_id)})
