"""The control plane against the straightforward way: pages of a million runs, events one transaction each, and many threads at once.

Runs on an embedded PostgreSQL that syncs every commit to disk. `python -m bench.control_plane` prints the table.
"""

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import ClientCursor

from bench.table import Row, markdown
from treadle.control import events, runs
from treadle.control.database import Database
from treadle.control.run_search import SQL
from treadle.control.runs import NewRun
from treadle.control.statements import with_lines
from treadle.sandbox.postgres import TABLES_FILE, EmbeddedPostgres

RUNS = 1_000_000
PAGE = 50
SECONDS = 1.0  # of each throughput measurement
ROUNDS = 5
THREADS = 64
CALLS = 20  # of each thread
INSERT = "INSERT INTO run_events (id, run_id, event_time, event_type, message) VALUES (%s, %s, now() AT TIME ZONE 'UTC', 'LOG', 'x')"
SECTION = "Control plane (PostgreSQL 18, embedded, every commit synced)"


def run(run_count: int = RUNS) -> list[Row]:
    """Measure everything; takes about a minute."""
    with (
        tempfile.TemporaryDirectory(prefix="treadle-bench-", ignore_cleanup_errors=True) as folder,
        EmbeddedPostgres(Path(folder)) as server,
    ):
        _fill(server.admin_dsn, run_count)
        depths = sorted({0, run_count // 10, run_count // 2, run_count - run_count // 10_000})
        return [*_pages(server.admin_dsn, run_count, depths), *_events(server.dsn), *_threads(server.dsn)]


def _fill(owner_dsn: str, run_count: int) -> None:
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        found = owner.execute(
            "SELECT indexname FROM pg_indexes WHERE tablename = 'pipeline_runs' AND indexname NOT LIKE '%_pkey'"
        ).fetchall()
        for (index,) in found:
            owner.execute(f"DROP INDEX {index}")
        owner.execute(
            """INSERT INTO pipeline_runs (run_id, created_at, started_at, finished_at, triggered_by, input_file, workspace_id, pipeline_item_id,
                                          status, fabric_job_id, kpis, app_version)
               SELECT gen_random_uuid(), moment, moment + interval '5 s', moment + interval '60 s', 'user' || n %% 100, 'orders_' || n || '.xlsx',
                      'workspace', 'pipeline', CASE WHEN n %% 20 = 0 THEN 'FAILED' ELSE 'SUCCEEDED' END, gen_random_uuid(),
                      jsonb_build_object('total_revenue', n, 'orders', n, 'aov', 1.5, 'revenue_by_region', '{"West": 1, "East": 2}'::jsonb), '0.1.0'
                 FROM generate_series(1, %(rows)s) AS n, LATERAL (SELECT timestamp '2024-01-01' + n * interval '1 minute') AS at (moment)""",
            {"rows": run_count},
        )
        owner.execute(TABLES_FILE.read_bytes())  # makes the indexes again
        owner.execute("VACUUM ANALYZE pipeline_runs")


def _pages(dsn: str, run_count: int, depths: list[int]) -> list[Row]:
    keyset = with_lines(SQL["list_runs"], {"after", "status_last_updated_at"})
    first = with_lines(SQL["list_runs"], {"status_last_updated_at"})
    rows: list[Row] = []
    with psycopg.connect(dsn, cursor_factory=ClientCursor) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for depth in depths:
            last = _last_seen(connection, depth)
            ours = _milliseconds(connection, keyset if depth else first, last)
            offset = _milliseconds(connection, f"SELECT * FROM pipeline_runs ORDER BY created_at DESC LIMIT {PAGE + 1} OFFSET {depth}", {})
            what = f"a page of {PAGE} at depth {depth:,} of {run_count:,} runs"
            rows.append(
                Row(
                    SECTION,
                    what,
                    f"{ours:.2f} ms",
                    "≤ 10 ms in the database",
                    ours <= 10,
                    f"OFFSET: {offset:.2f} ms, {offset / ours:.0f} ×",
                )
            )
    return rows


def _last_seen(connection: psycopg.Connection, depth: int) -> dict[str, Any]:
    found = connection.execute(
        "SELECT created_at, run_id FROM pipeline_runs ORDER BY created_at DESC, run_id DESC OFFSET %s LIMIT 1", (max(depth - 1, 0),)
    ).fetchone()
    assert found is not None
    return {"after_time": found[0], "after_id": found[1], "limit": PAGE + 1}


def _milliseconds(connection: psycopg.Connection, sql: Any, values: dict[str, Any]) -> float:
    """Median execution time by EXPLAIN ANALYZE over seven runs, the first of which only warms up."""
    times: list[float] = []
    for _ in range(7):
        [(plan,)] = connection.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", values).fetchall()
        times.append((json.loads(plan) if isinstance(plan, str) else plan)[0]["Execution Time"])
    return statistics.median(times[1:])


def _events(dsn: str) -> list[Row]:
    with Database(dsn, pool_size=8) as database, psycopg.connect(dsn, autocommit=True) as kept:
        run_id = runs.start_run(database, NewRun(uuid4(), "bench", "orders.xlsx", "workspace", "pipeline"), "started").run_id
        event = events.log("Sales ingest: InProgress.")
        one, eight, reconnecting, bare = _interleaved(
            (lambda: events.append_event(database, run_id, event), 1),
            (lambda: events.append_event(database, run_id, event), 8),
            (lambda: _append_on_a_new_connection(dsn, run_id), 1),
            (lambda: kept.execute(INSERT, (uuid4(), run_id)), 1),
        )
    note = f"new connection per call: {reconnecting:,.0f}/s, {one / reconnecting:.1f} ×; a bare INSERT on a kept connection (the disk's limit): {bare:,.0f}/s"
    return [
        Row(SECTION, "events appended, one transaction each, 1 thread", f"{one:,.0f}/s", "≥ 1,000/s", one >= 1000, note),
        Row(SECTION, "events appended, one transaction each, 8 threads", f"{eight:,.0f}/s"),
    ]


def _interleaved(*variants: tuple[Callable[[], object], int]) -> list[float]:
    """Calls per second of each (work, number of threads): the median of rounds in which all take turns, so that a noisy disk hits all alike."""
    rounds = [[_per_second(work, thread_count) for work, thread_count in variants] for _ in range(ROUNDS)]
    return [statistics.median(found) for found in zip(*rounds, strict=True)]


def _append_on_a_new_connection(dsn: str, run_id: UUID) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(INSERT, (uuid4(), run_id))


def _per_second(work: Callable[[], object], thread_count: int) -> float:
    work()
    counts = [0] * thread_count
    end = time.perf_counter() + SECONDS

    def repeat(number: int) -> None:
        while time.perf_counter() < end:
            work()
            counts[number] += 1

    _together(thread_count, repeat)
    return sum(counts) / SECONDS


def _threads(dsn: str) -> list[Row]:
    with Database(dsn, pool_size=8) as database:
        served, seconds = _served(lambda: database.read("SELECT pg_sleep(0.002)"))
    refusing, refusing_seconds = _with_a_refusing_pool(dsn)
    connecting, connecting_seconds = _served(lambda: _read_on_a_new_connection(dsn))
    total = THREADS * CALLS
    what = f"{THREADS} threads at once, {CALLS} calls of 2 ms each"
    note = (
        f"a pool of 5 that refuses instead of waiting: {refusing:,} served in {refusing_seconds:.2f} s; "
        f"a new connection per call: {connecting:,} in {connecting_seconds:.2f} s"
    )
    return [
        Row(
            SECTION,
            f"{what}, 8 pooled connections",
            f"{served:,} of {total:,} served in {seconds:.2f} s",
            "none refused",
            served == total,
            note,
        )
    ]


def _with_a_refusing_pool(dsn: str) -> tuple[int, float]:
    """The seed's ThreadedConnectionPool(1, 5) in a few lines: who finds no free connection gets an error."""
    free = [psycopg.connect(dsn, autocommit=True) for _ in range(5)]

    def read() -> None:
        try:
            connection = free.pop()
        except IndexError as error:
            raise psycopg.OperationalError("connection pool exhausted") from error
        connection.execute("SELECT pg_sleep(0.002)")
        free.append(connection)

    try:
        return _served(read)
    finally:
        for connection in free:
            connection.close()


def _read_on_a_new_connection(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT pg_sleep(0.002)")


def _served(work: Callable[[], object]) -> tuple[int, float]:
    """How many of all calls were answered, and the seconds until the last was."""
    answered = [0] * THREADS

    def repeat(number: int) -> None:
        for _ in range(CALLS):
            try:
                work()
            except psycopg.OperationalError:
                continue
            answered[number] += 1

    began = time.perf_counter()
    _together(THREADS, repeat)
    return sum(answered), time.perf_counter() - began


def _together(count: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    print(markdown(run()))
