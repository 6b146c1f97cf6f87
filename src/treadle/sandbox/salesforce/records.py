"""One SQLite file that survives a restart and a kill of the sandbox: records, jobs, results, and what was used of the allocations."""

import json
import re
import sqlite3
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

Row = dict[str, Any]
_HERE: Final = Path(__file__)


class Records:
    """The rows of the org, by named statements of statements.sql. Safe to use from any thread: one statement, or one `transaction`, at a time."""

    def __init__(self, file: Path) -> None:
        self._sql = _statements(_HERE.with_name("statements.sql").read_text(encoding="utf-8"))
        self._lock = threading.RLock()
        self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._database.row_factory = _as_dict
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "cache_size = -65536"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.executescript(_HERE.with_name("tables.sql").read_text(encoding="utf-8"))

    def rows(self, name: str, **values: Any) -> list[Row]:
        """Run one statement; the rows it returns, which are none for a plain write."""
        with self._lock:
            return self._database.execute(self._sql[name], values).fetchall()

    def row(self, name: str, **values: Any) -> Row | None:
        """The first row of a statement, or None."""
        found = self.rows(name, **values)
        return found[0] if found else None

    def found(self, name: str, **values: Any) -> list[Row]:
        """What a statement finds that gives all its rows as one list of JSON, in `found`."""
        return json.loads(self.rows(name, **values)[0]["found"])

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All statements inside, or none; other threads wait. A commit is in the file before this returns: it outlasts a kill of the process."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def close(self) -> None:
        """Close the file; the records cannot be used afterwards."""
        with self._lock:
            self._database.close()


def _as_dict(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> Row:
    return {column[0]: value for column, value in zip(cursor.description, values, strict=True)}


def _statements(text: str) -> Mapping[str, str]:
    parts = re.split(r"^-- (\w+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
