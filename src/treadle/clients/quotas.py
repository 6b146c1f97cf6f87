"""Fabric's three quotas, kept on our side so that a busy process waits instead of being refused.

Source: https://learn.microsoft.com/en-gb/rest/api/fabric/articles/throttling – per identity, 200 calls in 60 seconds for each of the
platform APIs, the job scheduler APIs and the long-running operation APIs.
"""

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

from treadle.clients.deadline import SecondsClock
from treadle.errors import Throttled

QuotaName = Literal["platform", "jobs", "operations"]

CALLS: Final = 200
PER_SECONDS: Final = 60.0

_JOBS: Final = re.compile(r"/jobs(?:/|$)")
_OPERATIONS: Final = re.compile(r"/operations(?:/|$)")


def quota_of(path: str) -> QuotaName:
    """Which of the three quotas a call to this path counts against."""
    if _JOBS.search(path):
        return "jobs"
    return "operations" if _OPERATIONS.search(path) else "platform"


class CallQuota:
    """At most `calls` in any `per_seconds`, whatever the alignment of the server's window. First come, first served; thread-safe."""

    def __init__(
        self,
        calls: int = CALLS,
        per_seconds: float = PER_SECONDS,
        *,
        clock: SecondsClock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._slots: deque[float] = deque(maxlen=calls)  # when the latest calls were or will be made, in order
        self._per_seconds = per_seconds
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()

    def wait_for_turn(self, at_most_seconds: float) -> float:
        """Wait until one more call is within the quota; returns the seconds waited.

        Raises:
            Throttled: the turn would come later than `at_most_seconds` from now. It is then left to others.
        """
        with self._lock:
            now = self._clock()
            turn = max(now, self._earliest())
            if turn - now > at_most_seconds:
                raise _full(turn - now)
            self._slots.append(turn)
        if turn > now:
            self._sleep(turn - now)
        return turn - now

    def _earliest(self) -> float:
        full = len(self._slots) == self._slots.maxlen
        return self._slots[0] + self._per_seconds if full else float("-inf")


def _full(wait_seconds: float) -> Throttled:
    return Throttled(
        f"This process has used up Fabric's quota of calls; the next one is due in {wait_seconds:.0f} s.",
        retry_after_seconds=wait_seconds,
        hint="Wait, or start fewer things at once.",
    )


class Quotas:
    """The three quotas of one identity."""

    def __init__(self, calls: int = CALLS, per_seconds: float = PER_SECONDS) -> None:
        names: tuple[QuotaName, ...] = ("platform", "jobs", "operations")
        self._by_name: dict[QuotaName, CallQuota] = {name: CallQuota(calls, per_seconds) for name in names}

    def wait_for_turn(self, path: str, at_most_seconds: float) -> float:
        """`CallQuota.wait_for_turn` for the quota that this path counts against."""
        return self._by_name[quota_of(path)].wait_for_turn(at_most_seconds)


_shared: dict[tuple[str, str], Quotas] = {}
_shared_lock = threading.Lock()


def shared_quotas(origin: str, identity: str) -> Quotas:
    """The quotas that all clients of this process share for one identity at one service."""
    with _shared_lock:
        return _shared.setdefault((origin, identity), Quotas())
