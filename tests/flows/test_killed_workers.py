"""Two workers are killed at will, at seeded moments, while 50 runs and 200 jobs finish: nothing is lost, nothing is done wrong, all is told.

The workers are real `treadle worker` processes; a kill is SIGKILL, and another process takes the place of the one that died.
"""

import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from dotenv import dotenv_values
from standardwebhooks.webhooks import Webhook

from tests import canaries
from tests.flows.conftest import eventually
from tests.nursery import WIDE, Command, Nursery
from treadle.cli.local import LocalEnvironment
from treadle.control import artifacts, events, lock, runs
from treadle.control.events import EventType
from treadle.control.jobs.job import NewJob
from treadle.control.jobs.queue import enqueue_many, list_job_events, list_steps
from treadle.control.migrate import migrate
from treadle.control.states import RunStatus
from treadle.errors import LockHeld
from treadle.flows.sales import clean_up, flow
from treadle.flows.sales.flow import StartRequest
from treadle.flows.sales.lakehouse import import_path
from treadle.flows.sales.profiles import StoredProfile, request_profile
from treadle.settings import STATE_FILE_NAME, load_settings
from treadle.wiring import Wiring, wired

pytestmark = [pytest.mark.kills, pytest.mark.timeout(420)]  # about 90 s on two idle cores; machines are shared

SEED = 20261121
RUNS, PROFILES, JOBS = 50, 40, 200
KILLS = 20
RANKS = ("QUEUED", "RUNNING")  # the order of what Fabric reports
SECRET = "whsec_UGxhbnRlZEluVGhlS2lsbGVkV29ya2Vyc1Rlc3Q="
PATH = "/hooks/planted-in-the-killed-workers-test"


class Receiver:
    """Takes signed webhooks on loopback and keeps what verifies, by its id."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.messages.append((self.headers["webhook-id"], Webhook(SECRET).verify(body, dict(self.headers))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{PATH}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Workers:
    """Two worker processes. Each kill of the plan comes a random while after a random run was started, and another process takes the place."""

    def __init__(self, nursery: Nursery, state: Path, pick: random.Random) -> None:
        self.kills = 0
        self._nursery, self._state = nursery, state
        self._started: list[Command] = []
        self._running = [self._start(), self._start()]
        self._plan = sorted((pick.randint(1, RUNS), pick.uniform(0.0, 1.2), pick.randrange(2)) for _ in range(KILLS))
        self._due_at: float | None = None

    def kill_if_due(self, runs_started: int) -> bool:
        """Follow the plan; False when it is carried out."""
        if not self._plan:
            return False
        after_run, delay, place = self._plan[0]
        if self._due_at is None and runs_started >= after_run:
            self._due_at = time.monotonic() + delay
        if self._due_at is not None and time.monotonic() >= self._due_at:
            self._kill(place)
            self._plan.pop(0)
            self._due_at = None
        return True

    def stop(self) -> list[int]:
        """Stop both in order, and return their exit codes."""
        for process in self._running:
            process.send_signal(signal.SIGTERM)
        return [process.wait(30) for process in self._running]

    def logged(self) -> str:
        """All that any of them has written, once all have ended."""
        return "".join(stream.decode() for process in self._started for stream in process.communicate())

    def end(self) -> None:
        """Leave no process behind, whatever the test came to."""
        for process in self._running:
            process.kill()
            process.wait()

    def _kill(self, place: int) -> None:
        assert self._running[place].poll() is None, "a worker ended by itself"
        self._running[place].send_signal(signal.SIGKILL)
        self._running[place].wait()
        self._running[place] = self._start()
        self.kills += 1

    def _start(self) -> Command:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("TREADLE_", "FABRIC_", "PG_", "NOTIFY_"))}
        self._started.append(self._nursery.start(["worker", "--state", str(self._state)], self._state, environ | WIDE))
        return self._started[-1]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    canaries.plant(PATH)
    canaries.plant(SECRET)
    running = Receiver()
    yield running
    running.stop()


@pytest.fixture
def watched(environment: LocalEnvironment, receiver: Receiver, tmp_path: Path) -> Path:
    """A state directory of the same environment with quick polling, in which everything that ends is told to the receiver."""
    values = dotenv_values(environment.state / STATE_FILE_NAME, interpolate=False) | {
        "TREADLE_POLL_SECONDS": "0.2",
        "TREADLE_POLL_SECONDS_MAX": "0.3",
        "TREADLE_TRIGGER_GRACE_SECONDS": "2",
        "NOTIFY_WEBHOOK_URL": receiver.url,
        "NOTIFY_WEBHOOK_SECRET": SECRET,
        "NOTIFY_EVENTS": "run.succeeded run.failed lock.released job.failed",
    }
    state = tmp_path / "watched"
    state.mkdir()
    (state / STATE_FILE_NAME).write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return state


@pytest.fixture
def product(watched: Path, environment: LocalEnvironment) -> Iterator[Wiring]:
    with wired(load_settings(watched)) as wiring:
        migrate(wiring.own)
        with psycopg.connect(environment.postgres.admin_dsn) as connection:
            for table in ("jobs", "file_profiles", "outbox", "notification_channels"):
                connection.execute(f"DELETE FROM treadle.{table}")
        yield wiring


def ask_for_jobs(product: Wiring, csv_file: Callable[..., Path], number: int) -> list[UUID]:
    """Four jobs beside each run: of all 200, 40 are profiles of files and 160 are clean-ups of several steps."""
    asked = []
    if number < PROFILES:
        product.lake.upload(import_path(f"profile-{number}.csv"), csv_file("profile.csv", number + 1).read_bytes())
        job = request_profile(product.sales, product.own, f"profile-{number}.csv", "ada")
        assert not isinstance(job, StoredProfile)
        asked.append(job.job_id)
    tidying = [NewJob(clean_up.KIND, {"beside run": number}, "ada") for _ in range(4 - len(asked))]
    return asked + [job.job_id for job in enqueue_many(product.own, tidying)]


def start_runs(product: Wiring, csv_file: Callable[..., Path], started: list[UUID], asked: list[UUID], stop: threading.Event) -> None:
    """One run after the other, as the lock allows, and with each its jobs."""
    path = csv_file("orders.csv")
    while len(started) < RUNS and not stop.wait(0.05):
        try:
            run = flow.start(product.sales, StartRequest(input_file=path.name, requested_by="ada", local_file=path))
        except LockHeld:
            continue
        asked += ask_for_jobs(product, csv_file, len(started))
        started.append(run.run_id)


def states_of(product: Wiring, job_ids: list[UUID]) -> Counter[str]:
    rows = product.own.read(
        "SELECT state, count(*) AS jobs FROM treadle.jobs WHERE job_id = ANY (%(ids)s) GROUP BY state", {"ids": job_ids}
    )
    return Counter({row["state"]: row["jobs"] for row in rows})


def test_two_workers_are_killed_at_will_while_50_runs_and_200_jobs_finish(product, watched, receiver, csv_file, nursery, environment):
    pick = random.Random(SEED)
    assert product.sweep_notices() == 0  # switched on, before anything ends
    started: list[UUID] = []
    job_ids: list[UUID] = []
    stop, workers = threading.Event(), Workers(nursery, watched, pick)
    starter = threading.Thread(target=start_runs, args=(product, csv_file, started, job_ids, stop))
    began = time.monotonic()
    starter.start()
    try:
        while workers.kill_if_due(len(started)) or starter.is_alive() or runs.active_runs(product.database):
            assert time.monotonic() - began < 250, f"{len(started)} runs were started in time"
            stop.wait(0.05)
        runs_took = time.monotonic() - began
        eventually(lambda: states_of(product, job_ids)["SUCCEEDED"] == JOBS, seconds=90, what="the end of all jobs")
        eventually(lambda: len({message_id for message_id, _ in receiver.messages}) >= RUNS, seconds=60, what="the last notification")
        codes = workers.stop()
    finally:
        stop.set()
        starter.join()
        workers.end()
    print(f"{workers.kills} kills; runs took {runs_took:.0f} s, all {time.monotonic() - began:.0f} s")  # shown when the test fails
    assert codes == [0, 0]
    assert workers.kills == KILLS
    assert lock.show_lock(product.database).run_id is None
    assert_runs_are_right(product, started)
    assert_jobs_are_right(product, job_ids)
    assert_all_is_told_once(product, receiver, started)
    assert "worker.started" in workers.logged()
    assert canaries.found_in_text(workers.logged()) == []
    assert_found_in_no_table(environment)


def assert_runs_are_right(product: Wiring, started: list[UUID]) -> None:
    """Each run succeeded, has its files, and a trail that goes forward from its start to one end."""
    assert len(started) == RUNS
    for run_id in started:
        run = runs.get_run(product.database, run_id)
        assert run.status is RunStatus.SUCCEEDED, run.error_message
        assert run.kpis["orders"] == 3
        assert len(artifacts.list_artifacts(product.database, run_id)) == 5
        trail = events.list_events(product.database, run_id)
        changes = [event.message for event in trail if event.event_type == EventType.STATUS_CHANGE]
        assert changes[0].startswith("ada started a run of orders.csv")
        assert [change.startswith("The run succeeded:") for change in changes] == [False] * (len(changes) - 1) + [True]
        words = [RANKS.index(word) for change in changes[1:-1] for word in RANKS if change.rstrip(".").endswith(word)]
        assert len(words) == len(changes) - 2
        assert all(one < two for one, two in itertools.pairwise(words)), changes
        assert Counter(event.message for event in trail)["Fabric is asked to start the job."] == 1
    jobs = [runs.get_run(product.database, run_id).fabric_job_id for run_id in started]
    assert len(set(jobs)) == RUNS, "no job carries two runs"


def assert_jobs_are_right(product: Wiring, job_ids: list[UUID]) -> None:
    """Every step of each job is done, and its events count up without gaps to one end."""
    assert len(set(job_ids)) == JOBS
    for job_id in job_ids:
        assert {step.state for step in list_steps(product.own, job_id)} == {"DONE"}
        told = list_job_events(product.own, job_id)
        assert [event.seq for event in told] == list(range(1, len(told) + 1))
    for number in range(PROFILES):
        profile = request_profile(product.sales, product.own, f"profile-{number}.csv", "ada")
        assert isinstance(profile, StoredProfile)
        assert profile.profile["row_count"] == number + 1


def assert_all_is_told_once(product: Wiring, receiver: Receiver, started: list[UUID]) -> None:
    """One message per run; one that came twice, for a kill between sending and recording, came under the same id."""
    by_id = dict(receiver.messages)
    assert Counter(message["type"] for message in by_id.values()) == {"run.succeeded": RUNS}
    assert sorted(message["data"]["run_id"] for message in by_id.values()) == sorted(map(str, started))
    assert all(by_id[message_id] == message for message_id, message in receiver.messages), "one id, one message"
    unsent = product.own.read("SELECT message_id FROM treadle.outbox WHERE sent_at IS NULL")
    assert unsent == []
    assert product.sweep_notices() == 0


def assert_found_in_no_table(environment: LocalEnvironment) -> None:
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('public', 'treadle')"
        )
        for (table,) in tables.fetchall():
            for (row,) in connection.execute(f"SELECT to_jsonb(t)::text FROM {table} AS t"):
                assert canaries.found_in_text(row) == [], table
