"""What the Gremlin tests talk to: Apache TinkerPop's own server on loopback, and a server that follows a script.

The first is real: gremlin-server and TinkerGraph from Maven Central, at the versions of gremlin/pom.xml. It is not Cosmos DB: it knows more steps, keeps
`id` beside its own ids, has no request units, and so never throttles. The second is ours. It speaks the same protocol as far as a sign-in and scripts
go, and answers as Azure Cosmos DB is documented and recorded to answer (its article "Server response headers", and the answers kept by the Go client
gremcos): with 429, 412, 1008 and so on in the attributes of a 500. Put before the first, it lets what the script does not name through.
"""

import asyncio
import base64
import fcntl
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any, Self

import aiohttp
import trustme
from aiohttp import web
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificate
from tests import canaries

from treadle.clients.gremlin import GremlinClient, cosmos_user

HERE = Path(__file__).with_name("gremlin")
USER = cosmos_user("treadle", "graph")
KEY = "gremlin-key-of-the-tests-0d9c1f"
KEY_HASH = "$2a$04$abcdefghijklmnopqrstuuAF/QVqlILYPS6hHiiIgfZ1qQLIJZx6y"  # bcrypt of KEY, at the least cost
INSTALL_SECONDS, START_SECONDS = 280, 120
_MIME = b"\x21application/vnd.gremlin-v2.0+json"


@dataclass(frozen=True)
class GremlinPlace:
    """Where a server is, and the authority that signed its certificate."""

    url: str
    ca_file: Path

    def client(self, **settings: Any) -> GremlinClient:
        return GremlinClient(self.url, USER, KEY, **{"ca_file": self.ca_file, "backoff_seconds": 0.01, **settings})


@dataclass(frozen=True)
class Certificates:
    """An authority of this test run and what it signed for localhost."""

    ca_file: Path
    chain: bytes
    key: bytes

    @classmethod
    def made_in(cls, folder: Path) -> "Certificates":
        ca = trustme.CA()
        issued = ca.issue_cert("localhost", "127.0.0.1")
        ca.cert_pem.write_to_path(folder / "ca.pem")
        return cls(folder / "ca.pem", issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes())

    def server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.key + self.chain)
            file.flush()
            context.load_cert_chain(file.name)
        return context


# ---- the real server


def jars() -> Path:
    """The folder with the server's jars, fetched by the first who wants it; other workers wait, as Maven's own folder bears one at a time."""
    pom = (HERE / "pom.xml").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "treadle"
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / f"contract-gremlin-{hashlib.sha256(pom).hexdigest()[:16]}"
    with (cache / "contract-gremlin.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                fresh = Path(folder) / "jars"
                goal = ["dependency:copy-dependencies", f"-DoutputDirectory={fresh}", "-DincludeScope=runtime"]
                command = ["mvn", "--batch-mode", "--quiet", "--file", str(HERE / "pom.xml"), *goal]
                subprocess.run(command, cwd=folder, check=True, timeout=INSTALL_SECONDS)
                fresh.rename(place)  # in one step: what is there is whole
    return place


@contextmanager
def real_server(folder: Path) -> Iterator[GremlinPlace]:
    """A Gremlin Server in a process of its own, until the block ends."""
    canaries.plant(KEY)
    certificates = Certificates.made_in(folder)
    store_password = base64.b32encode(os.urandom(10)).decode()
    store = pkcs12.serialize_key_and_certificates(
        b"server",
        load_pem_private_key(certificates.key, None),  # type: ignore[arg-type]
        load_pem_x509_certificate(certificates.chain),
        None,
        BestAvailableEncryption(store_password.encode()),
    )
    (folder / "server.p12").write_bytes(store)
    for name in ("graph.properties", "users.properties", "start.groovy"):
        shutil.copy(HERE / name, folder)
    user = {
        name: [{"id": number, "value": value}] for number, (name, value) in enumerate({"username": USER, "password": KEY_HASH}.items(), 1)
    }
    (folder / "users.json").write_text(json.dumps({"id": 0, "label": "user", "properties": user}) + "\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    template = Template((HERE / "server.yaml").read_text())
    (folder / "server.yaml").write_text(template.substitute(port=port, store_password=store_password))
    command = ["java", "-Xms64m", "-Xmx384m", "-cp", f"{jars()}/*"]
    command += ["org.apache.tinkerpop.gremlin.server.GremlinServer", "server.yaml"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            _wait_until_it_listens(process)
            yield GremlinPlace(f"wss://localhost:{port}/gremlin", certificates.ca_file)
        finally:
            process.kill()


def _wait_until_it_listens(process: "subprocess.Popen[str]") -> None:
    """Read what the server says until it says that it listens; go on reading, so that it never waits for a full pipe."""
    said: list[str] = []
    listens = threading.Event()

    def read() -> None:
        assert process.stdout
        for line in process.stdout:
            said.append(line)
            if "Channel started at port" in line:
                listens.set()
        listens.set()

    threading.Thread(target=read, daemon=True).start()
    assert listens.wait(START_SECONDS), "".join(said[-40:])
    assert process.poll() is None, "".join(said[-40:])


# ---- the server that follows a script


@dataclass(frozen=True)
class Refuse:
    """Answer with this status instead of doing the work."""

    code: int = 500
    message: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """Answer 200 with these results; `raw`: with these bytes."""

    results: list[Any] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    raw: bytes | None = None


class Cut:
    """Hang up instead of doing the work."""


class CutAfter:
    """Let the work be done, and hang up instead of saying so: the answer is lost."""


class Silence:
    """Never answer."""


def throttled(wait: str = "00:00:00.0330000") -> Refuse:
    """What Cosmos DB says when request units are used up; the text is shortened."""
    message = "\r\n\r\nActivityId : 1f6b\r\nExceptionType : RequestRateTooLargeException\r\nExceptionMessage :\r\n\tReceived Status 429: Request rate is large."
    attributes = {
        "x-ms-retry-after-ms": wait,
        "x-ms-substatus-code": 3200,
        "x-ms-status-code": 429,
        "x-ms-request-charge": 3779.34,
        "x-ms-activity-id": "fdd08592-0000-0000-0000-97d35c2dda52",
    }
    return Refuse(500, message, attributes)


class ScriptedServer:
    """Takes one action of `script` for each statement; without one it asks the server behind it, or answers with nothing."""

    def __init__(self, certificates: Certificates, behind: GremlinPlace | None = None) -> None:
        canaries.plant(KEY)
        self.script: deque[Any] = deque()
        self.asked: list[dict[str, Any]] = []
        self.connections = 0
        self._certificates, self._behind = certificates, behind
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._port = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)

    @property
    def place(self) -> GremlinPlace:
        return GremlinPlace(f"wss://localhost:{self._port}/gremlin", self._certificates.ca_file)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/{path:.*}", self._connected)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._certificates.server_context())
        self._loop.run_until_complete(site.start())
        self._port = runner.addresses[0][1]
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):  # those that keep silence
            task.cancel()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _connected(self, request: web.Request) -> web.WebSocketResponse:
        self.connections += 1
        socket_ = web.WebSocketResponse(max_msg_size=4 * 1024**2)
        await socket_.prepare(request)
        signed_in = False
        async for frame in socket_:
            asked = self._read(frame.data)
            if not signed_in:
                await socket_.send_str(_answer(asked["requestId"], 407))
                sasl = self._read((await socket_.receive()).data)["args"]["sasl"]
                signed_in = base64.b64decode(sasl) == f"\0{USER}\0{KEY}".encode()
                if not signed_in:
                    refusal = {"x-ms-status-code": 401}
                    await socket_.send_str(_answer(asked["requestId"], 500, "Unauthorized: Invalid credentials provided", refusal))
                    continue
            self.asked.append(asked)
            if not await self._act(socket_, asked, frame.data):
                break
        return socket_

    async def _act(self, socket_: web.WebSocketResponse, asked: dict[str, Any], frame: bytes) -> bool:
        """Whether the connection goes on."""
        action = self.script.popleft() if self.script else None
        if isinstance(action, Cut | CutAfter):
            if isinstance(action, CutAfter):
                await self._ask_behind(frame)
            socket_._req.transport.abort()  # type: ignore[union-attr]
            return False
        if isinstance(action, Silence):
            await asyncio.sleep(3600)
        elif isinstance(action, Refuse):
            await socket_.send_str(_answer(asked["requestId"], action.code, action.message, action.attributes))
        elif isinstance(action, Reply) and action.raw is not None:
            await socket_.send_bytes(action.raw)
        elif self._behind is None or isinstance(action, Reply):
            results = action.results if isinstance(action, Reply) else []
            await socket_.send_str(_answer(asked["requestId"], 200, "", action.attributes if action else {}, results))
        else:
            for answer in await self._ask_behind(frame):
                await socket_.send_str(answer)
        return True

    async def _ask_behind(self, frame: bytes) -> list[str]:
        """Pass a statement on, over a connection of its own, and return all of its answers."""
        assert self._behind
        trusted = ssl.create_default_context(cafile=str(self._behind.ca_file))
        answers: list[str] = []
        async with aiohttp.ClientSession() as session, session.ws_connect(self._behind.url, ssl=trusted, max_msg_size=0) as socket_:
            await socket_.send_bytes(frame)
            while not answers or json.loads(answers[-1])["status"]["code"] == 206:
                answer = (await socket_.receive()).data
                text = answer if isinstance(answer, str) else answer.decode()
                told = json.loads(text)
                if told["status"]["code"] == 407:
                    sasl = base64.b64encode(f"\0{USER}\0{KEY}".encode()).decode()
                    request_id = {"@type": "g:UUID", "@value": told["requestId"]}
                    reply = {"requestId": request_id, "processor": "traversal", "op": "authentication", "args": {"sasl": sasl}}
                    await socket_.send_bytes(_MIME + json.dumps(reply).encode())
                else:
                    answers.append(text)
        return answers

    @staticmethod
    def _read(frame: bytes) -> dict[str, Any]:
        assert frame.startswith(_MIME), "only GraphSON 2 is understood"
        asked = json.loads(frame.removeprefix(_MIME))
        return {**asked, "requestId": asked["requestId"]["@value"]}


def _answer(
    request_id: str, code: int, message: str = "", attributes: dict[str, Any] | None = None, results: list[Any] | None = None
) -> str:
    """As Cosmos DB writes it: plain JSON where TinkerPop has types."""
    status = {"message": message, "code": code, "attributes": attributes or {}}
    return json.dumps({"requestId": request_id, "status": status, "result": {"data": results, "meta": {}}})
