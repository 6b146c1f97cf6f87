"""Event streams: each event once and in order, whoever is slow or gone; and one look for everybody who listens."""

import json
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.surfaces.api.api_streams import Listener
from tests.surfaces.api.conftest import PLENTY, eventually, serving, working
from treadle.api.hub import read_last_event_id
from treadle.control import events, runs
from treadle.control.access import Role
from treadle.control.jobs.job import NewJob
from treadle.control.jobs.queue import enqueue, request_cancel
from treadle.control.run import NewRun
from treadle.control.states import RunStatus
from treadle.errors import InvalidInput


@pytest.fixture
def token(service) -> str:
    return service.token(Role.VIEWER)


@pytest.fixture
def active_run(service) -> UUID:
    """A run that nobody drives, so that the test alone decides what happens to it."""
    new = NewRun(uuid4(), "ada", "orders.csv", "workspace", "pipeline")
    return runs.start_run(service.wiring.database, new, "ada started a run.").run_id


def say(service, run_id: UUID, *texts: str) -> None:
    for text in texts:
        events.append_event(service.wiring.database, run_id, events.log(text))


def end(service, run_id: UUID) -> None:
    runs.finish_run(service.wiring.database, run_id, RunStatus.FAILED, error_message="the test has ended")


def follow(service, run_id: UUID, token: str, **options) -> Listener:
    return Listener(service.url, f"/api/runs/{run_id}/events", token, **options)


def test_a_run_is_followed_from_its_start_to_done(service, put_file, token):
    run_id = service.operator.post("/api/runs", json={"input_file": put_file()}).json()["run_id"]
    with working(service.wiring):
        listener = follow(service, run_id, token)
        assert (listener.status, listener.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        heard = list(listener.events())
    assert [event.id for event in heard[:-1]] == [str(number) for number in range(1, len(heard))]
    assert (heard[-1].name, json.loads(heard[-1].data)) == ("done", {"run_id": run_id, "status": "SUCCEEDED"})
    listed = service.viewer.get(f"/api/runs/{run_id}/events").json()["events"]
    assert [json.loads(event.data)["message"] for event in heard[:-1]] == [event["message"] for event in listed]
    assert service.viewer.get(f"/api/runs/{run_id}/events", params={"after": 2}).json()["events"][0]["seq"] == 3


def test_a_listener_that_comes_back_gets_each_event_once_and_in_order(service, active_run, token):
    heard: list[str] = []
    say(service, active_run, *(f"event {number}" for number in range(20)))
    while True:
        listener = follow(service, active_run, token, last_event_id=heard[-1] if heard else None)
        for number, event in enumerate(listener.events()):
            if event.name == "done":
                assert heard == [str(number) for number in range(1, len(heard) + 1)]
                assert len(heard) == 23  # the start, 21 that were said, the end
                return
            heard.append(event.id)
            if number == 3:
                break
        listener.close()
        if len(heard) == 20:
            say(service, active_run, "one more")
            end(service, active_run)


def test_events_that_are_committed_late_come_late_and_are_not_lost(service, active_run, token):
    """Two transactions: the one that began first, with the earlier time, is committed last."""
    listener = follow(service, active_run, token)
    heard = listener.events()
    assert next(heard).id == "1"
    with psycopg.connect(**service.wiring.settings.conninfo) as slow:
        slow.execute(
            "INSERT INTO run_events (id, run_id, event_time, event_type, message) VALUES (%s, %s, clock_timestamp() AT TIME ZONE 'UTC', 'LOG', 'early')",
            (uuid4(), active_run),
        )
        say(service, active_run, "late")
        assert json.loads(next(heard).data)["message"] == "late"
    assert json.loads(next(heard).data) | {"event_time": ""} == {"seq": 3, "event_time": "", "event_type": "LOG", "message": "early"}
    end(service, active_run)
    assert [event.name for event in heard][-1] == "done"


def test_two_servers_give_an_event_the_same_number(service, active_run, token):
    with serving(service.wiring, service.environment) as other:
        both = [follow(place, active_run, token) for place in (service, other)]
        say(service, active_run, *(f"event {number}" for number in range(10)))
        end(service, active_run)
        one, two = ([(event.id, event.data) for event in listener.events()] for listener in both)
    assert one == two


def test_an_event_reaches_its_listener_in_time(service, active_run, token):
    heard = follow(service, active_run, token).events()
    next(heard)
    waits = []
    for number in range(15):
        say(service, active_run, f"event {number}")
        committed = time.perf_counter()
        next(heard)
        waits.append(time.perf_counter() - committed)
    end(service, active_run)
    assert statistics.median(waits) <= 0.3


def test_200_listeners_on_one_run_make_no_query_each(service, active_run, token):
    """Transactions are counted by the server: as many with 200 listeners as with one."""
    with serving(service.wiring, service.environment, replace(PLENTY, streams_per_principal=300, poll_seconds=0.1)) as other:
        first = follow(other, active_run, token)
        alone = _transactions_per_look(service, other)
        with ThreadPoolExecutor(20) as pool:
            listeners = list(pool.map(lambda _: follow(other, active_run, token), range(199)))
        assert {listener.status for listener in listeners} == {200}
        eventually(lambda: "treadle_event_listeners 200.0" in other.viewer.get("/metrics").text)
        assert _transactions_per_look(service, other) <= alone * 1.5
        say(service, active_run, "to everybody")
        end(service, active_run)
        with ThreadPoolExecutor(50) as pool:
            ids = set(pool.map(lambda listener: tuple(event.id for event in listener.events()), [first, *listeners]))
    assert len(ids) == 1, "everybody heard the same"


def _transactions_per_look(service, other) -> float:
    """Over twenty looks; the counter of the server lags, so each end of the stretch waits until it has settled."""
    hub = other.app.state.treadle.metrics.polls._value
    with psycopg.connect(service.environment.postgres.admin_dsn, autocommit=True) as connection:

        def transactions() -> int:
            connection.execute("SELECT pg_stat_force_next_flush()")
            return connection.execute(
                "SELECT pg_stat_get_db_xact_commit(oid) FROM pg_database WHERE datname = %s", (service.wiring.settings.pg_database,)
            ).fetchone()[0]

        began, seen = hub.get(), transactions()
        eventually(lambda: hub.get() >= began + 40)
        return (transactions() - seen) / (hub.get() - began)


def test_a_listener_that_takes_nothing_is_let_go_and_others_hear_on(service, active_run, token):
    with serving(service.wiring, service.environment, replace(PLENTY, stall_seconds=0.5)) as other, ThreadPoolExecutor(1) as reading:
        slow = follow(other, active_run, token, receive_buffer=4096)
        quick = reading.submit(lambda: list(follow(other, active_run, token).events()))
        say_at_once(service, active_run, ["x" * 7_900] * 1_500)
        eventually(lambda: "treadle_event_listeners 1.0" in other.viewer.get("/metrics").text, what="letting the slow listener go")
        end(service, active_run)
        heard = quick.result(timeout=60)
        assert ([event.id for event in heard[:1_501]], heard[-1].name) == ([str(number) for number in range(1, 1_502)], "done")
        slow.close()


def say_at_once(service, run_id: UUID, texts: list[str]) -> None:
    with service.wiring.database.transaction() as connection:
        events.insert_events(connection, run_id, [events.log(text) for text in texts])


def test_a_listener_that_vanishes_is_forgotten_and_nobody_looks_for_it_any_more(service, active_run, token):
    with serving(service.wiring, service.environment) as other:
        listeners = [follow(other, active_run, token) for _ in range(5)]
        for listener in listeners:
            next(listener.events())
            listener.close()
        eventually(lambda: "treadle_event_listeners 0.0" in other.viewer.get("/metrics").text)
        eventually(lambda: other.app.state.treadle.hub._topics == {}, what="an empty list of topics")
    end(service, active_run)


def test_a_caller_has_only_so_many_streams(service, active_run, token):
    with serving(service.wiring, service.environment, replace(PLENTY, streams_per_principal=2)) as other:
        listeners = [follow(other, active_run, token) for _ in range(2)]
        for listener in listeners:
            next(listener.events())
        refused = follow(other, active_run, token)
        assert (refused.status, int(refused.headers["retry-after"])) == (429, 5)
        listeners[0].close()
        eventually(lambda: follow(other, active_run, token).status == 200)
    end(service, active_run)


def test_a_server_that_stops_lets_its_listeners_go(service, active_run, token):
    with serving(service.wiring, service.environment) as other:
        heard = follow(other, active_run, token).events()
        next(heard)
        stopped = threading.Event()
        began = time.perf_counter()
    stopped.set()
    assert list(heard) == [], "no `done`: the run has not ended, and the listener comes back"
    assert time.perf_counter() - began < 8
    end(service, active_run)


def test_a_job_is_followed_to_done_and_again_after_it_was_asked_for_again(service, token):
    own = service.wiring.own
    job = enqueue(own, NewJob("nobody-does-this", {}, "ada"))
    heard = Listener(service.url, f"/api/jobs/{job.job_id}/events", token).events()
    assert next(heard).id == "1"
    request_cancel(own, job.job_id, "ada")
    rest = list(heard)
    assert ([event.name for event in rest], json.loads(rest[-1].data)["state"]) == (["progress", "done"], "CANCELLED")
    assert service.operator.post(f"/api/jobs/{job.job_id}/retry").json()["state"] == "QUEUED"
    again = Listener(service.url, f"/api/jobs/{job.job_id}/events/stream", token, last_event_id="2").events()
    assert next(again).id == "3"
    assert service.operator.post(f"/api/jobs/{job.job_id}/cancel").json()["state"] == "CANCELLED"
    assert [event.name for event in again] == ["progress", "done"]
    assert [event["seq"] for event in service.viewer.get(f"/api/jobs/{job.job_id}/events").json()["events"]] == [1, 2, 3, 4]
    assert service.viewer.get(f"/api/jobs/{job.job_id}").json()["steps"] == []


def test_a_stream_of_a_run_that_is_over_goes_on_behind_the_number_that_was_seen(service, active_run, token):
    end(service, active_run)
    assert next(follow(service, active_run, token, last_event_id="1").events()).id == "2"
    assert [event.name for event in follow(service, active_run, token, last_event_id="2").events()] == ["done"]
    assert [event.name for event in follow(service, active_run, token, last_event_id="999").events()] == ["done"]


@pytest.mark.parametrize("text", ["-1", "1.5", "abc", "١", "9" * 30])
def test_a_number_that_was_never_given_out_is_refused(text):
    with pytest.raises(InvalidInput):
        read_last_event_id(text)
