"""The audit: read it, and check that nobody has changed it."""

from typing import Any

from treadle.actions.services import Services
from treadle.control import audit
from treadle.control.access import Principal, Right, require
from treadle.control.audit import AuditPage, AuditReport


def list_audit(services: Services, who: Principal, **filters: Any) -> AuditPage:
    """One page of entries, newest first; right `audit:read`; the filters are those of `audit.list_audit`."""
    require(who, Right.AUDIT_READ)
    return audit.list_audit(services.own, **filters)


def verify(services: Services, who: Principal, expect_head: str | None = None) -> AuditReport:
    """Recompute the chain; right `audit:read`."""
    require(who, Right.AUDIT_READ)
    return audit.verify(services.own, expect_head)
