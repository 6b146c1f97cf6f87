"""Connections: the workspaces of Fabric that scenarios can be built in."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from starlette.responses import Response

from treadle.actions import connections
from treadle.api.guard import GuardedRoute, Who, With, answers, needs
from treadle.api.shapes.scenarios import AddConnection, Connections, ConnectionShape
from treadle.control.access import Right
from treadle.flows.scenario.connections import Connection

router = APIRouter(route_class=GuardedRoute, tags=["connections"])

WorkspaceId = Annotated[UUID, Path(description="The workspace.", examples=["11111111-1111-4111-8111-111111111111"])]


@router.get("/query/fabric/connections", openapi_extra=needs(Right.SCENARIOS_READ), responses=answers())
def list_connections(services: With, who: Who) -> Connections:
    """List the connections."""
    found = connections.list_connections(services, who)
    return Connections(connections=[ConnectionShape.model_validate(item) for item in found])


@router.post(
    "/query/fabric/connections",
    openapi_extra=needs(Right.CONNECTIONS_MANAGE, "connection.add", "workspace"),
    responses=answers(404, 409, 415, 502),
    response_model=ConnectionShape,
    status_code=201,
)
def add_connection(services: With, who: Who, body: AddConnection) -> Connection:
    """Connect a workspace. Fabric is asked whether it is there and we are let in. The first one is active at once. Safe to repeat."""
    return connections.add_connection(services, who, str(body.workspace_id))


@router.post(
    "/query/fabric/connections/{workspace_id}/select",
    openapi_extra=needs(Right.CONNECTIONS_MANAGE, "connection.select", "workspace:{workspace_id}"),
    responses=answers(404, 409),
    response_model=ConnectionShape,
)
def select_connection(services: With, who: Who, workspace_id: WorkspaceId) -> Connection:
    """Make a connection the active one. Safe to repeat."""
    return connections.select_connection(services, who, str(workspace_id))


@router.delete(
    "/query/fabric/connections/{workspace_id}",
    openapi_extra=needs(Right.CONNECTIONS_MANAGE, "connection.delete", "workspace:{workspace_id}"),
    responses=answers(404, 409),
    response_class=Response,
    status_code=204,
)
def delete_connection(services: With, who: Who, workspace_id: WorkspaceId) -> Response:
    """Forget a connection. What is in the workspace stays."""
    connections.delete_connection(services, who, str(workspace_id))
    return Response(status_code=204)
