"""The ledger of what is sent to Salesforce: written before each call, so that whoever finds it after a crash knows what may have happened.

A part goes PLANNED → SENDING → SENT → SETTLED; Collections skip SENT. DROPPED: nothing of it counts, and its rows are planned anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow

from treadle.control.database import Database
from treadle.control.statements import load_queries
from treadle.errors import Conflict
from treadle.flows.weekly.week import Week

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))

PartChannel = Literal["collections", "bulk"]
PartState = Literal["PLANNED", "SENDING", "SENT", "SETTLED", "DROPPED"]


@dataclass(frozen=True, slots=True)
class Sync:
    """One carrying out of one plan."""

    sync_id: UUID
    run_id: UUID
    target: str
    week: Week


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """Rows that are sent together; `sha256` of the file that holds them."""

    part: int
    channel: PartChannel
    row_count: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part as the ledger has it. The counts are there once it is settled; undecided: locked, or never tried."""

    sync_id: UUID
    part: int
    channel: PartChannel
    state: PartState
    row_count: int
    sha256: str
    job_id: str | None
    sending_at: datetime | None
    created: int
    updated: int
    refused: int
    undecided: int

    @property
    def open(self) -> bool:
        """Whether its fate is not recorded yet."""
        return self.state not in {"SETTLED", "DROPPED"}


@dataclass(frozen=True, slots=True)
class PartCounts:
    """What became of the rows of a part."""

    created: int = 0
    updated: int = 0
    refused: int = 0
    undecided: int = 0


def unfinished_sync(own: Database, target: str, week: Week) -> Sync | None:
    """The sync of this week to this target that was begun and not ended."""
    rows = own.read(_SQL["unfinished_sync"], _week_values(target, week))
    return Sync(rows[0]["sync_id"], rows[0]["run_id"], target, week) if rows else None


def open_sync(own: Database, sync: Sync, plan_digest: str, parts: Iterable[PlannedPart]) -> None:
    """Write down the sync and all its parts, in one transaction.

    Raises:
        Conflict: another process is sending this week to this target.
    """
    values = {"sync_id": sync.sync_id, "run_id": sync.run_id, "plan_digest": plan_digest, **_week_values(sync.target, sync.week)}
    with own.transaction() as connection:
        if connection.execute(_SQL["open_sync"], values).fetchone() is None:
            raise Conflict(f"The week {sync.week} is being sent to Salesforce by another process.", hint="Wait for it to end.")
        _plan(connection.cursor(), sync, parts)


def add_parts(own: Database, sync: Sync, parts: Iterable[PlannedPart]) -> None:
    """Write down more parts of a sync: rows that are tried again."""
    with own.transaction() as connection:
        _plan(connection.cursor(), sync, parts)


def list_parts(own: Database, sync: Sync) -> list[Part]:
    """All parts, in the order in which they are sent."""
    return [Part(**row) for row in own.read(_SQL["list_parts"], {"sync_id": sync.sync_id})]


def mark_sending(own: Database, part: Part) -> datetime:
    """Write down that Salesforce is about to be called, and return when that was (UTC). Raises Conflict as `_move`."""
    return _move(own, "mark_sending", part)["sending_at"]


def record_job(own: Database, part: Part, job_id: str) -> None:
    """Write down which job is the part's, before the job gets its rows."""
    _move(own, "record_job", part, job_id=job_id)


def mark_sent(own: Database, part: Part) -> None:
    """Write down that the job is about to be told to begin."""
    _move(own, "mark_sent", part)


def drop_part(own: Database, part: Part) -> None:
    """Nothing of it counts. Safe to repeat."""
    _write(own, "drop_part", part)


def settle_part(own: Database, part: Part, counts: PartCounts) -> None:
    """Every row's fate is recorded. Safe to repeat."""
    counted = {"created": counts.created, "updated": counts.updated, "refused": counts.refused, "undecided": counts.undecided}
    _write(own, "settle_part", part, **counted)


def finish_sync(own: Database, sync: Sync) -> None:
    """End a sync none of whose parts is open. Raises Conflict when one is, or when somebody else has ended it."""
    with own.transaction() as connection:
        if connection.execute(_SQL["finish_sync"], {"sync_id": sync.sync_id}).fetchone() is None:
            raise Conflict(
                f"The sync of the week {sync.week} is not as it was left.", hint="Run the week again: it goes on where it stands."
            )


@dataclass(frozen=True, slots=True)
class Carried:
    """What a run has brought to Salesforce already, before it was interrupted, and by which syncs."""

    sync_ids: tuple[UUID, ...] = ()
    created: int = 0
    updated: int = 0


def carried_by(own: Database, run_id: UUID, target: str, week: Week, unfinished: Sync | None) -> Carried:
    """What the syncs of this run, and an unfinished one that it has taken over, have recorded."""
    values = {"run_id": run_id, "sync_id": unfinished.sync_id if unfinished else None, **_week_values(target, week)}
    row = own.read(_SQL["counts_of_run"], values)[0]
    return Carried(tuple(row["sync_ids"] or ()), row["created"], row["updated"])


def known_jobs(own: Database, job_ids: Iterable[str]) -> set[str]:
    """Those of the jobs that stand in the ledger."""
    return {row["job_id"] for row in own.read(_SQL["known_jobs"], {"job_ids": list(job_ids)})}


def _plan(cursor: Cursor[DictRow], sync: Sync, parts: Iterable[PlannedPart]) -> None:
    rows = [
        {"sync_id": sync.sync_id, "part": part.part, "channel": part.channel, "row_count": part.row_count, "sha256": part.sha256}
        for part in parts
    ]
    cursor.executemany(_SQL["plan_part"], rows)


def _move(own: Database, statement: str, part: Part, **values: str) -> DictRow:
    with own.transaction() as connection:
        row = connection.execute(_SQL[statement], {"sync_id": part.sync_id, "part": part.part, **values}).fetchone()
    if row is None:
        raise Conflict(
            f"Part {part.part} of the sync is being sent by another process.",
            hint="Wait for it to end.",
            details={"sync_id": str(part.sync_id)},
        )
    return row


def _write(own: Database, statement: str, part: Part, **values: int) -> None:
    with own.transaction() as connection:
        connection.execute(_SQL[statement], {"sync_id": part.sync_id, "part": part.part, **values})


def _week_values(target: str, week: Week) -> dict[str, object]:
    return {"target": target, "week_start": week.start, "week_end": week.end}
