"""The loop that drives every active run to its end, whether or not anybody watches.

Any number of workers may run. Each active run is looked at by one of them at a time: the one whose database session holds the lease
`poll:<run_id>`. A worker that dies loses its sessions and with them its leases; one that hangs loses them when the server ends the idle session.
Between looks a worker remembers only when the next one is due; everything else is in the database, so any other can go on.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from treadle.control import lock, runs
from treadle.control.database import AdvisoryLock, Database
from treadle.control.run import Run
from treadle.errors import Throttled, TreadleError

log = structlog.get_logger()

LEASE_SECONDS = 90  # a worker that is silent for longer has lost its runs; several times the longest look
SWEEP_SECONDS = 30
STANDBY_SECONDS = 2  # between two tries for a run that another worker drives: each takes a session of its own
LONGEST_WAIT_SECONDS = 300  # a server that asks for more is asked again all the same
BACKOFF_SECONDS = (2, 5, 10, 30, 60)  # after the first, second … failed look in a row


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a run led to. `next_seconds`: when to look again, before jitter; None when the run has ended."""

    next_seconds: float | None


@dataclass(slots=True)
class _Lease:
    held: AdvisoryLock
    due: float = 0.0  # on the monotonic clock
    failures: int = 0


@dataclass(slots=True)
class Worker:
    """Drives runs by calling `drive` once per look. `drive` may be called twice for the same state and must not mind."""

    database: Database
    drive: Callable[[Run], Look]
    idle_seconds: float = 1.0  # between two passes of `run`
    _leases: dict[UUID, _Lease] = field(default_factory=dict[UUID, _Lease])
    _held_elsewhere: dict[UUID, float] = field(default_factory=dict[UUID, float])  # when to try again, on the monotonic clock
    _sweep_due: float = 0.0

    def step(self, *, ignore_schedule: bool = True) -> int:
        """Look once at each active run that nobody else is driving, and return how many were looked at.

        ignore_schedule: look even when the next look is not due yet; False is what `run` uses.

        Raises:
            TreadleError: the database cannot be reached, or broke off; nothing is lost, call again.
        """
        active = runs.active_runs(self.database)
        self._drop_leases_of_ended_runs({run.run_id for run in active})
        looked = sum(self._look_if_due(run, ignore_schedule=ignore_schedule) for run in active)
        self._sweep(ignore_schedule=ignore_schedule)
        return looked

    def run(self, stop: threading.Event) -> None:
        """Step until told to stop. A database that is away is waited for."""
        log.info("worker.started")
        outage = 0
        while not stop.is_set():
            try:
                self.step(ignore_schedule=False)
                outage = 0
            except TreadleError as error:  # away, or too busy: nothing is lost, since every step may run twice
                outage += 1
                log.warning("worker.database_unavailable", error=str(error), kind=type(error).__name__, in_a_row=outage)
            stop.wait(_backoff(outage) if outage else self.idle_seconds)
        self.close()
        log.info("worker.stopped")

    def run_until_idle(self, *, timeout_seconds: float) -> bool:
        """Step until no run is active. False: some run still is when the time is over."""
        deadline = time.monotonic() + timeout_seconds
        pause = threading.Event()
        while time.monotonic() < deadline:
            self.step(ignore_schedule=False)
            if not runs.active_runs(self.database):
                return True
            pause.wait(min(self.idle_seconds, 0.2))
        return False

    def close(self) -> None:
        """Give back all leases, so that another worker takes over at once."""
        for lease in self._leases.values():
            lease.held.release()
        self._leases.clear()

    def _look_if_due(self, run: Run, *, ignore_schedule: bool) -> bool:
        if ignore_schedule:
            self._held_elsewhere.clear()
        lease = self._lease(run.run_id)
        if lease is None or (not ignore_schedule and time.monotonic() < lease.due):
            return False
        with structlog.contextvars.bound_contextvars(run_id=str(run.run_id)):
            lease.due = time.monotonic() + self._look(run, lease)
        return True

    def _look(self, run: Run, lease: _Lease) -> float:
        """Drive once; return the seconds until the next look. What fails is logged here and tried again later, for ever."""
        try:
            look = self.drive(run)
        except TreadleError as error:
            lease.failures += 1
            log.warning("run.look_failed", error=str(error), kind=type(error).__name__, details=error.details, in_a_row=lease.failures)
            asked = error.retry_after_seconds if isinstance(error, Throttled) else None
            return _jittered(max(_backoff(lease.failures), min(asked or 0, LONGEST_WAIT_SECONDS)))
        except Exception:
            # A defect of ours in one run must not stop the others; the run stays active and visible.
            lease.failures += 1
            log.exception("run.look_crashed", in_a_row=lease.failures)
            return _jittered(_backoff(lease.failures))
        lease.failures = 0
        return _jittered(look.next_seconds or 0)

    def _lease(self, run_id: UUID) -> _Lease | None:
        """Return our lease of the run, taking it if nobody has it. None: another worker drives this run."""
        mine = self._leases.get(run_id)
        if mine and mine.held.alive():
            return mine
        self._leases.pop(run_id, None)
        if time.monotonic() < self._held_elsewhere.get(run_id, 0.0):
            return None
        held = self.database.try_advisory_lock(f"poll:{run_id}", idle_timeout_seconds=LEASE_SECONDS)
        if held is None:
            self._held_elsewhere[run_id] = time.monotonic() + STANDBY_SECONDS
            return None
        return self._leases.setdefault(run_id, _Lease(held))

    def _drop_leases_of_ended_runs(self, active: set[UUID]) -> None:
        for run_id in self._leases.keys() - active:
            self._leases.pop(run_id).held.release()
        for run_id in self._held_elsewhere.keys() - active:
            del self._held_elsewhere[run_id]

    def _sweep(self, *, ignore_schedule: bool) -> None:
        """Free a lock whose run has ended or is unknown: the last net under every other rule."""
        if not ignore_schedule and time.monotonic() < self._sweep_due:
            return
        self._sweep_due = time.monotonic() + SWEEP_SECONDS
        if freed := lock.sweep_lock(self.database):
            log.warning("lock.swept", run_id=str(freed))


def _backoff(failures: int) -> float:
    return BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1]


def _jittered(seconds: float) -> float:
    """Spread looks by a fifth around the asked time, so that workers and runs do not move in step."""
    return seconds * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load, guards nothing
