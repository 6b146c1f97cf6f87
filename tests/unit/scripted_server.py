"""An HTTPS server on loopback that does exactly what a test scripts, down to the bytes, and records what reached it."""

import contextlib
import json
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Seen:
    """One request as it arrived. Header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def bearer(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


Step = Callable[[ssl.SSLSocket, Seen], bool]  # returns whether the connection stays open


def reply(status: int = 200, body: bytes | Any = b"", **headers: str) -> Step:
    """A whole answer; what is not bytes is sent as JSON. Header names are given with underscores."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def send(connection: ssl.SSLSocket, _seen: Seen) -> bool:
        lines = [
            f"HTTP/1.1 {status} Scripted",
            *(f"{name}: {value}" for name, value in ({"Content-Length": str(len(content))} | named).items()),
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + content)
        return True

    return send


def raw(content: bytes) -> Step:
    """Exactly these bytes, then the end of the connection."""

    def send(connection: ssl.SSLSocket, _seen: Seen) -> bool:
        connection.sendall(content)
        return False

    return send


def cut_off(status: int = 200, body: bytes = b'{"value": [', **headers: str) -> Step:
    """An answer that promises more bytes than it brings."""
    whole = reply(status, body, Content_Length=str(len(body) + 50), **headers)

    def send(connection: ssl.SSLSocket, seen: Seen) -> bool:
        whole(connection, seen)
        return False

    return send


def hang_up(_connection: ssl.SSLSocket, _seen: Seen) -> bool:
    """No answer: the connection ends after the request has been read."""
    return False


def trickle(head: bytes, released: threading.Event, pause_seconds: float = 0.05) -> Step:
    """Send `head`, then one byte now and then, until the event is set or the other side has gone."""

    def send(connection: ssl.SSLSocket, _seen: Seen) -> bool:
        with contextlib.suppress(OSError):
            connection.sendall(head)
            while not released.wait(pause_seconds):
                connection.sendall(b"x")
        return False

    return send


@dataclass
class ScriptedServer:
    """Answers each request by the next step of the script; a request beyond the script is answered 599."""

    context: ssl.SSLContext
    script: deque[Step] = field(default_factory=deque)
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"https://localhost:{self._listener.getsockname()[1]}"

    def then(self, *steps: Step) -> "ScriptedServer":
        self.script.extend(steps)
        return self

    def stop(self) -> None:
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain, self.context.wrap_socket(plain, server_side=True) as connection:
            self._open.add(connection)
            reader = connection.makefile("rb")
            while (seen := _read_request(reader)) is not None:
                self.seen.append(seen)
                step = self.script.popleft() if self.script else reply(599)
                if not step(connection, seen):
                    return


def _read_request(reader: Any) -> Seen | None:
    first = reader.readline().decode("latin-1").split()
    if len(first) != 3:
        return None
    headers = {}
    while line := reader.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        return Seen(first[0], first[1], headers, _read_chunks(reader))
    return Seen(first[0], first[1], headers, reader.read(int(headers.get("content-length", "0"))))


def _read_chunks(reader: Any) -> bytes:
    content = b""
    while size := int(reader.readline().strip() or b"0", 16):
        content += reader.read(size)
        reader.readline()
    reader.readline()
    return content
