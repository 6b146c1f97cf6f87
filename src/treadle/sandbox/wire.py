"""Faults on the wire: statuses, lost and broken answers, cut connections.

Cutting a connection needs the transport, which ASGI does not give: `CuttableProtocol` puts its `abort` into the scope's extensions.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from treadle.sandbox.clock import Clock
from treadle.sandbox.faults import Fault
from treadle.sandbox.service import Service

_ABORT: Final = "treadle.abort"
_FOREIGN_BASE: Final = "https://wabi-sandbox-redirect.analysis.windows.net"
_GATEWAY_PAGE: Final = "<!doctype html><html><head><title>Gateway</title></head><body><h1>Service unavailable</h1></body></html>"
_SLOWEST_SECONDS: Final = 5.0
_TRUNCATED_BYTES: Final = 16_384  # fits the socket's buffer, so that these bytes are out before the connection is cut
_MISSING_BYTES: Final = 64
_PIECES: Final = 8


class CuttableProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol; an app finds the connection's `abort` in the scope."""

    def on_message_begin(self) -> None:
        """A request starts: give its scope the means to cut the connection."""
        super().on_message_begin()
        self.scope["extensions"] = {_ABORT: {"abort": self.transport.abort}}

    def cut_if_idle(self) -> None:
        """Cut the connection unless a request is being answered."""
        if self.cycle is None or self.cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison] - it is None before the first request
            self.transport.abort()


class HeldAnswer:
    """A whole answer, kept back so that it can be damaged."""

    def __init__(self) -> None:
        self.start: Message = {"type": "http.response.start", "status": 500, "headers": []}
        self.body = b""

    async def keep(self, message: Message) -> None:
        """Stand in for the server's `send`."""
        if message["type"] == "http.response.start":
            self.start = {**message, "headers": list(message.get("headers", []))}
        else:
            self.body += message.get("body", b"")

    @property
    def headers(self) -> MutableHeaders:
        """The answer's headers; changes reach the client."""
        return MutableHeaders(raw=self.start["headers"])

    async def send(self, send: Send) -> None:
        """Let the answer go."""
        await send(self.start)
        await send({"type": "http.response.body", "body": self.body})


def faulty(fault: Fault, service: Service, clock: Clock) -> ASGIApp:
    """An app that answers as the fault says; WIRE_KINDS in faults.py describes each kind."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind == "token_expired" and service.expired_token:
            await service.app(_with_token(scope, service.expired_token()), receive, send)
            return
        refusal = _refusal(fault, service, clock)
        held = HeldAnswer()
        if fault.kind != "drop_before" and (refusal is None or fault.args.get("after_effect")):
            await service.app(scope, receive, held.keep)
        if refusal is not None:
            await refusal(scope, receive, send)
        elif fault.kind in _DAMAGE:
            await _DAMAGE[fault.kind](fault.args, held, send)
        else:
            await _send_half(fault, held, scope, send)
            await _cut(scope, receive)

    return answer


def _refusal(fault: Fault, service: Service, clock: Clock) -> Response | None:
    args, now = fault.args, clock.now()
    match fault.kind:
        case "status":
            response = service.error(int(args.get("status", 500)), args.get("code"), args.get("message", "Scripted by the sandbox."), now)
            response.headers.update(_retry_after(args))
            return response
        case "wrong_content_type":
            return HTMLResponse(_GATEWAY_PAGE, int(args.get("status", 200)))
        case "token_expired":
            return service.error(401, args.get("code"), "This service asks for no token; its answer to an expired one is made up.", now)
        case "not_found_once":
            return service.error(404, args.get("code"), "The requested resource could not be found.", now)
        case _:
            return None


def _with_token(scope: Scope, token: str) -> Scope:
    others = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
    return {**scope, "headers": [*others, (b"authorization", f"Bearer {token}".encode())]}


def _retry_after(args: Mapping[str, Any]) -> dict[str, str]:
    if "retry_after_seconds" in args:
        return {"Retry-After": str(args["retry_after_seconds"])}
    if "retry_after_date_seconds" in args:  # a date is compared with the client's own clock, so it follows real time
        return {"Retry-After": formatdate(time.time() + float(args["retry_after_date_seconds"]), usegmt=True)}
    return {}


async def _send_slowly(args: Mapping[str, Any], held: HeldAnswer, send: Send) -> None:
    seconds = min(float(args.get("seconds", 1.0)), _SLOWEST_SECONDS)
    if not held.body:  # its head alone is the whole answer
        await asyncio.sleep(seconds)
        await held.send(send)
        return
    pause = seconds / (_PIECES + 1)
    await asyncio.sleep(pause)
    await send(held.start)
    size = -(-len(held.body) // _PIECES)
    for piece in range(_PIECES):
        await asyncio.sleep(pause)
        await send({"type": "http.response.body", "body": held.body[piece * size : (piece + 1) * size], "more_body": piece < _PIECES - 1})


async def _lose_location(args: Mapping[str, Any], held: HeldAnswer, send: Send) -> None:
    _ = args
    if "location" in held.headers:
        del held.headers["location"]
    await held.send(send)


async def _move_location(args: Mapping[str, Any], held: HeldAnswer, send: Send) -> None:
    if location := held.headers.get("location"):
        base = urlsplit(str(args.get("base", _FOREIGN_BASE)))
        held.headers["location"] = urlunsplit(urlsplit(location)._replace(scheme=base.scheme, netloc=base.netloc))
    await held.send(send)


_DAMAGE: Final[Mapping[str, Callable[[Mapping[str, Any], HeldAnswer, Send], Awaitable[None]]]] = {
    "slow": _send_slowly,
    "lost_location": _lose_location,
    "foreign_location": _move_location,
}


async def _send_half(fault: Fault, held: HeldAnswer, scope: Scope, send: Send) -> None:
    """For `truncate`: promise more than is sent. A HEAD answer has no body to shorten, so it is dropped whole."""
    if fault.kind != "truncate" or scope["method"] == "HEAD":
        return
    if "transfer-encoding" in held.headers:
        del held.headers["transfer-encoding"]
    held.headers["content-length"] = str(len(held.body) + _MISSING_BYTES)
    await send(held.start)
    await send({"type": "http.response.body", "body": held.body[: min(len(held.body) // 2, _TRUNCATED_BYTES)], "more_body": True})


async def _cut(scope: Scope, receive: Receive) -> None:
    scope["extensions"][_ABORT]["abort"]()
    while (await receive())["type"] != "http.disconnect":
        pass  # the server must have seen the end before the app returns, or it complains about a missing answer
