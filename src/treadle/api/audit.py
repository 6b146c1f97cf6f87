"""The audit of every change."""

from typing import Annotated

from fastapi import APIRouter, Query

from treadle.actions import audit
from treadle.api.guard import GuardedRoute, Who, With, answers, needs
from treadle.api.runs import Limit
from treadle.api.shapes.service import AuditPageShape, AuditReportShape
from treadle.control.access import Right
from treadle.control.audit import AuditPage, AuditReport

router = APIRouter(route_class=GuardedRoute, tags=["audit"])

ExpectedHead = Annotated[str | None, Query(max_length=100, description="A `head` that was kept: everything up to it must still be there.")]


@router.get("/api/audit", openapi_extra=needs(Right.AUDIT_READ), responses=answers(), response_model=AuditPageShape)
def list_audit(  # noqa: PLR0913 - each is a filter of its own
    services: With,
    who: Who,
    *,
    limit: Limit = 50,
    before: Annotated[int | None, Query(ge=1, le=2**53, description="`next` of the page before.")] = None,
    name: Annotated[str | None, Query(max_length=300, description="Only of this person.")] = None,
    action: Annotated[str | None, Query(max_length=300, description="Only this action, such as run.start.")] = None,
    target: Annotated[str | None, Query(max_length=300, description="Only targets that begin so, such as file:superstore.")] = None,
    outcome: Annotated[str | None, Query(max_length=300, description="Only this outcome: asked, done, failed, refused.")] = None,
    unfinished: Annotated[bool, Query(description="Only changes that were asked for and of which nothing more is known.")] = False,
) -> AuditPage:
    """List who asked for which change and what came of it, newest first."""
    return audit.list_audit(
        services, who, limit=limit, before=before, name=name, action=action, target=target, outcome=outcome, unfinished=unfinished
    )  # fmt: skip


@router.get("/api/audit/verify", openapi_extra=needs(Right.AUDIT_READ), responses=answers(), response_model=AuditReportShape)
def verify_audit(services: With, who: Who, expect_head: ExpectedHead = None) -> AuditReport:
    """Recompute the audit's chain of hashes: 200 with what was found, also when somebody has altered it."""
    return audit.verify(services, who, expect_head)
