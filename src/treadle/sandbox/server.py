"""The sandbox: Entra ID, Fabric REST, OneLake, sign-in of people, an events API, Salesforce and Kusto, over HTTPS on loopback, in one process.

How a service plugs in (built in services.py):

    # fabric/routes.py: Starlette routes whose names are the operation ids that fault scripts use
    def fabric_routes(cloud: FabricCloud, authenticate: Authenticate) -> list[Route]:
        return [Route("/v1/workspaces/{workspace}", get_workspace, methods=["GET"], name="fabric.GetWorkspace"), ...]

    # onelake/routes.py: ASGI apps, with the function that finds a request's operation id (None: not modelled, answered 501)
    def dfs_app(store: LakeStore, clock: Clock, faults: FaultScript, authenticate: Authenticate) -> ASGIApp: ...
    def dfs_operation(scope: Scope) -> str | None: ...       # "onelake.Path.Create", by method and query

    # in a route: who calls, and a fault that only the route can act out
    principal = authenticate(request.headers, "fabric")      # or "onelake"; raises entra.store.TokenRejected(reason, message).code
    if (fault := faults.take("unknown_status", "fabric.GetItemJobInstance")):
        body["status"] = fault.args.get("status", "Paused")

The middleware applies wire faults (429, cut connections, ...) by operation id before a route runs, in the service's error envelope
(answers.py), records each request, and answers 501 for what has no operation.
"""

import asyncio
import contextlib
import fcntl
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Final, Self

import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from treadle.sandbox.admin import admin_app
from treadle.sandbox.clock import Clock
from treadle.sandbox.endpoints import Endpoints, SandboxPorts, bind_ports, ports_of, service_of_host
from treadle.sandbox.entra.store import EntraStore, SandboxCredentials
from treadle.sandbox.events.store import EventsStore
from treadle.sandbox.fabric.cloud import FabricCloud
from treadle.sandbox.faults import FaultScript
from treadle.sandbox.kusto.cloud import KustoCloud
from treadle.sandbox.middleware import RecordedRequest, ServiceMiddleware
from treadle.sandbox.oidc.store import OidcStore
from treadle.sandbox.onelake.store import LakeStore
from treadle.sandbox.proxy import ConnectProxy
from treadle.sandbox.salesforce.cloud import SalesforceCloud
from treadle.sandbox.services import OWN_FOLDER, Clouds, build_clouds
from treadle.sandbox.tls import TlsFiles, ensure_certificates
from treadle.sandbox.wire import CuttableProtocol

_log = structlog.get_logger()
_TLS_SERVICES: Final = ("entra", "fabric", "dfs", "blob", "oidc", "events", "salesforce", "kusto")
_REMEMBERED_REQUESTS: Final = 10_000
_START_SECONDS: Final = 20


class Sandbox:
    """One running sandbox; `with Sandbox(state_dir) as sandbox:` starts and stops it.

    state_dir: everything that outlasts the process – identity, CA, ports, Fabric's records, the OneLake tree. One process at a time.
    notebook_python: the interpreter that runs notebooks. ports: None takes those of the last start when they are free.
    """

    def __init__(self, state_dir: Path, *, notebook_python: str = sys.executable, ports: SandboxPorts | None = None) -> None:
        self.state_dir = state_dir.resolve()
        self.clock = Clock()
        self.faults = FaultScript()
        self.requests: deque[RecordedRequest] = deque(maxlen=_REMEMBERED_REQUESTS)
        self._notebook_python, self._ports = notebook_python, ports
        self._folder = self.state_dir / OWN_FOLDER
        self._running: _Running | None = None
        self._undo = contextlib.ExitStack()

    def start(self) -> None:
        """Listen, and return when every port answers. Raises RuntimeError when this state already runs, OSError for a port that is taken."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.ExitStack() as undo:
            undo.enter_context(_lock(self._folder / "running.lock"))
            tls = ensure_certificates(self._folder)
            sockets = bind_ports(self._ports, self._folder / "ports.json")
            undo.callback(_close_all, sockets)
            endpoints = Endpoints.of(ports_of(sockets), tls.ca_file)
            clouds = build_clouds(self.state_dir, self.clock, self.faults, endpoints, self._notebook_python)
            undo.callback(clouds.stop)
            running = _Running(self, clouds, endpoints, tls, sockets)
            undo.callback(running.stop)
            running.start()
            self._running, self._undo = running, undo.pop_all()
        _log.info("sandbox.started", **{name: str(value) for name, value in asdict(endpoints).items()})

    def stop(self) -> None:
        """Stop listening, end the jobs that run and close the files. Safe to repeat."""
        if self._running:
            self._running = None
            self._undo.close()
            _log.info("sandbox.stopped")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def endpoints(self) -> Endpoints:
        """Where it listens; raises RuntimeError before the start."""
        return self._started.endpoints

    @property
    def credentials(self) -> SandboxCredentials:
        """The identity that comes with this state."""
        return self._started.clouds.entra.credentials

    @property
    def entra(self) -> EntraStore:
        """The tenant, for tests in the same process."""
        return self._started.clouds.entra

    @property
    def fabric(self) -> FabricCloud:
        """The Fabric store, for tests in the same process."""
        return self._started.clouds.fabric

    @property
    def lake(self) -> LakeStore:
        """The OneLake store, for tests in the same process."""
        return self._started.clouds.lake

    @property
    def oidc(self) -> OidcStore:
        """The OpenID provider's store, for tests in the same process."""
        return self._started.clouds.oidc

    @property
    def events(self) -> EventsStore:
        """The events API's store, for tests in the same process."""
        return self._started.clouds.events

    @property
    def salesforce(self) -> SalesforceCloud:
        """The Salesforce org, for tests in the same process."""
        return self._started.clouds.salesforce

    @property
    def kusto(self) -> KustoCloud:
        """The eventhouses' query services, for tests in the same process."""
        return self._started.clouds.kusto

    @property
    def _started(self) -> "_Running":
        if self._running is None:
            raise RuntimeError("the sandbox is not running; call start() first")
        return self._running


class _Dispatcher:
    """Picks the service by the Host header where it is one of Microsoft's names, else by the port."""

    def __init__(self, apps: dict[str, ASGIApp], service_of_port: dict[int, str]) -> None:
        self._apps, self._service_of_port = apps, service_of_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        await self._apps[service_of_host(host) or self._service_of_port[scope["server"][1]]](scope, receive, send)


class _Server(uvicorn.Server):
    """Uvicorn's server that says when it listens, and does not wait for idle clients when it ends."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    def end(self) -> None:
        """Stop serving: requests in flight are finished, idle connections cut (a TLS goodbye would wait for the client's)."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, CuttableProtocol):
                connection.cut_if_idle()
        self.should_exit = True


class _Running:
    """The event loop's thread and everything that listens in it."""

    def __init__(self, sandbox: Sandbox, clouds: Clouds, endpoints: Endpoints, tls: TlsFiles, sockets: dict[str, socket.socket]) -> None:
        self.clouds, self.endpoints = clouds, endpoints
        self._sockets, self._tls = sockets, tls
        self._admin = admin_app(sandbox.clock, sandbox.faults, sandbox.requests, endpoints, clouds.events, clouds.salesforce)
        apps = {name: ServiceMiddleware(one, sandbox.clock, sandbox.faults, sandbox.requests) for name, one in clouds.services.items()}
        self._dispatcher = _Dispatcher(dict(apps), {sockets[name].getsockname()[1]: name for name in _TLS_SERVICES})
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._stop: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="treadle-sandbox", daemon=True)

    def start(self) -> None:
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise RuntimeError(f"the sandbox did not start within {_START_SECONDS} s")
        if self._failure:
            raise RuntimeError("the sandbox did not start") from self._failure

    def stop(self) -> None:
        self._stop()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits in start()
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: _quietly(loop, stopping.set)
        secure = _Server(_config(self._dispatcher, self._tls.server_file))
        admin = _Server(_config(self._admin))
        entra_port = self._sockets["entra"].getsockname()[1]
        tunnel = ConnectProxy(entra_port, [self._sockets[name].getsockname()[1] for name in _TLS_SERVICES])
        proxy = await asyncio.start_server(tunnel, sock=self._sockets["proxy"])
        serving = [
            asyncio.create_task(secure.serve([self._sockets[name] for name in _TLS_SERVICES])),
            asyncio.create_task(admin.serve([self._sockets["admin"]])),
        ]
        await asyncio.gather(secure.listening.wait(), admin.listening.wait())
        self._ready.set()
        await stopping.wait()
        proxy.close()
        secure.end()
        admin.end()
        await asyncio.gather(*serving)


def serve(
    state_dir: Path,
    *,
    notebook_python: str = sys.executable,
    ports: SandboxPorts | None = None,
    faults_file: Path | None = None,
    announce: Callable[[str], None] = print,
) -> None:
    """Run a sandbox in the foreground until SIGINT or SIGTERM; `announce` gets the lines that say where it listens."""
    ended = threading.Event()
    sandbox = Sandbox(state_dir, notebook_python=notebook_python, ports=ports)
    if faults_file:
        sandbox.faults.load(faults_file)

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with sandbox:
            for name, value in asdict(sandbox.endpoints).items():
                announce(f"{name:<11} {value}")
            ended.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _config(app: ASGIApp, server_file: Path | None = None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=CuttableProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
        ssl_certfile=server_file,
        ssl_keyfile=str(server_file) if server_file else None,
    )


def _quietly(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Call in the loop's thread; a loop that has ended on its own needs no call any more."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)


def _close_all(sockets: dict[str, socket.socket]) -> None:
    for listener in sockets.values():
        listener.close()


def _lock(file: Path) -> IO[str]:
    handle = file.open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise RuntimeError(f"a sandbox already runs on {file.parent.parent}; stop it, or choose another state folder") from error
    return handle
