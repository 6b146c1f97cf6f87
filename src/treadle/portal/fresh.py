"""What one session has just read is good enough for the others, for a moment. Safe for all sessions at once."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from treadle.errors import TreadleError

FRESH_SECONDS: Final = 1.5  # a look that is younger is good enough for a page that goes on by itself
_MOST_LOOKS: Final = 100  # different ones that are kept

T = TypeVar("T")


@dataclass(slots=True)
class _Look:
    """What was found, or what was met instead; by the clock of this process."""

    began: float
    found: Any


class Fresh:
    """Looks by their key. Rights are not looked at: whoever asks must have been let through before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looking = threading.Lock()
        self._looks: dict[Any, _Look] = {}

    def get(self, key: Any, read: Callable[[], T], fresh_seconds: float = FRESH_SECONDS) -> T:
        """What was read under this key at most so many seconds ago, else what is read now. 0: no look that began before this call will do.

        What is met is kept, too: a database that is away is slow to say so, and need not say it to each session. Raises what was met.
        """
        oldest = self._clock() - fresh_seconds
        with self._looking:
            look = self._looks.get(key)
            if look is None or look.began < oldest:
                look = self._looks[key] = _Look(self._clock(), _read(read))
                self._forget()
        if isinstance(look.found, TreadleError):
            raise look.found
        return look.found

    def clear(self) -> None:
        """Let everything be read anew: somebody has just changed something."""
        with self._looking:
            self._looks.clear()

    def _forget(self) -> None:
        while len(self._looks) > _MOST_LOOKS:
            del self._looks[min(self._looks, key=lambda key: self._looks[key].began)]


def _read(read: Callable[[], T]) -> T | TreadleError:
    try:
        return read()
    except TreadleError as error:
        return error
