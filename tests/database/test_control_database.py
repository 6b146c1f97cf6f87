import threading
import time
from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest
from control_trials import at_once, start, wait_until

from treadle.control import lock, runs
from treadle.control.database import Database
from treadle.control.states import RunStatus
from treadle.errors import InvalidInput, OutcomeUnknown, PermissionDenied, Unavailable, UnexpectedAnswer


def problems(database) -> list[str]:
    return [f"{found.table}: {found.problem}" for found in database.check()]


def test_a_database_as_the_contract_describes_it_has_no_problem(database):
    assert database.check() == []
    assert database.schema.has_status_last_updated_at


def test_the_check_names_everything_that_is_missing_or_different_at_once(database, as_owner):
    as_owner("DROP TABLE run_restores")
    as_owner("ALTER TABLE pipeline_runs DROP COLUMN kpis")
    as_owner("ALTER TABLE run_events ALTER COLUMN event_time TYPE timestamptz")
    as_owner("ALTER TABLE run_artifacts ALTER COLUMN file_size TYPE int")
    as_owner("ALTER TABLE run_events ADD COLUMN tenant text NOT NULL")
    as_owner("REVOKE INSERT ON run_artifacts FROM treadle")
    as_owner("DELETE FROM run_lock")
    assert sorted(problems(database)) == [
        "pipeline_runs: the column kpis is missing",
        "run_artifacts: INSERT is not granted",
        "run_artifacts: the column file_size is integer",
        "run_events: the column event_time is timestamp with time zone",
        "run_events: the column tenant is required, and Treadle does not fill it",
        "run_lock: the row ACTIVE_PIPELINE_RUN is missing",
        "run_restores: the table is missing",
    ]
    assert all(found.hint for found in database.check())


def test_text_without_limit_may_be_called_varchar_and_the_optional_column_may_be_absent(database, as_owner):
    as_owner("ALTER TABLE pipeline_runs ALTER COLUMN app_version TYPE varchar, DROP COLUMN status_last_updated_at")
    as_owner("ALTER TABLE pipeline_runs ADD COLUMN note text, ADD COLUMN tenant text NOT NULL DEFAULT 'x'")
    assert database.check() == []


def test_a_lock_table_that_cannot_be_read_does_not_hide_the_other_problems(database, as_owner):
    as_owner("REVOKE ALL ON run_lock FROM treadle")
    assert problems(database) == ["run_lock: SELECT is not granted", "run_lock: UPDATE is not granted"]


def test_tables_are_found_along_the_search_path(server, as_owner, conninfo):
    as_owner("CREATE SCHEMA elsewhere")
    as_owner("GRANT USAGE ON SCHEMA elsewhere TO treadle")
    for table in ("pipeline_runs", "run_lock", "run_events", "run_artifacts", "run_restores"):
        as_owner(f"ALTER TABLE {table} SET SCHEMA elsewhere")
    with Database(conninfo) as lost:
        assert len(lost.check()) == 5
    with Database(psycopg.conninfo.make_conninfo(conninfo, options="-c search_path=elsewhere")) as found:
        assert found.check() == []
        assert start(found).status is RunStatus.SUBMITTED


def test_a_missing_table_and_a_missing_right_are_told_apart(database, as_owner, started):
    as_owner("REVOKE SELECT ON pipeline_runs FROM treadle")
    with pytest.raises(PermissionDenied, match="pipeline_runs"):
        runs.active_runs(database)
    as_owner("ALTER TABLE pipeline_runs RENAME TO other")
    with pytest.raises(InvalidInput, match="lacks"):
        runs.active_runs(database)


def test_a_refusal_of_the_database_keeps_its_words_and_undoes_the_transaction(database, started):
    def break_the_rule():
        with database.transaction() as connection:
            connection.execute("UPDATE run_lock SET locked_by = 'x'")
            connection.execute("UPDATE pipeline_runs SET status = 'PAUSED'")

    with pytest.raises(UnexpectedAnswer, match="check constraint"):
        break_the_rule()
    assert lock.show_lock(database).locked_by == started.triggered_by


def test_whatever_is_raised_inside_a_transaction_undoes_it(database, started):
    def change_and_fail():
        with database.transaction() as connection:
            connection.execute("UPDATE run_lock SET locked_by = 'x'")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        change_and_fail()
    assert lock.show_lock(database).locked_by == started.triggered_by


def test_times_are_utc_whatever_the_zone_of_server_and_caller(database, as_owner, conninfo, started):
    name = psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"]
    as_owner(f"ALTER DATABASE {name} SET TimeZone = 'Pacific/Auckland'")
    with Database(conninfo) as elsewhere:
        assert abs(elsewhere.now() - datetime.now(UTC)) < timedelta(minutes=1)
        assert elsewhere.now().tzinfo is UTC
        assert runs.get_run(elsewhere, started.run_id).created_at == started.created_at
        same_moment = started.created_at.astimezone(timezone(timedelta(hours=9)))
        assert len(runs.list_runs(elsewhere, since=same_moment).runs) == 1
        assert len(runs.list_runs(elsewhere, until=same_moment).runs) == 0


def test_64_threads_share_a_small_pool_and_all_are_served(conninfo):
    with Database(conninfo, pool_size=4) as database:
        results = at_once(64, lambda number: database.read("SELECT %(n)s::int AS n, pg_sleep(0.01)", {"n": number})[0]["n"])
    assert results == list(range(64))


def test_a_pool_that_stays_busy_says_so_after_the_wait(conninfo):
    with Database(conninfo, pool_size=1, wait_seconds=0.2) as database, database.transaction(), pytest.raises(Unavailable, match="in use"):
        database.now()


def test_a_database_that_is_not_there_is_told_at_once_and_without_the_password(tmp_path):
    with Database({"host": str(tmp_path), "dbname": "x", "user": "y", "password": "planted-secret"}) as database:
        with pytest.raises(Unavailable, match="cannot be reached") as caught:
            database.now()
        with pytest.raises(Unavailable):
            database.hold_advisory_lock("x")
    assert caught.value.message == "The database cannot be reached."
    assert str(tmp_path) in (caught.value.hint or "")
    assert "planted-secret" not in f"{caught.value.hint}" + str(caught.value) + str(caught.value.details) + repr(caught.value.__cause__)


def test_a_closed_database_says_so(database):
    database.now()
    database.close()
    with pytest.raises(Unavailable, match="closed"):
        database.now()


def test_nothing_is_contacted_before_the_first_use():
    Database("host=/nowhere dbname=x").close()


def test_a_broken_connection_in_a_transaction_means_nothing_was_changed(database, started, as_owner):
    def lose_the_connection():
        with database.transaction() as connection:
            connection.execute("UPDATE run_lock SET locked_by = 'x'")
            as_owner("SELECT pg_terminate_backend(%s)", connection.info.backend_pid)
            connection.execute("SELECT 1")

    with pytest.raises(Unavailable):
        lose_the_connection()
    assert lock.show_lock(database).locked_by == started.triggered_by


def test_a_transaction_that_was_silent_for_too_long_is_over_and_says_so(database, started, as_owner):
    def fall_asleep_inside():
        with database.transaction() as connection:
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = '100ms'")
            connection.execute("UPDATE run_lock SET locked_by = 'x'")
            pid = connection.info.backend_pid
            wait_until(lambda: as_owner("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid) == [(0,)])
            connection.execute("SELECT 1")

    with pytest.raises(Unavailable, match="broke"):
        fall_asleep_inside()
    assert lock.show_lock(database).locked_by == started.triggered_by


def test_a_connection_that_breaks_at_the_commit_leaves_the_outcome_open(database, started, as_owner):
    def lose_the_commit():
        with database.transaction() as connection:
            connection.execute("UPDATE run_lock SET locked_by = 'x'")
            as_owner("SELECT pg_terminate_backend(%s)", connection.info.backend_pid)

    with pytest.raises(OutcomeUnknown):
        lose_the_commit()
    assert lock.show_lock(database).locked_by == started.triggered_by


def test_a_read_is_tried_again_when_its_connection_breaks(database, as_owner):
    mark = "SELECT pg_sleep(CASE WHEN pg_backend_pid() = %(pid)s::int THEN 30 ELSE 0 END), 7 AS answer"
    with database.transaction() as connection:
        pid = connection.info.backend_pid
    found: list[object] = []
    reader = threading.Thread(target=lambda: found.extend(database.read(mark, {"pid": pid})))
    reader.start()
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
    wait_until(lambda: as_owner(sleeping, pid) == [(1,)] or not reader.is_alive())
    as_owner("SELECT pg_terminate_backend(%s)", pid)
    reader.join(timeout=20)
    assert found[0]["answer"] == 7


def test_an_immediate_stop_loses_nothing_committed_and_the_pool_recovers(own_server):
    with Database(own_server.dsn, pool_size=8, wait_seconds=20) as database:
        run = start(database)
        at_once(8, lambda _: database.read("SELECT pg_sleep(0.05)"))  # fill the pool
        trigger, lease = database.try_advisory_lock("trigger:x"), database.try_advisory_lock("poll:x", idle_timeout_seconds=60)
        assert trigger.alive()
        assert lease.alive()
        with database.transaction() as connection:
            connection.execute("UPDATE run_lock SET run_id = NULL")
            own_server.stop_immediately()
            own_server.start()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
            connection.close()
        assert not trigger.alive()
        assert not lease.alive()
        began = time.monotonic()
        assert [found.run_id for found in runs.active_runs(database)] == [run.run_id]
        assert time.monotonic() - began < 4  # one dead connection found means that all idle ones are replaced, not tried one by one
        assert lock.show_lock(database).run_id == run.run_id
        at_once(8, lambda _: database.now())
        again = database.try_advisory_lock("trigger:x")
        assert again.alive()
        trigger.release()
        assert again.alive()
        again.release()


def test_a_caller_waits_for_a_database_that_is_restarting(own_server):
    with Database(own_server.dsn, wait_seconds=20) as database:
        run = start(database)
        own_server.kill()
        waiting = threading.Thread(target=own_server.start)
        waiting.start()
        assert runs.get_run(database, run.run_id) == run
        waiting.join()


def test_a_database_that_stays_away_is_unavailable_after_the_wait(own_server):
    with Database(own_server.dsn, wait_seconds=0.5) as database:
        database.now()
        own_server.stop_immediately()
        with pytest.raises(Unavailable, match="cannot be reached"):
            database.now()
