"""The database that comes with the sandbox: it starts anywhere, survives what machines do, and belongs to whoever uses it."""

import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest

from treadle.sandbox.postgres import EmbeddedPostgres

FIVE_TABLES = {"pipeline_runs", "run_lock", "run_events", "run_artifacts", "run_restores"}


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("state") / "postgres", durable=False) as server:
        yield server


def query(conninfo: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def tables(conninfo: str) -> set[object]:
    return {row[0] for row in query(conninfo, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")}


def test_it_comes_with_the_five_tables(postgres):
    assert tables(postgres.dsn) == FIVE_TABLES


def test_another_database_has_the_five_tables_too(postgres):
    assert tables(postgres.create_database("another")) == FIVE_TABLES


def test_the_application_may_write_rows_but_not_change_tables(postgres):
    query(postgres.dsn, "DELETE FROM run_events")
    for statement in ("CREATE TABLE extra (id int)", "ALTER TABLE pipeline_runs ADD COLUMN extra int", "DROP TABLE run_lock"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            query(postgres.dsn, statement)


def test_it_listens_on_no_network_port(postgres):
    assert query(postgres.admin_dsn, "SHOW listen_addresses") == [("",)]


def test_rows_and_address_survive_stop_start_crash_and_immediate_stop(postgres):
    query(postgres.admin_dsn, "CREATE TABLE IF NOT EXISTS kept (n int)")
    address = postgres.admin_dsn
    for number, interrupt in enumerate((postgres.restart, postgres.stop_immediately, postgres.kill)):
        query(address, f"INSERT INTO kept VALUES ({number})")
        interrupt()
        postgres.start()
        assert postgres.admin_dsn == address
    assert query(address, "SELECT n FROM kept ORDER BY n") == [(0,), (1,), (2,)]


def test_a_process_id_that_means_another_process_after_a_power_cut_is_no_obstacle(postgres):
    data = Path(query(postgres.admin_dsn, "SHOW data_directory")[0][0])
    postgres.kill()
    recorded = (data / "postmaster.pid").read_text().split("\n")
    (data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *recorded[1:]]))
    postgres.start()
    assert query(postgres.dsn, "SELECT 1") == [(1,)]


def test_a_path_too_long_for_a_socket_is_no_obstacle_and_the_address_survives_a_restart(tmp_path):
    folder = tmp_path / ("deep-" * 20) / ("deeper-" * 20)
    with EmbeddedPostgres(folder, durable=False) as postgres:
        address = postgres.dsn
        assert str(tmp_path) not in address
        postgres.restart()
        assert tables(address) == FIVE_TABLES
        sockets = Path(postgres.conninfo["host"])
        assert sockets.stat().st_mode & 0o077 == 0
    assert not sockets.exists()


def test_what_a_killed_first_start_left_is_no_obstacle(tmp_path):
    half = tmp_path / "pg" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18")
    with EmbeddedPostgres(tmp_path / "pg", durable=False) as postgres:
        assert tables(postgres.dsn) == FIVE_TABLES


def test_a_way_that_is_closed_while_it_starts_is_opened_again(tmp_path):
    """As root the server runs as another account; pytest itself closes its base folder to others whenever a session begins."""
    closed = threading.Event()

    def close_once():
        folder = tmp_path / "way" / "pg" / "data.new"
        while not folder.exists() and not closed.wait(0.001):
            pass
        (tmp_path / "way").chmod(0o700)

    closer = threading.Thread(target=close_once)
    (tmp_path / "way").mkdir()
    closer.start()
    try:
        with EmbeddedPostgres(tmp_path / "way" / "pg", durable=False) as postgres:
            assert tables(postgres.dsn) == FIVE_TABLES
    finally:
        closed.set()
        closer.join()


def test_the_last_user_stops_it(tmp_path):
    first, second = EmbeddedPostgres(tmp_path / "pg", durable=False), EmbeddedPostgres(tmp_path / "pg", durable=False)
    first.start()
    second.start()
    pid = first.pid
    assert pid is not None
    assert second.pid == pid
    first.stop()
    assert query(second.dsn, "SELECT 1") == [(1,)]
    second.stop()
    assert second.pid is None
    second.stop()


def test_many_starters_at_once_share_one_server(tmp_path):
    servers = [EmbeddedPostgres(tmp_path / "pg", durable=False) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(EmbeddedPostgres.start, servers))
        assert len({server.pid for server in servers}) == 1
        list(threads.map(EmbeddedPostgres.stop, servers))
    assert servers[0].pid is None


USER = """
import signal, sys, threading
from pathlib import Path
import psycopg, structlog
from treadle.sandbox.postgres import EmbeddedPostgres
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
interrupted = threading.Event()
signal.signal(signal.SIGINT, lambda *_: interrupted.set())
with EmbeddedPostgres(Path(sys.argv[1]), durable=False) as postgres:
    print(postgres.pid, flush=True)
    interrupted.wait()
    with psycopg.connect(postgres.dsn) as connection:
        print(connection.execute("SELECT 'alive'").fetchone()[0], flush=True)
"""


def start_user(folder: Path) -> tuple[subprocess.Popen[str], int]:
    user = subprocess.Popen([sys.executable, "-c", USER, folder], stdout=subprocess.PIPE, text=True, start_new_session=True)
    return user, int(user.stdout.readline())


@pytest.mark.kills
def test_a_server_whose_starter_was_killed_is_found_and_stopped_by_the_next(tmp_path):
    user, pid = start_user(tmp_path / "pg")
    user.kill()
    user.communicate()
    with EmbeddedPostgres(tmp_path / "pg", durable=False) as postgres:
        assert postgres.pid == pid
    assert postgres.pid is None


@pytest.mark.kills
def test_a_ctrl_c_for_the_foreground_group_does_not_reach_the_server(tmp_path):
    user, _ = start_user(tmp_path / "pg")
    os.killpg(user.pid, signal.SIGINT)
    assert user.communicate(timeout=60)[0].strip() == "alive"
    assert EmbeddedPostgres(tmp_path / "pg").pid is None


def test_it_never_runs_as_root(tmp_path):
    with EmbeddedPostgres(tmp_path / "pg", durable=False) as postgres:
        assert psutil.Process(postgres.pid).uids().effective == (os.geteuid() or pwd.getpwnam("nobody").pw_uid)
