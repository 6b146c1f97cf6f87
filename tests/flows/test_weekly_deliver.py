"""SYNC against the sandbox's Salesforce: only what changed is sent, row by row recorded, nothing lost, nothing twice."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import polars as pl
import psycopg
import pytest

from tests import canaries
from tests.flows.conftest import eventually, lake_folder
from tests.flows.weekly_sync_trials import WEEK, opened, sync, write_week
from treadle.cli.local import LocalEnvironment
from treadle.errors import Conflict, OperationFailed, TreadleError
from treadle.flows.weekly import deliver
from treadle.flows.weekly.deliver import refused_rows, retry_refused
from treadle.flows.weekly.lake_tables import append_once
from treadle.flows.weekly.services import WeeklyServices, nobody_listens, nobody_objects
from treadle.flows.weekly.sync_outcome import SyncOutcome, counts_of
from treadle.sandbox.faults import FaultRule
from treadle.sandbox.salesforce.cloud import SalesforceCloud

BULK_ROWS = 2_500
TOO_MUCH = 10**17  # more digits than the field has
COLLECTIONS = "salesforce.UpsertCollection"


@dataclass
class Org:
    """The org, and what the stage works with."""

    environment: LocalEnvironment
    services: WeeklyServices
    folder: Path
    run_id: UUID

    @property
    def cloud(self) -> SalesforceCloud:
        return self.environment.cloud.salesforce

    def sync(self, spends, **how) -> SyncOutcome:
        return sync(self.services, write_week(self.folder, spends), self.run_id, **how)

    def fault(self, operation: str, kind: str, **rule) -> None:
        self.environment.cloud.faults.post([FaultRule(operation, kind, **rule)])

    def record(self, number: int):
        return self.cloud.record(f"{number:06d}_{WEEK.start}")

    def written_more_than_once(self) -> list[str]:
        return [key for key, counts in self.cloud.writes().items() if counts["created"] + counts["updated"] != 1]


@pytest.fixture
def org(environment: LocalEnvironment, tmp_path: Path) -> Iterator[Org]:
    environment.cloud.salesforce.forget_everything()
    app = environment.cloud.salesforce.credentials
    canaries.plant(app.client_secret)
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        connection.execute("TRUNCATE treadle.weekly_syncs, treadle.weekly_sync_parts, treadle.weekly_acknowledged, treadle.weekly_refused")
    with opened(environment.settings, tmp_path) as services:
        yield Org(environment, services, tmp_path, uuid4())


def test_a_first_sync_creates_every_row_and_a_second_sends_nothing(org: Org):
    first = org.sync([10, "20.05", 0])
    calls = org.cloud.writes()
    second = replace(org, run_id=uuid4()).sync([10, "20.05", 0])
    assert counts_of(first) == {"created": 3, "updated": 0, "unchanged": 0, "invalid": 0, "refused": 0, "pending": 0}
    assert counts_of(second) == {"created": 0, "updated": 0, "unchanged": 3, "invalid": 0, "refused": 0, "pending": 0}
    assert org.cloud.writes() == calls
    record = org.record(2)
    assert Decimal(str(record["Total_Spend_Week__c"])) == Decimal("20.05")
    assert record["Last_Activity_Time__c"].startswith("2019-12-08T23:59:59.")


@pytest.mark.parametrize("rows", [300, BULK_ROWS], ids=["collections", "bulk"])
def test_only_changed_rows_are_sent(org: Org, rows: int):
    org.sync([1] * rows)
    changed = replace(org, run_id=uuid4()).sync([2, *[1] * (rows - 1), 5], override_guards=True)
    assert counts_of(changed) == {"created": 1, "updated": 1, "unchanged": rows - 1, "invalid": 0, "refused": 0, "pending": 0}
    writes = org.cloud.writes()
    assert [key for key, counts in writes.items() if counts["updated"]] == [f"000001_{WEEK.start}"]
    assert len(writes) == rows + 1


def test_a_plan_sends_nothing_and_shows_old_and_new(org: Org):
    org.sync([1, 2])
    planned = org.sync([1, 3, 4], plan_only=True)
    assert (planned.created, planned.updated, planned.unchanged) == (1, 1, 1)
    assert planned.plan.changed_fields == {"Total_Spend_Week__c": 1}
    assert len(org.cloud.writes()) == 2


@pytest.mark.parametrize("rows", [300, BULK_ROWS], ids=["collections", "bulk"])
def test_locked_rows_are_sent_again_alone(org: Org, rows: int):
    locked = [f"{number:06d}_{WEEK.start}" for number in (7, 8)]
    org.fault("salesforce.IngestBatch" if rows == BULK_ROWS else COLLECTIONS, "salesforce_row_lock", args={"keys": locked})
    outcome = org.sync([1] * rows)
    assert counts_of(outcome) == {"created": rows, "updated": 0, "unchanged": 0, "invalid": 0, "refused": 0, "pending": 0}
    assert org.written_more_than_once() == []


def test_refused_rows_wait_with_their_reason_and_are_sent_again_only_when_asked_for(org: Org):
    org.cloud.options.validation_rules = ({"field": "Total_Spend_Week__c", "above": 500, "message": "Spend above 500 needs approval"},)
    spends = [1, 1, 501, *[1] * 47]
    first = org.sync(spends)
    assert (first.created, first.refused) == (49, 1)
    [row] = refused_rows(org.services, WEEK)
    assert (row.external_id, row.attempts, row.code) == (f"000003_{WEEK.start}", 1, "FIELD_CUSTOM_VALIDATION_EXCEPTION")
    assert "needs approval" in row.message
    rejects = table(org, "weekly_sync_rejects").filter(pl.col("run_id") == str(org.run_id))
    assert rejects.select("external_id", "refused_by", "rule").rows() == [(row.external_id, "salesforce", row.code)]
    second = replace(org, run_id=uuid4()).sync(spends)
    assert (second.created, second.refused, second.unchanged) == (0, 1, 49)
    again = retry_refused(org.services, WEEK, report=nobody_listens, check=nobody_objects)
    assert (again.created, again.refused) == (0, 1)
    assert refused_rows(org.services, WEEK)[0].attempts == 2
    org.cloud.options.validation_rules = ()
    retried = retry_refused(org.services, WEEK, report=nobody_listens, check=nobody_objects)
    assert (retried.created, retried.refused) == (1, 0)
    assert refused_rows(org.services, WEEK) == []
    assert org.written_more_than_once() == []


def test_a_refused_row_is_sent_again_when_it_has_changed(org: Org):
    org.cloud.options.validation_rules = ({"field": "Total_Spend_Week__c", "above": 500, "message": "Spend above 500 needs approval"},)
    org.sync([*[1] * 20, 501])
    changed = replace(org, run_id=uuid4()).sync([*[1] * 20, 499])
    assert (changed.created, changed.refused) == (1, 0)
    assert refused_rows(org.services, WEEK) == []


def test_more_than_a_tenth_refused_fails_the_stage_and_keeps_what_was_taken(org: Org):
    org.cloud.options.validation_rules = ({"field": "Total_Spend_Week__c", "above": 500, "message": "Spend above 500 needs approval"},)
    with pytest.raises(OperationFailed, match="more than 10%"):
        org.sync([*[1] * 8, 501, 502])
    assert len(org.cloud.writes()) == 8


def test_a_week_of_which_a_tenth_would_be_refused_fails_and_says_that_it_was_not_sent(org: Org):
    with pytest.raises(OperationFailed, match=r"10 rows of the week .*, 2 were not sent") as failed:
        org.sync([*[1] * 8, TOO_MUCH, TOO_MUCH])
    assert "treadle weekly plan" in failed.value.hint
    assert len(org.cloud.writes()) == 8
    assert org.sync([*[1] * 19, TOO_MUCH]).invalid == 1


def test_a_row_that_stays_locked_is_pending_and_waits_to_be_sent_again(org: Org, monkeypatch):
    monkeypatch.setattr(deliver.time, "sleep", lambda _seconds: None)
    org.fault(COLLECTIONS, "salesforce_row_lock", times=deliver.ROUNDS, args={"keys": [f"000007_{WEEK.start}"]})
    first = org.sync([1] * 50)
    assert (first.created, first.pending, first.rows) == (49, 1, 50)
    [row] = refused_rows(org.services, WEEK)
    assert (row.external_id, row.code, row.retry) == (f"000007_{WEEK.start}", "UNABLE_TO_LOCK_ROW", True)
    assert retry_refused(org.services, WEEK, report=nobody_listens, check=nobody_objects).created == 1
    assert refused_rows(org.services, WEEK) == []
    assert org.written_more_than_once() == []


def test_a_plan_forgets_no_refused_row(org: Org):
    org.cloud.options.validation_rules = ({"field": "Total_Spend_Week__c", "above": 500, "message": "Spend above 500 needs approval"},)
    org.sync([*[1] * 20, 501])
    org.sync([1] * 20, plan_only=True)
    assert len(refused_rows(org.services, WEEK)) == 1


def test_a_sync_that_a_guard_stops_forgets_no_refused_row(org: Org):
    org.cloud.options.validation_rules = ({"field": "Total_Spend_Week__c", "above": 500, "message": "Spend above 500 needs approval"},)
    org.sync([*[1] * 49, 501])
    with pytest.raises(Conflict, match="guard objects"):
        org.sync([1] * 10)
    assert [row.message for row in refused_rows(org.services, WEEK)] != []
    org.sync([1] * 10, override_guards=True)
    assert refused_rows(org.services, WEEK) == []


def test_a_job_that_salesforce_has_cleared_away_is_settled_by_the_rows(org: Org):
    org.fault("salesforce.GetSuccessfulResults", "status", times=None, args={"status": 403, "code": "INSUFFICIENT_ACCESS"})
    with pytest.raises(TreadleError):
        org.sync([1] * BULK_ROWS)
    org.environment.cloud.faults.clear()
    [job] = [job.job_id for job in org.services.salesforce().list_jobs()]
    org.cloud.jobs.delete(job)
    outcome = org.sync([1] * BULK_ROWS)
    assert counts_of(outcome) == {"created": BULK_ROWS, "updated": 0, "unchanged": 0, "invalid": 0, "refused": 0, "pending": 0}
    assert org.written_more_than_once() == []


def test_a_week_that_shrank_after_an_interruption_counts_only_its_own_rows(org: Org):
    org.fault("onelake.Path.*", "status", times=None, args={"status": 403})
    with pytest.raises(TreadleError):
        org.sync([1] * 30)
    org.environment.cloud.faults.clear()
    with pytest.raises(Conflict, match="max_missing_pct"):
        org.sync([1] * 10)
    outcome = org.sync([1] * 10, override_guards=True)
    assert (outcome.created, outcome.unchanged, outcome.rows) == (10, 0, 10)


def test_a_guard_keeps_too_many_updates_back_unless_overridden(org: Org):
    org.sync([1] * 10)
    with pytest.raises(Conflict, match="max_update_pct"):
        org.sync([2] * 10)
    assert org.sync([2] * 10, override_guards=True).updated == 10


LOST = [
    (300, COLLECTIONS),
    (BULK_ROWS, "salesforce.CreateIngestJob"),
    (BULK_ROWS, "salesforce.UploadJobData"),
    (BULK_ROWS, "salesforce.UpdateIngestJob"),
]


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
@pytest.mark.parametrize(("rows", "operation"), LOST)
def test_a_lost_answer_sends_no_row_twice(org: Org, rows: int, operation: str, kind: str):
    org.fault(operation, kind)
    outcome = org.sync([1] * rows)
    assert counts_of(outcome) == {"created": rows, "updated": 0, "unchanged": 0, "invalid": 0, "refused": 0, "pending": 0}
    assert org.written_more_than_once() == []
    assert open_jobs(org) == []


def test_jobs_of_other_users_are_left_alone_when_one_of_ours_is_looked_for(org: Org):
    theirs = org.cloud.open_job_of_another()
    org.fault("salesforce.CreateIngestJob", "drop_after")
    outcome = org.sync([1] * BULK_ROWS)
    assert outcome.created == BULK_ROWS
    assert open_jobs(org) == [theirs]


@pytest.mark.kills
@pytest.mark.parametrize(
    ("rows", "operation"), [*LOST, (BULK_ROWS, "salesforce.GetIngestJob"), (BULK_ROWS, "salesforce.GetSuccessfulResults")]
)
def test_a_process_killed_after_the_effect_and_before_the_answer_is_resumed(org: Org, rows: int, operation: str):
    write_week(org.folder, [1] * rows)
    org.fault(operation, "slow", args={"seconds": 5})
    child = start_child(org, rows)
    try:
        eventually(lambda: not org.environment.cloud.faults.unused(), what=f"{operation} being asked")
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    outcome = org.sync([1] * rows)
    assert counts_of(outcome) == {"created": rows, "updated": 0, "unchanged": 0, "invalid": 0, "refused": 0, "pending": 0}
    assert org.written_more_than_once() == []
    assert open_jobs(org) == []


def start_child(org: Org, rows: int) -> subprocess.Popen[bytes]:
    facts = [org.environment.state, org.folder, org.run_id, rows]
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-m", "tests.flows.weekly_sync_trials", *map(str, facts)], cwd=root)


def open_jobs(org: Org) -> list[str]:
    """Jobs that would wait for their rows until Salesforce clears them away."""
    return [job.job_id for job in org.services.salesforce().list_jobs() if job.state == "Open"]


def test_a_session_that_ends_in_the_middle_is_renewed(org: Org):
    org.fault("salesforce.GetIngestJob", "token_expired")
    assert org.sync([1] * BULK_ROWS).created == BULK_ROWS


def test_a_job_that_fails_half_way_is_told_and_goes_on_with_the_next_run(org: Org):
    org.fault("salesforce.*", "salesforce_job_failed", args={"after_rows": 1_000})
    with pytest.raises(OperationFailed, match="ended a job before"):
        org.sync([1] * BULK_ROWS)
    outcome = org.sync([1] * BULK_ROWS)
    assert (outcome.created, outcome.pending, outcome.rows) == (BULK_ROWS, 0, BULK_ROWS)
    assert org.written_more_than_once() == []


def test_two_processes_do_not_send_one_week(org: Org):
    org.fault(COLLECTIONS, "slow", args={"seconds": 3})
    write_week(org.folder, [1] * 10)
    child = start_child(org, 10)
    eventually(lambda: not org.environment.cloud.faults.unused(), what="the other process sending")
    with pytest.raises(TreadleError):
        replace(org, run_id=uuid4()).sync([1] * 10)
    assert child.wait(60) == 0
    assert org.written_more_than_once() == []


def table(org: Org, name: str) -> pl.DataFrame:
    """A Delta table of the lakehouse, read from disk as any engine would."""
    return pl.read_delta(str(lake_folder(org.environment) / "Tables" / name))


def test_the_lake_is_told_of_every_sync_and_every_change(org: Org):
    first = org.sync([1, 2, 3])
    second = replace(org, run_id=uuid4()).sync([1, 5, 3, 4], override_guards=True)
    assert (first.created, second.created, second.updated) == (3, 1, 1)
    lines = table(org, "weekly_sync_log").sort("recorded_at").tail(2)
    assert lines.select("created", "updated", "unchanged", "refused").rows() == [(3, 0, 0, 0), (1, 1, 2, 0)]
    changes = table(org, "weekly_sync_changelog").filter(pl.col("sync_id") == lines["sync_id"][1]).sort("external_id")
    assert changes["action"].to_list() == ["updated", "created"]
    [change] = changes["changes"][0]
    assert (change["field"], Decimal(change["old"]), Decimal(change["new"])) == ("Total_Spend_Week__c", 2, 5)


def test_the_log_of_a_sync_adds_up_to_the_week_with_rows_that_wait_as_refused(org: Org):
    org.cloud.options.validation_rules = ({"field": "Total_Spend_Week__c", "above": 500, "message": "Spend above 500 needs approval"},)
    org.sync([*[1] * 49, 501])
    org.sync([*[1] * 49, 501])
    org.cloud.options.validation_rules = ()
    retry_refused(org.services, WEEK, report=nobody_listens, check=nobody_objects)
    lines = table(org, "weekly_sync_log").sort("recorded_at").tail(3)
    counted = lines.select("created", "updated", "unchanged", "invalid", "refused", "pending").rows()
    assert counted == [(49, 0, 0, 0, 1, 0), (0, 0, 49, 0, 1, 0), (1, 0, None, None, 0, 0)]


def test_a_batch_reaches_a_table_once_and_beside_others(org: Org):
    lake, name = org.services.places.lake, f"Tables/trial_{uuid4().hex[:8]}"
    for batch in ("a", "b", "a"):
        append_once(lake, name, batch, pl.DataFrame({"batch": [batch]}))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: append_once(lake, name, f"t{number}", pl.DataFrame({"batch": [f"t{number}"]})), range(4)))
    assert sorted(table(org, name.partition("/")[2])["batch"]) == ["a", "b", "t0", "t1", "t2", "t3"]


def test_a_lake_that_is_away_at_the_end_is_told_later_and_nothing_is_sent_again(org: Org):
    org.fault("onelake.Path.*", "status", times=None, args={"status": 403})
    with pytest.raises(TreadleError):
        org.sync([1, 2])
    org.environment.cloud.faults.clear()
    outcome = org.sync([1, 2])
    assert counts_of(outcome) == {"created": 2, "updated": 0, "unchanged": 0, "invalid": 0, "refused": 0, "pending": 0}
    assert org.written_more_than_once() == []
    runs = table(org, "weekly_sync_log").filter(pl.col("run_id") == str(org.run_id))
    assert runs["created"].sum() == 2
