"""What the server does around each request of a service.

It finds the operation id, applies a scripted wire fault, turns what is not modelled into a 501 that names it, and records
operation, method, path and status (never headers, queries or bodies: they may hold tokens).
"""

from collections import deque
from dataclasses import dataclass

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from treadle.sandbox.clock import Clock
from treadle.sandbox.faults import WIRE_KINDS, FaultScript
from treadle.sandbox.service import Service
from treadle.sandbox.wire import faulty

_log = structlog.get_logger()


@dataclass(slots=True)
class RecordedRequest:
    """A request, from its arrival on; status is 0 until it is answered and stays 0 when the connection is cut, fault is the kind that hit it."""

    operation: str
    method: str
    path: str
    status: int
    fault: str | None


class ServiceMiddleware:
    """The ASGI app that stands before one service."""

    def __init__(self, service: Service, clock: Clock, faults: FaultScript, requests: deque[RecordedRequest]) -> None:
        self._service, self._clock, self._faults, self._requests = service, clock, faults, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, by the script if it has a fault for it."""
        operation = self._service.operation_of(scope)
        fault = self._faults.take_any(WIRE_KINDS, operation) if operation else None
        app = self._service.app if operation else self._not_modelled
        name = operation or f"{self._service.name}.NotModelled"
        record = RecordedRequest(name, scope["method"], scope["path"], 0, fault.kind if fault else None)
        self._requests.append(record)

        async def watch(message: Message) -> None:
            record.status = message.get("status", record.status)
            await send(message)

        try:
            await (faulty(fault, self._service, self._clock) if fault else app)(scope, receive, watch)
        except ClientDisconnect:
            _log.info("sandbox.request.cut", operation=operation)
        except Exception:  # noqa: BLE001 - whatever broke in a route, the client gets the service's envelope and the log the traceback
            _log.exception("sandbox.request.crashed", operation=operation, method=scope["method"], path=scope["path"])
            if record.status == 0:
                await self._refusal(500, "The sandbox failed; its log says why.")(scope, receive, watch)

    async def _not_modelled(self, scope: Scope, receive: Receive, send: Send) -> None:
        what = f"{scope['method']} {scope['path']}: not modelled by the Treadle sandbox; see docs/sandbox-differences.md"
        await self._refusal(501, what)(scope, receive, send)

    def _refusal(self, status: int, message: str) -> ASGIApp:
        return self._service.error(status, None, message, self._clock.now())
