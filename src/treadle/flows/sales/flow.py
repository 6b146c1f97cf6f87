"""The sales flow as its callers see it: start a run, restore an old one, cancel.

ARCHITECTURE.md walks a run from here to its end. What drives it after the start is `drive.py`; what runs inside Fabric is `ingest.py`;
freeing a lock that nobody will free any more is `release.py`.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import structlog

from treadle.clients.fabric import JobId, JobLocation
from treadle.clients.onelake import StagedUpload
from treadle.control import events, runs
from treadle.control.database import AdvisoryLock
from treadle.control.run import NewRun, Run
from treadle.control.states import RunStatus
from treadle.errors import Conflict, InvalidInput, NotFound, OutcomeUnknown, TreadleError, Unavailable
from treadle.flows.sales.input_file import check_input_file, restore_input
from treadle.flows.sales.input_files import Progress, Wishes, require_input_file, staged_file, store_wishes
from treadle.flows.sales.lakehouse import RUN_METADATA, import_path, run_path
from treadle.flows.sales.services import SalesServices

log = structlog.get_logger()

_SAME_RUN_SECONDS: Final = 10.0  # how long a repeated start waits for the first to be recorded: the time of one transaction


@dataclass(frozen=True, slots=True)
class StartRequest:
    """What somebody asks for when starting a run."""

    input_file: str  # a name in Files/import/
    requested_by: str
    local_file: Path | None = None  # put there under that name, once the lock is ours; None: the file is in the lake already
    wishes: Wishes = field(default_factory=Wishes)  # how to read it; stored beside the file


def start(services: SalesServices, request: StartRequest, *, run_id: UUID | None = None, progress: Progress | None = None) -> Run:
    """Start one governed run and return it, SUBMITTED, with its Fabric job.

    A run that comes back without a job is one whose trigger was answered by silence: the worker finds out what became of it.

    run_id: makes the start safe to repeat: there is one run of this id, whoever was first, and everybody gets it, as it is by now. None: a new one.

    Raises:
        LockHeld: another run is active; its details name the holder.
        Conflict: `run_id` is that of a run of another file or person.
        NotFound, InvalidInput: the input file cannot be used; nothing was started.
        PermissionDenied, Throttled, Unavailable, …: Fabric or the lake refused; the run is recorded as FAILED and the lock is free.
    """
    input_file = check_input_file(request.input_file)
    new = _new_run(services, input_file, request.requested_by, run_id)
    if run_id and (run := _same_run(services, new)):
        return run
    with _staged(services, request, input_file, progress) as staged:

        def place_input() -> None:
            """Under the lock, so that no other run can be reading what is replaced."""
            if staged:
                staged.put_in_place(import_path(input_file))
            store_wishes(services.lake, input_file, request.wishes)
            if told := request.wishes.told():
                events.append_event(
                    services.database, new.run_id, events.log(f"{told} This is stored beside the file, for later runs too.")
                )

        def record() -> Run:
            return runs.start_run(services.database, new, f"{new.triggered_by} started a run of {input_file}.")

        return _start_once(services, new, lambda: _start(services, new, record, place_input), repeatable=run_id is not None)


def restore(services: SalesServices, source_run_id: UUID, requested_by: str, *, run_id: UUID | None = None) -> Run:
    """Start a run that publishes an earlier run's files to `current/` again. run_id: as for `start`.

    Raises:
        NotFound, Conflict: there is no such run, it did not succeed, or its files are not complete; nothing was started.
        LockHeld and the others: as `start`.
    """
    new = _new_run(services, restore_input(source_run_id), requested_by, run_id)
    if run_id and (run := _same_run(services, new)):
        return run
    _require_complete_run(services, source_run_id)

    def record() -> Run:
        return runs.start_restore(services.database, new, source_run_id, requested_by)

    return _start_once(services, new, lambda: _start(services, new, record, lambda: None), repeatable=run_id is not None)


def cancel(services: SalesServices, run_id: UUID, requested_by: str) -> Run:
    """Ask Fabric to stop a run's job. The run ends as FAILED, with the name of who cancelled, when Fabric says that the job has ended.

    The request is in the trail: a run that has no job yet, or whose job did not hear of it, is cancelled by the worker.

    Raises:
        Conflict: the run has ended already.
    """
    run = runs.request_cancel(services.database, run_id, requested_by)
    if run.fabric_job_id:
        cancel_job(services, run.fabric_job_id)
    return run


def cancel_job(services: SalesServices, job_id: str) -> None:
    """Ask Fabric to stop a job; one that has ended meanwhile, or that Fabric no longer knows, is fine."""
    try:
        services.fabric.cancel_job_instance(services.workspace, services.pipeline, JobId(job_id))
    except (Conflict, NotFound) as error:
        log.info("job.not_cancelled", job_id=job_id, reason=error.message)


def _new_run(services: SalesServices, input_file: str, requested_by: str, run_id: UUID | None) -> NewRun:
    if not requested_by.strip():
        raise InvalidInput("A run needs the name of who starts it.", hint="Set TREADLE_USER or give --user.")
    return NewRun(
        run_id=run_id or uuid4(),
        triggered_by=requested_by,
        input_file=input_file,
        workspace_id=services.workspace,
        pipeline_item_id=services.pipeline,
        app_version=services.app_version,
    )


@contextmanager
def _staged(services: SalesServices, request: StartRequest, input_file: str, progress: Progress | None) -> Generator[StagedUpload | None]:
    """Bring the file's bytes to the lake before the lock is taken: an upload may take long, and nobody should wait for it."""
    if request.local_file is None:
        require_input_file(services.lake, input_file)
        yield None
        return
    with staged_file(services.lake, request.local_file, limit_bytes=services.upload_limit_bytes, progress=progress) as staged:
        yield staged


def _same_run(services: SalesServices, new: NewRun) -> Run | None:
    """The run that an earlier start with this id has made. None: there is none yet.

    Raises:
        Conflict: it is of another file or person, so this is not a repetition.
    """
    try:
        run = runs.get_run(services.database, new.run_id)
    except NotFound:
        return None
    if (run.input_file, run.triggered_by) != (new.input_file, new.triggered_by):
        raise Conflict(
            f"Run {new.run_id} exists already, for another file or person.",
            hint="Use a new id for each run.",
            details={"run_id": str(new.run_id)},
        )
    return run


def _start_once(services: SalesServices, new: NewRun, start_run: Callable[[], Run], *, repeatable: bool) -> Run:
    """Start the run; who loses against a repetition of the same start gets the run that the winner has recorded."""
    deadline, pause = time.monotonic() + _SAME_RUN_SECONDS, threading.Event()
    while True:
        try:
            return start_run()
        except Conflict as lost:
            if not (repeatable and lost.details.get("same_run")):
                raise
            if run := _same_run(services, new):
                return run
            if time.monotonic() > deadline:
                raise
        pause.wait(0.05)  # the winner holds the sign of life, and its row is not committed yet


def _start(services: SalesServices, new: NewRun, record: Callable[[], Run], prepare: Callable[[], None]) -> Run:
    """Record the run and take the lock; prepare; say that Fabric is asked; ask once; record the answer."""
    with _trigger_alive(services, new.run_id) as alive:
        run = record()
        with _failed_unless_asked(services, run):
            prepare()
            _require_alive(alive, run)
            runs.announce_trigger(services.database, run.run_id)
        job = _trigger(services, run)
        return _record_job(services, run, job) if job else run


@contextmanager
def _trigger_alive(services: SalesServices, run_id: UUID) -> Generator[AdvisoryLock]:
    """Hold the sign that this run's trigger lives, so that nobody settles the run's fate while its request is under way."""
    alive = services.database.try_advisory_lock(f"trigger:{run_id}")
    if alive is None:
        raise Conflict(
            f"Run {run_id} is being triggered by another process.", hint="Wait for it.", details={"run_id": str(run_id), "same_run": True}
        )
    try:
        with structlog.contextvars.bound_contextvars(run_id=str(run_id)):
            yield alive
    finally:
        alive.release()


@contextmanager
def _failed_unless_asked(services: SalesServices, run: Run) -> Generator[None]:
    """Whatever breaks off before Fabric is asked – also Ctrl-C – ends the run as FAILED and frees the lock; then the caller learns of it."""
    try:
        yield
    except BaseException as error:
        reason = error.message if isinstance(error, TreadleError) else type(error).__name__
        _end_unstarted(services, run, reason)
        raise


def _end_unstarted(services: SalesServices, run: Run, reason: str) -> None:
    """Best effort: a run that nobody ends here is ended by the worker, since Fabric was never asked."""
    message = f"The run was not started: {reason}"
    try:
        runs.finish_run(services.database, run.run_id, RunStatus.FAILED, error_message=message, events=[events.error(message)])
    except TreadleError as error:
        log.warning("run.end_not_recorded", error=error.message)


def _require_alive(alive: AdvisoryLock, run: Run) -> None:
    """A session that broke has lost its sign of life: the run may have been ended by the worker, and somebody else's may run now."""
    if not alive.alive():
        raise Unavailable(
            f"The connection to the database broke while run {run.run_id} was being prepared, so Fabric was not asked.",
            hint="Start the run again.",
        )


def _trigger(services: SalesServices, run: Run) -> JobLocation | None:
    """Ask Fabric once. None: no answer came; the job may run or not, and the worker will find out. Never repeated."""
    parameters = {"input_file": run.input_file, "run_id": str(run.run_id), "requested_by": run.triggered_by}
    try:
        return services.fabric.run_pipeline(
            services.workspace, services.pipeline, parameters, owner_upn=services.owner_upn, owner_object_id=services.owner_object_id
        )
    except OutcomeUnknown as error:
        log.warning("run.trigger_unanswered", error=error.message)
        _note(services, run, "Fabric's answer to the start was lost. The worker looks whether a job runs.")
        return None
    except TreadleError as error:
        _end_unstarted(services, run, error.message)
        raise


def _note(services: SalesServices, run: Run, warning: str) -> None:
    """Best effort: the run's state says the same."""
    try:
        events.append_event(services.database, run.run_id, events.warning(warning))
    except TreadleError as error:
        log.warning("run.event_not_recorded", error=error.message)


def _record_job(services: SalesServices, run: Run, job: JobLocation) -> Run:
    """Store where the job is. A run that was ended meanwhile (an operator released its lock) must not leave its job running."""
    try:
        return runs.record_job(services.database, run.run_id, job.job_id, job.url, f"Fabric accepted the run as job {job.job_id}.")
    except Conflict:
        cancel_job(services, job.job_id)
        raise
    except (Unavailable, OutcomeUnknown) as error:
        raise Unavailable(
            f"Run {run.run_id} was started in Fabric as job {job.job_id}, but the database went away before that could be noted.",
            hint="Do not start it again: the worker finds the job once the database is back.",
            details={"run_id": str(run.run_id), "job_id": job.job_id},
        ) from error


def _require_complete_run(services: SalesServices, run_id: UUID) -> None:
    if not services.lake.exists(run_path(run_id, RUN_METADATA)):
        raise Conflict(
            f"Run {run_id} cannot be restored: its folder has no {RUN_METADATA}, so it is incomplete.",
            hint="Choose another run: treadle run ls --status SUCCEEDED",
            details={"run_id": str(run_id)},
        )
