"""The trail of a run: what happened, in order. Events are only ever appended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from psycopg import errors as pg

from treadle.control.cursor import decode_cursor, encode_cursor
from treadle.control.database import Connection, Database
from treadle.control.statements import load_queries, with_lines
from treadle.control.stored import message_text
from treadle.errors import NotFound

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))


class EventType(StrEnum):
    """What kind of thing happened."""

    STATUS_CHANGE = "STATUS_CHANGE"
    LOG = "LOG"
    WARNING = "WARNING"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something to be recorded."""

    event_type: EventType
    message: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was recorded. Type and message may be absent in rows that others wrote."""

    id: UUID
    run_id: UUID
    event_time: datetime
    event_type: str | None
    message: str | None

    @property
    def cursor(self) -> str:
        """What to give as `after` to go on behind this event."""
        return encode_cursor("events", self.event_time, self.id)


def status_change(message: str) -> NewEvent:
    """The run went on to another status."""
    return NewEvent(EventType.STATUS_CHANGE, message)


def log(message: str) -> NewEvent:
    """Something worth knowing."""
    return NewEvent(EventType.LOG, message)


def warning(message: str) -> NewEvent:
    """Something that somebody should look at."""
    return NewEvent(EventType.WARNING, message)


def error(message: str) -> NewEvent:
    """Something that failed."""
    return NewEvent(EventType.ERROR, message)


def append_event(database: Database, run_id: UUID, event: NewEvent) -> None:
    """Record one event in a transaction of its own. Repeating it records it twice.

    Raises:
        NotFound: there is no such run.
    """
    with database.transaction() as connection:
        insert_events(connection, run_id, [event])


def append_once(database: Database, run_id: UUID, event: NewEvent) -> bool:
    """Record an event unless the run has one with the same type and message. False: it had. Two callers at once record one.

    Raises:
        NotFound: there is no such run.
    """
    event_id = uuid5(NAMESPACE_URL, f"treadle:event:{run_id}:{event.event_type}:{message_text(event.message)}")
    with database.transaction() as connection:
        return insert_events(connection, run_id, [event], ids=[event_id]) == 1


def list_events(database: Database, run_id: UUID, *, after: str | None = None, limit: int | None = None) -> list[Event]:
    """Return a run's events, oldest first; none when there is no such run.

    after: the `cursor` of the last event seen. An event is given its time shortly before it is committed, so one that appears late can lie
    up to a transaction's length before another that was seen already: to miss none, a follower reads again from a few seconds back.
    limit: None for all.
    """
    position = decode_cursor("events", after) if after else None
    rows = database.read(
        with_lines(_SQL["list_events"], {"after"} if position else set[str]()),
        {"run_id": run_id, "limit": limit, "after_time": position and position.moment, "after_id": position and position.row_id},
    )
    return [Event(**row) for row in rows]


def insert_events(connection: Connection, run_id: UUID, events: Sequence[NewEvent], *, ids: Sequence[UUID] | None = None) -> int:
    """Record events inside the caller's transaction, in the order given; return how many were new.

    ids: natural keys, so that repeating changes nothing; None for events that may repeat.
    """
    values = {
        "run_id": run_id,
        "ids": list(ids or (uuid4() for _ in events)),
        "types": [str(EventType(event.event_type)) for event in events],
        "messages": [message_text(event.message) for event in events],
    }
    try:
        return len(connection.execute(_SQL["append_events"], values).fetchall())
    except pg.ForeignKeyViolation as error:
        raise NotFound(f"There is no run {run_id}.", hint="List the runs with: treadle run ls", details={"run_id": str(run_id)}) from error


def last_name_after(database: Database, run_id: UUID, beginning: str) -> str | None:
    """The name that ends the latest LOG event beginning so. None: there is no such event."""
    rows = database.read(_SQL["last_event_that_begins"], {"run_id": run_id, "beginning": beginning})
    return str(rows[0]["message"]).removeprefix(beginning) if rows else None


def first_said_at(database: Database, run_id: UUID, message: str) -> datetime | None:
    """When an event with exactly this message was first recorded. None: never."""
    said_at: datetime | None = database.read(_SQL["first_event_time"], {"run_id": run_id, "message": message_text(message)})[0]["said_at"]
    return said_at
