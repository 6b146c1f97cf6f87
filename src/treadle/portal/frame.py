"""What stands on every page: which environment this is, who holds the lock, who you are, and in which time zone times are told."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from treadle.actions import lock
from treadle.control.access import Principal
from treadle.control.lock import LockState
from treadle.errors import TreadleError
from treadle.portal import words
from treadle.portal.shared import portal, services

LOCK_SECONDS = 5.0  # between two looks at the lock; one small query


def zone() -> tzinfo:
    """The reader's time zone, as the browser names it; UTC when it names none that is known."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def frame(who: Principal) -> None:
    """The line above every page."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="frame"):
        environment = services().environment
        sandbox = environment == "SANDBOX"
        st.badge(
            words.plain(environment), icon=":material/science:" if sandbox else ":material/cloud:", color="orange" if sandbox else "violet"
        )
        _lock_pill(who)
        st.space("stretch")
        st.caption(
            f":material/person: {words.plain(who.name)} · **{who.role or 'no role'}**{' · local user' if portal().local else ''}",
            width="content",
        )
        st.caption(f":material/public: {words.plain(str(zone()))}", width="content")


@st.fragment(run_every=LOCK_SECONDS, key="lock-pill")
def _lock_pill(who: Principal) -> None:
    try:
        held = lock.show(services(), who)
    except TreadleError as error:
        st.badge("Lock unknown", icon=":material/help:", color="gray", help=words.plain(error.message))
        return
    if held.run_id is None:
        st.badge("Lock free", icon=":material/lock_open:", color="green", help="No run is active; the next one can start.")
    else:
        st.badge(holder(held), icon=":material/lock:", color="blue", help=f"Run {held.run_id} holds the lock.")


def holder(held: LockState) -> str:
    """Who holds the lock, with which run, since when."""
    return f"{words.plain(held.locked_by or 'Somebody')} · run {str(held.run_id)[:8]} · since {words.since(held.locked_at, datetime.now(UTC), zone())}"
