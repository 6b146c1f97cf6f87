"""The lock that lets one run at a time through."""

from fastapi import APIRouter

from treadle.actions import lock
from treadle.api.guard import GuardedRoute, Who, With, answers, needs
from treadle.api.shapes.runs import LockShape, ReleaseLock
from treadle.control.access import Right
from treadle.control.lock import LockState

router = APIRouter(route_class=GuardedRoute, tags=["lock"])


@router.get("/api/lock", openapi_extra=needs(Right.LOCK_READ), responses=answers(409))
def show_lock(services: With, who: Who) -> LockShape:
    """Show who holds the lock, and since when."""
    return _shape(lock.show(services, who))


@router.post("/api/lock/release", openapi_extra=needs(Right.LOCK_RELEASE, "lock.release", "lock"), responses=answers(409, 415, 502))
def release_lock(services: With, who: Who, body: ReleaseLock) -> LockShape:
    """Free a lock that nobody will free any more, and show what held it. The run's Fabric job is cancelled first and seen to its end."""
    return _shape(lock.release(services, who, body.reason, even_if_running=body.even_if_running))


def _shape(held: LockState) -> LockShape:
    run = held.run
    return LockShape(
        run_id=held.run_id,
        locked_by=held.locked_by,
        locked_at=held.locked_at,
        input_file=run.input_file if run else None,
        status=run.status if run else None,
    )
