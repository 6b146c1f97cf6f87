"""Profiles of files in the lake: made once for each version by a durable job, never kept under another version's ETag."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from tests.flows.conftest import eventually
from tests.flows.test_hostile_workbooks import HEADER, ORDER, sheet_xml, write_xlsx
from treadle.cli.local import LocalEnvironment
from treadle.control.database import Database
from treadle.control.jobs.claims import claim_job, rescue_one
from treadle.control.jobs.job import Job
from treadle.control.jobs.kinds import Kind, by_name
from treadle.control.jobs.queue import get_job, list_job_events, list_jobs, list_steps, request_cancel
from treadle.control.jobs.states import JobState
from treadle.control.jobs.worker import JobWorker
from treadle.control.migrate import migrate
from treadle.errors import InvalidInput, NotFound
from treadle.flows.sales import profiles
from treadle.flows.sales.column_mapping import ColumnMapping
from treadle.flows.sales.input_files import Wishes
from treadle.flows.sales.lakehouse import import_path, mapping_path
from treadle.flows.sales.profiles import StoredProfile, cached_profile, delete_old_profiles, profile_kind, request_profile
from treadle.flows.sales.verdict import Verdict
from treadle.sandbox.faults import FaultRule
from treadle.wiring import Wiring

READ = "onelake.Path.Read"


@pytest.fixture
def own(treadle: Wiring, environment: LocalEnvironment) -> Database:
    """The database of our own tables, with no job and no profile of an earlier test."""
    migrate(treadle.own)
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        connection.execute("DELETE FROM treadle.jobs")
        connection.execute("DELETE FROM treadle.file_profiles")
    return treadle.own


@pytest.fixture
def put(treadle: Wiring, csv_file: Callable[..., Path]) -> Callable[..., str]:
    """Put a small CSV of so many orders into the lake; returns its ETag."""

    def put(rows: int = 3, name: str = "sales.csv") -> str:
        return treadle.lake.upload(import_path(name), csv_file(name, rows).read_bytes()).etag

    return put


@pytest.fixture
def worker(treadle: Wiring, own: Database) -> Iterator[JobWorker]:
    running = JobWorker(own, by_name([profile_kind(treadle.sales, own)]), idle_seconds=0.05)
    yield running
    running.close()


@pytest.fixture
def ask(treadle: Wiring, own: Database) -> Callable[..., StoredProfile | Job]:
    def ask(name: str = "sales.csv", **wishes) -> StoredProfile | Job:
        return request_profile(treadle.sales, own, name, "ada", wishes=Wishes(**wishes))

    return ask


@pytest.fixture
def ended(worker: JobWorker, own: Database) -> Callable[[StoredProfile | Job], Job]:
    """Work the job off and return it."""

    def ended(job: StoredProfile | Job) -> Job:
        assert isinstance(job, Job)
        assert worker.run_until_idle(60)
        return get_job(own, job.job_id)

    return ended


def kept(environment: LocalEnvironment) -> dict[str, int]:
    """ETag → number of rows of every stored profile."""
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        return dict(connection.execute("SELECT etag, (profile ->> 'row_count')::int FROM treadle.file_profiles").fetchall())


def replaced_during_the_read(environment: LocalEnvironment, worker: JobWorker, replace: Callable[[], object]) -> None:
    """Let the first read of the file take its time, and replace the file before its answer is whole."""
    environment.cloud.faults.post([FaultRule(READ, "slow", args={"seconds": 3})])
    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(worker.step)
        eventually(lambda: not environment.cloud.faults.unused(), what="the read of the first version")
        replace()
        assert working.result(60) == 1


def test_a_file_is_looked_into_once_and_then_its_profile_is_at_hand(treadle, own, put, ask, ended, environment):
    etag = put()
    assert cached_profile(treadle.sales, own, "sales.csv") is None
    job = ended(ask())
    assert job.state is JobState.SUCCEEDED
    assert [step.name for step in list_steps(own, job.job_id)] == ["look", "profile"]
    assert (job.result["etag"], job.result["row_count"], job.result["verdict"]) == (etag, 3, "Ready")
    profile = ask()
    assert isinstance(profile, StoredProfile)
    assert (profile.etag, profile.profile["row_count"], profile.verdict) == (etag, 3, Verdict.READY)
    assert profile == cached_profile(treadle.sales, own, "sales.csv")
    assert profile.profile["last_modified"].startswith(f"{treadle.lake.stat(import_path('sales.csv')).modified_at:%Y-%m-%dT%H:%M:%S}")
    assert len(list_jobs(own).jobs) == 1
    assert kept(environment) == {etag: 3}


def test_asked_by_many_at_once_it_is_one_job(own, put, ask, ended):
    put()
    with ThreadPoolExecutor(8) as threads:
        asked = list(threads.map(lambda _: ask(), range(8)))
    assert len({job.job_id for job in asked}) == 1
    assert ended(asked[0]).state is JobState.SUCCEEDED
    assert len(list_jobs(own).jobs) == 1


def test_a_new_version_and_another_mapping_are_looked_into_anew(treadle, put, ask, ended):
    put(3)
    first = ended(ask())
    put(5)
    second = ended(ask())
    assert (first.result["row_count"], second.result["row_count"]) == (3, 5)
    treadle.lake.upload(mapping_path("sales.csv"), ColumnMapping({"region": "channel"}).to_json())
    stored = ended(ask())
    wished = ended(ask(columns={"region": "area"}))
    assert len({first.job_id, second.job_id, stored.job_id, wished.job_id}) == 4
    assert ask().profile["mapping"] == {"region": "channel"}
    assert ask(columns={"region": "area"}).profile["mapping"] == {"region": "area"}


def test_a_file_that_is_replaced_between_two_chunks_is_read_anew_from_its_beginning(treadle, own, put, ask, environment, worker):
    long = b"order_id,revenue,note\n" + b"".join(b"%d,1.50,%s\n" % (n, b"x" * 1000) for n in range(5000))
    old = treadle.lake.upload(import_path("sales.csv"), long).etag
    job = ask()
    replaced_during_the_read(environment, worker, lambda: put(7))
    new = treadle.lake.stat(import_path("sales.csv")).etag
    assert get_job(own, job.job_id).result["etag"] == new != old
    assert kept(environment) == {new: 7}
    assert any("replaced while it was being read" in event.message for event in list_job_events(own, job.job_id))


def test_a_file_that_is_replaced_after_its_last_chunk_is_read_anew_and_each_profile_is_of_its_own_version(
    own, put, ask, environment, worker
):
    old = put(3)
    job, newer = ask(), []
    replaced_during_the_read(environment, worker, lambda: newer.append(put(7)))
    assert get_job(own, job.job_id).result["etag"] == newer[0]
    assert kept(environment) == {old: 3, newer[0]: 7}
    assert isinstance(ask(), StoredProfile)


def test_a_damaged_file_that_is_replaced_by_a_good_one_meanwhile_does_not_fail_the_job(treadle, own, put, ask, environment, worker):
    treadle.lake.upload(import_path("sales.csv"), b"\x00\x01\x02 not a table")
    job = ask()
    replaced_during_the_read(environment, worker, lambda: put(4))
    assert get_job(own, job.job_id).result["row_count"] == 4


def test_a_missing_column_blocks_the_run_but_not_the_profile(treadle, ask, ended):
    treadle.lake.upload(import_path("sales.csv"), b"Order,Sales\n1,2.5\n")
    assert ended(ask()).result["verdict"] == "Blocked"
    assert ask().verdict is Verdict.BLOCKED


@pytest.mark.parametrize(
    ("name", "far"),
    [
        ("named.xlsx", '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'),
        ("garbage.xlsx", ""),
    ],
)
def test_a_file_that_cannot_be_read_ends_the_job_with_the_readers_words_and_asking_again_does_not_read_it_again(
    treadle, own, ask, ended, tmp_path, name, far
):
    path = write_xlsx(tmp_path / name, sheet_xml(HEADER + ORDER + far)) if far else tmp_path / name
    if not far:
        path.write_bytes(b"PK\x03\x04 nothing that follows")
    treadle.lake.upload(import_path(name), path.read_bytes())
    job = ended(ask(name))
    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert job.error_message
    assert job.error_hint
    again = ask(name)
    assert (again.job_id, again.state) == (job.job_id, JobState.FAILED)
    assert len(list_jobs(own).jobs) == 1


def test_a_file_that_makes_the_reader_abort_ends_the_job_and_not_the_worker(treadle, put, ask, ended, tmp_path):
    rows = "".join(f'<row r="{row}"><c r="A{row}"><v>{row}</v></c><c r="B{row}"><v>1</v></c></row>' for row in range(2, 40_000))
    far = '<row r="40000"><c t="n" r="XFD1048576"><v>1</v></c></row>'
    path = write_xlsx(tmp_path / "far.xlsx", sheet_xml(HEADER + rows + far))
    treadle.lake.upload(import_path("far.xlsx"), path.read_bytes())
    put()
    bad, good = ask("far.xlsx"), ask()
    assert ended(bad).state is JobState.FAILED
    assert "memory" in ended(bad).error_message
    assert ended(good).state is JobState.SUCCEEDED


def test_a_file_that_is_not_there_or_has_no_usable_name_is_told_before_any_job_is_made(own, ask):
    with pytest.raises(NotFound):
        ask("nothing.csv")
    for name in ("../sales.csv", "a/b.csv", "__restore__x.csv", "sales.exe"):
        with pytest.raises(InvalidInput):
            ask(name)
    assert list_jobs(own).jobs == ()


def test_a_file_that_is_deleted_before_the_job_begins_ends_it_saying_so(treadle, put, ask, ended):
    put()
    job = ask()
    treadle.lake.delete(import_path("sales.csv"))
    assert ended(job).state is JobState.FAILED
    assert "does not exist" in ended(job).error_message


def test_a_job_that_was_cancelled_begins_again_when_the_profile_is_asked_for(own, put, ask, ended):
    put()
    job = ask()
    request_cancel(own, job.job_id, "ada")
    again = ask()
    assert (again.job_id, again.state) == (job.job_id, JobState.QUEUED)
    assert ended(again).state is JobState.SUCCEEDED


@pytest.mark.parametrize("reached", ["its deadline", "its last worker"])
def test_a_job_that_ended_without_a_word_on_the_file_begins_again_when_the_profile_is_asked_for(own, put, ask, ended, environment, reached):
    """As after a night without workers: what was said of the file is nothing."""
    put()
    job = ask()
    assert claim_job(own, [Kind(profiles.KIND, lambda _: None)], "dies")
    change = "deadline_at = now() - interval '1 s'" if reached == "its deadline" else "max_attempts = 1"
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        connection.execute(f"UPDATE treadle.jobs SET lease_until = now() - interval '1 s', {change}")
    assert rescue_one(own).state is JobState.FAILED
    again = ask()
    assert (again.job_id, again.state) == (job.job_id, JobState.QUEUED)
    assert ended(again).state is JobState.SUCCEEDED


def test_a_lake_that_is_away_is_waited_for(environment, put, ask, ended):
    put()
    job = ask()
    environment.cloud.faults.post([FaultRule("onelake.Path.GetProperties", "status", times=3, args={"status": 503})])
    assert ended(job).state is JobState.SUCCEEDED


def test_a_profile_that_was_cleared_away_is_made_again(own, put, ask, ended, environment):
    etag = put()
    first = ended(ask())
    assert delete_old_profiles(own, timedelta(0)) == 1
    with ThreadPoolExecutor(4) as threads:
        asked = list(threads.map(lambda _: ask(), range(4)))
    assert len({job.job_id for job in asked}) == 1
    assert ended(asked[0]).job_id != first.job_id
    assert kept(environment) == {etag: 3}


def test_profiles_of_versions_that_were_replaced_are_cleared_away_after_a_day(own, put, ask, ended, environment):
    put(3)
    ended(ask())
    newer = put(5)
    ended(ask())
    assert delete_old_profiles(own, timedelta(days=90)) == 0
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        connection.execute("UPDATE treadle.file_profiles SET computed_at = computed_at - interval '25 hours'")
    assert delete_old_profiles(own, timedelta(days=90)) == 1
    assert kept(environment) == {newer: 5}


def test_the_order_of_the_columns_in_a_mapping_does_not_matter_and_the_release_does():
    one = profiles.Reading({"a": "b", "c": "d"}, None, "1")
    assert one.sha256 == profiles.Reading({"c": "d", "a": "b"}, None, "1").sha256
    assert one.sha256 != profiles.Reading({"a": "b", "c": "d"}, None, "2").sha256
    assert one.sha256 != profiles.Reading({"a": "b", "c": "d"}, "Orders", "1").sha256


def test_the_rows_on_which_checks_failed_are_kept_with_the_version_they_are_of(treadle, own, ask, ended):
    path = import_path("sales.csv")
    faulty = b"order_id,revenue,note\nA,1.50,x\nB,much,=1+1\n,-3,\xe2\x80\xaea\n"
    etag = treadle.lake.upload(path, faulty).etag
    ended(ask())
    told = {check["check"]: check.get("failing_rows") for check in ask().profile["validations"]}
    assert told["values_readable"] == {"count": 1, "kept": 1}
    assert told["required_columns"] is None
    failed = {
        one.check: [(cell.row, cell.column, cell.value) for cell in one.cells]
        for one in profiles.failing_rows(treadle.sales, own, "sales.csv", etag)
    }
    assert failed["values_readable"] == [(3, "revenue", "much")]
    assert failed["order_id_present"] == [(4, "order_id", None)]
    assert failed["revenue_non_negative"] == [(4, "revenue", "-3")]
    treadle.lake.upload(path, faulty + b"C,4,z\n")
    with pytest.raises(NotFound, match="replaced"):
        profiles.failing_rows(treadle.sales, own, "sales.csv", treadle.lake.stat(path).etag)
    treadle.lake.upload(mapping_path("sales.csv"), ColumnMapping({"note": "channel"}).to_json())
    with pytest.raises(NotFound, match="read in another way"):
        profiles.failing_rows(treadle.sales, own, "sales.csv", etag)
