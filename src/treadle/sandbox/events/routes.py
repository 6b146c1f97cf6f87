"""The events API on the wire: one list in pages, an API key, a limit of calls; docs/sandbox-differences.md lists the choices."""

import uuid
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from treadle.sandbox.events.store import MAX_PAGE_SIZE, EventsStore, PageOfEvents
from treadle.sandbox.faults import FaultScript

LIST_EVENTS: Final = "events.ListEvents"
_CODES: Final = {400: "invalid_parameter", 401: "invalid_api_key", 404: "not_found", 429: "rate_limited", 501: "not_modelled"}
_MAX_PAGE: Final = 10_000_000


class Refused(Exception):
    """A request that is answered with an error: the HTTP status and what to say."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def events_routes(store: EventsStore, faults: FaultScript) -> list[Route]:
    """The routes of the API; the operation id is the route's name."""

    async def list_events(request: Request) -> Response:
        try:
            return _list_events(store, faults, request)
        except Refused as refused:
            answer = events_error(refused.status, None, refused.message, datetime.now(UTC))
            answer.headers.update(refused.headers)
            return answer

    return [Route("/datasets/ecom_events", list_events, methods=["GET"], name=LIST_EVENTS)]


def events_error(status: int, code: str | None, message: str, now: datetime) -> Response:
    """`{"error": {"code", "message"}}` with an id of the request."""
    _ = now
    usual = _CODES.get(status, "internal_error" if status >= 500 else "invalid_request")
    return JSONResponse({"error": {"code": code or usual, "message": message}}, status, {"X-Request-Id": str(uuid.uuid4())})


def _list_events(store: EventsStore, faults: FaultScript, request: Request) -> Response:
    if not store.knows(request.headers.get("x-api-key", "")):
        raise Refused(401, "The header X-API-KEY has no key that is known here.")
    if (seconds := store.admit()) is not None:
        hint = {} if faults.take("no_retry_after", LIST_EVENTS) else {"Retry_After": str(seconds)}
        raise Refused(429, "Too many requests in this minute.", **hint)
    opens, closes = _moment(request, "start_time"), _moment(request, "end_time")
    if closes < opens:
        raise Refused(400, "end_time is before start_time.")
    number, asked = _count(request, "page", 1, _MAX_PAGE), _count(request, "page_size", 100, MAX_PAGE_SIZE)
    if fault := faults.take("page_drift", LIST_EVENTS):
        store.drift(opens, int(fault.args.get("rows", 1)))
    repeated = faults.take("repeated_page", LIST_EVENTS)
    shown = max(1, int(repeated.args.get("page", number - 1))) if repeated else number
    size = min(asked, store.options.page_cap)
    return _answer(store, faults, store.page(opens, closes, shown, size), {"page": number, "page_size": size})


def _answer(store: EventsStore, faults: FaultScript, page: PageOfEvents, meta: dict[str, int]) -> Response:
    options, events = store.options, b"[" + b",".join(page.records) + b"]"
    if faults.take("bare_array", LIST_EVENTS) or options.envelope == "list":
        return _json(events)
    unknown = faults.take("unknown_envelope", LIST_EVENTS)
    key = str(unknown.args.get("key", "payload")) if unknown else options.envelope
    if options.reports_total:
        wrong = faults.take("wrong_total", LIST_EVENTS)
        meta["total"] = page.total + (int(wrong.args.get("delta", 7)) if wrong else 0)
    told = ",".join(f'"{name}":{value}' for name, value in meta.items())
    return _json(b'{"%s":%s,"meta":{%s}}' % (key.encode(), events, told.encode()))


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json", headers={"X-Request-Id": str(uuid.uuid4())})


def _moment(request: Request, name: str) -> datetime:
    """A time of the query in UTC; one without an offset is UTC already."""
    try:
        moment = datetime.fromisoformat(request.query_params[name])
    except (KeyError, ValueError) as error:
        raise Refused(400, f"{name} must be a time such as 2019-12-02T00:00:00Z.") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _count(request: Request, name: str, usual: int, most: int) -> int:
    text = request.query_params.get(name, str(usual))
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and 1 <= int(text) <= most):
        raise Refused(400, f"{name} must be a whole number from 1 to {most}.")
    return int(text)
