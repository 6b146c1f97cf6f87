"""Workspaces, who may use them, and their folders: state and rules.

Source: fabric-rest-api-specs, platform/swagger.json (Workspaces, Folders) and its examples. Every workspace has a capacity here, because
deployment tools refuse one without.
"""

import sqlite3
from typing import Any, Final

from treadle.sandbox.fabric.records import Records, Row, new_id
from treadle.sandbox.fabric.refusals import Refused, invalid, not_found

CAPACITY_NAME: Final = "Treadle sandbox capacity"
CAPACITY_REGION: Final = "West Europe"
ROLES: Final = ("Admin", "Member", "Contributor", "Viewer")
PRINCIPAL_TYPES: Final = ("User", "Group", "ServicePrincipal", "ServicePrincipalProfile")
LONGEST_NAME: Final = 256
_NOT_IN_FOLDER_NAMES: Final = frozenset('~"#.&*:<>?/\\{|}')


def capacity_id(records: Records) -> str:
    """The one capacity of this sandbox."""
    return records.fact("capacity_id", new_id())


def create_workspace(records: Records, *, name: object, description: object, capacity: object, owner_id: str) -> Row:
    """A new workspace whose Admin is its creator. Names are unique whatever their case."""
    row = {
        "id": new_id(),
        "display_name": display_name(name),
        "description": optional_text(description, "description"),
        "capacity_id": known_capacity(records, capacity),
    }
    with records.transaction():
        _write_named(
            records,
            "INSERT INTO workspaces (id, display_name, description, capacity_id) VALUES (:id, :display_name, :description, :capacity_id)",
            row,
        )
        assign_role(records, row["id"], principal_id=owner_id, principal_type="ServicePrincipal", role="Admin")
    return get_workspace(records, row["id"])


def get_workspace(records: Records, workspace_id: str) -> Row:
    """Raises WorkspaceNotFound."""
    row = records.row("SELECT * FROM workspaces WHERE id = :id", id=workspace_id.lower())
    if row is None:
        raise not_found("Workspace", workspace_id)
    return row


def list_workspaces(records: Records) -> list[Row]:
    """All workspaces, oldest first."""
    return records.rows("SELECT * FROM workspaces ORDER BY seq")


def update_workspace(records: Records, workspace_id: str, changes: dict[str, Any]) -> Row:
    """Give a workspace another name or description; what is not named stays."""
    row = get_workspace(records, workspace_id)
    row["display_name"] = display_name(changes.get("displayName", row["display_name"]))
    row["description"] = optional_text(changes.get("description", row["description"]), "description")
    _write_named(records, "UPDATE workspaces SET display_name = :display_name, description = :description WHERE id = :id", row)
    return get_workspace(records, row["id"])


def assign_capacity(records: Records, workspace_id: str, capacity: object) -> None:
    """Move a workspace to a capacity, of which there is one."""
    row = get_workspace(records, workspace_id)
    records.rows("UPDATE workspaces SET capacity_id = :capacity WHERE id = :id", id=row["id"], capacity=known_capacity(records, capacity))


def delete_workspace(records: Records, workspace_id: str) -> list[Row]:
    """Delete a workspace with all in it; returns the items that went, so that their files and jobs can go too."""
    row = get_workspace(records, workspace_id)
    with records.transaction():
        items = records.rows("SELECT * FROM items WHERE workspace_id = :id", id=row["id"])
        records.rows("DELETE FROM items WHERE workspace_id = :id", id=row["id"])
        records.rows("UPDATE folders SET parent_id = NULL, display_name = id WHERE workspace_id = :id", id=row["id"])
        records.rows("DELETE FROM folders WHERE workspace_id = :id", id=row["id"])
        records.rows("DELETE FROM workspaces WHERE id = :id", id=row["id"])
    return items


def assign_role(records: Records, workspace_id: str, *, principal_id: object, principal_type: object, role: object) -> Row:
    """Give a principal a role; a second role for one principal is refused. Roles are kept and shown, and not enforced."""
    if not isinstance(principal_id, str) or not principal_id:
        raise invalid("The principal is missing.", "MissingPrincipal")
    if principal_type not in PRINCIPAL_TYPES:
        raise invalid(f"The principal type '{principal_type}' is not one of {', '.join(PRINCIPAL_TYPES)}.", "InvalidPrincipalType")
    if role not in ROLES:
        raise invalid(f"The role '{role}' is not one of {', '.join(ROLES)}.", "InvalidWorkspacePrincipalRole")
    row = {"workspace_id": workspace_id, "principal_id": principal_id.lower(), "principal_type": principal_type, "role": role}
    try:
        records.rows(
            "INSERT INTO role_assignments (workspace_id, principal_id, principal_type, role) VALUES (:workspace_id, :principal_id, :principal_type, :role)",
            **row,
        )
    except sqlite3.IntegrityError as error:
        raise Refused(
            409, "PrincipalAlreadyHasWorkspaceRolePermissions", f"The principal '{principal_id}' already has a role in this workspace."
        ) from error
    return row


def list_roles(records: Records, workspace_id: str) -> list[Row]:
    """The role assignments of a workspace, oldest first."""
    return records.rows(
        "SELECT * FROM role_assignments WHERE workspace_id = :id ORDER BY seq", id=get_workspace(records, workspace_id)["id"]
    )


def create_folder(records: Records, workspace_id: str, *, name: object, parent_id: object) -> Row:
    """A folder in the workspace, or in another folder of it."""
    workspace = get_workspace(records, workspace_id)
    parent = None if parent_id is None else get_folder(records, workspace_id, str(parent_id))["id"]
    row: Row = {"id": new_id(), "workspace_id": workspace["id"], "parent_id": parent, "display_name": folder_name(name)}
    _write_folder(
        records,
        "INSERT INTO folders (id, workspace_id, parent_id, display_name) VALUES (:id, :workspace_id, :parent_id, :display_name)",
        row,
    )
    return get_folder(records, workspace_id, row["id"])


def get_folder(records: Records, workspace_id: str, folder_id: str) -> Row:
    """Raises WorkspaceNotFound or FolderNotFound."""
    workspace = get_workspace(records, workspace_id)
    row = records.row(
        "SELECT * FROM folders WHERE id = :id AND workspace_id = :workspace_id", id=folder_id.lower(), workspace_id=workspace["id"]
    )
    if row is None:
        raise not_found("Folder", folder_id)
    return row


def list_folders(records: Records, workspace_id: str, *, root_id: str | None, recursive: bool) -> list[Row]:
    """The folders under the workspace (or under `root_id`): all of them, or the direct children only."""
    workspace = get_workspace(records, workspace_id)
    root = None if root_id is None else get_folder(records, workspace_id, root_id)["id"]
    rows = records.rows("SELECT * FROM folders WHERE workspace_id = :id ORDER BY seq", id=workspace["id"])
    return [row for row in rows if _is_under(row, root, rows, recursive=recursive)]


def rename_folder(records: Records, workspace_id: str, folder_id: str, name: object) -> Row:
    """Give a folder another name."""
    row = get_folder(records, workspace_id, folder_id) | {"display_name": folder_name(name)}
    _write_folder(records, "UPDATE folders SET display_name = :display_name WHERE id = :id", row)
    return row


def move_folder(records: Records, workspace_id: str, folder_id: str, target_id: object) -> Row:
    """Put a folder into another one, or (None) into the workspace itself; never into itself or below."""
    row = get_folder(records, workspace_id, folder_id)
    target = None if target_id is None else get_folder(records, workspace_id, str(target_id))["id"]
    below = {folder["id"] for folder in list_folders(records, workspace_id, root_id=row["id"], recursive=True)} | {row["id"]}
    if target in below:
        raise invalid("A folder cannot be moved into itself or into one of its own subfolders.")
    moved = row | {"parent_id": target}
    _write_folder(records, "UPDATE folders SET parent_id = :parent_id WHERE id = :id", moved)
    return moved


def delete_folder(records: Records, workspace_id: str, folder_id: str) -> None:
    """Delete an empty folder; raises FolderNotEmpty."""
    row = get_folder(records, workspace_id, folder_id)
    with records.transaction():
        content = records.rows(
            "SELECT id FROM items WHERE folder_id = :id UNION ALL SELECT id FROM folders WHERE parent_id = :id", id=row["id"]
        )
        if content:
            raise invalid("The requested folder was not empty.", "FolderNotEmpty", related=("Folder", row["id"]))
        records.rows("DELETE FROM folders WHERE id = :id", id=row["id"])


def display_name(name: object) -> str:
    """A name that Fabric accepts for a workspace or an item: text of 1 to 256 characters that is not only spaces."""
    if not isinstance(name, str) or not name.strip():
        raise invalid("The displayName is missing or empty.", "InvalidInput")
    if len(name) > LONGEST_NAME or any(ord(character) < 32 for character in name):
        raise invalid(f"The displayName is longer than {LONGEST_NAME} characters or has control characters.", "InvalidInput")
    return name.strip()


def folder_name(name: object) -> str:
    """A folder name; Fabric forbids the characters that paths and URLs use."""
    text = display_name(name)
    forbidden = sorted(_NOT_IN_FOLDER_NAMES & set(text))
    if forbidden:
        raise invalid(f"The folder name has characters that are not allowed: {' '.join(forbidden)}", "InvalidInput")
    return text


def optional_text(text: object, field: str) -> str:
    """Text of at most 256 characters, "" when it is absent: Fabric always answers with a description."""
    if text is None:
        return ""
    if not isinstance(text, str) or len(text) > LONGEST_NAME:
        raise invalid(f"The {field} must be text of at most {LONGEST_NAME} characters.", "InvalidInput")
    return text


def known_capacity(records: Records, capacity: object) -> str:
    """The capacity to use, which is the sandbox's own when none is named; raises CapacityNotFound for another."""
    own = capacity_id(records)
    if capacity is not None and str(capacity).lower() != own:
        raise not_found("Capacity", str(capacity))
    return own


def _is_under(row: Row, root: str | None, rows: list[Row], *, recursive: bool) -> bool:
    parents = {folder["id"]: folder["parent_id"] for folder in rows}
    if row["parent_id"] == root:
        return True
    above = row["parent_id"]
    while recursive and above is not None:
        above = parents[above]
        if above == root:
            return True
    return False


def _write_named(records: Records, sql: str, row: Row) -> None:
    try:
        records.rows(sql, **row)
    except sqlite3.IntegrityError as error:
        raise Refused(409, "WorkspaceNameAlreadyExists", f"A workspace named '{row['display_name']}' already exists.") from error


def _write_folder(records: Records, sql: str, row: Row) -> None:
    try:
        records.rows(sql, **row)
    except sqlite3.IntegrityError as error:
        raise Refused(409, "FolderDisplayNameAlreadyInUse", f"A folder named '{row['display_name']}' already exists there.") from error
