"""Who brought which old run back."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

from treadle.control.cursor import decode_cursor, encode_cursor
from treadle.control.database import Connection, Database
from treadle.control.statements import load_queries, with_lines

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))


@dataclass(frozen=True, slots=True)
class Restore:
    """One restore. `target_run_id` is the run that carries it out; `target_status` None: that run is not recorded."""

    id: UUID
    restored_at: datetime
    restored_by: str
    source_run_id: UUID
    target_run_id: UUID | None
    source_input_file: str | None
    target_status: str | None

    @property
    def cursor(self) -> str:
        """What to give as `after` to go on behind this restore."""
        return encode_cursor("restores", self.restored_at, self.id)


def list_restores(database: Database, *, after: str | None = None, limit: int | None = None) -> list[Restore]:
    """Return the restore history, newest first.

    after: the `cursor` of the last one seen. limit: None for all.
    """
    position = decode_cursor("restores", after) if after else None
    rows = database.read(
        with_lines(_SQL["list_restores"], {"after"} if position else set[str]()),
        {"limit": limit, "after_time": position and position.moment, "after_id": position and position.row_id},
    )
    return [Restore(**row) for row in rows]


def insert_restore(connection: Connection, source_run_id: UUID, target_run_id: UUID, restored_by: str) -> None:
    """Record a restore inside the transaction that starts its run."""
    values = {
        "id": uuid5(NAMESPACE_URL, f"treadle:restore:{target_run_id}"),
        "restored_by": restored_by,
        "source_run_id": source_run_id,
        "target_run_id": target_run_id,
    }
    connection.execute(_SQL["add_restore"], values)
