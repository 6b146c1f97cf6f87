"""Runs: list, show, start, cancel, compare, restore."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse, Response

from treadle.actions import runs
from treadle.api.guard import GuardedRoute, Who, With, answers, needs
from treadle.api.once import Asking, IdempotencyKey
from treadle.api.problems import documented_by
from treadle.api.shapes.runs import ComparisonShape, Restores, RestoreShape, RunShape, RunsPage, StartRun
from treadle.control.access import Right
from treadle.control.compare import Comparison
from treadle.control.run import Run
from treadle.control.states import RunStatus

router = APIRouter(route_class=GuardedRoute, tags=["runs"])

Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
After = Annotated[str | None, Query(max_length=400, description="`next` of the page before.")]
RunId = Annotated[UUID, Path(description="The run.", examples=["6c0f7e52-5b1c-4c39-9d3e-0a8b8f6f2d11"])]
OtherRunId = Annotated[UUID, Path(description="The run that it is compared to.")]
LOCK_HELD: Final[dict[int | str, dict[str, Any]]] = documented_by(
    {
        "type": "urn:treadle:problem:lock_held",
        "title": "Another run holds the lock",
        "status": 409,
        "detail": "A run is active already: superstore.xlsx (RUNNING), started by ada, since 2026-11-21 10:00:00 UTC.",
        "code": "lock_held",
        "hint": "Wait for it to end, or cancel it; an operator can release a dead lock with: POST /api/lock/release",
        "correlation_id": "7f0c9a2e51d74b7f8a3e5d2c1b0a9f8e",
        "run_id": "6c0f7e52-5b1c-4c39-9d3e-0a8b8f6f2d11",
        "locked_by": "ada",
        "locked_at": "2026-11-21T10:00:00Z",
        "input_file": "superstore.xlsx",
    }
)


@router.get("/api/runs", openapi_extra=needs(Right.RUNS_READ), responses=answers(), response_model=RunsPage)
def list_runs(  # noqa: PLR0913 - each is a filter of its own
    services: With,
    who: Who,
    *,
    limit: Limit = 50,
    after: After = None,
    status: Annotated[list[RunStatus] | None, Query(description="Only these; may be given several times.")] = None,
    file: Annotated[str | None, Query(max_length=200, description="Only runs whose input file contains this.")] = None,
    by: Annotated[str | None, Query(max_length=200, description="Only runs that this person started.")] = None,
    text: Annotated[str | None, Query(max_length=200, description="In file, person or error, or the beginning of the run's id.")] = None,
    since: Annotated[datetime | None, Query(description="Created then or later; with a UTC offset.")] = None,
    until: Annotated[datetime | None, Query(description="Created before; with a UTC offset.")] = None,
) -> Response:
    """List runs, newest first. Runs that start meanwhile neither repeat nor hide others on later pages."""
    found = runs.list_runs(
        services, who, limit=limit, after=after, status=set(status or ()), input_file_contains=file, triggered_by=by, text=text, since=since, until=until
    )  # fmt: skip
    return RunsPage.answer(found)


@router.post(
    "/api/runs",
    openapi_extra=needs(Right.RUNS_START, "run.start", "run"),
    responses={**answers(404, 415, 502), **LOCK_HELD},
    response_model=RunShape,
    status_code=202,
)
def start_run(request: Request, services: With, who: Who, body: StartRun, key: IdempotencyKey = None) -> JSONResponse:
    """Start a governed run of a file in Files/import/. One run at a time: 409 `lock_held` names the holder."""

    def start(run_id: UUID) -> tuple[int, RunShape, dict[str, str]]:
        run = runs.start(services, who, body.input_file, columns=body.columns, sheet=body.sheet, run_id=run_id)
        return accepted(run)

    return Asking(services, who, request, key, body).answer(start)


@router.get("/api/runs/{run_id}", openapi_extra=needs(Right.RUNS_READ), responses=answers(404), response_model=RunShape)
def show_run(services: With, who: Who, run_id: RunId) -> Response:
    """Show one run with all its KPIs."""
    return RunShape.answer(runs.get_run(services, who, run_id))


@router.post(
    "/api/runs/{run_id}/cancel",
    openapi_extra=needs(Right.RUNS_CANCEL, "run.cancel", "run:{run_id}"),
    responses=answers(404, 409, 502),
    response_model=RunShape,
    status_code=202,
)
def cancel_run(services: With, who: Who, run_id: RunId) -> Run:
    """Ask Fabric to stop a run's job. The run ends when Fabric confirms: follow its events."""
    return runs.cancel(services, who, run_id)


@router.get(
    "/api/runs/{run_id}/compare/{other_id}", openapi_extra=needs(Right.RUNS_READ), responses=answers(404), response_model=ComparisonShape
)
def compare_runs(services: With, who: Who, run_id: RunId, other_id: OtherRunId) -> Comparison:
    """Compare the figures of two runs: from the first to the other."""
    return runs.compare(services, who, run_id, other_id)


@router.post(
    "/api/runs/{run_id}/restore",
    openapi_extra=needs(Right.RUNS_RESTORE, "run.restore", "run:{run_id}"),
    responses=answers(404, 409, 502),
    response_model=RunShape,
    status_code=202,
)
def restore_run(request: Request, services: With, who: Who, run_id: RunId, key: IdempotencyKey = None) -> JSONResponse:
    """Publish an earlier run's files to Files/results/current/ again, by a run of its own."""
    return Asking(services, who, request, key).answer(lambda new_id: accepted(runs.restore(services, who, run_id, run_id=new_id)))


@router.get("/api/restores", openapi_extra=needs(Right.RUNS_READ), responses=answers())
def list_restores(services: With, who: Who, limit: Limit = 50, after: After = None) -> Restores:
    """List who brought which run back, newest first."""
    found = runs.list_restores(services, who, after=after, limit=limit + 1)
    more = len(found) > limit
    return Restores(restores=[RestoreShape.model_validate(item) for item in found[:limit]], next=found[limit - 1].cursor if more else None)


def accepted(run: Run) -> tuple[int, RunShape, dict[str, str]]:
    """The answer for a run that was started."""
    return 202, RunShape.model_validate(run), {"Location": f"/api/runs/{run.run_id}"}
