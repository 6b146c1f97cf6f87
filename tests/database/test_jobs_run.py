"""One attempt at a job: its steps, its end, and every moment at which it may be cancelled, fail, be late, or lose its lease."""

import json
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest
from job_trials import ask, assert_the_trail_has_no_gap, due_now, lapse, nothing, steps, told, work_off, worker

from treadle.control.jobs import claims
from treadle.control.jobs.job import StepState
from treadle.control.jobs.kinds import Kind
from treadle.control.jobs.queue import get_job, list_job_events, list_steps, request_cancel
from treadle.control.jobs.run import Cancelled, Hold, JobContext, LeaseLost
from treadle.control.jobs.states import JobState, backoff_seconds
from treadle.control.jobs.worker import JobWorker
from treadle.errors import (
    ChecksumMismatch,
    Conflict,
    InvalidInput,
    NotFound,
    OperationFailed,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)


def claimed(own, *, lease_seconds: float = 30) -> JobContext:
    """Take the next job as a worker does, and hold it as long as the test likes."""
    found = claims.claim_job(own, [Kind("work", nothing, lease_seconds=lease_seconds)], "a worker")
    assert found is not None
    return JobContext(own, found[0], Hold(ends_at=float("inf")))


def end(own, job):
    """Move the deadline of a job that has one into the past."""
    with own.transaction() as connection:
        connection.execute("UPDATE treadle.jobs SET deadline_at = clock_timestamp() - interval '1 s' WHERE job_id = %s", (job.job_id,))


def test_a_job_is_done_in_steps_whose_results_it_gets_as_they_are_kept(own):
    def code(context):
        first = context.step("first", lambda: (1, {"a": "é"}))
        return {"all": [first, context.step("second", lambda: None)]}

    job = ask(own)
    [done] = work_off(own, job, work=code)
    assert (done.state, done.result, done.attempt, done.lease_owner, done.error_message) == (
        "SUCCEEDED", {"all": [[1, {"a": "é"}], None]}, 1, None, None,
    )  # fmt: skip
    assert [(step.name, step.position, step.state, step.result) for step in list_steps(own, job.job_id)] == [
        ("first", 1, StepState.DONE, [1, {"a": "é"}]), ("second", 2, StepState.DONE, None),
    ]  # fmt: skip
    assert done.created_at <= done.started_at <= done.finished_at


def test_a_repeated_job_gets_the_results_of_the_steps_that_were_done_and_goes_on_behind_them(own):
    effects: list[str] = []

    def code(context):
        number = context.step("draw", lambda: effects.append("draw") or len(effects))
        context.step("break", lambda: effects.append("break") or (1 / 0 if len(effects) == 2 else "whole"))
        return number

    job = ask(own)
    [waiting] = work_off(own, job, work=code)
    assert (waiting.state, waiting.attempt, steps(own, job)) == ("QUEUED", 1, {"draw": "DONE", "break": "FAILED"})
    due_now(own)
    [done] = work_off(own, job, work=code)
    assert (done.result, done.attempt, effects) == (1, 2, ["draw", "break", "break"])


def test_a_transaction_is_made_with_its_record_or_not_at_all(own):
    with own.transaction() as connection:
        connection.execute("CREATE TABLE treadle.effects (n integer)")
    breaks = [True]

    def insert(connection):
        connection.execute("INSERT INTO treadle.effects VALUES (1)")
        if breaks.pop():
            raise Unavailable("the other system is away")
        return 7

    job = ask(own)
    [waiting] = work_off(own, job, work=lambda context: context.transact("insert", insert))
    assert (waiting.state, waiting.error_message) == ("QUEUED", "the other system is away")
    assert own.read("SELECT * FROM treadle.effects") == []
    breaks[:] = [False]
    due_now(own)
    [done] = work_off(own, job, work=lambda context: context.transact("insert", insert))
    assert (done.result, own.read("SELECT n FROM treadle.effects")) == (7, [{"n": 1}])


def test_a_transaction_whose_answer_was_lost_is_not_made_again(own):
    ask(own)
    context = claimed(own)
    with own.transaction() as connection:
        connection.execute("CREATE TABLE treadle.effects (n integer)")
    commits: list[str] = []
    whole = own.transaction

    @contextmanager
    def loses_the_second_answer():
        """The first commit says that the step begins; the second is the step's own, and its answer is lost on the way back."""
        with whole() as connection:
            yield connection
        commits.append("made")
        if len(commits) == 2:
            raise OutcomeUnknown("the answer was lost")

    context._own = SimpleNamespace(transaction=loses_the_second_answer)
    count = context.transact("insert", lambda connection: connection.execute("INSERT INTO treadle.effects VALUES (1)").rowcount)
    assert (count, own.read("SELECT n FROM treadle.effects"), len(commits)) == (1, [{"n": 1}], 3)


@pytest.mark.parametrize("where", ["step", "transact", "progress", "end", "start of a step"])
def test_a_late_write_of_a_worker_whose_job_another_has_taken_is_refused(own, where):
    """It fell silent for longer than its lease, another worker took the job; then it wakes."""
    job = ask(own)
    slow = claimed(own)
    with own.transaction() as connection:
        connection.execute("CREATE TABLE treadle.effects (n integer)")

    def overtaken(_connection=None):
        lapse(own, job.job_id)
        assert claims.rescue_one(own).job_id == job.job_id
        due_now(own)
        claimed(own)
        if _connection:
            _connection.execute("INSERT INTO treadle.effects VALUES (1)")
        return "late"

    if where == "end":
        overtaken()
        assert claims.settle_job(own, slow.job, lambda _: pytest.fail("asked")) is None
    else:
        late = {
            "step": lambda: slow.step("one", overtaken),
            "transact": lambda: slow.transact("one", overtaken),
            "progress": lambda: overtaken() and slow.progress("still here"),
            "start of a step": lambda: overtaken() and slow.step("one", lambda: pytest.fail("begun")),
        }[where]
        with pytest.raises(LeaseLost):
            late()
        with pytest.raises(LeaseLost):
            slow.check()
    now = get_job(own, job.job_id)
    assert (now.state, now.fence, now.result) == ("RUNNING", 2, None)
    assert own.read("SELECT * FROM treadle.effects") == []
    assert "DONE" not in steps(own, job).values()
    assert "still here" not in str(told(own, job))
    assert_the_trail_has_no_gap(own)


def test_a_lease_that_ran_out_is_good_for_as_long_as_nobody_takes_the_job(own):
    job = ask(own)
    context = claimed(own)
    lapse(own, job.job_id)
    assert context.step("one", lambda: 1) == 1
    assert claims.rescue_one(own) is None  # the write was a sign of life


def test_cancelling_a_job_that_waits_ends_it_at_once(own):
    job = ask(own)
    ended = request_cancel(own, job.job_id, "ben")
    assert (ended.state, ended.cancel_requested_by, ended.finished_at is None) == (JobState.CANCELLED, "ben", False)
    assert work_off(own, job, work=lambda _: pytest.fail("begun"))[0].state is JobState.CANCELLED
    assert told(own, job)[-1] == "Cancelled by ben."


def test_cancelling_between_two_steps_ends_the_job_before_the_next(own):
    def code(context):
        context.step("one", lambda: 1)
        assert request_cancel(own, job.job_id, "ben").state is JobState.RUNNING
        context.step("two", lambda: pytest.fail("begun"))

    job = ask(own)
    [ended] = work_off(own, job, work=code)
    assert (ended.state, ended.error_message, steps(own, job)) == (JobState.CANCELLED, None, {"one": "DONE"})


def test_cancelling_before_the_first_step_ends_the_job_before_it(own):
    job = ask(own)
    context = claimed(own)
    request_cancel(own, job.job_id, "ben")
    with pytest.raises(Cancelled):
        context.step("one", lambda: pytest.fail("begun"))
    assert steps(own, job) == {}


def test_a_step_in_the_middle_hears_of_the_cancellation_by_the_heartbeat_and_may_end_early(own):
    def code(context):
        def wait_for_the_word():
            request_cancel(own, job.job_id, "ben")
            while True:
                context.check()

        context.step("one", wait_for_the_word)

    job = ask(own)
    with worker(own, lease_seconds=0.3, work=code) as made:
        made.step()
    assert (get_job(own, job.job_id).state, steps(own, job)) == (JobState.CANCELLED, {"one": "STOPPED"})


def test_a_step_that_ends_although_the_job_is_to_be_cancelled_is_recorded(own):
    """So that whoever asks for the job again does not repeat it."""
    effects = []

    def code(context):
        context.step("one", lambda: request_cancel(own, job.job_id, "ben") and effects.append(1))
        context.step("two", lambda: effects.append(2))

    job = ask(own)
    [ended] = work_off(own, job, work=code)
    assert (ended.state, steps(own, job), effects) == (JobState.CANCELLED, {"one": "DONE"}, [1])


def test_a_cancellation_after_the_last_step_comes_too_late(own):
    def code(context):
        context.step("only", lambda: 1)
        request_cancel(own, job.job_id, "ben")
        return "whole"

    job = ask(own)
    [ended] = work_off(own, job, work=code)
    assert (ended.state, ended.result) == (JobState.SUCCEEDED, "whole")
    assert told(own, job)[-1] == "Done; ben asked too late for it to be cancelled."


def test_a_job_that_has_ended_cannot_be_cancelled(own):
    job = ask(own)
    work_off(own, work=nothing)
    with pytest.raises(Conflict, match="SUCCEEDED"):
        request_cancel(own, job.job_id, "ben")


def test_a_job_that_is_to_be_cancelled_is_not_tried_again_after_a_failure_or_a_death(own):
    def code(_context):
        request_cancel(own, job.job_id, "ben")
        raise RuntimeError

    job, other = ask(own), ask(own)
    assert (
        work_off(own, job, other, work=lambda context: code(context) if context.job.job_id == job.job_id else None)[0].state == "CANCELLED"
    )
    dies = ask(own)
    claimed(own)
    request_cancel(own, dies.job_id, "ben")
    assert request_cancel(own, dies.job_id, "eve").cancel_requested_by == "ben"
    lapse(own, dies.job_id)
    assert claims.rescue_one(own).state is JobState.CANCELLED


@pytest.mark.parametrize(
    "error",
    [InvalidInput, NotFound, Conflict, PermissionDenied, Unauthenticated, OperationFailed, ChecksumMismatch],
    ids=lambda e: e.__name__,
)
def test_an_error_that_trying_again_cannot_mend_ends_the_job_at_once(own, error):
    def code(context):
        context.step("one", fail)

    def fail():
        raise error("odd", hint="mend it", details={"column": "a"})

    job = ask(own)
    [ended] = work_off(own, job, work=code)
    assert (ended.state, ended.attempt, ended.error_message, ended.error_hint) == ("FAILED", 1, "odd", "mend it")
    assert ended.error_details == {"kind": error.__name__, "column": "a"}
    assert [(step.state, step.error_message) for step in list_steps(own, job.job_id)] == [(StepState.FAILED, "odd")]


@pytest.mark.parametrize("error", [Throttled, Unavailable, OutcomeUnknown, UnexpectedAnswer, ZeroDivisionError, SystemExit])
def test_an_error_that_may_pass_is_tried_again_later_and_later_until_the_attempts_are_used_up(own, error):
    def code(_context):
        raise error("odd")

    job = ask(own, max_attempts=3)
    waits = []
    for _ in range(2):
        [waiting] = work_off(own, job, work=code)
        assert waiting.state == "QUEUED"
        waits.append((waiting.due_at - list_job_events(own, job.job_id)[-1].at).total_seconds())
        due_now(own)
    [ended] = work_off(own, job, work=code)
    assert (ended.state, ended.attempt) == ("FAILED", 3)
    assert 0.79 * backoff_seconds(1) < waits[0] < 1.21 * backoff_seconds(1)
    assert 0.79 * backoff_seconds(2) < waits[1] < 1.21 * backoff_seconds(2)
    assert told(own, job)[-1].endswith("that was the last.")


def test_a_server_that_says_when_to_come_back_is_obeyed(own):
    def code(_context):
        raise Throttled("slow down", retry_after_seconds=90)

    job = ask(own)
    [waiting] = work_off(own, job, work=code)
    assert timedelta(seconds=85) < waiting.due_at - waiting.started_at < timedelta(seconds=95)


def test_an_attempt_that_could_not_begin_before_the_deadline_is_not_waited_for(own):
    def code(_context):
        raise Throttled("slow down", retry_after_seconds=90)

    [ended] = work_off(own, ask(own, deadline_seconds=60.0), work=code)
    assert (ended.state, ended.error_message) == ("FAILED", "slow down")


def test_a_job_that_is_late_ends_before_its_next_step(own):
    def code(context):
        context.step("one", lambda: end(own, job))
        context.step("two", lambda: pytest.fail("begun"))

    job = ask(own)
    [ended] = work_off(own, job, work=code)
    assert (ended.state, steps(own, job)) == ("FAILED", {"one": "DONE"})
    assert "deadline" in ended.error_message


def test_a_job_that_was_late_before_a_worker_came_is_not_begun_again(own):
    def code(_context):
        raise Unavailable("away")

    job = ask(own)
    work_off(own, work=code)
    end(own, job)
    due_now(own)
    [ended] = work_off(own, job, work=lambda context: context.step("one", lambda: pytest.fail("begun")))
    assert (ended.state, "deadline" in ended.error_message) == ("FAILED", True)


def test_a_job_that_hangs_beyond_its_deadline_is_taken_from_its_worker(own):
    """The heartbeat does not prolong it for ever."""
    job = ask(own)
    context = claimed(own, lease_seconds=0.2)
    end(own, job)
    with own.transaction() as connection:
        connection.execute("UPDATE treadle.jobs SET deadline_at = clock_timestamp() - interval '1 s'")
    claim = (job.job_id, context.job.fence)
    assert claims.renew_leases(own, [claim]) == {claim: None}
    ended = claims.rescue_one(own)
    assert ended.state is JobState.FAILED
    assert "not done by its deadline" in ended.error_message
    assert claims.renew_leases(own, [claim]) == {}


def test_a_job_whose_workers_die_again_and_again_is_given_up_with_the_reason(own):
    job = ask(own, max_attempts=3)
    for _ in range(3):
        claimed(own)
        lapse(own, job.job_id)
        assert claims.rescue_one(own)
        due_now(own)
    ended = get_job(own, job.job_id)
    assert (ended.state, ended.attempt) == ("FAILED", 3)
    assert ended.error_message == "The worker of attempt 3 of 3 fell silent; the job was given up."
    assert claims.claim_job(own, [Kind("work", nothing)], "w") is None


def test_one_name_for_two_steps_is_a_defect_that_is_told(own):
    def code(context):
        context.step("same", lambda: 1)
        context.step("same", lambda: 2)

    [ended] = work_off(own, ask(own), work=code)
    assert (ended.state, "twice" in ended.error_message) == ("FAILED", True)


@pytest.mark.parametrize("odd", [object(), {"a": {1, 2}.__class__}, "x" * 1_100_000], ids=["object", "class", "huge"])
def test_a_result_that_cannot_be_kept_fails_the_job_and_says_so(own, odd):
    [of_step] = work_off(own, ask(own), work=lambda context: context.step("one", lambda: odd))
    [of_job] = work_off(own, ask(own), work=lambda _: odd)
    assert (of_step.state, of_job.state) == ("FAILED", "FAILED")
    assert "stored" in of_job.error_message


def test_an_error_whose_details_cannot_be_kept_is_recorded_without_them(own):
    def code(_context):
        raise InvalidInput("odd", details={"a": object()})

    [ended] = work_off(own, ask(own), work=code)
    assert (ended.state, ended.error_message, list(ended.error_details)) == ("FAILED", "odd", ["left_out"])


@pytest.mark.parametrize("wrong", [{"pct": -1}, {"pct": 101}, {"pct": float("nan")}, {"level": "LOUD"}, {"data": {"a": object()}}])
def test_progress_out_of_range_is_refused(own, wrong):
    ask(own)
    with pytest.raises(InvalidInput):
        claimed(own).progress("x", **wrong)


def test_a_secret_reaches_neither_event_nor_result_nor_error(own):
    secret = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0cmVhZGxlIn0.c2lnbmF0dXJlc2lnbmF0dXJl"

    def code(context):
        context.progress(f"got {secret}", data={"header": secret})
        context.step("one", lambda: secret)
        raise OperationFailed(f"refused {secret}", hint=secret, details={"sent": secret})

    job = ask(own)
    work_off(own, work=code)
    everything = own.read(
        """SELECT to_jsonb(job)::text AS text FROM treadle.jobs AS job UNION ALL SELECT to_jsonb(e)::text FROM treadle.job_events AS e
           UNION ALL SELECT to_jsonb(s)::text FROM treadle.job_steps AS s"""
    )
    assert "eyJhbGci" not in json.dumps(everything)
    assert get_job(own, job.job_id).state is JobState.FAILED


def test_a_worker_leaves_kinds_that_it_does_not_know(own):
    unknown, known = ask(own, "newer"), ask(own, "work")
    done = work_off(own, unknown, known, work=nothing)
    assert [job.state for job in done] == ["QUEUED", "SUCCEEDED"]


def test_what_a_kind_says_counts_for_jobs_that_do_not(own):
    made = JobWorker(own, {"work": Kind("work", nothing, max_attempts=2, deadline_seconds=50)})
    plain, special = ask(own), ask(own, max_attempts=9, deadline_seconds=500.0)
    assert (made.step(), made.step(), made.step()) == (1, 1, 0)
    made.close()
    found = [get_job(own, job.job_id) for job in (plain, special)]
    assert [job.max_attempts for job in found] == [2, 9]
    assert [round((job.deadline_at - job.started_at).total_seconds()) for job in found] == [50, 500]
