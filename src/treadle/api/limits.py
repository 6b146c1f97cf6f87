"""What one request may cost: its headers, its body, its time, and how many of them there may be."""

import asyncio
import re
import time
from typing import Final

import structlog
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from treadle.api.config import ApiSettings
from treadle.api.problems import HttpProblem, TooManyRequests, problem

log = structlog.get_logger()

# These stream, or read a whole upload back: they watch their own time. What brings bytes – an upload's PATCH, and archives – counts them itself, too.
_OWN_TIME: Final = re.compile(r"/api/uploads/[^/]+(/finalise)?")
_OWN_SIZE: Final = re.compile(r"/api/uploads/[^/]+")
_ARCHIVES: Final = re.compile(r"/api/upload-jobs|/api/fabric/provision(/graph)?|/query/upload/[^/]+")
# Sent twice, one of us might go by the first and a proxy in front by the last.
_ONCE: Final = ("host", "authorization", "content-type", "idempotency-key", "upload-offset", "last-event-id", "if-match", "if-none-match")


_HOST: Final = re.compile(r"(\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(:\d{0,5})?|(?P<bare>[0-9a-f:.]+)")


class RateLimit:
    """A moving window for each key, in this process: several processes allow as many times as much."""

    def __init__(self, rate: str) -> None:
        self._item = parse(rate)
        self._window = MovingWindowRateLimiter(MemoryStorage())

    def take(self, *key: str) -> None:
        """Count one.

        Raises:
            TooManyRequests: the window is full; says when there is room again.
        """
        if not self._window.hit(self._item, *key):
            raise self._full(key)

    def _full(self, key: tuple[str, ...]) -> TooManyRequests:
        wait = max(1.0, self._window.get_window_stats(self._item, *key).reset_time - time.time())
        return TooManyRequests(
            f"There were more than {self._item} requests of this kind.",
            retry_after_seconds=wait,
            hint="Wait as Retry-After says. To follow a run, listen to its events instead of asking again and again.",
            details={"limit": str(self._item)},
        )


class Bounded:
    """ASGI layer: refuses what is too large before anybody reads it, and answers when the answer takes too long."""

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif refusal := self._refusal(scope):
            await problem(scope, refusal.status_code, refusal.code or "", str(refusal.detail), hint=refusal.hint)(scope, receive, send)
        elif _OWN_TIME.fullmatch(scope["path"]) or _brings_archives(scope):
            await self._app(scope, self._counted(scope, receive), send)
        else:
            await self._in_time(scope, self._counted(scope, receive), send)

    def _refusal(self, scope: Scope) -> HttpProblem | None:
        size = sum(len(name) + len(value) for name, value in scope["headers"])
        if size > self._settings.header_limit_bytes:
            return HttpProblem(
                431, f"The headers have {size:,} bytes; {self._settings.header_limit_bytes:,} are read.", code="headers_too_large"
            )
        headers = Headers(scope=scope)
        if twice := next((name for name in _ONCE if len(headers.getlist(name)) > 1), None):
            return HttpProblem(400, f"The header {twice} was sent more than once.", code="malformed", hint="Send it once.")
        if not self._counts_itself(scope) and declared_length(headers) > self._settings.body_limit_bytes:
            return self._too_large()
        return None

    def _counted(self, scope: Scope, receive: Receive) -> Receive:
        """A body that does not say how long it is, is counted as it comes."""
        if self._counts_itself(scope):
            return receive
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._settings.body_limit_bytes:
                raise self._too_large()
            return message

        return counted

    def _counts_itself(self, scope: Scope) -> bool:
        return _brings_archives(scope) or (scope["method"] == "PATCH" and _OWN_SIZE.fullmatch(scope["path"]) is not None)

    def _too_large(self) -> HttpProblem:
        return HttpProblem(
            413,
            f"The body has more than {self._settings.body_limit_bytes:,} bytes.",
            code="too_large",
            hint="Files go to /api/uploads, piece by piece.",
        )

    async def _in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in time, whatever the route does: a thread cannot be stopped, but nobody has to wait for it."""
        answer = _Gate(send, self._settings.stall_seconds * 2)
        work = asyncio.ensure_future(self._app(scope, receive, answer.send))
        try:
            done, _ = await asyncio.wait({work}, timeout=self._settings.request_seconds)
            if not done and not answer.begun:
                await self._too_late(scope, receive, send, answer)
                work.add_done_callback(_note_late_end)
                return
            await work
        except asyncio.CancelledError:
            work.cancel()
            raise

    async def _too_late(self, scope: Scope, receive: Receive, send: Send, answer: "_Gate") -> None:
        answer.closed = True
        safe = scope["method"] in ("GET", "HEAD")
        hint = "Try again later." if safe else "It may still happen: look before you repeat it, or repeat it with the same Idempotency-Key."
        text = f"There was no answer within {self._settings.request_seconds:g} s."
        await problem(scope, 504, "timed_out", text, hint=hint)(scope, receive, send)


def _brings_archives(scope: Scope) -> bool:
    return scope["method"] == "POST" and _ARCHIVES.fullmatch(scope["path"]) is not None


def declared_length(headers: Headers) -> int:
    """What Content-Length says; 0 when it says nothing. Pure. Zeros in front may be thousands, more digits than Python reads."""
    digits = headers.get("content-length", "").lstrip("0")
    return int(digits[:20]) if digits.isdecimal() else 0


class _Gate:
    """Lets an answer through until somebody else has answered, and only as long as its receiver takes it."""

    def __init__(self, send: Send, stall_seconds: float) -> None:
        self._send, self._stall_seconds = send, stall_seconds
        self.begun = self.closed = False

    async def send(self, message: Message) -> None:
        if self.closed:
            return
        self.begun = True
        async with asyncio.timeout(self._stall_seconds):
            await self._send(message)


def _note_late_end(work: "asyncio.Future[None]") -> None:
    if not work.cancelled() and (error := work.exception()):
        log.warning("request.failed_late", error=str(error), kind=type(error).__name__)


class HostAllowList:
    """ASGI layer: answers only to the names that the service has, so that a name somebody else points here (DNS rebinding) leads nowhere.

    Starlette's TrustedHostMiddleware does the same, but answers in plain text and cuts an IPv6 address at its first colon.
    """

    def __init__(self, app: ASGIApp, allowed: tuple[str, ...]) -> None:
        self._app, self._allowed = app, tuple(name.lower() for name in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and not self._knows(host_name(Headers(scope=scope).get("host", ""))):
            text = "The Host header names no host of this service."
            await problem(scope, 421, "host_not_allowed", text, hint="Use its own name, or add this one to API_ALLOWED_HOSTS.")(
                scope, receive, send
            )
            return
        await self._app(scope, receive, send)

    def _knows(self, host: str) -> bool:
        return any(name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:])) for name in self._allowed)


def host_name(header: str) -> str:
    """The name in a Host header, without port and brackets, in lower case; empty when it holds anything else besides. Pure."""
    found = _HOST.fullmatch(header.strip().lower())
    return (found["address"] or found["name"] or found["bare"]) if found else ""
