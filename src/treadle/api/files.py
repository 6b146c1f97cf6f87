"""The workbooks in Files/import/: list, show, how their columns are read, what is in them."""

from typing import Annotated, Any

import structlog
from fastapi import APIRouter
from fastapi import Path as InPath

from treadle.actions import files
from treadle.api.answers import Json
from treadle.api.guard import GuardedRoute, Who, With, answers, needs
from treadle.api.jobs import started_job
from treadle.api.shapes.files import Files, FileShape, MappingShape, ProfileShape, PutMapping
from treadle.api.shapes.jobs import JobShape
from treadle.clients.onelake import LakeFile
from treadle.control.access import Principal, Right
from treadle.control.jobs.job import Job
from treadle.flows.sales.column_mapping import ColumnMapping
from treadle.flows.sales.profiles import StoredProfile

router = APIRouter(route_class=GuardedRoute, tags=["files"])

Name = Annotated[str, InPath(max_length=255, description="A plain name in Files/import/.", examples=["superstore.xlsx"])]


@router.get("/api/files", openapi_extra=needs(Right.FILES_READ), responses=answers(502))
def list_files(services: With, who: Who) -> Files:
    """List the workbooks that a run can read."""
    return Files(files=[FileShape.model_validate(file) for file in files.list_files(services, who)])


@router.get("/api/files/{name}", openapi_extra=needs(Right.FILES_READ), responses=answers(404, 502), response_model=FileShape)
def show_file(services: With, who: Who, name: Name) -> LakeFile:
    """Show one workbook."""
    return files.get_file(services, who, name)


@router.get("/api/files/{name}/mapping", openapi_extra=needs(Right.FILES_READ), responses=answers(404, 502), response_model=MappingShape)
def show_mapping(services: With, who: Who, name: Name) -> ColumnMapping:
    """Show how a workbook's columns are read; empty when nothing is stored."""
    return files.get_mapping(services, who, name)


@router.put(
    "/api/files/{name}/mapping",
    openapi_extra=needs(Right.FILES_WRITE, "file.map", "file:{name}"),
    responses=answers(404, 409, 415, 502),
    response_model=MappingShape,
)
def put_mapping(services: With, who: Who, name: Name, body: PutMapping) -> ColumnMapping:
    """Store how a workbook's columns are read, in place of what was stored."""
    return files.put_mapping(services, who, name, body.columns, sheet=body.sheet)


@router.get(
    "/api/files/{name}/profile", openapi_extra=needs(Right.FILES_READ), responses=answers(404, 409, 502), response_model=ProfileShape
)
def show_profile(services: With, who: Who, name: Name) -> StoredProfile:
    """Show what is in the present version of a workbook. 404: not looked into yet; 409 `profile_failed`: it cannot be, and why, with the job."""
    return files.get_profile(services, who, name)


@router.post(
    "/api/files/{name}/profile",
    openapi_extra=needs(Right.FILES_READ, "file.profile", "file:{name}"),
    responses={**answers(404, 502), 202: {"model": JobShape, "description": "The job that looks into it; follow its events"}},
    response_model=ProfileShape,
)
def request_profile(services: With, who: Who, name: Name) -> Any:
    """Have a workbook looked into: 200 with the profile if that was done already, else 202 with the job. Asking again gives the same job.

    A job that failed because of the file is given as it is, with its state and error: try it again with POST /api/jobs/{job_id}/retry.
    """
    found = files.request_profile(services, who, name, correlation_id=_correlation_id())
    return found if isinstance(found, StoredProfile) else _job_answer(found, who)


def _job_answer(job: Job, _who: Principal) -> Json:
    status, shape, headers = started_job(job)
    return Json(shape.model_dump(mode="json"), status, headers)


def _correlation_id() -> str | None:
    return structlog.contextvars.get_contextvars().get("correlation_id")
