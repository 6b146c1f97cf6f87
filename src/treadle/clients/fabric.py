"""Microsoft Fabric's REST API: workspaces and operations here; items, jobs, tables and graphs in the parts that the client is made of.

Each method is one endpoint, named as Microsoft names it. Source: https://learn.microsoft.com/rest/api/fabric/
"""

from treadle.clients.fabric_calls import workspace_path
from treadle.clients.fabric_items import FabricItems
from treadle.clients.fabric_jobs import FabricJobs
from treadle.clients.fabric_records import (
    ActivityRun,
    Item,
    ItemId,
    JobId,
    JobInstance,
    JobLocation,
    Workspace,
    WorkspaceId,
    read_workspace,
)
from treadle.clients.graph_models import GraphModels
from treadle.clients.lakehouse_tables import LakehouseTable, LakehouseTables
from treadle.clients.locations import checked_id
from treadle.clients.operations import Operation, OperationState, poll_operation

__all__ = [
    "ActivityRun",
    "FabricClient",
    "Item",
    "ItemId",
    "JobId",
    "JobInstance",
    "JobLocation",
    "LakehouseTable",
    "Operation",
    "OperationState",
    "Workspace",
    "WorkspaceId",
]


class FabricClient(LakehouseTables, GraphModels, FabricItems, FabricJobs):
    """Fabric as one identity sees it. Every id is checked before it becomes part of an address. Safe to share between threads."""

    # Workspaces. Source: Core, Workspaces.

    def list_workspaces(self) -> list[Workspace]:
        """All workspaces that the identity may see."""
        return [read_workspace(answer.exchange, entry) for answer, entry in self.transport.pages("/v1/workspaces", what="list workspaces")]

    def get_workspace(self, workspace: WorkspaceId) -> Workspace:
        """One workspace."""
        answer = self.transport.request("GET", workspace_path(workspace), what=f"read workspace {workspace}")
        return read_workspace(answer.exchange, answer.json_object())

    def create_workspace(self, name: str, *, capacity_id: str | None = None, description: str = "") -> Workspace:
        """Create a workspace. Not safe to repeat; raises Conflict if the name is taken, OutcomeUnknown if the answer was lost."""
        body = {"displayName": name, "description": description} | (
            {"capacityId": checked_id(capacity_id, "capacity")} if capacity_id else {}
        )
        answer = self.transport.request("POST", "/v1/workspaces", what=f"create workspace {name}", json=body, safety="unsafe")
        return read_workspace(answer.exchange, answer.json_object())

    # Long-running operations; operations.py has the three functions.

    def get_operation(self, operation: Operation) -> OperationState:
        """Look at an operation once."""
        return poll_operation(self.transport, operation)
