"""Who works on which job: claims, heartbeats, the end of an attempt, and the rescue of jobs whose worker fell silent.

A claim is a lease by the database's clock, with a fence that grows each time. How an attempt ends is decided purely (`states`), on the row as
it is under its lock, and written in the same transaction.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from psycopg import errors as pg

from treadle.control.database import Connection, Database
from treadle.control.jobs.job import Job, job_from_row
from treadle.control.jobs.kinds import Kind
from treadle.control.jobs.queue import stored_json
from treadle.control.jobs.states import Progress, Settlement, after_death, next_state
from treadle.control.statements import load_queries
from treadle.control.stored import message_text
from treadle.errors import InvalidInput

SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
Claim = tuple[UUID, int]  # which job, and the fence of whose turn it is


class _KeyTaken(Exception):
    """Another worker took a job of the same key in the same moment. Rolls our transaction back; reaches nobody."""


def claim_job(own: Database, kinds: Collection[Kind], owner: str) -> tuple[Job, float] | None:
    """Take the job of these kinds that is due for longest and whose key is free, with the seconds until its deadline. None: there is none."""
    values = {
        "kinds": [kind.name for kind in kinds],
        "max_attempts": [kind.max_attempts for kind in kinds],
        "deadlines": [float(kind.deadline_seconds) for kind in kinds],  # an array is of whole numbers or of fractions, never of both
        "leases": [float(kind.lease_seconds) for kind in kinds],
        "owner": owner,
        "message": f"Worker {owner} begins.",
    }
    while True:
        try:
            with own.transaction() as connection:
                row = _claimed(connection, values)
        except _KeyTaken:  # visibly now: the next look finds another job, or none
            continue
        return (job_from_row(row), row["seconds_left"]) if row else None


def renew_leases(own: Database, held: Collection[Claim]) -> Mapping[Claim, str | None]:
    """Prolong the leases of these claims; return those that are still ours, with who asked for the job's end, if anybody did."""
    values = {"job_ids": [job_id for job_id, _ in held], "fences": [fence for _, fence in held]}
    with own.transaction() as connection:
        rows = connection.execute(SQL["renew_leases"], values).fetchall()
    return {(row["job_id"], row["fence"]): row["cancel_requested_by"] for row in rows}


def settle_job(own: Database, job: Job, decide: Callable[[Progress], Settlement]) -> Job | None:
    """End our attempt at the job as `decide` says. None: it is not ours any more, and nothing was written."""
    with own.transaction() as connection:
        row = connection.execute(SQL["lock_ours"], {"job_id": job.job_id, "fence": job.fence}).fetchone()
        return _settle(connection, row, decide) if row else None


def rescue_one(own: Database) -> Job | None:
    """Put back, or end, the job whose lease lapsed longest ago. None: no lease has lapsed."""
    with own.transaction() as connection:
        row = connection.execute(SQL["lock_lapsed"]).fetchone()
        return _settle(connection, row, after_death) if row else None


def work_is_left(own: Database, kinds: Collection[Kind]) -> bool:
    """Whether a job of these kinds runs, is due, or waits for its next attempt."""
    return bool(own.read(SQL["work_left"], {"kinds": [kind.name for kind in kinds]})[0]["work_left"])


def _claimed(connection: Connection, values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    try:
        return connection.execute(SQL["claim_job"], values).fetchone()
    except pg.UniqueViolation as error:
        raise _KeyTaken from error


def _settle(connection: Connection, row: Mapping[str, Any], decide: Callable[[Progress], Settlement]) -> Job:
    job = job_from_row(row)
    settled = decide(Progress(job.attempt, job.max_attempts or 1, row["seconds_left"], job.cancel_requested_by))
    state, failure = next_state(job.state, settled.happening), settled.failure
    values = {
        "job_id": job.job_id,
        "state": state,
        "ends": state.ended,
        "delay_seconds": settled.delay_seconds,
        "uncounted": 0 if settled.counts else 1,
        "result": None if settled.result is None else stored_json("The result of a job", settled.result),
        "error_message": failure and message_text(failure.message),
        "error_hint": failure and failure.hint and message_text(failure.hint),
        "error_details": failure and _facts(failure.details),
        "level": "WARNING" if failure else "INFO",
        "message": message_text(settled.message),
    }
    return job_from_row(connection.execute(SQL["settle_job"], values).fetchone() or {})


def _facts(details: Mapping[str, Any]) -> str:
    """An error's details as JSON. What cannot be stored is left out: it must not keep the failure itself from being recorded."""
    try:
        return stored_json("The details of an error", details)
    except InvalidInput as error:
        return stored_json("", {"left_out": error.message})
