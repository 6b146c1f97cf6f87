"""kill -9 of starter, worker, notebook and database at every step: at most one job, free lock, status as Fabric's, `current/` of one run."""

import contextlib
import fcntl
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.flows.conftest import all_jobs, eventually, lake_folder, lake_snapshot
from tests.nursery import WIDE, Command, Nursery
from treadle.cli.local import LocalEnvironment
from treadle.control import artifacts, events, runs
from treadle.control.run import Run
from treadle.control.states import RunStatus
from treadle.flows.sales import flow
from treadle.flows.sales.flow import StartRequest
from treadle.flows.sales.lakehouse import CURRENT
from treadle.sandbox.faults import FaultRule
from treadle.wiring import Wiring

pytestmark = pytest.mark.kills
RENAME = "onelake.Path.Rename"  # puts a staged upload in place, which happens under the lock


@pytest.fixture
def process(environment: LocalEnvironment, nursery: Nursery, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Start `treadle …` as a process of its own; what still runs at the end of the test is ended."""
    started: list[Command] = []
    environ = {**os.environ, **WIDE, "TREADLE_TRIGGER_GRACE_SECONDS": "1", "TREADLE_USER": "ada"}

    def start(*arguments: str) -> Command:
        started.append(nursery.start([*arguments, "--state", str(environment.state)], tmp_path, environ))
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.communicate()


@contextlib.contextmanager
def blocked(environment: LocalEnvironment, statement: str) -> Iterator[Callable[[], bool]]:
    """Hold rows, so that a transaction of the product stops half-way; yields whether one is waiting for them."""
    with (
        psycopg.connect(environment.postgres.admin_dsn) as holder,
        psycopg.connect(environment.postgres.admin_dsn, autocommit=True) as observer,
    ):
        holder.execute(statement)

        def somebody_waits() -> bool:
            row = observer.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND state = 'active'").fetchone()
            return bool(row and row[0])

        yield somebody_waits
        holder.rollback()


def kill(child: Command) -> None:
    child.send_signal(signal.SIGKILL)
    child.wait()


def slow(operation: str, seconds: float = 5) -> FaultRule:
    return FaultRule(operation, "slow", args={"seconds": seconds})


def newest(treadle: Wiring) -> Run:
    return runs.list_runs(treadle.database, limit=1).runs[0]


def start(treadle: Wiring, path: Path) -> Run:
    return flow.start(treadle.sales, StartRequest(input_file=path.name, requested_by="ada", local_file=path))


def is_active(treadle: Wiring) -> bool:
    return bool(runs.active_runs(treadle.database))


class TestStarter:
    def test_killed_before_the_trigger_leaves_no_job_and_the_run_fails(self, treadle, drive, environment, process, csv_file):
        before = all_jobs(treadle)
        environment.cloud.faults.post([slow(RENAME)])
        starter = process("run", "start", str(csv_file()))
        eventually(lambda: not environment.cloud.faults.unused(), what="the upload being put in place")
        assert is_active(treadle)
        kill(starter)
        run = drive(newest(treadle))
        assert run.status is RunStatus.FAILED
        assert all_jobs(treadle) == before

    def test_killed_while_the_trigger_is_under_way_leaves_one_job_that_is_adopted(self, treadle, drive, environment, process, csv_file):
        before = all_jobs(treadle)
        environment.cloud.faults.post([slow("fabric.RunOnDemandItemJob")])
        starter = process("run", "start", str(csv_file()))
        eventually(lambda: all_jobs(treadle) - before, what="the job")
        assert newest(treadle).fabric_job_id is None
        kill(starter)
        run = drive(newest(treadle))
        assert run.status is RunStatus.SUCCEEDED, run.error_message
        assert all_jobs(treadle) - before == {run.fabric_job_id}

    def test_killed_after_the_answer_but_before_it_is_recorded_leaves_one_job_that_is_adopted(
        self, treadle, drive, environment, process, csv_file
    ):
        before = all_jobs(treadle)
        environment.cloud.faults.post([slow("fabric.RunOnDemandItemJob", 4)])
        starter = process("run", "start", str(csv_file()))
        eventually(lambda: not environment.cloud.faults.unused(), what="the trigger being under way")
        with blocked(environment, f"SELECT 1 FROM pipeline_runs WHERE run_id = '{newest(treadle).run_id}' FOR UPDATE") as somebody_waits:
            eventually(somebody_waits, what="the starter waiting to record its job")
            kill(starter)
        run = drive(newest(treadle))
        assert run.status is RunStatus.SUCCEEDED, run.error_message
        assert all_jobs(treadle) - before == {run.fabric_job_id}

    def test_a_live_trigger_is_not_taken_for_dead_however_long_it_takes(self, treadle, drive, environment, process, csv_file):
        environment.cloud.faults.post([slow("fabric.RunOnDemandItemJob", 4)])
        starter = process("run", "start", str(csv_file()))
        eventually(lambda: is_active(treadle), what="the run row")
        run = drive(newest(treadle))  # several looks, the grace period of 1 s long over
        assert run.status is RunStatus.SUCCEEDED, run.error_message
        assert starter.wait(20) == 0


class TestWorker:
    def test_killed_in_the_middle_of_a_poll_another_one_goes_on(self, treadle, drive, environment, process, csv_file):
        environment.cloud.faults.post([slow("fabric.GetItemJobInstance")])
        run = start(treadle, csv_file())
        worker = process("worker")
        eventually(lambda: not environment.cloud.faults.unused(), what="the slow poll")
        kill(worker)
        assert drive(run).status is RunStatus.SUCCEEDED

    def test_killed_in_the_middle_of_finishing_nothing_is_half_done_or_doubled(self, treadle, drive, environment, process, csv_file):
        run = start(treadle, csv_file())
        with blocked(environment, "SELECT 1 FROM run_lock FOR UPDATE") as somebody_waits:
            worker = process("worker")
            eventually(somebody_waits, what="the worker waiting to release the lock")
            kill(worker)
            assert runs.get_run(treadle.database, run.run_id).status is not RunStatus.SUCCEEDED
        ended = drive(run)
        assert ended.status is RunStatus.SUCCEEDED
        assert len(artifacts.list_artifacts(treadle.database, run.run_id)) == 5
        told = [event.message or "" for event in events.list_events(treadle.database, run.run_id)]
        assert len([text for text in told if text.startswith("The run succeeded")]) == 1

    def test_two_workers_drive_a_run_to_one_end(self, treadle, process, csv_file):
        run = start(treadle, csv_file())
        workers = [process("worker", "--until-idle") for _ in range(2)]
        assert [worker.wait(60) for worker in workers] == [0, 0]
        assert runs.get_run(treadle.database, run.run_id).status is RunStatus.SUCCEEDED
        assert len(artifacts.list_artifacts(treadle.database, run.run_id)) == 5


class TestNotebook:
    def test_killed_at_its_start_the_run_fails_and_says_so(self, treadle, drive, environment, csv_file):
        before = lake_snapshot(environment)
        run = start(treadle, csv_file())
        eventually(notebooks, what="the notebook")
        kill_notebooks()
        ended = drive(run)
        assert ended.status is RunStatus.FAILED
        assert ended.error_message
        assert lake_snapshot(environment) == before

    def test_killed_while_it_waits_to_publish_current_stays_one_runs(self, treadle, drive, environment, csv_file):
        first = drive(start(treadle, csv_file(rows=3)))
        before = lake_snapshot(environment)
        with publishing_held(environment):
            run = start(treadle, csv_file(rows=9))
            folder = lake_folder(environment) / f"Files/results/runs/{run.run_id}"
            eventually((folder / "run_metadata.json").exists, what="the sealed run folder")
            kill_notebooks()
        assert drive(run).status is RunStatus.FAILED
        assert lake_snapshot(environment) == before
        assert json.loads(before["manifest.json"])["run_id"] == str(first.run_id)


class TestDatabase:
    def test_stopped_between_lock_and_trigger_fabric_is_not_asked(self, treadle, drive, environment, process, csv_file):
        """The starter's sign of life went with its session: the worker may have ended the run, and another one may have the lock."""
        before = all_jobs(treadle)
        environment.cloud.faults.post([slow(RENAME, 3)])
        starter = process("run", "start", str(csv_file()))
        eventually(lambda: is_active(treadle) and not environment.cloud.faults.unused(), what="the renaming under the run's lock")
        environment.postgres.stop_immediately()
        environment.postgres.start()
        assert starter.wait(90) == 6, starter.communicate()
        assert drive(newest(treadle)).status is RunStatus.FAILED
        assert all_jobs(treadle) == before

    def test_stopped_while_the_trigger_is_under_way_the_job_is_adopted_afterwards(self, treadle, drive, environment, process, csv_file):
        before = all_jobs(treadle)
        environment.cloud.faults.post([slow("fabric.RunOnDemandItemJob")])
        starter = process("run", "start", str(csv_file()))
        eventually(lambda: all_jobs(treadle) - before, what="the job")
        environment.postgres.stop_immediately()
        code = starter.wait(90)
        environment.postgres.start()
        assert code == 6, starter.communicate()
        run = drive(newest(treadle))
        assert run.status is RunStatus.SUCCEEDED, run.error_message
        assert all_jobs(treadle) - before == {run.fabric_job_id}

    def test_stopped_while_the_run_is_followed_the_worker_waits_and_goes_on(self, treadle, environment, process, csv_file):
        environment.cloud.faults.post([slow("fabric.GetItemJobInstance", 1)])
        run = start(treadle, csv_file())
        worker = process("worker")
        eventually(lambda: not environment.cloud.faults.unused(), what="the first poll")
        environment.postgres.stop_immediately()
        environment.postgres.start()
        eventually(lambda: runs.get_run(treadle.database, run.run_id).status.ended, seconds=60, what="the end of the run")
        assert worker.poll() is None, "the worker must outlive the database"
        assert runs.get_run(treadle.database, run.run_id).status is RunStatus.SUCCEEDED

    def test_stopped_in_the_middle_of_finishing_the_end_is_repeated_whole(self, treadle, drive, environment, process, csv_file):
        run = start(treadle, csv_file())
        with contextlib.suppress(psycopg.OperationalError), blocked(environment, "SELECT 1 FROM run_lock FOR UPDATE") as somebody_waits:
            worker = process("worker")
            eventually(somebody_waits, what="the worker waiting to release the lock")
            environment.postgres.stop_immediately()
        environment.postgres.start()
        eventually(lambda: runs.get_run(treadle.database, run.run_id).status.ended, seconds=60, what="the end of the run")
        kill(worker)
        assert drive(run).status is RunStatus.SUCCEEDED
        assert len(artifacts.list_artifacts(treadle.database, run.run_id)) == 5


def notebooks() -> list[psutil.Process]:
    """The notebook processes that the sandbox in this process has started."""
    found: list[psutil.Process] = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "TREADLE_LAKEHOUSE_ROOT" in child.environ():
                found.append(child)
    return found


def kill_notebooks() -> None:
    for child in notebooks():
        with contextlib.suppress(psutil.Error):
            child.kill()


@contextlib.contextmanager
def publishing_held(environment: LocalEnvironment) -> Iterator[None]:
    """Hold the publishers' lock, so that a notebook stops just before it publishes."""
    current = lake_folder(environment) / CURRENT
    descriptor = os.open(current, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
