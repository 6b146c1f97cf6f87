"""The decisions of a retry, as values: no network, no clock."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.clients.deadline import Deadline, seconds_left, within
from treadle.clients.retry import (
    BACKOFF_SECONDS_MAX,
    GARBLED_ATTEMPTS,
    RETRY_AFTER_SECONDS_MAX,
    Answered,
    Attempt,
    Garbled,
    Lost,
    NotSent,
    Pace,
    Step,
    attempt_until_settled,
    judge,
    pause_seconds,
    read_retry_after,
    retry_after_of,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
statuses = st.integers(100, 599)


@pytest.mark.parametrize(
    ("ending", "safe", "unsafe"),
    [
        (Answered(200), Step.ACCEPT, Step.ACCEPT),
        (Answered(202), Step.ACCEPT, Step.ACCEPT),
        (Answered(302), Step.REFUSE, Step.UNKNOWN),
        (Answered(400), Step.REFUSE, Step.REFUSE),
        (Answered(401), Step.RENEW_TOKEN, Step.RENEW_TOKEN),
        (Answered(403), Step.REFUSE, Step.REFUSE),
        (Answered(404), Step.REFUSE, Step.REFUSE),
        (Answered(408), Step.REPEAT, Step.UNKNOWN),
        (Answered(409), Step.REFUSE, Step.REFUSE),
        (Answered(429), Step.REPEAT, Step.REPEAT),
        (Answered(430), Step.REPEAT, Step.REFUSE),
        (Answered(400, "TooManyRequestsForJobs"), Step.REPEAT, Step.REFUSE),
        (Answered(503, "RequestBlocked"), Step.REPEAT, Step.UNKNOWN),
        (Answered(500), Step.REPEAT, Step.UNKNOWN),
        (Answered(501), Step.REFUSE, Step.REFUSE),
        (Answered(502), Step.REPEAT, Step.UNKNOWN),
        (Answered(503), Step.REPEAT, Step.UNKNOWN),
        (Answered(504), Step.REPEAT, Step.UNKNOWN),
        (NotSent("refused"), Step.REPEAT, Step.REPEAT),
        (NotSent("not trusted", lasting=True), Step.REFUSE, Step.REFUSE),
        (Lost("reset"), Step.REPEAT, Step.UNKNOWN),
        (Garbled("HTML", 200), Step.REPEAT, Step.UNKNOWN),
    ],
)
def test_what_follows_an_attempt(ending, safe, unsafe):
    assert judge(ending, "safe") is safe
    assert judge(ending, "unsafe") is unsafe


@given(statuses, st.integers(1, 50), st.booleans())
def test_an_unsafe_call_that_may_have_arrived_is_never_repeated(status, attempt, token_renewed):
    step = judge(Answered(status), "unsafe", attempt=attempt, token_renewed=token_renewed)
    if step is Step.REPEAT:
        assert status == 429
    if status in (408, 500, 502, 503, 504):
        assert step is Step.UNKNOWN


def test_a_token_is_renewed_once():
    assert judge(Answered(401), "safe", token_renewed=True) is Step.REFUSE


def test_an_answer_that_cannot_be_read_is_asked_for_a_few_times_only():
    assert judge(Garbled("HTML", 200), "safe", attempt=GARBLED_ATTEMPTS - 1) is Step.REPEAT
    assert judge(Garbled("HTML", 200), "safe", attempt=GARBLED_ATTEMPTS) is Step.REFUSE


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_pause_is_jittered_and_bounded(attempt, draw):
    pause = pause_seconds(attempt, None, draw)
    assert 0 <= pause <= BACKOFF_SECONDS_MAX
    assert pause_seconds(attempt, None, 0) == 0


@given(st.integers(1, 100), st.floats(0, RETRY_AFTER_SECONDS_MAX), st.floats(0, 1))
def test_the_pause_is_never_shorter_than_the_server_asked_for(attempt, asked, draw):
    assert asked <= pause_seconds(attempt, asked, draw) <= max(asked + 1, BACKOFF_SECONDS_MAX)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("57", 57),
        (" 57 ", 57),
        ("1.5", 1.5),
        ("-3", 0),
        ("9" * 400, RETRY_AFTER_SECONDS_MAX),
        ("", None),
        (None, None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("1_000", None),
        ("0x10", None),
        ("12, 12", None),
        ("Sat, 21 Nov 2026 12:01:00 GMT", 60),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_SECONDS_MAX),
        ("Sat, 99 Nov 2026 12:01:00 GMT", None),
        ("Sat, 21 Nov 99999999999 12:01:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_nonsense_is_none(text, seconds):
    assert read_retry_after(text, NOW) == seconds


@given(st.text(max_size=60))
def test_no_retry_after_header_breaks_the_reading(text):
    seconds = read_retry_after(text, NOW)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_SECONDS_MAX


@given(st.integers(0, 100_000), st.integers(-100_000, 100_000))
def test_a_retry_after_date_counts_by_the_servers_own_clock(ahead, skew):
    server_now = NOW + timedelta(seconds=skew)
    until = format_datetime(server_now + timedelta(seconds=ahead), usegmt=True)
    assert retry_after_of({"retry-after": until, "date": format_datetime(server_now, usegmt=True)}, NOW) == ahead


@pytest.mark.parametrize("date", ["yesterday", "", "Sat, 21 Nov 2026 12:00:00 -0000"])
def test_a_useless_date_header_leaves_our_own_clock(date):
    assert retry_after_of({"retry-after": "Sat, 21 Nov 2026 12:01:00 GMT", "date": date}, NOW) == 60


def test_a_pause_that_ends_behind_the_deadline_is_not_begun():
    slept: list[float] = []
    pace = Pace(Deadline(10, lambda: 0.0), slept.append, lambda: 0.5)
    settled = attempt_until_settled(lambda _: Attempt(Answered(429, None, 3600), None), pace)
    assert (settled.step, settled.attempts, slept) == (Step.REPEAT, 1, [])


def test_attempts_go_on_until_the_time_is_used_up():
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    pace = Pace(Deadline(30, lambda: now[0]), sleep, lambda: 0.9)
    settled = attempt_until_settled(lambda _: Attempt(Lost("reset"), None), pace)
    assert settled.step is Step.REPEAT
    assert 15 < now[0] < 30
    assert settled.attempts > 4


def test_an_inner_deadline_never_outlives_the_outer_one():
    with within(10, lambda: 0.0) as outer, within(99, lambda: 0.0) as inner:
        assert inner is outer
        assert seconds_left() == 10
        assert seconds_left(at_most=3) == 3
    assert seconds_left() is None
