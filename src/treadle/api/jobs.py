"""Background jobs: list, show with steps, cancel, ask again."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from treadle.actions import jobs
from treadle.api.guard import GuardedRoute, Who, With, answers, needs
from treadle.api.runs import After, Limit
from treadle.api.shapes.jobs import JobDetails, JobShape, JobsPage, StepShape
from treadle.control.access import Right
from treadle.control.jobs.job import Job
from treadle.control.jobs.states import JobState

router = APIRouter(route_class=GuardedRoute, tags=["jobs"])

JobId = Annotated[UUID, Path(description="The job.")]


@router.get("/api/jobs", openapi_extra=needs(Right.JOBS_READ), responses=answers(), response_model=JobsPage)
def list_jobs(  # noqa: PLR0913 - each is a filter of its own
    services: With,
    who: Who,
    *,
    limit: Limit = 50,
    after: After = None,
    state: Annotated[JobState | None, Query(description="Only jobs in this state.")] = None,
    kind: Annotated[str | None, Query(max_length=100, description="Only jobs of this kind, such as file_profile.")] = None,
    key: Annotated[str | None, Query(max_length=300, description="Jobs of one key run one after the other.")] = None,
    by: Annotated[str | None, Query(max_length=200, description="Only jobs that this person asked for.")] = None,
) -> Response:
    """List jobs, newest first."""
    return JobsPage.answer(jobs.list_jobs(services, who, limit=limit, after=after, state=state, kind=kind, key=key, requested_by=by))


@router.get("/api/jobs/{job_id}", openapi_extra=needs(Right.JOBS_READ), responses=answers(404))
def show_job(services: With, who: Who, job_id: JobId) -> JobDetails:
    """Show one job with its steps."""
    job = JobShape.model_validate(jobs.get_job(services, who, job_id))
    steps = [StepShape.model_validate(step) for step in jobs.list_steps(services, who, job_id)]
    return JobDetails(**job.model_dump(), steps=steps)


@router.post(
    "/api/jobs/{job_id}/cancel",
    openapi_extra=needs(Right.JOBS_MANAGE, "job.cancel", "job:{job_id}"),
    responses=answers(404, 409),
    response_model=JobShape,
)
def cancel_job(services: With, who: Who, job_id: JobId) -> Job:
    """Cancel a job that waits; ask one that runs to stop before its next step."""
    return jobs.cancel(services, who, job_id)


@router.post(
    "/api/jobs/{job_id}/retry",
    openapi_extra=needs(Right.JOBS_MANAGE, "job.retry", "job:{job_id}"),
    responses=answers(404, 409),
    response_model=JobShape,
)
def retry_job(services: With, who: Who, job_id: JobId) -> Job:
    """Ask again for a job that failed or was cancelled; steps that are done stay done."""
    return jobs.retry(services, who, job_id)


def started_job(job: Job) -> tuple[int, JobShape, dict[str, str]]:
    """The answer for a job that was asked for."""
    return 202, JobShape.model_validate(job), {"Location": f"/api/jobs/{job.job_id}"}
