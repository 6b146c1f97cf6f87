"""Which timers a session leaves unanswered, and that Streamlit by itself answers them, which is why."""

import pytest
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime.app_session import AppSession, AppSessionState
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests

from treadle.portal.unanswered_timers import is_of_left_page, leave_timers_unanswered


class Runner:
    """A script, as far as a session asks it for something."""

    def __init__(self):
        self._requests = ScriptRequests()

    def request_rerun(self, rerun_data: RerunData) -> bool:
        return self._requests.request_rerun(rerun_data)

    def end(self) -> None:
        """The script has ended; its session has not heard of it yet."""
        self._requests.on_scriptrunner_ready()


class Session(AppSession):
    """A session of Streamlit's own that shows the page Monitor; notes what it would run instead of running it."""

    request_rerun = getattr(AppSession.request_rerun, "__wrapped__", AppSession.request_rerun)  # as Streamlit has it

    def __init__(self, runner: Runner | None = None):
        self._state, self._client_state, self._scriptrunner = (
            AppSessionState.APP_NOT_RUNNING,
            ClientState(page_script_hash="monitor"),
            runner,
        )
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


def mended(runner: Runner | None = None) -> Session:
    """A session of ours."""

    class Mended(Session):
        pass

    assert leave_timers_unanswered(Mended)
    return Mended(runner)


def test_a_timer_belongs_to_the_page_that_it_names_and_to_any_while_none_is_known():
    assert is_of_left_page(timer_of("import"), "monitor")
    assert not is_of_left_page(timer_of("monitor"), "monitor")
    assert not is_of_left_page(timer_of("import"), "")


def test_streamlit_by_itself_still_answers_a_timer_in_the_name_of_the_page_that_was_left():
    """When this fails, half of `unanswered_timers` is no longer needed."""
    session = Session()
    session.request_rerun(timer_of("import"))
    assert session.ran == ["import"]


def test_streamlit_by_itself_still_begins_a_script_before_it_has_heard_the_end_of_the_last_one():
    """When this fails, the other half of `unanswered_timers` is no longer needed."""
    runner = Runner()
    session = Session(runner)
    runner.end()
    session.request_rerun(timer_of("monitor"))
    assert session.ran == ["monitor"]


def test_a_timer_between_two_scripts_waits_for_the_next_one():
    runner = Runner()
    session = mended(runner)
    session.request_rerun(timer_of("monitor"))
    assert runner._requests._rerun_data.fragment_id_queue == ["fragment"]  # a script that goes on takes it
    runner.end()  # with the fragment to do
    runner.end()
    session.request_rerun(timer_of("monitor"))
    assert session.ran == []
    session._scriptrunner = None  # heard
    session.request_rerun(timer_of("monitor"))
    assert session.ran == ["monitor"]


def test_a_script_that_ends_just_as_a_timer_is_handed_to_it_is_not_forgotten_for_a_new_one():
    class Ending(Runner):
        """Its thread goes on between any two steps of the session."""

        def request_rerun(self, rerun_data: RerunData) -> bool:
            self.end()
            return super().request_rerun(rerun_data)

    runner = Ending()
    session = mended(runner)
    session.request_rerun(timer_of("monitor"))
    assert (session.ran, session._scriptrunner) == ([], runner)
    session.request_rerun(ClientState(page_script_hash="monitor", fragment_id="fragment"))  # a person's click is answered all the same
    assert session.ran == ["monitor"]


def test_what_a_person_asks_for_is_answered_between_two_scripts_as_well():
    runner = Runner()
    session = mended(runner)
    runner.end()
    session.request_rerun(ClientState(page_script_hash="monitor", fragment_id="fragment"))
    assert session.ran == ["monitor"]


def test_a_session_that_leaves_timers_unanswered_answers_everything_else_as_before():
    session = mended()
    once = type(session).request_rerun
    assert leave_timers_unanswered(type(session))
    assert type(session).request_rerun is once
    session.request_rerun(timer_of("import"))
    assert session.ran == []
    session.request_rerun(timer_of("monitor"))
    session.request_rerun(ClientState(page_script_hash="import"))
    session.request_rerun(None)
    assert session.ran == ["monitor", "import", ""]


@pytest.mark.parametrize("session", [type("Other", (), {})])
def test_a_streamlit_that_names_its_parts_otherwise_is_left_as_it_is(session):
    assert not leave_timers_unanswered(session)
    assert not hasattr(session, "request_rerun")
