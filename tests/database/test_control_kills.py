"""kill -9 in the middle of every transaction: nothing of it remains, and everything can be done again.

No code is patched to stop there. The table that the transaction writes last is locked by its owner; the child waits for it with all its other
writes made and none committed, and is killed where it waits.
"""

import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from control_trials import new_run, start, succeed, wait_until

from treadle.control import artifacts, events, lock, restores, runs
from treadle.control.artifacts import NewArtifact
from treadle.control.database import Database
from treadle.control.states import RunStatus
from treadle.errors import TreadleError

pytestmark = pytest.mark.kills

CHILD = """
import sys
from uuid import UUID
from treadle.control import events, lock, runs
from treadle.control.artifacts import NewArtifact
from treadle.control.database import Database
from treadle.control.runs import NewRun
from treadle.control.states import RunStatus
conninfo, work, run_id, source_id = sys.argv[1:]
database = Database(conninfo)
run_id, source_id = UUID(run_id), UUID(source_id)
new = NewRun(run_id, "ana", "orders.xlsx", "w", "p")
{
    "start": lambda: runs.start_run(database, new, "started"),
    "restore": lambda: runs.start_restore(database, new, source_id, "ana"),
    "record": lambda: runs.record_job(database, run_id, "job-1", "https://host/job-1", "accepted"),
    "advance": lambda: runs.advance_run(database, run_id, RunStatus.SUBMITTED, RunStatus.RUNNING, "running"),
    "finish": lambda: runs.finish_run(database, run_id, RunStatus.SUCCEEDED, kpis={"orders": 1}, artifacts=[NewArtifact("json", "Files/k", 1)]),
    "fail": lambda: runs.finish_run(database, run_id, RunStatus.FAILED, error_message="broken"),
    "cancel": lambda: runs.request_cancel(database, run_id, "ana"),
    "release": lambda: lock.force_release(database, "op", "why"),
    "sweep": lambda: lock.sweep_lock(database),
    "once": lambda: events.append_once(database, run_id, events.warning("odd")),
}[work]()
print("done", flush=True)
"""

HANGING_CHILD = """
import sys, uuid
from treadle.control.database import Database
with Database(sys.argv[1]).transaction() as connection:
    connection.execute("SET LOCAL idle_in_transaction_session_timeout = '1s'")
    connection.execute("UPDATE run_lock SET run_id = %s", (uuid.uuid4(),))
    print("holding", flush=True)
    sys.stdin.read()
"""


@contextmanager
def blocked(owner_conninfo: str, table: str):
    """Nobody can write the table meanwhile."""
    with psycopg.connect(owner_conninfo) as owner:
        owner.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        yield
        owner.rollback()


def child(conninfo, work, run_id, source_id=None) -> subprocess.Popen[str]:
    arguments = [conninfo, work, str(run_id), str(source_id or run_id)]
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, text=True)


def everything(as_owner) -> list:
    tables = ("pipeline_runs", "run_lock", "run_events", "run_artifacts", "run_restores")
    return [as_owner(f"SELECT * FROM {table} ORDER BY 1") for table in tables]


def others(as_owner, condition="true") -> bool:
    """Whether a session of the application is there."""
    found = as_owner(
        f"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'treadle' AND datname = current_database() AND {condition}"
    )
    return found != [(0,)]


def killed_in_the_middle(conninfo, owner_conninfo, as_owner, work, run_id, source_id=None) -> None:
    with blocked(owner_conninfo, "run_events"):
        process = child(conninfo, work, run_id, source_id)
        wait_until(lambda: others(as_owner, "wait_event_type = 'Lock'"))
        process.send_signal(signal.SIGKILL)
        assert process.communicate()[0] == ""
    wait_until(lambda: not others(as_owner))


@pytest.fixture
def quiet(database):
    """The test's own database, whose pool is closed before a child starts, so that every session seen is the child's."""
    yield database
    database.close()


@pytest.mark.parametrize("work", ["record", "advance", "finish", "fail", "cancel", "release", "once"])
def test_a_change_of_a_run_that_is_killed_before_its_commit_leaves_no_trace(conninfo, owner_conninfo, as_owner, quiet, work):
    run = start(quiet)
    quiet.close()
    before = everything(as_owner)
    killed_in_the_middle(conninfo, owner_conninfo, as_owner, work, run.run_id)
    assert everything(as_owner) == before
    again = child(conninfo, work, run.run_id)
    assert again.communicate()[0].endswith("done\n")
    assert everything(as_owner) != before


def test_a_starter_that_is_killed_before_its_commit_leaves_no_run_and_a_free_lock(conninfo, owner_conninfo, as_owner):
    before, run_id = everything(as_owner), uuid4()
    killed_in_the_middle(conninfo, owner_conninfo, as_owner, "start", run_id)
    assert everything(as_owner) == before
    assert child(conninfo, "start", run_id).communicate()[0] == "done\n"
    assert as_owner("SELECT run_id FROM run_lock") == [(run_id,)]


def test_a_restore_that_is_killed_before_its_commit_leaves_no_run_and_no_line(conninfo, owner_conninfo, as_owner, quiet):
    source = succeed(quiet, start(quiet))
    quiet.close()
    before, run_id = everything(as_owner), uuid4()
    killed_in_the_middle(conninfo, owner_conninfo, as_owner, "restore", run_id, source.run_id)
    assert everything(as_owner) == before
    assert child(conninfo, "restore", run_id, source.run_id).communicate()[0] == "done\n"
    assert as_owner("SELECT target_run_id FROM run_restores") == [(run_id,)]


def test_a_sweep_that_is_killed_before_its_commit_is_done_by_the_next(conninfo, owner_conninfo, as_owner, quiet):
    run = succeed(quiet, start(quiet))
    quiet.close()
    as_owner("UPDATE run_lock SET run_id = %s", run.run_id)
    killed_in_the_middle(conninfo, owner_conninfo, as_owner, "sweep", run.run_id)
    assert as_owner("SELECT run_id FROM run_lock") == [(run.run_id,)]
    assert child(conninfo, "sweep", run.run_id).communicate()[0] == "done\n"
    assert as_owner("SELECT run_id FROM run_lock") == [(None,)]


def test_a_starter_that_hangs_inside_its_transaction_does_not_keep_the_others_out_for_ever(conninfo, owner_conninfo, as_owner):
    """SIGSTOP after the lock's row is taken: the server ends the silent transaction, here after a second instead of the usual 30."""
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING_CHILD, conninfo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout.readline() == "holding\n"
        process.send_signal(signal.SIGSTOP)
        run_id = uuid4()
        assert child(conninfo, "start", run_id).communicate()[0] == "done\n"
        assert as_owner("SELECT run_id FROM run_lock") == [(run_id,)]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("work", ["start", "finish"])
def test_a_database_that_stops_in_the_middle_of_a_transaction_forgets_it_and_the_caller_learns(own_server, work):
    with Database(own_server.dsn, wait_seconds=20) as database:
        run = start(database) if work == "finish" else new_run()
        caught: list[BaseException] = []

        def change() -> None:
            try:
                if work == "start":
                    runs.start_run(database, run, "started")
                else:
                    runs.finish_run(database, run.run_id, RunStatus.SUCCEEDED, artifacts=[NewArtifact("csv", "Files/c")])
            except TreadleError as error:
                caught.append(error)

        thread = threading.Thread(target=change)
        with psycopg.connect(own_server.admin_dsn, autocommit=True) as watch:
            blocker = psycopg.connect(own_server.admin_dsn)
            blocker.execute("LOCK TABLE run_events IN EXCLUSIVE MODE")
            thread.start()
            wait_until(lambda: watch.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone() != (0,))
            own_server.stop_immediately()
            blocker.close()
        thread.join(timeout=30)
        own_server.start()

        assert [type(error).__name__ for error in caught] == ["Unavailable"]
        active = [found.run_id for found in runs.active_runs(database)]
        assert active == ([run.run_id] if work == "finish" else [])
        assert lock.show_lock(database).run_id == (run.run_id if work == "finish" else None)
        assert artifacts.list_artifacts(database, run.run_id) == []
        assert restores.list_restores(database) == []
        if work == "finish":
            assert runs.finish_run(database, run.run_id, RunStatus.SUCCEEDED)
            assert len(events.list_events(database, run.run_id)) == 2
        else:
            assert runs.start_run(database, run, "started").status is RunStatus.SUBMITTED
