"""The one table of states, and the pure decisions on how an attempt ends."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.control.jobs import states
from treadle.control.jobs.states import (
    FINAL_ERRORS,
    LONGEST_BACKOFF_SECONDS,
    TRANSITIONS,
    Happening,
    JobState,
    Progress,
    after_cancel,
    after_deadline,
    after_death,
    after_failure,
    after_stop,
    backoff_seconds,
    next_state,
)
from treadle.errors import Conflict, InvalidInput, Throttled, TreadleError, Unavailable

ROOT = Path(__file__).parents[2]
ALL = [(state, happening) for state in JobState for happening in Happening]
progresses = st.builds(
    Progress,
    attempt=st.integers(1, 50),
    max_attempts=st.integers(1, 50),
    seconds_left=st.floats(-1e6, 1e6),
    cancelled_by=st.none() | st.just("ben"),
)


@pytest.mark.parametrize(("state", "happening"), ALL, ids=lambda value: value.name)
def test_only_what_is_in_the_table_can_happen(state, happening):
    if (state, happening) in TRANSITIONS:
        assert next_state(state, happening) is TRANSITIONS[state, happening]
    else:
        with pytest.raises(Conflict):
            next_state(state, happening)


def test_an_end_is_left_only_by_asking_again_and_success_never():
    left = {state: happening for state, happening in TRANSITIONS if state.ended}
    assert left == {JobState.FAILED: Happening.ASK_AGAIN, JobState.CANCELLED: Happening.ASK_AGAIN}


def test_waiting_grows_and_has_an_end():
    waits = [backoff_seconds(attempt) for attempt in range(1, 2_000)]
    assert waits[:4] == [1, 2, 4, 8]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_BACKOFF_SECONDS


@given(
    progresses, st.sampled_from([Unavailable("away"), InvalidInput("odd"), RuntimeError("odd"), Throttled("slow", retry_after_seconds=7)])
)
def test_every_failure_and_every_death_leads_somewhere_a_running_job_can_go_and_never_beyond_its_attempts_or_its_time(progress, error):
    for settled in (after_failure(progress, error), after_death(progress)):
        next_state(JobState.RUNNING, settled.happening)
        assert settled.counts
        if settled.happening is Happening.PUT_BACK:
            assert progress.attempt < progress.max_attempts
            assert 0 < settled.delay_seconds < progress.seconds_left
            assert progress.cancelled_by is None
        assert (settled.failure is None) == (settled.happening is Happening.CANCEL)


@given(progresses)
def test_what_trying_again_cannot_mend_is_not_tried_again_and_its_reason_is_kept_even_when_it_was_to_be_cancelled(progress):
    for kind in FINAL_ERRORS:
        settled = after_failure(progress, kind("why", hint="what next"))
        assert settled.happening is Happening.FAIL
        assert settled.failure
        assert (settled.failure.message, settled.failure.hint) == ("why", "what next")


def test_a_silence_that_lasts_beyond_the_deadline_is_told_as_lateness():
    """Whether it died or hangs: nobody could have waited for it any longer."""
    settled = after_death(Progress(attempt=1, max_attempts=5, seconds_left=-1.0))
    assert settled == after_deadline(1)
    assert after_death(Progress(1, 5, -1.0, cancelled_by="ben")).happening is Happening.CANCEL


def test_a_server_that_says_when_is_not_asked_earlier():
    progress = Progress(attempt=1, max_attempts=5, seconds_left=1_000)
    assert after_failure(progress, Throttled("slow", retry_after_seconds=90)).delay_seconds == 90
    assert after_failure(progress, Throttled("slow", retry_after_seconds=0.1)).delay_seconds == 1


@pytest.mark.parametrize("settled", [after_cancel("ben"), after_deadline(2), after_stop()])
def test_the_other_ends_of_an_attempt_can_happen_to_a_running_job(settled):
    next_state(JobState.RUNNING, settled.happening)
    assert settled.message.endswith(".") or "deadline" in settled.message


def test_every_class_of_error_is_either_final_or_tried_again():
    """A new class of error must be thought of here."""
    final = {kind.__name__ for kind in FINAL_ERRORS}
    again = {"Throttled", "Unavailable", "OutcomeUnknown", "UnexpectedAnswer"}
    direct = {kind.__name__ for kind in TreadleError.__subclasses__() if kind.__module__ == "treadle.errors"}
    assert direct == final | again


def test_the_page_in_the_docs_is_drawn_from_the_table():
    drawn = (ROOT / "docs" / "job-states.md").read_text(encoding="utf-8")
    assert drawn == states.as_markdown(), "run: python -m treadle.control.jobs.states > docs/job-states.md"
