"""The state of the weekly flow on PostgreSQL: runs, stages, one success per week, and a checkpoint that leaves nothing behind it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest

from treadle.errors import Conflict, NotFound
from treadle.flows.weekly import timeline
from treadle.flows.weekly.record import Checkpoint, RunEnd, RunStatus, Stage, StageStatus, advanced, is_stale, kept_tag, weeks_between
from treadle.flows.weekly.state import NewRun, PostgresState
from treadle.flows.weekly.timeline import Told
from treadle.flows.weekly.week import Week, week_of

WEEK = week_of(date(2019, 12, 2))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def state(own) -> PostgresState:
    return PostgresState(own)


def begin(state, week=WEEK, tag=None):
    return state.begin_run(NewRun(uuid4(), week, "ada", tag, Decimal(5)))


def succeed(state, run, *, advance=True, synced=True, status=RunStatus.SUCCESS):
    state.begin_stage(run.run_id, Stage.SYNC if synced else Stage.QUALITY_GATE)
    return state.end_run(
        RunEnd(run.run_id, run.week, status, 10, 9, 1, Decimal("10.5"), "here", "there", stage_rows=9, advance=advance), Told("done")
    )


def test_a_run_is_recorded_from_its_start_to_its_end_with_stages_and_timeline(state, own):
    run = begin(state, tag="scheduled__1")
    assert (run.status, run.correlation_id, run.reject_threshold_pct) == (RunStatus.STARTED, "scheduled__1", Decimal(5))
    state.begin_stage(run.run_id, Stage.EXTRACT, Told("begun", stage=Stage.EXTRACT))
    state.end_stage(run.run_id, Stage.EXTRACT, StageStatus.SUCCESS, Told("fetched", stage=Stage.EXTRACT, data={"rows": 10}), row_count=10)
    ended = succeed(state, run)
    kept = state.get_run(run.run_id)
    assert kept == ended.run
    assert (kept.status, kept.rows_fetched, kept.rows_output, kept.rows_rejected, kept.reject_rate_pct, kept.output_path, kept.synced) == (
        RunStatus.SUCCESS, 10, 9, 1, Decimal("10.5"), "here", True,
    )  # fmt: skip
    assert [(stage.stage, stage.status, stage.row_count) for stage in state.list_stages(run.run_id)] == [
        (Stage.EXTRACT, StageStatus.SUCCESS, 10),
        (Stage.SYNC, StageStatus.SUCCESS, 9),
    ]
    told = timeline.list_events(own, run.run_id)
    assert [event.seq for event in told] == list(range(1, len(told) + 1))
    assert [event.message for event in told][1:4] == ["begun", "fetched", "done"]
    assert told[2].data == {"rows": 10}
    assert timeline.list_events(own, run.run_id, after_seq=told[-2].seq) == told[-1:]


def test_two_runs_of_one_week_are_refused_by_lock_and_by_state(state):
    mine = state.lock_week(WEEK)
    assert mine
    assert state.lock_week(WEEK) is None
    with state.lock_week(WEEK.next) as other:
        assert other.held
    begin(state)
    with pytest.raises(Conflict, match="Another run of the week"):
        begin(state)
    begin(state, WEEK.next)
    mine.release()


def test_of_runs_that_begin_at_the_same_moment_and_share_days_one_is_refused(state):
    spans = [Week(WEEK.start + timedelta(days=shift), WEEK.end + timedelta(days=shift)) for shift in range(6)]
    ready = threading.Barrier(len(spans))

    def start(span: Week) -> str:
        ready.wait()
        try:
            return str(begin(state, span).week)
        except Conflict as error:
            return error.message

    with ThreadPoolExecutor(len(spans)) as threads:
        came = list(threads.map(start, spans))
    assert sum(answer in {str(span) for span in spans} for answer in came) == 1
    assert sum("shares days" in answer for answer in came) == len(spans) - 1


def test_a_forced_success_takes_the_place_of_the_older_one_in_one_transaction(state, own):
    first, second = succeed(state, begin(state)).run, begin(state)
    ended = succeed(state, second, status=RunStatus.SUCCESS_WITH_REJECTS)
    assert ended.superseded == (first.run_id,)
    assert [run.status for run in state.runs_of_week(WEEK)] == [RunStatus.SUCCESS_WITH_REJECTS, RunStatus.SUPERSEDED]
    assert "takes the place" in timeline.list_events(own, first.run_id)[-1].message
    failed = begin(state)
    state.end_run(RunEnd(failed.run_id, WEEK, RunStatus.FAILED, error_type="Unavailable", error_message="The API is away."))
    assert state.get_run(second.run_id).status is RunStatus.SUCCESS_WITH_REJECTS


def test_the_database_itself_allows_one_success_of_a_week(state, as_owner):
    succeed(state, begin(state))
    run = begin(state)
    with pytest.raises(psycopg.errors.UniqueViolation):
        as_owner("UPDATE treadle.pipeline_run SET status = 'SUCCESS', pipeline_end_time = now() WHERE run_id = %s", run.run_id)


def test_recording_an_end_twice_changes_nothing_and_another_end_is_refused(state, own):
    run = begin(state)
    first = succeed(state, run)
    again = state.end_run(RunEnd(run.run_id, WEEK, RunStatus.SUCCESS, 99, advance=True), Told("twice"))
    assert (again.run, again.checkpoint, again.moved) == (first.run, first.checkpoint, False)
    assert "twice" not in [event.message for event in timeline.list_events(own, run.run_id)]
    with pytest.raises(Conflict, match="is SUCCESS already"):
        state.end_run(RunEnd(run.run_id, WEEK, RunStatus.FAILED, error_message="no"))
    for write in (lambda: state.begin_stage(run.run_id, Stage.LOAD), lambda: state.end_stage(run.run_id, Stage.LOAD, StageStatus.SUCCESS)):
        with pytest.raises(Conflict, match="has ended"):
            write()
    with pytest.raises(NotFound):
        state.end_run(RunEnd(uuid4(), WEEK, RunStatus.SUCCESS))
    with pytest.raises(NotFound):
        state.get_run(uuid4())


def test_a_failed_run_fails_its_open_stage_and_leaves_the_checkpoint(state):
    run = begin(state)
    state.begin_stage(run.run_id, Stage.LOAD)
    ended = state.end_run(RunEnd(run.run_id, WEEK, RunStatus.FAILED, error_type="Unavailable", error_message="No lake.", advance=True))
    assert (ended.checkpoint, ended.moved, state.checkpoint()) == (None, False, None)
    (stage,) = state.list_stages(run.run_id)
    assert (stage.status, stage.error_message) == (StageStatus.FAILED, "No lake.")


def test_what_a_killed_process_left_is_taken_over(state, own):
    run = begin(state)
    state.begin_stage(run.run_id, Stage.TRANSFORM)
    assert state.take_over(run.run_id, "It was killed.") == (Stage.TRANSFORM,)
    assert state.take_over(run.run_id, "It was killed.") == ()
    assert [(stage.status, stage.error_message) for stage in state.list_stages(run.run_id)] == [(StageStatus.FAILED, "It was killed.")]
    assert timeline.list_events(own, run.run_id)[-1].level == "WARNING"
    state.begin_stage(run.run_id, Stage.TRANSFORM)


def test_the_checkpoint_moves_week_by_week_and_never_past_one_that_is_not_processed(state):
    assert state.checkpoint() is None
    assert succeed(state, begin(state)).checkpoint.next == WEEK.next
    later = WEEK.next.next
    held = succeed(state, begin(state, later))
    assert (held.moved, held.checkpoint.next) == (False, WEEK.next)
    caught_up = succeed(state, begin(state, WEEK.next))
    assert (caught_up.checkpoint.next, caught_up.checkpoint.last) == (later.next, later)
    again = succeed(state, begin(state, WEEK))
    assert (again.moved, state.checkpoint()) == (False, caught_up.checkpoint)


def test_a_shorter_span_leaves_the_checkpoint_on_its_weekday(state):
    succeed(state, begin(state))
    part = Week(WEEK.next.start, WEEK.next.start + timedelta(days=1))
    held = succeed(state, begin(state, part))
    assert (held.moved, held.checkpoint.next) == (False, WEEK.next)


def test_runs_of_years_that_are_refused_today_can_still_be_listed(state, as_owner):
    run = begin(state)
    years = "UPDATE treadle.pipeline_run SET batch_week_start = '0001-01-01', batch_week_end = '9999-12-31' WHERE run_id = %s"
    as_owner(years, run.run_id)
    (found,) = state.list_runs()
    assert (str(found.week), found.complete) == ("0001-01-01…9999-12-31", False)
    assert state.runs_of_week(found.week) == [found]


def test_a_local_success_neither_moves_the_checkpoint_nor_counts_as_complete(state):
    succeed(state, begin(state))
    local = succeed(state, begin(state, WEEK.next.next), advance=False, synced=False)
    assert (local.moved, local.run.synced) == (False, False)
    assert succeed(state, begin(state, WEEK.next)).checkpoint.next == WEEK.next.next


def test_weeks_that_end_at_once_leave_the_checkpoint_behind_both(state):
    weeks = [WEEK, WEEK.next, WEEK.next.next, WEEK.next.next.next]
    succeed(state, begin(state, weeks[0]))
    runs = [begin(state, week) for week in weeks[1:]]
    threads = [threading.Thread(target=succeed, args=(state, run)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.checkpoint().next == weeks[-1].next


def test_runs_of_other_spans_that_share_a_day_are_found(state):
    whole = succeed(state, begin(state)).run
    day = timedelta(days=1)
    for span in (Week(WEEK.start, WEEK.start + 2 * day), Week(WEEK.end, WEEK.end + 6 * day), Week(WEEK.start - day, WEEK.end + day)):
        assert [run.run_id for run in state.overlapping_runs(span)] == [whole.run_id]
    for free in (WEEK, WEEK.next, Week(WEEK.start - 7 * day, WEEK.start - day)):
        assert state.overlapping_runs(free) == []
    inside = Week(WEEK.start, WEEK.start + 2 * day)
    with pytest.raises(Conflict, match="has brought its figures"):
        begin(state, inside)
    assert PostgresState(state._own, "another_pipeline").overlapping_runs(inside) == []


def test_a_run_of_another_span_is_in_the_way_while_it_goes_on_and_not_when_it_stayed_on_this_machine(state):
    inside = Week(WEEK.start, WEEK.start + timedelta(days=2))
    under_way = begin(state, inside)
    assert [(run.run_id, run.status) for run in state.overlapping_runs(WEEK)] == [(under_way.run_id, RunStatus.STARTED)]
    state.end_run(RunEnd(under_way.run_id, inside, RunStatus.FAILED, error_message="no"))
    succeed(state, begin(state, inside), advance=False, synced=False)
    assert state.overlapping_runs(WEEK) == []
    assert begin(state).status is RunStatus.STARTED


def test_a_run_of_which_nothing_is_heard_is_found(state, as_owner):
    run, fresh = begin(state), begin(state, WEEK.next)
    as_owner("UPDATE treadle.pipeline_run SET pipeline_start_time = pipeline_start_time - interval '2 days' WHERE run_id = %s", run.run_id)
    assert state.abandoned_runs(timedelta(hours=24)) == []
    as_owner("UPDATE treadle.weekly_events SET at = at - interval '2 days' WHERE run_id = %s", run.run_id)
    assert [found.run_id for found in state.abandoned_runs(timedelta(hours=24))] == [run.run_id]
    assert {found.run_id for found in state.list_runs()} == {run.run_id, fresh.run_id}


def test_the_checkpoint_moves_by_pure_rules():
    kept = Checkpoint(WEEK, None, NOW)
    assert advanced(None, WEEK, (), NOW) == Checkpoint(WEEK.next, WEEK, NOW)
    assert advanced(kept, WEEK.next, (), NOW) is None
    assert advanced(Checkpoint(WEEK.next, WEEK, NOW), WEEK, (), NOW) is None
    odd = Week(date(2019, 12, 2), date(2019, 12, 4))
    assert advanced(None, odd, (), NOW).next == week_of(date(2019, 12, 5))
    assert advanced(kept, odd, (), NOW) is None
    assert advanced(Checkpoint(odd, None, NOW), odd, (), NOW).last == odd
    assert (is_stale(kept, NOW + timedelta(days=14)), is_stale(kept, NOW + timedelta(days=14, seconds=1))) == (False, True)
    assert weeks_between(date(2019, 12, 2), date(2019, 12, 22)) == [WEEK, WEEK.next, WEEK.next.next]
    assert weeks_between(date(2019, 12, 2), date(2019, 12, 1)) == []


def test_a_tag_of_any_length_finds_its_run_and_no_other():
    long = "scheduled__2019-12-09T14:00:00.000000+00:00__of-a-deployment-with-a-long-name"
    assert len(kept_tag(long) or "") == 50
    assert kept_tag(long) == kept_tag(long) != kept_tag(long + "x")
    assert (kept_tag("short"), kept_tag(None), kept_tag("x" * 50)) == ("short", None, "x" * 50)
