"""What the tests of background jobs do again and again."""

import threading
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from uuid import UUID

from treadle.control.database import Database
from treadle.control.jobs.job import Job, NewJob
from treadle.control.jobs.kinds import Kind, by_name
from treadle.control.jobs.queue import enqueue, get_job, list_job_events, list_steps
from treadle.control.jobs.run import JobContext
from treadle.control.jobs.worker import JobWorker

SECONDS = 60  # with much else on the machine


def new(kind: str = "work", payload: Mapping | None = None, **fields: object) -> NewJob:
    return NewJob(kind, payload or {}, "ana", **fields)  # type: ignore[arg-type]


def ask(own: Database, kind: str = "work", payload: Mapping | None = None, **fields: object) -> Job:
    return enqueue(own, new(kind, payload, **fields))


def kinds(**run: Callable[[JobContext], object]) -> Mapping[str, Kind]:
    return by_name(Kind(name, code) for name, code in run.items())


def nothing(_context: JobContext) -> None:
    return None


@contextmanager
def worker(own: Database, lease_seconds: float | None = None, **run: Callable[[JobContext], object]):
    made = JobWorker(own, kinds(**run), lease_seconds=lease_seconds, idle_seconds=0.02)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def running(made: JobWorker):
    """The worker at work in a thread of its own; told to stop at the end, and seen to."""
    stop = threading.Event()
    thread = threading.Thread(target=made.run, args=(stop,))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(SECONDS)
        assert not thread.is_alive(), "the worker does not stop"


def work_off(own: Database, *jobs: Job, **run: Callable[[JobContext], object]) -> list[Job]:
    """Do everything there is, one after the other, and return the jobs as they are then."""
    with worker(own, **run) as made:
        while made.step():
            pass
    return [get_job(own, job.job_id) for job in jobs]


def due_now(own: Database) -> None:
    """Let the time pass that jobs wait for between two attempts, and a second more: a virtual machine's clock may go back a little."""
    with own.transaction() as connection:
        connection.execute("UPDATE treadle.jobs SET due_at = clock_timestamp() - interval '1 s' WHERE state = 'QUEUED'")


def lapse(own: Database, job_id: UUID) -> None:
    """Let the lease run out, as if its worker had been silent for that long."""
    with own.transaction() as connection:
        connection.execute(
            "UPDATE treadle.jobs SET lease_until = clock_timestamp() - interval '1 s' WHERE job_id = %s AND state = 'RUNNING'", (job_id,)
        )


def told(own: Database, job: Job) -> list[str]:
    """The trail, each event as `step: message` or the message alone."""
    return [f"{event.step}: {event.message}" if event.step else event.message for event in list_job_events(own, job.job_id)]


def steps(own: Database, job: Job) -> dict[str, str]:
    return {step.name: str(step.state) for step in list_steps(own, job.job_id)}


def assert_the_trail_has_no_gap(own: Database) -> None:
    """Events count 1, 2, 3 … up to the job's last_seq, for every job there is."""
    broken = own.read(
        """SELECT job_id FROM treadle.jobs AS job
            WHERE last_seq IS DISTINCT FROM (SELECT max(seq) FROM treadle.job_events AS event WHERE event.job_id = job.job_id)
               OR last_seq <> (SELECT count(*) FROM treadle.job_events AS event WHERE event.job_id = job.job_id)"""
    )
    assert broken == []
