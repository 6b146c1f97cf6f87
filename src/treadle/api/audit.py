"""The audit of every change."""

from typing import Annotated

from fastapi import APIRouter, Query

from treadle.actions import audit
from treadle.api.guard import GuardedRoute, Who, With, answers, needs
from treadle.api.runs import Limit
from treadle.api.shapes import AuditPageShape
from treadle.control.access import Right
from treadle.control.audit import AuditPage

router = APIRouter(route_class=GuardedRoute, tags=["audit"])

Filter = Annotated[str | None, Query(max_length=300)]


@router.get("/api/audit", openapi_extra=needs(Right.AUDIT_READ), responses=answers(), response_model=AuditPageShape)
def list_audit(  # noqa: PLR0913 - each is a filter of its own
    services: With,
    who: Who,
    *,
    limit: Limit = 50,
    before: Annotated[int | None, Query(ge=1, le=2**53, description="`next` of the page before.")] = None,
    name: Filter = None,
    action: Filter = None,
    target: Filter = None,
    outcome: Filter = None,
    unfinished: Annotated[bool, Query(description="Only changes that were asked for and of which nothing more is known.")] = False,
) -> AuditPage:
    """List who asked for which change and what came of it, newest first."""
    return audit.list_audit(
        services, who, limit=limit, before=before, name=name, action=action, target=target, outcome=outcome, unfinished=unfinished
    )  # fmt: skip
