"""Where to begin, whether the service is alive and ready, its numbers, and who the caller is."""

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from treadle.api.guard import PUBLIC, SIGNED_IN, GuardedRoute, Shared, Who, With, answers, needs
from treadle.api.metrics import CONTENT_TYPE
from treadle.api.problems import RETRY_SECONDS, HttpProblem
from treadle.api.shapes.service import Health, Index, Me
from treadle.control.access import Right

router = APIRouter(route_class=GuardedRoute, tags=["service"])

_TEXT: Final = {"description": "Prometheus text", "content": {"text/plain": {"schema": {"type": "string"}}}}


@router.get("/", openapi_extra=needs(PUBLIC), responses=answers(public=True), operation_id="index_at_the_root")
@router.get("/api", openapi_extra=needs(PUBLIC), responses=answers(public=True))
async def index(services: With) -> Index:
    """Show what this service is, and where to go on."""
    return Index(version=services.version)


@router.get("/api/health/live", openapi_extra=needs(PUBLIC), responses=answers(public=True))
async def live() -> Health:
    """Say that the process answers."""
    return Health(status="ok")


@router.get("/api/health/ready", openapi_extra=needs(PUBLIC), responses=answers(public=True))
async def ready(shared: Shared) -> Health:
    """Say whether the databases are there and complete, within 3 seconds. 503 says in `checks` what is missing, not where: anybody may ask."""
    checks = await shared.readiness.outcomes()
    if all(outcome == "ok" for outcome in checks.values()):
        return Health(status="ok", checks=checks)
    missing = ", ".join(f"{name}: {outcome}" for name, outcome in checks.items() if outcome != "ok")
    raise HttpProblem(
        503,
        f"The service is not ready: {missing}.",
        hint="Send requests elsewhere until this answers 200.",
        headers={"Retry-After": str(RETRY_SECONDS)},
        details={"checks": checks},
    )


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
