"""What somebody tries who wants in, wants more, or wants it down: over bare sockets where a client would tidy up."""

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import Request

from tests.surfaces.api.api_streams import Listener
from tests.surfaces.api.conftest import PLENTY, eventually, serving
from tests.surfaces.api.test_api_problems import SECURITY_HEADERS
from treadle.api.config import ApiSettings
from treadle.api.guard import GuardedRoute, needs
from treadle.api.hub import EventHub
from treadle.api.limits import host_name
from treadle.api.metrics import Metrics
from treadle.api.problems import TooManyRequests
from treadle.control import events, runs, tokens
from treadle.control.access import Principal, Role
from treadle.control.run import NewRun
from treadle.control.states import RunStatus

LOCAL = "Host: localhost"


class Bare:
    """A connection that sends what it is told."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self.socket = socket.create_connection((place.hostname, place.port), timeout=10)

    def answer(self, *lines: str, body: bytes = b"") -> tuple[int, dict[str, str], str]:
        self.socket.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body)
        return self.read()

    def read(self) -> tuple[int, dict[str, str], str]:
        got = b""
        while piece := self.socket.recv(65536):
            got += piece
        self.socket.close()
        head, _, body = got.decode().partition("\r\n\r\n")
        status, *headers = head.split("\r\n")
        return int(status.split(" ")[1]), dict(line.lower().split(": ", 1) for line in headers), body


def bearer(service, role: Role = Role.OPERATOR) -> str:
    return f"Authorization: Bearer {service.token(role)}"


def assert_bare_problem(answer: tuple[int, dict[str, str], str], status: int, code: str) -> None:
    assert answer[0] == status, answer
    assert answer[1]["content-type"] == "application/problem+json"
    assert [name for name in SECURITY_HEADERS if name.lower() not in answer[1]] == []
    problem = json.loads(answer[2])
    assert (problem["code"], problem["correlation_id"]) == (code, answer[1]["x-correlation-id"])


@pytest.mark.parametrize(
    "lines",
    [
        ["this is no HTTP"],
        ["GET http://localhost HTTP/1.1", LOCAL],
        ["GET api/me HTTP/1.1", LOCAL],
        ["GET /api/files/\xff.csv HTTP/1.1", LOCAL],
        ["POST /api/runs HTTP/1.1", LOCAL, "Content-Length: 2", "Content-Length: 3"],
        ["POST /api/runs HTTP/1.1", LOCAL, "Content-Length: 4", "Transfer-Encoding: chunked"],
        ["POST /api/runs HTTP/1.1", LOCAL, "Transfer-Encoding : chunked"],
        ["POST /api/runs HTTP/1.1", LOCAL, "Content-Length: -1"],
        ["GET /api/me HTTP/1.1", LOCAL, "X-Folded: a", " b"],
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_as_a_problem(service, lines):
    assert_bare_problem(Bare(service.url).answer(*lines), 400, "malformed")


@pytest.mark.parametrize("twice", ["Authorization: Bearer {}", "Host: evil.test", "Idempotency-Key: b", "Content-Type: application/json"])
def test_a_header_that_counts_must_not_come_twice(service, twice):
    sent = ["GET /api/me HTTP/1.1", LOCAL, bearer(service, Role.VIEWER), "Idempotency-Key: a", "Content-Type: text/plain"]
    assert_bare_problem(Bare(service.url).answer(*sent, twice.format(service.token(Role.ADMIN))), 400, "malformed")


@pytest.mark.parametrize("host", ["localhost:80/evil", "localhost:x", "localhost:80:80", "[::1]x", "[::1", "a@localhost", "localhost?"])
def test_a_host_header_holds_a_name_and_a_port_alone(service, host):
    assert_bare_problem(Bare(service.url).answer("GET /api/health/live HTTP/1.1", f"Host: {host}"), 421, "host_not_allowed")
    assert host_name(host) == ""


def test_a_length_with_thousands_of_zeros_in_front_is_a_length(service):
    zeros, kind = "0" * 5_000, "Content-Type: application/json"
    sent = ["POST /api/runs HTTP/1.1", LOCAL, bearer(service), kind]
    assert_bare_problem(Bare(service.url).answer(*sent, f"Content-Length: {zeros}2", body=b"{}"), 422, "invalid_input")
    assert_bare_problem(Bare(service.url).answer(*sent, f"Content-Length: {zeros}999999999"), 413, "too_large")


def test_the_length_of_a_piece_may_have_such_zeros_too(service):
    name = f"zeros-{uuid4().hex}.csv"
    url = service.operator.post("/api/uploads", json={"file_name": name, "size_bytes": 1}).json()["url"]
    sent = [f"PATCH {url} HTTP/1.1", LOCAL, bearer(service), "Upload-Offset: 0", "Content-Type: application/offset+octet-stream"]
    assert_bare_problem(Bare(service.url).answer(*sent, f"Content-Length: {'0' * 5_000}2", body=b"xy"), 413, "too_large")
    assert Bare(service.url).answer(*sent, f"Content-Length: {'0' * 5_000}1", body=b"x")[0] == 204


def test_a_header_without_end_is_cut_off_long_before_it_fills_the_memory(service):
    bare = Bare(service.url)
    bare.socket.sendall(b"GET /api/me HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
    with pytest.raises(ConnectionError):
        bare.socket.sendall(b"x" * (64 * 1024 * 1024))
    bare.socket.close()
    assert service.viewer.get("/api/me").status_code == 200


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"GET /api/me HTTP/1.1\r\nHost: loc"])
def test_a_connection_that_brings_no_whole_request_is_let_go(service, begun):
    with serving(service.wiring, service.environment, replace(PLENTY, stall_seconds=0.3)) as other:
        bare = Bare(other.url)
        bare.socket.sendall(begun)
        assert_bare_problem(bare.read(), 408, "timed_out")


def test_a_connection_that_goes_silent_between_two_requests_is_let_go(service):
    with serving(service.wiring, service.environment, replace(PLENTY, stall_seconds=0.3)) as other:
        bare = Bare(other.url)
        bare.socket.sendall(b"GET /api/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert bare.socket.recv(65536).startswith(b"HTTP/1.1 200")
        bare.socket.sendall(b"\r\nGET /api/hea")
        assert_bare_problem(bare.read(), 408, "timed_out")


def test_an_answer_that_takes_longer_than_a_head_may_is_not_cut_off(service, active_run):
    with serving(service.wiring, service.environment, replace(PLENTY, stall_seconds=0.3, ping_seconds=1)) as other:
        listener = Listener(other.url, f"/api/runs/{active_run}/events", service.token(Role.VIEWER))
        heard = listener.events()
        next(heard)
        polls = other.app.state.treadle.metrics.polls._value
        began = polls.get()
        eventually(lambda: polls.get() >= began + 10, what="ten looks, a second or more")
        say(service, active_run, "still here")
        assert "still here" in next(heard).data
        listener.close()


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00%2B23:59", "9999-12-31T23:59:59-23:59"])
@pytest.mark.parametrize("side", ["since", "until"])
def test_a_moment_beyond_all_calendars_is_refused(service, side, moment):
    answer = service.viewer.get(f"/api/runs?{side}={moment}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


@pytest.mark.parametrize("columns", ['{"\\ud800": "revenue"}', '{"Sales": "\\ud800"}', '{"Sales": ""}'])
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "half-a-character"}])
def test_a_column_whose_name_nothing_can_store_is_refused(service, put_file, columns, headers):
    content = f'{{"input_file": "{put_file()}", "columns": {columns}}}'
    answer = service.operator.post("/api/runs", content=content, headers={"Content-Type": "application/json", **headers})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


def test_a_lake_that_fails_at_the_first_byte_is_told_as_a_problem(service, finished_run):
    url = f"/api/runs/{finished_run()}/artifacts/kpis.json"
    service.environment.cloud.faults.script("onelake.Path.Read", "status", status=403, code="AuthorizationFailure")
    answer = service.viewer.get(url)
    assert service.environment.cloud.faults.unused() == []
    service.environment.cloud.faults.clear()
    assert (answer.status_code, answer.json()["code"]) == (502, "upstream_refused")
    assert service.viewer.get(url).status_code == 200


def test_sixty_callers_who_wait_for_another_system_hold_up_nobody_else(service):
    go_on, waits = threading.Event(), SimpleQueue[None]()

    def wait(_: Request) -> None:
        waits.put(None)
        go_on.wait(30)

    with serving(service.wiring, service.environment) as other, ThreadPoolExecutor(60) as callers:
        other.app.router.routes.append(GuardedRoute("/api/waits", wait, openapi_extra=needs("public")))
        for _ in range(60):
            callers.submit(httpx2.get, f"{other.url}/api/waits", timeout=40, trust_env=False)
        eventually(lambda: waits.qsize() == 60, what="the callers")
        answer = other.viewer.get("/api/runs?limit=1")
        go_on.set()
    assert answer.status_code == 200


def test_who_has_a_file_looked_into_is_in_the_audit(service, put_file):
    name = put_file()
    job = service.viewer.post(f"/api/files/{name}/profile").json()["job_id"]
    found = service.admin.get("/api/audit", params={"action": "file.profile", "target": f"file:{name}"}).json()["entries"]
    assert [(entry["outcome"], entry["details"].get("job_id")) for entry in found] == [("done", job), ("asked", None)]


@pytest.fixture
def active_run(service):
    """A run that nobody drives."""
    new = NewRun(uuid4(), "ada", "orders.csv", "workspace", "pipeline")
    run_id = runs.start_run(service.wiring.database, new, "ada started a run.").run_id
    yield run_id
    runs.finish_run(service.wiring.database, run_id, RunStatus.FAILED, error_message="the test has ended")


def say(service, run_id: UUID, text: str) -> None:
    events.append_event(service.wiring.database, run_id, events.log(text))


def test_a_listener_whose_token_is_revoked_hears_nothing_more(service, active_run):
    secret = service.token(Role.VIEWER)
    listener = Listener(service.url, f"/api/runs/{active_run}/events", secret)
    heard = listener.events()
    assert next(heard).id == "1"
    service.admin.delete(f"/api/tokens/{secret.split('_')[1]}").raise_for_status()
    say(service, active_run, "not for those who were sent away")
    assert list(heard) == [], "neither the event nor `done`"
    listener.close()


def test_a_revocation_elsewhere_ends_a_silent_stream_within_seconds(service, active_run):
    secret = service.token(Role.VIEWER)
    listener = Listener(service.url, f"/api/runs/{active_run}/events", secret)
    heard = listener.events()
    next(heard)
    with service.wiring.own.transaction() as connection:  # as another server would: nothing in this process is told
        connection.execute("UPDATE treadle.tokens SET revoked_at = clock_timestamp() WHERE token_id = %s", [secret.split("_")[1]])
    began = time.monotonic()
    assert list(heard) == []
    assert time.monotonic() - began < 2 * tokens.REMEMBERED_SECONDS + 2
    listener.close()


async def welcome() -> bool:
    return True


def hub_of(service, settings: ApiSettings = PLENTY) -> EventHub:
    return EventHub(service.wiring.database, service.wiring.own, settings, Metrics())


ADA = Principal("token:0123456789ab", "ada", Role.VIEWER, "token")


def test_streams_that_are_asked_for_all_at_once_are_counted(service, active_run):
    async def ask() -> list[object]:
        hub = hub_of(service, replace(PLENTY, streams_per_principal=2))
        hub.open()
        asked = [hub.stream(("run", active_run), None, ADA, welcome) for _ in range(20)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        hub.close()
        return found

    assert sum(isinstance(answer, TooManyRequests) for answer in asyncio.run(ask())) == 18


def test_a_listener_that_comes_while_the_last_one_leaves_hears_what_happens(service, active_run):
    async def listen() -> bytes:
        hub = hub_of(service)
        hub.open()
        first = await hub.stream(("run", active_run), None, ADA, welcome)
        async with aclosing(first.body_iterator) as leaving:
            await anext(leaving)
            second = await hub.stream(("run", active_run), "1", ADA, welcome)
        async with aclosing(second.body_iterator) as heard:
            await anext(heard)
            await asyncio.to_thread(say, service, active_run, "after the change of guard")
            told = await asyncio.wait_for(anext(heard), 10)
        hub.close()
        return told.encode()

    assert b"after the change of guard" in asyncio.run(listen())


def test_a_thousand_requests_that_are_cut_off_leave_nothing_behind(service, active_run):
    """Also not the turn of an upload, a listener or a connection."""
    with serving(service.wiring, service.environment) as other:
        token = service.token(Role.OPERATOR)
        lines = [
            f"GET /api/runs/{active_run}/events/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n",
            f"POST /api/runs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n\r\n{{",
            f"GET /api/runs?limit=500 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n",
            "GET /api/runs HTTP/1.1\r\nHo",
        ]
        place = urlsplit(other.url)
        before = connections_to(place.port)
        for number in range(1_000):
            with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
                connection.sendall(lines[number % len(lines)].encode())
            if number % 100 == 99:  # no more at once than a process may have files
                eventually(lambda: connections_to(place.port) <= before + 100, what="the end of most connections")
        eventually(lambda: "treadle_event_listeners 0.0" in other.viewer.get("/metrics").text, what="the end of the last listener")
        eventually(lambda: other.app.state.treadle.hub._topics == {}, what="an empty list of topics")
        eventually(lambda: connections_to(place.port) <= before + 2, what="the end of the connections")


def connections_to(port: int) -> int:
    """How many connections of this port the kernel knows as open, on the server's side."""
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[1].endswith(f":{port:04X}") and line.split()[3] in {"01", "08"} for line in lines)


def test_no_client_of_ours_is_told_to_wait_for_a_body_that_nobody_reads(service):
    """A refusal comes before the body: 401 for a gigabyte that was only announced."""
    with httpx2.Client(base_url=service.url, timeout=5, trust_env=False) as client:
        answer = client.patch(
            f"/api/uploads/{uuid4()}", content=b"x", headers={"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
        )
    assert answer.status_code == 401
