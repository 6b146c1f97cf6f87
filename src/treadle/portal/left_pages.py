"""Timers of a page that was left must not run on the page that came after it.

A fragment with `run_every` is asked for by the browser. When a script switches the page, the browser learns of it a moment later; a timer that
fires in that moment asks in the old page's name. Streamlit then runs the fragment as part of the old page and says so, whereupon the browser
clears what it shows: the new page stays empty. (Seen in Streamlit 1.67: `App.handleNewSession` compares page hashes for runs of fragments, too.)

Streamlit has no setting for this, so one method of its sessions is wrapped. The wrapper only ever leaves a timer unanswered, and the browser asks
again by itself; where Streamlit names its parts otherwise than we know them, it stays as it is. A test with a browser fails when the wrapper no
longer helps, and one without when Streamlit itself no longer answers such a timer: then away with this.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import structlog
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime import app_session

log = structlog.get_logger()

_WRAPPED: Final = "treadle_leaves_timers_behind"


def leave_timers_behind(session: Any = None) -> bool:
    """Let sessions answer a timer only in the name of the page that they show. Safe to repeat; holds for the process.

    session: the class of Streamlit's sessions. Returns whether they do; they do not when this Streamlit is otherwise than the one that we know.
    """
    session = session or getattr(app_session, "AppSession", None)
    asked_before = getattr(session, "request_rerun", None)
    if getattr(asked_before, _WRAPPED, False):
        return True
    if asked_before is None or not {"is_auto_rerun", "page_script_hash"} <= set(ClientState.DESCRIPTOR.fields_by_name):
        log.warning("portal.timers_not_left_behind", reason="Streamlit's sessions are not as Treadle knows them.")
        return False
    session.request_rerun = _answering(asked_before)
    return True


def _answering(asked_before: Callable[..., None]) -> Callable[..., None]:
    @wraps(asked_before)
    def request_rerun(self: object, client_state: ClientState | None, *others: object, **named: object) -> None:
        if client_state is None or not is_of_left_page(client_state, _page_shown(self)):
            asked_before(self, client_state, *others, **named)

    setattr(request_rerun, _WRAPPED, True)
    return request_rerun


def is_of_left_page(asked: ClientState, shown: str) -> bool:
    """Whether a timer asks this in the name of another page than the one that is shown. shown: its hash; empty when that is not known. Pure."""
    return asked.is_auto_rerun and bool(shown) and asked.page_script_hash != shown


def _page_shown(session: object) -> str:
    return str(getattr(getattr(session, "_client_state", None), "page_script_hash", ""))  # Streamlit tells it nowhere else
