"""The client-side quotas: exact over any window, fair, and never beyond a deadline."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.clients.quotas import CallQuota, Quotas, quota_of, shared_quotas
from treadle.errors import Throttled


class Time:
    """A clock that only sleeping and the test move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/workspaces/w/items/i/jobs/instances", "jobs"),
        ("/v1/workspaces/w/items/i/jobs/instances/j/cancel", "jobs"),
        ("/v1/operations/o", "operations"),
        ("/v1/operations/o/result", "operations"),
        ("/v1/workspaces", "platform"),
        ("/v1/workspaces/w/items", "platform"),
        ("/v1/workspaces/w/jobsite", "platform"),
    ],
)
def test_each_call_counts_against_one_of_three_quotas(path, name):
    assert quota_of(path) == name


@given(st.lists(st.floats(0, 30), min_size=1, max_size=60), st.integers(1, 7))
def test_no_window_ever_holds_more_calls_than_allowed(gaps, calls):
    time = Time()
    quota = CallQuota(calls, 60, clock=time, sleep=time.sleep)
    made = []
    for gap in gaps:
        time.sleep(gap)
        quota.wait_for_turn(1e9)
        made.append(time.now)
    for index in range(len(made) - calls):
        assert made[index + calls] - made[index] >= 60 - 1e-6


def test_within_the_quota_nobody_waits():
    time = Time()
    quota = CallQuota(200, 60, clock=time, sleep=time.sleep)
    assert [quota.wait_for_turn(0) for _ in range(200)] == [0] * 200


def test_a_turn_behind_the_deadline_is_throttled_and_left_to_others():
    time = Time()
    quota = CallQuota(2, 60, clock=time, sleep=time.sleep)
    quota.wait_for_turn(0)
    quota.wait_for_turn(0)
    with pytest.raises(Throttled) as refused:
        quota.wait_for_turn(59)
    assert refused.value.retry_after_seconds == 60
    assert quota.wait_for_turn(60) == 60


def test_many_threads_together_stay_within_the_quota():
    time = Time()
    quota = CallQuota(10, 60, clock=time, sleep=lambda _: None)
    waits: list[float] = []
    start = threading.Barrier(40)

    def call() -> None:
        start.wait()
        waits.append(quota.wait_for_turn(1e9))

    threads = [threading.Thread(target=call) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == [0] * 10 + [60] * 10 + [120] * 10 + [180] * 10


def test_one_identity_shares_its_quotas_and_another_does_not():
    assert shared_quotas("https://a", "me") is shared_quotas("https://a", "me")
    assert shared_quotas("https://a", "me") is not shared_quotas("https://a", "you")
    assert shared_quotas("https://a", "me") is not shared_quotas("https://b", "me")


def test_the_three_quotas_do_not_touch_each_other():
    quotas = Quotas(calls=1)
    quotas.wait_for_turn("/v1/workspaces", 0)
    quotas.wait_for_turn("/v1/operations/o", 0)
    quotas.wait_for_turn("/v1/workspaces/w/items/i/jobs/instances", 0)
    with pytest.raises(Throttled):
        quotas.wait_for_turn("/v1/workspaces", 0)
