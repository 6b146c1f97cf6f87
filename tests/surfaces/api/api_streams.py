"""Reads server-sent events as a client does, from a socket of its own that it may cut, slow down or leave."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Received:
    """One event: its id ("" for none), its name and its data."""

    id: str
    name: str
    data: str


class Listener:
    """One open stream."""

    def __init__(self, url: str, path: str, token: str, *, last_event_id: str | None = None, receive_buffer: int | None = None) -> None:
        place = urlsplit(url)
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(30)
        self._socket.connect((place.hostname, place.port))
        resume = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id is not None else ""
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nAuthorization: Bearer {token}\r\n{resume}\r\n".encode()
        )
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers = dict(line.decode().rstrip().split(": ", 1) for line in iter(self._file.readline, b"\r\n"))

    def events(self) -> Iterator[Received]:
        """Every event until the stream ends; the chunks of HTTP/1.1 are undone on the way."""
        fields: dict[str, str] = {}
        for line in self._lines():
            if not line:
                if "data" in fields or "event" in fields:
                    yield Received(fields.get("id", ""), fields.get("event", "message"), fields.get("data", ""))
                fields = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value

    def close(self) -> None:
        """Leave without a word."""
        self._file.close()
        self._socket.close()

    def _lines(self) -> Iterator[str]:
        rest = b""
        while size := int(self._file.readline().strip() or b"0", 16):
            rest += self._file.read(size + 2)[:-2]
            *lines, rest = rest.split(b"\r\n")
            yield from (line.decode() for line in lines)
