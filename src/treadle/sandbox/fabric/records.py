"""One SQLite file that survives a restart and a kill of the sandbox; every other module of this package reads and writes through it."""

import sqlite3
import threading
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

Row = dict[str, Any]
_TABLES: Final = Path(__file__).with_name("tables.sql")


class Records:
    """The rows of the Fabric sandbox. Safe to use from any thread: one statement, or one `transaction`, at a time."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.RLock()
        self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._database.row_factory = _as_dict
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute("PRAGMA foreign_keys = ON")
        self._database.executescript(_TABLES.read_text(encoding="utf-8"))

    def rows(self, sql: str, **values: Any) -> list[Row]:
        """Run one statement; the rows it returns, which are none for a plain write."""
        with self._lock:
            return self._database.execute(sql, values).fetchall()

    def row(self, sql: str, **values: Any) -> Row | None:
        """The first row of a statement, or None."""
        found = self.rows(sql, **values)
        return found[0] if found else None

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All statements inside, or none; other threads wait."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def fact(self, name: str, first_value: str) -> str:
        """A value that is fixed at the first start of this state directory, such as the id of its capacity."""
        self.rows("INSERT INTO facts (name, value) VALUES (:name, :value) ON CONFLICT DO NOTHING", name=name, value=first_value)
        return self.rows("SELECT value FROM facts WHERE name = :name", name=name)[0]["value"]

    def close(self) -> None:
        """Close the file; the records cannot be used afterwards."""
        with self._lock:
            self._database.close()


def new_id() -> str:
    """A fresh GUID, in the lower case that Fabric answers with."""
    return str(uuid.uuid4())


def fabric_time(moment: datetime) -> str:
    """A UTC time as Fabric's job scheduler writes it: no zone, seven fractional digits."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0"


def read_time(text: str) -> datetime:
    """The inverse of `fabric_time`."""
    return datetime.strptime(text[:26], "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC)


def _as_dict(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> Row:
    return {column[0]: value for column, value in zip(cursor.description, values, strict=True)}
