"""The life of a run in the database: start, know its job, advance, finish, cancel. Reading runs is in `run_search`, and offered here too.

Every change is guarded by the state it starts from and writes its event in the same transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from psycopg import errors as pg

from treadle.control.advisory import lock_number
from treadle.control.artifacts import NewArtifact, insert_artifacts
from treadle.control.database import Connection, Database
from treadle.control.events import EventType, NewEvent, first_said_at, insert_events, last_name_after, log, status_change
from treadle.control.lock_row import free_lock, take_lock
from treadle.control.restores import insert_restore
from treadle.control.run import RESTORE_PREFIX, NewRun, Run, run_from_row
from treadle.control.run_search import (
    Page,
    active_runs,
    claimed_job_ids,
    find_run,
    get_run,
    latest_succeeded,
    list_runs,
    no_such_run,
    previous_run,
)
from treadle.control.statements import load_queries
from treadle.control.states import RunStatus
from treadle.control.stored import checked_name, checked_time, json_text, message_text
from treadle.errors import Conflict, InvalidInput, NotFound, OutcomeUnknown, Unavailable

__all__ = [
    "RESTORE_PREFIX",
    "NewRun",
    "Page",
    "Run",
    "active_runs",
    "adopt_job",
    "advance_run",
    "cancel_requested_by",
    "claimed_job_ids",
    "find_run",
    "finish_run",
    "get_run",
    "latest_succeeded",
    "list_runs",
    "previous_run",
    "record_job",
    "request_cancel",
    "start_restore",
    "start_run",
]

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
_CANCEL_REQUEST: Final = "Cancellation was requested by "
_TRIGGER_ANNOUNCED: Final = "Fabric is asked to start the job."


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: SUCCEEDED or FAILED, and then why; the figures, if it made any; when its work began, if that was not seen before."""

    status: RunStatus
    reason: str | None = None
    kpis: Mapping[str, Any] | None = None
    started_at: datetime | None = None
    notebook_version: str | None = None

    @property
    def stored_reason(self) -> str | None:
        """What `error_message` says; every failed run has something there."""
        if self.reason:
            return message_text(self.reason)
        return "The run failed; no reason was given." if self.status is RunStatus.FAILED else None


def start_run(database: Database, new: NewRun, message: str) -> Run:
    """Record a run as SUBMITTED, take the lock for it and append the event, all or nothing. Only then may Fabric be called.

    Raises:
        LockHeld: another run is active; nothing was recorded.
        Conflict: a run with this id exists, or the lock's row is missing.
        InvalidInput: a field cannot be stored, or the input is a restore (see `start_restore`).
        Unavailable: the database cannot be reached; nothing was recorded.
    """
    if new.input_file.startswith(RESTORE_PREFIX):
        raise InvalidInput(f"{new.input_file} asks for a restore.", hint="Use: treadle restore RUN")
    return _start(database, new, message, restore_of=None)


def start_restore(database: Database, new: NewRun, source_run_id: UUID, restored_by: str) -> Run:
    """As `start_run`, for a run that publishes an earlier one again, with its line in the restore history.

    The run's `input_file` becomes `__restore__<source run id>`, whatever `new` says.

    Raises:
        NotFound: there is no run to restore.
        Conflict: it did not succeed, or is itself a restore.
        And what `start_run` raises.
    """
    source = get_run(database, source_run_id)
    if source.is_restore:
        raise Conflict(
            f"Run {source_run_id} is itself a restore and has no files of its own.",
            hint=f"Restore {source.input_file.removeprefix(RESTORE_PREFIX)} instead.",
            details={"run_id": str(source_run_id)},
        )
    if source.status is not RunStatus.SUCCEEDED:
        raise Conflict(
            f"Run {source_run_id} is {source.status}; only a run that succeeded can be restored.",
            hint="Choose another run: treadle run ls --status SUCCEEDED",
            details={"run_id": str(source_run_id), "status": str(source.status)},
        )
    checked_name("the name of who restores", restored_by)
    message = f"{restored_by} restores run {source_run_id} ({source.input_file})."
    return _start(database, new, message, restore_of=(source_run_id, restored_by))


def announce_trigger(database: Database, run_id: UUID) -> None:
    """The last word before Fabric is asked, in the trail for everybody: from here on, and not before, a job of the run may exist.

    Raises:
        Conflict: the run has ended or has a job: Fabric must not be asked.
        NotFound: there is no such run.
    """
    with database.transaction() as connection:
        run = _locked_run(connection, run_id)
        if run.status is not RunStatus.SUBMITTED or run.fabric_job_id:
            raise Conflict(
                f"Run {run_id} is {run.status} already, so Fabric was not asked to start it.",
                hint=f"See why with: treadle run show {run_id}",
                details={"run_id": str(run_id), "status": str(run.status)},
            )
        insert_events(connection, run_id, [log(_TRIGGER_ANNOUNCED)])


def trigger_announced_at(database: Database, run_id: UUID) -> datetime | None:
    """When Fabric was about to be asked. None: it never was, so no job of the run can exist."""
    return first_said_at(database, run_id, _TRIGGER_ANNOUNCED)


def record_job(database: Database, run_id: UUID, job_id: str, location_url: str | None, message: str) -> Run:
    """Note which Fabric job carries the run. Safe to repeat with the same job; only the first time writes an event.

    Raises:
        Conflict: lost – the run has another job or has ended, or the job belongs to another run.
        NotFound: there is no such run.
    """
    values = {
        "run_id": run_id,
        "job_id": checked_name("the id of a Fabric job", job_id),
        "location_url": location_url and message_text(location_url),
    }
    with database.transaction() as connection:
        connection.execute(_SQL["claim_job"], {"key": lock_number(f"job:{job_id.lower()}")})
        row = connection.execute(_SQL["record_job"], values).fetchone()
        if row is not None:
            insert_events(connection, run_id, [log(message)])
            return run_from_row(row)
        return _recorded_before(_locked_run(connection, run_id), job_id)


def adopt_job(database: Database, run_id: UUID, job_id: str, message: str) -> Run:
    """As `record_job`, for a job that was found afterwards, when the answer with its location was lost."""
    return record_job(database, run_id, job_id, None, message)


def advance_run(  # noqa: PLR0913 - from where to where, of what and why, is what it is about
    database: Database, run_id: UUID, seen: RunStatus, to: RunStatus, message: str, *, started_at: datetime | None = None
) -> Run | None:
    """Move an active run on to a later active status. None: it is no longer in the status that was seen, so nothing was done.

    started_at: when its work began, if Fabric says; otherwise becoming RUNNING is taken for it.

    Raises:
        InvalidInput: this would go back, stay, or end the run (`finish_run` does that).
    """
    if to.ended or to.rank <= seen.rank:
        raise InvalidInput(f"A run cannot be advanced from {seen} to {to}.", hint="Runs go forward only; finish_run ends them.")
    values = {"run_id": run_id, "seen": seen, "to": to, "started_at": started_at and checked_time("started_at", started_at)}
    with database.transaction() as connection:
        row = connection.execute(database.adapted(_SQL["advance_run"]), values).fetchone()
        if row is None:
            return None
        insert_events(connection, run_id, [status_change(message or f"{seen} → {to}.")])
        return run_from_row(row)


def finish_run(  # noqa: PLR0913 - all that ends together, given by name
    database: Database,
    run_id: UUID,
    status: RunStatus,
    *,
    kpis: Mapping[str, Any] | None = None,
    artifacts: Sequence[NewArtifact] = (),
    error_message: str | None = None,
    events: Sequence[NewEvent] = (),
    started_at: datetime | None = None,
    notebook_version: str | None = None,
) -> bool:
    """End a run: status, KPIs, artifacts, the lock and the events in one transaction. Safe to repeat.

    started_at: when its work began; used only if that was not seen before. notebook_version: of what did the work.

    False: it had ended already; nothing was changed. A STATUS_CHANGE event is added in front when `events` has none.

    Raises:
        NotFound: there is no such run.
        InvalidInput: `status` is not an end, or a value cannot be stored.
    """
    if not status.ended:
        raise InvalidInput(f"{status} does not end a run.", hint="Use SUCCEEDED or FAILED.")
    with database.transaction() as connection:
        before = _locked_run(connection, run_id)
        if before.status.ended:
            return False
        end_run(database, connection, run_id, Ending(status, error_message, kpis, started_at, notebook_version))
        insert_artifacts(connection, run_id, artifacts)
        free_lock(connection, run_id)
        insert_events(connection, run_id, _with_status_change(events, before.status, status, error_message))
        return True


def request_cancel(database: Database, run_id: UUID, who: str) -> Run:
    """Record who wants the run stopped. Stopping the Fabric job is the caller's; the run ends when Fabric says so.

    Raises:
        NotFound: there is no such run.
        Conflict: it has ended already.
    """
    checked_name("the name of who cancels", who)
    with database.transaction() as connection:
        run = _locked_run(connection, run_id)
        if run.status.ended:
            raise Conflict(
                f"Run {run_id} has ended already: {run.status}.", hint="There is nothing to cancel.", details={"status": str(run.status)}
            )
        insert_events(connection, run_id, [log(f"{_CANCEL_REQUEST}{who}")])
        return run


def cancel_requested_by(database: Database, run_id: UUID) -> str | None:
    """Who asked last for the run to be cancelled. None: nobody did."""
    return last_name_after(database, run_id, _CANCEL_REQUEST)


def end_run(database: Database, connection: Connection, run_id: UUID, ending: Ending) -> None:
    """Set the end of a run whose row the caller has locked and seen active."""
    values = {
        "run_id": run_id,
        "status": ending.status,
        "error_message": ending.stored_reason,
        "kpis": None if ending.kpis is None else json_text(ending.kpis),
        "started_at": ending.started_at and checked_time("started_at", ending.started_at),
        "notebook_version": ending.notebook_version and message_text(ending.notebook_version),
    }
    if connection.execute(database.adapted(_SQL["finish_run"]), values).fetchone() is None:
        raise Conflict(f"Run {run_id} has ended already.", hint="Look at it again.", details={"run_id": str(run_id)})


def lock_run(connection: Connection, run_id: UUID) -> Run | None:
    """Read a run and keep others from ending it until this transaction ends. None: there is no such run."""
    row = connection.execute(_SQL["lock_run"], {"run_id": run_id}).fetchone()
    return run_from_row(row) if row else None


def _start(database: Database, new: NewRun, message: str, restore_of: tuple[UUID, str] | None) -> Run:
    try:
        with database.transaction() as connection:
            run = _insert_run(database, connection, new, restore_of)
            take_lock(connection, new.run_id, new.triggered_by)
            if restore_of:
                insert_restore(connection, restore_of[0], new.run_id, restore_of[1])
            insert_events(connection, new.run_id, [status_change(message or f"{new.triggered_by} started the run.")])
            return run
    except OutcomeUnknown:
        return _after_lost_commit(database, new.run_id)


def _insert_run(database: Database, connection: Connection, new: NewRun, restore_of: tuple[UUID, str] | None) -> Run:
    values = {
        "run_id": new.run_id,
        "triggered_by": checked_name("the name of who starts the run", new.triggered_by),
        "input_file": f"{RESTORE_PREFIX}{restore_of[0]}" if restore_of else checked_name("the name of the input file", new.input_file),
        "workspace_id": checked_name("the workspace id", new.workspace_id),
        "pipeline_item_id": checked_name("the pipeline id", new.pipeline_item_id),
        "notebook_version": new.notebook_version,
        "app_version": new.app_version,
    }
    try:
        row = connection.execute(database.adapted(_SQL["insert_run"]), values).fetchone()
    except pg.UniqueViolation as error:
        raise Conflict(
            f"Run {new.run_id} exists already.",
            hint="Use a new id for each run.",
            details={"run_id": str(new.run_id), "same_run": True},
        ) from error
    return run_from_row(row or {})


def _after_lost_commit(database: Database, run_id: UUID) -> Run:
    """The id is ours alone, so its row says whether the commit was made."""
    try:
        return get_run(database, run_id)
    except NotFound as error:
        raise Unavailable("The database went away before the run was recorded; nothing was started.", hint="Try again.") from error


def _locked_run(connection: Connection, run_id: UUID) -> Run:
    run = lock_run(connection, run_id)
    if run is None:
        raise no_such_run(run_id)
    return run


def _recorded_before(run: Run, job_id: str) -> Run:
    if run.fabric_job_id and run.fabric_job_id.lower() == job_id.lower():
        return run
    if run.fabric_job_id:
        why = f"it has job {run.fabric_job_id}"
    elif run.status is not RunStatus.SUBMITTED:
        why = f"it is {run.status}"
    else:
        why = "the job belongs to another run"
    raise Conflict(
        f"Lost: run {run.run_id} cannot have job {job_id}, because {why}.",
        hint="Look at the run before anything is done with this job.",
        details={"run_id": str(run.run_id), "job_id": job_id, "status": str(run.status), "fabric_job_id": run.fabric_job_id},
    )


def _with_status_change(events: Sequence[NewEvent], before: RunStatus, after: RunStatus, reason: str | None) -> list[NewEvent]:
    if any(event.event_type is EventType.STATUS_CHANGE for event in events):
        return list(events)
    return [status_change(f"{before} → {after}" + (f": {reason}" if reason else ".")), *events]
