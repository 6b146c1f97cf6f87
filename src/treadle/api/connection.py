"""One connection before it is a request: headers in good time and of a bounded size; what is no HTTP is answered as a problem, too.

uvicorn keeps whatever header a caller sends until its end, for as long as that takes, and refuses in plain text: nobody has signed in by then.
"""

import asyncio
from http import HTTPStatus
from typing import Any, Final, cast
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from treadle.api.config import ApiSettings
from treadle.api.correlation import HEADER, SECURITY_HEADERS
from treadle.api.problems import problem

_ROOM: Final = 2  # a request line and headers that are a little too large are refused by the layer that knows by how much


class Connection(HttpToolsProtocol):
    """As uvicorn's, with a clock and a measure for what comes before the body."""

    def __init__(self, *, settings: ApiSettings, **given: Any) -> None:
        super().__init__(**given)
        self._most_bytes, self._patience_seconds = settings.header_limit_bytes * _ROOM, settings.stall_seconds
        self._in_headers, self._header_bytes = False, 0
        self._clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn does
        """The first request is awaited."""
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Whatever comes between two requests begins the next one; what is still no whole head after too many bytes is refused."""
        if self._clock is None and self._is_idle():
            self._start_clock()
        super().data_received(data)
        if self._in_headers and not self.transport.is_closing():
            self._header_bytes += len(data)
            if self._header_bytes > self._most_bytes:
                self._refuse(431, "headers_too_large", f"The headers have more than {self._most_bytes:,} bytes.")

    def on_message_begin(self) -> None:
        """A request line begins."""
        super().on_message_begin()
        self._in_headers, self._header_bytes = True, 0

    def on_headers_complete(self) -> None:
        """From here on the layers of the application watch size and time."""
        self._in_headers = False
        self._stop_clock()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - said by the parser, to the log
        """What the parser could not read; its own words are in the log."""
        self._refuse(400, "malformed", "This is no HTTP request that can be read.")

    def _is_idle(self) -> bool:
        cycle = cast("Any", self.cycle)  # None before the first request
        return cycle is None or bool(cycle.response_complete)

    def _start_clock(self) -> None:
        self._clock = self.loop.call_later(self._patience_seconds, self._too_late)

    def _stop_clock(self) -> None:
        if self._clock:
            self._clock.cancel()
        self._clock = None

    def _too_late(self) -> None:
        self._refuse(408, "timed_out", f"No whole request came within {self._patience_seconds:g} s.")

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Answer and close. While another answer is being sent on this connection, a second one cannot be: it is broken off."""
        self._stop_clock()
        if self._is_idle():
            self.transport.write(_answer(status, code, detail))
            self.transport.close()
        else:
            self.transport.abort()


def _answer(status: int, code: str, detail: str) -> bytes:
    name = uuid4().hex
    response = problem({"state": {"correlation_id": name}}, status, code, detail, hint="Send one plain HTTP/1.1 request.")
    response.headers.update({HEADER: name, "Connection": "close", **SECURITY_HEADERS})
    head = b"".join(key + b": " + value + b"\r\n" for key, value in response.raw_headers)
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode() + head + b"\r\n" + bytes(response.body)
