"""The lock: who holds it, and freeing a dead one."""

from uuid import UUID

from treadle.actions.change import change
from treadle.actions.services import Services
from treadle.control import lock
from treadle.control.access import Principal, Right, require
from treadle.control.lock import LockState
from treadle.flows.sales.release import release_lock


def show(services: Services, who: Principal) -> LockState:
    """Who holds the lock; right `lock:read`."""
    require(who, Right.LOCK_READ)
    return lock.show_lock(services.database)


def release(  # noqa: PLR0913 - who, why, whose, and how far: each named
    services: Services,
    who: Principal,
    reason: str,
    *,
    run_id: UUID | None = None,
    even_if_running: bool = False,
    wait_seconds: float = 30,
) -> LockState:
    """Free the lock and return what held it; right `lock:release`, and `lock:override` to free it although its job may still run.

    run_id: only from this run. Raises PermissionDenied, and what `release_lock` raises.
    """
    right = Right.LOCK_OVERRIDE if even_if_running else Right.LOCK_RELEASE
    with change(services, who, right, "lock.release", "lock", reason=reason, even_if_running=even_if_running) as entry:
        held = release_lock(services.sales, who.name, reason, run_id=run_id, even_if_running=even_if_running, wait_seconds=wait_seconds)
        entry.note(run_id=held.run_id, locked_by=held.locked_by)
        return held
