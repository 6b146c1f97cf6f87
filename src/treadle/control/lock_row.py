"""The one row of `run_lock` that lets one run at a time through: taken and freed inside the transaction that starts or ends a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from treadle.control.database import Connection
from treadle.control.run import Run, run_from_row
from treadle.control.schema import LOCK_KEY, LOCK_ROW_INSERT
from treadle.control.statements import load_queries
from treadle.errors import Conflict, LockHeld

SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
_TRIES: Final = 3  # the holder may free the lock between our try and our look at who holds it


@dataclass(frozen=True, slots=True)
class LockState:
    """Who holds the lock. `run_id` None: it is free. `run` None although `run_id` is given: no such run is recorded."""

    run_id: UUID | None
    locked_by: str | None
    locked_at: datetime | None
    run: Run | None


def take_lock(connection: Connection, run_id: UUID, locked_by: str) -> None:
    """Take the lock for a run that the same transaction inserted.

    Raises:
        LockHeld: another run has it; the details name it.
        Conflict: the lock's row is missing.
    """
    for _ in range(_TRIES):
        if connection.execute(SQL["take_lock"], {"lock_key": LOCK_KEY, "run_id": run_id, "locked_by": locked_by}).fetchone():
            return
        held = read_lock(connection)
        if held.run_id is not None:
            raise _lock_held(held)
    raise Conflict("The lock is changing hands too quickly to be taken.", hint="Try again.")


def free_lock(connection: Connection, run_id: UUID) -> bool:
    """Free the lock if this run holds it. False: it does not."""
    return connection.execute(SQL["free_lock"], {"lock_key": LOCK_KEY, "run_id": run_id}).fetchone() is not None


def read_lock(connection: Connection) -> LockState:
    """Read the lock inside the caller's transaction.

    Raises:
        Conflict: the lock's row is missing.
    """
    return lock_state(connection.execute(SQL["read_lock"], {"lock_key": LOCK_KEY}).fetchone())


def lock_state(row: Mapping[str, Any] | None) -> LockState:
    """Read a row of the statement `read_lock`; None is an installation without the lock's row."""
    if row is None:
        raise Conflict(
            f"No run can start: run_lock has no row {LOCK_KEY}.",
            hint=f"The owner of the database should run: {LOCK_ROW_INSERT}",
            details={"lock_key": LOCK_KEY},
        )
    run = run_from_row(row) if row["run_id"] is not None else None
    return LockState(row["held_run_id"], row["locked_by"], row["locked_at"], run)


def _lock_held(held: LockState) -> LockHeld:
    what = f"{held.run.input_file} ({held.run.status})" if held.run else f"run {held.run_id}, which is not recorded"
    since = f"{held.locked_at:%Y-%m-%d %H:%M:%S} UTC" if held.locked_at else "an unknown time"
    return LockHeld(
        f"A run is active already: {what}, started by {held.locked_by or 'somebody unknown'}, since {since}.",
        hint="Wait for it to end, or cancel it; an operator can release a dead lock with: treadle lock release --reason …",
        details={
            "run_id": str(held.run_id),
            "locked_by": held.locked_by,
            "locked_at": held.locked_at.isoformat() if held.locked_at else None,
            "input_file": held.run.input_file if held.run else None,
            "status": str(held.run.status) if held.run else None,
        },
    )
