"""A deadline that bounds everything a thread does in a block, down to each read of a socket.

The deadline travels in a context variable because the libraries in between (httpx2, the Azure SDKs) only know a time-out for each single
read, with which a server that sends one byte now and then can hold a caller for ever.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

SecondsClock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on a monotonic clock."""

    at: float
    clock: SecondsClock = time.monotonic

    @property
    def remaining_seconds(self) -> float:
        """Seconds left; 0 when it has passed."""
        return max(0.0, self.at - self.clock())


_running: ContextVar[Deadline | None] = ContextVar("treadle_deadline", default=None)


@contextmanager
def within(seconds: float, clock: SecondsClock = time.monotonic) -> Generator[Deadline]:
    """Bound the block to so many seconds from now. An outer deadline that comes earlier stays in force."""
    outer, inner = _running.get(), Deadline(clock() + seconds, clock)
    deadline = outer if outer is not None and outer.remaining_seconds < inner.remaining_seconds else inner
    token = _running.set(deadline)
    try:
        yield deadline
    finally:
        _running.reset(token)


def seconds_left(at_most: float | None = None) -> float | None:
    """What a single wait may take now: the running deadline's rest, or `at_most` if that is less. None: neither is set."""
    deadline = _running.get()
    limits = [limit for limit in (deadline.remaining_seconds if deadline else None, at_most) if limit is not None]
    return min(limits, default=None)
