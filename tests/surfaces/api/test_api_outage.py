"""The database goes away and comes back: everybody is told in time, and nobody has to start anew."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.surfaces.api.api_streams import Listener
from tests.surfaces.api.conftest import eventually, serving
from tests.surfaces.api.test_api_problems import assert_problem
from treadle.control import events, runs
from treadle.control.database import Database
from treadle.control.run import NewRun
from treadle.control.states import RunStatus


class Way:
    """The way to the database. Shut, it takes connections and lets nothing through, as a server does that hangs."""

    def __init__(self, host: str, port: int) -> None:
        self._there, self._open = (host, port), True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        self._open = False
        self._cut()

    def open(self) -> None:
        self._open = True
        self._cut()

    def close(self) -> None:
        self._listener.close()
        self._cut()

    def _cut(self) -> None:
        while self._sockets:
            with contextlib.suppress(OSError):
                self._sockets.pop().shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._sockets.append(near)
                if self._open:
                    far = _connected(*self._there)
                    self._sockets.append(far)
                    for ends in ((near, far), (far, near)):
                        threading.Thread(target=_carry, args=ends, daemon=True).start()


def _connected(host: str, port: int) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    far = socket.socket(socket.AF_UNIX)
    far.connect(f"{host}/.s.PGSQL.{port}")
    return far


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def way(service) -> Iterator[Way]:
    place = service.wiring.settings.conninfo
    made = Way(place["host"], int(place["port"]))
    yield made
    made.close()


@pytest.fixture
def other(service, way):
    """A service whose databases are behind the way."""
    settings = service.wiring.settings
    with (
        Database({**settings.conninfo, "port": way.port, "host": "127.0.0.1"}, wait_seconds=2) as database,
        Database({**settings.own_conninfo, "port": way.port, "host": "127.0.0.1"}, wait_seconds=2) as own,
        serving(service.wiring, service.environment, database=database, own=own) as made,
    ):
        yield made


def test_everybody_is_told_in_time_and_served_again_when_it_is_back(service, way, other):
    assert other.nobody.get("/api/health/ready").status_code == 200
    assert other.viewer.get("/api/runs").status_code == 200
    way.shut()
    began = time.monotonic()
    not_ready = other.nobody.get("/api/health/ready")
    assert time.monotonic() - began < 3.5
    assert_problem(not_ready, 503, "unavailable")
    assert not_ready.json()["checks"].keys() == {"database", "own_tables"}
    assert "ok" not in not_ready.json()["checks"].values()
    assert other.nobody.get("/api/health/live").status_code == 200
    began = time.monotonic()
    refused = other.viewer.get("/api/runs")
    assert time.monotonic() - began < 12, "2 s of waiting, and one connection that is tried at the end"
    assert_problem(refused, 503, "unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    assert "127.0.0.1" not in refused.text
    assert "PG_" not in refused.text
    way.open()
    eventually(lambda: other.nobody.get("/api/health/ready").status_code == 200, seconds=30, what="being ready again")
    eventually(lambda: other.viewer.get("/api/runs").status_code == 200, seconds=30, what="being served again")


def test_a_stream_goes_on_when_the_database_is_back(service, way, other):
    run_id = runs.start_run(
        service.wiring.database, NewRun(uuid4(), "ada", "orders.csv", "workspace", "pipeline"), "ada started a run."
    ).run_id
    token = service.token()
    heard = Listener(other.url, f"/api/runs/{run_id}/events", token).events()
    assert next(heard).id == "1"
    way.shut()
    late = Listener(other.url, f"/api/jobs/{uuid4()}/events", token)
    assert late.status == 503
    late.close()
    events.append_event(service.wiring.database, run_id, events.log("meanwhile"))
    way.open()
    assert next(heard).id == "2"
    runs.finish_run(service.wiring.database, run_id, RunStatus.FAILED, error_message="the test has ended")
    assert [event.name for event in heard][-1] == "done"
