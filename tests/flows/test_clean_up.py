"""The hourly clean-up deletes what nobody needs any more, and only that."""

import os
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from treadle.cli.local import LocalEnvironment
from treadle.clients.onelake import STAGING
from treadle.control.database import Database
from treadle.control.jobs.job import NewJob
from treadle.control.jobs.kinds import by_name
from treadle.control.jobs.queue import enqueue, get_job, list_jobs, list_steps
from treadle.control.jobs.states import JobState
from treadle.control.jobs.worker import JobWorker
from treadle.control.migrate import migrate
from treadle.control.states import RunStatus
from treadle.errors import Unavailable
from treadle.flows.sales import clean_up, flow
from treadle.flows.sales.flow import StartRequest
from treadle.flows.sales.jobs import sales_kinds, sales_recurrings
from treadle.flows.sales.lakehouse import ATTEMPT_PREFIX, COPIES, run_path
from treadle.flows.sales.notifications import Notifications
from treadle.sandbox.faults import FaultRule
from treadle.wiring import Wiring


@pytest.fixture
def own(treadle: Wiring, environment: LocalEnvironment) -> Database:
    migrate(treadle.own)
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        for table in ("jobs", "job_slots", "file_profiles", "outbox"):
            connection.execute(f"DELETE FROM treadle.{table}")
    return treadle.own


def tidied(treadle: Wiring, own: Database, **extra) -> list:
    """Run one clean-up; returns its job and what it deleted."""
    worker = JobWorker(own, by_name(sales_kinds(treadle.sales, own, Notifications(), extra)), idle_seconds=0.05)
    job = enqueue(own, clean_up.hourly_clean_up(datetime.now(UTC)))
    assert worker.run_until_idle(60)
    worker.close()
    return [get_job(own, job.job_id), get_job(own, job.job_id).result]


def test_what_is_old_goes_and_what_is_young_stays(treadle, own, environment):
    old = enqueue(own, NewJob("clean_up", {}, "ada")).job_id
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        connection.execute(
            "UPDATE treadle.jobs SET state = 'CANCELLED', finished_at = now() - interval '31 days' WHERE job_id = %s", (old,)
        )
        for days in (1, 91):
            connection.execute(
                """INSERT INTO treadle.file_profiles (file_name, wishes_sha256, etag, profile, computed_at)
                   VALUES (%s, 'w', 'e', '{}', now() - make_interval(days => %s))""",
                (f"{days}.csv", days),
            )
            connection.execute(
                """INSERT INTO treadle.outbox (message_id, channel, type, subject, happened_at, facts, created_at)
                   VALUES (gen_random_uuid(), 'slack', 'run.failed', %s, now(), '{}', now() - make_interval(days => %s))""",
                (str(days), days),
            )
    job, deleted = tidied(treadle, own)
    assert job.state is JobState.SUCCEEDED
    assert (deleted["ended jobs"], deleted["old profiles"], deleted["sent messages"]) == (1, 1, 1)
    assert tidied(treadle, own)[1] == dict.fromkeys(deleted, 0), "done again it finds nothing"


def test_bytes_of_uploads_that_were_killed_are_cleared_from_the_lake_after_a_day(treadle, own, environment):
    left = treadle.lake.stage_upload(b"half an upload")
    young = treadle.lake.stage_upload(b"still on its way")
    path = environment.cloud.lake.path_of(environment.settings.fabric_workspace_id, environment.settings.fabric_lakehouse_id) / left.path
    assert path.is_file()
    yesterday = (datetime.now(UTC) - timedelta(hours=25)).timestamp()
    os.utime(path, (yesterday, yesterday))
    before = {file.path for file in treadle.lake.list_files(STAGING)}
    assert tidied(treadle, own)[1]["abandoned uploads"] == 1
    assert before - {file.path for file in treadle.lake.list_files(STAGING)} == {left.path}
    treadle.lake.delete(young.path)


def test_what_a_killed_notebook_left_in_its_runs_folder_goes_and_the_rest_of_the_folder_stays(treadle, own, drive, environment, tmp_path):
    workbook = tmp_path / "nothing.csv"
    workbook.write_text("order_id,region\n1,North\n")
    run = drive(flow.start(treadle.sales, StartRequest("nothing.csv", "ada", local_file=workbook)))
    assert run.status is RunStatus.FAILED
    folder = environment.cloud.lake.path_of(environment.settings.fabric_workspace_id, environment.settings.fabric_lakehouse_id) / run_path(
        run.run_id
    )
    before = sorted(path.name for path in folder.iterdir())
    copies = folder / f"{ATTEMPT_PREFIX}0123456789ab" / COPIES
    copies.mkdir(parents=True)
    (copies / "sales_cleaned.csv").write_text("order_id\n1\n")
    assert tidied(treadle, own)[1]["broken-off attempts"] == 1
    assert sorted(path.name for path in folder.iterdir()) == before
    assert tidied(treadle, own)[1]["broken-off attempts"] == 0


def test_what_other_parts_add_is_a_step_of_its_own_and_one_that_fails_does_not_repeat_those_that_are_done(treadle, own):
    calls = {"tokens": 0, "rates": 0}

    def rates() -> int:
        calls["rates"] += 1
        if calls["rates"] == 1:
            raise Unavailable("Away.")
        return 7

    def tokens() -> int:
        calls["tokens"] += 1
        return 3

    job, deleted = tidied(treadle, own, tokens=tokens, rates=rates)
    assert (deleted["tokens"], deleted["rates"], calls) == (3, 7, {"tokens": 1, "rates": 2})
    assert [step.name for step in list_steps(own, job.job_id)][-2:] == ["tokens", "rates"]


def test_a_lake_that_is_away_keeps_only_its_own_part_waiting(treadle, own, environment):
    environment.cloud.faults.post([FaultRule("onelake.Path.List", "status", times=2, args={"status": 503})])
    assert tidied(treadle, own)[0].state is JobState.SUCCEEDED


def test_it_recurs_every_hour_once_however_many_workers_ask(treadle, own):
    for _ in range(3):
        worker = JobWorker(own, by_name(sales_kinds(treadle.sales, own, Notifications())), recurrings=sales_recurrings())
        worker.step()
        worker.close()
    assert len(list_jobs(own, kind="clean_up").jobs) in {1, 2}, "two when the full hour passed in between"
