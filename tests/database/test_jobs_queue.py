"""Asking for jobs, reading them, cancelling, asking again, and forgetting them."""

import json
import threading
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from control_trials import at_once
from job_trials import ask, assert_the_trail_has_no_gap, due_now, new, nothing, steps, told, work_off, worker

from treadle.control import outbox
from treadle.control.jobs import claims, queue
from treadle.control.jobs.job import NewJob
from treadle.control.jobs.kinds import Kind
from treadle.control.jobs.queue import (
    delete_ended,
    enqueue,
    enqueue_many,
    events_since,
    get_job,
    hold_key,
    list_job_events,
    list_jobs,
    list_steps,
    request_cancel,
    retry_job,
)
from treadle.control.jobs.states import JobState
from treadle.errors import Conflict, InvalidInput, NotFound, OperationFailed


def test_a_job_is_kept_as_it_was_asked_for(own):
    due = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
    wanted = NewJob("work", {"rows": [1, "é", None]}, "ana", "file:a", "a:1", uuid4(), due, 7, 60.0, "request-1")
    job = enqueue(own, wanted)
    assert get_job(own, job.job_id) == job
    assert (job.job_id, job.kind, job.payload, job.requested_by, job.key, job.once) == (
        wanted.job_id, "work", {"rows": [1, "é", None]}, "ana", "file:a", "a:1",
    )  # fmt: skip
    assert (job.state, job.due_at, job.max_attempts, job.correlation_id, job.attempt, job.last_seq) == ("QUEUED", due, 7, "request-1", 0, 1)
    assert told(own, job) == ["ana asks for work."]


def test_the_same_natural_key_is_asked_for_once_by_however_many_at_once(own):
    answers = at_once(8, lambda number: ask(own, once="profile:a", payload={"by": number}))
    assert len({job.job_id for job in answers}) == 1
    assert len(list_jobs(own).jobs) == 1


def test_of_many_who_want_a_key_alone_one_gets_it_and_the_others_leave_nothing(own):
    def ask_alone(number: int) -> str:
        with own.transaction() as connection:
            holder = hold_key(connection, "workspace")
            return (
                "refused" if holder else str(enqueue(own, NewJob("work", {}, f"p{number}", key="workspace"), connection=connection).job_id)
            )

    answers = at_once(8, ask_alone)
    assert (answers.count("refused"), [str(job.job_id) for job in list_jobs(own).jobs]) == (
        7,
        [each for each in answers if each != "refused"],
    )


def test_who_holds_a_key_is_who_began_and_else_who_is_first(own):
    def holder():
        with own.transaction() as connection:
            return hold_key(connection, "workspace")

    assert holder() is None
    first, second = ask(own, key="workspace"), ask(own, key="workspace")
    ask(own, key="another")
    assert holder().job_id == first.job_id
    request_cancel(own, first.job_id, "ana")
    assert holder().job_id == second.job_id


def test_the_same_id_is_asked_for_once_and_never_for_another_kind(own):
    job = ask(own, job_id=uuid4())
    assert ask(own, job_id=job.job_id).job_id == job.job_id
    with pytest.raises(Conflict):
        ask(own, "other", job_id=job.job_id)


def test_a_natural_key_names_the_job_also_after_its_end(own):
    job = ask(own, once="a")
    work_off(own, work=nothing)
    again = ask(own, once="a")
    assert (again.job_id, again.state) == (job.job_id, "SUCCEEDED")


def test_many_jobs_are_asked_for_in_one_statement_and_in_order(own):
    jobs = enqueue_many(own, [new(payload={"n": n}, once="twin" if n in (3, 5) else None) for n in range(8)])
    assert [job.payload["n"] for job in jobs] == [0, 1, 2, 3, 4, 3, 6, 7]
    done: list[int] = []
    work_off(own, work=lambda context: done.append(context.payload["n"]))
    assert done == [0, 1, 2, 3, 4, 6, 7]
    assert enqueue_many(own, []) == []


def test_one_id_twice_in_one_asking_is_one_job(own):
    job_id = uuid4()
    one, other = enqueue_many(own, [new(job_id=job_id), new(job_id=job_id)])
    assert (one.job_id, other.job_id, len(told(own, one))) == (job_id, job_id, 1)


def test_asking_inside_a_transaction_is_rolled_back_with_it(own):
    def ask_and_fail() -> None:
        with own.transaction() as connection:
            enqueue(own, new(), connection=connection)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        ask_and_fail()
    assert list_jobs(own).jobs == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": " "},
        {"kind": "a\nb"},
        {"key": ""},
        {"max_attempts": 0},
        {"deadline_seconds": -1.0},
        {"deadline_seconds": float("nan")},
        {"deadline_seconds": float("inf")},  # no interval of PostgreSQL: every claim would fail at this job
        {"deadline_seconds": 1e18},
        {"due_at": datetime(2026, 1, 1)},  # noqa: DTZ001 - the missing time zone is the point
        {"payload": {"a": object()}},
        {"payload": {"a": "x" * 1_100_000}},
    ],
)
def test_what_cannot_be_stored_is_refused(own, wrong):
    with pytest.raises(InvalidInput):
        ask(own, **wrong)
    assert list_jobs(own).jobs == ()


def test_a_job_that_is_not_there_is_not_found(own):
    for look in (lambda: get_job(own, uuid4()), lambda: request_cancel(own, uuid4(), "ana"), lambda: retry_job(own, uuid4(), "ana")):
        with pytest.raises(NotFound):
            look()
    assert (list_steps(own, uuid4()), list_job_events(own, uuid4()), events_since(own, {uuid4(): 0}), events_since(own, {})) == (
        [],
        [],
        [],
        [],
    )


def test_pages_are_newest_first_and_stay_in_step_while_jobs_are_asked_for(own):
    jobs = [ask(own, payload={"n": n}) for n in range(7)]
    first = list_jobs(own, limit=3)
    ask(own, payload={"n": 99})
    second = list_jobs(own, limit=3, after=first.next)
    third = list_jobs(own, limit=3, after=second.next)
    seen = [job.job_id for page in (first, second, third) for job in page.jobs]
    assert seen == [job.job_id for job in reversed(jobs)]
    assert third.next is None
    for wrong in ({"limit": 0}, {"limit": 501}, {"after": "nonsense"}):
        with pytest.raises(InvalidInput):
            list_jobs(own, **wrong)


def test_lists_are_filtered(own):
    mine, keyed = ask(own, "profile"), ask(own, "work", key="file:a")
    other = enqueue(own, NewJob("work", {}, "ben"))
    request_cancel(own, other.job_id, "ben")

    def listed(**filters):
        return {job.job_id for job in list_jobs(own, **filters).jobs}

    assert listed(kind="profile") == {mine.job_id}
    assert listed(key="file:a") == {keyed.job_id}
    assert listed(requested_by="ben") == {other.job_id}
    assert listed(state=JobState.CANCELLED) == {other.job_id}
    assert listed(state=JobState.QUEUED, kind="work") == {keyed.job_id}


def test_events_count_up_without_gaps_and_a_listener_goes_on_behind_the_last_it_has_seen(own):
    def code(context):
        context.step("one", lambda: context.progress("half-way", pct=50, data={"rows": 3}))
        context.progress("odd", level="WARNING")

    jobs = [ask(own), ask(own)]
    work_off(own, work=code)
    assert told(own, jobs[0]) == [
        "ana asks for work.", list_job_events(own, jobs[0].job_id)[1].message, "one: begun", "one: half-way", "one: done", "one: odd", "Done.",
    ]  # fmt: skip
    events = list_job_events(own, jobs[0].job_id)
    assert [event.seq for event in events] == list(range(1, 8))
    assert (events[3].pct, events[3].data, events[5].level) == (50, {"rows": 3}, "WARNING")
    assert list_job_events(own, jobs[0].job_id, after_seq=4, limit=2) == events[4:6]
    fresh = events_since(own, {jobs[0].job_id: 5, jobs[1].job_id: 6, uuid4(): 0})
    assert {(event.job_id, event.seq) for event in fresh} == {(jobs[0].job_id, 6), (jobs[0].job_id, 7), (jobs[1].job_id, 7)}
    assert_the_trail_has_no_gap(own)


def test_who_follows_the_numbers_sees_every_event_although_many_write_at_once(own):
    """A cancellation, progress of two threads and a reader, all at once: each read goes on where the last one ended."""
    job, seen = ask(own), []
    done = threading.Event()

    def code(context):
        def tell(number: int) -> None:
            for turn in range(20):
                context.progress(f"{number}.{turn}")

        at_once(3, tell)

    def follow() -> None:
        while not done.wait(0.001):
            seen.extend(list_job_events(own, job.job_id, after_seq=seen[-1].seq if seen else 0))

    reader = threading.Thread(target=follow)
    reader.start()
    work_off(own, work=code)
    done.set()
    reader.join()
    seen.extend(list_job_events(own, job.job_id, after_seq=seen[-1].seq))
    assert [event.seq for event in seen] == list(range(1, get_job(own, job.job_id).last_seq + 1))
    assert len(seen) == 63


def test_a_job_that_failed_is_asked_for_again_and_does_not_repeat_its_steps(own):
    effects: list[str] = []

    def code(context):
        context.step("one", lambda: effects.append("one"))
        context.step("two", lambda: effects.append("two"))
        if len(effects) < 3:
            fail()
        context.step("three", lambda: effects.append("three"))

    def fail():
        raise OperationFailed("no")

    job = ask(own)
    [failed] = work_off(own, job, work=code)
    assert (failed.state, failed.error_message) == ("FAILED", "no")
    effects.append("mended")
    again = retry_job(own, job.job_id, "ben")
    assert (again.state, again.attempt, again.error_message, again.finished_at) == ("QUEUED", 0, None, None)
    [done] = work_off(own, job, work=code)
    assert (done.state, done.attempt, done.error_message) == ("SUCCEEDED", 1, None)
    assert effects == ["one", "two", "mended", "three"]
    assert "ben asks for it again." in told(own, job)


def test_only_what_failed_or_was_cancelled_can_be_asked_for_again(own):
    queued = ask(own)
    with pytest.raises(Conflict, match="QUEUED"):
        retry_job(own, queued.job_id, "ben")
    work_off(own, work=nothing)
    with pytest.raises(Conflict, match="SUCCEEDED"):
        retry_job(own, queued.job_id, "ben")
    cancelled = ask(own)
    request_cancel(own, cancelled.job_id, "ben")
    assert retry_job(own, cancelled.job_id, "ben").cancel_requested_by is None
    assert [job.state for job in work_off(own, cancelled, work=nothing)] == ["SUCCEEDED"]


def test_ended_jobs_are_forgotten_with_steps_and_events_and_others_are_kept(own):
    old, young, waiting = ask(own), ask(own), ask(own, due_at=datetime(2100, 1, 1, tzinfo=UTC))
    work_off(own, work=lambda context: context.step("one", lambda: 1))
    with own.transaction() as connection:
        connection.execute("UPDATE treadle.jobs SET finished_at = finished_at - interval '31 days' WHERE job_id = %s", (old.job_id,))
    assert delete_ended(own, timedelta(days=30)) == 1
    assert {job.job_id for job in list_jobs(own).jobs} == {young.job_id, waiting.job_id}
    assert (steps(own, old), told(own, old)) == ({}, [])
    assert steps(own, young) == {"one": "DONE"}


def test_forgetting_goes_on_until_all_are_gone(own):
    with own.transaction() as connection:
        fill(connection, 2_500)
    assert delete_ended(own, timedelta(days=1)) == 2_500
    assert list_jobs(own).jobs == ()


def fill(connection, count: int) -> None:
    connection.execute(
        """INSERT INTO treadle.jobs (job_id, kind, key, state, payload, requested_by, due_at, started_at, finished_at, created_at)
           SELECT gen_random_uuid(), 'work', 'key ' || n %% 50, 'SUCCEEDED', '{}', 'ana', moment, moment, moment, moment
             FROM generate_series(1, %(count)s::bigint) AS n, LATERAL (SELECT clock_timestamp() - interval '10 days' + n * interval '1 s') AS at (moment)""",
        {"count": count},
    )


def plan(connection, sql, values) -> str:
    [row] = connection.execute(f"EXPLAIN (FORMAT JSON) {sql}", values).fetchall()
    return json.dumps(row["QUERY PLAN"])


@pytest.mark.parametrize("fresh_statistics", [True, False])
def test_the_queries_of_a_worker_use_their_indexes_among_a_hundred_thousand_ended_jobs(own, as_owner, fresh_statistics):
    with own.transaction() as connection:
        fill(connection, 100_000)
    enqueue_many(own, [new(key=f"key {n % 7}" if n % 2 else None) for n in range(50)])
    if fresh_statistics:
        as_owner("ANALYZE treadle.jobs")
    claim = {"kinds": ["work"], "max_attempts": [5], "deadlines": [60.0], "leases": [30.0], "owner": "w", "message": "m"}
    with own.transaction() as connection:
        claimed = plan(connection, claims.SQL["claim_job"], claim)
        lapsed = plan(connection, claims.SQL["lock_lapsed"], {})
        left = plan(connection, claims.SQL["work_left"], {"kinds": ["work"]})
        page = plan(connection, queue.with_lines(queue.SQL["list_jobs"], set()), {"limit": 50})
        failed = plan(connection, outbox._SQL["failed_jobs"], {"age": timedelta(minutes=10), "without": ["notification"]})
        old = plan(connection, queue.SQL["delete_ended"], {"older_than": timedelta(days=30)})
    assert "jobs_due" in claimed
    for found in (claimed, lapsed, left, page):
        assert '"Seq Scan"' not in found
    assert "jobs_leased" in lapsed
    assert '"Index Cond": "(finished_at <' in old, "not every ended job is looked at for the few that are old"
    assert '"Index Cond": "(finished_at >=' in failed or not fresh_statistics
    assert claims.claim_job(own, [Kind("work", nothing)], "w")


def test_a_job_between_two_attempts_can_be_cancelled(own):
    def code(_context):
        raise RuntimeError("odd")

    job = ask(own)
    with worker(own, work=code) as made:
        made.step()
        waiting = get_job(own, job.job_id)
        assert (waiting.state, waiting.attempt, waiting.error_message) == ("QUEUED", 1, "RuntimeError: odd")
        assert request_cancel(own, job.job_id, "ben").state is JobState.CANCELLED
        due_now(own)
        assert made.step() == 0
