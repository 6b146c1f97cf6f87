"""Workspaces, capacities, role assignments and folders on the wire."""

from treadle.sandbox.fabric import item_kinds, workspaces
from treadle.sandbox.fabric.calls import Answer, Call, nothing, page
from treadle.sandbox.fabric.cloud import FabricCloud
from treadle.sandbox.fabric.records import Row


def list_workspaces(cloud: FabricCloud, call: Call) -> Answer:
    """Workspaces - List Workspaces."""
    return page(workspaces.list_workspaces(cloud.shop.records), call, cloud.options.page_size, _workspace)


def create_workspace(cloud: FabricCloud, call: Call) -> Answer:
    """Workspaces - Create Workspace."""
    body = call.body
    row = workspaces.create_workspace(
        cloud.shop.records,
        name=body.get("displayName"),
        description=body.get("description"),
        capacity=body.get("capacityId"),
        owner_id=call.principal_id,
    )
    return Answer(201, _workspace(row), {"Location": f"{call.base_url}/v1/workspaces/{row['id']}"})


def get_workspace(cloud: FabricCloud, call: Call) -> Answer:
    """Workspaces - Get Workspace: the only one that says where the capacity is and where OneLake answers."""
    row = workspaces.get_workspace(cloud.shop.records, call.ids["workspace"])
    details = {
        "capacityRegion": workspaces.CAPACITY_REGION,
        "capacityAssignmentProgress": "Completed",
        "oneLakeEndpoints": {
            "blobEndpoint": "https://onelake.blob.fabric.microsoft.com",
            "dfsEndpoint": "https://onelake.dfs.fabric.microsoft.com",
        },
    }
    return Answer(200, _workspace(row) | details)


def update_workspace(cloud: FabricCloud, call: Call) -> Answer:
    """Workspaces - Update Workspace."""
    return Answer(200, _workspace(workspaces.update_workspace(cloud.shop.records, call.ids["workspace"], call.body)))


def delete_workspace(cloud: FabricCloud, call: Call) -> Answer:
    """Workspaces - Delete Workspace, with all items, their jobs and their files."""
    records = cloud.shop.records
    workspace = workspaces.get_workspace(records, call.ids["workspace"])
    cloud.jobs.cancel_jobs_of(_item_ids(cloud, workspace["id"]))
    item_kinds.clear_away(cloud.shop, workspaces.delete_workspace(records, workspace["id"]))
    return nothing(200)


def assign_to_capacity(cloud: FabricCloud, call: Call) -> Answer:
    """Workspaces - Assign To Capacity: 202 without a Location."""
    workspaces.assign_capacity(cloud.shop.records, call.ids["workspace"], call.body.get("capacityId"))
    return nothing(202)


def list_capacities(cloud: FabricCloud, call: Call) -> Answer:
    """Capacities - List Capacities: one page."""
    _ = call
    capacity = {
        "id": workspaces.capacity_id(cloud.shop.records),
        "displayName": workspaces.CAPACITY_NAME,
        "sku": "F2",
        "region": workspaces.CAPACITY_REGION,
        "state": "Active",
    }
    return Answer(200, {"value": [capacity]})


def list_role_assignments(cloud: FabricCloud, call: Call) -> Answer:
    """Workspaces - List Workspace Role Assignments."""
    return page(workspaces.list_roles(cloud.shop.records, call.ids["workspace"]), call, cloud.options.page_size, _role)


def add_role_assignment(cloud: FabricCloud, call: Call) -> Answer:
    """Workspaces - Add Workspace Role Assignment."""
    workspace = workspaces.get_workspace(cloud.shop.records, call.ids["workspace"])
    principal = call.object("principal")
    row = workspaces.assign_role(
        cloud.shop.records,
        workspace["id"],
        principal_id=principal.get("id"),
        principal_type=principal.get("type"),
        role=call.body.get("role"),
    )
    location = f"{call.base_url}/v1/workspaces/{workspace['id']}/roleAssignments/{row['principal_id']}"
    return Answer(201, _role(row), {"Location": location})


def list_folders(cloud: FabricCloud, call: Call) -> Answer:
    """Folders - List Folders; recursive unless the caller says no."""
    rows = workspaces.list_folders(
        cloud.shop.records,
        call.ids["workspace"],
        root_id=call.query.get("rootFolderId"),
        recursive=call.flag("recursive", default=True),
    )
    return page(rows, call, cloud.options.page_size, _folder)


def create_folder(cloud: FabricCloud, call: Call) -> Answer:
    """Folders - Create Folder."""
    row = workspaces.create_folder(
        cloud.shop.records, call.ids["workspace"], name=call.body.get("displayName"), parent_id=call.body.get("parentFolderId") or None
    )
    return Answer(201, _folder(row), {"Location": f"{call.base_url}/v1/workspaces/{row['workspace_id']}/folders/{row['id']}"})


def get_folder(cloud: FabricCloud, call: Call) -> Answer:
    """Folders - Get Folder."""
    return Answer(200, _folder(workspaces.get_folder(cloud.shop.records, call.ids["workspace"], call.ids["folder"])))


def update_folder(cloud: FabricCloud, call: Call) -> Answer:
    """Folders - Update Folder."""
    row = workspaces.rename_folder(cloud.shop.records, call.ids["workspace"], call.ids["folder"], call.body.get("displayName"))
    return Answer(200, _folder(row))


def move_folder(cloud: FabricCloud, call: Call) -> Answer:
    """Folders - Move Folder."""
    row = workspaces.move_folder(cloud.shop.records, call.ids["workspace"], call.ids["folder"], call.body.get("targetFolderId"))
    return Answer(200, _folder(row))


def delete_folder(cloud: FabricCloud, call: Call) -> Answer:
    """Folders - Delete Folder."""
    workspaces.delete_folder(cloud.shop.records, call.ids["workspace"], call.ids["folder"])
    return nothing(200)


def _item_ids(cloud: FabricCloud, workspace_id: str) -> set[str]:
    rows = cloud.shop.records.rows("SELECT id FROM items WHERE workspace_id = :id", id=workspace_id)
    return {row["id"] for row in rows}


def _workspace(row: Row) -> dict[str, object]:
    return {
        "id": row["id"],
        "displayName": row["display_name"],
        "description": row["description"],
        "type": "Workspace",
        "capacityId": row["capacity_id"],
    }


def _role(row: Row) -> dict[str, object]:
    return {"id": row["principal_id"], "principal": {"id": row["principal_id"], "type": row["principal_type"]}, "role": row["role"]}


def _folder(row: Row) -> dict[str, object]:
    answer = {"id": row["id"], "displayName": row["display_name"], "workspaceId": row["workspace_id"]}
    return answer if row["parent_id"] is None else answer | {"parentFolderId": row["parent_id"]}
