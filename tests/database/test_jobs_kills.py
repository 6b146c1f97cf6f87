"""kill -9 of real workers in the middle of their work, and of the database under them: nothing is lost, nothing is done twice.

Three processes with two slots each. Who is killed is one that holds a job at that moment; another takes its place at once, as a supervisor would.
"""

import random
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
from control_trials import wait_until
from job_trials import ask, assert_the_trail_has_no_gap, new

from treadle.control.database import Database
from treadle.control.jobs.queue import enqueue_many, get_job, list_jobs
from treadle.control.jobs.states import JobState
from treadle.control.migrate import migrate

pytestmark = pytest.mark.kills

JOBS, STEPS, KILLS, STOPS = 200, "abcde", 22, 5
KEYS = 40  # every other job shares one of these with four more

WORKER = """
import os, signal, sys
from treadle.cli.stopping import stop_on_signal
from treadle.control.database import Database
from treadle.control.jobs.kinds import Kind, by_name
from treadle.control.jobs.worker import JobWorker

own, owner = Database(sys.argv[1], wait_seconds=20), sys.argv[2]

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
kinds = [Kind("work", work, max_attempts=20, lease_seconds=1), Kind("poison", poison, max_attempts=3, lease_seconds=1)]
JobWorker(own, by_name(kinds), owner=owner, idle_seconds=0.05).run(stop)
"""


class Crew:
    """Worker processes by the name under which they hold jobs."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._hired = 0
        self.at_work: dict[str, subprocess.Popen] = {}

    def hire(self, count: int = 1) -> None:
        for _ in range(count):
            self._hired += 1
            name = f"worker-{self._hired}"
            arguments = [sys.executable, "-c", WORKER, self._dsn, name]
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
def crew(dsn: str, count: int):
    hired = Crew(dsn)
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
            caught: list[str] = []
            wait_until(lambda caught=caught: bool((name := holder(own, hired)) and not caught.append(name)))
            hired.kill(caught[0])
            hired.hire()
            killed += 1
            if turn in stop_after:
                own_server.stop_immediately()
                own_server.start()
        for batch in batches:
            enqueue_many(own, batch)
        wait_until(lambda: all_ended(own), seconds=40)
    assert killed == KILLS
    assert_nothing_was_lost_or_done_twice(own)


def assert_nothing_was_lost_or_done_twice(own, jobs: int = JOBS) -> None:
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
    assert all(order == sorted(order) for order in begun.values()), "a step was begun after a later one"
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
        wait_until(lambda: hired.replace_the_dead() or all_ended(own), seconds=40)
    found = get_job(own, poison.job_id)
    assert (found.state, found.attempt) == (JobState.FAILED, 3)
    assert "fell silent" in found.error_message
    assert len(list_jobs(own, state=JobState.SUCCEEDED, limit=100).jobs) == 40


def test_processes_that_relieve_each_other_with_overlap_strand_nothing(place, own_server):
    """SIGTERM for the old one when its successor is at work, eight times; every one of them leaves in order and nobody waits for a lease."""
    own, left = place, []

    def at_work(name: str) -> bool:
        """Whether it has begun a job; there is always enough to do for both."""
        if len(list_jobs(own, state=JobState.QUEUED, limit=20).jobs) < 10:
            enqueue_many(own, [new(key=f"key {n}") for n in range(10)])
        return bool(own.read("SELECT 1 AS one FROM treadle.job_events WHERE message = %(m)s LIMIT 1", {"m": f"{name} begins."}))

    with crew(own_server.dsn, 1) as hired:
        for _ in range(8):
            [old] = list(hired.at_work)
            hired.hire()
            [young] = set(hired.at_work) - {old}
            wait_until(lambda young=young: at_work(young), seconds=30)
            left.append(hired.dismiss(old))
        wait_until(lambda: all_ended(own), seconds=30)
        left += [hired.dismiss(name) for name in list(hired.at_work)]
        assert [process.wait(20) for process in left] == [0] * 9
    [asked] = own.read("SELECT count(*) AS n, max(attempt) AS most FROM treadle.jobs")
    assert asked["most"] == 1
    assert_nothing_was_lost_or_done_twice(own, asked["n"])


def test_a_worker_that_is_frozen_for_longer_than_its_lease_writes_nothing_when_it_wakes(place, own_server):
    """SIGSTOP, as by a host that swaps or is suspended: its session stays, its lease does not."""
    own = place
    enqueue_many(own, [new(payload={"n": n}) for n in range(60)])

    with crew(own_server.dsn, 2) as hired:
        caught: list[str] = []
        wait_until(lambda: bool((name := holder(own, hired)) and not caught.append(name)))
        frozen = hired.at_work[caught[0]]
        frozen.send_signal(signal.SIGSTOP)
        enqueue_many(own, [new(payload={"n": n}) for n in range(60, JOBS)])
        held = own.read("SELECT job_id FROM treadle.jobs WHERE lease_owner = %(o)s", {"o": caught[0]})
        wait_until(lambda: own.read("SELECT 1 AS one FROM treadle.jobs WHERE lease_owner = %(o)s", {"o": caught[0]}) == [], seconds=30)
        frozen.send_signal(signal.SIGCONT)
        wait_until(lambda: all_ended(own), seconds=30)
    with psycopg.connect(own_server.admin_dsn) as connection:
        taken = connection.execute("SELECT count(*) FROM treadle.jobs WHERE attempt > 1").fetchone()
    assert taken == (len(held),)
    assert_nothing_was_lost_or_done_twice(own)
