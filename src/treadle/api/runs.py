"""Runs: list, show, start, cancel, compare, restore."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from treadle.actions import runs
from treadle.api.guard import GuardedRoute, Who, With, answers, needs
from treadle.api.once import Asking, IdempotencyKey
from treadle.api.shapes import ComparisonShape, Restores, RestoreShape, RunShape, RunsPage, StartRun
from treadle.control.access import Right
from treadle.control.compare import Comparison
from treadle.control.run import Run
from treadle.control.states import RunStatus

router = APIRouter(route_class=GuardedRoute, tags=["runs"])

Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
After = Annotated[str | None, Query(max_length=400, description="`next` of the page before.")]
Text = Annotated[str | None, Query(max_length=200)]


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
    "/api/runs", openapi_extra=needs(Right.RUNS_START), responses=answers(404, 409, 415, 502), response_model=RunShape, status_code=202
)
def start_run(request: Request, services: With, who: Who, body: StartRun, key: IdempotencyKey = None) -> JSONResponse:
    """Start a governed run of a file in Files/import/. One run at a time: 409 `lock_held` names the holder."""

    def start(run_id: UUID) -> tuple[int, RunShape, dict[str, str]]:
        run = runs.start(services, who, body.input_file, columns=body.columns, sheet=body.sheet, run_id=run_id)
        return accepted(run)

    return Asking(services, who, request, key, body).answer(start)


@router.get("/api/runs/{run_id}", openapi_extra=needs(Right.RUNS_READ), responses=answers(404), response_model=RunShape)
def show_run(services: With, who: Who, run_id: UUID) -> Response:
    """Show one run with all its KPIs."""
    return RunShape.answer(runs.get_run(services, who, run_id))


@router.post(
    "/api/runs/{run_id}/cancel",
    openapi_extra=needs(Right.RUNS_CANCEL),
    responses=answers(404, 409, 502),
    response_model=RunShape,
    status_code=202,
)
def cancel_run(services: With, who: Who, run_id: UUID) -> Run:
    """Ask Fabric to stop a run's job. The run ends when Fabric confirms: follow its events."""
    return runs.cancel(services, who, run_id)


@router.get(
    "/api/runs/{run_id}/compare/{other_id}", openapi_extra=needs(Right.RUNS_READ), responses=answers(404), response_model=ComparisonShape
)
def compare_runs(services: With, who: Who, run_id: UUID, other_id: UUID) -> Comparison:
    """Compare the figures of two runs: from the first to the other."""
    return runs.compare(services, who, run_id, other_id)


@router.post(
    "/api/runs/{run_id}/restore",
    openapi_extra=needs(Right.RUNS_RESTORE),
    responses=answers(404, 409, 502),
    response_model=RunShape,
    status_code=202,
)
def restore_run(request: Request, services: With, who: Who, run_id: UUID, key: IdempotencyKey = None) -> JSONResponse:
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
