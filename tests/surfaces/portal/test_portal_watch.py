"""What goes on, looked at once for all sessions; and how often pages ask."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

import pytest
import streamlit as st

from tests.surfaces.portal.conftest import texts
from treadle.control import events, runs
from treadle.control.access import Role, local_principal
from treadle.control.database import Database
from treadle.control.states import RunStatus
from treadle.errors import NotFound, PermissionDenied, Unavailable
from treadle.portal.shared import open_portal, portal
from treadle.portal.watch import Watch

VIC = local_principal("vic", Role.VIEWER)
SESSIONS = 20


class CountingDatabase(Database):
    """The database, and how often it was asked."""

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self.asked = 0

    def read(self, *values: Any, **named: Any) -> Any:
        self.asked += 1
        return super().read(*values, **named)


@dataclass
class Clock:
    """The process's clock, moved by hand."""

    seconds: float = 100.0
    read: Event = field(default_factory=Event)

    def __call__(self) -> float:
        now = self.seconds
        self.read.set()
        return now


@dataclass
class Watching:
    database: CountingDatabase
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.watch = Watch(self.database, clock=self.clock)

    def all_sessions(self, ask: Callable[[], Any]) -> tuple[list[Any], int]:
        """What every session is told when all of them ask at once, and how often the database was asked for it."""
        before = self.database.asked
        with ThreadPoolExecutor(SESSIONS) as sessions:
            told = [one.result() for one in [sessions.submit(ask) for _ in range(SESSIONS)]]
        return told, self.database.asked - before


@pytest.fixture
def watching(service) -> Iterator[Watching]:
    with CountingDatabase(service.wiring.settings.conninfo) as database:
        yield Watching(database)


@pytest.fixture
def run_id(service, put_file):
    """A run that goes on, for no worker drives it."""
    service.operator.post("/api/runs", json={"input_file": put_file()})
    [run] = runs.active_runs(service.wiring.database)
    return run.run_id


def test_many_sessions_cost_as_much_as_one(watching, run_id):
    (told, asked), (seen, read) = (
        watching.all_sessions(lambda: watching.watch.lock(VIC)),
        watching.all_sessions(lambda: watching.watch.follow(VIC, run_id)),
    )
    assert ({one.state.run_id for one in told}, asked) == ({run_id}, 1)
    assert ({one.run.run_id for one in seen}, read) == ({run_id}, 2), "the run and its trail, once"
    watching.clock.seconds += 2
    (again, read) = watching.all_sessions(lambda: watching.watch.follow(VIC, run_id))
    assert ({one.sequence for one in again}, read) == ({seen[0].sequence}, 1), "nothing is new: one look for events, and nothing else"


def test_the_sequence_moves_with_each_event_and_only_then_is_the_run_read(watching, run_id, service):
    before = watching.watch.follow(VIC, run_id)
    events.append_event(service.wiring.database, run_id, events.log("Half of it is done."))
    assert watching.watch.follow(VIC, run_id) is before, "it is fresh enough"
    watching.clock.seconds += 2
    after, asked = watching.watch.follow(VIC, run_id), watching.database.asked
    assert (after.sequence, after.trail[-1].message) == (before.sequence + 1, "Half of it is done.")
    assert [event.id for event in after.trail[:-1]] == [event.id for event in before.trail]
    watching.clock.seconds += 2
    assert watching.watch.follow(VIC, run_id) is after
    assert watching.database.asked == asked + 1


def test_the_end_of_a_run_is_seen_with_all_that_it_said(watching, run_id, service):
    before = watching.watch.follow(VIC, run_id)
    runs.finish_run(service.wiring.database, run_id, RunStatus.FAILED, error_message="It was too much.")
    watching.clock.seconds += 2
    after = watching.watch.follow(VIC, run_id)
    assert after.run.status is RunStatus.FAILED
    assert after.sequence > before.sequence
    assert "It was too much." in (after.trail[-1].message or "")


def test_a_row_that_somebody_changed_by_hand_is_seen_too(watching, run_id, service):
    before = watching.watch.follow(VIC, run_id)
    with service.wiring.database.transaction() as connection:
        connection.execute("UPDATE pipeline_runs SET status = 'RUNNING' WHERE run_id = %s", (run_id,))
    watching.clock.seconds += 20
    after = watching.watch.follow(VIC, run_id)
    assert (after.run.status, after.sequence > before.sequence) == (RunStatus.RUNNING, True)


def test_who_has_just_done_something_is_not_told_what_was_before(watching, run_id, service):
    assert watching.watch.lock(VIC).state.run_id == run_id
    runs.finish_run(service.wiring.database, run_id, RunStatus.FAILED, error_message="Over.")
    assert watching.watch.lock(VIC).state.run_id == run_id
    watching.clock.seconds += 0.001
    assert watching.watch.lock(VIC, fresh_seconds=0).state.run_id is None


def test_rights_are_decided_for_each_who_asks(watching, run_id):
    nobody = replace(VIC, role=None)
    watching.watch.follow(VIC, run_id)
    watching.watch.lock(VIC)
    for ask in (lambda: watching.watch.lock(nobody), lambda: watching.watch.follow(nobody, run_id)):
        with pytest.raises(PermissionDenied):
            ask()


@pytest.mark.parametrize("what", ["lock", "follow"])
def test_who_waits_for_a_look_that_fails_does_not_wait_for_one_more(watching, run_id, what):
    watching.watch.follow(VIC, run_id)
    clock, waiting = watching.clock, []

    def told() -> str:
        with pytest.raises(Unavailable) as refused:
            watching.watch.lock(VIC, fresh_seconds=0) if what == "lock" else watching.watch.follow(VIC, run_id, fresh_seconds=0)
        return refused.value.message

    def away(*_: Any, **__: Any) -> Any:
        watching.database.asked += 1
        clock.seconds += 1
        clock.read.clear()
        waiting.append(sessions.submit(told))
        clock.read.wait()  # it has asked, after this look began
        clock.seconds += 5
        raise Unavailable("The database does not answer.")

    clock.seconds += 1
    watching.database.read, before = away, watching.database.asked
    with ThreadPoolExecutor() as sessions:
        first = told()
        assert [first] == [other.result() for other in waiting]
    assert watching.database.asked == before + 1


def test_a_database_that_is_away_is_asked_once_for_all_and_a_run_that_is_not_there_is_said_to_nobody_else(watching, run_id):
    watching.watch.follow(VIC, run_id)
    with pytest.raises(NotFound):
        watching.watch.follow(VIC, type(run_id)(int=7))
    assert watching.watch.follow(VIC, run_id).run.run_id == run_id
    with CountingDatabase("host=127.0.0.1 port=1 dbname=none user=nobody", wait_seconds=0.1) as away:
        watch = Watch(away, clock=watching.clock)
        for _ in range(SESSIONS):
            with pytest.raises(Unavailable):
                watch.lock(VIC)
        assert away.asked == 1


@pytest.fixture
def intervals(monkeypatch) -> dict[str, Any]:
    """Key of each fragment that a page has drawn → how often it runs by the clock."""
    found: dict[str, Any] = {}
    fragment = st.fragment

    def noting(function: Any = None, **named: Any) -> Any:
        found[str(named.get("key"))] = named.get("run_every")
        return fragment(function, **named)

    monkeypatch.setattr(st, "fragment", noting)
    return found


@pytest.mark.parametrize("page", ["monitor", "archive", "results", "run", "compare"])
def test_when_nothing_is_active_no_page_runs_by_the_clock(open_page, intervals, page):
    at = open_page(page)
    assert not at.exception
    assert {key: every for key, every in intervals.items() if every} == {}
    assert "Lock free at" in texts(at), "when the lock was free"


def test_an_idle_monitor_says_since_when_it_does_not_look_and_looks_when_asked(open_page, service, put_file):
    at = open_page("monitor")
    run_id = service.operator.post("/api/runs", json={"input_file": put_file()}).json()["run_id"]
    at.button(key="refresh").click().run()
    assert run_id in texts(at)
    assert not [button for button in at.button if button.key == "refresh"]


def test_while_a_run_is_active_only_what_lives_runs_by_the_clock(open_page, intervals, run_id):
    at = open_page("monitor")
    assert not at.exception
    assert {key: every for key, every in intervals.items() if every} == {"lock-pill": 10.0, "run-head": 2.0, "run-stages": 10.0}


def test_an_open_question_is_not_disturbed_by_news_but_by_the_end(open_page, run_id, service):
    at = open_page("monitor", role=Role.OPERATOR)
    at.button(key="cancel").click().run()
    events.append_event(service.wiring.database, run_id, events.log("More of it is done."))
    at.run()
    assert at.button(key="cancel-really")
    runs.finish_run(service.wiring.database, run_id, RunStatus.FAILED, error_message="Over.")
    at.run()
    assert "The run failed" in texts(at)
    assert not [button for button in at.button if button.key == "cancel-really"]


def test_fabrics_own_page_of_the_run_is_linked_where_there_is_one(open_page, run_id, service):
    at = open_page("monitor", run=str(run_id))
    assert [link.proto.url for link in at.get("link_button")] == [], "a sandbox has none"
    open_portal(replace(portal(), fabric_portal_url="https://app.fabric.microsoft.com"))
    run = runs.get_run(service.wiring.database, run_id)
    job = f"workspaces/{run.workspace_id}/pipelines/{run.pipeline_item_id}/{run.fabric_job_id}"
    linked = [link.proto.url for link in at.run().get("link_button")]
    assert linked == [f"https://app.fabric.microsoft.com/workloads/data-pipeline/monitoring/{job}"]
