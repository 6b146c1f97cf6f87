"""The one door that every route is behind: signed in, within the rate, permitted, with parameters that are known and a body of the right kind – in this order.

A route names its right once, by `needs(...)`; the OpenAPI shows it as `x-right` and the door reads it from there, so neither can be forgotten.
"""

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Annotated, Any, Final, cast

import structlog
from fastapi import Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from treadle.actions.services import Services
from treadle.api.config import ApiSettings
from treadle.api.hub import EventHub, Welcome
from treadle.api.limits import RateLimit, declared_length
from treadle.api.metrics import Metrics
from treadle.api.problems import HttpProblem, documented
from treadle.api.readiness import Readiness
from treadle.api.signing_in import SignIn
from treadle.control import audit
from treadle.control.access import Principal, Right, allowed, require
from treadle.errors import InvalidInput, PermissionDenied, TreadleError

log = structlog.get_logger()

PUBLIC: Final = "public"
SIGNED_IN: Final = "signed-in"  # any principal that has a role
BYTES: Final = "application/offset+octet-stream"
_OR: Final = " or "
_WITH_BODY: Final = ("POST", "PUT", "PATCH")


class App:
    """What the routes share; `app.state.treadle`."""

    def __init__(self, services: Services, settings: ApiSettings) -> None:
        self.services, self.settings = services, settings
        self.metrics = Metrics()
        self.hub = EventHub(services.database, services.own, settings, self.metrics)
        self.sign_in = SignIn(services.own, settings)
        self.rate = RateLimit(settings.rate_limit)
        self.readiness = Readiness(services)
        self.receiving: Counter[str] = Counter()  # uploads under way by their senders' subjects, on the event loop's thread alone


def either(*rights: Right) -> str:
    """Any of these rights opens the door; which of them it takes is said by what is asked for, and the action refuses the others."""
    return _OR.join(rights)


def needs(right: Right | str, action: str | None = None, target: str = "") -> dict[str, Any]:
    """What a route's `openapi_extra` says of who may call it, and how the audit names who tried without the right.

    action: as the action itself names its change; None where nothing is changed. target: the same, with names of the path in braces.
    """
    audited = {"x-audit": {"action": action, "target": target}} if action else {}
    return {"x-right": str(right)} | audited | ({} if right == PUBLIC else {"security": [{"bearer": []}]})


def answers(*statuses: int, public: bool = False) -> dict[int | str, dict[str, Any]]:
    """The problem answers of a route: its own, and those that any route may give."""
    own = {400, 413, 421, 422, 431, 500, 503, 504, *statuses}
    return documented(*(own if public else own | {401, 403, 429}))


class GuardedRoute(APIRoute):
    """A route behind the door."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's, after the checks. A route that does not say who may call it is a defect that shows at start."""
        right = cast("Mapping[str, str]", self.openapi_extra or {}).get("x-right")
        if right is None:
            raise LookupError(f"{self.path} does not say which right it needs")
        handler = super().get_route_handler()
        known = [str(parameter.alias) for parameter in self.dependant.query_params]

        async def guarded(request: Request) -> Response:
            if right != PUBLIC:
                await _admit(request, right, self)
            _require_known_parameters(request, known)
            _require_kind_of_body(request, takes_json=self.body_field is not None)
            return await handler(request)

        return guarded


def shared_of(app: FastAPI) -> App:
    """What the routes of this app share."""
    return cast("App", app.state.treadle)


async def app_of(request: Request) -> App:
    """What the routes share."""
    return shared_of(request.app)


async def services_of(request: Request) -> Services:
    """What the actions work with."""
    return shared_of(request.app).services


async def principal_of(request: Request) -> Principal:
    """Who calls; only on routes that are not public."""
    return cast("Principal", request.state.principal)


async def welcome_of(request: Request) -> Welcome:
    """What says, as long as an answer streams, whether its caller is still let in: a token may be revoked, or end."""
    sign_in, header = shared_of(request.app).sign_in, request.headers.get("authorization")

    async def welcome() -> bool:
        return sign_in.recalled(header) is not None or await run_in_threadpool(sign_in.still_proven, header)

    return welcome


Shared = Annotated[App, Depends(app_of)]
With = Annotated[Services, Depends(services_of)]
Who = Annotated[Principal, Depends(principal_of)]
StillWelcome = Annotated[Welcome, Depends(welcome_of)]


async def _admit(request: Request, right: str, route: APIRoute) -> None:
    app = await app_of(request)
    address = request.client.host if request.client else "unknown"
    header = request.headers.get("authorization")
    principal = app.sign_in.recalled(header) or await run_in_threadpool(app.sign_in.principal, header, address)
    request.state.principal = principal
    app.rate.take(principal.subject, request.method, route.path)
    try:
        _require(principal, right)
    except PermissionDenied as refusal:
        if audited := (route.openapi_extra or {}).get("x-audit"):
            target = audited["target"].format_map({name: _printable(value) for name, value in request.path_params.items()})
            await run_in_threadpool(_record_refusal, app.services, principal, audited["action"], target, refusal)
        raise


def _record_refusal(services: Services, who: Principal, action: str, target: str, refusal: PermissionDenied) -> None:
    """Best effort, as in `actions.change`: who tried to change something without the right is in the audit."""
    details = {"right": refusal.details.get("right"), "message": refusal.message}
    try:
        audit.record(services.own, who, action, target, "refused", details=details)
    except TreadleError as error:
        log.warning("audit.refusal_not_recorded", action=action, error=error.message)


def _require(principal: Principal, right: str) -> None:
    if right == SIGNED_IN:
        _require_role(principal)
        return
    rights = [Right(each) for each in right.split(_OR)]
    if not any(allowed(principal, each) for each in rights):
        require(principal, rights[0])


def _require_role(principal: Principal) -> None:
    if principal.role is None:
        raise PermissionDenied(
            f"{principal.name} is known, but has no role here.", hint="Ask an admin for a role.", details={"right": SIGNED_IN, "role": None}
        )


def _require_known_parameters(request: Request, known: Sequence[str]) -> None:
    """A parameter that nobody reads is a mistake that should be told: a filter that was misspelt would show everything."""
    unknown = sorted({_printable(name)[:60] for name in request.query_params} - set(known))[:10]
    if unknown:
        raise InvalidInput(
            f"This route knows no query parameter {', '.join(unknown)}.",
            hint=f"It knows: {', '.join(known)}." if known else "It takes none.",
            details={"unknown": unknown, "known": list(known)},
        )


def _printable(text: str) -> str:
    """The text as the audit can keep it and a log show it."""
    return text[:300] if text.isprintable() else ascii(text[:300])


def _require_kind_of_body(request: Request, *, takes_json: bool) -> None:
    """A body of another kind is refused as such; without this it would be told as a fault inside it."""
    if not takes_json or request.method not in _WITH_BODY or not _has_body(request):
        return
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise HttpProblem(
            415, f"The body is {kind or 'of no named kind'}; application/json is read here.", hint="Send Content-Type: application/json."
        )


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or declared_length(request.headers) > 0
