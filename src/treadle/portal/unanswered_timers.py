"""Timers that a session must leave unanswered, or what its page shows is lost.

A fragment with `run_every` is asked for by the browser, whatever the server is doing at that moment. Two such moments do harm (Streamlit 1.67):

The page was left. When a script switches the page, the browser learns of it a moment later; a timer that fires in that moment asks in the old
page's name. Streamlit then runs the fragment as part of the old page and says so, whereupon the browser clears what it shows: the new page stays
empty. (`App.handleNewSession` compares page hashes for runs of fragments, too.)

A script has ended, and its last words are still on their way to the session. A session that is asked then begins a new script, and from then on
takes the words of that one alone (`_handle_scriptrunner_event_on_event_loop`): the page stays half drawn, and what it had not yet told the browser
about its timers is lost with the rest, so it never comes alive again. Seen with twenty live pages on two busy cores.

Streamlit has no setting for this, so one method of its sessions is wrapped. The wrapper only ever leaves a timer unanswered, and the browser asks
again by itself; where Streamlit names its parts otherwise than we know them, it stays as it is. A test with a browser fails when the wrapper no
longer helps, and two without when Streamlit itself no longer answers such a timer: then away with this.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import structlog
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime import app_session
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequestType

log = structlog.get_logger()

_WRAPPED: Final = "treadle_leaves_timers_unanswered"


def leave_timers_unanswered(session: Any = None) -> bool:
    """Let sessions answer a timer only in the name of the page that they show, and only when they have heard how their last script ended.

    Safe to repeat; holds for the process.

    session: the class of Streamlit's sessions. Returns whether they do; they do not when this Streamlit is otherwise than the one that we know.
    """
    session = session or getattr(app_session, "AppSession", None)
    asked_before = getattr(session, "request_rerun", None)
    if getattr(asked_before, _WRAPPED, False):
        return True
    if asked_before is None or not {"is_auto_rerun", "page_script_hash"} <= set(ClientState.DESCRIPTOR.fields_by_name):
        log.warning("portal.timers_answered", reason="Streamlit's sessions are not as Treadle knows them.")
        return False
    session.request_rerun = _answering(asked_before)
    return True


def _answering(asked_before: Callable[..., None]) -> Callable[..., None]:
    @wraps(asked_before)
    def request_rerun(self: object, client_state: ClientState | None, *others: object, **named: object) -> None:
        if client_state is None or not does_harm(client_state, _page_shown(self), end_unheard=_end_is_unheard(self)):
            asked_before(self, client_state, *others, **named)

    setattr(request_rerun, _WRAPPED, True)
    return request_rerun


def does_harm(asked: ClientState, shown: str, *, end_unheard: bool) -> bool:
    """Whether this is a timer that would cost the page what it shows. shown: the hash of that page; empty when that is not known. Pure."""
    of_left_page = bool(shown) and asked.page_script_hash != shown
    return asked.is_auto_rerun and (of_left_page or end_unheard)


def _page_shown(session: object) -> str:
    return str(getattr(getattr(session, "_client_state", None), "page_script_hash", ""))  # Streamlit tells it nowhere else


def _end_is_unheard(session: object) -> bool:
    """Whether the script that the session listens to takes no more requests. A session that has heard the end of one listens to none."""
    requests = getattr(getattr(session, "_scriptrunner", None), "_requests", None)
    return getattr(requests, "_state", None) is ScriptRequestType.STOP
