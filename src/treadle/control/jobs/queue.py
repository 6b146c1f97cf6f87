"""Asking for jobs, looking at them, cancelling, asking again, and forgetting those that ended long ago.

Every change writes its event in the same statement, under the job's row lock: so events count up without gaps in the order of the commits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from treadle.control.cursor import decode_cursor, encode_cursor
from treadle.control.database import Connection, Database
from treadle.control.jobs.job import Job, JobEvent, NewJob, Step, job_from_row, step_from_row
from treadle.control.jobs.states import Happening, JobState, next_state
from treadle.control.run_search import SHORTEST_ID, id_span
from treadle.control.statements import load_queries, with_lines
from treadle.control.stored import checked_name, checked_time, json_text, message_text
from treadle.errors import Conflict, InvalidInput, NotFound

SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
MAX_PAGE: Final = 500
MAX_JSON_CHARS: Final = 1_000_000
LONGEST_DEADLINE_SECONDS: Final = 366 * 24 * 3600.0
EVENTS_AT_ONCE: Final = 500  # of each job that is watched


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs, newest first. `next`: give it as `after` for the page behind this one; None when this is the last."""

    jobs: tuple[Job, ...]
    next: str | None


def enqueue(own: Database, new: NewJob, *, connection: Connection | None = None) -> Job:
    """Ask for a job; with the id or the natural key (`once`) of one that is there already, return that one. Safe to repeat if it has either.

    connection: a transaction of `own` that the asking shall be part of.

    Raises:
        InvalidInput: a value cannot be stored.
        Conflict: the id is that of a job of another kind.
    """
    return enqueue_many(own, [new], connection=connection)[0]


def enqueue_many(own: Database, new: Sequence[NewJob], *, connection: Connection | None = None) -> list[Job]:
    """As `enqueue`, for many at once, all or none; returned in the order given."""
    rows = [_new_row(job, position) for position, job in enumerate(new)]
    if connection is not None:
        return _inserted(connection, rows)
    with own.transaction() as transaction:
        return _inserted(transaction, rows)


def hold_key(connection: Connection, key: str) -> Job | None:
    """Let nobody else who asks so go on with this key until the transaction ends, and return the job that has it, or is the next to have it.

    None: no job of the key runs or waits.
    """
    connection.execute(SQL["hold_key"], {"key": key})
    row = connection.execute(SQL["next_of_key"], {"key": key}).fetchone()
    return job_from_row(row) if row else None


def get_job(own: Database, job_id: UUID) -> Job:
    """Return one job.

    Raises:
        NotFound: there is no such job.
    """
    rows = own.read(SQL["get_job"], {"job_id": job_id})
    if not rows:
        raise _no_such_job(job_id)
    return job_from_row(rows[0])


def find_job(own: Database, text: str) -> Job:
    """Return the job whose id is, or begins with, this text.

    Raises:
        InvalidInput: it is no beginning of an id of at least 8 characters, or several jobs begin so.
        NotFound: no job begins so.
    """
    span = id_span(text.strip())
    if span is None or len(text.strip()) < SHORTEST_ID:
        raise InvalidInput(f"{text!a} does not name a job.", hint=f"Give a job's id, or at least its first {SHORTEST_ID} characters.")
    rows = own.read(SQL["jobs_between"], {"lowest": span[0], "highest": span[1]})
    if not rows:
        raise _no_such_job(text.strip())
    if len(rows) > 1:
        raise InvalidInput(f"More than one job begins with {text}.", hint="Give more of the id.")
    return job_from_row(rows[0])


def list_jobs(  # noqa: PLR0913 - each is a filter of its own, given by name
    own: Database,
    *,
    state: JobState | None = None,
    kind: str | None = None,
    key: str | None = None,
    requested_by: str | None = None,
    limit: int = 50,
    after: str | None = None,
) -> Page:
    """Return one page of jobs, newest first. Jobs that are asked for meanwhile neither repeat nor hide others on later pages.

    Raises:
        InvalidInput: the limit is not 1 to 500, or the cursor cannot be used.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"A page cannot have {limit} jobs.", hint=f"Ask for 1 to {MAX_PAGE}.")
    position = decode_cursor("jobs", after) if after else None
    values: dict[str, Any] = {"state": state, "kind": kind, "key": key, "requested_by": requested_by, "after": position}
    sql = with_lines(SQL["list_jobs"], {name for name, value in values.items() if value is not None})
    values |= {"limit": limit + 1, "after_time": position and position.moment, "after_id": position and position.row_id}
    found = [job_from_row(row) for row in own.read(sql, values)]
    more = found[limit - 1] if len(found) > limit else None
    return Page(tuple(found[:limit]), encode_cursor("jobs", more.created_at, more.job_id) if more else None)


def list_steps(own: Database, job_id: UUID) -> list[Step]:
    """Return a job's steps in the order they were first begun; none when there is no such job."""
    rows = own.read(SQL["list_steps"], {"job_id": job_id})
    return [step_from_row(row) for row in rows]


def list_job_events(own: Database, job_id: UUID, *, after_seq: int = 0, limit: int | None = None) -> list[JobEvent]:
    """Return a job's events with a higher number than `after_seq`, in order; none when there is no such job. limit: None for all."""
    return [JobEvent(**row) for row in own.read(SQL["list_events"], {"job_id": job_id, "after_seq": after_seq, "limit": limit})]


def events_since(own: Database, seen: Mapping[UUID, int]) -> list[JobEvent]:
    """Return what happened to these jobs since, by one query however many they are: job → number of the last event seen.

    At most 500 per job at once; ordered by job, then number.
    """
    if not seen:
        return []
    rows = own.read(SQL["events_since"], {"job_ids": list(seen), "seqs": list(seen.values()), "limit": EVENTS_AT_ONCE})
    return [JobEvent(**row) for row in rows]


def request_cancel(own: Database, job_id: UUID, who: str) -> Job:
    """Cancel a job that waits; ask one that runs to stop before its next step. Asking again changes nothing.

    Raises:
        NotFound: there is no such job.
        Conflict: it has ended.
    """
    checked_name("the name of who cancels", who)
    with own.transaction() as connection:
        job = _locked(connection, job_id)
        state = next_state(job.state, Happening.CANCEL)
        if job.cancel_requested_by:
            return job
        waits = job.state is JobState.QUEUED
        message = f"Cancelled by {who}." if waits else f"{who} asks for it to be cancelled."
        values = {"job_id": job_id, "state": state if waits else job.state, "ends": waits, "who": who, "message": message}
        return job_from_row(connection.execute(SQL["cancel_job"], values).fetchone() or {})


def retry_job(own: Database, job_id: UUID, who: str) -> Job:
    """Ask again for a job that failed or was cancelled: due now, attempts and deadline afresh. Steps that are done stay done.

    Raises:
        NotFound: there is no such job.
        Conflict: it has not ended, or succeeded.
    """
    checked_name("the name of who asks", who)
    with own.transaction() as connection:
        job = _locked(connection, job_id)
        state = next_state(job.state, Happening.ASK_AGAIN)
        values = {"job_id": job_id, "state": state, "message": f"{who} asks for it again."}
        return job_from_row(connection.execute(SQL["ask_again"], values).fetchone() or {})


def delete_ended(own: Database, older_than: timedelta) -> int:
    """Forget jobs that ended longer ago than this, with their steps and events, a thousand at a time; return how many."""
    total = 0
    while True:
        with own.transaction() as connection:
            deleted = len(connection.execute(SQL["delete_ended"], {"older_than": older_than}).fetchall())
            connection.execute(SQL["delete_slots"], {"older_than": older_than})
        total += deleted
        if not deleted:
            return total


def stored_json(what: str, value: Any) -> str:
    """JSON as `jsonb` takes it.

    Raises:
        InvalidInput: it is not JSON, or is larger than a million characters.
    """
    text = json_text(value)
    if len(text) > MAX_JSON_CHARS:
        raise InvalidInput(
            f"{what} is too large to be stored: {len(text):,} characters.", hint="Store the data elsewhere and a reference here."
        )
    return text


def _new_row(new: NewJob, position: int) -> dict[str, Any]:
    if new.max_attempts is not None and new.max_attempts < 1:
        raise InvalidInput("A job needs at least one attempt.", details={"max_attempts": new.max_attempts})
    if new.deadline_seconds is not None and not 0 < new.deadline_seconds <= LONGEST_DEADLINE_SECONDS:
        raise InvalidInput(
            "The deadline of a job must be in the future, within a year.", details={"deadline_seconds": str(new.deadline_seconds)}
        )
    names = {"kind": new.kind, "requested_by": new.requested_by, "key": new.key, "once": new.once, "correlation_id": new.correlation_id}
    return {
        **{name: None if text is None else checked_name(f"the {name.replace('_', ' ')} of a job", text) for name, text in names.items()},
        "position": position,
        "job_id": new.job_id or uuid4(),
        "payload": stored_json("The payload of a job", new.payload),
        "due_at": new.due_at and checked_time("due_at", new.due_at),
        "max_attempts": new.max_attempts,
        "deadline_seconds": None if new.deadline_seconds is None else float(new.deadline_seconds),
        "message": message_text(f"{new.requested_by} asks for {new.kind}."),
    }


def _inserted(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Job]:
    columns = {f"{name}s": [row[name] for row in rows] for name in (rows[0] if rows else ())}
    if not columns:
        return []
    fresh = {row["job_id"]: row for row in connection.execute(SQL["insert_jobs"], columns).fetchall()}
    return [job_from_row(fresh[row["job_id"]]) if row["job_id"] in fresh else _there_already(connection, row) for row in rows]


def _there_already(connection: Connection, wanted: Mapping[str, Any]) -> Job:
    row = connection.execute(SQL["get_job_by_natural_key"], {"job_id": wanted["job_id"], "once": wanted["once"]}).fetchone()
    if row is None or row["kind"] != wanted["kind"]:
        raise Conflict(
            f"A job of another kind has the id or the natural key of this {wanted['kind']}.",
            hint="Use another one.",
            details={"job_id": str(wanted["job_id"]), "once": wanted["once"]},
        )
    return job_from_row(row)


def _locked(connection: Connection, job_id: UUID) -> Job:
    row = connection.execute(SQL["lock_job"], {"job_id": job_id}).fetchone()
    if row is None:
        raise _no_such_job(job_id)
    return job_from_row(row)


def _no_such_job(job_id: UUID | str) -> NotFound:
    return NotFound(f"There is no job {job_id}.", hint="List the jobs with: treadle jobs ls", details={"job_id": str(job_id)})
