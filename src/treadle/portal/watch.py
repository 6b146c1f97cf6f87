"""What goes on, looked at once for all sessions of this process: who holds the lock, and what is new in the trails that live pages show.

A page asks at its own pace; the database is asked when the last look is too old, by one page for all, and never while nobody asks. A look is one
small query for the lock and one for the new events of all runs that are shown. Only where it found something is the run read again.

A database that is away takes seconds to say so. A look that failed therefore counts from its end, not from its beginning: all who waited for it are
told the same, instead of looking one after the other.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from treadle.control import feed, runs
from treadle.control.access import Principal, Right, require
from treadle.control.database import Database
from treadle.control.events import Event
from treadle.control.lock import LockState, show_lock
from treadle.control.run import Run
from treadle.errors import TreadleError

FRESH_SECONDS: Final = 1.5  # a look that is younger is good enough for a page that goes on by itself
_ROW_SECONDS: Final = 15.0  # each change writes its event; a row that somebody changed by hand is seen this soon all the same
_UNSEEN_SECONDS: Final = 30.0  # a run that no page has asked for is forgotten


@dataclass(frozen=True, slots=True)
class LockSeen:
    """The lock as it was at a moment, in UTC."""

    state: LockState
    at: datetime


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run and its trail, oldest first. sequence: grows with every event or change that was seen, so equal numbers mean that nothing is new."""

    run: Run
    trail: tuple[Event, ...]
    sequence: int


@dataclass(slots=True)
class _Followed:
    """A run that live pages show, as far as it was read."""

    seen: RunSeen
    ids: set[UUID]
    asked_at: float
    looked_from: float  # when the last look for its events began, or failed
    row_read_at: float


class Watch:
    """One per process. Safe for all sessions at once; the rights are those of who asks, each time."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._looking = threading.Lock()
        self._lock: LockSeen | TreadleError | None = None
        self._lock_from = float("-inf")  # when the last look began, or failed; by the clock of this process
        self._trails_error: TreadleError | None = None
        self._followed: dict[UUID, _Followed] = {}

    def lock(self, who: Principal, *, fresh_seconds: float = FRESH_SECONDS) -> LockSeen:
        """Who holds the lock; right `lock:read`. fresh_seconds: how old the answer may be; 0: no look that began before this call is good enough,
        unless it has failed since.

        Raises:
            PermissionDenied, and what was met when the database was asked.
        """
        require(who, Right.LOCK_READ)
        oldest = self._clock() - fresh_seconds
        with self._looking:
            if self._lock is None or self._lock_from < oldest:
                self._lock_from = self._clock()
                self._lock = self._look_at_lock()
                if isinstance(self._lock, TreadleError):
                    self._lock_from = self._clock()
            found = self._lock
        if isinstance(found, TreadleError):
            raise found
        return found

    def follow(self, who: Principal, run_id: UUID, *, fresh_seconds: float = FRESH_SECONDS) -> RunSeen:
        """A run that goes on, and its trail; right `runs:read`. fresh_seconds: as for `lock`.

        Raises:
            PermissionDenied, NotFound, and what was met when the database was asked.
        """
        require(who, Right.RUNS_READ)
        oldest = self._clock() - fresh_seconds
        with self._looking:
            if known := self._followed.get(run_id):
                known.asked_at = self._clock()
                if known.looked_from < oldest:
                    self._trails_error = self._look_at_trails()
            if self._trails_error and known:
                raise self._trails_error
            known = self._followed.get(run_id) or self._followed.setdefault(run_id, self._begun(run_id))
            return known.seen

    def _look_at_lock(self) -> LockSeen | TreadleError:
        """What is met is kept, too: a database that is away is slow to say so, and need not say it to each session."""
        try:
            return LockSeen(show_lock(self._database), datetime.now(UTC))
        except TreadleError as error:
            return error

    def _begun(self, run_id: UUID) -> _Followed:
        """The run before its events: one that has ended there has all of its events here."""
        now = self._clock()
        run = runs.get_run(self._database, run_id)
        trail = tuple(feed.latest_events(self._database, {run_id: None})[run_id])
        return _Followed(RunSeen(run, trail, len(trail)), {event.id for event in trail}, asked_at=now, looked_from=now, row_read_at=now)

    def _look_at_trails(self) -> TreadleError | None:
        """Read what is new in all of them, in one query; then each run that has something new."""
        now = self._clock()
        self._followed = {run_id: one for run_id, one in self._followed.items() if now - one.asked_at < _UNSEEN_SECONDS}
        for one in self._followed.values():
            one.looked_from = now
        newest = {run_id: one.seen.trail[-1].event_time if one.seen.trail else None for run_id, one in self._followed.items()}
        try:
            found = feed.latest_events(self._database, newest)
        except TreadleError as error:
            for one in self._followed.values():
                one.looked_from = self._clock()
            return error
        for run_id, one in list(self._followed.items()):
            try:
                self._take(one, [event for event in found[run_id] if event.id not in one.ids], now)
            except TreadleError:
                del self._followed[run_id]  # who asks for it next begins anew, and is told what is the matter with it
        return None

    def _take(self, one: _Followed, new: list[Event], now: float) -> None:
        """Add what is new. The row is read after the events, so it is at least as new as they are."""
        if not new and now - one.row_read_at < _ROW_SECONDS:
            return
        run = runs.get_run(self._database, one.seen.run.run_id)
        one.row_read_at = now
        if new or run != one.seen.run:
            trail = sorted((*one.seen.trail, *new), key=lambda event: (event.event_time, event.id))
            one.ids |= {event.id for event in new}
            one.seen = RunSeen(run, tuple(trail), one.seen.sequence + max(1, len(new)))
