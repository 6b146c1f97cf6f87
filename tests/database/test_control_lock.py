from uuid import uuid4

import psycopg
import pytest
from control_trials import at_once, start, succeed, wait_until

from treadle.control import events, lock, runs
from treadle.control.lock_row import free_lock
from treadle.control.states import RunStatus
from treadle.errors import Conflict, InvalidInput


def test_a_free_lock_shows_nobody(database):
    assert lock.show_lock(database) == lock.LockState(None, None, None, None)


def test_releasing_by_a_run_that_does_not_hold_it_is_refused(database, started):
    with database.transaction() as connection:
        assert not free_lock(connection, uuid4())
    assert lock.show_lock(database).run_id == started.run_id


def test_a_forced_release_fails_the_run_frees_the_lock_and_says_who_and_why(database, started):
    released = lock.force_release(database, "op@example.com", "  the notebook hangs\nsince noon ")
    run = runs.get_run(database, started.run_id)
    assert released.run_id == started.run_id
    assert lock.show_lock(database).run_id is None
    assert run.status is RunStatus.FAILED
    assert run.error_message == "The lock was released by op@example.com: the notebook hangs\nsince noon"
    trail = events.list_events(database, run.run_id)
    assert [event.event_type for event in trail] == ["STATUS_CHANGE", "STATUS_CHANGE", "WARNING"]
    assert "op@example.com" in trail[-1].message


@pytest.mark.parametrize(("who", "reason"), [("", "why"), ("op", ""), ("op", " \n"), ("op", "x" * 501), ("o\0p", "why")])
def test_a_forced_release_needs_a_name_and_a_reason_of_sensible_length(database, started, who, reason):
    with pytest.raises(InvalidInput):
        lock.force_release(database, who, reason)
    assert lock.show_lock(database).run_id == started.run_id


def test_a_free_lock_cannot_be_released(database):
    with pytest.raises(Conflict, match="is free"):
        lock.force_release(database, "op", "why")


def test_a_lock_of_an_unknown_run_can_be_released(database, as_owner):
    ghost = uuid4()
    as_owner("UPDATE run_lock SET run_id = %s, locked_by = 'ghost'", ghost)
    assert lock.show_lock(database).run is None
    assert lock.force_release(database, "op", "why").run_id == ghost
    assert start(database).status is RunStatus.SUBMITTED


def test_a_lock_that_another_run_holds_by_now_is_not_released(database, started):
    succeed(database, started)
    second = start(database)
    with pytest.raises(Conflict, match="not by the one"):
        lock.force_release(database, "op", "why", run_id=started.run_id)
    assert lock.show_lock(database).run_id == second.run_id


def test_the_end_of_a_run_is_not_rewritten_by_a_forced_release(database, started, as_owner):
    runs.finish_run(database, started.run_id, RunStatus.SUCCEEDED)
    as_owner("UPDATE run_lock SET run_id = %s", started.run_id)
    lock.force_release(database, "op", "why")
    assert runs.get_run(database, started.run_id).status is RunStatus.SUCCEEDED


def test_a_forced_release_and_the_end_of_the_run_at_once_leave_one_end_and_a_free_lock(database):
    for _ in range(5):
        run = start(database)
        at_once(
            2,
            lambda n, run=run: (
                runs.finish_run(database, run.run_id, RunStatus.SUCCEEDED) if n else lock.force_release(database, "op", "why")
            ),
        )
        trail = events.list_events(database, run.run_id)
        assert [event.event_type for event in trail].count("STATUS_CHANGE") == 2
        assert lock.show_lock(database).run_id is None


def test_the_sweep_frees_the_lock_of_a_run_that_ended_with_an_event(database, started, as_owner):
    runs.finish_run(database, started.run_id, RunStatus.FAILED, error_message="x")
    as_owner("UPDATE run_lock SET run_id = %s", started.run_id)
    assert lock.sweep_lock(database) == started.run_id
    assert lock.show_lock(database).run_id is None
    assert events.list_events(database, started.run_id)[-1].event_type == "WARNING"


def test_the_sweep_frees_the_lock_of_an_unknown_run(database, as_owner):
    ghost = uuid4()
    as_owner("UPDATE run_lock SET run_id = %s", ghost)
    assert lock.sweep_lock(database) == ghost
    assert lock.sweep_lock(database) is None


def test_the_sweep_leaves_a_free_lock_and_one_of_an_active_run_alone(database):
    assert lock.sweep_lock(database) is None
    run = start(database)
    assert lock.sweep_lock(database) is None
    assert lock.show_lock(database).run_id == run.run_id


def test_a_sweep_that_waited_while_the_lock_changed_hands_does_not_take_it_from_the_new_holder(database, owner_conninfo, started, as_owner):
    """The sweep judged the old holder; when it gets at the row, a run that it has never heard of holds the lock."""
    runs.finish_run(database, started.run_id, RunStatus.FAILED, error_message="x")
    as_owner("UPDATE run_lock SET run_id = %s", started.run_id)
    successor = uuid4()
    with psycopg.connect(owner_conninfo) as hand_over:
        hand_over.execute("UPDATE run_lock SET run_id = NULL")
        hand_over.execute(
            "INSERT INTO pipeline_runs (run_id, created_at, triggered_by, input_file, workspace_id, pipeline_item_id, status)"
            " VALUES (%s, now(), 'x', 'x.csv', 'w', 'p', 'SUBMITTED')",
            (successor,),
        )
        hand_over.execute("UPDATE run_lock SET run_id = %s", (successor,))

        def sweep_or_commit(number):
            if number == 0:
                return lock.sweep_lock(database)
            wait_until(lambda: as_owner("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") != [(0,)])
            return hand_over.commit()

        assert at_once(2, sweep_or_commit) == [None, None]
    assert lock.show_lock(database).run_id == successor
