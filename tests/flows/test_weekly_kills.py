"""kill -9 at every boundary of every stage and inside of them, and of the database: the same command again ends with the same bytes, each
external id once in Salesforce, and the checkpoint behind no week that is not processed."""

import contextlib
import dataclasses
import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest

from tests.flows.conftest import eventually, lake_folder
from tests.flows.weekly_place import begin_empty, open_weekly, weekly
from tests.nursery import WIDE, Command, Nursery
from treadle.cli.local import LocalEnvironment
from treadle.errors import Unavailable
from treadle.flows.weekly.extract import read_extract
from treadle.flows.weekly.flow import WeekOptions, run_week
from treadle.flows.weekly.record import RunEnd, RunStatus, Stage, StageStatus
from treadle.flows.weekly.recorder import catch_up
from treadle.flows.weekly.services import WeeklyServices
from treadle.flows.weekly.state import Ended, PostgresState
from treadle.flows.weekly.status import run_details
from treadle.flows.weekly.timeline import Told
from treadle.flows.weekly.transform import transform_week
from treadle.flows.weekly.week import week_of
from treadle.sandbox.faults import FaultRule
from treadle.wiring import wired

__all__ = ["open_weekly", "weekly"]  # fixtures
pytestmark = pytest.mark.kills

WEEK = week_of(date(2019, 12, 2))
ADA = WeekOptions("ada")
HELD = 4_211_977  # the advisory lock at which a chosen write waits

HOLD = """
CREATE OR REPLACE FUNCTION treadle.hold_for_test() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.message LIKE '{pattern}' THEN PERFORM pg_advisory_xact_lock_shared({key}); END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER hold_for_test BEFORE INSERT ON treadle.weekly_events FOR EACH ROW EXECUTE FUNCTION treadle.hold_for_test();
"""


@pytest.fixture
def services(environment: LocalEnvironment) -> Iterator[WeeklyServices]:
    """The same that a command of this environment has."""
    shutil.rmtree(environment.state / "weekly", ignore_errors=True)
    begin_empty(environment)
    with wired(environment.settings.model_copy(update={"api_rate_limit_delay": 0.0})) as wiring:
        yield wiring.weekly()


@pytest.fixture
def process(environment: LocalEnvironment, nursery: Nursery, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Start `treadle weekly …` as a process of its own; what still runs at the end of the test is ended."""
    started: list[Command] = []
    environ = {**os.environ, **WIDE, "API_RATE_LIMIT_DELAY": "0", "TREADLE_USER": "ada"}

    def start(*arguments: str) -> Command:
        week = ("--week-start", str(WEEK.start), "--week-end", str(WEEK.end))
        started.append(nursery.start(["weekly", *arguments, *week, "--state", str(environment.state)], tmp_path, environ))
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.communicate()


@contextlib.contextmanager
def held_at(environment: LocalEnvironment, message: str) -> Iterator[Callable[[], bool]]:
    """Let the transaction that writes this event wait; yields whether one does."""
    with psycopg.connect(environment.postgres.admin_dsn, autocommit=True) as holder:
        holder.execute(HOLD.format(pattern=f"{message}%", key=HELD))
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
            holder.execute("DROP TRIGGER IF EXISTS hold_for_test ON treadle.weekly_events")


def kill(child: Command) -> None:
    child.send_signal(signal.SIGKILL)
    child.wait()


def slow(operation: str, after: int = 0) -> FaultRule:
    return FaultRule(operation, "slow", after=after, args={"seconds": 4})


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assert_whole(services: WeeklyServices, environment: LocalEnvironment, tmp_path: Path) -> None:
    """Everything is as if nothing had happened: one success, the bytes that its pages make, each customer once in Salesforce."""
    done = [run for run in services.state.runs_of_week(WEEK) if run.status.succeeded]
    assert [run.status for run in done] == [RunStatus.SUCCESS]
    assert services.state.checkpoint().next == WEEK.next
    events = services.work_folder(WEEK) / "events.parquet"
    anew = transform_week(read_extract(services.work_folder(WEEK)), tmp_path / "anew")
    stored = lake_folder(environment) / f"Files/reverse_etl/raw_events/{WEEK.folder}/events.parquet"
    assert anew.events_sha256 == sha256(events) == sha256(services.local_events(WEEK)) == sha256(stored)
    writes = environment.cloud.salesforce.writes()
    assert writes
    assert {(write["created"], write["updated"]) for write in writes.values()} == {(1, 0)}
    again = run_week(services, WEEK, ADA)
    assert again.skipped
    assert not list((lake_folder(environment) / "Files/.treadle/uploads").glob("events*"))


BOUNDARIES = [
    "ada started", "Extract begins", "Extract:", "Transform begins", "Transform:", "Load begins", "Load:", "Quality gate begins",
    "Quality gate:", "Sync begins", "Sync:", "The run ended", "The checkpoint is past",
]  # fmt: skip


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_killed_at_a_boundary_the_same_command_goes_on(services, environment, process, tmp_path, boundary):
    with held_at(environment, boundary) as somebody_waits:
        child = process("run")
        eventually(lambda: somebody_waits() or child.poll() is not None, seconds=60, what=f"the write of {boundary!r}")
        assert child.poll() is None, child.communicate()
        kill(child)
    assert services.state.checkpoint() is None
    eventually(lambda: services.state.lock_week(WEEK) and True, what="the lock of the dead process being free")
    outcome = run_week(services, WEEK, ADA)
    runs = services.state.runs_of_week(WEEK)
    assert [run.run_id for run in runs] == [outcome.run_id], "the run that was left was not gone on with"
    assert_whole(services, environment, tmp_path)


INSIDE = [
    slow("events.ListEvents", after=3),
    slow("onelake.Path.Append", after=1),
    slow("onelake.Path.Rename"),
    slow("onelake.Path.Rename", after=1),
]


@pytest.mark.parametrize("fault", INSIDE, ids=lambda fault: f"{fault.operation}-{fault.after}")
def test_killed_inside_a_stage_the_same_command_goes_on(services, environment, process, tmp_path, fault):
    environment.cloud.faults.post([fault])
    child = process("run")
    eventually(lambda: not environment.cloud.faults.unused() or child.poll() is not None, seconds=60, what="the slow answer")
    assert child.poll() is None, child.communicate()
    kill(child)
    left = services.state.runs_of_week(WEEK)[0]
    assert left.status is RunStatus.STARTED
    outcome = run_week(services, WEEK, ADA)
    assert outcome.run_id == left.run_id
    stages = run_details(services, left.run_id).stages
    assert [(stage.status, stage.error_message) for stage in stages if stage.status is StageStatus.FAILED] == [
        (StageStatus.FAILED, "The process that worked on it is gone; it goes on from here.")
    ]
    assert_whole(services, environment, tmp_path)


def test_two_processes_at_once_one_is_refused(services, environment, process):
    environment.cloud.faults.post([slow("events.ListEvents", after=1)])
    first = process("run")
    eventually(lambda: not environment.cloud.faults.unused(), seconds=60, what="the first run")
    second = process("run")
    assert second.wait(60) == 1
    assert b"Another run of the week" in second.communicate()[1]
    assert first.wait(90) == 0, first.communicate()
    assert len(services.state.runs_of_week(WEEK)) == 1


def test_interrupted_by_sigterm_the_run_says_so_and_goes_on_later(services, environment, process, tmp_path):
    environment.cloud.faults.post([slow("events.ListEvents", after=2)])
    child = process("run")
    eventually(lambda: not environment.cloud.faults.unused(), seconds=60, what="the slow page")
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 130, child.communicate()
    failed = services.state.runs_of_week(WEEK)[0]
    assert (failed.status, failed.error_type) == (RunStatus.FAILED, "Interrupted")
    run_week(services, WEEK, ADA)
    assert_whole(services, environment, tmp_path)


def test_a_database_that_restarts_in_the_middle_delays_a_run_and_no_more(services, environment, process, tmp_path):
    environment.cloud.faults.post([slow("events.ListEvents", after=1)])
    child = process("run")
    eventually(lambda: not environment.cloud.faults.unused(), seconds=60, what="the slow page")
    environment.postgres.stop_immediately()
    environment.postgres.start()
    assert child.wait(120) == 0, child.communicate()
    assert_whole(services, environment, tmp_path)


class StopsBeforeTheEnd(PostgresState):
    """The server is killed between the last stage and its record."""

    environment: LocalEnvironment

    def end_run(self, end: RunEnd, *told: Told) -> Ended:
        if end.status.succeeded:
            self.environment.postgres.stop_immediately()
        return super().end_run(end, *told)


def test_an_end_that_the_database_could_not_take_is_recorded_at_the_next_start(open_weekly, environment):
    """open_weekly: with a pool that waits a second, not half a minute."""
    impatient = open_weekly(wait_seconds=1)
    stopping = StopsBeforeTheEnd(impatient.own)
    stopping.environment = environment
    try:
        outcome = run_week(with_state(impatient, stopping), WEEK, ADA)
    finally:
        environment.postgres.start()
    assert (outcome.queued, outcome.status) == (True, RunStatus.SUCCESS)
    services = open_weekly()
    assert services.mirror.waiting() == 1
    assert services.state.get_run(outcome.run_id).status is RunStatus.STARTED
    assert services.state.checkpoint() is None
    assert catch_up(services).next == WEEK.next
    run = services.state.get_run(outcome.run_id)
    assert (run.status, run.complete, run.rows_output) == (RunStatus.SUCCESS, True, outcome.rows_valid)
    assert services.mirror.waiting() == 0
    assert services.mirror.read()["next_week_start"] == str(WEEK.next.start)
    assert services.mirror.read()["pending"] is False
    details = run_details(services, outcome.run_id)
    assert "Recorded late" in " ".join(event.message for event in details.events)
    assert [stage.status for stage in details.stages] == [StageStatus.SUCCESS] * len(Stage)


def with_state(services: WeeklyServices, state: PostgresState) -> WeeklyServices:
    return dataclasses.replace(services, state=state)


def test_a_full_disk_fails_the_stage_and_with_room_it_goes_on(services, environment, monkeypatch, tmp_path):
    real = os.fsync

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Unavailable):
        run_week(services, WEEK, ADA)
    monkeypatch.setattr("os.fsync", real)
    assert services.state.runs_of_week(WEEK)[0].status is RunStatus.FAILED
    run_week(services, WEEK, ADA)
    assert_whole(services, environment, tmp_path)
