"""Starters, pollers with old views, finishers and operators in any order, on a real PostgreSQL: what must hold after every step."""

from contextlib import suppress
from uuid import UUID, uuid4

import psycopg
import pytest
from control_trials import new_run
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule, run_state_machine_as_test

from treadle.control import events, lock, runs
from treadle.control.artifacts import NewArtifact
from treadle.control.database import Database
from treadle.control.runs import Run
from treadle.control.states import ACTIVE, JobStatus, RunStatus, next_status
from treadle.errors import Conflict, LockHeld

SLOW = settings(
    max_examples=40, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)


def who_holds(database: Database) -> str:
    return f"started by {lock.show_lock(database).locked_by}"


class ControlPlane(RuleBasedStateMachine):
    """A view is a run as some poller read it, possibly long ago."""

    views = Bundle("views")
    database: Database
    owner_conninfo: str

    def __init__(self) -> None:
        super().__init__()
        with psycopg.connect(self.owner_conninfo) as connection:
            connection.execute("TRUNCATE pipeline_runs, run_events, run_artifacts, run_restores")
            connection.execute("UPDATE run_lock SET run_id = NULL, locked_by = NULL, locked_at = NULL")
        self.path: dict[UUID, list[RunStatus]] = {}

    @rule(target=views, who=st.sampled_from(["ana", "bob"]))
    def start(self, who):
        holder = lock.show_lock(self.database).run_id
        if holder is not None:
            with pytest.raises(LockHeld, match=who_holds(self.database)):
                runs.start_run(self.database, new_run(who=who), "started")
            return multiple()
        run = runs.start_run(self.database, new_run(who=who), "started")
        self.path[run.run_id] = [run.status]
        return run

    @rule(target=views, view=views)
    def look(self, view):
        return runs.get_run(self.database, view.run_id)

    @rule(view=views, word=st.sampled_from(list(JobStatus)))
    def poll(self, view: Run, word):
        wanted = next_status(view.status, word)
        if wanted is view.status:
            return
        now = runs.get_run(self.database, view.run_id).status
        if wanted.ended:
            files = [NewArtifact("json", f"Files/results/runs/{view.run_id}/kpis.json", 1)]
            changed = runs.finish_run(self.database, view.run_id, wanted, kpis={"orders": 1}, artifacts=files)
            assert changed == (not now.ended)
        else:
            changed = runs.advance_run(self.database, view.run_id, view.status, wanted, f"{wanted}") is not None
            assert changed == (now is view.status)
        if changed:
            self.path[view.run_id].append(wanted)

    @rule(view=views, job_id=st.sampled_from(["job-1", "job-2", "JOB-1"]))
    def find_a_job(self, view: Run, job_id):
        with suppress(Conflict):
            assert runs.adopt_job(self.database, view.run_id, job_id, "found").fabric_job_id.lower() == job_id.lower()

    @rule(view=views)
    def cancel(self, view: Run):
        ended = runs.get_run(self.database, view.run_id).status.ended
        try:
            runs.request_cancel(self.database, view.run_id, "ana")
            assert not ended
        except Conflict:
            assert ended

    @rule()
    def release(self):
        held = lock.show_lock(self.database)
        if held.run_id is None:
            with pytest.raises(Conflict):
                lock.force_release(self.database, "op", "why")
            return
        lock.force_release(self.database, "op", "why")
        self.path[held.run_id].append(RunStatus.FAILED)

    @rule(view=consumes(views))
    def restore(self, view: Run):
        possible = runs.get_run(self.database, view.run_id).status is RunStatus.SUCCEEDED and lock.show_lock(self.database).run_id is None
        new = new_run(run_id=uuid4())
        try:
            runs.start_restore(self.database, new, view.run_id, "bob")
        except Conflict:
            assert not possible
        else:
            assert possible
            self.path[new.run_id] = [RunStatus.SUBMITTED]
            self.path[new.run_id].append(RunStatus.FAILED)
            runs.finish_run(self.database, new.run_id, RunStatus.FAILED, error_message="not now")

    @rule()
    def sweep(self):
        assert lock.sweep_lock(self.database) is None

    @invariant()
    def the_lock_is_held_by_the_one_active_run_or_nobody(self):
        active = [run.run_id for run in runs.active_runs(self.database)]
        held = lock.show_lock(self.database)
        assert active == ([held.run_id] if held.run_id else [])
        assert (held.locked_by is None) == (held.run_id is None)

    @invariant()
    def every_run_is_where_its_accepted_steps_led_and_went_forward_only(self):
        stored = {run.run_id: run for run in runs.list_runs(self.database, limit=500).runs}
        assert stored.keys() == self.path.keys()
        for run_id, path in self.path.items():
            assert stored[run_id].status is path[-1]
            assert [status.rank for status in path] == sorted({status.rank for status in path})
            assert (stored[run_id].finished_at is None) == (path[-1] in ACTIVE)

    @invariant()
    def every_transition_has_its_event(self):
        for run_id, path in self.path.items():
            kinds = [event.event_type for event in events.list_events(self.database, run_id)]
            assert kinds.count("STATUS_CHANGE") == len(path)

    @invariant()
    def no_two_runs_share_a_job(self):
        jobs = [run.fabric_job_id.lower() for run in runs.list_runs(self.database, limit=500).runs if run.fabric_job_id]
        assert len(jobs) == len(set(jobs))


def test_the_control_plane_keeps_its_promises_in_any_order_of_events(database, owner_conninfo):
    machine = type("Machine", (ControlPlane,), {"database": database, "owner_conninfo": owner_conninfo})
    run_state_machine_as_test(machine, settings=SLOW)
