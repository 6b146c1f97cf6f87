"""What is to be told: found by what is, written down once per channel however many look, and sent under one id whoever dies on the way."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from control_trials import at_once, start, wait_until

from treadle.clients.webhooks import open_channel
from treadle.control import lock, outbox, runs
from treadle.control.database import Database
from treadle.control.jobs.job import NewJob
from treadle.control.jobs.kinds import Kind, by_name
from treadle.control.jobs.queue import enqueue, get_job, list_jobs, retry_job
from treadle.control.jobs.states import JobState
from treadle.control.jobs.worker import JobWorker
from treadle.control.migrate import migrate
from treadle.control.states import RunStatus
from treadle.errors import NotFound
from treadle.flows.sales.notifications import Notifications, keep_sweeping, notification_kind, sweep_notices
from treadle.settings import NOTIFY_EVENTS

EVERYTHING = frozenset(NOTIFY_EVENTS)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"
PATH = "/hooks/canary-in-the-outbox"


class Receiver:
    """A receiver of webhooks on loopback. `answers` are given in turn, then 200; while `held` is set it reads and does not answer."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.bodies: list[dict] = []
        self.answers: list[int] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.bodies.append(json.loads(body))
                outer.ids.append(self.headers["webhook-id"])
                outer.may_answer.wait(30)
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{PATH}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.stop()


@pytest.fixture
def own(database: Database) -> Database:
    migrate(database)
    return database


def sweep(database: Database, own: Database, *channels: str, told: frozenset[str] = EVERYTHING) -> int:
    return outbox.sweep(database, own, channels or ("webhook",), told, "TEST")


@pytest.fixture
def switched_on(own: Database) -> Database:
    """Notifications have been swept once, so what ends from now on is told."""
    assert sweep(own, own) == 0
    return own


def ended(database: Database, status: RunStatus = RunStatus.FAILED, **of_run) -> runs.Run:
    run = start(database, **of_run)
    assert runs.finish_run(database, run.run_id, status, error_message="broken" if status is RunStatus.FAILED else None)
    return run


def failed_job(own: Database, kind: str = "doomed"):
    """A job that failed for good."""

    def fail(_context) -> None:
        raise NotFound("There is no such thing.", hint="Look elsewhere.")

    job = enqueue(own, NewJob(kind, {}, "ada"))
    worker = JobWorker(own, by_name([Kind(kind, fail)]))
    assert worker.step() == 1
    worker.close()
    return job


def messages(as_owner) -> list[tuple]:
    return as_owner("SELECT channel, type, subject FROM treadle.outbox ORDER BY channel, happened_at, subject")


class TestSweep:
    def test_what_ended_before_the_channel_was_switched_on_is_never_told(self, own):
        for _ in range(5):
            ended(own)
        failed_job(own)
        assert [sweep(own, own) for _ in range(3)] == [0, 0, 0]

    def test_each_end_is_told_once_per_channel_however_often_somebody_looks(self, switched_on, as_owner):
        sweep(switched_on, switched_on, "slack", "webhook")
        failed, succeeded = ended(switched_on), ended(switched_on, RunStatus.SUCCEEDED)
        assert sweep(switched_on, switched_on, "slack", "webhook") == 4
        assert sweep(switched_on, switched_on, "slack", "webhook") == 0
        expected = [("run.failed", str(failed.run_id)), ("run.succeeded", str(succeeded.run_id))]
        assert messages(as_owner) == [(channel, *each) for channel in ("slack", "webhook") for each in expected]
        assert len(list_jobs(switched_on, kind="notification").jobs) == 4

    def test_a_run_that_is_active_is_not_told(self, switched_on):
        start(switched_on)
        assert sweep(switched_on, switched_on) == 0

    def test_sweepers_that_race_write_one_row_and_ask_for_one_job(self, switched_on, conninfo, as_owner):
        runs_ended = [ended(switched_on) for _ in range(20)]
        others = [Database(conninfo) for _ in range(4)]
        try:
            counts = at_once(4, lambda number: sweep(others[number], others[number]))
        finally:
            for other in others:
                other.close()
        assert sum(counts) == 20, counts
        assert sorted(subject for _, _, subject in messages(as_owner)) == sorted(str(run.run_id) for run in runs_ended)
        assert len(list_jobs(switched_on, kind="notification", limit=100).jobs) == 20

    def test_only_what_is_wanted_is_told(self, switched_on, as_owner):
        ended(switched_on, RunStatus.SUCCEEDED)
        ended(switched_on)
        assert sweep(switched_on, switched_on, told=frozenset({"run.failed"})) == 1
        assert [row[1] for row in messages(as_owner)] == ["run.failed"]

    def test_a_release_by_force_is_told_with_its_name_and_reason(self, switched_on, as_owner):
        run = start(switched_on)
        lock.force_release(switched_on, "olga", "its job is dead")
        assert sweep(switched_on, switched_on) == 2
        assert [row[1] for row in messages(as_owner)] == ["run.failed", "lock.released"]
        facts = as_owner("SELECT facts FROM treadle.outbox WHERE type = 'lock.released'")[0][0]
        assert facts["message"] == "The lock was released by olga: its job is dead"
        assert facts["run_id"] == str(run.run_id)

    def test_a_job_that_failed_for_good_is_told_again_only_when_it_fails_again(self, switched_on):
        job = failed_job(switched_on)
        assert sweep(switched_on, switched_on) == 1
        retry_job(switched_on, job.job_id, "olga")
        assert sweep(switched_on, switched_on) == 0
        failed_job(switched_on)  # works off the older one, which fails again
        assert get_job(switched_on, job.job_id).state is JobState.FAILED
        assert sweep(switched_on, switched_on) == 1

    @pytest.mark.parametrize("kind", outbox.QUIET_KINDS)
    def test_a_notice_that_cannot_be_sent_begets_no_notice_and_an_unreadable_file_is_between_it_and_who_asked(self, switched_on, kind):
        failed_job(switched_on, kind)
        assert sweep(switched_on, switched_on) == 0

    def test_an_end_that_is_committed_late_is_found_though_a_sweep_has_passed_its_time(self, switched_on, as_owner):
        run = start(switched_on)
        with switched_on.transaction() as slow:
            slow.execute(
                "UPDATE pipeline_runs SET status = 'FAILED', finished_at = clock_timestamp() AT TIME ZONE 'UTC' WHERE run_id = %s",
                (run.run_id,),
            )
            assert at_once(1, lambda _: sweep(switched_on, switched_on)) == [0]
        assert sweep(switched_on, switched_on) == 1
        as_owner("UPDATE run_lock SET run_id = NULL")

    def test_after_a_long_outage_of_all_workers_only_recent_news_is_told(self, switched_on, as_owner):
        old, recent = ended(switched_on), ended(switched_on)
        as_owner("UPDATE treadle.notification_channels SET on_since = now() - interval '9 days', swept_until = now() - interval '8 days'")
        as_owner("UPDATE pipeline_runs SET finished_at = finished_at - interval '4 days', created_at = created_at - interval '4 days'")
        as_owner("UPDATE pipeline_runs SET finished_at = finished_at + interval '3 days' WHERE run_id = %s", recent.run_id)
        assert sweep(switched_on, switched_on) == 1
        assert [row[2] for row in messages(as_owner)] == [str(recent.run_id)]
        assert old.run_id != recent.run_id

    def test_the_tables_of_our_own_may_be_in_another_database(self, database, server):
        with Database(server.create_database("test_outbox_elsewhere")) as own:
            migrate(own)
            assert sweep(database, own) == 0
            ended(database)
            failed_job(own)
            assert sweep(database, own) == 2

    def test_rows_are_kept_for_longer_than_a_sweep_looks_back(self, switched_on, as_owner):
        ended(switched_on)
        sweep(switched_on, switched_on)
        assert outbox.delete_old_messages(switched_on, timedelta(0)) == 0
        as_owner("UPDATE treadle.outbox SET created_at = created_at - interval '31 days'")
        assert outbox.delete_old_messages(switched_on, timedelta(days=30)) == 1

    def test_a_sweep_costs_two_looks_by_index_at_the_runs_however_long_the_history(self, switched_on, as_owner):
        as_owner(
            """INSERT INTO pipeline_runs (run_id, created_at, triggered_by, input_file, workspace_id, pipeline_item_id, status, finished_at)
               SELECT gen_random_uuid(), now() - interval '40 days' - n * interval '1 minute', 'ada', 'a.csv', 'w', 'p', 'SUCCEEDED',
                      now() - interval '40 days' - n * interval '1 minute'
                 FROM generate_series(1, 20000) AS n"""
        )
        as_owner("ANALYZE pipeline_runs")
        for name in ("ended_runs", "forced_releases"):
            values = {"since": switched_on.now(), "beginning": "The lock"}
            plan = switched_on.read("EXPLAIN " + outbox._SQL[name], values)
            assert "Seq Scan on pipeline_runs" not in "\n".join(row["QUERY PLAN"] for row in plan)


class TestSending:
    @pytest.fixture
    def notifications(self, receiver) -> Notifications:
        return Notifications((open_channel("webhook", receiver.url, secrets=SECRET, plain_http=True),), EVERYTHING, "TEST")

    @pytest.fixture
    def told(self, own, notifications):
        """One message to send; returns its id as receivers see it."""
        sweep_notices(own, own, notifications)
        ended(own)
        assert sweep_notices(own, own, notifications) == 1
        (job,) = list_jobs(own, kind="notification").jobs
        return f"msg_{job.payload['message_id']}"

    def work(self, own: Database, notifications: Notifications, *, seconds: float = 60) -> None:
        worker = JobWorker(own, by_name([notification_kind(own, notifications)]), idle_seconds=0.05)
        assert worker.run_until_idle(seconds)

    def step(self, own: Database, notifications: Notifications) -> None:
        worker = JobWorker(own, by_name([notification_kind(own, notifications)]))
        assert worker.step() == 1
        worker.close()

    def test_a_message_is_sent_once_and_recorded(self, own, notifications, receiver, told, as_owner):
        self.work(own, notifications)
        self.work(own, notifications)
        assert receiver.ids == [told]
        assert receiver.bodies[0]["type"] == "run.failed"
        assert as_owner("SELECT count(*) FROM treadle.outbox WHERE sent_at IS NOT NULL") == [(1,)]

    def test_a_receiver_that_fails_and_asks_to_wait_gets_it_again_under_the_same_id(self, own, notifications, receiver, told):
        receiver.answers += [500, 429]
        self.work(own, notifications)
        assert receiver.ids == [told] * 3

    def test_a_refusal_ends_the_job_with_words_and_without_the_address(self, own, notifications, receiver, told, as_owner):
        receiver.answers += [410]
        self.work(own, notifications)
        (job,) = list_jobs(own, kind="notification").jobs
        assert (job.state, job.error_message) == (JobState.FAILED, "The channel webhook refused the message: 410.")
        assert receiver.ids == [told]
        self.assert_nowhere(as_owner, receiver.url)

    def test_a_worker_that_does_not_have_the_channel_leaves_the_message_to_one_that_has(self, own, notifications, receiver, told):
        """In a rolling restart with a new channel, the old workers do not know it yet."""
        self.step(own, Notifications())
        (job,) = list_jobs(own, kind="notification").jobs
        assert (job.state, receiver.ids) == (JobState.QUEUED, [])
        assert "not set up" in job.error_message
        self.work(own, notifications)
        assert receiver.ids == [told]

    @pytest.mark.usefixtures("told")
    def test_a_channel_that_was_switched_off_meanwhile_ends_the_job_at_last_saying_so(self, own, as_owner):
        as_owner("UPDATE treadle.jobs SET max_attempts = 1")
        self.step(own, Notifications())
        (job,) = list_jobs(own, kind="notification").jobs
        assert job.state is JobState.FAILED
        assert "not set up" in job.error_message

    @pytest.mark.usefixtures("told")
    def test_neither_address_nor_secret_is_in_any_table(self, own, notifications, receiver, as_owner, capfd):
        receiver.answers += [503]
        self.work(own, notifications)
        self.assert_nowhere(as_owner, receiver.url)
        shown = "".join(capfd.readouterr())
        assert PATH not in shown
        assert SECRET not in shown

    @pytest.mark.kills
    def test_a_worker_that_is_killed_between_sending_and_recording_sends_the_same_id_again(
        self, own, notifications, receiver, told, conninfo, as_owner
    ):
        receiver.may_answer.clear()
        worker = subprocess.Popen([sys.executable, "-c", CHILD, conninfo, receiver.url, SECRET])
        try:
            wait_until(lambda: receiver.ids == [told])
        finally:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
        receiver.may_answer.set()
        self.work(own, notifications)
        assert receiver.ids == [told, told]
        assert as_owner("SELECT count(*) FROM treadle.outbox WHERE sent_at IS NOT NULL") == [(1,)]

    @staticmethod
    def assert_nowhere(as_owner, url: str) -> None:
        tables = as_owner("SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('public', 'treadle')")
        for (table,) in tables:
            for (row,) in as_owner(f"SELECT to_jsonb(t)::text FROM {table} AS t"):
                for secret in (url, PATH, "canary", SECRET, SECRET.removeprefix("whsec_")):
                    assert secret not in row, table


CHILD = """
import sys, threading
from treadle.clients.webhooks import open_channel
from treadle.control.database import Database
from treadle.control.jobs.kinds import by_name
from treadle.control.jobs.worker import JobWorker
from treadle.flows.sales.notifications import Notifications, notification_kind
conninfo, url, secret = sys.argv[1:]
own = Database(conninfo)
told = Notifications((open_channel("webhook", url, secrets=secret, plain_http=True),))
JobWorker(own, by_name([notification_kind(own, told)]), lease_seconds=1).run(threading.Event())
"""


def test_sweeping_goes_on_after_a_defect():
    stop, sweeps = threading.Event(), []

    def sweep() -> int:
        sweeps.append(1)
        if len(sweeps) == 1:
            raise ZeroDivisionError
        stop.set()
        return 0

    keep_sweeping(sweep, stop, seconds=0.01)
    assert len(sweeps) == 2
