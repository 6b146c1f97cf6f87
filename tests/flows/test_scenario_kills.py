"""kill -9 at every step of a build and of a removal, before the effect, between the effect and its record, and in the middle: the next worker ends in
the same state, and nothing was made twice."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.flows.conftest import eventually
from tests.flows.scenario_place import ScenarioPlace, assert_built, open_place, place
from treadle.cli.local import LocalEnvironment
from treadle.control.jobs.queue import list_steps
from treadle.flows.scenario.flow import request_destroy
from treadle.flows.scenario.records import find_scenario, things_of
from treadle.sandbox.faults import FaultRule

__all__ = ["open_place", "place"]  # fixtures
pytestmark = [pytest.mark.kills, pytest.mark.timeout(120)]

HELD = 5_311_988  # the advisory lock at which a chosen write waits
HOLD = """
CREATE OR REPLACE FUNCTION treadle.hold_for_test() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.step = '{step}' AND NEW.message = '{message}' THEN PERFORM pg_advisory_xact_lock_shared({key}); END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER hold_for_test BEFORE INSERT ON treadle.job_events FOR EACH ROW EXECUTE FUNCTION treadle.hold_for_test();
"""
STEPS = [
    "graph.extract", "graph.lakehouse", "graph.upload:DimService", "graph.tables:DimService", "graph.ontology", "graph.ontology_def",
    "graph.graph_model", "graph.graph_model_def", "graph.graph_refresh", "telemetry.extract", "telemetry.lakehouse", "telemetry.eventhouse",
    "telemetry.kql_database", "telemetry.tables", "telemetry.ingest:AlertStream", "metadata",
]  # fmt: skip
REMOVALS = [
    "plan",
    "remove:kql_table:telemetry/AlertStream",
    "remove:eventhouse:eventhouse",
    "remove:ontology:ontology",
    "remove:lakehouse:lakehouse",
    "files",
    "records",
]


@pytest.fixture
def start(environment: LocalEnvironment, place: ScenarioPlace) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start a worker process; what still runs at the end of the test is ended."""
    started: list[subprocess.Popen[bytes]] = []

    def start_one() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.flows.scenario_worker", str(environment.state), str(place.services.scratch)]
        started.append(subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        return started[-1]

    yield start_one
    for child in started:
        child.kill()
        child.communicate()


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
        eventually(lambda: somebody_waits() or child.poll() is not None, seconds=60, what=f"{step} being {message}")
        assert child.poll() is None, child.communicate()
        child.send_signal(signal.SIGKILL)
        child.wait()


def assert_ended_well(place, job):
    ended = place.work(job)
    assert ended.state == "SUCCEEDED", (ended.error_message, ended.error_details)
    assert ended.attempt == 2
    assert {step.state for step in list_steps(place.wiring.own, job.job_id)} == {"DONE"}


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_killed_between_an_effect_and_its_record_leaves_a_build_that_ends_the_same(environment, place, start, step):
    job = place.request()
    kill_at(environment, start, step, "done")
    assert_ended_well(place, job)
    assert_built(place)


@pytest.mark.parametrize("step", ["graph.lakehouse", "graph.ontology", "graph.graph_refresh", "metadata"])
def test_a_worker_killed_before_an_effect_leaves_a_build_that_ends_the_same(environment, place, start, step):
    job = place.request()
    kill_at(environment, start, step, "begun")
    assert_ended_well(place, job)
    assert_built(place)


IN_THE_MIDDLE = {
    "graph.tables": "fabric.LoadTable", "graph.graph_refresh": "fabric.RunOnDemandItemJob", "telemetry.ingest": "kusto.Management",
}  # fmt: skip


@pytest.mark.parametrize(("step", "operation"), IN_THE_MIDDLE.items())
def test_a_worker_killed_while_fabric_works_leaves_a_build_that_ends_the_same(environment, place, start, step, operation):
    job = place.request()
    after = 3 if operation == "kusto.Management" else 0
    environment.cloud.faults.post([FaultRule(operation, "slow", after=after, args={"seconds": 4})])
    child = start()

    def is_in_the_middle() -> bool:
        running = any(found.name.startswith(step) and found.state == "RUNNING" for found in list_steps(place.wiring.own, job.job_id))
        return child.poll() is not None or (running and any(call.fault == "slow" for call in environment.cloud.requests.copy()))

    eventually(is_in_the_middle, seconds=60, what=f"{step} being under way")
    assert child.poll() is None, child.communicate()
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert_ended_well(place, job)
    assert_built(place)


@pytest.mark.parametrize("step", REMOVALS)
def test_a_worker_killed_while_it_removes_leaves_a_removal_that_ends_the_same(environment, place, start, step):
    place.build()
    job = request_destroy(place.services, "telco-noc", "ada")
    kill_at(environment, start, step, "done")
    assert_ended_well(place, job)
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
