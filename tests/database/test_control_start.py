from dataclasses import replace
from uuid import uuid4

import psycopg
import pytest
from control_trials import at_once, new_run, start, succeed

from treadle.control import events, lock, restores, runs
from treadle.control.lock_row import take_lock
from treadle.control.runs import Run
from treadle.control.states import RunStatus
from treadle.errors import Conflict, InvalidInput, LockHeld, NotFound, Unavailable


def test_starting_records_the_run_takes_the_lock_and_writes_the_event_together(database):
    run = start(database)
    held = lock.show_lock(database)
    assert run.status is RunStatus.SUBMITTED
    assert (run.fabric_job_id, run.started_at, run.finished_at) == (None, None, None)
    assert (held.run_id, held.locked_by, held.run) == (run.run_id, run.triggered_by, run)
    assert [event.event_type for event in events.list_events(database, run.run_id)] == ["STATUS_CHANGE"]


def test_times_are_utc_by_the_databases_clock(database, as_owner):
    before = database.now()
    run = start(database)
    assert before <= run.created_at <= database.now()
    [(stored,)] = as_owner("SELECT created_at FROM pipeline_runs")
    assert stored.tzinfo is None
    assert stored == run.created_at.replace(tzinfo=None)
    assert run.status_last_updated_at == run.created_at


def test_a_second_start_learns_who_holds_the_lock_and_leaves_nothing_behind(database, started, as_owner):
    with pytest.raises(LockHeld) as caught:
        start(database, who="bob@example.com")
    assert caught.value.details == {
        "run_id": str(started.run_id),
        "locked_by": "ana@example.com",
        "locked_at": lock.show_lock(database).locked_at.isoformat(),
        "input_file": "orders.xlsx",
        "status": "SUBMITTED",
    }
    assert "ana@example.com" in caught.value.message
    assert as_owner("SELECT count(*) FROM pipeline_runs") == [(1,)]


def test_of_32_starters_at_once_exactly_one_wins_and_the_others_learn_who(database, as_owner):
    results = at_once(32, lambda number: start(database, who=f"user{number}"))
    winners = [result for result in results if isinstance(result, Run)]
    losers = [result for result in results if isinstance(result, LockHeld)]
    assert (len(winners), len(losers)) == (1, 31)
    assert {loser.details["run_id"] for loser in losers} == {str(winners[0].run_id)}
    assert {loser.details["locked_by"] for loser in losers} == {winners[0].triggered_by}
    assert as_owner("SELECT count(*) FROM pipeline_runs") == [(1,)]
    assert as_owner("SELECT count(*) FROM run_events") == [(1,)]


def test_a_lock_without_its_row_is_a_clear_error_that_tells_what_to_insert(database, as_owner):
    as_owner("DELETE FROM run_lock")
    with pytest.raises(Conflict) as caught:
        start(database)
    assert "INSERT INTO run_lock" in caught.value.hint
    assert runs.active_runs(database) == []
    with pytest.raises(Conflict):
        lock.show_lock(database)
    assert lock.sweep_lock(database) is None


def test_an_id_is_used_for_one_run_only(database, started):
    succeed(database, started)
    with pytest.raises(Conflict, match="exists already"):
        start(database, run_id=started.run_id)
    assert lock.show_lock(database).run_id is None


@pytest.mark.parametrize("field", ["triggered_by", "input_file", "workspace_id", "pipeline_item_id"])
@pytest.mark.parametrize("value", ["", "   ", "a\0b", "a\nb", "a\ud800b", "x" * 1001])
def test_a_name_that_cannot_be_stored_is_refused_and_nothing_starts(database, field, value):
    with pytest.raises(InvalidInput):
        runs.start_run(database, replace(new_run(), **{field: value}), "started")
    assert runs.active_runs(database) == []
    assert lock.show_lock(database).run_id is None


def test_names_are_kept_to_the_letter(database):
    name = 'Bestellungen \'24 "%s" {x} %(y)s \\ 💶.xlsx'
    assert start(database, input_file=name).input_file == name


def test_a_restore_is_a_run_of_its_own_with_a_line_in_the_history(database, started):
    source = succeed(database, started)
    target = runs.start_restore(database, new_run(who="bob"), source.run_id, "bob")
    assert target.input_file == f"__restore__{source.run_id}"
    assert target.is_restore
    assert lock.show_lock(database).run_id == target.run_id
    [line] = restores.list_restores(database)
    assert (line.source_run_id, line.target_run_id, line.restored_by) == (source.run_id, target.run_id, "bob")
    assert (line.target_status, line.source_input_file) == ("SUBMITTED", "orders.xlsx")
    succeed(database, target)
    assert restores.list_restores(database)[0].target_status == "SUCCEEDED"


def test_the_restore_history_is_paged_newest_first(database, started):
    source = succeed(database, started)
    targets = [succeed(database, runs.start_restore(database, new_run(), source.run_id, f"user{n}")).run_id for n in range(3)]
    first = restores.list_restores(database, limit=2)
    second = restores.list_restores(database, limit=2, after=first[-1].cursor)
    assert [line.target_run_id for line in [*first, *second]] == targets[::-1]


def test_only_a_run_that_exists_succeeded_and_made_files_can_be_restored(database, started, as_owner):
    with pytest.raises(NotFound):
        runs.start_restore(database, new_run(), uuid4(), "bob")
    with pytest.raises(Conflict, match="only a run that succeeded"):
        runs.start_restore(database, new_run(), started.run_id, "bob")
    source = succeed(database, started)
    target = succeed(database, runs.start_restore(database, new_run(), source.run_id, "bob"))
    with pytest.raises(Conflict, match="itself a restore") as caught:
        runs.start_restore(database, new_run(), target.run_id, "bob")
    assert str(source.run_id) in caught.value.hint
    assert as_owner("SELECT count(*) FROM run_restores") == [(1,)]


def test_a_restore_waits_for_the_same_lock_and_is_not_in_the_history_when_it_lost(database, started):
    source = succeed(database, started)
    start(database)
    with pytest.raises(LockHeld):
        runs.start_restore(database, new_run(), source.run_id, "bob")
    assert restores.list_restores(database) == []


def test_a_restore_cannot_be_started_by_naming_it_as_an_input_file(database, started):
    succeed(database, started)
    with pytest.raises(InvalidInput, match="restore"):
        start(database, input_file=f"__restore__{started.run_id}")


def test_a_starter_gives_up_when_another_one_stopped_half_way_with_the_lock_row(database, owner_conninfo):
    """A process that hangs inside its transaction blocks others for the lock timeout at most; here it is made short."""

    def impatient():
        with database.transaction() as connection:
            connection.execute("SET LOCAL lock_timeout = '200ms'")
            take_lock(connection, uuid4(), "ana")

    with psycopg.connect(owner_conninfo) as hanging:
        hanging.execute("SELECT * FROM run_lock FOR UPDATE")
        with pytest.raises(Unavailable, match="too busy"):
            impatient()
        hanging.rollback()
    assert start(database).status is RunStatus.SUBMITTED
