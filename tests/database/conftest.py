"""A real PostgreSQL for the control plane: one server per test process, a fresh database with the five tables per test."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from control_trials import new_run
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from treadle.control import runs
from treadle.control.database import Database
from treadle.control.migrate import migrate
from treadle.control.runs import Run
from treadle.sandbox.postgres import EmbeddedPostgres

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedPostgres]:
    with server_folder() as folder, EmbeddedPostgres(folder, durable=False) as running:
        yield running


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
    """A server of this test's own, which it may stop."""
    with server_folder() as folder, EmbeddedPostgres(folder, durable=False) as running:
        yield running


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder outside pytest's: under root the server runs as another user, and each new pytest session closes pytest's root to others."""
    with tempfile.TemporaryDirectory(prefix="treadle-pg-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def conninfo(server: EmbeddedPostgres) -> str:
    """The application's way to a database of this test's own; its user may not alter tables."""
    return server.create_database(f"test_{next(_numbers)}")


@pytest.fixture
def owner_conninfo(server: EmbeddedPostgres, conninfo: str) -> str:
    """The way of the user who owns the tables."""
    name = conninfo_to_dict(conninfo)["dbname"]
    return make_conninfo(server.admin_dsn, dbname=name)


@pytest.fixture
def as_owner(owner_conninfo: str) -> Callable[..., list[tuple]]:
    """Run SQL that only the owner may, and return its rows."""

    def execute(statement: str, *values: object) -> list[tuple]:
        with psycopg.connect(owner_conninfo, autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    return execute


@pytest.fixture
def database(conninfo: str) -> Iterator[Database]:
    with Database(conninfo, pool_size=8, wait_seconds=20) as opened:
        yield opened


@pytest.fixture
def started(database: Database) -> Run:
    """A run that is SUBMITTED and holds the lock."""
    return runs.start_run(database, new_run(), "Ana started a run.")


@pytest.fixture
def own(database: Database) -> Database:
    """The test's database with the tables of our own."""
    migrate(database)
    return database
