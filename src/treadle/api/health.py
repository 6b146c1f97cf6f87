"""Whether the service is alive and ready, its numbers, and who the caller is."""

from typing import Final

import structlog
from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from treadle.api.guard import PUBLIC, SIGNED_IN, GuardedRoute, Shared, Who, With, answers, needs
from treadle.api.metrics import CONTENT_TYPE
from treadle.api.shapes import Health, Me
from treadle.control.access import Right
from treadle.control.lock import show_lock
from treadle.control.migrate import pending
from treadle.errors import TreadleError

router = APIRouter(route_class=GuardedRoute, tags=["service"])
log = structlog.get_logger()

_TEXT: Final = {"description": "Prometheus text", "content": {"text/plain": {"schema": {"type": "string"}}}}


@router.get("/api/health/live", openapi_extra=needs(PUBLIC), responses=answers(public=True))
async def live() -> Health:
    """Say that the process answers."""
    return Health(status="ok")


@router.get(
    "/api/health/ready",
    openapi_extra=needs(PUBLIC),
    responses={**answers(public=True), 503: {"model": Health, "description": "Not ready; send requests elsewhere"}},
    response_model=Health,
)
def ready(services: With) -> Health | JSONResponse:
    """Say whether the databases are there and complete. Says what is missing, not where: anybody may ask."""
    checks = {"database": _outcome(lambda: show_lock(services.database)), "own_tables": _outcome(lambda: pending(services.own))}
    if all(outcome == "ok" for outcome in checks.values()):
        return Health(status="ok", checks=checks)
    return JSONResponse(Health(status="not ready", checks=checks).model_dump(), 503, {"Retry-After": "5"})


@router.get("/api/me", openapi_extra=needs(SIGNED_IN), responses=answers())
async def me(services: With, who: Who) -> Me:
    """Show who calls, and what they may do."""
    return Me(
        subject=who.subject, name=who.name, role=who.role, via=who.via, rights=sorted(who.rights), environment=services.environment
    )  # fmt: skip


@router.get("/api/metrics", openapi_extra=needs(Right.METRICS_READ), responses={**answers(), 200: _TEXT}, response_class=Response)
@router.get(
    "/metrics",
    openapi_extra=needs(Right.METRICS_READ),
    responses={**answers(), 200: _TEXT},
    response_class=Response,
    operation_id="metrics_at_the_root",
)
async def metrics(shared: Shared) -> Response:
    """Show this process's numbers for Prometheus."""
    return Response(shared.metrics.as_text(), media_type=CONTENT_TYPE)


def _outcome(look: "object") -> str:
    try:
        found = look()  # pyright: ignore[reportCallIssue, reportUnknownVariableType, reportAttributeAccessIssue]
    except TreadleError as error:
        log.warning("health.not_ready", error=error.message, kind=type(error).__name__)
        return type(error).__name__
    return "migration pending" if isinstance(found, list) and found else "ok"
