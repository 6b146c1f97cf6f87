"""Free a lock that nobody will free any more: an operator's last resort, which still never leaves two jobs running."""

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import NoReturn
from uuid import UUID

import structlog

from treadle.clients.fabric import JobId
from treadle.control import events, lock, runs
from treadle.control.lock import LockState
from treadle.control.run import Run
from treadle.control.states import JobStatus, job_status
from treadle.errors import Conflict, NotFound, TreadleError
from treadle.flows.sales.drive import drive_run
from treadle.flows.sales.flow import cancel_job
from treadle.flows.sales.services import SalesServices

log = structlog.get_logger()

STILL_HELD = (
    "The lock is still held. Only if you are sure that no job runs: treadle lock release --reason … --even-if-running "
    "(Fabric is not asked; what a job that runs all the same publishes later is mixed with the next run's)."
)


def release_lock(  # noqa: PLR0913 - who, why, whose, and how far: each named
    services: SalesServices,
    requested_by: str,
    reason: str,
    *,
    run_id: UUID | None = None,
    even_if_running: bool = False,
    wait_seconds: float = 30,
) -> LockState:
    """Free the lock, and return what held it.

    The Fabric job of its run is cancelled first and seen to its end. A run whose job turns out to have ended by itself gets the end that Fabric
    gave it; any other ends as FAILED with the operator's name and reason.

    run_id: release only if this run holds the lock, as the operator saw it; None releases from whichever.
    even_if_running: release although the job may still be running; what it publishes later is then mixed with the next run's.

    Raises:
        InvalidInput: name or reason is missing or too long; nothing was done.
        Conflict: the lock is free already, or is held by another run than `run_id`; the job did not end in time, or a trigger is still under way.
        Unavailable and others: Fabric could not be asked. Whatever refuses says in its hint that the lock is still held.
    """
    requested_by, reason = lock.check_release(requested_by, reason)
    held = lock.show_lock(services.database)
    if held.run_id is None:
        raise Conflict("The lock is free: there is nothing to release.", hint="See it with: treadle lock show")
    if run_id is not None and held.run_id != run_id:
        raise Conflict(
            f"Run {run_id} does not hold the lock any more: run {held.run_id} does, of {held.locked_by or 'somebody'}.",
            hint="Nothing was released. Look at that run first.",
            details={"run_id": str(held.run_id), "locked_by": held.locked_by},
        )
    if held.run and not held.run.status.ended:
        events.append_event(services.database, held.run_id, events.warning(f"{requested_by} asks to release the lock: {reason}"))
        if not even_if_running and _end_job(services, held.run, requested_by, wait_seconds) is JobStatus.COMPLETED:
            _finish_truthfully(services, held.run)
    if lock.show_lock(services.database).run_id == held.run_id:
        lock.force_release(services.database, requested_by, reason, run_id=held.run_id)
    return held


def _end_job(services: SalesServices, run: Run, requested_by: str, wait_seconds: float) -> JobStatus | None:
    """Cancel the run's job and see it end, or refuse. Returns how it ended; None when Fabric no longer knows it.

    A worker that sees the end first finishes the run and frees the lock; the trail then has the operator's name and reason all the same.
    """
    if run.fabric_job_id is None:
        _refuse_while_unsettled(services, run)
    job_id, pause = run.fabric_job_id, threading.Event()
    for second in range(max(1, int(wait_seconds)) + 1):
        try:
            with _refusal_leaves_lock():
                status = job_status(services.fabric.get_job_instance(services.workspace, services.pipeline, JobId(job_id)).status)
        except NotFound:
            return None
        if status and status.ended:
            return status
        if second == 0:
            with suppress(Conflict):  # a worker has finished the run just now
                runs.request_cancel(services.database, run.run_id, requested_by)
            with _refusal_leaves_lock():
                cancel_job(services, job_id)
        pause.wait(1)
    raise Conflict(
        f"Fabric was asked to cancel job {job_id} of run {run.run_id}, but it has not ended within {wait_seconds:.0f} s.",
        hint=f"Wait and try again. {STILL_HELD}",
        details={"run_id": str(run.run_id), "job_id": job_id},
    )


@contextmanager
def _refusal_leaves_lock() -> Generator[None]:
    """Whatever Fabric answers, the operator's question is what has become of the lock."""
    try:
        yield
    except TreadleError as error:
        error.hint = f"{error.hint} {STILL_HELD}" if error.hint else STILL_HELD
        raise


def _finish_truthfully(services: SalesServices, run: Run) -> None:
    """One look, as the worker would: a job that completed makes a run that succeeded, with its figures, not one that an operator failed."""
    try:
        drive_run(services, run)
    except TreadleError as error:
        log.warning("run.look_failed", error=error.message)


def _refuse_while_unsettled(services: SalesServices, run: Run) -> NoReturn:
    """A run without a job may be having one started this very moment; or its fate is unknown and the worker's to settle."""
    alive = services.database.try_advisory_lock(f"trigger:{run.run_id}")
    if alive:
        alive.release()
    state = "its outcome is unknown and the worker is settling it" if alive else "it is being triggered at this moment"
    raise Conflict(
        f"Run {run.run_id} has no Fabric job yet: {state}.",
        hint=f"Wait for the grace period to pass. {STILL_HELD}",
        details={"run_id": str(run.run_id)},
    )
