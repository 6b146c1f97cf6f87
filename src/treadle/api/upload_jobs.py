"""Upload jobs: bring a scenario's archives, and follow what is built of them in the background."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from treadle.actions import scenarios
from treadle.actions.scenarios import UploadJob
from treadle.api.answers import Json
from treadle.api.builds import SLOT_FILES, Building, form_body
from treadle.api.events import LastEventId
from treadle.api.guard import GuardedRoute, Shared, StillWelcome, Who, With, answers, needs
from treadle.api.jobs import JobId
from treadle.api.once import REPLAYED, IdempotencyKey
from treadle.api.runs import After, Limit
from treadle.api.shapes.scenarios import StartedUpload, UploadJobDetails, UploadJobShape, UploadJobsPage
from treadle.control.access import Right

router = APIRouter(route_class=GuardedRoute, tags=["scenarios"])

_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "What happens, each with its number as `id`: `progress` now and then, at the end `complete` or `error`.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 7\nevent: progress\ndata: {"step":"tables","detail":"CoreRouter has 12 rows.","pct":58.0,"slot":"graph"}\n\n'
                'event: error\ndata: {"step":"tables","detail":"The table CoreRouter could not be loaded.","pct":-1}\n\n',
            }
        },
    }
}


@router.post(
    "/api/upload-jobs",
    openapi_extra={**needs(Right.SCENARIOS_BUILD, "scenario.build", "workspace"), "requestBody": form_body(SLOT_FILES)},
    responses={
        **answers(404, 408, 409, 415, 502),
        201: {"headers": {"Location": {"description": "The job.", "schema": {"type": "string"}}}},
    },
    response_model=StartedUpload,
    status_code=201,
)
async def create_upload_job(request: Request, shared: Shared, who: Who, key: IdempotencyKey = None) -> Response:
    """Bring up to five archives of a scenario and have it built. Answered as soon as they are here; jobs of one workspace run one after the other."""
    job_id, replayed = await Building(request, shared, who, key, SLOT_FILES, alone=False).started()
    headers = {"Location": f"/api/upload-jobs/{job_id}"} | ({REPLAYED: "true"} if replayed else {})
    return Json(StartedUpload(job_id=job_id).model_dump(mode="json"), 201, headers)


@router.get("/api/upload-jobs", openapi_extra=needs(Right.SCENARIOS_READ), responses=answers(), response_model=UploadJobsPage)
def list_upload_jobs(
    services: With,
    who: Who,
    *,
    limit: Limit = 50,
    after: After = None,
    workspace_id: Annotated[UUID | None, Query(description="Only those of this workspace.")] = None,
) -> Response:
    """List upload jobs, newest first."""
    found = scenarios.upload_jobs(services, who, workspace_id=workspace_id and str(workspace_id), limit=limit, after=after)
    return UploadJobsPage.answer(found)


@router.get("/api/upload-jobs/{job_id}", openapi_extra=needs(Right.SCENARIOS_READ), responses=answers(404), response_model=UploadJobDetails)
def show_upload_job(services: With, who: Who, job_id: JobId) -> Response:
    """Show one upload job, with what its steps have done."""
    return UploadJobDetails.answer(scenarios.get_upload_job(services, who, job_id))


@router.get(
    "/api/upload-jobs/{job_id}/events",
    openapi_extra=needs(Right.SCENARIOS_READ),
    responses={**answers(404), **_STREAM},
    response_class=Response,
)
async def follow_upload_job(shared: Shared, who: Who, welcome: StillWelcome, job_id: JobId, last_event_id: LastEventId = None) -> Response:
    """Follow an upload job until it has ended."""
    await run_in_threadpool(scenarios.get_upload_job, shared.services, who, job_id)
    return await shared.hub.stream(("upload-job", job_id), last_event_id, who, welcome)


@router.post(
    "/api/upload-jobs/{job_id}/cancel",
    openapi_extra=needs(Right.SCENARIOS_BUILD, "scenario.cancel", "job:{job_id}"),
    responses=answers(404, 409),
    response_model=UploadJobShape,
)
def cancel_upload_job(services: With, who: Who, job_id: JobId) -> UploadJob:
    """Cancel an upload job that waits; ask one that runs to stop before its next step. What it has made stays."""
    return scenarios.cancel_upload_job(services, who, job_id)


@router.post(
    "/api/upload-jobs/{job_id}/retry",
    openapi_extra=needs(Right.SCENARIOS_BUILD, "scenario.retry", "job:{job_id}"),
    responses=answers(404, 409),
    response_model=UploadJobShape,
)
def retry_upload_job(services: With, who: Who, job_id: JobId) -> UploadJob:
    """Ask again for an upload job that failed or was cancelled; steps that are done stay done."""
    return scenarios.retry_upload_job(services, who, job_id)


@router.delete(
    "/api/upload-jobs/{job_id}",
    openapi_extra=needs(Right.SCENARIOS_BUILD, "scenario.delete_job", "job:{job_id}"),
    responses=answers(404, 409),
    response_class=Response,
    status_code=204,
)
def delete_upload_job(services: With, who: Who, job_id: JobId) -> Response:
    """Take an upload job that has ended out of the list. What it built stays."""
    scenarios.delete_upload_job(services, who, job_id)
    return Response(status_code=204)
