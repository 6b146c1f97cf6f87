"""kill -9 at every step of a build and of a removal, before the effect, between the effect and its record, and in the middle: the next worker goes on,
is killed at a later step, and so on; the last ends in the same state, and nothing was made twice."""

import contextlib
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg
import pytest

from tests.flows.conftest import eventually
from tests.flows.scenario_place import ScenarioPlace, assert_built, open_place, place
from tests.flows.scenario_worker import start_worker
from treadle.cli.local import LocalEnvironment
from treadle.control.jobs.claims import rescue_one
from treadle.control.jobs.queue import list_steps
from treadle.flows.scenario.flow import request_destroy
from treadle.flows.scenario.records import find_scenario, things_of
from treadle.sandbox.faults import FaultRule

__all__ = ["open_place", "place"]  # fixtures
pytestmark = [pytest.mark.kills, pytest.mark.timeout(240)]

HELD = 5_311_988  # the advisory lock at which a chosen write waits
HOLD = """
CREATE OR REPLACE FUNCTION treadle.hold_for_test() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.step = '{step}' AND NEW.message = '{message}' THEN PERFORM pg_advisory_xact_lock_shared({key}); END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER hold_for_test BEFORE INSERT ON treadle.job_events FOR EACH ROW EXECUTE FUNCTION treadle.hold_for_test();
"""
# Each chain is one build, and its steps stand in the order in which a build comes to them. The ontology is made beside the tables, so which of
# the two is first is chance; hence two chains.
CHAINS = {
    "tables, graph and telemetry": [
        ("graph.extract", "done"), ("graph.lakehouse", "begun"), ("graph.lakehouse", "done"), ("graph.upload:DimService", "done"),
        ("graph.tables:DimService", "done"), ("graph.graph_model_def", "done"), ("graph.graph_refresh", "done"), ("telemetry.extract", "done"),
        ("telemetry.lakehouse", "done"), ("telemetry.eventhouse", "done"), ("telemetry.kql_database", "done"), ("telemetry.tables", "done"),
        ("telemetry.ingest:AlertStream", "done"), ("metadata", "done"),
    ],
    "ontology": [
        ("graph.ontology", "begun"), ("graph.ontology", "done"), ("graph.ontology_def", "done"), ("graph.graph_model", "done"),
        ("graph.graph_refresh", "begun"), ("metadata", "begun"),
    ],
}  # fmt: skip
REMOVALS = [
    "plan",
    "remove:kql_table:telemetry/AlertStream",
    "remove:eventhouse:eventhouse",
    "remove:ontology:ontology",
    "remove:lakehouse:lakehouse",
    "files",
    "records",
]
# Step → the call of it that Fabric takes long to answer, and how many such calls pass before it.
IN_THE_MIDDLE = {
    "graph.tables": ("fabric.LoadTable", 0),
    "graph.graph_refresh": ("fabric.RunOnDemandItemJob", 0),
    "telemetry.ingest": ("kusto.Management", 5),  # behind a look at the tables, and a table and a mapping for each of two
}


class Child:
    """A worker in a process of its own."""

    def __init__(self, process: BaseProcess, words: Path) -> None:
        self._process, self._words = process, words

    def assert_works(self) -> None:
        """Fail, with its last words, when it has ended by itself."""
        assert self._process.is_alive(), self._words.read_text(errors="replace")[-5000:]

    def kill(self) -> None:
        """End it by SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.join()


Start = Callable[[], Child]


@pytest.fixture
def start(environment: LocalEnvironment, place: ScenarioPlace, tmp_path: Path) -> Iterator[Start]:
    """Start a worker process; what still runs at the end of the test is ended."""
    started: list[Child] = []

    def start_one() -> Child:
        words = tmp_path / f"worker-{len(started)}.log"
        words.touch()
        started.append(Child(start_worker(environment.state, place.services.scratch, words), words))
        return started[-1]

    yield start_one
    for child in started:
        child.kill()


@contextlib.contextmanager
def held_at(environment: LocalEnvironment, step: str, message: str) -> Iterator[Callable[[], bool]]:
    """Let the transaction that writes this event wait; yields whether one does."""
    with psycopg.connect(environment.postgres.admin_dsn, autocommit=True) as holder:
        holder.execute(HOLD.format(step=step, message=message, key=HELD))
        holder.execute("SELECT pg_advisory_lock(%s)", [HELD])

        def somebody_waits() -> bool:
            row = holder.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted", [HELD]
            ).fetchone()
            return bool(row and row[0])

        try:
            yield somebody_waits
        finally:
            holder.execute("SELECT pg_advisory_unlock(%s)", [HELD])
            holder.execute("DROP TRIGGER IF EXISTS hold_for_test ON treadle.job_events")


def kill_at(environment, start, step, message):
    with held_at(environment, step, message) as somebody_waits:
        child = start()

        def is_there() -> bool:
            child.assert_works()
            return somebody_waits()

        eventually(is_there, seconds=60, what=f"{step} being {message}")
        child.kill()


def let_lapse(environment, place, job):
    """The lease of a worker that was killed is over, and so is the pause before the next attempt; as with time, but without waiting."""

    def is_rescued() -> bool:
        with psycopg.connect(environment.postgres.admin_dsn) as connection:  # again and again: a last heartbeat may just be written
            connection.execute(
                "UPDATE treadle.jobs SET lease_until = clock_timestamp() - interval '1 second' WHERE job_id = %s AND state = 'RUNNING'",
                [job.job_id],
            )
        return rescue_one(place.wiring.own) is not None

    eventually(is_rescued, what="the rescue of the job")
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        connection.execute("UPDATE treadle.jobs SET due_at = clock_timestamp() WHERE job_id = %s AND state = 'QUEUED'", [job.job_id])


def kill_at_each(environment, place, start, job, chain):
    """Kill a worker at each of these moments, one after the other; return the job as the last worker leaves it. One attempt for each, no more."""
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        connection.execute("UPDATE treadle.jobs SET max_attempts = %s WHERE job_id = %s", [len(chain) + 1, job.job_id])
    for number, (step, message) in enumerate(chain, start=1):
        kill_at(environment, start, step, message)
        states = {found.name: found.state for found in list_steps(place.wiring.own, job.job_id)}
        assert states.get(step) == ("RUNNING" if message == "done" else None), f"{step} was killed too late"
        assert place.job(job).attempt == number, f"it was not the attempt for {step} {message}"
        place.items()  # nothing twice
        let_lapse(environment, place, job)
    return assert_ended_well(place, job, attempts=len(chain) + 1)


def assert_ended_well(place, job, attempts):
    ended = place.work(job)
    assert ended.state == "SUCCEEDED", (ended.error_message, ended.error_details)
    assert ended.attempt == attempts
    assert {step.state for step in list_steps(place.wiring.own, job.job_id)} == {"DONE"}


@pytest.mark.parametrize("chain", CHAINS)
def test_workers_killed_before_an_effect_and_between_it_and_its_record_leave_a_build_that_ends_the_same(environment, place, start, chain):
    kill_at_each(environment, place, start, place.request(), CHAINS[chain])
    assert_built(place)


def test_workers_killed_while_fabric_works_leave_a_build_that_ends_the_same(environment, place, start):
    """Here nobody helps: each worker waits until the lease of the one before it is over."""
    job = place.request()
    for step, (operation, after) in IN_THE_MIDDLE.items():
        environment.cloud.faults.post([FaultRule(operation, "slow", after=after, args={"seconds": 4})])
        child = start()

        def is_in_the_middle(step=step, operation=operation, child=child) -> bool:
            child.assert_works()
            running = any(found.name.startswith(step) and found.state == "RUNNING" for found in list_steps(place.wiring.own, job.job_id))
            calls = environment.cloud.requests.copy()
            return running and any((call.operation, call.fault) == (operation, "slow") for call in calls)

        eventually(is_in_the_middle, seconds=60, what=f"{step} being under way")
        child.kill()
    assert_ended_well(place, job, attempts=len(IN_THE_MIDDLE) + 1)
    assert_built(place)


def test_workers_killed_while_they_remove_leave_a_removal_that_ends_the_same(environment, place, start):
    place.build()
    job = request_destroy(place.services, "telco-noc", "ada")
    kill_at_each(environment, place, start, job, [(step, "done") for step in REMOVALS])
    assert place.items() == {}
    assert things_of(place.services.documents, place.workspace_id) == []
    assert find_scenario(place.services.documents, "telco-noc") is None


def test_what_a_killed_build_has_made_can_be_removed_although_it_never_ended(environment, place, start):
    job = place.request()
    kill_at(environment, start, "graph.ontology", "done")
    removal = request_destroy(place.services, "telco-noc", "ada")
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        connection.execute(
            "UPDATE treadle.jobs SET cancel_requested_at = now(), cancel_requested_by = 'ada' WHERE job_id = %s", [job.job_id]
        )
    assert place.work(removal).state == "SUCCEEDED"
    assert place.job(job).state == "CANCELLED"
    assert place.items() == {}
