"""Fabric's quotas: calls per minute, identity and kind of API, counted in fixed windows of a minute.

Source: "Throttling" of the Fabric REST documentation (Platform, Job Scheduler and Long-Running Operation APIs, 200 calls a minute each).
"""

import math
import threading
from datetime import datetime, timedelta
from typing import Final

from treadle.sandbox.fabric.refusals import Refused

WINDOW_SECONDS: Final = 60
CALLS_PER_WINDOW: Final = 200


class Quota:
    """How many calls each identity has made in the present window. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._window = 0
        self._counts: dict[tuple[str, str], int] = {}

    def count(self, identity: str, bucket: str, now: datetime, limit: int | None) -> None:
        """Count one call; raises RequestBlocked with Retry-After when there were `limit` in this window already. None is no limit."""
        if limit is None:
            return
        seconds = now.timestamp()
        with self._lock:
            window = int(seconds // WINDOW_SECONDS)
            if window != self._window:
                self._window, self._counts = window, {}
            made = self._counts.get((identity, bucket), 0)
            if made < limit:
                self._counts[identity, bucket] = made + 1
                return
        raise _blocked(now, (window + 1) * WINDOW_SECONDS - seconds)


def _blocked(now: datetime, seconds_left: float) -> Refused:
    until = now + timedelta(seconds=seconds_left)
    when = f"{until.month}/{until.day}/{until.year} {until.hour % 12 or 12}:{until:%M:%S %p}"
    message = f"Request is blocked by the upstream service until: {when} (UTC)"
    return Refused(429, "RequestBlocked", message, headers={"Retry-After": str(max(1, math.ceil(seconds_left)))})
