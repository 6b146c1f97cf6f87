"""kill -9 of real workers in the middle of their work, and of the database under them: nothing is lost, nothing is done twice.

Three processes with two slots each. Who is killed is one that holds a job at that moment; another takes its place at once, as a supervisor would.
"""

import random
import signal
import subprocess
import sys
from collections.abc import Collection
from contextlib import ExitStack, contextmanager

import pytest
from control_trials import wait_until
from job_trials import ask, assert_the_trail_has_no_gap, new

from treadle.control.database import Database
from treadle.control.jobs.queue import enqueue_many, get_job, list_jobs
from treadle.control.jobs.states import JobState
from treadle.control.migrate import migrate

pytestmark = pytest.mark.kills

JOBS, STEPS, KILLS, STOPS = 200, "abcde", 22, 5
PATIENCE_SECONDS = 120  # with much else on the machine
KEYS = 40  # every other job shares one of these with four more

WORKER = """
import os, signal, sys
from treadle.cli.stopping import stop_on_signal
from treadle.control.database import Database
from treadle.control.jobs.kinds import Kind, by_name
from treadle.control.jobs.worker import JobWorker

own, owner, lease_seconds = Database(sys.argv[1], wait_seconds=20), sys.argv[2], float(sys.argv[3])

def exactly(context, name):
    # The effect is in the transaction of its record, and nothing else keeps it from being made twice.
    return context.transact(name, lambda c: c.execute("INSERT INTO treadle.exact (job_id, step) VALUES (%s, %s)", (context.job.job_id, name)).rowcount)

def keyed(context, name):
    # The effect is elsewhere and has a key, so that making it again changes nothing.
    def effect():
        with own.transaction() as c:
            c.execute("INSERT INTO treadle.begun (job_id, step) VALUES (%s, %s)", (context.job.job_id, name))
        with own.transaction() as c:
            c.execute("INSERT INTO treadle.keyed (job_id, step) VALUES (%s, %s) ON CONFLICT DO NOTHING", (context.job.job_id, name))
        return name
    return context.step(name, effect)

def work(context):
    return [(exactly if name in "bd" else keyed)(context, name) for name in "abcde"]

def poison(context):
    context.step("die", lambda: os.kill(os.getpid(), signal.SIGKILL))

stop = stop_on_signal()
kinds = [Kind("work", work, max_attempts=20), Kind("poison", poison, max_attempts=3)]
JobWorker(own, by_name(kinds), owner=owner, idle_seconds=0.05, lease_seconds=lease_seconds).run(stop)
"""


class Crew:
    """Worker processes by the name under which they hold jobs."""

    def __init__(self, dsn: str, lease_seconds: float) -> None:
        self._dsn, self._lease_seconds = dsn, lease_seconds
        self._hired = 0
        self.at_work: dict[str, subprocess.Popen] = {}

    def hire(self, count: int = 1) -> None:
        for _ in range(count):
            self._hired += 1
            name = f"worker-{self._hired}"
            arguments = [sys.executable, "-c", WORKER, self._dsn, name, str(self._lease_seconds)]
            self.at_work[name] = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self, name: str) -> None:
        process = self.at_work.pop(name)
        process.kill()
        process.wait()

    def dismiss(self, name: str) -> subprocess.Popen:
        process = self.at_work.pop(name)
        process.terminate()
        return process

    def replace_the_dead(self) -> None:
        for name in [name for name, process in self.at_work.items() if process.poll() is not None]:
            del self.at_work[name]
            self.hire()


@contextmanager
def crew(dsn: str, count: int, *, lease_seconds: float = 1):
    hired = Crew(dsn, lease_seconds)
    with ExitStack() as stack:
        stack.callback(lambda: [hired.kill(name) for name in list(hired.at_work)])
        hired.hire(count)
        yield hired


@pytest.fixture
def place(own_server):
    """A database of its own that may be stopped, with tables that show how often each effect was made."""
    with Database(own_server.dsn, wait_seconds=20) as own:
        migrate(own)
        with own.transaction() as connection:
            connection.execute("CREATE TABLE treadle.exact (job_id uuid, step text)")
            connection.execute("CREATE TABLE treadle.keyed (job_id uuid, step text, PRIMARY KEY (job_id, step))")
            connection.execute("CREATE TABLE treadle.begun (number bigserial, job_id uuid, step text)")
        yield own


def holder(own, hired: Crew) -> str | None:
    """Somebody who is in the middle of a job."""
    rows = own.read("SELECT lease_owner FROM treadle.jobs WHERE state = 'RUNNING'")
    found = [row["lease_owner"] for row in rows if row["lease_owner"] in hired.at_work]
    return random.choice(found) if found else None


def somebody_at_work(own, hired: Crew) -> str:
    caught: list[str] = []
    wait_until(lambda: bool((name := holder(own, hired)) and not caught.append(name)), seconds=PATIENCE_SECONDS)
    return caught[0]


def all_ended(own) -> bool:
    return own.read("SELECT 1 AS one FROM treadle.jobs WHERE finished_at IS NULL LIMIT 1") == []


def test_two_hundred_jobs_survive_kills_of_their_workers_and_of_the_database(place, own_server):
    own, killed = place, 0
    batches = [[new(payload={"n": n}, key=f"key {n % KEYS}" if n % 2 else None) for n in range(at, at + 8)] for at in range(0, JOBS, 8)]
    stop_after = set(random.sample(range(2, KILLS), STOPS))
    with crew(own_server.dsn, 3) as hired:
        for turn in range(KILLS):
            for batch in [batches.pop()] if batches else []:
                enqueue_many(own, batch)
            hired.kill(somebody_at_work(own, hired))
            hired.hire()
            killed += 1
            if turn in stop_after:
                own_server.stop_immediately()
                own_server.start()
        for batch in batches:
            enqueue_many(own, batch)
        wait_until(lambda: all_ended(own), seconds=PATIENCE_SECONDS)
    assert killed == KILLS
    assert_nothing_was_lost_or_done_twice(own)


def assert_nothing_was_lost_or_done_twice(own, jobs: int = JOBS, frozen_at: Collection = ()) -> None:
    """frozen_at: jobs of a worker that was stopped between looking at its lease and making an effect; that one effect may come late, no second one."""
    states = own.read("SELECT state, count(*) AS n FROM treadle.jobs GROUP BY state")
    assert states == [{"state": "SUCCEEDED", "n": jobs}]
    steps = own.read("SELECT count(*) AS n, count(DISTINCT (job_id, name)) AS different FROM treadle.job_steps WHERE state = 'DONE'")
    assert steps == [{"n": jobs * len(STEPS), "different": jobs * len(STEPS)}]
    exact = own.read("SELECT count(*) AS n, count(DISTINCT (job_id, step)) AS different FROM treadle.exact")
    assert exact == [{"n": jobs * 2, "different": jobs * 2}]
    assert own.read("SELECT count(*) AS n FROM treadle.keyed") == [{"n": jobs * 3}]
    begun: dict = {}
    for row in own.read("SELECT job_id, step FROM treadle.begun ORDER BY number"):
        begun.setdefault(row["job_id"], []).append(row["step"])
    for job_id, order in begun.items():
        without_one = [order[:n] + order[n + 1 :] for n in range(len(order))] if job_id in frozen_at else []
        assert any(steps == sorted(steps) for steps in [order, *without_one]), f"a step was begun after a later one: {order}"
    positions = own.read("SELECT DISTINCT name, position FROM treadle.job_steps ORDER BY position")
    assert [(row["name"], row["position"]) for row in positions] == [(name, place + 1) for place, name in enumerate(STEPS)]
    overlapping = own.read(
        """SELECT one.key FROM treadle.jobs AS one JOIN treadle.jobs AS other ON other.key = one.key AND other.job_id <> one.job_id
            WHERE other.started_at > one.started_at AND other.started_at < one.finished_at"""
    )
    assert overlapping == [], "two jobs of one key were at work at once"
    assert_the_trail_has_no_gap(own)


def test_a_job_that_kills_its_worker_is_given_up_and_the_others_are_done(place, own_server):
    own = place
    poison = ask(own, "poison")
    enqueue_many(own, [new(payload={"n": n}) for n in range(40)])
    with crew(own_server.dsn, 2) as hired:
        wait_until(lambda: hired.replace_the_dead() or all_ended(own), seconds=PATIENCE_SECONDS)
    found = get_job(own, poison.job_id)
    assert (found.state, found.attempt) == (JobState.FAILED, 3)
    assert "fell silent" in found.error_message
    assert len(list_jobs(own, state=JobState.SUCCEEDED, limit=100).jobs) == 40


def test_processes_that_relieve_each_other_with_overlap_strand_nothing(place, own_server):
    """SIGTERM for the old one when its successor is at work, eight times; every one of them leaves in order and gives back what it holds.

    A job that one of them left behind would wait for its lease, which is longer than anybody here waits.
    """
    own, left = place, []

    def at_work(name: str) -> bool:
        """Whether it has begun a job; there is always enough to do for both."""
        if len(list_jobs(own, state=JobState.QUEUED, limit=20).jobs) < 10:
            enqueue_many(own, [new(key=f"key {n}") for n in range(10)])
        return bool(own.read("SELECT 1 AS one FROM treadle.job_events WHERE message = %(m)s LIMIT 1", {"m": f"Worker {name} begins."}))

    with crew(own_server.dsn, 1, lease_seconds=10 * PATIENCE_SECONDS) as hired:
        for _ in range(8):
            [old] = list(hired.at_work)
            hired.hire()
            [young] = set(hired.at_work) - {old}
            wait_until(lambda both=(old, young): all(map(at_work, both)), seconds=PATIENCE_SECONDS)
            left.append(hired.dismiss(old))
        wait_until(lambda: all_ended(own), seconds=PATIENCE_SECONDS)
        left += [hired.dismiss(name) for name in list(hired.at_work)]
        assert [process.wait(PATIENCE_SECONDS) for process in left] == [0] * 9
    [asked] = own.read("SELECT count(*) AS n, max(attempt) AS most FROM treadle.jobs")
    assert asked["most"] == 1
    assert_nothing_was_lost_or_done_twice(own, asked["n"])


def test_a_worker_that_is_frozen_for_longer_than_its_lease_writes_nothing_when_it_wakes(place, own_server):
    """SIGSTOP, as by a host that swaps or is suspended: its session stays, its lease does not."""
    own = place
    enqueue_many(own, [new(payload={"n": n}) for n in range(JOBS)])
    with crew(own_server.dsn, 1) as hired:
        frozen, held = frozen_at_work(own, hired)
        hired.hire()
        wait_until(lambda: holds(own, "worker-1") == [], seconds=PATIENCE_SECONDS)
        frozen.send_signal(signal.SIGCONT)
        wait_until(lambda: all_ended(own), seconds=PATIENCE_SECONDS)
    assert all(get_job(own, job_id).attempt > 1 for job_id in held)
    assert_nothing_was_lost_or_done_twice(own, frozen_at=held)


def frozen_at_work(own, hired: Crew) -> tuple[subprocess.Popen, list]:
    """Stop the only worker in the middle of its jobs, and return it and those. One that had just ended them goes on, and is stopped again."""
    while True:
        frozen = hired.at_work[somebody_at_work(own, hired)]
        frozen.send_signal(signal.SIGSTOP)
        wait_until(lambda: own.read(BUSY) == [])  # what it had sent is still done
        if held := holds(own, "worker-1"):
            return frozen, held
        frozen.send_signal(signal.SIGCONT)


BUSY = "SELECT pid FROM pg_stat_activity WHERE application_name = 'treadle' AND state = 'active' AND pid <> pg_backend_pid()"


def holds(own, owner: str) -> list:
    return [row["job_id"] for row in own.read("SELECT job_id FROM treadle.jobs WHERE lease_owner = %(o)s", {"o": owner})]
