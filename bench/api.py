"""The API in one process: pages and runs out of a million, events to a listener, and a large upload in constant memory.

Sandbox and database run in the measuring process, the server is a process of its own, as in production. `python -m bench.api` prints the table.
The baseline is served by `python -m bench.api_baseline`: a route that answers a constant, and pages by OFFSET.
"""

import contextlib
import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg

from bench.control_plane import RUNS, _fill
from bench.table import Row, markdown
from treadle.cli.local import LocalEnvironment, local_environment
from treadle.control import events, runs, tokens
from treadle.control.access import Role
from treadle.control.cursor import encode_cursor
from treadle.control.database import Database
from treadle.control.migrate import migrate
from treadle.control.runs import NewRun
from treadle.control.states import RunStatus
from treadle.logs import configure_logs

SECTION = "HTTP API (one server process, 1,000,000 runs, sandbox and database on the same machine)"
CONNECTIONS = 4
SECONDS = 3.0
ROUNDS = 3
HEARD_EVENTS = 60
MIB = 1024**2
UPLOAD_MIB, LARGE_UPLOAD_MIB = 256, 1024


@dataclass(frozen=True)
class Place:
    """A server and how to ask it."""

    url: str
    token: str
    process: subprocess.Popen[str]


def run(run_count: int = RUNS, *, large: bool = False) -> list[Row]:
    """Measure everything; takes about two minutes, with the large upload three."""
    configure_logs("WARNING")
    with (
        tempfile.TemporaryDirectory(prefix="treadle-bench-", ignore_cleanup_errors=True) as folder,
        local_environment(Path(folder)) as environment,
        Database(environment.settings.own_conninfo) as own,
    ):
        _fill(environment.postgres.admin_dsn, run_count)
        migrate(own)
        _, token = tokens.create_token(own, "bench", Role.OPERATOR, None, timedelta(hours=2), created_by="bench")
        with _api(environment, token) as api, _baseline(environment) as baseline:
            rows = [*_requests(environment, api, baseline, run_count), *_listening(own, api)]
            return [*rows, _upload(api, LARGE_UPLOAD_MIB if large else UPLOAD_MIB)]


def _requests(environment: LocalEnvironment, api: Place, baseline: Place, run_count: int) -> list[Row]:
    run_id, cursor = _run_at(environment, 7), encode_cursor("runs", *_keys_at(environment, run_count // 2))
    shown, first, deep, constant, offset = _interleaved(
        (api, f"/api/runs/{run_id}"),
        (api, "/api/runs?limit=50"),
        (api, f"/api/runs?limit=50&after={cursor}"),
        (baseline, "/constant"),
        (baseline, f"/offset?depth={run_count // 2}"),
    )
    against = f"bare Starlette route, a constant: {constant:,.0f}/s"
    return [
        Row(SECTION, "one run shown", f"{shown:,.0f}/s", "≥ 300/s", shown >= 300, against),
        Row(SECTION, "the first page of 50 runs", f"{first:,.0f}/s", "≥ 300/s", first >= 300, against),
        Row(
            SECTION,
            f"the page of 50 at depth {run_count // 2:,}",
            f"{deep:,.0f}/s",
            "≥ 300/s",
            deep >= 300,
            f"by OFFSET: {offset:,.1f}/s, {deep / offset:,.0f} ×",
        ),
    ]


def _interleaved(*questions: tuple[Place, str]) -> list[float]:
    """Requests per second of each: the median of rounds in which all take turns."""
    rounds = [[_per_second(place, path) for place, path in questions] for _ in range(ROUNDS)]
    return [statistics.median(found) for found in zip(*rounds, strict=True)]


def _per_second(place: Place, path: str) -> float:
    """Answered requests per second over a few connections that stay open."""
    counts, stop = [0] * CONNECTIONS, threading.Event()

    def ask(number: int) -> None:
        with _connected(place) as ask_once:
            while not stop.is_set():
                status = ask_once("GET", path)
                assert status == 200, status
                counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CONNECTIONS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    stop.wait(SECONDS)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


@contextlib.contextmanager
def _connected(place: Place) -> Iterator[Callable[[str, str], int]]:
    """A client that costs little next to the server: one socket, answers with a Content-Length."""
    where = urlsplit(place.url)
    with socket.create_connection((where.hostname, where.port)) as connection, connection.makefile("rb") as answers:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def ask(method: str, path: str) -> int:
            connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {place.token}\r\n\r\n".encode())
            status, size = int(answers.readline().split()[1]), 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    size = int(line.split(b":")[1])
            answers.read(size)
            return status

        yield ask


def _listening(own: Database, api: Place) -> list[Row]:
    run_id = runs.start_run(own, NewRun(uuid4(), "bench", "orders.xlsx", "workspace", "pipeline"), "started").run_id
    alone = _event_milliseconds(own, api, run_id, listeners=1)
    many = _event_milliseconds(own, api, run_id, listeners=20)
    runs.finish_run(own, run_id, RunStatus.FAILED, error_message="the measurement has ended")
    note = f"95 of 100 within {alone[1]:.0f} ms; with 20 listeners: median {many[0]:.0f} ms, {many[1]:.0f} ms"
    return [Row(SECTION, "from an event's commit to its listener, median", f"{alone[0]:.0f} ms", "≤ 300 ms", alone[0] <= 300, note)]


def _event_milliseconds(own: Database, api: Place, run_id: UUID, *, listeners: int) -> tuple[float, float]:
    """Median and 95th percentile, as the last one to connect hears them."""
    with contextlib.ExitStack() as opened:
        heard = [opened.enter_context(_stream(api, run_id)) for _ in range(listeners)][-1]
        waits = []
        for number in range(HEARD_EVENTS):
            text = f"event {uuid4()}"
            events.append_event(own, run_id, events.log(text))
            committed = time.perf_counter()
            while text.encode() not in heard():
                continue
            waits.append((time.perf_counter() - committed) * 1000)
            time.sleep(0.003 * (number % 30))  # at another moment between two looks each time
    return statistics.median(waits), statistics.quantiles(waits, n=20)[-1]


@contextlib.contextmanager
def _stream(api: Place, run_id: UUID) -> Iterator[Callable[[], bytes]]:
    where = urlsplit(api.url)
    with socket.create_connection((where.hostname, where.port)) as connection, connection.makefile("rb") as lines:
        head = f"GET /api/runs/{run_id}/events/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {api.token}\r\n\r\n"
        connection.sendall(head.encode())
        yield lines.readline


def _upload(api: Place, size_mib: int) -> Row:
    """Send a file in one request, as fast as it goes, and finalise it; what the server's memory rose to over idle."""
    piece, digest = os.urandom(MIB), hashlib.sha256()
    for _ in range(size_mib):
        digest.update(piece)
    idle = _memory_mib(api.process.pid, "VmRSS")
    Path(f"/proc/{api.process.pid}/clear_refs").write_text("5", encoding="ascii")  # the peak begins again
    began = time.perf_counter()
    url = json.loads(_curl(api, "POST", "/api/uploads", {"file_name": "large.csv", "size_bytes": size_mib * MIB}))["url"]
    sending = _send_all(api, url, piece, size_mib)
    placed = json.loads(_curl(api, "POST", f"{url}/finalise", {"sha256": digest.hexdigest()}))
    assert placed["size_bytes"] == size_mib * MIB, placed
    rise = _memory_mib(api.process.pid, "VmHWM") - idle
    note = f"idle {idle:.0f} MiB; sent in {sending:.1f} s ({size_mib / sending:.0f} MiB/s), verified and placed after {time.perf_counter() - began:.1f} s"
    return Row(
        SECTION, f"an upload of {size_mib:,} MiB: the server's peak memory over idle", f"{rise:.0f} MiB", "≤ 150 MiB", rise <= 150, note
    )


def _send_all(api: Place, url: str, piece: bytes, count: int) -> float:
    where = urlsplit(api.url)
    head = (
        f"PATCH {url} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {api.token}\r\nUpload-Offset: 0\r\n"
        f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(piece) * count}\r\nConnection: close\r\n\r\n"
    )
    began = time.perf_counter()
    with socket.create_connection((where.hostname, where.port)) as connection:
        connection.sendall(head.encode())
        for _ in range(count):
            connection.sendall(piece)
        answer = connection.recv(65536)
    assert b" 204 " in answer.partition(b"\r\n")[0], answer
    return time.perf_counter() - began


def _curl(api: Place, method: str, path: str, body: dict[str, object]) -> bytes:
    """One request with a JSON body."""
    where, content = urlsplit(api.url), json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {api.token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((where.hostname, where.port)) as connection, connection.makefile("rb") as answer:
        connection.sendall(head.encode() + content)
        return answer.read().partition(b"\r\n\r\n")[2]


def _memory_mib(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def _run_at(environment: LocalEnvironment, depth: int) -> UUID:
    return _keys_at(environment, depth)[1]


def _keys_at(environment: LocalEnvironment, depth: int) -> tuple:
    with Database(environment.settings.conninfo) as database:
        sql = "SELECT created_at, run_id FROM pipeline_runs ORDER BY created_at DESC, run_id DESC OFFSET %(depth)s::bigint LIMIT 1"
        row = database.read(sql, {"depth": depth})[0]
        return row["created_at"], row["run_id"]


@contextlib.contextmanager
def _api(environment: LocalEnvironment, token: str) -> Iterator[Place]:
    command = [sys.executable, "-m", "treadle", "api", "--port", "0", "--json", "--with-parent", "--state", str(environment.state)]
    settings = {"API_RATE_LIMIT": "100000000/minute"}  # and a line in the log for each request, as in production
    with _server(command, settings) as process:
        assert process.stdout
        yield Place(json.loads(_whole_json(process.stdout))["url"], token, process)


@contextlib.contextmanager
def _baseline(environment: LocalEnvironment) -> Iterator[Place]:
    dsn = psycopg.conninfo.make_conninfo(**environment.settings.conninfo)
    with _server([sys.executable, "-m", "bench.api_baseline", dsn], {}) as process:
        assert process.stdout
        yield Place(process.stdout.readline().strip(), "none", process)


@contextlib.contextmanager
def _server(command: list[str], settings: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | settings
    )
    try:
        yield process
    finally:
        assert process.stdin
        process.stdin.close()
        process.terminate()
        process.wait(timeout=30)


def _whole_json(lines: Iterator[str]) -> str:
    text = ""
    for line in lines:
        text += line
        with contextlib.suppress(ValueError):
            json.loads(text)
            return text
    return text


if __name__ == "__main__":
    print(markdown(run(large="--large" in sys.argv)))
