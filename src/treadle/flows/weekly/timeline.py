"""The timeline of a weekly run: what happened, in order, numbered without gaps. Always in PostgreSQL, also when the runs are on Azure SQL."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from treadle.control.database import Connection, Database
from treadle.control.statements import load_queries
from treadle.control.stored import json_text, message_text
from treadle.flows.weekly.record import Stage, WeeklyEvent

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))


@dataclass(frozen=True, slots=True)
class Told:
    """Something to be put on the timeline. level: INFO, WARNING or ERROR."""

    message: str
    level: str = "INFO"
    stage: Stage | None = None
    data: Mapping[str, Any] | None = None


def append(connection: Connection, run_id: UUID, *told: Told) -> None:
    """Record events inside the caller's transaction, in the order given."""
    connection.execute(_SQL["lock_timeline"], {"run_id": run_id})
    for one in told:
        values = {
            "run_id": run_id,
            "level": one.level,
            "stage": one.stage,
            "message": message_text(one.message),
            "data": None if one.data is None else json_text(one.data),
        }
        connection.execute(_SQL["append_event"], values)


def tell(own: Database, run_id: UUID, *told: Told) -> None:
    """As `append`, in a transaction of its own."""
    with own.transaction() as connection:
        append(connection, run_id, *told)


def list_events(own: Database, run_id: UUID, *, after_seq: int = 0) -> list[WeeklyEvent]:
    """A run's events behind this number, in order; none when there is no such run."""
    return [WeeklyEvent(**row) for row in own.read(_SQL["list_events"], {"run_id": run_id, "after_seq": after_seq})]
