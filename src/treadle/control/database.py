"""The way to PostgreSQL: a pool whose transactions end or say what became of them, advisory locks, and the check of the live schema.

Connections speak UTC: a `timestamp without time zone` arrives as an aware UTC datetime, and an aware datetime is written as UTC.
"""

import re
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, LiteralString, Self

import psycopg
import structlog
from psycopg import errors as pg
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg.types.datetime import TimestampLoader
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from treadle.control import schema
from treadle.control.advisory import AdvisoryLock, take_advisory_lock
from treadle.control.schema import LiveColumn, LiveSchema, SchemaProblem
from treadle.control.statements import load_queries, with_lines
from treadle.errors import InvalidInput, OutcomeUnknown, PermissionDenied, TreadleError, Unavailable, UnexpectedAnswer

__all__ = ["AdvisoryLock", "Connection", "Database", "LiveSchema", "SchemaProblem", "load_queries"]

log = structlog.get_logger()

Connection = psycopg.Connection[DictRow]
Row = DictRow
Values = Mapping[str, Any]

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
_TIMEOUTS: Final = {"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_timeout": "30s"}
_CONNECT_SECONDS: Final = 5
_RECONNECT_SECONDS: Final = 2.0  # a pool that found the server away asks again this often while somebody waits
_CONNECTION_LOST: Final = {"connection": "lost"}
_MAX_ERROR_CHARS: Final = 400
_OWN_NAME: Final = re.compile(r'"?\btreadle(\.|")')  # in the server's words: relation "treadle.jobs", schema "treadle"
_DOCTOR: Final = "See what is missing with: treadle doctor"


class _UtcTimestampLoader(TimestampLoader):
    """Every timestamp of the five tables is UTC without saying so (product.md §1.6); here it is said."""

    def load(self, data: Any) -> datetime:
        try:
            return datetime.fromisoformat(str(data, "ascii")).replace(tzinfo=UTC)  # five times as fast as what psycopg does in Python
        except ValueError:  # infinity, or before Christ: psycopg says what is wrong with it
            return super().load(data).replace(tzinfo=UTC)


class Database:
    """The configured PostgreSQL database. Nothing is contacted before the first use; safe to share between threads, not across a fork."""

    def __init__(self, conninfo: str | Mapping[str, Any], *, pool_size: int = 8, wait_seconds: float = 30) -> None:
        """Remember where the database is.

        Args:
            conninfo: a libpq connection string, or its keywords and values.
            pool_size: the most connections that transactions use at once; each advisory lock has one more of its own.
            wait_seconds: how long a caller waits for a free connection, or for a database that is restarting.
        """
        self._conninfo = conninfo if isinstance(conninfo, str) else make_conninfo(**conninfo)
        self._wait_seconds = wait_seconds
        self._opening = threading.Lock()
        self._schema: LiveSchema | None = None
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            make_conninfo(self._conninfo, connect_timeout=_CONNECT_SECONDS),
            kwargs={"row_factory": dict_row, "application_name": "treadle"},
            connection_class=psycopg.Connection[DictRow],
            min_size=1,
            max_size=pool_size,
            configure=_configure,
            check=self._check_connection,
            reconnect_timeout=_RECONNECT_SECONDS,
            open=False,
            name="treadle",
        )

    @property
    def schema(self) -> LiveSchema:
        """The live schema, read once at the first use."""
        if self._schema is None:
            with self._opening:
                if self._schema is None:
                    self._schema = self._open()
        return self._schema

    @contextmanager
    def transaction(self) -> Generator[Connection, None, None]:
        """Commit what happens inside, or roll all of it back when anything is raised.

        Raises:
            Unavailable: no connection in time, or it broke before the commit; nothing was changed.
            OutcomeUnknown: it broke during the commit, so the change may be there: look before repeating.
        """
        connection = self._take_connection()
        ready_to_commit = False
        try:
            with connection.transaction():
                yield connection
                ready_to_commit = True
        except psycopg.Error as error:
            translated = _translated(error, connection)
            if ready_to_commit and _lost(translated):
                raise OutcomeUnknown(
                    "The connection to the database broke during a commit: the change may or may not be there.",
                    hint="Look at the run before you repeat the command.",
                    details=translated.details,
                ) from error
            raise translated from error
        finally:
            self._pool.putconn(connection)

    def read(self, sql: LiteralString, values: Values | None = None) -> list[Row]:
        """Run one statement that changes nothing and return its rows; tried once more when the connection broke."""
        try:
            return self._read_once(sql, values)
        except (Unavailable, OutcomeUnknown) as error:
            if not _lost(error):
                raise
            return self._read_once(sql, values)

    def adapted(self, sql: LiteralString) -> LiteralString:
        """The statement as this installation's tables allow it: without its optional lines when the optional column is absent."""
        return with_lines(sql, {schema.STATUS_LAST_UPDATED_AT} if self.schema.has_status_last_updated_at else set[str]())

    def now(self) -> datetime:
        """The database's clock, in UTC."""
        moment: datetime = self.read(_SQL["now"])[0]["now"]
        return moment.astimezone(UTC)

    def try_advisory_lock(self, key: str, *, idle_timeout_seconds: float | None = None) -> AdvisoryLock | None:
        """Take the lock `key` on a connection of its own, without waiting. None: somebody else holds it.

        idle_timeout_seconds: the server takes the lock away when the holder is silent for longer (its `alive` not called), so that a process
        that hangs with its socket open does not keep it. None: only the end of the session ends the lock.
        """
        lock = self.hold_advisory_lock(key, idle_timeout_seconds=idle_timeout_seconds)
        return lock if lock.held else None

    def hold_advisory_lock(self, key: str, *, idle_timeout_seconds: float | None = None) -> AdvisoryLock:
        """As `try_advisory_lock`, for use as a context manager: `held` says whether it was obtained."""
        try:
            return take_advisory_lock(make_conninfo(self._conninfo, connect_timeout=_CONNECT_SECONDS), key, idle_timeout_seconds)
        except psycopg.Error as error:
            raise _translated(error, None) from error

    def check(self) -> list[SchemaProblem]:
        """Everything that keeps Treadle from working on this database, with what its owner should do. Empty: all is well."""
        live = self._fresh_schema()
        problems = schema.column_problems(live)
        needed = [(table, right) for table, rights in schema.PRIVILEGES.items() for right in rights]
        tables, rights = zip(*needed, strict=True)
        missing = self.read(_SQL["missing_privileges"], {"tables": list(tables), "privileges": list(rights)})
        problems += schema.privilege_problems(missing)
        if not any(problem.table == "run_lock" for problem in problems) and not self.read(_SQL["lock_row"], {"lock_key": schema.LOCK_KEY}):
            problems.append(schema.lock_row_problem())
        return problems

    def close(self) -> None:
        """Close all pooled connections. Advisory locks live on until they are released."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> LiveSchema:
        """Connect once directly, so that a wrong address or password is told at once and in the server's words; then open the pool."""
        try:
            with Connection.connect(self._conninfo, connect_timeout=_CONNECT_SECONDS, row_factory=dict_row) as connection:
                live = _live_schema(connection.execute(_SQL["live_columns"], {"tables": list(schema.COLUMNS)}).fetchall())
        except psycopg.Error as error:
            raise _translated(error, None) from error
        self._pool.open(wait=False)
        return live

    def _fresh_schema(self) -> LiveSchema:
        return _live_schema(self.read(_SQL["live_columns"], {"tables": list(schema.COLUMNS)}))

    def _read_once(self, sql: LiteralString, values: Values | None) -> list[Row]:
        with self.transaction() as connection:
            return connection.execute(
                sql, values, prepare=False
            ).fetchall()  # planned for these values: a rare status is not a frequent one

    def _take_connection(self) -> Connection:
        _ = self.schema  # opens the pool at the first use
        deadline = time.monotonic() + self._wait_seconds
        while True:
            try:
                return self._pool.getconn(timeout=max(0.01, min(_RECONNECT_SECONDS * 2, deadline - time.monotonic())))
            except PoolTimeout as error:  # asking again also makes the pool try to connect again
                if time.monotonic() >= deadline:
                    raise self._no_connection() from error
            except PoolClosed as error:
                raise Unavailable(
                    "The connection to the database was closed.", hint="This is the end of a command; start it again."
                ) from error

    def _no_connection(self) -> Unavailable:
        """Tell a server that is away from a pool that is busy."""
        try:
            psycopg.connect(self._conninfo, connect_timeout=_CONNECT_SECONDS).close()
        except psycopg.Error as error:
            return _unreachable(error)
        return Unavailable(
            f"All {self._pool.max_size} database connections were in use for {self._wait_seconds:g} s.",
            hint="Try again, or raise PG_POOL_SIZE.",
        )

    def _check_connection(self, connection: Connection) -> None:
        """Before each use. When one is dead, all idle ones are replaced: after a restart of the server they all are."""
        try:
            ConnectionPool[Connection].check_connection(connection)
        except psycopg.Error:
            self._pool.drain()
            raise


def _configure(connection: Connection) -> None:
    connection.adapters.register_loader("timestamp", _UtcTimestampLoader)
    connection.execute(_SQL["session_settings"], _TIMEOUTS)
    connection.commit()


def _live_schema(rows: list[Row]) -> LiveSchema:
    return LiveSchema(tuple(LiveColumn(row["table_name"], row["column_name"], row["column_type"], row["must_be_given"]) for row in rows))


def _translated(error: psycopg.Error, connection: Connection | None) -> TreadleError:
    """PostgreSQL's error by what the caller can do about it. Its text names tables and values, never credentials."""
    text = _in_one_line(error)
    if connection is not None and connection.closed:
        return Unavailable(f"The connection to the database broke: {text}.", hint="Try again.", details=_CONNECTION_LOST)
    if connection is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return _unreachable(error)
    return _refused(error, text)


def _refused(error: psycopg.Error, text: str) -> TreadleError:
    match error:
        case pg.UndefinedTable() | pg.UndefinedColumn() | pg.InvalidSchemaName():
            return _lacking(text)
        case pg.InsufficientPrivilege():
            return PermissionDenied(f"The database user lacks a right: {text}.", hint=_DOCTOR)
        case pg.LockNotAvailable() | pg.QueryCanceled() | pg.DeadlockDetected() | pg.SerializationFailure():
            return Unavailable(f"The database was too busy and gave up: {text}.", hint="Try again.")
        case pg.DataError():
            return InvalidInput(f"The database refused a value: {text}.", hint="Correct the value and try again.")
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return Unavailable(f"The database cannot do this now: {text}.", hint="Try again later.", details={"sqlstate": error.sqlstate})
        case _:
            return UnexpectedAnswer(f"The database refused a statement: {text}.", hint=_DOCTOR, details={"sqlstate": error.sqlstate})


def _lacking(text: str) -> InvalidInput:
    if _OWN_NAME.search(text):
        return InvalidInput("Treadle's own tables are not in the database, or not all of them.", hint="treadle migrate")
    return InvalidInput(f"The database lacks what Treadle needs: {text}.", hint=_DOCTOR)


def _lost(error: TreadleError) -> bool:
    """Whether the connection ended under a statement, so that another one may do better."""
    return error.details == _CONNECTION_LOST


def _unreachable(error: psycopg.Error) -> Unavailable:
    """The driver's words name the server's address or path: they are for the log, and for whoever runs Treadle, after the message."""
    words = _in_one_line(error)
    log.info("database.unreachable", error=words)
    return Unavailable(
        "The database cannot be reached.", hint=f"Check that it runs, and the settings PG_HOST to PG_SSLMODE. The driver says: {words}"
    )


def _in_one_line(error: psycopg.Error) -> str:
    text = " ".join((error.diag.message_primary or str(error)).split()).rstrip(".")
    return text[:_MAX_ERROR_CHARS] or type(error).__name__
