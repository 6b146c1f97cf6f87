"""The portal's pages: server time of a rerun with a million runs and ten million events in the database, and what a live page asks of it.

Pages run as Streamlit's AppTest runs them: the whole script, without a browser. `python -m bench.portal` prints the table.
"""

import contextlib
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import psutil
import psycopg
from streamlit.testing.v1 import AppTest

from bench.control_plane import RUNS, _fill
from bench.portal_sessions import Session, sessions
from bench.table import Row, markdown
from treadle.cli.local import LocalEnvironment, local_environment
from treadle.cli.sample_runs import SUPERSTORE_COLUMNS, run_sample, sample_files
from treadle.control import events, runs
from treadle.control.access import Role, local_principal
from treadle.control.database import Database
from treadle.control.migrate import migrate
from treadle.control.runs import NewRun
from treadle.control.states import RunStatus
from treadle.logs import configure_logs
from treadle.portal.server import SCRIPT
from treadle.portal.shared import Portal, open_portal
from treadle.sandbox.postgres import TABLES_FILE
from treadle.settings import STATE_FILE_NAME
from treadle.wiring import wired

SECTION = "Portal (1,000,000 runs and 10,000,000 events; the script's time on the server, without the browser)"
EVENTS_PER_RUN = 10
RERUNS, HELP_CALLS = 25, 7
MEDIAN_MS, WORST_MS, QUERIES_PER_SECOND, HELP_MS = 150, 500, 2.0, 200
PAGES = ("import_file", "monitor", "results", "archive", "run", "compare")
SESSIONS, LOOK_SECONDS, TRANSACTIONS_A_QUERY = 20, 20.0, 2
FLUSH_SECONDS = 12.0  # a connection of PostgreSQL that has fallen idle tells what it did this late
NOTHING = 0.01
EVENT_SECONDS = 4.0  # between two events of the run that is watched; a stage of a real one tells less often
WHO = local_principal("bench", Role.OPERATOR)


def run(run_count: int = RUNS) -> list[Row]:
    """Measure everything; takes about five minutes, one of them to fill the database."""
    configure_logs("ERROR")
    with (
        tempfile.TemporaryDirectory(prefix="treadle-bench-", ignore_cleanup_errors=True) as folder,
        local_environment(Path(folder)) as environment,
        wired(environment.settings) as wiring,
    ):
        _fill(environment.postgres.admin_dsn, run_count)
        _fill_events(environment.postgres.admin_dsn)
        migrate(wiring.own)
        finished = [run_sample(wiring, WHO, *sample) for sample in zip(sample_files(Path(folder)), (SUPERSTORE_COLUMNS, None), strict=True)]
        active = runs.start_run(wiring.database, NewRun(uuid4(), "bench", "orders.xlsx", "workspace", "pipeline"), "started")
        events.append_event(wiring.database, active.run_id, events.log("Stage 'Sales ingest': in progress."))
        open_portal(Portal(wiring.services, local=WHO))
        asked = {"run": {"run": str(finished[0].run_id)}, "compare": {"a": str(finished[0].run_id), "b": str(finished[1].run_id)}}
        rows = [_page(name, asked.get(name, {})) for name in PAGES]
        return [*rows, *_queries(environment, wiring.database, active.run_id), _help()]


def _fill_events(owner_dsn: str) -> None:
    """Ten events for each run. Without indexes while they come: to keep those of ten million random ids in order takes longer than to make them."""
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute("SET maintenance_work_mem = '512MB'")
        owner.execute("DROP INDEX run_events_of_run")
        owner.execute("ALTER TABLE run_events DROP CONSTRAINT run_events_pkey")
        owner.execute(
            "INSERT INTO run_events (id, run_id, event_time, event_type, message) SELECT gen_random_uuid(), run_id, created_at + n * interval '1 s',"
            " 'LOG', 'Step ' || n FROM pipeline_runs, generate_series(1, %s) AS n",
            (EVENTS_PER_RUN,),
        )
        owner.execute("ALTER TABLE run_events ADD PRIMARY KEY (id)")
        owner.execute(TABLES_FILE.read_bytes())  # makes the other index again
        owner.execute("VACUUM ANALYZE run_events")


def _opened(name: str, query: dict[str, str]) -> AppTest:
    at = AppTest.from_file(SCRIPT, default_timeout=60)
    for key, value in query.items():
        at.query_params[key] = value
    at.switch_page(f"app_pages/{name}.py")
    at.run()
    assert not at.exception, (name, at.exception)
    return at


def _page(name: str, query: dict[str, str]) -> Row:
    at = _opened(name, query)
    used = time.process_time()
    times = [_milliseconds(at) for _ in range(RERUNS)]
    used = (time.process_time() - used) / RERUNS * 1000
    middle, worst = statistics.median(times), max(times)
    met = middle <= MEDIAN_MS and worst <= WORST_MS
    return Row(
        SECTION,
        f"a rerun of the page {name}",
        f"median {middle:.0f} ms, worst {worst:.0f} ms",
        f"≤ {MEDIAN_MS} ms, none above {WORST_MS} ms",
        met,
        f"processor time {used:.0f} ms a rerun; {_load()}",
    )


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def _milliseconds(at: AppTest) -> float:
    before = time.perf_counter()
    at.run()
    return (time.perf_counter() - before) * 1000


def _queries(environment: LocalEnvironment, database: Database, active: UUID) -> list[Row]:
    """What pages of the active run ask, while it goes on and says so, and what the same pages ask when it has ended.

    A look is a transaction, and one more that tries the connection.
    """
    with (
        _portal(environment) as (url, process),
        psycopg.connect(environment.postgres.admin_dsn, autocommit=True) as owner,
        sessions(url, "monitor", 1) as first,
    ):
        first[0].wait_for("Stages")  # what a process does once is done
        first[0].close()
        time.sleep(FLUSH_SECONDS)
        nobody = _per_second(owner)
        with sessions(url, "monitor", SESSIONS) as opened:
            for session in opened:
                session.wait_for("Stages")
            fabric, used, drawn = _fabric_requests(environment), _processor_seconds(process), sum(session.drawn for session in opened)
            began = time.monotonic()
            with _going_on(database, active):
                live = (_per_second(owner) - nobody) / SESSIONS / TRANSACTIONS_A_QUERY
            share = (_processor_seconds(process) - used) / (time.monotonic() - began)
            fabric, drawn = _fabric_requests(environment) - fabric, sum(session.drawn for session in opened) - drawn
            runs.finish_run(database, active, RunStatus.FAILED, error_message="The benchmark is over.")
            for session in opened:  # each was alive, and has seen the end
                session.wait_for("No run was active")
            asked = _quiet(opened)
            asleep = (_per_second(owner) - nobody) / SESSIONS / TRANSACTIONS_A_QUERY
            asked = sum(session.asked for session in opened) - asked
    sockets = f"{SESSIONS} sessions over WebSocket with the clocks of a browser, without one"
    return [
        Row(
            SECTION,
            f"queries of a live Monitor page, {sockets}; an event every {EVENT_SECONDS:g} s",
            f"{live:.2f} a second and session",
            f"≤ {QUERIES_PER_SECOND:g} a second and session; of Fabric none",
            live <= QUERIES_PER_SECOND and not fabric,
            f"of Fabric: {fabric}; pages drawn anew: {drawn}; the portal used {share:.0%} of a core",
        ),
        Row(
            SECTION,
            "the same pages when nothing is active any more",
            f"{max(0.0, asleep):.2f} queries a second and session, {asked} reruns in {LOOK_SECONDS:g} s",
            "none",
            asleep < NOTHING and not asked,
        ),
    ]


def _quiet(opened: list[Session]) -> int:
    """Wait until nobody has asked for anything so long that all was told, and return how much was asked until then.

    The clocks that are still under way when a run ends fire once more.
    """
    asked = -1
    for _ in range(int(60 / FLUSH_SECONDS)):
        before, asked = asked, sum(session.asked for session in opened)
        if asked == before:
            break
        time.sleep(FLUSH_SECONDS)
    return asked


def _processor_seconds(process: psutil.Process) -> float:
    used = process.cpu_times()
    return used.user + used.system


def _fabric_requests(environment: LocalEnvironment) -> int:
    return sum(1 for request in list(environment.cloud.requests) if request.operation.startswith("fabric."))


@contextmanager
def _going_on(database: Database, run_id: UUID) -> Iterator[None]:
    """Events of the run, one after the other, until the block ends."""
    stop = threading.Event()

    def tell() -> None:
        while not stop.wait(EVENT_SECONDS):
            events.append_event(database, run_id, events.log("A part is done."))

    thread = threading.Thread(target=tell, name="events")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def _portal(environment: LocalEnvironment) -> Iterator[tuple[str, psutil.Process]]:
    """`treadle portal` as a process of its own, on this machine's own account; and its address."""
    environ = {**os.environ, "OIDC_CLIENT_ID": "", "TREADLE_USER": "bench"}
    values = {name: value for name, value in environment.values.items() if not name.startswith("OIDC_")}
    state = environment.state / "without-sign-in"
    state.mkdir()
    (state / STATE_FILE_NAME).write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    command = [sys.executable, "-m", "treadle", "portal", "--port", "0", "--json", "--state", str(state)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            told = itertools.takewhile(lambda line: line.strip() != "}", process.stdout)
            url = json.loads("".join(told) + "}")["url"]
            _wait_for(url)
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()


def _wait_for(url: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health"):
            return
        time.sleep(0.1)


def _per_second(owner: psycopg.Connection, seconds: float = LOOK_SECONDS) -> float:
    before = _transactions(owner)
    time.sleep(seconds)
    return (_transactions(owner) - before) / seconds


def _transactions(owner: psycopg.Connection) -> int:
    time.sleep(1.5)  # the server's statistics are flushed once a second
    owner.execute("SELECT pg_stat_clear_snapshot()")
    found = owner.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert found is not None
    return int(found[0])


def _help() -> Row:
    times: list[float] = []
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(HELP_CALLS):
        before = time.perf_counter()
        subprocess.run([sys.executable, "-m", "treadle", "--help"], stdout=subprocess.DEVNULL, check=True)
        times.append((time.perf_counter() - before) * 1000)
    middle = statistics.median(times)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = (after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime) / HELP_CALLS * 1000
    note = f"processor time {processor:.0f} ms; {_load()}; no Streamlit is loaded"
    return Row(SECTION, "treadle --help", f"{middle:.0f} ms", f"≤ {HELP_MS} ms", middle <= HELP_MS, note)


if __name__ == "__main__":
    print(markdown(run()))
