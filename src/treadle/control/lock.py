"""The lock as people see it: who holds it, and freeing one that nobody will free any more."""

from uuid import UUID

import structlog

from treadle.control.database import Database
from treadle.control.events import NewEvent, insert_events, status_change, warning
from treadle.control.lock_row import SQL, LockState, free_lock, lock_state, read_lock
from treadle.control.runs import Ending, end_run, lock_run
from treadle.control.schema import LOCK_KEY
from treadle.control.states import RunStatus
from treadle.control.stored import checked_name, checked_reason
from treadle.errors import Conflict

__all__ = ["LockState", "check_release", "force_release", "show_lock", "sweep_lock"]

log = structlog.get_logger()


def show_lock(database: Database) -> LockState:
    """Return who holds the lock.

    Raises:
        Conflict: the lock's row is missing; the hint has the statement that its owner should run.
    """
    rows = database.read(SQL["read_lock"], {"lock_key": LOCK_KEY})
    return lock_state(rows[0] if rows else None)


def force_release(database: Database, who: str, reason: str, *, run_id: UUID | None = None) -> LockState:
    """Free the lock whoever holds it, and return what held it. Its run, if still active, ends as FAILED with the reason.

    Whether a Fabric job still runs is the caller's to find out first.

    run_id: release only if this run holds the lock, as the operator saw it; None releases from whichever.

    Raises:
        InvalidInput: who or why is not said, or the reason is longer than 500 characters.
        Conflict: the lock is free, or is held by another run than expected, or changed hands meanwhile; nothing was changed.
    """
    who, reason = check_release(who, reason)
    with database.transaction() as connection:
        held = read_lock(connection)
        if held.run_id is None or (run_id is not None and run_id != held.run_id):
            raise _not_held_so(held)
        message = f"The lock was released by {who}: {reason}"
        run = lock_run(connection, held.run_id)  # the run first, then the lock, as finish_run does: no deadlock
        events: list[NewEvent] = []
        if run and not run.status.ended:
            end_run(database, connection, held.run_id, Ending(RunStatus.FAILED, message))
            events.append(status_change(f"{run.status} → FAILED: {message}"))
        if not free_lock(connection, held.run_id):
            raise _not_held_so(read_lock(connection))
        if run:
            insert_events(connection, held.run_id, [*events, warning(message)])
    log.warning("lock.force_released", run_id=str(held.run_id), who=who, reason=reason)
    return held


def check_release(who: str, reason: str) -> tuple[str, str]:
    """Return name and reason of a release as they will be recorded.

    Raises:
        InvalidInput: one is empty, or longer than 500 characters.
    """
    return checked_name("the name of who releases", who, max_chars=500), checked_reason("The reason", reason)


def sweep_lock(database: Database) -> UUID | None:
    """Free the lock when its run has ended or is not recorded, and return that run's id. None: there was nothing to sweep.

    Two steps on purpose: a single UPDATE that looks at the run too could, after waiting for a lock that changes hands, judge the new holder
    by a snapshot in which it does not exist yet. The id that was judged is the id that is released.
    """
    with database.transaction() as connection:
        row = connection.execute(SQL["read_lock"], {"lock_key": LOCK_KEY}).fetchone()
        held = lock_state(row) if row else None
        if held is None or held.run_id is None or (held.run and not held.run.status.ended) or not free_lock(connection, held.run_id):
            return None
        if held.run:
            insert_events(connection, held.run_id, [warning(f"The run is {held.run.status} but still held the lock; the lock was freed.")])
        return held.run_id


def _not_held_so(held: LockState) -> Conflict:
    if held.run_id is None:
        return Conflict("The lock is free: there is nothing to release.", hint="See it with: treadle lock show")
    return Conflict(
        f"The lock is held by run {held.run_id}, not by the one that was to be released.",
        hint="Look again: treadle lock show",
        details={"run_id": str(held.run_id), "locked_by": held.locked_by},
    )
