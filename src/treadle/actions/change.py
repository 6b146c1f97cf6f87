"""The one way to change something: who may, before and after in the audit."""

from collections.abc import Generator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any

import structlog

from treadle.actions.services import Services
from treadle.control import audit
from treadle.control.access import Principal, Right, require
from treadle.control.audit import OpenEntry
from treadle.errors import PermissionDenied, TreadleError

log = structlog.get_logger()


@contextmanager
def change(
    services: Services, who: Principal, right: Right | AbstractSet[Right], action: str, target: str, **details: Any
) -> Generator[OpenEntry, None, None]:
    """Let who has the right, or all of them, carry out a change, and record it; record also that somebody tried who has it not.

    Raises:
        PermissionDenied: the right is missing; nothing was done.
        InvalidInput: Treadle's own tables are not there; nothing was done.
        And what is raised inside.
    """
    try:
        for needed in sorted({right} if isinstance(right, Right) else right):
            require(who, needed)
    except PermissionDenied as refusal:
        _record_refusal(services, who, action, target, {**details, "message": refusal.message})
        raise
    with audit.audited(services.own, who, action, target, details) as entry:
        yield entry


def _record_refusal(services: Services, who: Principal, action: str, target: str, details: Mapping[str, Any]) -> None:
    """Best effort: a refusal stands, recorded or not."""
    try:
        audit.record(services.own, who, action, target, "refused", details=details)
    except TreadleError as error:
        log.warning("audit.refusal_not_recorded", action=action, target=target, error=error.message)
