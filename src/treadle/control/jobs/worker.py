"""The loop that works off background jobs. Any number may run; a job has one of them at a time.

Each slot is a thread that claims one job, does it, and claims the next. One more thread keeps the leases alive while anything is under way.
Nothing here is needed to go on: a worker that dies leaves a lease that lapses, and any other takes the job up at the step where it was.
"""

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final
from uuid import uuid4

import structlog

from treadle.control.database import Database
from treadle.control.jobs import states
from treadle.control.jobs.claims import Claim, claim_job, renew_leases, rescue_one, settle_job, work_is_left
from treadle.control.jobs.job import Job, JsonValue
from treadle.control.jobs.kinds import Kind
from treadle.control.jobs.queue import stored_json
from treadle.control.jobs.recurring import Recurring, enqueue_due
from treadle.control.jobs.run import Cancelled, DeadlinePassed, Hold, JobContext, LeaseLost, Stopping, patiently
from treadle.control.jobs.states import Happening, Progress, Settlement
from treadle.errors import TreadleError

log = structlog.get_logger()

IDLE_SECONDS: Final = 0.5  # between two looks for work, of all slots together, while there is none
BEAT_SECONDS: Final = (
    2.0  # between two heartbeats, or a third of the shortest lease: also how soon a step in the middle hears of a cancellation
)
TEND_SECONDS: Final = 1.0  # between two looks for lapsed leases and recurrences that are due
GRACE_SECONDS: Final = 20.0  # how long a worker that stops waits for the steps in the middle

Decide = Callable[[Progress], Settlement]


class JobWorker:
    """Works off jobs of the kinds it knows and leaves the others, which a newer worker may know.

    slots: how many jobs at once. lease_seconds: instead of what each kind says. owner: how this worker is called in leases and events.
    recurrings: what it asks for when due. Safe to use from several threads.
    """

    def __init__(  # noqa: PLR0913 - all but two have a default
        self,
        own: Database,
        kinds: Mapping[str, Kind],
        *,
        slots: int = 2,
        lease_seconds: float | None = None,
        owner: str | None = None,
        recurrings: Sequence[Recurring] = (),
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.owner = owner or f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"
        self._own = own
        self._kinds = {name: replace(kind, lease_seconds=lease_seconds or kind.lease_seconds) for name, kind in kinds.items()}
        self._slots = slots
        self._recurrings = recurrings
        self._idle_seconds = idle_seconds
        self._beat_seconds = min([BEAT_SECONDS, *(kind.lease_seconds / 3 for kind in self._kinds.values())])
        self._held: dict[Claim, Hold] = {}  # one job twice, when a slot has not noticed yet that another has taken it up
        self._guard = threading.Lock()  # of the one above and the one below
        self._keeper: tuple[threading.Thread, threading.Event] | None = None  # and how it is told to end
        self._tend_due = 0.0  # on the monotonic clock

    def step(self) -> int:
        """Rescue what lapsed, ask for what recurs, then claim one job that is due and do it; return how many were done, 0 or 1.

        Raises:
            TreadleError: the database cannot be reached, or broke off; nothing is lost, call again.
        """
        self._tend()
        return self._claim_and_do(threading.Event())

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop; then finish the steps in the middle and give the jobs back. A database that is away is waited for."""
        log.info("job_worker.started", owner=self.owner, kinds=sorted(self._kinds), slots=self._slots)
        threads = [threading.Thread(target=self._slot, args=(stop,), name=f"job-slot-{n}", daemon=True) for n in range(self._slots)]
        for thread in threads:
            thread.start()
        while not stop.wait(min(TEND_SECONDS, self._beat_seconds)):
            self._calmly(self._tend_if_due)
        gives_up_at = time.monotonic() + GRACE_SECONDS
        for thread in threads:
            thread.join(max(0.0, gives_up_at - time.monotonic()))
        self.close()
        log.info("job_worker.stopped", owner=self.owner, left_to_lapse=[str(job_id) for job_id, _ in self._held])

    def run_until_idle(self, timeout_seconds: float) -> bool:
        """Work until no job runs, is due or waits for its next attempt, with all slots. False: some still does when the time is over."""
        stop = threading.Event()
        running = threading.Thread(target=self.run, args=(stop,), name="job-worker")
        running.start()
        try:
            return self._idle_before(time.monotonic() + timeout_seconds)
        finally:
            stop.set()
            running.join()

    def work_is_left(self) -> bool:
        """Whether a job of our kinds runs, is due, or waits for its next attempt."""
        return work_is_left(self._own, list(self._kinds.values()))

    def close(self) -> None:
        """End the heartbeat. What is still under way is left to lapse."""
        with self._guard:
            keeper, self._keeper = self._keeper, None
        if keeper:
            thread, closed = keeper
            closed.set()
            thread.join()

    def _slot(self, stop: threading.Event) -> None:
        while not stop.is_set():
            if not self._calmly(lambda: self._claim_and_do(stop)):
                stop.wait(self._idle_seconds * self._slots * _jitter())  # together as often as one would look alone

    def _calmly(self, work: Callable[[], int]) -> int:
        """What fails here is the database, or a defect of ours; neither may end the worker."""
        try:
            return work()
        except TreadleError as error:
            log.warning("job_worker.database_unavailable", error=str(error), kind=type(error).__name__)
        except Exception:
            log.exception("job_worker.crashed")
        return 0

    def _claim_and_do(self, stop: threading.Event) -> int:
        claimed = claim_job(self._own, list(self._kinds.values()), self.owner)
        if claimed is None:
            return 0
        job, seconds_left = claimed
        with structlog.contextvars.bound_contextvars(job_id=str(job.job_id), job_kind=job.kind, correlation_id=job.correlation_id):
            self._do(job, Hold(time.monotonic() + seconds_left, stop))
        return 1

    def _do(self, job: Job, hold: Hold) -> None:
        with self._guard:
            self._held[job.job_id, job.fence] = hold
            self._keep()
        try:
            decide = self._attempt(job, hold)
            ended = patiently(lambda: settle_job(self._own, job, decide), hold.stopping)
            log.info("job.settled", state=ended.state if ended else "lost", attempt=job.attempt)
        except LeaseLost:
            log.warning("job.lease_lost", attempt=job.attempt)
        finally:
            with self._guard:
                del self._held[job.job_id, job.fence]

    def _attempt(self, job: Job, hold: Hold) -> Decide:
        """Do the job as far as it goes; return what its end depends on."""
        try:
            context = patiently(lambda: JobContext(self._own, job, hold), hold.stopping)
            return _succeeded(self._kinds[job.kind].run(context))
        except Cancelled:
            return lambda progress: states.after_cancel(progress.cancelled_by or hold.cancelled_by or "somebody")
        except DeadlinePassed:
            return lambda progress: states.after_deadline(progress.attempt)
        except Stopping:
            return _stopped
        except (LeaseLost, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception; whatever a job raises is its end, never the worker's
            return _failed(error)

    def _keep(self) -> None:
        """Start the heartbeat unless it is there; the caller holds the guard."""
        if self._keeper is None:
            closed = threading.Event()
            thread = threading.Thread(target=self._beat_on, args=(closed,), name="job-heartbeat", daemon=True)
            self._keeper = thread, closed
            thread.start()

    def _beat_on(self, closed: threading.Event) -> None:
        while not closed.wait(self._beat_seconds):
            self._calmly(self._beat)

    def _beat(self) -> int:
        with self._guard:
            held = dict(self._held)
        if not held:
            return 0
        ours = renew_leases(self._own, list(held))
        for claim, hold in held.items():
            hold.lost = hold.lost or claim not in ours
            hold.cancelled_by = ours.get(claim)
        return len(ours)

    def _tend_if_due(self) -> int:
        if time.monotonic() < self._tend_due:
            return 0
        self._tend_due = time.monotonic() + TEND_SECONDS * _jitter()
        return self._tend()

    def _tend(self) -> int:
        """A sign of life of our own first: after an outage that was longer than a lease, what we are still at has not died."""
        self._beat()
        rescued = 0
        while job := rescue_one(self._own):
            rescued += 1
            log.warning("job.rescued", job_id=str(job.job_id), job_kind=job.kind, state=job.state, attempt=job.attempt)
        return rescued + len(enqueue_due(self._own, self._recurrings))

    def _idle_before(self, deadline: float) -> bool:
        pause = threading.Event()
        while time.monotonic() < deadline:
            try:
                if not self.work_is_left():
                    return True
            except TreadleError as error:
                log.warning("job_worker.database_unavailable", error=str(error), kind=type(error).__name__)
            pause.wait(0.1)
        return False


def _succeeded(result: JsonValue) -> Decide:
    stored_json("The result of a job", result)

    def decide(progress: Progress) -> Settlement:
        too_late = f"; {progress.cancelled_by} asked too late for it to be cancelled" if progress.cancelled_by else ""
        return Settlement(Happening.SUCCEED, f"Done{too_late}.", result=result)

    return decide


def _stopped(progress: Progress) -> Settlement:
    return states.after_cancel(progress.cancelled_by) if progress.cancelled_by else states.after_stop()


def _failed(error: BaseException) -> Decide:
    if not isinstance(error, TreadleError):
        log.error("job.crashed", exc_info=error)
    failure = (
        error if isinstance(error, Exception) else RuntimeError(f"The job would have ended its thread: {type(error).__name__} {error}")
    )
    jitter = _jitter()
    return lambda progress: states.after_failure(progress, failure, jitter=jitter)


def _jitter() -> float:
    return random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing
