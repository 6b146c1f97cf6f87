"""A PostgreSQL for each state folder, from the binaries of a wheel: no Docker, no root, no system service.

Whoever uses the server holds a shared lock on a file, and the last to leave stops it; who is killed leaves by dying. A server that
outlived all its users (kill -9) is found again at the next start.
"""

import contextlib
import fcntl
import signal
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import psycopg
import structlog
from psycopg import sql
from psycopg.conninfo import make_conninfo

from treadle.sandbox.postgres_process import OWNER, PORT, ServerProcess

DATABASE: Final = "treadle"
APPLICATION: Final = "treadle"
TABLES_FILE: Final = Path(__file__).with_name("tables.sql")

_log = structlog.get_logger()
_START_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02
_TRIES: Final = 3
_SETTINGS: Final[Mapping[str, str]] = {"max_connections": "200"}
_NOT_DURABLE: Final[Mapping[str, str]] = {"fsync": "off", "full_page_writes": "off"}  # commits still survive a kill of the server


class EmbeddedPostgres:
    """The server of one folder; `with EmbeddedPostgres(folder) as postgres:` joins and leaves it.

    folder: made when missing; holds the data, the log, the locks and, where the path is short enough, the socket.
    durable: False trades safety from a power cut (not from a kill) for speed, for tests. settings: PostgreSQL settings on top, for the user that starts it.
    """

    def __init__(self, folder: Path, *, durable: bool = True, settings: Mapping[str, str] | None = None) -> None:
        self._folder = folder.resolve()
        self._server = ServerProcess(self._folder, {**_SETTINGS, **({} if durable else _NOT_DURABLE), **(settings or {})})
        self._membership: IO[str] | None = None

    def start(self) -> None:
        """Join the server, starting it and making its database where needed. Safe to repeat, also after a crash of the server."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            if self._membership is None:
                membership = (self._folder / "users.lock").open("a")
                fcntl.flock(membership, fcntl.LOCK_SH)
                self._membership = membership
            try:
                self._start_server()
                self._make_database()
            except BaseException:
                self._leave()
                raise

    def stop(self) -> None:
        """Leave the server, and stop it when nobody else uses it. Safe to repeat."""
        if self._membership is not None:
            with self._alone():
                self._leave()

    def restart(self) -> None:
        """Stop in order, whoever else is connected, and start again with the same address."""
        with self._alone():
            self._server.end()
        self.start()

    def stop_immediately(self) -> None:
        """Stop at once without a checkpoint, as `pg_ctl stop -m immediate` does; `start` recovers. For tests."""
        with self._alone():
            self._server.end(signal.SIGQUIT)

    def kill(self) -> None:
        """Crash the server with SIGKILL; `start` recovers. For tests."""
        with self._alone():
            self._server.end(signal.SIGKILL)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it does not run."""
        server = self._server.find()
        return server.pid if server else None

    @property
    def conninfo(self) -> dict[str, str]:
        """How the application connects (host, port, user, dbname): a role that may read and write the five tables and not change them."""
        return self._connection_values(DATABASE, APPLICATION)

    @property
    def dsn(self) -> str:
        """`conninfo` as one connection string."""
        return make_conninfo("", **self.conninfo)

    @property
    def admin_dsn(self) -> str:
        """How the fixture's owner connects, who may create databases and tables."""
        return make_conninfo("", **self._connection_values(DATABASE, OWNER))

    def create_database(self, name: str) -> str:
        """Make another database with the five tables and return the application's connection string for it. For tests."""
        with self._admin("postgres") as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        self._make_tables(name)
        return make_conninfo("", **self._connection_values(name, APPLICATION))

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        """No other process starts, joins, leaves or stops this server meanwhile."""
        with (self._folder / "start.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _leave(self) -> None:
        assert self._membership is not None, "only who has joined can leave"
        try:
            fcntl.flock(self._membership, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # others still use the server
        else:
            self._server.end()
            self._server.forget_socket_folder()
            _log.info("sandbox.postgres.stopped", folder=str(self._folder))
        finally:
            self._membership.close()
            self._membership = None

    def _start_server(self) -> None:
        """Start and wait; a server that ends at once gets another try, as the way to its folder may have been closed just then (as root)."""
        for tries_left in reversed(range(_TRIES)):
            try:
                self._server.start()
                self._wait_until_ready()
            except RuntimeError as error:
                if not tries_left:
                    raise
                _log.warning("sandbox.postgres.start_repeated", reason=str(error))
            else:
                return

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self._admin("postgres").close()
            except psycopg.OperationalError as error:
                if self._server.exit_status() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start; the end of {self._server.log_file} says: {self._log_end()}") from error
                time.sleep(_POLL_SECONDS)
            else:
                return

    def _log_end(self) -> str:
        return " / ".join(self._server.log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])

    def _make_database(self) -> None:
        with self._admin("postgres") as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (APPLICATION,)).fetchone():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(APPLICATION)))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        self._make_tables(DATABASE)

    def _make_tables(self, database: str) -> None:
        with self._admin(database) as connection, connection.transaction():
            self._allow_own_schemas(connection, database)
            if connection.execute("SELECT to_regclass('public.pipeline_runs')").fetchone() == (None,):
                connection.execute(TABLES_FILE.read_bytes())
                role = sql.Identifier(APPLICATION)
                connection.execute(sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}").format(role))
                connection.execute(sql.SQL("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {}").format(role))

    def _allow_own_schemas(self, connection: psycopg.Connection, database: str) -> None:
        """The application may make schemas of its own beside the five tables, which stay closed to its DDL."""
        statement = sql.SQL("GRANT CREATE ON DATABASE {} TO {}")
        connection.execute(statement.format(sql.Identifier(database), sql.Identifier(APPLICATION)))

    def _admin(self, database: str) -> psycopg.Connection:
        return psycopg.connect(make_conninfo("", **self._connection_values(database, OWNER)), autocommit=True, connect_timeout=5)

    def _connection_values(self, database: str, user: str) -> dict[str, str]:
        return {"host": str(self._server.socket_folder), "port": str(PORT), "user": user, "dbname": database}
