"""Connections to Fabric workspaces: add, select the active one, delete."""

from datetime import UTC, datetime

from treadle.actions.change import change
from treadle.actions.services import Services
from treadle.control.access import Principal, Right, require
from treadle.flows.scenario import connections
from treadle.flows.scenario.connections import Connection


def list_connections(services: Services, who: Principal) -> list[Connection]:
    """All of them; right `scenarios:read`."""
    require(who, Right.SCENARIOS_READ)
    return list(connections.list_connections(services.scenarios().documents))


def active(services: Services, who: Principal) -> Connection | None:
    """The one that scenarios are built in unless another is named; right `scenarios:read`. None: none is selected."""
    require(who, Right.SCENARIOS_READ)
    return connections.active_connection(services.scenarios().documents)


def add_connection(services: Services, who: Principal, workspace_id: str) -> Connection:
    """Connect a workspace, which Fabric is asked about; right `connections:manage`. Raises NotFound, PermissionDenied, InvalidInput."""
    with change(services, who, Right.CONNECTIONS_MANAGE, "connection.add", f"workspace:{workspace_id}") as entry:
        scenario = services.scenarios()
        added = connections.add_connection(scenario.documents, scenario.fabric, workspace_id, datetime.now(UTC))
        entry.note(workspace_name=added.workspace_name)
        return added


def select_connection(services: Services, who: Principal, workspace_id: str) -> Connection:
    """Make it the active one; right `connections:manage`. Raises NotFound."""
    with change(services, who, Right.CONNECTIONS_MANAGE, "connection.select", f"workspace:{workspace_id}"):
        return connections.select_connection(services.scenarios().documents, workspace_id, datetime.now(UTC))


def delete_connection(services: Services, who: Principal, workspace_id: str) -> None:
    """Forget it; right `connections:manage`. What is in the workspace stays. Raises NotFound."""
    with change(services, who, Right.CONNECTIONS_MANAGE, "connection.delete", f"workspace:{workspace_id}"):
        connections.delete_connection(services.scenarios().documents, workspace_id)
