"""Asking for a job of a workspace: in turn, or only if nothing else holds it, together with the uploads that it uses up. All or nothing."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from treadle.control import uploads
from treadle.control.database import Database
from treadle.control.jobs.job import Job, NewJob
from treadle.control.jobs.queue import enqueue, hold_key
from treadle.errors import Conflict

BUSY: Final = "provisioning_running"
_RETRY_SECONDS: Final = 30  # a build takes minutes


def ask_for(own: Database, new: NewJob, *, alone: bool = False, used: Iterable[UUID] = ()) -> Job:
    """Ask for a job that has a key. Safe to repeat with the same id. Whoever asks for one of the same key meanwhile waits, so that of two that
    want to be alone one is.

    alone: only if no other job of the key runs or waits. used: uploads that are this job's from now on.

    Raises:
        Conflict: another one holds the key (`busy`), or has one of the uploads; nothing was asked for.
    """
    with own.transaction() as connection:
        holder = hold_key(connection, new.key or "")
        if alone and holder and holder.job_id != new.job_id:
            raise busy(str(new.payload.get("workspace_id") or ""), holder)
        job = enqueue(own, new, connection=connection)
        for upload_id in used:
            uploads.use_upload(connection, upload_id, job.job_id)
        return job


def busy(workspace_id: str, holder: Job) -> Conflict:
    """What somebody is told who wants a workspace alone that another job holds: which, whose, since when. Pure."""
    what = holder.payload.get("scenario_name") or holder.payload.get("name") or holder.kind
    named = {"job_id": str(holder.job_id), "requested_by": holder.requested_by, "since": holder.created_at.isoformat(), "holder": what}
    return Conflict(
        f"Another provisioning of this workspace is under way: {what}, asked for by {holder.requested_by}.",
        hint="Wait for it to end, or cancel it; POST /api/upload-jobs takes yours now and does it afterwards.",
        details={"code": BUSY, "workspace_id": workspace_id, **named, "retry_after_seconds": _RETRY_SECONDS},
    )
