"""Workers beside and after each other: races, leases that lapse, keys, recurrences, clocks that jump, jobs that are poison."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from control_trials import at_once, wait_until
from job_trials import (
    SECONDS,
    ask,
    assert_the_trail_has_no_gap,
    due_now,
    kinds,
    lapse,
    new,
    nothing,
    running,
    steps,
    told,
    work_off,
    worker,
)

from treadle.control.database import Database
from treadle.control.jobs import claims
from treadle.control.jobs.job import NewJob
from treadle.control.jobs.kinds import Kind
from treadle.control.jobs.queue import delete_ended, enqueue_many, get_job, list_jobs, request_cancel
from treadle.control.jobs.recurring import Recurring, enqueue_due
from treadle.control.jobs.states import JobState
from treadle.control.jobs.worker import JobWorker
from treadle.control.migrate import migrate
from treadle.errors import Throttled, Unavailable

WORK = [Kind("work", nothing)]


def ended(own, jobs) -> bool:
    return all(get_job(own, job.job_id).state.ended for job in jobs)


def test_two_workers_that_race_for_many_jobs_do_each_of_them_once(own):
    jobs, done = enqueue_many(own, [new(payload={"n": n}) for n in range(100)]), Counter()

    def code(context):
        context.step("one", lambda: done.update([context.payload["n"]]))

    made = [JobWorker(own, kinds(work=code), idle_seconds=0.02) for _ in range(2)]
    assert all(at_once(2, lambda n: made[n].run_until_idle(SECONDS)))
    assert done == dict.fromkeys(range(100), 1)
    found = [get_job(own, job.job_id) for job in jobs]
    assert {job.state for job in found} == {JobState.SUCCEEDED}
    assert {(job.attempt, job.fence) for job in found} == {(1, 1)}
    assert_the_trail_has_no_gap(own)


def test_one_job_that_eight_want_goes_to_one(own):
    ask(own)
    found = at_once(8, lambda n: claims.claim_job(own, WORK, f"worker {n}"))
    assert sum(claim is not None for claim in found) == 1


def test_a_lapsed_lease_is_rescued_by_any_worker_and_the_job_goes_on_where_it_was(own):
    effects: list[str] = []

    def code(context):
        context.step("one", lambda: effects.append("one"))
        context.step("two", lambda: effects.append("two"))

    job = ask(own, max_attempts=9)
    assert claims.claim_job(own, WORK, "dies")
    with own.transaction() as connection:
        connection.execute("UPDATE treadle.jobs SET attempt = 6")  # so that the next begins in half a minute
        connection.execute(
            """INSERT INTO treadle.job_steps (job_id, name, position, state, attempt, started_at, result)
               VALUES (%(id)s, 'one', 1, 'DONE', 1, now(), '1'), (%(id)s, 'two', 2, 'RUNNING', 1, now(), NULL)""",
            {"id": job.job_id},
        )
    lapse(own, job.job_id)
    with worker(own, work=code) as made:
        assert made.step() == 0  # put back, and due in a moment
        assert steps(own, job) == {"one": "DONE", "two": "FAILED"}
        due_now(own)
        assert made.step() == 1
    found = get_job(own, job.job_id)
    assert (found.state, found.attempt, effects) == (JobState.SUCCEEDED, 7, ["two"])
    assert "The worker of attempt 6 of 9 fell silent. The next begins in 32 s." in told(own, job)


def test_a_lease_is_kept_alive_for_as_long_as_the_work_takes(own):
    """Twice the lease; a second worker looks for lapsed leases all the time."""
    finish = threading.Event()

    def code(context):
        return context.step("long", lambda: finish.wait(SECONDS))

    job = ask(own)
    with worker(own, lease_seconds=3, work=code) as slow, worker(own, work=nothing) as other:
        thread = threading.Thread(target=slow.step)
        thread.start()
        wait_until(lambda: steps(own, job) == {"long": "RUNNING"})
        [row] = own.read("SELECT clock_timestamp() AS begun")
        wait_until(
            lambda: other.step() == 0 and own.read("SELECT clock_timestamp() AS now")[0]["now"] > row["begun"] + timedelta(seconds=6)
        )
        finish.set()
        thread.join()
    found = get_job(own, job.job_id)
    assert (found.state, found.attempt, found.fence) == (JobState.SUCCEEDED, 1, 1)


def test_two_that_see_one_lapsed_lease_rescue_it_once(own):
    job = ask(own)
    claims.claim_job(own, WORK, "dies")
    lapse(own, job.job_id)
    assert sum(found is not None for found in at_once(4, lambda _: claims.rescue_one(own))) == 1
    assert get_job(own, job.job_id).last_seq == 3


def test_jobs_of_one_key_run_one_after_the_other_in_the_order_of_asking_over_two_workers(own):
    order, at_work, most = [], Counter(), Counter()
    guard = threading.Lock()

    def code(context):
        key = context.job.key
        with guard:
            at_work[key] += 1
            most[key] = max(most[key], at_work[key])
            order.append((key, context.payload["n"]))
        context.step("one", nothing_at_all)
        with guard:
            at_work[key] -= 1

    def nothing_at_all():
        return None

    enqueue_many(own, [new(payload={"n": n}, key=f"file:{n % 3}") for n in range(60)])
    made = [JobWorker(own, kinds(work=code), slots=3, idle_seconds=0.01) for _ in range(2)]
    assert all(at_once(2, lambda n: made[n].run_until_idle(SECONDS)))
    assert set(most.values()) == {1}
    for key in ("file:0", "file:1", "file:2"):
        numbers = [n for found, n in order if found == key]
        assert numbers == sorted(numbers)
    assert len(order) == 60


def test_a_job_between_two_attempts_keeps_its_key(own):
    def code(context):
        if context.job.attempt == 1:
            raise Throttled("slow down", retry_after_seconds=60)

    first, second = ask(own, key="a"), ask(own, key="a")
    other = ask(own, key="b")
    with worker(own, work=code) as made:
        assert [made.step(), made.step(), made.step()] == [1, 1, 0]
    assert [get_job(own, job.job_id).state for job in (first, second, other)] == ["QUEUED", "QUEUED", "QUEUED"]
    assert get_job(own, second.job_id).attempt == 0
    due_now(own)
    assert [job.state for job in work_off(own, first, work=nothing)] == ["SUCCEEDED"]


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_a_key_is_free_again_when_its_job_has_failed_or_was_cancelled(own, end):
    first, second = ask(own, key="a", max_attempts=1), ask(own, key="a")
    if end == "cancel":
        request_cancel(own, first.job_id, "ben")

    def code(context):
        if context.job.job_id == first.job_id:
            raise RuntimeError

    assert [job.state for job in work_off(own, second, work=code)] == ["SUCCEEDED"]


def test_a_job_that_is_due_later_does_not_hold_up_the_others_of_its_key(own):
    later = ask(own, key="a", due_at=datetime(2100, 1, 1, tzinfo=UTC))
    now = ask(own, key="a")
    assert [job.state for job in work_off(own, later, now, work=nothing)] == ["QUEUED", "SUCCEEDED"]


def test_the_database_itself_refuses_two_jobs_of_one_key_at_once(own):
    """The claims are made in one moment, each before it can see the other: the index parts them, and the loser comes later."""
    first = ask(own, key="a", due_at=datetime(2100, 1, 1, tzinfo=UTC))
    second = ask(own, key="a")
    with own.transaction() as slow:
        values = {"kinds": ["work"], "max_attempts": [5], "deadlines": [60.0], "leases": [30.0], "owner": "slow", "message": "m"}
        assert slow.execute(claims.SQL["claim_job"], values).fetchone()["job_id"] == second.job_id
        with own.transaction() as connection:
            connection.execute("UPDATE treadle.jobs SET due_at = clock_timestamp() WHERE job_id = %s", (first.job_id,))
        found: list = []
        racer = threading.Thread(target=lambda: found.append(claims.claim_job(own, WORK, "fast")))
        racer.start()
        wait_until(lambda: own.read("SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'")[0]["n"] > 0)
    racer.join()
    assert found == [None], "what is due besides belongs to the key"
    assert get_job(own, first.job_id).state is JobState.QUEUED


def test_who_loses_the_race_for_a_key_takes_the_next_job_at_once(own):
    first = ask(own, key="a", due_at=datetime(2100, 1, 1, tzinfo=UTC))
    ask(own, key="a")
    free = ask(own, due_at=datetime(2101, 1, 1, tzinfo=UTC))
    with own.transaction() as slow:
        values = {"kinds": ["work"], "max_attempts": [5], "deadlines": [60.0], "leases": [30.0], "owner": "slow", "message": "m"}
        slow.execute(claims.SQL["claim_job"], values)
        with own.transaction() as connection:
            connection.execute("UPDATE treadle.jobs SET due_at = clock_timestamp() WHERE job_id = ANY (%s)", ([first.job_id, free.job_id],))
            connection.execute("UPDATE treadle.jobs SET due_at = due_at - interval '1 s' WHERE job_id = %s", (first.job_id,))
        racing = ThreadPoolExecutor(1)
        racer = racing.submit(claims.claim_job, own, WORK, "fast")
        wait_until(lambda: own.read("SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'")[0]["n"] > 0)
    claim = racer.result(SECONDS)
    racing.shutdown()
    assert claim
    assert claim[0].job_id == free.job_id


def test_a_poisoned_job_does_not_stop_the_others(own):
    def code(context):
        if context.payload.get("poison"):
            raise MemoryError("poison")

    poison = ask(own, payload={"poison": True}, max_attempts=2)
    others = [ask(own) for _ in range(20)]
    with worker(own, work=code) as made, running(made):
        wait_until(lambda: ended(own, [poison, *others]))
    assert get_job(own, poison.job_id).error_message == "MemoryError: poison"
    assert {get_job(own, job.job_id).state for job in others} == {JobState.SUCCEEDED}


class Panic(BaseException):
    """As pyo3 raises for a panic in Rust: no Exception."""


def test_a_job_that_raises_what_is_no_exception_ends_its_attempt_and_not_the_slot(own):
    def code(context):
        if context.payload.get("poison"):
            raise Panic("index out of bounds")

    poison, other = ask(own, payload={"poison": True}, max_attempts=1), ask(own)
    made = JobWorker(own, kinds(work=code), slots=1, idle_seconds=0.02)
    with running(made):
        wait_until(lambda: ended(own, [poison, other]))
    found = get_job(own, poison.job_id)
    assert (found.state, get_job(own, other.job_id).state) == (JobState.FAILED, JobState.SUCCEEDED)
    assert "Panic index out of bounds" in found.error_message


def test_a_worker_that_takes_up_a_job_which_another_of_its_slots_still_believes_to_hold_keeps_its_lease_alive(own):
    """As after an outage that was longer than the lease. The slot that lost the job must not end the heartbeat of the one that has it."""
    begun, overtaken, finish = (threading.Event() for _ in range(3))

    def code(context):
        if context.job.attempt == 1:
            begun.set()
            context.step("slow", lambda: overtaken.wait(SECONDS) and None)
        overtaken.set()
        context.step("long", lambda: finish.wait(SECONDS) and None)

    job = ask(own)
    with worker(own, lease_seconds=3, work=code) as made, running(made):
        assert begun.wait(SECONDS)
        with own.transaction() as connection:  # as a rescue by another process writes it
            connection.execute("UPDATE treadle.jobs SET state = 'QUEUED', lease_until = NULL WHERE job_id = %s", (job.job_id,))
        wait_until(lambda: steps(own, job).get("long") == "RUNNING")
        [begun_at] = own.read("SELECT started_at FROM treadle.job_steps WHERE name = 'long'")
        beaten_until = (
            "SELECT lease_until > %(at)s::timestamptz + interval '6 s' AS beaten FROM treadle.jobs"  # three beats after the step began
        )
        wait_until(lambda: own.read(beaten_until, {"at": begun_at["started_at"]})[0]["beaten"])
        finish.set()
        wait_until(lambda: ended(own, [job]))
    assert (get_job(own, job.job_id).state, get_job(own, job.job_id).fence) == (JobState.SUCCEEDED, 2)


def test_a_worker_that_lives_renews_what_it_is_at_before_it_looks_for_the_dead(own):
    """After an outage that was longer than the lease, both are due at once."""
    begun, finish = threading.Event(), threading.Event()

    def code(context):
        context.step("one", lambda: begun.set() or (finish.wait(SECONDS) and None))

    job = ask(own)
    with worker(own, work=code) as made:
        thread = threading.Thread(target=made.step)
        thread.start()
        assert begun.wait(SECONDS)
        lapse(own, job.job_id)
        assert made.step() == 0
        finish.set()
        thread.join()
    found = get_job(own, job.job_id)
    assert (found.state, found.attempt) == (JobState.SUCCEEDED, 1)


def test_a_worker_that_stops_ends_its_step_gives_the_job_back_and_another_goes_on_at_once(own):
    effects, begun, finish = [], threading.Event(), threading.Event()

    def code(context):
        context.step("one", lambda: begun.set() or (finish.wait(SECONDS) and effects.append("one")))
        context.step("two", lambda: effects.append("two"))

    job = ask(own)
    with worker(own, work=code) as old, running(old) as stop:
        assert begun.wait(SECONDS)
        stop.set()
        finish.set()
    back = get_job(own, job.job_id)
    assert (back.state, back.attempt, back.lease_owner, steps(own, job)) == (JobState.QUEUED, 0, None, {"one": "DONE"})
    [done] = work_off(own, job, work=code)
    assert (done.state, done.attempt, effects) == (JobState.SUCCEEDED, 1, ["one", "two"])


def test_a_rolling_restart_with_overlap_strands_nothing(own):
    """Each new worker begins before the old one is told to stop, ten times, while jobs with keys are under way."""
    done = Counter()

    def code(context):
        for name in "abcde":
            context.step(name, lambda name=name: done.update([(context.payload["n"], name)]))

    jobs = enqueue_many(own, [new(payload={"n": n}, key=f"key {n % 20}" if n % 2 else None) for n in range(120)])
    old = start(own, code)
    for turn in range(10):
        wait_until(lambda turn=turn: len(done) >= turn * 40)
        young = start(own, code)
        halt(old)
        old = young
    wait_until(lambda: ended(own, jobs))
    halt(old)
    found = [get_job(own, job.job_id) for job in jobs]
    assert {(job.state, job.attempt) for job in found} == {(JobState.SUCCEEDED, 1)}
    assert done == {(n, name): 1 for n in range(120) for name in "abcde"}
    assert_the_trail_has_no_gap(own)


def start(own, code):
    stop = threading.Event()
    made = JobWorker(own, kinds(work=code), idle_seconds=0.02)
    thread = threading.Thread(target=made.run, args=(stop,))
    thread.start()
    return stop, thread


def halt(started) -> None:
    stop, thread = started
    stop.set()
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_when_the_clock_of_the_database_jumps_ahead_every_lease_seems_over_and_no_work_is_done_twice(own):
    """The holder is alive and finds at its next write that another has the job; what it had recorded stays."""
    effects, first = [], threading.Event()

    def code(context):
        context.step("one", lambda: effects.append("one"))
        if not first.is_set():
            first.set()
            jump(own, "lease_until = lease_until - interval '10 years'")
            claims.rescue_one(own)
        context.step("two", lambda: effects.append("two"))

    job = ask(own)
    with worker(own, work=code) as made:
        assert made.step() == 1
        assert get_job(own, job.job_id).state is JobState.QUEUED
        due_now(own)
        assert made.step() == 1
    found = get_job(own, job.job_id)
    assert (found.state, found.attempt, effects) == (JobState.SUCCEEDED, 2, ["one", "two"])


def test_when_the_clock_of_the_database_is_set_back_a_dead_workers_job_does_not_wait_for_the_clock(own):
    job = ask(own)
    claims.claim_job(own, WORK, "dies")
    jump(own, "lease_until = lease_until + interval '10 years'")
    assert claims.rescue_one(own).job_id == job.job_id


def test_when_the_clock_of_the_database_is_set_back_a_living_worker_goes_on(own):
    def code(context):
        jump(own, "lease_until = lease_until + interval '10 years'")
        context.step("one", lambda: 1)  # as good as a heartbeat

    job = ask(own)
    with worker(own, work=code) as made:
        made.step()
        assert claims.rescue_one(own) is None
    assert get_job(own, job.job_id).state is JobState.SUCCEEDED


@pytest.mark.parametrize("shown", [0.0, 4e9])
def test_the_wall_clock_of_the_worker_decides_nothing(own, monkeypatch, shown):
    """A host that thinks it is 1970 or 2096: due times, leases and back-off are the database's, waiting is monotonic."""
    monkeypatch.setattr("time.time", lambda: shown)
    job, slow = ask(own), ask(own, payload={"slow": True})

    def code(context):
        if context.payload and context.job.attempt == 1:
            raise Unavailable("away")

    with worker(own, lease_seconds=5, work=code) as made:
        assert made.run_until_idle(SECONDS)
    found = get_job(own, job.job_id)
    assert (found.state, get_job(own, slow.job_id).attempt) == (JobState.SUCCEEDED, 2)
    [row] = own.read("SELECT abs(extract(epoch FROM clock_timestamp() - %(at)s::timestamptz)) < 60 AS near", {"at": found.finished_at})
    assert row["near"]


def jump(own, change: str) -> None:
    """The database's clock cannot be set here; what it wrote before it jumped is moved instead."""
    with own.transaction() as connection:
        connection.execute(f"UPDATE treadle.jobs SET {change} WHERE state = 'RUNNING'")


def hourly(name: str = "tidy") -> Recurring:
    return Recurring(name, 3600, lambda slot: NewJob("work", {"slot": slot.isoformat()}, "treadle", key=name))


def test_a_recurrence_asks_once_per_slot_however_many_look(own):
    made = [job for jobs in at_once(8, lambda _: enqueue_due(own, [hourly(), hourly("other")])) for job in jobs]
    assert sorted(job.key for job in made) == ["other", "tidy"]
    assert enqueue_due(own, [hourly(), hourly("other")]) == []
    slot = datetime.fromisoformat(made[0].payload["slot"])
    assert (slot.minute, slot.second, slot.microsecond) == (0, 0, 0)


def test_a_slot_that_was_asked_for_is_not_asked_for_again_after_a_clean_up(own):
    assert len(enqueue_due(own, [hourly()])) == 1
    work_off(own, work=nothing)
    delete_ended(own, timedelta(0))
    assert list_jobs(own).jobs == ()
    assert enqueue_due(own, [hourly()]) == []


def test_after_a_long_outage_a_recurrence_asks_once_and_not_for_every_slot_that_passed(own):
    enqueue_due(own, [hourly()])
    with own.transaction() as connection:
        connection.execute("UPDATE treadle.job_slots SET slot = slot - interval '40 days'")
    assert len(enqueue_due(own, [hourly()])) == 1
    assert len(list_jobs(own).jobs) == 2


def test_a_clock_that_is_set_back_does_not_make_a_recurrence_ask_again_nor_fall_silent(own):
    enqueue_due(own, [hourly()])
    with own.transaction() as connection:  # slots of a future that the clock has seen and left again
        connection.execute("INSERT INTO treadle.job_slots SELECT name, slot + interval '50 years', job_id FROM treadle.job_slots")
    assert enqueue_due(own, [hourly()]) == []
    with own.transaction() as connection:
        connection.execute("DELETE FROM treadle.job_slots WHERE slot < clock_timestamp()")
    assert len(enqueue_due(own, [hourly()])) == 1


def test_a_recurrence_that_cannot_say_what_it_wants_does_not_silence_the_others(own):
    broken = Recurring("broken", 3600, lambda _: 1 / 0)  # type: ignore[arg-type, return-value]
    assert [job.key for job in enqueue_due(own, [broken, hourly()])] == ["tidy"]


def test_a_recurrence_that_wants_what_cannot_be_asked_for_does_not_silence_the_others(own):
    blank = Recurring("blank", 3600, lambda _: NewJob("", {}, "treadle"))
    assert [job.key for job in enqueue_due(own, [blank, hourly()])] == ["tidy"]


def test_racing_workers_do_each_slot_once(own):
    """Slots of a second, so that several pass while four workers look."""
    done = Counter()
    every = Recurring("tick", 1, lambda slot: NewJob("work", {"slot": slot.isoformat()}, "treadle"))

    def code(context):
        done.update([context.payload["slot"]])

    made = [JobWorker(own, kinds(work=code), recurrings=[every], idle_seconds=0.05) for _ in range(4)]
    with running(made[0]), running(made[1]), running(made[2]), running(made[3]):
        wait_until(lambda: len(done) >= 3)
    assert set(done.values()) == {1}


def test_a_job_that_is_to_be_cancelled_is_not_given_back_by_a_worker_that_stops(own):
    def code(context):
        context.step("one", lambda: stop.set() or (request_cancel(own, job.job_id, "ben") and None))
        context.step("two", lambda: pytest.fail("begun"))

    job = ask(own)
    with worker(own, work=code) as made, running(made) as stop:
        wait_until(lambda: get_job(own, job.job_id).state.ended)
    assert get_job(own, job.job_id).state is JobState.CANCELLED


def test_a_worker_waits_for_a_database_that_restarts_and_its_job_goes_on_in_the_same_attempt(own_server):
    """Longer than any single statement waits for a connection."""
    with Database(own_server.dsn, wait_seconds=0.3) as own:
        migrate(own)
        job, stopped = ask(own), threading.Event()

        def code(context):
            def crash():
                own_server.stop_immediately()
                stopped.set()
                return 1

            return context.step("one", crash)

        with worker(own, lease_seconds=60, work=code) as made, running(made):
            assert stopped.wait(SECONDS)
            for _ in range(3):
                with pytest.raises(Unavailable):
                    get_job(own, job.job_id)
            own_server.start()
            wait_until(lambda: is_ended(own, job))
        found = get_job(own, job.job_id)
        assert (found.state, found.attempt, found.result) == (JobState.SUCCEEDED, 1, 1)


def is_ended(own, job) -> bool:
    """Not while the database cannot be asked."""
    try:
        return get_job(own, job.job_id).state.ended
    except Unavailable:
        return False
