"""What stands on every page: which environment this is, who holds the lock, who you are, and in which time zone times are told."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from treadle.control.access import Principal
from treadle.control.lock import LockState
from treadle.errors import TreadleError
from treadle.portal import words
from treadle.portal.shared import portal, services
from treadle.portal.ticking import stop_ticking

LOCK_SECONDS = 10.0  # between two looks at a lock that somebody holds; each is a rerun, of which a process does some fifteen a second


def zone() -> tzinfo:
    """The reader's time zone, as the browser names it; UTC when it names none that is known."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def frame(who: Principal, *others: Callable[[Principal], None]) -> None:
    """The line above every page. others: what else stands beside the lock, each drawing itself or nothing."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="frame"):
        environment = services().environment
        sandbox = environment == "SANDBOX"
        st.badge(
            words.plain(environment), icon=":material/science:" if sandbox else ":material/cloud:", color="orange" if sandbox else "violet"
        )
        for part in (_lock_pill, *others):
            part(who)
        st.space("stretch")
        st.caption(
            f":material/person: {words.plain(who.name)} · **{who.role or 'no role'}**{' · local user' if portal().local else ''}"
            f" \N{NO-BREAK SPACE}:material/public: {words.plain(str(zone()))}",
            width="content",
        )  # one text: two would push the lock's pill together where there is little room


def _lock_pill(who: Principal) -> None:
    """Who holds the lock, kept true by itself while somebody does.

    A free lock is told with the moment at which it was: nothing runs, so no page asks again by the clock, and what a tired reader must not do is
    to take an old word for a new one. Each click on any page looks again, and whoever starts a run is told by the lock itself, not by this pill.
    """
    free = False
    with suppress(TreadleError):  # told by the pill itself, which asks again until it knows
        free = portal().watch.lock(who, fresh_seconds=0).state.run_id is None
    st.fragment(_pill, run_every=None if free else LOCK_SECONDS, key="lock-pill")(who)


def _pill(who: Principal) -> None:
    try:
        seen = portal().watch.lock(who)
    except TreadleError as error:
        st.badge("Lock unknown", icon=":material/help:", color="gray", help=words.plain(error.message))
        return
    if seen.state.run_id is None:
        stop_ticking()
        told = f"Lock free at {words.clock(seen.at, zone())}"
        st.badge(told, icon=":material/lock_open:", color="green", help="No run was active then; the next one can start.")
    else:
        st.badge(holder(seen.state), icon=":material/lock:", color="blue", help=f"Run {seen.state.run_id} holds the lock.")


def holder(held: LockState) -> str:
    """Who holds the lock, with which run, since when."""
    return f"{words.plain(held.locked_by or 'Somebody')} · run {str(held.run_id)[:8]} · since {words.since(held.locked_at, datetime.now(UTC), zone())}"
