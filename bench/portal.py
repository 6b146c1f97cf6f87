"""The portal's pages: server time of a rerun with a million runs and ten million events in the database, and what a live page asks of it.

Pages run as Streamlit's AppTest runs them: the whole script, without a browser. `python -m bench.portal` prints the table.
"""

import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from playwright.sync_api import sync_playwright
from streamlit.testing.v1 import AppTest

from bench.control_plane import RUNS, _fill
from bench.table import Row, markdown
from treadle.cli.local import LocalEnvironment, local_environment
from treadle.cli.sample_runs import SUPERSTORE_COLUMNS, run_sample, sample_files
from treadle.control import events, runs
from treadle.control.access import Role, local_principal
from treadle.control.migrate import migrate
from treadle.control.runs import NewRun
from treadle.logs import configure_logs
from treadle.portal.server import SCRIPT
from treadle.portal.shared import Portal, open_portal
from treadle.settings import STATE_FILE_NAME
from treadle.wiring import wired

SECTION = "Portal (1,000,000 runs and 10,000,000 events; the script's time on the server, without the browser)"
EVENTS_PER_RUN = 10
RERUNS = 25
MEDIAN_MS, WORST_MS, QUERIES_PER_SECOND, HELP_MS = 150, 500, 2.0, 200
PAGES = ("import_file", "monitor", "results", "archive", "run", "compare")
SESSIONS, LOOK_SECONDS, TRANSACTIONS_A_QUERY = 4, 15.0, 2
WHO = local_principal("bench", Role.OPERATOR)


def run(run_count: int = RUNS) -> list[Row]:
    """Measure everything; takes about five minutes, most of it to fill the database."""
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
        return [*rows, _queries(environment), _help()]


def _fill_events(owner_dsn: str) -> None:
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(
            "INSERT INTO run_events (id, run_id, event_time, event_type, message) SELECT gen_random_uuid(), run_id, created_at + n * interval '1 s',"
            " 'LOG', 'Step ' || n FROM pipeline_runs, generate_series(1, %s) AS n",
            (EVENTS_PER_RUN,),
        )
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
    times = [_milliseconds(at) for _ in range(RERUNS)]
    middle, worst = statistics.median(times), max(times)
    met = middle <= MEDIAN_MS and worst <= WORST_MS
    return Row(
        SECTION,
        f"a rerun of the page {name}",
        f"median {middle:.0f} ms, worst {worst:.0f} ms",
        f"≤ {MEDIAN_MS} ms, none above {WORST_MS} ms",
        met,
    )


def _milliseconds(at: AppTest) -> float:
    before = time.perf_counter()
    at.run()
    return (time.perf_counter() - before) * 1000


def _queries(environment: LocalEnvironment) -> Row:
    """What pages of the active run ask, in browsers of their own; each look is a transaction, and one more that tries the connection."""
    with (
        _portal(environment) as url,
        sync_playwright() as playwright,
        psycopg.connect(environment.postgres.admin_dsn, autocommit=True) as owner,
    ):
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        idle = _per_second(owner)
        for _ in range(SESSIONS):
            page = browser.new_context().new_page()
            page.goto(f"{url}/monitor")
            page.get_by_text("Stages").wait_for()
        rate = (_per_second(owner) - idle) / SESSIONS / TRANSACTIONS_A_QUERY
        browser.close()
    what = f"queries of a live Monitor page, {SESSIONS} sessions"
    return Row(
        SECTION,
        what,
        f"{rate:.1f} a second",
        f"≤ {QUERIES_PER_SECOND:g} a second and session",
        rate <= QUERIES_PER_SECOND,
        "of Fabric: none",
    )


@contextmanager
def _portal(environment: LocalEnvironment) -> Iterator[str]:
    """`treadle portal` as a process of its own, on this machine's own account."""
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
            yield url
        finally:
            process.terminate()


def _wait_for(url: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health"):
            return
        time.sleep(0.1)


def _per_second(owner: psycopg.Connection) -> float:
    before = _transactions(owner)
    time.sleep(LOOK_SECONDS)
    return (_transactions(owner) - before) / LOOK_SECONDS


def _transactions(owner: psycopg.Connection) -> int:
    time.sleep(1.5)  # the server's statistics are flushed once a second
    owner.execute("SELECT pg_stat_clear_snapshot()")
    found = owner.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert found is not None
    return int(found[0])


def _help() -> Row:
    times: list[float] = []
    for _ in range(7):
        before = time.perf_counter()
        subprocess.run([sys.executable, "-m", "treadle", "--help"], stdout=subprocess.DEVNULL, check=True)
        times.append((time.perf_counter() - before) * 1000)
    middle = statistics.median(times)
    return Row(SECTION, "treadle --help", f"{middle:.0f} ms", f"≤ {HELP_MS} ms", middle <= HELP_MS, "no Streamlit is loaded")


if __name__ == "__main__":
    print(markdown(run()))
