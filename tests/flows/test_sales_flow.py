"""The sales flow whole: workbook in, governed run, KPIs and artifacts out, restore; through the real clients and database."""

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from tests.flows.conftest import SUPERSTORE, active_jobs, all_jobs, eventually, lake_folder, lake_snapshot
from treadle.control import artifacts, events, lock, restores, runs
from treadle.control.run import Run
from treadle.control.states import RunStatus
from treadle.errors import Conflict, InvalidInput, LockHeld, NotFound, PermissionDenied
from treadle.flows.sales import flow, published
from treadle.flows.sales.flow import StartRequest
from treadle.flows.sales.input_files import Wishes
from treadle.flows.sales.release import release_lock
from treadle.sandbox.faults import FaultRule


def start(treadle, file: Path, who: str = "ada", **options):
    return flow.start(treadle.sales, StartRequest(input_file=file.name, requested_by=who, local_file=file, wishes=Wishes(**options)))


def test_superstore_gives_its_known_figures(treadle, drive, environment):
    run = drive(start(treadle, SUPERSTORE, columns={"Sales": "revenue"}))
    assert run.status is RunStatus.SUCCEEDED, run.error_message
    assert run.kpis
    assert run.kpis["orders"] == 5009
    assert run.kpis["total_revenue"] == pytest.approx(2_297_200.86, abs=0.01)
    regions = {"West": 725_457.82, "East": 678_781.24, "Central": 501_239.89, "South": 391_721.905}
    assert run.kpis["revenue_by_region"] == pytest.approx(regions, abs=0.01)
    profile = json.loads(lake_snapshot(environment)["import_profile.json"])
    assert profile["row_count"] == 9994
    assert {item["column"]: item["source_column"] for item in profile["schema"]}["revenue"] == "Sales"


def test_a_finished_run_has_registered_artifacts_that_are_there_with_these_sizes(treadle, drive, environment, csv_file):
    run = drive(start(treadle, csv_file()))
    registered = {item.file_path: item.file_size for item in artifacts.list_artifacts(treadle.database, run.run_id)}
    on_disk = {
        f"Files/results/runs/{run.run_id}/{path.name}": path.stat().st_size
        for path in (lake_folder(environment) / f"Files/results/runs/{run.run_id}").iterdir()
        if not path.name.startswith("_")
    }
    assert registered == on_disk
    assert len(registered) == 5


def test_current_is_the_run_that_its_manifest_names(treadle, drive, environment, csv_file):
    run = drive(start(treadle, csv_file()))
    current = lake_snapshot(environment)
    manifest = json.loads(current.pop("manifest.json"))
    assert manifest["run_id"] == str(run.run_id)
    assert {file["name"]: file["sha256"] for file in manifest["files"]} == {
        name: hashlib.sha256(content).hexdigest() for name, content in current.items()
    }


def test_a_restore_publishes_the_earlier_run_and_is_recorded(treadle, drive, environment, csv_file):
    first = drive(start(treadle, csv_file(rows=3)))
    published_first = lake_snapshot(environment)
    drive(start(treadle, csv_file(rows=9)))
    restored = drive(flow.restore(treadle.sales, first.run_id, "grace"))
    assert restored.status is RunStatus.SUCCEEDED, restored.error_message
    now = lake_snapshot(environment)
    assert json.loads(now.pop("manifest.json"))["run_id"] == str(first.run_id)
    published_first.pop("manifest.json")
    assert now == published_first
    (record,) = restores.list_restores(treadle.database, limit=1)
    assert (record.source_run_id, record.target_run_id, record.restored_by) == (first.run_id, restored.run_id, "grace")


def test_a_restore_run_is_not_the_latest_successful_run(treadle, drive, csv_file):
    first = drive(start(treadle, csv_file(rows=3)))
    second = drive(start(treadle, csv_file(rows=9)))
    drive(flow.restore(treadle.sales, first.run_id, "grace"))
    latest = runs.latest_succeeded(treadle.database)
    assert latest
    assert latest.run_id == second.run_id


def test_a_restore_of_a_damaged_run_fails_and_leaves_current_untouched(treadle, drive, environment, csv_file):
    first = drive(start(treadle, csv_file(rows=3)))
    drive(start(treadle, csv_file(rows=9)))
    before = lake_snapshot(environment)
    damaged = lake_folder(environment) / f"Files/results/runs/{first.run_id}/sales_cleaned.csv"
    damaged.write_bytes(damaged.read_bytes().replace(b"North", b"South"))
    restored = drive(flow.restore(treadle.sales, first.run_id, "grace"))
    assert restored.status is RunStatus.FAILED
    assert "sales_cleaned.csv" in (restored.error_message or "")
    assert lake_snapshot(environment) == before


def test_a_run_without_the_needed_columns_fails_with_what_was_found_and_what_to_map(treadle, drive, environment):
    before = lake_snapshot(environment)
    run = drive(start(treadle, SUPERSTORE))
    assert run.status is RunStatus.FAILED
    assert "revenue" in (run.error_message or "")
    assert "Sales=revenue" in (run.error_message or "")
    assert lake_snapshot(environment) == before


def test_a_broken_workbook_fails_clearly_and_current_stays(treadle, drive, environment, csv_file, tmp_path):
    drive(start(treadle, csv_file()))
    before = lake_snapshot(environment)
    broken = tmp_path / "broken.xlsx"
    broken.write_bytes(SUPERSTORE.read_bytes()[:100_000])
    run = drive(start(treadle, broken))
    assert run.status is RunStatus.FAILED
    assert "broken.xlsx" in (run.error_message or "")
    assert lake_snapshot(environment) == before
    assert lock.show_lock(treadle.database).run_id is None


def test_while_a_run_is_active_the_next_starter_learns_who_holds_the_lock(treadle, drive, csv_file):
    run = start(treadle, csv_file(), who="ada")
    with pytest.raises(LockHeld) as caught:
        start(treadle, csv_file("other.csv"), who="grace")
    assert caught.value.details["run_id"] == str(run.run_id)
    assert caught.value.details["locked_by"] == "ada"
    drive(run)


def test_a_loser_does_not_touch_the_file_that_the_winner_reads(treadle, drive, environment, csv_file, tmp_path):
    mine = csv_file("same.csv", rows=3)
    run = start(treadle, mine)
    (tmp_path / "theirs").mkdir()
    theirs = tmp_path / "theirs" / "same.csv"
    theirs.write_text("order_id,revenue\n1,999999\n")
    with pytest.raises(LockHeld):
        start(treadle, theirs)
    assert (lake_folder(environment) / "Files/import/same.csv").read_bytes() == mine.read_bytes()
    assert drive(run).status is RunStatus.SUCCEEDED


def test_a_file_that_is_not_there_starts_nothing(treadle):
    before = runs.list_runs(treadle.database, limit=1)
    with pytest.raises(NotFound, match=r"missing\.csv"):
        flow.start(treadle.sales, StartRequest("missing.csv", "ada"))
    assert runs.list_runs(treadle.database, limit=1) == before


def test_a_cancelled_run_ends_as_failed_with_the_name_of_who_cancelled(treadle, drive, environment, csv_file):
    environment.cloud.fabric.options.job_queue_seconds = 600  # the job waits in Fabric's queue, so that there is something to cancel
    run = start(treadle, csv_file())
    flow.cancel(treadle.sales, run.run_id, "grace")
    ended = drive(run)
    assert ended.status is RunStatus.FAILED
    assert "cancelled by grace" in (ended.error_message or "")


def test_an_ended_run_cannot_be_cancelled_or_restored_when_it_failed(treadle, drive, csv_file, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n")
    run = drive(start(treadle, bad))
    with pytest.raises(Conflict):
        flow.cancel(treadle.sales, run.run_id, "grace")
    with pytest.raises(Conflict):
        flow.restore(treadle.sales, run.run_id, "grace")


def test_an_unknown_run_cannot_be_restored(treadle):
    with pytest.raises((Conflict, NotFound)):
        flow.restore(treadle.sales, uuid4(), "grace")


def test_the_trail_tells_the_story(treadle, drive, csv_file):
    run = drive(start(treadle, csv_file()))
    told = " ".join(event.message or "" for event in events.list_events(treadle.database, run.run_id))
    for part in ("ada started a run of sales.csv", "Fabric accepted the run as job", "The run succeeded", "The lock was released"):
        assert part in told


def test_of_32_racing_starters_exactly_one_wins_and_the_others_learn_who_holds_the_lock(treadle, drive, csv_file):
    path, before = csv_file(), all_jobs(treadle)
    barrier = threading.Barrier(32)

    def race(number: int) -> Run | LockHeld:
        barrier.wait()
        try:
            return start(treadle, path, who=f"starter-{number}")
        except LockHeld as held:
            return held

    with ThreadPoolExecutor(32) as threads:
        ends = list(threads.map(race, range(32)))
    (winner,) = (end for end in ends if isinstance(end, Run))
    losers = [end for end in ends if isinstance(end, LockHeld)]
    assert len(losers) == 31
    assert {loser.details["run_id"] for loser in losers} == {str(winner.run_id)}
    assert {loser.details["locked_by"] for loser in losers} == {winner.triggered_by}
    assert drive(winner).status is RunStatus.SUCCEEDED
    assert len(all_jobs(treadle) - before) == 1


def test_releasing_the_lock_cancels_the_job_first_and_tells_why(treadle, drive, environment, csv_file):
    environment.cloud.fabric.options.job_queue_seconds = 600
    run = start(treadle, csv_file())
    release_lock(treadle.sales, "grace", "the capacity is paused")
    ended = runs.get_run(treadle.database, run.run_id)
    assert ended.status is RunStatus.FAILED
    assert "the capacity is paused" in (ended.error_message or "")
    assert active_jobs(environment) == []
    assert lock.show_lock(treadle.database).run_id is None


def test_a_lock_whose_job_does_not_end_is_not_released(treadle, drive, environment, csv_file):
    environment.cloud.fabric.options.job_queue_seconds = 600
    environment.cloud.faults.post([FaultRule("fabric.CancelItemJobInstance", "cancel_race")])
    run = start(treadle, csv_file())
    with pytest.raises(Conflict, match="has not ended"):
        release_lock(treadle.sales, "grace", "it hangs", wait_seconds=1)
    assert runs.get_run(treadle.database, run.run_id).status is not RunStatus.FAILED
    flow.cancel(treadle.sales, run.run_id, "grace")
    drive(run)


def test_a_trigger_that_lost_its_run_cancels_the_job_that_it_just_started(treadle, environment, csv_file):
    """An operator released the lock, typed override and all, while the request to Fabric was under way."""
    environment.cloud.fabric.options.job_queue_seconds = 600
    environment.cloud.faults.post([FaultRule("fabric.RunOnDemandItemJob", "slow", args={"seconds": 3})])
    with ThreadPoolExecutor(1) as thread:
        starting = thread.submit(start, treadle, csv_file())
        eventually(lambda: not environment.cloud.faults.unused(), what="the request to Fabric")
        release_lock(treadle.sales, "grace", "I know better", even_if_running=True)
        with pytest.raises(Conflict):
            starting.result()
    eventually(lambda: active_jobs(environment) == [], what="the end of the job")


def test_without_an_override_a_run_that_is_being_triggered_is_not_released(treadle, drive, environment, csv_file):
    environment.cloud.faults.post([FaultRule("fabric.RunOnDemandItemJob", "slow", args={"seconds": 2})])
    with ThreadPoolExecutor(1) as thread:
        starting = thread.submit(start, treadle, csv_file())
        eventually(lambda: runs.active_runs(treadle.database), what="the run row")
        with pytest.raises(Conflict, match="being triggered"):
            release_lock(treadle.sales, "grace", "impatient")
        drive(starting.result())


def test_a_cancel_during_the_trigger_is_carried_out_once_there_is_a_job(treadle, drive, environment, csv_file):
    environment.cloud.fabric.options.job_queue_seconds = 600
    environment.cloud.faults.post([FaultRule("fabric.RunOnDemandItemJob", "slow", args={"seconds": 2})])
    with ThreadPoolExecutor(1) as thread:
        starting = thread.submit(start, treadle, csv_file())
        eventually(lambda: runs.active_runs(treadle.database), what="the run row")
        flow.cancel(treadle.sales, runs.active_runs(treadle.database)[0].run_id, "grace")
        ended = drive(starting.result())
    assert ended.status is RunStatus.FAILED
    assert "cancelled by grace" in (ended.error_message or "")


def test_releasing_the_lock_of_a_run_whose_job_completed_gives_it_its_true_end(treadle, environment, csv_file):
    run = start(treadle, csv_file())
    eventually(lambda: active_jobs(environment) == [], what="the end of the job")
    release_lock(treadle.sales, "grace", "nobody drives it")
    ended = runs.get_run(treadle.database, run.run_id)
    assert ended.status is RunStatus.SUCCEEDED
    assert ended.kpis


def test_releasing_without_a_reason_touches_nothing(treadle, drive, csv_file):
    run = start(treadle, csv_file())
    with pytest.raises(InvalidInput):
        release_lock(treadle.sales, "grace", " ")
    assert drive(run).status is RunStatus.SUCCEEDED


def test_the_operators_reason_is_in_the_trail_also_when_a_worker_sees_the_end_first(treadle, environment, csv_file):
    environment.cloud.fabric.options.job_queue_seconds = 600
    run, worker, stop = start(treadle, csv_file()), treadle.worker(), threading.Event()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(worker.run, stop)
        release_lock(treadle.sales, "grace", "the capacity is paused")
        stop.set()
        running.result()
    told = " ".join(event.message or "" for event in events.list_events(treadle.database, run.run_id))
    assert "grace asks to release the lock: the capacity is paused" in told
    assert lock.show_lock(treadle.database).run_id is None


def test_a_start_that_breaks_off_before_fabric_is_asked_frees_the_lock_at_once(treadle, environment, csv_file):
    environment.cloud.faults.post(
        [FaultRule("onelake.Path.Rename", "status", times=None, args={"status": 403, "code": "AuthorizationFailure"})]
    )
    with pytest.raises(PermissionDenied):
        start(treadle, csv_file())
    environment.cloud.faults.clear()
    assert lock.show_lock(treadle.database).run_id is None
    (run,) = runs.list_runs(treadle.database, limit=1).runs
    assert run.status is RunStatus.FAILED


def test_an_unreadable_local_file_starts_nothing(treadle, tmp_path):
    before = runs.list_runs(treadle.database, limit=1)
    with pytest.raises(InvalidInput, match="cannot be read"):
        start(treadle, tmp_path / "vanished.csv")
    assert runs.list_runs(treadle.database, limit=1) == before


def test_a_broken_stored_mapping_is_replaced_by_a_new_one(treadle, drive, environment, csv_file):
    path = csv_file()
    (lake_folder(environment) / "Files/import").mkdir(exist_ok=True)
    (lake_folder(environment) / f"Files/import/{path.name}.mapping.json").write_text("{ not json")
    assert drive(start(treadle, path)).status is RunStatus.FAILED
    assert drive(start(treadle, path, columns={"region": "area"})).status is RunStatus.SUCCEEDED


def test_evidence_that_is_no_job_id_counts_as_none(treadle, drive, environment, csv_file):
    environment.cloud.faults.post([FaultRule("fabric.RunOnDemandItemJob", "drop_before")])
    run = start(treadle, csv_file())
    folder = lake_folder(environment) / f"Files/results/runs/{run.run_id}"
    folder.mkdir(parents=True)
    (folder / "_started.json").write_text('{"pipeline_run_id": "../../x"}')
    assert drive(run).status is RunStatus.FAILED


def test_readers_get_one_whole_run_while_others_publish(treadle, drive, environment, csv_file):
    """A file that is replaced while it is read is taken from its run's own folder."""
    run = drive(start(treadle, csv_file(rows=3)))
    environment.cloud.faults.post([FaultRule("onelake.Path.Read", "status", times=2, args={"status": 412, "code": "ConditionNotMet"})])
    assert published.verify_current(treadle.lake).run_id == run.run_id
