"""Background jobs against the straightforward ways: leases, fences, kept results and a trail, and still not slower than a bare loop can wait for.

Two worker processes with two slots each, on an embedded PostgreSQL that syncs every commit to disk. `python -m bench.jobs` prints the table.
"""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import psycopg

from bench.table import Row, markdown
from treadle.cli.stopping import stop_on_signal
from treadle.control.database import Database
from treadle.control.jobs.job import NewJob
from treadle.control.jobs.kinds import Kind, by_name
from treadle.control.jobs.queue import delete_ended, enqueue_many
from treadle.control.jobs.run import JobContext
from treadle.control.jobs.worker import JobWorker
from treadle.control.migrate import migrate
from treadle.logs import configure_logs
from treadle.sandbox.postgres import EmbeddedPostgres

JOBS = 1_000
STEPS = "abcde"
WORKERS = 2
NAIVE_JOBS = 60  # of the ways that open connections; their speed does not depend on how many there are
SECTION = "Background jobs (PostgreSQL 18, embedded, every commit synced)"
STEP_BEGUN = "INSERT INTO naive.steps (job_id, name, state) VALUES (%s, %s, 'RUNNING')"
STEP_DONE = "UPDATE naive.steps SET state = 'DONE' WHERE job_id = %s AND name = %s"


def run() -> list[Row]:
    """Measure everything; takes about half a minute."""
    with (
        tempfile.TemporaryDirectory(prefix="treadle-bench-", ignore_cleanup_errors=True) as folder,
        EmbeddedPostgres(Path(folder)) as server,
        Database(server.dsn) as own,
    ):
        migrate(own)
        with own.transaction() as connection:
            connection.execute("CREATE SCHEMA naive CREATE TABLE steps (job_id uuid, name text, state text, PRIMARY KEY (job_id, name))")
        with _workers(server.dsn):
            keyed = _steps_per_second(own, key=lambda n: f"key {n % 50}")
            free = _steps_per_second(own, key=lambda _: None)
            latency = _first_step_milliseconds(own)
        reconnecting = _naive(NAIVE_JOBS, lambda sql, values: _on_a_new_connection(server.dsn, sql, values))
        with psycopg.connect(server.dsn, autocommit=True) as kept:
            looping = _naive(JOBS, kept.execute)
    note = (
        f"one INSERT and one UPDATE per step on a new connection each: {reconnecting:,.0f}/s, {free / reconnecting:.1f} ×; a bare loop of the same "
        f"on one kept connection, without lease, fence, events or a second worker (what the disk gives): {looping:,.0f}/s, {free / looping:.2f} ×"
    )
    what = f"{JOBS:,} jobs × {len(STEPS)} empty steps, {WORKERS} worker processes"
    return [
        Row(SECTION, what, f"{free:,.0f} steps/s", "≥ 100 steps/s", free >= 100, note),
        Row(SECTION, f"{what}, 50 keys that serialise", f"{keyed:,.0f} steps/s", "≥ 100 steps/s", keyed >= 100),
        Row(SECTION, "from asking to the first step, idle workers", f"{latency:,.0f} ms (median)", "", None, "workers look every 0.5 s"),
    ]


def _steps_per_second(own: Database, key: Callable[[int], str | None]) -> float:
    began = time.perf_counter()
    enqueue_many(own, [NewJob("empty", {"n": n}, "bench", key=key(n)) for n in range(JOBS)])
    _wait_for_the_end(own)
    seconds = time.perf_counter() - began
    [found] = own.read("SELECT count(*) AS n FROM treadle.job_steps WHERE state = 'DONE'")
    assert found["n"] == JOBS * len(STEPS)
    delete_ended(own, timedelta(0))
    return JOBS * len(STEPS) / seconds


def _first_step_milliseconds(own: Database) -> float:
    for _ in range(15):
        enqueue_many(own, [NewJob("empty", {}, "bench")])
        _wait_for_the_end(own)
    [found] = own.read(
        """SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM step.started_at - job.created_at) * 1000)::float AS ms
             FROM treadle.jobs AS job JOIN treadle.job_steps AS step USING (job_id) WHERE step.position = 1"""
    )
    return float(found["ms"])


def _wait_for_the_end(own: Database) -> None:
    pause = threading.Event()
    while own.read("SELECT 1 AS one FROM treadle.jobs WHERE finished_at IS NULL LIMIT 1"):
        pause.wait(0.02)


def _naive(jobs: int, execute: Callable[[str, tuple[UUID, str]], object]) -> float:
    """Steps per second when each is written down by hand, one after the other."""
    began = time.perf_counter()
    for job_id in [uuid4() for _ in range(jobs)]:
        for name in STEPS:
            execute(STEP_BEGUN, (job_id, name))
            execute(STEP_DONE, (job_id, name))
    return jobs * len(STEPS) / (time.perf_counter() - began)


def _on_a_new_connection(dsn: str, sql: str, values: tuple[UUID, str]) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(sql, values)  # type: ignore[arg-type]


@contextmanager
def _workers(dsn: str) -> Iterator[None]:
    """Worker processes that are ready and idle."""
    command = [sys.executable, "-m", "bench.jobs", "worker", dsn]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(WORKERS)]
    try:
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        yield
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def _empty(context: JobContext) -> None:
    for name in STEPS:
        context.step(name, lambda: None)


def _work(dsn: str) -> None:
    configure_logs("ERROR")  # the pipe to us is for one word only, and nobody empties it
    stop = stop_on_signal()
    with Database(dsn) as own:
        _ = own.schema
        print("ready", flush=True)
        JobWorker(own, by_name([Kind("empty", _empty)])).run(stop)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        _work(sys.argv[2])
    else:
        print(markdown(run()))
