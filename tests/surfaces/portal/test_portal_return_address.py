"""What is decided at a sign-in, its end, and a change of pages, without a browser."""

import time

import pytest
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime.app_session import AppSession, AppSessionState

from treadle.portal import signed_out
from treadle.portal.left_pages import is_of_left_page, leave_timers_behind
from treadle.portal.return_address import asked_from, kept_in

OURS = ("", "portal.example:8443")


@pytest.mark.parametrize("address", ["/run?run=0a1b2c3d", "/archive?find=a%20b&status=FAILED", "/import"])
def test_a_page_of_ours_is_led_back_to(address):
    assert asked_from(f"https://portal.example:8443{address}", OURS) == address
    assert kept_in(f"other=1; treadle_return={address.replace('%', '%25').replace('&', '%26')}") == address


@pytest.mark.parametrize(
    "referer",
    [
        "",
        "https://evil.example/run?run=1",
        "https://portal.example/run",
        "https://portal.example:8443//evil.example",
        "https://portal.example:8443/",
    ],
)
def test_no_other_page_is_remembered(referer):
    assert asked_from(referer, OURS) is None


@pytest.mark.parametrize(
    "kept",
    [
        "//evil.example",
        "https://evil.example",
        "%2F%2Fevil.example",
        "/%5Cevil.example",
        "%2Frun%0D%0ASet-Cookie%3A%20a=b",
        "/run?" + "x" * 3000,
    ],
)
def test_what_a_browser_says_it_has_kept_leads_nowhere_else(kept):
    assert kept_in(f"treadle_return={kept}") is None


def test_the_end_of_one_sign_in_is_not_the_end_of_another_of_the_same_person():
    ended = {"iss": "https://sign-in", "sub": "olga", "iat": 1, "nonce": "a", "exp": time.time() + 60}
    signed_out.end(ended)
    assert signed_out.has_ended(ended)
    assert not signed_out.has_ended(ended | {"nonce": "b"})


def test_only_a_timer_of_another_page_than_the_one_shown_is_left_behind():
    timer = ClientState(page_script_hash="import", is_auto_rerun=True)
    assert is_of_left_page(timer, "monitor")
    assert not is_of_left_page(timer, "import")
    assert not is_of_left_page(timer, "")
    assert not is_of_left_page(ClientState(page_script_hash="import"), "monitor")


class Session(AppSession):
    """A session of Streamlit's own that shows the page Monitor; notes what it would run instead of running it."""

    request_rerun = getattr(AppSession.request_rerun, "__wrapped__", AppSession.request_rerun)  # as Streamlit has it

    def __init__(self):
        self._state, self._client_state, self._scriptrunner = AppSessionState.APP_NOT_RUNNING, ClientState(page_script_hash="monitor"), None
        self.ran: list[str] = []

    def __del__(self):
        """Nothing was begun that would have to be ended."""

    def has_fragment(self, fragment_id):
        return bool(fragment_id)

    def _create_scriptrunner(self, initial_rerun_data):
        self.ran.append(initial_rerun_data.page_script_hash)


def timer_of(page: str) -> ClientState:
    """What a browser sends when a timer fires on this page."""
    return ClientState(page_script_hash=page, fragment_id="fragment", is_auto_rerun=True)


def test_streamlit_by_itself_still_answers_a_timer_in_the_name_of_the_page_that_was_left():
    """When this fails, `left_pages` is no longer needed."""
    session = Session()
    session.request_rerun(timer_of("import"))
    assert session.ran == ["import"]


def test_a_session_that_leaves_timers_behind_answers_everything_else_as_before():
    class Mended(Session):
        pass

    assert leave_timers_behind(Mended)
    once = Mended.request_rerun
    assert leave_timers_behind(Mended)
    assert Mended.request_rerun is once
    session = Mended()
    session.request_rerun(timer_of("import"))
    assert session.ran == []
    session.request_rerun(timer_of("monitor"))
    session.request_rerun(ClientState(page_script_hash="import"))
    session.request_rerun(None)
    assert session.ran == ["monitor", "import", ""]


def test_a_streamlit_that_names_its_parts_otherwise_is_left_as_it_is():
    class Other:
        pass

    assert not leave_timers_behind(Other)
    assert not hasattr(Other, "request_rerun")
