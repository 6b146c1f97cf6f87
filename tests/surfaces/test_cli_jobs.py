"""treadle jobs, migrate and worker, as a person and a script use them."""

import psycopg
import pytest

from treadle.control.database import Database
from treadle.control.jobs.job import NewJob
from treadle.control.jobs.kinds import Kind, by_name
from treadle.control.jobs.queue import enqueue
from treadle.control.jobs.worker import JobWorker
from treadle.errors import InvalidInput, OperationFailed


@pytest.fixture
def own(environment):
    with Database(environment.postgres.dsn) as database:
        yield database


@pytest.fixture
def job(own):
    """A job of a kind that no worker of the environment knows, so that the tests alone decide when it is done."""
    return enqueue(own, NewJob("trial", {"file": "orders.xlsx"}, "grace", key="file:orders.xlsx"))


def do(own, code) -> None:
    made = JobWorker(own, by_name([Kind("trial", code)]))
    assert made.step() == 1
    made.close()


def test_a_job_is_listed_shown_followed_cancelled_and_asked_for_again(treadle, own, job):
    listed = treadle("jobs", "ls", "--kind", "trial", "--status", "QUEUED", "--by", "grace", "--key", "file:orders.xlsx", "--json")
    assert [found["job_id"] for found in listed.data["jobs"]] == [str(job.job_id)]
    short = str(job.job_id)[:8]
    assert treadle("jobs", "cancel", short, "--user", "ben", "--json").data["state"] == "CANCELLED"
    again = treadle("jobs", "retry", short, "--user", "ben", "--json")
    assert again.data["state"] == "QUEUED"
    assert "SANDBOX" in again.err
    do(own, lambda context: {"rows": context.step("count", lambda: 3)})
    shown = treadle("jobs", "show", short, "--json").data
    assert (shown["state"], shown["result"], [(step["name"], step["state"]) for step in shown["steps"]]) == (
        "SUCCEEDED", {"rows": 3}, [("count", "DONE")],
    )  # fmt: skip
    events = treadle("jobs", "events", short, "--json").data
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["message"] for event in events][:3] == ["grace asks for trial.", "Cancelled by ben.", "ben asks for it again."]
    followed = treadle("jobs", "events", short, "--follow", "--json")
    assert len(followed.out.splitlines()) == len(events)


def test_a_person_sees_tables_with_error_and_advice(treadle, own, job):
    def code(context):
        context.step("fetch", fail)

    def fail():
        raise OperationFailed("The file is gone.", hint="Upload it again.")

    do(own, code)
    shown = treadle("jobs", "show", str(job.job_id)).out
    for expected in ("FAILED", "The file is gone.", "Upload it again.", "fetch", "grace"):
        assert expected in shown
    assert "The file is gone." in treadle("jobs", "ls", "--status", "FAILED").out
    assert "[fetch] begun" in treadle("jobs", "events", str(job.job_id)).out


def test_what_has_ended_is_told_with_the_command_that_goes_on(treadle, own, job):
    def refuse(_context):
        raise InvalidInput("The file is no workbook.")

    do(own, refuse)
    short = str(job.job_id)[:8]
    cancelled = treadle("jobs", "cancel", short)
    assert (cancelled.code, f"run it again with: treadle jobs retry {short}" in cancelled.err) == (4, True)
    assert "The same input fails the same way" in treadle("jobs", "retry", short).err
    do(own, lambda _context: {"rows": 3})
    assert "\nResult\n  rows: 3\n" in treadle("jobs", "show", short).out


@pytest.mark.parametrize(("command", "text", "code"), [("show", "ffffffff", 3), ("events", "abc", 2), ("cancel", "../../etc", 2)])
def test_what_names_no_job_is_told(treadle, command, text, code):
    answer = treadle("jobs", command, text)
    assert answer.code == code, answer.err
    assert "Traceback" not in answer.err


def test_a_migrated_database_needs_nothing_more(treadle):
    assert treadle("migrate", "--json").data == {"applied": []}
    printed = treadle("migrate", "--print")
    assert (printed.out, "Nothing to print" in printed.err) == ("", True)


def test_a_worker_does_one_step_of_both_or_everything_there_is(treadle):
    once = treadle("worker", "--once")
    assert once.code == 0, once.err
    assert "Looked at 0 active runs" in once.err
    idle = treadle("worker", "--until-idle")
    assert idle.code == 0, idle.err


def test_without_its_own_tables_a_worker_drives_runs_and_says_what_is_missing(treadle, environment):
    """As after an update where the owner of the database has not run the migration yet."""
    with psycopg.connect(environment.postgres.admin_dsn, autocommit=True) as owner:
        owner.execute("CREATE DATABASE unmigrated OWNER treadle")
    place = {"TREADLE_PG_DATABASE": "unmigrated"}
    once = treadle("worker", "--once", **place)
    assert (once.code, "treadle migrate" in once.err) == (0, True), once.err
    looks = treadle("jobs", "ls", **place)
    assert (looks.code, "Treadle's own tables are not in the database" in looks.err, "treadle migrate" in looks.err) == (2, True, True)
    (own,) = [check for check in treadle("doctor", "--json", **place).data if check["name"] == "own tables"]
    assert (own["passed"], "treadle migrate" in own["hint"]) == (False, True)
    assert "CREATE TABLE treadle.jobs" in treadle("migrate", "--print", **place).out
    assert "0001_jobs" in treadle("migrate", "--json", **place).data["applied"]
    assert treadle("jobs", "ls", "--json", **place).data == {"jobs": [], "next": None}
