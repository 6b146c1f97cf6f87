"""Provisioning: archives, or single things, into a workspace of Fabric, told as it goes. The stream may be cut: the job behind it goes on."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from treadle.actions import scenarios
from treadle.actions.scenarios import FabricStatus, ItemWish
from treadle.api.builds import SLOT_FILES, Building, followed, form_body
from treadle.api.guard import App, GuardedRoute, Shared, StillWelcome, Who, With, answers, needs
from treadle.api.hub import Welcome
from treadle.api.once import Asking, IdempotencyKey
from treadle.api.problems import documented_by
from treadle.api.shapes.scenarios import (
    ConnectionShape,
    FabricStatusShape,
    InWorkspace,
    ProvisionEventhouse,
    ProvisionLakehouse,
    ProvisionOntology,
    StartedUpload,
    ThingShape,
    WorkspaceId,
)
from treadle.control.access import Principal, Right
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.slots import Slot

router = APIRouter(route_class=GuardedRoute, tags=["scenarios"])

_BUSY: Final[dict[int | str, dict[str, Any]]] = documented_by(
    {
        "type": "urn:treadle:problem:provisioning_running",
        "title": "The state of the thing does not allow this",
        "status": 409,
        "detail": "Another provisioning of this workspace is under way: telco-noc, asked for by ada.",
        "code": "provisioning_running",
        "hint": "Wait for it to end, or cancel it; POST /api/upload-jobs takes yours now and does it afterwards.",
        "correlation_id": "7f0c9a2e51d74b7f8a3e5d2c1b0a9f8e",
        "job_id": "6c0f7e52-5b1c-4c39-9d3e-0a8b8f6f2d11",
        "requested_by": "ada",
        "since": "2026-11-21T10:00:00Z",
        "holder": "telco-noc",
        "workspace_id": "11111111-1111-4111-8111-111111111111",
        "retry_after_seconds": 30,
    }
)
_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "What happens: `progress` now and then, at the end `complete` or `error`. `Location` names the job, which goes on without the stream.",
        "headers": {"Location": {"description": "The job.", "schema": {"type": "string"}}},
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 7\nevent: progress\ndata: {"step":"upload","detail":"CoreRouter.csv is in the lakehouse.","pct":31.0,"slot":"graph"}\n\n'
                'event: complete\ndata: {"lakehouse_id":"…","ontology_id":"…","graph_model_id":"…","tables":[],"message":"telco-noc is built."}\n\n',
            }
        },
    }
}
_RESPONSES: Final = {**answers(404, 408, 415, 502), **_BUSY, **_STREAM}
_BUILD: Final = needs(Right.SCENARIOS_BUILD, "scenario.build", "workspace")
_ONE: Final = needs(Right.SCENARIOS_BUILD, "scenario.provision", "workspace")
Workspace = Annotated[WorkspaceId | None, Query(description="Its connection; the active one if it is left out.")]


@router.post(
    "/api/fabric/provision/graph",
    openapi_extra={**_BUILD, "requestBody": form_body(["file"])},
    responses=_RESPONSES,
    response_class=Response,
)
async def provision_graph(request: Request, shared: Shared, who: Who, welcome: StillWelcome, key: IdempotencyKey = None) -> Response:
    """Make lakehouse tables, an ontology and a graph of an archive. One provisioning of a workspace at a time: 409 names the other one."""
    return await _provisioned(Building(request, shared, who, key, {"file": Slot.GRAPH}, alone=True), shared, who, welcome)


@router.post(
    "/api/fabric/provision",
    openapi_extra={**_BUILD, "requestBody": form_body(SLOT_FILES)},
    responses=_RESPONSES,
    response_class=Response,
)
async def provision_all(request: Request, shared: Shared, who: Who, welcome: StillWelcome, key: IdempotencyKey = None) -> Response:
    """Build a scenario of up to five archives, and tell how it goes."""
    return await _provisioned(Building(request, shared, who, key, SLOT_FILES, alone=True), shared, who, welcome)


@router.post(
    "/query/upload/{slot}",
    openapi_extra={**_BUILD, "requestBody": form_body(["file"])},
    responses=_RESPONSES,
    response_class=Response,
)
async def upload_slot(  # noqa: PLR0913 - what decides the form of the answer
    request: Request,
    shared: Shared,
    who: Who,
    welcome: StillWelcome,
    slot: Annotated[Slot, Path(description="What the archive holds.")],
    *,
    key: IdempotencyKey = None,
) -> Response:
    """Bring the archive of one slot into a scenario, and tell how it goes."""
    return await _provisioned(Building(request, shared, who, key, {"file": slot}, alone=True), shared, who, welcome)


@router.post("/api/fabric/provision/lakehouse", openapi_extra=_ONE, responses=_RESPONSES, response_class=Response)
async def provision_lakehouse(  # noqa: PLR0913 - the same
    request: Request, shared: Shared, who: Who, welcome: StillWelcome, body: ProvisionLakehouse, *, key: IdempotencyKey = None
) -> Response:
    """Find or create a lakehouse."""
    return await _provided(
        shared, who, welcome, Asking(shared.services, who, request, key, body), (Kind.LAKEHOUSE, body.lakehouse_name, body)
    )


@router.post("/api/fabric/provision/eventhouse", openapi_extra=_ONE, responses=_RESPONSES, response_class=Response)
async def provision_eventhouse(  # noqa: PLR0913 - the same
    request: Request, shared: Shared, who: Who, welcome: StillWelcome, body: ProvisionEventhouse, *, key: IdempotencyKey = None
) -> Response:
    """Find or create an eventhouse."""
    return await _provided(
        shared, who, welcome, Asking(shared.services, who, request, key, body), (Kind.EVENTHOUSE, body.eventhouse_name, body)
    )


@router.post("/api/fabric/provision/ontology", openapi_extra=_ONE, responses=_RESPONSES, response_class=Response)
async def provision_ontology(  # noqa: PLR0913 - the same
    request: Request, shared: Shared, who: Who, welcome: StillWelcome, body: ProvisionOntology, *, key: IdempotencyKey = None
) -> Response:
    """Find or create an ontology, empty if it is new."""
    return await _provided(
        shared, who, welcome, Asking(shared.services, who, request, key, body), (Kind.ONTOLOGY, body.ontology_name, body)
    )


@router.get("/api/fabric/status", openapi_extra=needs(Right.SCENARIOS_READ), responses=answers(502))
def fabric_status(services: With, who: Who, workspace_id: Workspace = None) -> FabricStatusShape:
    """Show where scenarios are built, whether Fabric lets us in there, and what is under way."""
    return _status_shape(scenarios.status(services, who, workspace_id and str(workspace_id)))


async def _provisioned(building: Building, shared: App, who: Principal, welcome: Welcome) -> Response:
    return await followed(shared, who, welcome, await building.started(), "/api/upload-jobs")


async def _provided(shared: App, who: Principal, welcome: Welcome, asking: Asking, wanted: tuple[Kind, str, InWorkspace]) -> Response:
    """wanted: the kind of the item, its name, and where it is to be."""

    def start() -> tuple[UUID, bool]:
        kept = asking.carry_out(lambda job_id: (202, StartedUpload(job_id=_ask_for_one(shared, who, wanted, job_id)), {}))
        return UUID(kept.body["job_id"]), kept.replayed

    return await followed(shared, who, welcome, await run_in_threadpool(start), "/api/jobs")


def _ask_for_one(shared: App, who: Principal, wanted: tuple[Kind, str, InWorkspace], job_id: UUID) -> UUID:
    kind, name, place = wanted
    workspace = scenarios.find_workspace(shared.services, who, place.workspace_id and str(place.workspace_id), place.workspace_name)
    wish = ItemWish(kind, workspace.workspace_id, workspace.name, name)
    return scenarios.provision_one(shared.services, who, wish, job_id=job_id).job_id


def _status_shape(found: FabricStatus) -> FabricStatusShape:
    running = found.running
    return FabricStatusShape(
        connection=ConnectionShape.model_validate(found.connection) if found.connection else None,
        reachable=found.reachable,
        problem=found.problem,
        running_job_id=running.job_id if running else None,
        requested_by=running.requested_by if running else None,
        things=[ThingShape.model_validate(thing) for thing in found.things],
    )
