"""The workbooks in Files/import/: list, show, how their columns are read, what is in them."""

from typing import Annotated, Any

import structlog
from fastapi import APIRouter
from fastapi import Path as InPath

from treadle.actions import files
from treadle.api.answers import Json
from treadle.api.guard import GuardedRoute, Who, With, answers, needs
from treadle.api.jobs import started_job
from treadle.api.shapes import Files, FileShape, JobShape, MappingShape, ProfileShape, PutMapping
from treadle.clients.onelake import LakeFile
from treadle.control.access import Principal, Right
from treadle.control.jobs.job import Job
from treadle.errors import NotFound
from treadle.flows.sales import profiles
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
    openapi_extra=needs(Right.FILES_WRITE),
    responses=answers(404, 409, 415, 502),
    response_model=MappingShape,
)
def put_mapping(services: With, who: Who, name: Name, body: PutMapping) -> ColumnMapping:
    """Store how a workbook's columns are read, in place of what was stored."""
    return files.put_mapping(services, who, name, body.columns, sheet=body.sheet)


@router.get("/api/files/{name}/profile", openapi_extra=needs(Right.FILES_READ), responses=answers(404, 502), response_model=ProfileShape)
def show_profile(services: With, who: Who, name: Name) -> StoredProfile:
    """Show what is in the present version of a workbook, if it was looked into already."""
    files.get_file(services, who, name)
    if found := profiles.cached_profile(services.sales, services.own, name):
        return found
    raise NotFound(
        f"{name} has not been looked into yet, as it is now.",
        hint=f"Ask for it with: POST /api/files/{name}/profile",
        details={"file_name": name},
    )


@router.post(
    "/api/files/{name}/profile",
    openapi_extra=needs(Right.FILES_READ),
    responses={**answers(404, 502), 202: {"model": JobShape, "description": "The job that looks into it; follow its events"}},
    response_model=ProfileShape,
)
def request_profile(services: With, who: Who, name: Name) -> Any:
    """Have a workbook looked into: 200 with the profile if that was done already, else 202 with the job. Asking again gives the same job."""
    found = files.request_profile(services, who, name, correlation_id=_correlation_id())
    return found if isinstance(found, StoredProfile) else _job_answer(found, who)


def _job_answer(job: Job, _who: Principal) -> Json:
    status, shape, headers = started_job(job)
    return Json(shape.model_dump(mode="json"), status, headers)


def _correlation_id() -> str | None:
    return structlog.contextvars.get_contextvars().get("correlation_id")
