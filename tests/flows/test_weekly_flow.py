"""The weekly flow whole, against the sandbox: from the events API to the lake and Salesforce, checkpointed week by week."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import psycopg
import pytest
from pydantic import SecretStr

from tests.flows.conftest import lake_folder
from tests.flows.weekly_place import open_weekly, weekly
from treadle.clients.events_api import EventsApi
from treadle.control.jobs.kinds import by_name
from treadle.control.jobs.queue import enqueue, get_job
from treadle.control.jobs.run import Stopping
from treadle.control.jobs.worker import JobWorker
from treadle.errors import ChecksumMismatch, Conflict, InvalidInput, NotFound, OperationFailed, Throttled, Unavailable
from treadle.flows.weekly import deliver, rejects
from treadle.flows.weekly.alone import alone_with
from treadle.flows.weekly.backfill import plan_backfill, run_backfill
from treadle.flows.weekly.clean_up import KEPT_PAGES, clear_old_pages
from treadle.flows.weekly.flow import WeekOptions, plan_week, run_stage, run_week, week_due
from treadle.flows.weekly.jobs import backfill_job, run_job, weekly_kinds
from treadle.flows.weekly.record import RunStatus, Stage, StageStatus
from treadle.flows.weekly.status import run_details, standing
from treadle.flows.weekly.sync_fields import CUSTOMER_WEEKLY
from treadle.flows.weekly.sync_outcome import counts_of
from treadle.flows.weekly.sync_plan import describe_changes
from treadle.flows.weekly.week import Week, week_of
from treadle.sandbox.faults import FaultRule

WEEK = week_of(date(2019, 12, 2))
ADA = WeekOptions("ada")
FORCED = dataclasses.replace(ADA, force=True)
OVERRIDING = dataclasses.replace(FORCED, override_guards=True)
__all__ = ["open_weekly", "weekly"]  # fixtures


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_lake(environment, path: str) -> Path:
    return lake_folder(environment) / path


def test_a_week_goes_through_all_five_stages(weekly, environment):
    outcome = run_week(weekly, WEEK, ADA)
    assert (outcome.status, outcome.stages) == (RunStatus.SUCCESS, tuple(Stage))
    assert outcome.rows_fetched == outcome.rows_valid + outcome.rows_rejected > 0
    assert (outcome.next_week, outcome.checkpoint_moved) == (WEEK.next, True)
    customers = pl.scan_parquet(weekly.work_folder(WEEK) / "metrics.parquet").select(pl.len()).collect().item()
    assert (sum(counts_of(outcome).values()), outcome.created) == (customers, customers)
    there = in_lake(environment, outcome.output_path)
    assert outcome.output_path == f"Files/reverse_etl/raw_events/{WEEK.folder}/events.parquet"
    assert sha256(there) == sha256(weekly.local_events(WEEK)) == sha256(weekly.work_folder(WEEK) / "events.parquet")
    assert sha256(in_lake(environment, outcome.rejects_path)) == sha256(weekly.local_rejects(WEEK))
    found = run_details(weekly, outcome.run_id)
    assert [(stage.stage, stage.status) for stage in found.stages] == [(stage, StageStatus.SUCCESS) for stage in Stage]
    assert (found.run.rows_output, found.run.synced, found.run.output_path) == (outcome.rows_valid, True, outcome.output_path)
    assert [event.seq for event in found.events] == list(range(1, len(found.events) + 1))
    assert json.loads(weekly.mirror.mirror_file.read_text())["next_week_start"] == str(WEEK.next.start)


def test_a_forced_second_run_sends_nothing_and_takes_the_place_of_the_first(weekly):
    first = run_week(weekly, WEEK, ADA)
    again = run_week(weekly, WEEK, dataclasses.replace(ADA, force=True))
    assert (again.created, again.updated, again.unchanged) == (0, 0, first.created)
    assert again.run_id != first.run_id
    assert [run.status for run in weekly.state.runs_of_week(WEEK)] == [RunStatus.SUCCESS, RunStatus.SUPERSEDED]


def test_a_forced_run_that_failed_is_not_skipped_as_done(weekly, open_weekly, environment):
    first = run_week(weekly, WEEK, ADA)
    make_all_differ(environment)
    environment.cloud.faults.script("salesforce.UpsertCollection", "status", times=None, after=1, status=403)
    with pytest.raises(Throttled):
        run_week(weekly, WEEK, OVERRIDING)
    environment.cloud.faults.clear()
    assert [run.status for run in weekly.state.runs_of_week(WEEK)] == [RunStatus.FAILED, RunStatus.SUCCESS]
    assert [each.action for each in plan_backfill(weekly, WEEK.start, WEEK.end)] == ["run"]
    with pytest.raises(Conflict, match="would take its place"):
        run_week(weekly, WEEK, dataclasses.replace(ADA, local_only=True))
    again = run_week(open_weekly(sync_max_update_pct=100.0), WEEK, ADA)
    assert (again.skipped, again.status) == (None, RunStatus.SUCCESS)
    assert (again.updated + again.unchanged, again.created) == (first.created, 0)
    assert unfinished_syncs(environment) == 0
    assert "done already" in run_week(weekly, WEEK, ADA).skipped


def stopping_after_a_part(environment) -> Callable[[], None]:
    """A check as a worker has it that stops once a first request with rows has gone to Salesforce."""
    sent = len(upserts(environment))

    def check() -> None:
        if len(upserts(environment)) > sent:
            raise Stopping

    return check


def test_a_forced_sync_that_was_interrupted_is_gone_on_with_by_its_stage_alone(weekly, environment):
    first = run_week(weekly, WEEK, ADA)
    make_all_differ(environment)
    with pytest.raises(Stopping):
        run_week(weekly, WEEK, OVERRIDING, check=stopping_after_a_part(environment))
    left = weekly.state.runs_of_week(WEEK)[0]
    assert left.status is RunStatus.STARTED
    asked = len(api_calls(environment))
    outcome = run_stage(weekly, WEEK, Stage.SYNC, dataclasses.replace(ADA, override_guards=True))
    assert (outcome.run_id, outcome.status, outcome.stages) == (left.run_id, RunStatus.SUCCESS, (Stage.SYNC,))
    assert (outcome.updated, outcome.unchanged, len(api_calls(environment))) == (first.created, 0, asked)
    assert weekly.state.get_run(first.run_id).status is RunStatus.SUPERSEDED
    assert unfinished_syncs(environment) == 0


def test_what_a_guard_has_stopped_is_sent_by_the_stage_that_it_names(weekly, environment):
    first = run_week(weekly, WEEK, ADA)
    make_all_differ(environment)
    with pytest.raises(Stopping):
        run_week(weekly, WEEK, OVERRIDING, check=stopping_after_a_part(environment))
    left, asked = weekly.state.runs_of_week(WEEK)[0], len(api_calls(environment))
    with pytest.raises(Conflict, match="guard") as objected:
        run_week(weekly, WEEK, ADA)
    assert "treadle weekly stage salesforce-sync" in objected.value.hint
    assert "--override-guards" in objected.value.hint
    with pytest.raises(Conflict, match="guard"):
        run_stage(weekly, WEEK, Stage.SYNC, FORCED)
    assert weekly.state.get_run(left.run_id).status is RunStatus.FAILED
    outcome = run_stage(weekly, WEEK, Stage.SYNC, dataclasses.replace(ADA, override_guards=True))
    assert (outcome.status, outcome.updated + outcome.unchanged, outcome.rows_fetched) == (
        RunStatus.SUCCESS,
        first.created,
        first.rows_fetched,
    )
    assert len(api_calls(environment)) == asked
    failed = [RunStatus.FAILED] * 2
    assert [run.status for run in weekly.state.runs_of_week(WEEK)] == [RunStatus.SUCCESS, *failed, RunStatus.SUPERSEDED]


@pytest.mark.parametrize("stage", [None, Stage.EXTRACT, Stage.QUALITY_GATE])
def test_a_whole_week_is_not_replaced_by_a_run_that_stays_on_this_machine(weekly, stage):
    first = run_week(weekly, WEEK, ADA)
    local = dataclasses.replace(FORCED, local_only=True)
    with pytest.raises(Conflict, match=f"by run {first.run_id}.*would take its place") as refused:
        run_week(weekly, WEEK, local) if stage is None else run_stage(weekly, WEEK, stage, local)
    assert "--dry-run" in refused.value.hint
    (run,) = weekly.state.runs_of_week(WEEK)
    assert run.complete
    assert "done already" in run_week(weekly, WEEK, dataclasses.replace(ADA, local_only=True)).skipped


def test_a_span_that_shares_days_with_another_is_refused(weekly, environment):
    part = Week(WEEK.start, WEEK.start + timedelta(days=2))
    run_week(weekly, part, dataclasses.replace(ADA, local_only=True))
    whole = run_week(weekly, WEEK, ADA)
    written = dict(environment.cloud.salesforce.writes())
    for options in (ADA, FORCED):
        with pytest.raises(Conflict, match=f"shares days with {WEEK}, whose run {whole.run_id} has brought") as refused:
            run_week(weekly, part, options)
        assert "--week-start 2019-12-02 --week-end 2019-12-08" in refused.value.hint
    across = Week(WEEK.end, WEEK.end + timedelta(days=6))
    with pytest.raises(Conflict, match="shares days"):
        run_stage(weekly, across, Stage.EXTRACT, ADA)
    assert dict(environment.cloud.salesforce.writes()) == written
    assert weekly.state.runs_of_week(across) == []
    assert run_week(weekly, WEEK.next, ADA).status is not None


def test_rows_that_are_pending_are_told_with_what_sends_them(weekly, environment, monkeypatch):
    monkeypatch.setattr(deliver, "ROUNDS", 1)
    run_week(weekly, WEEK, dataclasses.replace(ADA, local_only=True))
    metrics, _ = plan_week(weekly, WEEK)
    locked = pl.read_parquet(metrics.path)["external_signal_id"][3]
    environment.cloud.faults.script("salesforce.*", "salesforce_row_lock", times=None, keys=[locked])
    outcome = run_week(weekly, WEEK, ADA)
    assert outcome.pending == 1
    assert outcome.warning == "1 row is pending; send it with: treadle weekly rejects retry --week-start 2019-12-02"
    odd = dataclasses.replace(outcome, pending=1200, week=Week(WEEK.start, WEEK.start))
    assert odd.warning.startswith("1,200 rows are pending; send them with:")
    assert odd.warning.endswith("--week-end 2019-12-02")
    assert dataclasses.replace(outcome, pending=0).warning is None
    both = dataclasses.replace(outcome, refused=2, pending=1, next_week=week_of(WEEK.start))
    assert both.warning.splitlines()[1] == "2 rows were refused; see why with: treadle weekly rejects ls --week-start 2019-12-02"
    assert len(both.warning.splitlines()) == 2
    odd = dataclasses.replace(odd, pending=0, next_week=WEEK)
    assert (
        odd.warning == "The checkpoint stays before 2019-12-02…2019-12-08: 2019-12-02…2019-12-02 is another span, with days of that week."
    )


def test_a_week_that_is_done_is_left_alone_and_what_the_lake_lost_is_sent_again(weekly, environment):
    first = run_week(weekly, WEEK, ADA)
    requests = len(environment.cloud.requests)
    skipped = run_week(weekly, WEEK, ADA)
    assert (skipped.run_id, skipped.rows_fetched, skipped.stages) == (first.run_id, first.rows_fetched, ())
    assert "done already" in skipped.skipped
    lost = in_lake(environment, first.output_path)
    kept = lost.read_bytes()
    weekly.places.lake.delete(first.output_path)
    run_week(weekly, WEEK, ADA)
    assert lost.read_bytes() == kept
    assert "sent again" in run_details(weekly, first.run_id).events[-1].message
    weekly.places.lake.upload(first.output_path, b"other bytes of somebody")
    run_week(weekly, WEEK, ADA)
    assert lost.read_bytes() == kept
    assert requests


def test_stages_run_one_by_one_under_one_tag_and_make_the_same_as_a_whole_run(weekly):
    tagged = dataclasses.replace(ADA, tag="scheduled__2019-12-09")
    outcomes = [run_stage(weekly, WEEK, stage, tagged) for stage in Stage]
    assert {outcome.run_id for outcome in outcomes} == {outcomes[0].run_id}
    assert [outcome.status for outcome in outcomes] == [RunStatus.STARTED] * 4 + [RunStatus.SUCCESS]
    assert outcomes[-1].checkpoint_moved
    assert week_due(weekly, "scheduled__2019-12-09") == (WEEK, True)
    assert week_due(weekly) == (WEEK.next, True)
    late = run_stage(weekly, WEEK, Stage.SYNC, tagged)
    assert "done already" in late.skipped


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.EXTRACT])
def test_a_stage_whose_predecessor_was_not_done_says_which(weekly, stage):
    with pytest.raises(Conflict, match="was not done") as refused:
        run_stage(weekly, WEEK, stage, ADA)
    assert "treadle weekly stage extract" in refused.value.hint
    assert weekly.state.runs_of_week(WEEK) == []


def change_extract(weekly, **values):
    """As if the pages that are here had been fetched otherwise."""
    manifest = weekly.work_folder(WEEK) / "extract.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_bytes()) | values))


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.EXTRACT])
def test_events_of_a_week_that_was_not_over_are_not_taken_for_all_of_it_afterwards(weekly, stage):
    for earlier in tuple(Stage)[:-1]:
        run_stage(weekly, WEEK, earlier, ADA)
    change_extract(weekly, window_closes="2019-12-05T12:00:00+00:00")
    runs = weekly.state.runs_of_week(WEEK)
    with pytest.raises(Conflict, match="end at 2019-12-05 12:00 UTC") as refused:
        run_stage(weekly, WEEK, stage, ADA)
    assert "treadle weekly run" in refused.value.hint
    assert weekly.state.runs_of_week(WEEK) == runs
    outcome = run_week(weekly, WEEK, ADA)
    assert (outcome.status, outcome.checkpoint_moved) == (RunStatus.SUCCESS, True)


@pytest.mark.parametrize("stage", [Stage.LOAD, Stage.QUALITY_GATE, Stage.SYNC])
def test_events_that_were_judged_from_other_pages_go_no_further(weekly, stage):
    for earlier in tuple(Stage)[:-1]:
        run_stage(weekly, WEEK, earlier, ADA)
    change_extract(weekly, ingested_at="2020-01-01T00:00:00+00:00")
    with pytest.raises(Conflict, match="The stage transform") as refused:
        run_stage(weekly, WEEK, stage, ADA)
    assert "treadle weekly stage transform" in refused.value.hint
    with pytest.raises(Conflict, match="The stage transform"):
        plan_week(weekly, WEEK)


def test_a_plan_of_events_that_have_not_passed_the_gate_leaves_what_a_retry_would_send(weekly, open_weekly):
    run_week(weekly, WEEK, ADA)
    sent = weekly.work_folder(WEEK) / "metrics.parquet"
    kept = (sha256(sent), sent.stat().st_mtime_ns)
    metrics, _ = plan_week(open_weekly(reject_threshold_pct=0.01), WEEK)  # under which the gate has decided nothing yet
    assert metrics.path != sent
    assert (sha256(sent), sent.stat().st_mtime_ns) == kept


def test_a_stage_with_the_same_inputs_is_not_done_twice(weekly, environment):
    run_stage(weekly, WEEK, Stage.EXTRACT, ADA)
    run_stage(weekly, WEEK, Stage.TRANSFORM, ADA)
    events = weekly.work_folder(WEEK) / "events.parquet"
    before = (events.stat().st_mtime_ns, sha256(events))
    asked = len(api_calls(environment))
    run_week(weekly, WEEK, ADA)
    assert (events.stat().st_mtime_ns, sha256(events)) == before
    assert len(api_calls(environment)) == asked


def test_too_many_rejects_fail_the_run_and_leave_the_checkpoint(weekly, open_weekly):
    bad = week_of(date(2019, 12, 9))
    strict = open_weekly(reject_threshold_pct=1.0)
    with pytest.raises(OperationFailed, match="more than the 1 %"):
        run_week(strict, bad, ADA)
    (run,) = weekly.state.runs_of_week(bad)
    assert (run.status, run.error_type, run.rows_rejected > 0) == (RunStatus.FAILED, "OperationFailed", True)
    assert weekly.state.checkpoint() is None
    assert weekly.local_rejects(bad).exists()
    passed = run_week(weekly, bad, ADA)
    assert (passed.status, passed.rows_rejected) == (RunStatus.SUCCESS_WITH_REJECTS, run.rows_rejected)
    assert len(weekly.state.runs_of_week(bad)) == 2


def test_a_refused_batch_leaves_its_rejects_to_be_looked_at(weekly, tmp_path):
    worst = week_of(date(2020, 1, 13))
    with pytest.raises(InvalidInput, match="the batch is refused"):
        run_week(weekly, worst, ADA)
    (run,) = weekly.state.runs_of_week(worst)
    assert (run.status, run.output_path) == (RunStatus.FAILED, None)
    assert run.rows_fetched > run.rows_rejected > 0
    path = rejects.rejects_file(weekly, worst)
    counted = rejects.count_by_rule(path)
    assert sum(rule.rows for rule in counted) == run.rows_rejected
    first = rejects.list_rejects(path, rule=counted[0].rule, limit=1)[0]
    whole = rejects.show_reject(path, first.row_index)
    assert (whole.reject, bool(whole.raw_record), bool(whole.errors)) == (first, True, True)
    for name in ("r.csv", "r.jsonl", "r.parquet"):
        assert rejects.export_rejects(path, tmp_path / name) == run.rows_rejected
    assert pl.read_csv(tmp_path / "r.csv", infer_schema=False).height == run.rows_rejected
    assert rejects.export_rejects(path, tmp_path / "one.jsonl", rule=counted[0].rule) >= counted[0].rows
    with pytest.raises(InvalidInput):
        rejects.export_rejects(path, tmp_path / "r.xlsx")
    with pytest.raises(NotFound):
        rejects.show_reject(path, 10**9)


@pytest.mark.parametrize("by_stage", [False, True])
def test_behind_data_that_did_not_pass_the_week_is_fetched_anew(weekly, open_weekly, environment, by_stage):
    bad = week_of(date(2019, 12, 9))
    with pytest.raises(OperationFailed, match="more than the 1 %") as failed:
        run_week(open_weekly(reject_threshold_pct=1.0), bad, ADA)
    assert "treadle weekly run --week-start 2019-12-09" in failed.value.hint
    asked = len(api_calls(environment))
    again = run_stage(weekly, bad, Stage.EXTRACT, ADA) if by_stage else run_week(weekly, bad, ADA)
    assert len(api_calls(environment)) - asked >= again.rows_fetched / 1000, "the source may have been mended"
    asked = len(api_calls(environment))
    run_week(weekly, bad, ADA)
    assert len(api_calls(environment)) == asked


def test_behind_a_refused_batch_a_system_that_is_away_leaves_what_was_fetched_anew(weekly, open_weekly, environment):
    worst = week_of(date(2020, 1, 13))
    with pytest.raises(InvalidInput, match="the batch is refused") as refused:
        run_week(weekly, worst, ADA)
    assert "treadle weekly run --week-start 2020-01-13" in refused.value.hint
    whole = len(api_calls(environment))
    environment.cloud.faults.post([FaultRule("events.ListEvents", "status", args={"status": 503}, after=1, times=2)])
    with pytest.raises(Unavailable):
        run_week(open_weekly(api_max_retries=1), worst, ADA)
    asked = len(api_calls(environment))
    with pytest.raises(InvalidInput, match="the batch is refused"):
        run_week(weekly, worst, ADA)
    assert len(api_calls(environment)) - asked == whole - 1, "the page that was fetched anew was fetched once more"


def test_a_week_that_has_not_begun_leaves_no_run(weekly):
    future = week_of(date(2999, 1, 1))
    for attempt in (lambda: run_week(weekly, future, ADA), lambda: run_stage(weekly, future, Stage.EXTRACT, ADA)):
        with pytest.raises(InvalidInput, match="has not begun"):
            attempt()
    assert weekly.state.list_runs() == []
    with pytest.raises(InvalidInput, match="521,723 weeks"):
        plan_backfill(weekly, date.min, date.max)


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.parquet"])
def test_an_export_that_the_disk_does_not_take_is_told_and_leaves_no_stump(tmp_path, name):
    source, target = tmp_path / "rejects.parquet", tmp_path / "out" / name
    made = {"row_index": range(5000), "rule": ["r"] * 5000, "raw_record": [os.urandom(64) for _ in range(5000)], "errors": [[]] * 5000}
    pl.DataFrame(made, schema_overrides={"errors": pl.List(pl.String)}).write_parquet(source)
    with pytest.raises(InvalidInput, match="There is no folder"):
        rejects.export_rejects(source, target)
    target.parent.mkdir()
    target.write_text("older")
    code = (
        "import resource, signal, sys; from pathlib import Path; from treadle.errors import Unavailable; from treadle.flows.weekly import rejects;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try: rejects.export_rejects(Path(sys.argv[1]), Path(sys.argv[2]))\nexcept Unavailable as error: print(error.message)"
    )
    told = subprocess.run([sys.executable, "-c", code, str(source), str(target)], capture_output=True, text=True, check=True).stdout
    assert "cannot be written: " in told
    assert "File too large" in told
    assert (target.read_text(), list(target.parent.iterdir())) == ("older", [target])
    assert rejects.export_rejects(source, target) == 5000


def test_a_dry_run_leaves_nothing_behind(weekly, environment):
    outcome = run_week(weekly, WEEK, dataclasses.replace(ADA, dry_run=True))
    assert (outcome.dry_run, outcome.run_id, outcome.status) == (True, None, RunStatus.SUCCESS)
    assert outcome.rows_valid > 0
    assert weekly.state.list_runs() == []
    assert not any(path.is_file() for path in weekly.settings.state_dir.rglob("*"))
    assert not in_lake(environment, f"Files/reverse_etl/raw_events/{WEEK.folder}/events.parquet").exists()


def test_a_local_run_touches_neither_lake_nor_salesforce_and_a_whole_one_follows(weekly, environment):
    local = run_week(weekly, WEEK, dataclasses.replace(ADA, local_only=True))
    assert (local.status, local.checkpoint_moved, local.stages) == (RunStatus.SUCCESS, False, tuple(Stage)[:-1])
    assert weekly.local_events(WEEK).exists()
    assert not in_lake(environment, f"Files/reverse_etl/raw_events/{WEEK.folder}/events.parquet").exists()
    asked = len(api_calls(environment))
    whole = run_week(weekly, WEEK, ADA)
    assert (whole.skipped, whole.checkpoint_moved) == (None, True)
    assert len(api_calls(environment)) == asked


def test_weeks_out_of_order_leave_the_checkpoint_behind_the_gap(weekly):
    run_week(weekly, WEEK, ADA)
    third = run_week(weekly, WEEK.next.next, ADA)
    assert (third.checkpoint_moved, third.next_week) == (False, WEEK.next)
    second = run_week(weekly, WEEK.next, ADA)
    assert second.next_week == WEEK.next.next.next


def test_a_skip_moves_the_checkpoint_only_when_asked(weekly, environment):
    run_week(weekly, WEEK, ADA)
    run_week(weekly, WEEK.next, ADA)
    execute(environment, "DELETE FROM treadle.pipeline_checkpoint")
    assert run_week(weekly, WEEK, ADA).next_week is None
    moved = run_week(weekly, WEEK, dataclasses.replace(ADA, advance_on_skip=True))
    assert (moved.checkpoint_moved, moved.next_week) == (True, WEEK.next.next)


def test_two_runs_of_one_week_at_once_are_refused(weekly):
    with alone_with(weekly, WEEK), pytest.raises(Conflict, match="Another run of the week"):
        run_week(weekly, WEEK, ADA)
    assert run_week(weekly, WEEK, ADA).status is RunStatus.SUCCESS


def test_an_api_that_is_away_fails_the_run_with_the_reason_and_the_next_goes_on(weekly, open_weekly, environment):
    environment.cloud.faults.post([FaultRule("events.ListEvents", "status", args={"status": 503}, after=2, times=2)])
    with pytest.raises(Unavailable):
        run_week(open_weekly(api_max_retries=1), WEEK, ADA)
    failed = weekly.state.runs_of_week(WEEK)[0]
    assert (failed.status, failed.error_type) == (RunStatus.FAILED, "Unavailable")
    asked = len(api_calls(environment))
    outcome = run_week(weekly, WEEK, ADA)
    assert outcome.status is RunStatus.SUCCESS
    assert len(api_calls(environment)) - asked < outcome.rows_fetched / 1000 + 1, "pages that were there were fetched again"


def test_a_long_wait_for_the_api_is_told_and_a_short_one_is_not(weekly, environment):
    slept, told = [], []

    def events_api() -> EventsApi:
        found = weekly.settings
        key, ca_file = found.api_key.get_secret_value(), environment.settings.treadle_ca_file
        return EventsApi(found.api_base_url, api_key=key, ca_file=ca_file, timeout_seconds=90, sleep=slept.append)

    environment.cloud.faults.post(
        [
            FaultRule("events.ListEvents", "status", args={"status": 429, "retry_after_seconds": 100}, after=2, times=1),
            FaultRule("events.ListEvents", "status", args={"status": 503, "retry_after_seconds": 1}, after=4, times=1),
        ]
    )
    outcome = run_week(dataclasses.replace(weekly, events_api=events_api), WEEK, ADA, report=told.append)
    assert outcome.status is RunStatus.SUCCESS
    assert len(slept) == 2
    (waits,) = [progress for progress in told if progress.note]
    assert (waits.stage, waits.done, waits.note) == (Stage.EXTRACT, 2000, f"the events API is asked again in {slept[0]:.0f} s")
    assert slept[0] >= 100


def test_a_backfill_shows_first_what_it_does_and_then_does_that(weekly):
    run_week(weekly, WEEK, ADA)
    last = WEEK.next.next
    plan = plan_backfill(weekly, WEEK.start, last.end)
    assert [(each.week, each.action) for each in plan] == [(WEEK, "skip"), (WEEK.next, "run"), (last, "run")]
    outcomes = run_backfill(weekly, plan, ADA)
    assert [bool(outcome.skipped) for outcome in outcomes] == [True, False, False]
    assert weekly.state.checkpoint().next == last.next
    assert [each.action for each in plan_backfill(weekly, WEEK.start, last.end, force=True)] == ["again"] * 3
    with pytest.raises(InvalidInput, match="lie across"):
        plan_backfill(weekly, date(2019, 12, 3), last.end)
    future = plan_backfill(weekly, date(2095, 1, 3), date(2095, 1, 3))
    assert [each.action for each in future] == ["wait"]


def test_a_plan_says_what_a_sync_would_do_and_does_nothing(weekly):
    with pytest.raises(Conflict, match="was not done"):
        plan_week(weekly, WEEK)
    run_week(weekly, WEEK, dataclasses.replace(ADA, local_only=True))
    metrics, planned = plan_week(weekly, WEEK)
    assert counts_of(planned) == {"created": metrics.rows, "updated": 0, "unchanged": 0, "invalid": 0, "refused": 0, "pending": 0}
    assert plan_week(weekly, WEEK)[1].created == metrics.rows
    done = run_week(weekly, WEEK, ADA)
    assert done.created == metrics.rows
    assert counts_of(plan_week(weekly, WEEK)[1])["unchanged"] == metrics.rows


def test_a_plan_tells_which_rows_wait_as_refused_and_counts_no_request_for_them(weekly, environment):
    run_week(weekly, WEEK, dataclasses.replace(ADA, local_only=True))
    spent = pl.read_parquet(plan_week(weekly, WEEK)[0].path)["total_spend_week"].sort(descending=True)
    options = environment.cloud.salesforce.options
    options.validation_rules = ({"field": "Total_Spend_Week__c", "above": float(spent[1]), "message": "Too much"},)
    try:
        outcome = run_week(weekly, WEEK, ADA)
    finally:
        options.validation_rules = ()
    assert outcome.refused == 1
    _, planned = plan_week(weekly, WEEK)
    assert (planned.refused, planned.plan.refused, planned.plan.create, planned.plan.cost.requests) == (1, 1, 0, 0)
    (row,), total = describe_changes(planned.plan.rows_path, CUSTOMER_WEEKLY)
    assert (total, row.action, row.problems[0].reason) == (1, "refused", "Too much")


def test_a_run_of_which_nothing_was_heard_for_a_day_is_ended_with_the_reason(weekly, environment):
    tagged = dataclasses.replace(ADA, tag="scheduled__1")
    left = run_stage(weekly, WEEK.next, Stage.EXTRACT, tagged)
    execute(environment, "UPDATE treadle.pipeline_run SET pipeline_start_time = pipeline_start_time - interval '2 days'")
    execute(environment, "UPDATE treadle.weekly_events SET at = at - interval '25 hours'")
    run_week(weekly, WEEK, dataclasses.replace(ADA, local_only=True))
    ended = weekly.state.get_run(left.run_id)
    assert (ended.status, ended.error_type) == (RunStatus.FAILED, "Abandoned")
    again = run_stage(weekly, WEEK.next, Stage.TRANSFORM, tagged)
    assert again.run_id != left.run_id


def test_a_run_of_another_tag_takes_the_place_of_one_that_was_left(weekly):
    left = run_stage(weekly, WEEK, Stage.EXTRACT, dataclasses.replace(ADA, tag="scheduled__1"))
    outcome = run_week(weekly, WEEK, dataclasses.replace(ADA, tag="scheduled__2"))
    assert (outcome.run_id != left.run_id, outcome.status) == (True, RunStatus.SUCCESS)
    assert weekly.state.get_run(left.run_id).error_message.startswith("It was left unfinished")


def test_pages_of_weeks_that_are_long_done_are_cleared_away(weekly):
    done, young, begun = WEEK, WEEK.next, WEEK.next.next
    fetched = [run_week(weekly, week, ADA).rows_fetched for week in (done, young)]
    run_stage(weekly, begun, Stage.EXTRACT, ADA)
    long_ago = (datetime.now(UTC) - KEPT_PAGES - timedelta(days=1)).timestamp()
    for week in (done, begun):
        os.utime(weekly.work_folder(week) / "extract.json", (long_ago, long_ago))
    (weekly.settings.state_dir / "weeks" / "week_start=x" / "week_end=y").mkdir(parents=True)
    assert (clear_old_pages(weekly), clear_old_pages(weekly)) == (1, 0)
    assert [any((weekly.work_folder(week) / "pages").iterdir()) for week in (done, young, begun)] == [False, True, True]
    assert run_week(weekly, done, ADA).skipped
    assert run_week(weekly, done, FORCED).rows_fetched == fetched[0]


def test_how_things_stand(weekly, environment):
    assert standing(weekly).checkpoint is None
    outcome = run_week(weekly, WEEK, ADA)
    found = standing(weekly)
    assert (found.checkpoint.next, found.stale, found.next_is_over, found.waiting) == (WEEK.next, False, True, 0)
    assert [run.run_id for run in found.runs] == [outcome.run_id]
    execute(environment, "UPDATE treadle.pipeline_checkpoint SET updated_at_utc = updated_at_utc - interval '15 days'")
    assert standing(weekly).stale


def test_files_go_to_a_container_of_adls_when_its_settings_are_there(open_weekly, environment):
    """OneLake speaks the protocol of ADLS Gen2, with a workspace where that has a container."""
    settings = environment.settings
    place = {"storage_account": settings.onelake_url, "container": settings.fabric_workspace_id}
    base = f"{settings.fabric_lakehouse_id}/Files/reverse_etl/weeks"
    services = open_weekly(**place, adls_base_path=base)
    assert services.places.lake.place.service == "ADLS"
    outcome = run_week(services, WEEK, ADA)
    assert outcome.output_path == f"{base}/{WEEK.folder}/events.parquet"
    stored = in_lake(environment, f"Files/reverse_etl/weeks/{WEEK.folder}/events.parquet")
    assert sha256(stored) == sha256(services.local_events(WEEK))
    assert in_lake(environment, f"Files/reverse_etl/weeks_rejects/{WEEK.folder}/rejects.parquet").exists()
    assert not list(in_lake(environment, "Files/reverse_etl/.treadle/uploads").glob("*"))
    assert services.places.lake.list_files(f"{base}/{WEEK.folder}")[0].path == outcome.output_path


def test_a_sandbox_reaches_no_account_of_the_cloud(open_weekly):
    services = open_weekly(
        storage_account="production", container="weekly", azure_sql_server="p.database.windows.net", azure_sql_database="d"
    )
    assert services.places.lake.place.service == "OneLake"
    assert type(services.state).__name__ == "PostgresState"
    assert open_weekly(openlineage_url="https://lineage.example").lineage.url is None


def test_bytes_that_changed_behind_our_back_are_noticed_before_they_are_published(weekly):
    for stage in (Stage.EXTRACT, Stage.TRANSFORM):
        run_stage(weekly, WEEK, stage, ADA)
    events = weekly.work_folder(WEEK) / "events.parquet"
    events.write_bytes(events.read_bytes()[:-1] + b"?")
    with pytest.raises(ChecksumMismatch, match="is not the file that TRANSFORM made"):
        run_stage(weekly, WEEK, Stage.LOAD, ADA)
    assert not weekly.local_events(WEEK).exists()
    assert run_week(weekly, WEEK, ADA).status is RunStatus.SUCCESS


@pytest.mark.needs("java")
def test_spark_makes_the_same_files(weekly):
    local = dataclasses.replace(ADA, local_only=True)
    run_week(weekly, WEEK, local)
    metrics, _ = plan_week(weekly, WEEK)
    before = (sha256(weekly.work_folder(WEEK) / "events.parquet"), pl.read_parquet(metrics.path))
    run_stage(weekly, WEEK, Stage.TRANSFORM, dataclasses.replace(local, force=True, engine="spark"))
    metrics.path.unlink()
    again, _ = plan_week(weekly, WEEK, engine="spark")
    assert sha256(weekly.work_folder(WEEK) / "events.parquet") == before[0]
    assert pl.read_parquet(again.path).equals(before[1])


@pytest.fixture
def lineage_service() -> Iterator[tuple[str, list[Any]]]:
    """A service that keeps what is posted to it."""
    posted: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((self.path, self.headers["Authorization"], json.loads(body)))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", posted
    server.shutdown()
    server.server_close()


def test_lineage_is_told_with_inputs_outputs_and_row_counts(open_weekly, lineage_service):
    url, posted = lineage_service
    services = open_weekly(openlineage_url=url, openlineage_api_key=SecretStr("lineage-key"))
    outcome = run_week(services, WEEK, ADA)
    (path, key, start), (_, _, complete) = posted
    assert (path, key) == ("/api/v1/lineage", "Bearer lineage-key")
    assert [event["eventType"] for event in (start, complete)] == ["START", "COMPLETE"]
    assert {event["run"]["runId"] for event in (start, complete)} == {str(outcome.run_id)}
    assert complete["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == outcome.rows_fetched
    rows = {out["name"]: out["outputFacets"]["outputStatistics"]["rowCount"] for out in complete["outputs"]}
    assert rows == {outcome.output_path: outcome.rows_valid, outcome.rejects_path: outcome.rows_rejected}
    with pytest.raises(InvalidInput):
        run_week(services, week_of(date(2020, 1, 13)), ADA)
    assert (posted[-1][2]["eventType"], "refused" in posted[-1][2]["run"]["facets"]["errorMessage"]["message"]) == ("FAIL", True)


def test_a_lineage_service_that_is_away_is_a_warning_only(open_weekly):
    services = open_weekly(openlineage_url="http://127.0.0.1:9")
    assert run_week(services, WEEK, dataclasses.replace(ADA, local_only=True)).status is RunStatus.SUCCESS


def test_a_worker_runs_weeks_as_background_jobs_one_at_a_time(weekly, environment, tmp_path):
    job = enqueue(weekly.own, run_job(WEEK, "olga"))
    spans = enqueue(weekly.own, backfill_job(WEEK.start, WEEK.next.end, "olga"))
    worker = JobWorker(weekly.own, by_name(weekly_kinds(lambda: weekly)), slots=2)
    try:
        assert worker.run_until_idle(120)
    finally:
        worker.close()
    ran, filled = get_job(weekly.own, job.job_id), get_job(weekly.own, spans.job_id)
    assert (ran.state, ran.result["status"], ran.result["week"]) == ("SUCCEEDED", "SUCCESS", {"start": "2019-12-02", "end": "2019-12-08"})
    assert ran.result["created"] > 0
    assert filled.state == "SUCCEEDED", filled.error_message
    assert [bool(result["skipped"]) for result in filled.result.values()] == [True, False]
    assert weekly.state.get_run(UUID(ran.result["run_id"])).correlation_id == f"job:{job.job_id}"


def execute(environment, statement: str) -> None:
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        connection.execute(statement)


def make_all_differ(environment) -> None:
    """As if Salesforce had acknowledged other figures of every customer, so that each is to be updated."""
    execute(
        environment,
        """UPDATE treadle.weekly_acknowledged SET row_hash_hi = row_hash_hi + 1, fields = fields || '{"Total_Spend_Week__c": "77777.00"}'""",
    )


def unfinished_syncs(environment) -> int:
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        (count,) = connection.execute("SELECT count(*) FROM treadle.weekly_syncs WHERE state = 'SENDING'").fetchone() or (0,)
        return count


def upserts(environment) -> list:
    return [request for request in environment.cloud.requests if request.operation == "salesforce.UpsertCollection" and request.status]


def api_calls(environment) -> list:
    return [request for request in environment.cloud.requests if "ecom_events" in str(request)]
