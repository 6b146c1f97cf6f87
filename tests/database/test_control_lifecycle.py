from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest
from control_trials import at_once, start, succeed, wait_until

from treadle import logs
from treadle.control import artifacts, events, lock, runs
from treadle.control.artifacts import NewArtifact
from treadle.control.database import Database
from treadle.control.runs import Run
from treadle.control.states import RunStatus
from treadle.errors import Conflict, InvalidInput, NotFound

SUBMITTED, QUEUED, RUNNING, SUCCEEDED, FAILED = RunStatus
FILES = [NewArtifact("parquet", "Files/results/runs/x/sales_cleaned.parquet", 12), NewArtifact("json", "Files/results/runs/x/kpis.json")]


def while_both_are_in_the_middle(owner_conninfo, as_owner, work):
    """Let two threads work until both wait – the table that they write last is locked – and then go on."""
    with psycopg.connect(owner_conninfo) as owner:
        owner.execute("LOCK TABLE run_events IN EXCLUSIVE MODE")

        def work_or_let_go(number):
            if number < 2:
                return work(number)
            wait_until(lambda: as_owner("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == [(2,)])
            return owner.rollback()

        return at_once(3, work_or_let_go)[:2]


def messages(database, run):
    return [event.message for event in events.list_events(database, run.run_id)]


def test_the_job_of_a_run_is_recorded_once_and_may_be_told_again(database, started):
    first = runs.record_job(database, started.run_id, "JOB-1", "https://host/jobs/JOB-1", "accepted")
    again = runs.record_job(database, started.run_id, "job-1", "https://elsewhere/", "accepted")
    assert (first.fabric_job_id, first.fabric_job_location_url, first.status) == ("JOB-1", "https://host/jobs/JOB-1", SUBMITTED)
    assert again == first
    assert messages(database, started) == ["Ana started a run.", "accepted"]


def test_a_second_job_for_a_run_is_lost(database, started):
    runs.record_job(database, started.run_id, "job-1", None, "accepted")
    with pytest.raises(Conflict, match=r"Lost: .* has job job-1"):
        runs.adopt_job(database, started.run_id, "job-2", "found")
    assert runs.get_run(database, started.run_id).fabric_job_id == "job-1"


def test_a_job_that_comes_after_the_run_has_ended_is_lost(database, started):
    runs.finish_run(database, started.run_id, FAILED, error_message="gone")
    with pytest.raises(Conflict, match="FAILED"):
        runs.record_job(database, started.run_id, "job-1", None, "accepted")


def test_no_two_runs_ever_share_a_job(database, started):
    runs.record_job(database, started.run_id, "job-1", None, "accepted")
    lock.force_release(database, "op", "hung")
    second = start(database)
    with pytest.raises(Conflict, match="belongs to another run"):
        runs.adopt_job(database, second.run_id, "JOB-1", "found")
    assert runs.claimed_job_ids(database, ["JOB-1", "job-2"], not_of=second.run_id) == {"JOB-1"}
    assert runs.claimed_job_ids(database, ["job-1"], not_of=started.run_id) == set()
    assert runs.claimed_job_ids(database, [], not_of=second.run_id) == set()


def test_of_many_that_record_different_jobs_one_wins(database, started):
    results = at_once(8, lambda number: runs.record_job(database, started.run_id, f"job-{number}", None, "accepted"))
    assert sum(isinstance(result, Run) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 7
    assert messages(database, started) == ["Ana started a run.", "accepted"]


def test_of_two_runs_that_reach_for_one_job_the_second_waits_until_the_first_is_sure(database, as_owner, owner_conninfo):
    """Neither sees the other's uncommitted claim; without the wait both would have the job."""
    first = start(database)
    as_owner("UPDATE run_lock SET run_id = NULL")
    second = start(database)
    results = while_both_are_in_the_middle(
        owner_conninfo, as_owner, lambda number: runs.adopt_job(database, (first, second)[number].run_id, "job-1", "found")
    )
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "Run"]


def test_of_two_that_end_a_run_the_second_waits_and_learns_that_it_has_ended(database, started, as_owner, owner_conninfo):
    results = while_both_are_in_the_middle(
        owner_conninfo, as_owner, lambda number: runs.finish_run(database, started.run_id, (SUCCEEDED, FAILED)[number])
    )
    assert sorted(results) == [False, True]
    assert len(messages(database, started)) == 2


def test_of_two_pollers_that_saw_the_same_status_one_advances_and_one_event_is_written(database, started):
    results = at_once(8, lambda _: runs.advance_run(database, started.run_id, SUBMITTED, QUEUED, "queued"))
    assert sum(result is not None for result in results) == 1
    assert messages(database, started) == ["Ana started a run.", "queued"]


def test_a_poller_with_an_old_answer_changes_nothing(database, started):
    runs.advance_run(database, started.run_id, SUBMITTED, RUNNING, "running")
    assert runs.advance_run(database, started.run_id, SUBMITTED, QUEUED, "queued") is None
    assert runs.get_run(database, started.run_id).status is RUNNING


@pytest.mark.parametrize(
    ("seen", "to"), [(RUNNING, QUEUED), (QUEUED, QUEUED), (RUNNING, SUCCEEDED), (SUBMITTED, FAILED), (FAILED, RUNNING)]
)
def test_a_run_is_not_advanced_backwards_in_place_or_to_an_end(database, started, seen, to):
    with pytest.raises(InvalidInput):
        runs.advance_run(database, started.run_id, seen, to, "no")


def test_becoming_running_is_when_the_work_began_unless_fabric_says(database, started):
    queued = runs.advance_run(database, started.run_id, SUBMITTED, QUEUED, "queued")
    assert queued.started_at is None
    running = runs.advance_run(database, started.run_id, QUEUED, RUNNING, "running")
    assert running.started_at == running.status_last_updated_at
    succeed(database, running)
    told = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
    assert runs.advance_run(database, start(database).run_id, SUBMITTED, RUNNING, "running", started_at=told).started_at == told


def test_a_time_without_a_zone_is_refused(database, started):
    naive = datetime(2026, 11, 21, 9, 0, tzinfo=UTC).replace(tzinfo=None)
    with pytest.raises(InvalidInput, match="time zone"):
        runs.advance_run(database, started.run_id, SUBMITTED, RUNNING, "running", started_at=naive)


def test_finishing_writes_status_kpis_artifacts_events_and_frees_the_lock(database, started):
    extra = [events.warning("profile incomplete")]
    assert runs.finish_run(database, started.run_id, SUCCEEDED, kpis={"total_revenue": 1.5}, artifacts=FILES, events=extra)
    run = runs.get_run(database, started.run_id)
    assert (run.status, run.kpis, run.error_message) == (SUCCEEDED, {"total_revenue": 1.5}, None)
    assert run.finished_at == run.status_last_updated_at >= run.created_at
    assert [(file.artifact_type, file.file_size) for file in artifacts.list_artifacts(database, run.run_id)] == [
        ("json", None),
        ("parquet", 12),
    ]
    assert messages(database, run) == ["Ana started a run.", "SUBMITTED → SUCCEEDED.", "profile incomplete"]
    assert lock.show_lock(database).run_id is None


def test_finishing_again_changes_nothing_and_doubles_nothing(database, started):
    assert runs.finish_run(database, started.run_id, SUCCEEDED, kpis={"orders": 1}, artifacts=FILES)
    before = runs.get_run(database, started.run_id)
    assert not runs.finish_run(database, started.run_id, FAILED, error_message="late", artifacts=FILES)
    assert runs.get_run(database, started.run_id) == before
    assert len(artifacts.list_artifacts(database, started.run_id)) == 2
    assert len(messages(database, started)) == 2


def test_of_two_that_finish_a_run_differently_one_decides(database, started):
    ends = [SUCCEEDED, FAILED] * 4
    results = at_once(8, lambda number: runs.finish_run(database, started.run_id, ends[number], artifacts=FILES))
    run = runs.get_run(database, started.run_id)
    assert (results.count(True), results.count(False)) == (1, 7)
    assert run.status is ends[results.index(True)]
    assert len(artifacts.list_artifacts(database, started.run_id)) == 2


def test_a_late_finish_does_not_free_the_lock_of_the_next_run(database, started):
    lock.force_release(database, "op", "hung")
    second = start(database)
    assert not runs.finish_run(database, started.run_id, SUCCEEDED)
    assert lock.show_lock(database).run_id == second.run_id


def test_an_old_run_that_ends_leaves_the_lock_to_its_holder(database, started, as_owner):
    as_owner("UPDATE run_lock SET run_id = NULL")
    second = start(database)
    assert runs.finish_run(database, started.run_id, FAILED)
    assert lock.show_lock(database).run_id == second.run_id


def test_a_failed_run_always_says_something(database, started):
    runs.finish_run(database, started.run_id, FAILED, error_message="")
    assert runs.get_run(database, started.run_id).error_message == "The run failed; no reason was given."


def test_a_run_ends_only_as_succeeded_or_failed_and_only_if_it_exists(database, started):
    with pytest.raises(InvalidInput):
        runs.finish_run(database, started.run_id, RUNNING)
    with pytest.raises(NotFound):
        runs.finish_run(database, uuid4(), FAILED)


def test_a_refused_artifact_rolls_the_whole_end_back(database, started):
    with pytest.raises(InvalidInput, match="type of artifact"):
        runs.finish_run(database, started.run_id, SUCCEEDED, artifacts=[NewArtifact("exe", "Files/x")])
    assert runs.get_run(database, started.run_id) == started
    assert lock.show_lock(database).run_id == started.run_id


def test_figures_that_json_does_not_have_become_null_and_the_rest_is_kept(database, started):
    kpis = {
        "nan": float("nan"),
        "inf": float("-inf"),
        "exact": Decimal("2297200.86"),
        "whole": Decimal("5E+3"),
        "odd": Decimal("sNaN"),
        "text": "a\0b\ud800",
        "key\0": [1, (2.5, None), True],
        "day": datetime(2026, 1, 2, tzinfo=UTC).date(),
        "big": 10**25,
        "huge": Decimal("1E+999999"),
    }
    assert runs.finish_run(database, started.run_id, SUCCEEDED, kpis=kpis)
    assert runs.get_run(database, started.run_id).kpis == {
        "nan": None,
        "inf": None,
        "exact": 2297200.86,
        "whole": 5000,
        "odd": None,
        "text": "a\ufffdb\ufffd",
        "key\ufffd": [1, [2.5, None], True],
        "day": "2026-01-02",
        "big": 10**25,
        "huge": None,
    }


def test_text_that_postgresql_refuses_is_mended_and_a_huge_one_is_cut(database, started):
    runs.finish_run(database, started.run_id, FAILED, error_message="bad\0 \udcff" + "x" * 20_000)
    stored = runs.get_run(database, started.run_id).error_message
    assert stored.startswith("bad\ufffd ")
    assert len(stored) == 8_000


def test_secrets_do_not_reach_the_database(database, started, as_owner):
    secret = f"planted-{uuid4()}"
    logs.hide_secrets([secret])
    events.append_event(database, started.run_id, events.log(f"sent {secret}"))
    runs.finish_run(database, started.run_id, FAILED, error_message=f"refused {secret} Bearer abcdefghijklmnop", kpis={secret: [secret]})
    dumped = str(as_owner("SELECT r::text FROM pipeline_runs r")) + str(as_owner("SELECT e::text FROM run_events e"))
    assert secret not in dumped
    assert "abcdefghijklmnop" not in dumped


def test_a_cancellation_is_recorded_with_its_author_and_changes_no_status(database, started):
    assert runs.cancel_requested_by(database, started.run_id) is None
    runs.request_cancel(database, started.run_id, "bob by bob")
    runs.request_cancel(database, started.run_id, "carol")
    assert runs.cancel_requested_by(database, started.run_id) == "carol"
    assert runs.get_run(database, started.run_id).status is SUBMITTED


def test_a_run_that_has_ended_cannot_be_cancelled(database, started):
    succeed(database, started)
    with pytest.raises(Conflict, match="ended already"):
        runs.request_cancel(database, started.run_id, "bob")
    with pytest.raises(NotFound):
        runs.request_cancel(database, uuid4(), "bob")


def test_everything_works_where_the_optional_column_is_absent(conninfo, as_owner):
    as_owner("ALTER TABLE pipeline_runs DROP COLUMN status_last_updated_at")
    with Database(conninfo) as database:
        assert not database.schema.has_status_last_updated_at
        assert database.check() == []
        run = start(database)
        assert runs.advance_run(database, run.run_id, SUBMITTED, RUNNING, "running").status is RUNNING
        done = succeed(database, run, {"orders": 3})
        assert done.status_last_updated_at is None
        assert runs.list_runs(database).runs[0].run_id == run.run_id
        lock.show_lock(database)
        start(database)
        assert lock.force_release(database, "op", "why").run is not None
