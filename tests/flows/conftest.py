"""A whole local environment – sandbox, PostgreSQL, notebook and pipeline deployed – and the rules that hold after every test."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests import canaries
from treadle.cli.local import LocalEnvironment, local_environment
from treadle.control import lock, runs
from treadle.control.runs import Run
from treadle.flows.sales.lakehouse import CURRENT, IMPORT
from treadle.wiring import Wiring, wired

SUPERSTORE = Path(__file__).parents[2] / "samples" / "superstore.xlsx"


@pytest.fixture(scope="session")
def running_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEnvironment]:
    """One per worker process; ask for `environment`, which starts each test with an empty lake, free lock and no faults."""
    with local_environment(tmp_path_factory.mktemp("environment")) as environment:
        for secret in (
            environment.cloud.credentials.client_secret,
            environment.cloud.events.api_key,
            environment.cloud.salesforce.credentials.client_secret,
        ):
            canaries.plant(secret)
        yield environment
        assert canaries.found_in_database(environment.postgres.admin_dsn) == []
        assert canaries.found_in_folder(environment.state) == []


@pytest.fixture
def environment(running_environment: LocalEnvironment) -> Iterator[LocalEnvironment]:
    _reset(running_environment)
    yield running_environment
    unused = running_environment.cloud.faults.unused()
    running_environment.cloud.faults.clear()
    running_environment.cloud.clock.reset()
    assert not unused, f"scripted faults were never used: {unused}"


@pytest.fixture
def treadle(environment: LocalEnvironment) -> Iterator[Wiring]:
    """The product, wired to the environment, with a grace period that tests need not wait for. After the test nothing may be left over."""
    settings = environment.settings.model_copy(
        update={"treadle_trigger_grace_seconds": 1.0, "treadle_poll_seconds": 0.2, "treadle_poll_seconds_max": 0.5}
    )
    with wired(settings) as wiring:
        yield wiring
        assert lock.show_lock(wiring.database).run_id is None, "the lock is still held"
        assert runs.active_runs(wiring.database) == [], "a run is still active"
        assert_every_transition_has_its_event(wiring)
        assert active_jobs(environment) == [], "a Fabric job is still active"


@pytest.fixture
def drive(treadle: Wiring) -> Callable[[Run], Run]:
    """Drive a run to its end with a worker, and return it."""

    def drive(run: Run, seconds: float = 60) -> Run:
        worker = treadle.worker()
        try:
            assert worker.run_until_idle(timeout_seconds=seconds), "the run did not end in time"
        finally:
            worker.close()
        return runs.get_run(treadle.database, run.run_id)

    return drive


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a small workbook; more rows make its revenue differ."""

    def write(name: str = "sales.csv", rows: int = 3) -> Path:
        path = tmp_path / name
        lines = [f"{n:05d},2026-01-{n % 28 + 1:02d},{n}.50,North" for n in range(1, rows + 1)]
        path.write_text("order_id,order_date,revenue,region\n" + "\n".join(lines) + "\n")
        return path

    return write


def eventually(holds: Callable[[], object], *, seconds: float = 45, what: str = "the condition") -> None:
    """Wait until something holds; fail when it does not in time."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if holds():
            return
        pause.wait(0.05)
    pytest.fail(f"{what} did not come true within {seconds} s")


def active_jobs(environment: LocalEnvironment) -> list[str]:
    """The Fabric jobs of the pipeline that have not ended, asked of the sandbox's own records."""
    settings = environment.settings
    with wired(settings) as wiring:
        jobs = wiring.fabric.list_job_instances(wiring.sales.workspace, wiring.sales.pipeline)
    return [job.job_id for job in jobs if job.status in {"NotStarted", "InProgress"}]


def all_jobs(wiring: Wiring) -> set[str]:
    """Every job of the pipeline that Fabric lists."""
    return {job.job_id for job in wiring.fabric.list_job_instances(wiring.sales.workspace, wiring.sales.pipeline)}


def lake_snapshot(environment: LocalEnvironment, folder: str = CURRENT) -> dict[str, bytes]:
    """File name → content of a lakehouse folder, read from disk."""
    place = lake_folder(environment) / folder
    return {path.name: path.read_bytes() for path in sorted(place.glob("*")) if path.is_file()}


def lake_folder(environment: LocalEnvironment) -> Path:
    """Where the sandbox keeps the lakehouse on disk."""
    return environment.cloud.lake.path_of(environment.settings.fabric_workspace_id, environment.settings.fabric_lakehouse_id)


def assert_every_transition_has_its_event(wiring: Wiring) -> None:
    """Each run has the event of its start and, once ended, of its end; what ended has a time, and FAILED has a reason."""
    with psycopg.connect(**wiring.settings.conninfo) as connection:
        bare = connection.execute(
            """SELECT r.run_id, r.status, r.error_message FROM pipeline_runs r
                WHERE NOT EXISTS (SELECT 1 FROM run_events e WHERE e.run_id = r.run_id AND e.message ~ ' (started a run of|restores run) ')
                   OR (r.status IN ('SUCCEEDED', 'FAILED') AND r.finished_at IS NULL)
                   OR (r.status = 'SUCCEEDED' AND 1 <> (SELECT count(*) FROM run_events e
                                                         WHERE e.run_id = r.run_id AND e.message LIKE 'The run succeeded:%'))
                   OR (r.status = 'FAILED' AND r.error_message IS NULL)
                   OR (r.status = 'FAILED' AND 1 <> (SELECT count(*) FROM run_events e
                                                      WHERE e.run_id = r.run_id AND e.event_type = 'STATUS_CHANGE' AND e.message LIKE '%→ FAILED%'))"""
        ).fetchall()
    assert bare == [], f"runs without their events, end or reason: {bare}"


def _reset(environment: LocalEnvironment) -> None:
    environment.cloud.faults.clear()
    environment.cloud.requests.clear()  # the newest are kept; a test counts its own
    environment.cloud.events.reset()
    environment.cloud.clock.reset()
    environment.cloud.fabric.options.job_queue_seconds = 0
    with psycopg.connect(environment.postgres.admin_dsn) as connection:  # runs of earlier tests stay: they claim their jobs
        connection.execute("UPDATE run_lock SET run_id = NULL, locked_at = NULL, locked_by = NULL")
        connection.execute("DELETE FROM run_events WHERE run_id IN (SELECT run_id FROM pipeline_runs WHERE finished_at IS NULL)")
        connection.execute("DELETE FROM pipeline_runs WHERE finished_at IS NULL")  # what a failed test left
    for folder in (IMPORT, CURRENT):
        for path in (lake_folder(environment) / folder).glob("*"):
            if path.is_file():
                path.unlink()
