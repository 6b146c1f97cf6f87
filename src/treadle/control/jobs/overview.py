"""Many jobs of one kind at a glance, in a few queries however many they are – and without those that somebody has put out of sight.

A job that has ended is hidden by an event of its own. So it is hidden as long as nothing has happened to it since: asked for again, it is back.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from treadle.control.cursor import decode_cursor, encode_cursor
from treadle.control.database import Database
from treadle.control.jobs.job import Job, JobEvent, Step, job_from_row, step_from_row
from treadle.control.jobs.queue import MAX_PAGE, Page
from treadle.control.statements import load_queries, with_lines
from treadle.control.stored import checked_name, message_text
from treadle.errors import Conflict, InvalidInput, NotFound

SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))


def shown_jobs(own: Database, kind: str, *, key: str | None = None, limit: int = 50, after: str | None = None) -> Page:
    """One page of jobs of a kind that are not hidden, newest first.

    Raises:
        InvalidInput: the limit is not 1 to 500, or the cursor cannot be used.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"A page cannot have {limit} jobs.", hint=f"Ask for 1 to {MAX_PAGE}.")
    position = decode_cursor("jobs", after) if after else None
    values: dict[str, Any] = {"key": key, "after": position}
    sql = with_lines(SQL["shown_jobs"], {name for name, value in values.items() if value is not None})
    values |= {"kind": kind, "limit": limit + 1, "after_time": position and position.moment, "after_id": position and position.row_id}
    found = [job_from_row(row) for row in own.read(sql, values)]
    more = found[limit - 1] if len(found) > limit else None
    return Page(tuple(found[:limit]), encode_cursor("jobs", more.created_at, more.job_id) if more else None)


def shown_job(own: Database, kind: str, job_id: UUID) -> Job:
    """One job of a kind.

    Raises:
        NotFound: there is none, it is of another kind, or it is hidden.
    """
    rows = own.read(SQL["shown_job"], {"kind": kind, "job_id": job_id})
    if not rows:
        raise NotFound(f"There is no job {job_id}.", hint="List the jobs with: treadle jobs ls", details={"job_id": str(job_id)})
    return job_from_row(rows[0])


def steps_of(own: Database, job_ids: Sequence[UUID]) -> Mapping[UUID, list[Step]]:
    """The steps of each job in their order, without their results."""
    found: dict[UUID, list[Step]] = {job_id: [] for job_id in job_ids}
    for row in own.read(SQL["steps_of"], {"job_ids": list(job_ids)}) if job_ids else ():
        found[row["job_id"]].append(step_from_row(row))
    return found


def newest_told(own: Database, job_ids: Sequence[UUID], member: str) -> Mapping[UUID, list[JobEvent]]:
    """Of each job, the newest event for each value of a member of the events' data."""
    found: dict[UUID, list[JobEvent]] = {job_id: [] for job_id in job_ids}
    for row in own.read(SQL["newest_told"], {"job_ids": list(job_ids), "member": member}) if job_ids else ():
        found[row["job_id"]].append(JobEvent(**row))
    return found


def told_before(own: Database, event: JobEvent) -> JobEvent | None:
    """The newest earlier event of the same job whose data say `step` and `pct`. None: there is none."""
    rows = own.read(SQL["told_before"], {"job_id": event.job_id, "seq": event.seq})
    return JobEvent(**rows[0]) if rows else None


def hide_job(own: Database, kind: str, job_id: UUID, who: str) -> Job:
    """Put a job that has ended out of sight.

    Raises:
        NotFound: as `shown_job`.
        Conflict: it has not ended.
    """
    shown = shown_job(own, kind, job_id)
    with own.transaction() as connection:
        message = message_text(f"{checked_name('the name of who deletes', who)} deletes it from the list.")
        row = connection.execute(SQL["hide_job"], {"job_id": job_id, "who": who, "message": message}).fetchone()
    if row is None:
        raise Conflict(f"Job {job_id} has not ended.", hint="Cancel it first.", details={"job_id": str(job_id), "state": str(shown.state)})
    return job_from_row(row)
