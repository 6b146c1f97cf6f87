"""The API as its callers meet it: uvicorn on loopback, over the running local environment."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import psycopg
import pytest
from fastapi import FastAPI

from tests import canaries
from treadle.api.app import create_app
from treadle.api.config import ApiSettings
from treadle.api.server import listen, make_server
from treadle.cli.local import LocalEnvironment
from treadle.control import runs, tokens
from treadle.control.access import Right, Role
from treadle.control.migrate import migrate
from treadle.flows.sales.lakehouse import IMPORT
from treadle.wiring import Wiring, wired

PLENTY = ApiSettings(rate_limit="1000000/minute", refused_limit="1000000/minute", streams_per_principal=300, uploads_per_principal=8)


@dataclass
class Service:
    """A running API and what stands behind it."""

    url: str
    app: FastAPI
    wiring: Wiring
    environment: LocalEnvironment
    _clients: dict[str, httpx2.Client] = field(default_factory=dict, repr=False)  # by token: not to be seen in a failure

    def token(self, role: Role = Role.ADMIN, scopes: list[Right] | None = None, name: str | None = None) -> str:
        _, secret = tokens.create_token(self.wiring.own, name or f"test-{role}", role, scopes, timedelta(hours=1), created_by="tests")
        canaries.plant(secret)
        return secret

    def client(self, role: Role | None = Role.ADMIN, *, token: str | None = None) -> httpx2.Client:
        """A client that keeps its connections; role None: it does not say who it is."""
        key = token or str(role)
        if key not in self._clients:
            secret = token or (self.token(role) if role else None)
            headers = {"Authorization": f"Bearer {secret}"} if secret else {}
            self._clients[key] = httpx2.Client(
                base_url=self.url, headers=headers, timeout=30, trust_env=False, event_hooks={"response": [_no_secret]}
            )
        return self._clients[key]

    @property
    def admin(self) -> httpx2.Client:
        return self.client(Role.ADMIN)

    @property
    def operator(self) -> httpx2.Client:
        return self.client(Role.OPERATOR)

    @property
    def viewer(self) -> httpx2.Client:
        return self.client(Role.VIEWER)

    @property
    def nobody(self) -> httpx2.Client:
        return self.client(None)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


def _no_secret(response: httpx2.Response) -> None:
    """No answer repeats a secret, but the one that makes a token. Streams are searched by whoever reads them."""
    making_a_token = response.request.method == "POST" and response.request.url.path == "/api/tokens"
    if "text/event-stream" in response.headers.get("content-type", "") or making_a_token:
        return
    response.read()
    assert canaries.found_in_text(str(response.headers) + response.text) == [], response.request.url.path


@contextlib.contextmanager
def serving(wiring: Wiring, environment: LocalEnvironment, settings: ApiSettings = PLENTY, **services: Any) -> Iterator[Service]:
    """Serve an API of its own in this process."""
    app = create_app(replace(wiring.services, **services), settings)
    listener = listen("127.0.0.1", 0)
    server = make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="api")
    thread.start()
    service = Service(f"http://127.0.0.1:{listener.getsockname()[1]}", app, wiring, environment)
    try:
        yield service
    finally:
        service.close()
        server.should_exit = True
        thread.join(timeout=30)
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture(scope="session")
def running_service(environment: LocalEnvironment) -> Iterator[Service]:
    settings = environment.settings.model_copy(
        update={
            "treadle_trigger_grace_seconds": 1.0,
            "treadle_poll_seconds": 0.2,
            "treadle_poll_seconds_max": 0.5,
            "treadle_upload_limit_mb": 64,
        }
    )
    with wired(settings) as wiring:
        migrate(wiring.own)
        with serving(wiring, environment) as service:
            yield service
        assert _secrets_in_own_tables(environment) == []


def _secrets_in_own_tables(environment: LocalEnvironment) -> list[str]:
    """Tables of the schema treadle that hold a planted secret: tokens, keys, answers, audit, jobs."""
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        tables = [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'treadle'")]
        assert len(tables) > 8
        rows = ((name, text) for name in tables for (text,) in connection.execute(f"SELECT to_jsonb(t)::text FROM treadle.{name} t"))
        return [name for name, text in rows if canaries.found_in_text(text)]


@pytest.fixture
def service(running_service: Service) -> Iterator[Service]:
    """The API, with the lock free and no run active, before and after."""
    _free(running_service)
    yield running_service
    with working(running_service.wiring):
        pass
    assert runs.active_runs(running_service.wiring.database) == []


@contextlib.contextmanager
def working(wiring: Wiring) -> Iterator[None]:
    """A worker that drives runs and jobs meanwhile; at the end it drives what is left."""
    stop = threading.Event()
    worker, jobs = wiring.worker(), wiring.job_worker()
    worker.idle_seconds = 0.1
    threads = [threading.Thread(target=part.run, args=(stop,), name="worker") for part in (worker, jobs)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        last = wiring.worker()
        last.run_until_idle(timeout_seconds=60)
        last.close()


@pytest.fixture
def put_file(service: Service) -> Callable[..., str]:
    """Put a small workbook into Files/import/ and return its name."""

    def put(name: str | None = None, rows: int = 3) -> str:
        name = name or f"orders-{uuid4().hex[:8]}.csv"
        lines = [f"{n:05d},2026-01-{n % 28 + 1:02d},{n}.50,North" for n in range(1, rows + 1)]
        content = "order_id,order_date,revenue,region\n" + "\n".join(lines) + "\n"
        service.wiring.lake.upload(f"{IMPORT}/{name}", content.encode())
        return name

    return put


@pytest.fixture
def finished_run(service: Service, put_file: Callable[..., str]) -> Callable[..., UUID]:
    """Run a small workbook to its end through the API."""

    def run(rows: int = 3) -> UUID:
        with working(service.wiring):
            started = service.operator.post("/api/runs", json={"input_file": put_file(rows=rows)})
            assert started.status_code == 202, started.text
            run_id = UUID(started.json()["run_id"])
            eventually(lambda: runs.get_run(service.wiring.database, run_id).status.ended, seconds=60, what="the end of the run")
        assert runs.get_run(service.wiring.database, run_id).status == "SUCCEEDED"
        return run_id

    return run


def eventually(holds: Callable[[], object], *, seconds: float = 45, what: str = "the condition") -> None:
    """Wait until something holds; fail when it does not in time."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return
        pause.wait(0.02)
    pytest.fail(f"{what} did not come true within {seconds} s")


def _free(service: Service) -> None:
    with psycopg.connect(service.environment.postgres.admin_dsn) as connection:
        connection.execute("UPDATE run_lock SET run_id = NULL, locked_at = NULL, locked_by = NULL")
        connection.execute("DELETE FROM run_events WHERE run_id IN (SELECT run_id FROM pipeline_runs WHERE finished_at IS NULL)")
        connection.execute("DELETE FROM pipeline_runs WHERE finished_at IS NULL")
