"""A sign of life that PostgreSQL keeps: a lock that belongs to a session and ends with it, however the process ended."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row

from treadle.control.statements import load_queries, with_lines

_SQL: Final = load_queries(Path(__file__).with_name("database.sql"))
_IDLE_SESSION_TIMEOUT_SINCE: Final = 140_000  # PostgreSQL 14
_NETWORK: Final[Mapping[str, Any]] = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 15_000}


class AdvisoryLock:
    """A lock on a connection of its own. Safe to use from any thread; use it as a context manager, or call `release`."""

    def __init__(self, key: str, connection: psycopg.Connection[DictRow], *, held: bool) -> None:
        self.key = key
        self.held = held  # whether it was obtained; `alive` says whether it still is
        self._connection = connection
        if not held:
            connection.close()

    def alive(self) -> bool:
        """Ask the server whether our session still holds the lock. Also counts as a sign of life for the idle timeout."""
        if not self.held or self._connection.closed:
            return False
        try:
            row = self._connection.execute(_SQL["holds_advisory_lock"], {"key": lock_number(self.key)}).fetchone()
        except psycopg.Error:
            self._connection.close()  # the session is gone, and the lock with it
            return False
        return bool(row and row["held"])

    def release(self) -> None:
        """Give the lock back. Safe to repeat."""
        self.held = False
        if self._connection.closed:
            return
        with suppress(psycopg.Error):  # a session that is gone has given the lock back already
            self._connection.execute(_SQL["release_advisory_lock"], {"key": lock_number(self.key)})
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def take_advisory_lock(conninfo: str, key: str, idle_timeout_seconds: float | None) -> AdvisoryLock:
    """Try once, without waiting.

    Raises:
        psycopg.Error: the server cannot be reached.
    """
    parameters: dict[str, Any] = {**_NETWORK, **conninfo_to_dict(conninfo), "application_name": f"treadle {key}"[:63]}
    connection = psycopg.Connection[DictRow].connect(**parameters, autocommit=True, row_factory=dict_row)
    try:
        _prepare_session(connection, idle_timeout_seconds)
        row = connection.execute(_SQL["try_advisory_lock"], {"key": lock_number(key)}).fetchone()
    except BaseException:
        connection.close()
        raise
    return AdvisoryLock(key, connection, held=bool(row and row["held"]))


def lock_number(key: str) -> int:
    """The 64-bit number that PostgreSQL locks on. Two keys of ours share one with a chance of 1 in 2⁶⁴."""
    digest = hashlib.sha256(f"treadle:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _prepare_session(connection: psycopg.Connection[DictRow], idle_timeout_seconds: float | None) -> None:
    known = {"idle_session_timeout"} if connection.info.server_version >= _IDLE_SESSION_TIMEOUT_SINCE else set[str]()
    milliseconds = round((idle_timeout_seconds or 0) * 1000)
    connection.execute(with_lines(_SQL["lock_session_settings"], known), {"idle_session_timeout": str(milliseconds)})
