"""The admin port: plain HTTP on loopback to script faults, set the clock and read what was asked.

GET /faults → {"rules", "unused", "log"}; POST /faults takes a rule, a list of rules or {"rules": [...]}; DELETE /faults clears.
GET /clock → {"now", "frozen"}; POST /clock takes {"set": "2026-01-31T12:00:00Z"}, {"advance_seconds": 90}, {"frozen": true|false} or {"reset": true}.
GET /requests → {"requests": [{operation, method, path, status, fault}]}, the latest last; DELETE /requests forgets them.
GET /endpoints → the base URLs.
GET /events → {"weeks", "options"} of the events API; POST /events takes {"week": "2019-12-09", "rows": 5000, "defect_rate": 0.02, …}
(events/store.py lists what a week has), {"week": "2019-12-09", "late_events": {"added": 20, "changed_every": 50}} or {"options": {…}};
DELETE puts back the weeks and options of a fresh sandbox.
/salesforce: see salesforce/routes_admin.py.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from treadle.sandbox.clock import Clock
from treadle.sandbox.endpoints import LOOPBACK_HOSTS, Endpoints
from treadle.sandbox.events.store import EventsStore
from treadle.sandbox.faults import FaultScript
from treadle.sandbox.middleware import RecordedRequest
from treadle.sandbox.salesforce.cloud import SalesforceCloud
from treadle.sandbox.salesforce.routes_admin import salesforce_admin


def admin_app(  # noqa: PLR0913, PLR0917 - each is one thing to reach
    clock: Clock,
    faults: FaultScript,
    requests: deque[RecordedRequest],
    endpoints: Endpoints,
    events: EventsStore,
    salesforce: SalesforceCloud,
) -> Starlette:
    """The admin application. It refuses foreign Host names and wants JSON, so that no web page in a browser can reach it."""

    async def read_faults(_: Request) -> Response:
        return JSONResponse({"rules": faults.rules(), "unused": faults.unused(), "log": faults.log})

    async def post_faults(request: Request) -> Response:
        faults.post_json(await _json(request))
        return JSONResponse({"rules": faults.rules()}, 201)

    async def clear_faults(_: Request) -> Response:
        faults.clear()
        return Response(status_code=204)

    async def read_clock(_: Request) -> Response:
        return _clock_answer(clock)

    async def move_clock(request: Request) -> Response:
        _move(clock, await _json(request))
        return _clock_answer(clock)

    async def read_requests(_: Request) -> Response:
        return JSONResponse({"requests": [asdict(request) for request in list(requests)]})

    async def forget_requests(_: Request) -> Response:
        requests.clear()
        return Response(status_code=204)

    async def read_endpoints(_: Request) -> Response:
        return JSONResponse({name: str(value) for name, value in asdict(endpoints).items()})

    routes = [
        Route("/faults", _checked(read_faults), methods=["GET"]),
        Route("/faults", _checked(post_faults), methods=["POST"]),
        Route("/faults", _checked(clear_faults), methods=["DELETE"]),
        Route("/clock", _checked(read_clock), methods=["GET"]),
        Route("/clock", _checked(move_clock), methods=["POST"]),
        Route("/requests", _checked(read_requests), methods=["GET"]),
        Route("/requests", _checked(forget_requests), methods=["DELETE"]),
        Route("/endpoints", _checked(read_endpoints), methods=["GET"]),
    ]
    routes += _events_routes(events)
    routes += [Route(path, _checked(handler), methods=[method]) for method, path, handler in salesforce_admin(salesforce, _json)]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=sorted(LOOPBACK_HOSTS))])


def _events_routes(events: EventsStore) -> list[Route]:
    async def read(_: Request) -> Response:
        return JSONResponse({"weeks": [plan.to_json() for plan in events.weeks()], "options": asdict(events.options)})

    async def change(request: Request) -> Response:
        _change_events(events, await _json(request))
        return await read(request)

    async def reset(_: Request) -> Response:
        events.reset()
        return Response(status_code=204)

    handlers = {"GET": read, "POST": change, "DELETE": reset}
    return [Route("/events", _checked(handler), methods=[method]) for method, handler in handlers.items()]


def _checked(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, 400)

    return endpoint


async def _json(request: Request) -> Any:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise ValueError("send Content-Type: application/json")
    return await request.json()


def _move(clock: Clock, change: dict[str, Any]) -> None:
    if not change or set(change) - {"set", "advance_seconds", "frozen", "reset"}:
        raise ValueError("the clock takes set, advance_seconds, frozen or reset")
    if change.get("reset"):
        clock.reset()
    if "set" in change:
        clock.set(datetime.fromisoformat(change["set"]))
    if "advance_seconds" in change:
        clock.advance(float(change["advance_seconds"]))
    if "frozen" in change:
        (clock.freeze if change["frozen"] else clock.resume)()


def _change_events(events: EventsStore, change: dict[str, Any]) -> None:
    plan = dict(change)
    options, week, late = plan.pop("options", {}), plan.pop("week", None), plan.pop("late_events", {})
    if (plan or late) and week is None:
        raise ValueError("events takes a week, with what is to change of it, or options")
    events.options.set(options)
    if plan:
        events.set_week(date.fromisoformat(str(week)), **plan)
    if late:
        events.add_late_events(date.fromisoformat(str(week)), **late)


def _clock_answer(clock: Clock) -> Response:
    return JSONResponse({"now": clock.now().isoformat(), "frozen": clock.frozen})
