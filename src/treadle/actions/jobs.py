"""Background jobs: list, look at, cancel, ask again. What makes a job stands with the thing that it is for."""

from typing import Any
from uuid import UUID

from treadle.actions.change import change
from treadle.actions.services import Services
from treadle.control.access import Principal, Right, require
from treadle.control.jobs import overview, queue
from treadle.control.jobs.job import Job, JobEvent, Step
from treadle.control.jobs.queue import Page


def list_jobs(services: Services, who: Principal, **filters: Any) -> Page:
    """One page of jobs, newest first; right `jobs:read`; the filters are those of `queue.list_jobs`."""
    require(who, Right.JOBS_READ)
    return queue.list_jobs(services.own, **filters)


def list_shown_jobs(services: Services, who: Principal, kind: str, *, limit: int) -> tuple[Job, ...]:
    """The newest jobs of a kind, without those that somebody has put out of sight; right `jobs:read`."""
    require(who, Right.JOBS_READ)
    return overview.shown_jobs(services.own, kind, limit=limit).jobs


def get_job(services: Services, who: Principal, job_id: UUID) -> Job:
    """One job; right `jobs:read`. Raises NotFound."""
    require(who, Right.JOBS_READ)
    return queue.get_job(services.own, job_id)


def find_job(services: Services, who: Principal, text: str) -> Job:
    """The job whose id begins so; right `jobs:read`. Raises InvalidInput, NotFound."""
    require(who, Right.JOBS_READ)
    return queue.find_job(services.own, text)


def list_steps(services: Services, who: Principal, job_id: UUID) -> list[Step]:
    """A job's steps, in order; right `jobs:read`. Raises NotFound."""
    job = get_job(services, who, job_id)
    return queue.list_steps(services.own, job.job_id)


def list_events(services: Services, who: Principal, job_id: UUID, *, after_seq: int = 0, limit: int | None = None) -> list[JobEvent]:
    """What happened to a job behind this number, in order; right `jobs:read`. Raises NotFound."""
    job = get_job(services, who, job_id)
    return queue.list_job_events(services.own, job.job_id, after_seq=after_seq, limit=limit)


def cancel(services: Services, who: Principal, job_id: UUID) -> Job:
    """Cancel a job that waits, or ask one that runs to stop; right `jobs:manage`. Raises NotFound, and Conflict when it has ended."""
    with change(services, who, Right.JOBS_MANAGE, "job.cancel", f"job:{job_id}") as entry:
        job = queue.request_cancel(services.own, job_id, who.name)
        entry.note(kind=job.kind, state=job.state)
        return job


def retry(services: Services, who: Principal, job_id: UUID) -> Job:
    """Ask again for a job that failed or was cancelled; right `jobs:manage`. Raises NotFound, and Conflict for any other job."""
    with change(services, who, Right.JOBS_MANAGE, "job.retry", f"job:{job_id}") as entry:
        job = queue.retry_job(services.own, job_id, who.name)
        entry.note(kind=job.kind, state=job.state)
        return job
