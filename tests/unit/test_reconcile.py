"""Each known race of the trigger has its test; then properties that hold whatever Fabric's list looks like."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.control.reconcile import CLOCK_SKEW, Adopt, Fail, NeedsOperator, SeenJob, Wait, decide
from treadle.control.run import Run
from treadle.control.states import RunStatus

CREATED = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
GRACE = timedelta(seconds=120)
RUN = Run(UUID(int=7), CREATED, "ana", "orders.xlsx", "workspace", "pipeline", RunStatus.SUBMITTED)


def job(job_id="j1", seconds: float | None = 5, *, invoke="Manual", status="InProgress"):
    return SeenJob(job_id, invoke, status, None if seconds is None else CREATED + timedelta(seconds=seconds))


def decided(*jobs, run=RUN, claimed=(), evidence=None, asked_at=CREATED, alive=False, age=300.0):
    return decide(
        run,
        jobs,
        claimed=set(claimed),
        started_evidence=evidence,
        asked_at=asked_at,
        trigger_alive=alive,
        now=CREATED + timedelta(seconds=age),
        grace=GRACE,
    )


def test_a_live_trigger_is_waited_for_however_old_the_run_is():
    """#8: failing it would free the lock while its request is under way, and two jobs would run."""
    assert isinstance(decided(alive=True, age=10_000), Wait)
    assert isinstance(decided(job(), alive=True, age=10_000), Wait)
    assert isinstance(decided(alive=True, evidence="j1"), Wait)


def test_a_dead_trigger_without_a_job_is_failed_only_after_the_grace():
    """#9: its request may still be on its way, and Fabric's list may lag."""
    assert decided(age=119) == Wait(1)
    assert isinstance(decided(age=120), Fail)


def test_a_run_for_which_fabric_was_never_asked_is_failed_at_once_whatever_jobs_there_are():
    """Whoever asks says so in the trail first: a strangers' job must not be taken for ours."""
    assert isinstance(decided(job(), asked_at=None, age=1), Fail)
    assert isinstance(decided(asked_at=None, alive=True, age=1), Wait)


def test_the_grace_counts_from_the_asking_not_from_the_row():
    """An upload of many minutes may lie between the two."""
    asked_at = CREATED + timedelta(minutes=10)
    assert decided(asked_at=asked_at, age=660) == Wait(60)


def test_one_unknown_job_is_adopted_after_the_grace():
    """#10"""
    assert decided(job()) == Adopt("j1")


def test_one_unknown_job_within_the_grace_may_be_a_strangers_while_ours_is_not_listed_yet():
    assert decided(job(), age=60) == Wait(60)


def test_the_jobs_own_sign_of_life_settles_it_at_once():
    assert decided(job("other"), job("mine"), evidence="mine", age=3) == Adopt("mine")


def test_the_sign_of_life_counts_before_the_job_is_listed():
    assert decided(evidence="mine", age=3) == Adopt("mine")


def test_a_sign_of_life_of_another_runs_job_needs_a_person():
    assert isinstance(decided(evidence="MINE", claimed=["mine"]), NeedsOperator)


def test_several_unknown_jobs_need_a_person_who_is_told_which():
    found = decided(job("j1"), job("j2"))
    assert isinstance(found, NeedsOperator)
    assert "j1, j2" in found.message


def test_a_later_sign_of_life_settles_what_needed_a_person():
    assert decided(job("j1"), job("j2"), evidence="j2") == Adopt("j2")


@pytest.mark.parametrize(
    "strange",
    [job(invoke="Scheduled"), job(seconds=-CLOCK_SKEW.total_seconds() - 1), job("taken")],
    ids=["scheduled", "begun before the run", "of another run"],
)
def test_a_job_that_cannot_be_ours_is_passed_over(strange):
    assert isinstance(decided(strange, claimed=["TAKEN"]), Fail)
    assert decided(strange, job("ours"), claimed=["TAKEN"]) == Adopt("ours")


def test_clocks_that_differ_a_little_do_not_hide_our_job():
    assert decided(job(seconds=-60)) == Adopt("j1")


def test_a_job_that_has_not_begun_could_be_ours_and_is_waited_for():
    assert isinstance(decided(job(seconds=None, status="NotStarted")), Wait)
    assert isinstance(decided(job("j1"), job("j2", None, status="NotStarted")), Wait)
    assert isinstance(decided(job(seconds=None, status="Resting")), Wait)


def test_a_job_that_was_cancelled_before_it_began_did_nothing():
    assert isinstance(decided(job(seconds=None, status="Cancelled")), Fail)


def test_a_job_that_is_listed_twice_is_one_job():
    assert decided(job(), job()) == Adopt("j1")


@pytest.mark.parametrize("state", [{"fabric_job_id": "j9"}, {"status": RunStatus.RUNNING}, {"status": RunStatus.FAILED}])
def test_a_run_that_has_a_job_or_has_ended_has_nothing_to_settle(state):
    assert decided(job(), run=replace(RUN, **state)) == Wait(0)


ids = st.sampled_from(["a", "B", "c", "D", "e"])
jobs = st.builds(
    SeenJob,
    ids,
    st.sampled_from(["Manual", "Scheduled", "manual"]),
    st.sampled_from(["NotStarted", "InProgress", "Completed", "Failed", "Cancelled", "Deduped", "Odd"]),
    st.none() | st.integers(-600, 600).map(lambda seconds: CREATED + timedelta(seconds=seconds)),
)
situations = st.fixed_dictionaries(
    {
        "jobs": st.lists(jobs, max_size=6),
        "claimed": st.sets(ids.map(str.swapcase)),
        "started_evidence": st.none() | ids,
        "asked_at": st.just(CREATED),
        "trigger_alive": st.booleans(),
        "now": st.integers(-30, 3_000).map(lambda seconds: CREATED + timedelta(seconds=seconds)),
    }
)


@given(situations)
def test_a_job_of_another_run_is_never_adopted(situation):
    decision = decide(RUN, grace=GRACE, **situation)
    taken = {name.lower() for name in situation["claimed"]}
    assert not (isinstance(decision, Adopt) and decision.job_id.lower() in taken)


@given(situations)
def test_nothing_is_done_while_the_trigger_lives(situation):
    assert isinstance(decide(RUN, grace=GRACE, **situation | {"trigger_alive": True}), Wait)


@given(situations)
def test_no_run_is_failed_within_the_grace_or_against_a_sign_of_life(situation):
    decision = decide(RUN, grace=GRACE, **situation)
    if isinstance(decision, Fail):
        assert situation["now"] >= CREATED + GRACE
        assert situation["started_evidence"] is None


@given(situations)
def test_without_a_sign_of_life_only_a_lone_manual_job_of_the_right_time_is_adopted(situation):
    decision = decide(RUN, grace=GRACE, **situation | {"started_evidence": None})
    if isinstance(decision, Adopt):
        assert situation["now"] >= CREATED + GRACE
        chosen = [one for one in situation["jobs"] if one.job_id == decision.job_id and one.started_at]
        assert any(one.invoke_type.lower() == "manual" and one.started_at >= CREATED - CLOCK_SKEW for one in chosen)


@given(situations, st.randoms(use_true_random=False))
def test_the_order_of_the_list_does_not_matter(situation, shuffle):
    unique = list({one.job_id: one for one in situation["jobs"]}.values())
    shuffled = unique.copy()
    shuffle.shuffle(shuffled)
    assert decide(RUN, grace=GRACE, **situation | {"jobs": unique}) == decide(RUN, grace=GRACE, **situation | {"jobs": shuffled})


@given(situations)
def test_waiting_is_never_for_longer_than_the_grace_and_a_clock_that_was_set_back(situation):
    decision = decide(RUN, grace=GRACE, **situation)
    if isinstance(decision, Wait):
        assert 0 <= decision.seconds <= GRACE.total_seconds() + 30
