"""Every scripted fault in the way of a run: it ends as it should, with at most one Fabric job, a free lock, and `current/` of one run."""

from typing import Any

import pytest

from tests.flows.conftest import all_jobs, lake_snapshot
from treadle.control import events, runs
from treadle.control.states import RunStatus
from treadle.errors import TreadleError
from treadle.flows.sales import flow
from treadle.flows.sales.flow import StartRequest
from treadle.sandbox.faults import FaultRule

RUN, GET, LIST = "fabric.RunOnDemandItemJob", "fabric.GetItemJobInstance", "fabric.ListItemJobInstances"
READ, HEAD, FOLDER, ACTIVITIES = "onelake.Path.Read", "onelake.Path.GetProperties", "onelake.Path.List", "fabric.QueryActivityRuns"


def rule(operation: str, kind: str, *, times: int = 1, after: int = 0, **args: Any) -> FaultRule:
    return FaultRule(operation, kind, times=times, after=after, args=args)


def start(treadle, path):
    return flow.start(treadle.sales, StartRequest(input_file=path.name, requested_by="ada", local_file=path))


SURVIVED = {
    "the trigger is throttled": [rule(RUN, "status", status=429, retry_after_seconds=1)],
    "the trigger is throttled until a date": [rule(RUN, "status", status=429, retry_after_date_seconds=1)],
    "the trigger's answer is lost": [rule(RUN, "drop_after")],
    "the trigger fails after its effect": [rule(RUN, "status", status=503, after_effect=True)],
    "the trigger's answer is an HTML page, after its effect": [rule(RUN, "wrong_content_type", status=502, after_effect=True)],
    "the trigger is answered slowly": [rule(RUN, "slow", seconds=1)],
    "the trigger's Location is lost": [rule(RUN, "lost_location")],
    "the trigger's Location leads to another host": [rule(RUN, "foreign_location")],
    "the token expires before the trigger": [rule(RUN, "token_expired")],
    "the lost job is listed late": [rule(RUN, "drop_after"), rule(LIST, "listing_lag")],
    "the list is throttled while a lost job is looked for": [
        rule(RUN, "drop_after"),
        rule(LIST, "status", status=429, retry_after_seconds=1),
    ],
    "polling is throttled": [rule(GET, "status", times=2, status=429, retry_after_seconds=1)],
    "polling meets server errors": [rule(GET, "status", status=500), rule(GET, "status", status=502), rule(GET, "status", status=503)],
    "polling is cut before": [rule(GET, "drop_before")],
    "polling is cut after": [rule(GET, "drop_after")],
    "a poll is truncated": [rule(GET, "truncate")],
    "a poll is slow": [rule(GET, "slow", seconds=1)],
    "a poll is answered in HTML": [rule(GET, "wrong_content_type")],
    "the token expires in mid-run": [rule(GET, "token_expired")],
    "the job is not known yet": [rule(GET, "not_found_once")],
    "older states arrive late": [rule(GET, "stale_status", times=3, after=1)],
    "an unknown status word arrives": [rule(GET, "unknown_status", times=2, status="Hibernating")],
    "no Retry-After": [rule(GET, "no_retry_after", times=2)],
    "activities come in the older form": [rule(ACTIVITIES, "bare_array", times=2)],
    "activities cannot be read": [rule(ACTIVITIES, "status", times=1, status=400)],
    "results are read through errors": [rule(READ, "status", status=503), rule(HEAD, "status", status=500)],
    "results are cut": [rule(READ, "drop_after"), rule(READ, "truncate", after=1)],
    "the results' folder is listed through an error": [rule(FOLDER, "status", status=503)],
    "the storage token expires": [rule(HEAD, "token_expired")],
}


@pytest.mark.parametrize("name", SURVIVED)
def test_the_run_succeeds_with_one_job_although(name: str, treadle, drive, environment, csv_file):
    before = all_jobs(treadle)
    environment.cloud.fabric.options.job_queue_seconds = 1  # long enough to be looked at several times
    environment.cloud.faults.post(SURVIVED[name])
    run = drive(start(treadle, csv_file()))
    assert run.status is RunStatus.SUCCEEDED, run.error_message
    assert len(all_jobs(treadle) - before) == 1
    assert {run.fabric_job_id} == all_jobs(treadle) - before


NEVER_STARTED = {
    "the trigger is cut before it arrives": [rule(RUN, "drop_before")],
    "the trigger fails before its effect": [rule(RUN, "status", status=503)],
    "the trigger meets an HTML page": [rule(RUN, "wrong_content_type", status=502)],
}


@pytest.mark.parametrize("name", NEVER_STARTED)
def test_the_run_fails_without_any_job_and_frees_the_lock_when(name: str, treadle, drive, environment, csv_file):
    before = all_jobs(treadle)
    environment.cloud.faults.post(NEVER_STARTED[name])
    run = drive(start(treadle, csv_file()))
    assert run.status is RunStatus.FAILED
    assert "Fabric has no job" in (run.error_message or "")
    assert all_jobs(treadle) == before
    assert drive(start(treadle, csv_file())).status is RunStatus.SUCCEEDED, "the next run must be free to start"


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "InvalidParameter"), (403, "InsufficientPrivileges"), (404, "ItemNotFound")],
    ids=["refused", "forbidden", "gone"],
)
def test_a_definite_refusal_is_told_at_once_and_frees_the_lock(status: int, code: str, treadle, environment, csv_file):
    environment.cloud.faults.post([rule(RUN, "status", status=status, code=code)])
    with pytest.raises(TreadleError):
        start(treadle, csv_file())
    (run,) = runs.list_runs(treadle.database, limit=1).runs
    assert run.status is RunStatus.FAILED
    assert "not started" in (run.error_message or "")


ENDINGS = {
    "Deduped": ([rule(RUN, "deduped")], "Deduped"),
    "job failed": ([rule(RUN, "job_failed", code="JobInstanceStatusFailed", message="The capacity is paused.")], "The capacity is paused."),
    "no Spark capacity": ([rule(RUN, "capacity_exceeded")], "TooManyRequestsForCapacity"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_job_that_fabric_ends_badly_is_told_in_its_words(name: str, treadle, drive, environment, csv_file):
    rules, said = ENDINGS[name]
    drive(start(treadle, csv_file(rows=2)))
    before = lake_snapshot(environment)
    environment.cloud.faults.post(rules)
    run = drive(start(treadle, csv_file(rows=7)))
    assert run.status is RunStatus.FAILED
    assert said in (run.error_message or "")
    assert lake_snapshot(environment) == before


def test_an_unknown_word_leaves_one_warning_and_the_status_as_it_was(treadle, drive, environment, csv_file):
    environment.cloud.fabric.options.job_queue_seconds = 1
    environment.cloud.faults.post([rule(GET, "unknown_status", times=3, status="Hibernating")])
    run = drive(start(treadle, csv_file()))
    warnings = [event.message or "" for event in events.list_events(treadle.database, run.run_id) if event.event_type == "WARNING"]
    assert [text for text in warnings if "Hibernating" in text] == [warnings[0]]


def test_completed_without_valid_metadata_is_failed_and_says_so(treadle, drive, environment, csv_file):
    run = start(treadle, csv_file())
    environment.cloud.faults.post([rule(HEAD, "status", times=1, status=404, code="PathNotFound")])
    ended = drive(run)
    assert ended.status is RunStatus.FAILED
    assert "Completed, but" in (ended.error_message or "")
