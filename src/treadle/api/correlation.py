"""The outermost layer: names each request, times and counts it, adds the headers every answer has, and answers a defect without showing it."""

import re
import time
from typing import Any, Final
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from treadle.api.metrics import Metrics
from treadle.api.problems import problem

log = structlog.get_logger()

HEADER: Final = "X-Correlation-Id"
_ACCEPTED: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{7,63}")
SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Strict-Transport-Security": "max-age=31536000",  # browsers heed it only over https
    "Cache-Control": "no-store",  # unless the route says otherwise
}


class Correlated:
    """ASGI layer around everything else."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = correlation_id(Headers(scope=scope).get(HEADER))
        scope.setdefault("state", {})["correlation_id"] = name
        answer = _Answer(send, name)
        began = time.perf_counter()
        with structlog.contextvars.bound_contextvars(correlation_id=name):
            try:
                await self._app(scope, receive, answer.send)
            except Exception as error:  # noqa: BLE001 - the last net: whatever it is, the caller sees none of it
                await self._answer_defect(scope, receive, answer, error)
            self._note(scope, answer.status, time.perf_counter() - began)

    async def _answer_defect(self, scope: Scope, receive: Receive, answer: "_Answer", error: Exception) -> None:
        if answer.status:  # the answer had begun: all that is left is to break it off, so that nobody takes it for whole
            log.warning("request.broken_off", error=type(error).__name__)
            raise error
        log.error("request.crashed", exc_info=error)
        hint = f"Report it with the correlation id {answer.correlation_id}."
        response = problem(
            scope, 500, "internal", "The service failed; the reason is in its log.", title="A defect of the service", hint=hint
        )
        await response(scope, receive, answer.send)

    def _note(self, scope: Scope, status: int, elapsed_seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None)
        method = scope["method"] if route else "any"  # what leads nowhere may have any method and any path: they are no labels
        self._metrics.request_answered(method, route or "none", status, elapsed_seconds)
        log.info(
            "request.answered",
            method=method,
            route=route or "none",
            status=status,
            elapsed_ms=round(elapsed_seconds * 1000, 1),
            who=_who(scope),
        )


class _Answer:
    """What has been sent so far, with our headers on it."""

    def __init__(self, send: Send, correlation_id: str) -> None:
        self._send, self.correlation_id, self.status = send, correlation_id, 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            headers = MutableHeaders(scope=message)
            headers[HEADER] = self.correlation_id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


def correlation_id(given: str | None) -> str:
    """The caller's name for the request if it is a plain one, else a new one: what goes into logs is not the caller's to shape freely."""
    return given if given and _ACCEPTED.fullmatch(given) else uuid4().hex


def _who(scope: Scope) -> Any:
    return getattr(scope.get("state", {}).get("principal"), "subject", None)
