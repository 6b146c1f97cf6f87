"""Timers that a session must leave unanswered, or what its page shows is lost.

A fragment with `run_every` is asked for by the browser, whatever the server is doing at that moment. Two such moments do harm (Streamlit 1.67):

The page was left. When a script switches the page, the browser learns of it a moment later; a timer that fires in that moment asks in the old
page's name. Streamlit then runs the fragment as part of the old page and says so, whereupon the browser clears what it shows: the new page stays
empty. (`App.handleNewSession` compares page hashes for runs of fragments, too.)

A script has ended, and its last words are still on their way to the session. A session that is asked then begins a new script, and from then on
takes the words of that one alone (`_handle_scriptrunner_event_on_event_loop`): the page stays half drawn, and what it had not yet told the browser
about its timers is lost with the rest, so it never comes alive again. Seen with live pages on two busy cores. A script ends in a thread of its
own, at any moment; so it is not looked at beforehand whether it has: a timer is given to the script that the session listens to, and when that one
takes it no more, none is begun for it.

Streamlit has no setting for this, so one method of its sessions is wrapped. The wrapper only ever leaves a timer unanswered, and the browser asks
again by itself; where Streamlit names its parts otherwise than we know them, it stays as it is. A test with a browser fails when the wrapper no
longer helps, and two without when Streamlit itself no longer answers such a timer: then away with this.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

import structlog
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime import app_session

log = structlog.get_logger()

_WRAPPED: Final = "treadle_leaves_timers_unanswered"
_BEGIN: Final = "_create_scriptrunner"  # the method by which a session begins a script


def leave_timers_unanswered(session: Any = None) -> bool:
    """Let sessions answer a timer only in the name of the page that they show, and only when they have heard how their last script ended.

    Safe to repeat; holds for the process.

    session: the class of Streamlit's sessions. Returns whether they do; they do not when this Streamlit is otherwise than the one that we know.
    """
    session = session or getattr(app_session, "AppSession", None)
    asked_before = getattr(session, "request_rerun", None)
    if getattr(asked_before, _WRAPPED, False):
        return True
    if (
        asked_before is None
        or not hasattr(session, _BEGIN)
        or not {"is_auto_rerun", "page_script_hash"} <= set(ClientState.DESCRIPTOR.fields_by_name)
    ):
        log.warning("portal.timers_answered", reason="Streamlit's sessions are not as Treadle knows them.")
        return False
    session.request_rerun = _answering(asked_before)
    return True


def _answering(asked_before: Callable[..., None]) -> Callable[..., None]:
    @wraps(asked_before)
    def request_rerun(self: Any, client_state: ClientState | None, *others: object, **named: object) -> None:
        if client_state is None or not client_state.is_auto_rerun:
            asked_before(self, client_state, *others, **named)
        elif not is_of_left_page(client_state, _page_shown(self)):
            with _no_second_script(self):
                asked_before(self, client_state, *others, **named)

    setattr(request_rerun, _WRAPPED, True)
    return request_rerun


def is_of_left_page(asked: ClientState, shown: str) -> bool:
    """Whether a timer asks in the name of another page than the one that is shown. shown: its hash; empty when that is not known. Pure."""
    return bool(shown) and asked.page_script_hash != shown


def _page_shown(session: object) -> str:
    return str(getattr(getattr(session, "_client_state", None), "page_script_hash", ""))  # Streamlit tells it nowhere else


@contextmanager
def _no_second_script(session: Any) -> Generator[None]:
    """While the session listens to a script, which it does until it has heard of its end, none is begun beside it. Sessions are asked in one thread."""
    if getattr(session, "_scriptrunner", None) is None:
        yield
        return
    setattr(session, _BEGIN, _begin_nothing)  # of this session alone, before that of its class
    try:
        yield
    finally:
        delattr(session, _BEGIN)


def _begin_nothing(*_: object, **__: object) -> None:
    """What a session does instead of beginning a second script."""
