"""Items of a workspace – lakehouses, notebooks, pipelines and plain ones – with their definitions: state and rules.

Source: fabric-rest-api-specs, platform/swagger.json (Items), lakehouse/, notebook/, dataPipeline/.
"""

import json
import re
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from treadle.sandbox.fabric import definitions, workspaces
from treadle.sandbox.fabric.definitions import Part
from treadle.sandbox.fabric.records import Records, Row, fabric_time, new_id, read_time
from treadle.sandbox.fabric.refusals import Refused, invalid, not_found, not_modelled

COLLECTIONS: Final[Mapping[str, str]] = {
    "lakehouses": "Lakehouse",
    "notebooks": "Notebook",
    "dataPipelines": "DataPipeline",
    "environments": "Environment",
    "semanticModels": "SemanticModel",
    "reports": "Report",
    "ontologies": "Ontology",
    "graphModels": "GraphModel",
    "eventhouses": "Eventhouse",
    "kqlDatabases": "KQLDatabase",
}
MODELLED_TYPES: Final = frozenset(COLLECTIONS.values())
DEFINED_TYPES: Final = frozenset(
    {"Notebook", "DataPipeline", "SemanticModel", "Report", "Environment", "Ontology", "GraphModel", "Eventhouse", "KQLDatabase"}
)
PAYLOAD_TYPES: Final = frozenset({"Lakehouse", "Eventhouse", "KQLDatabase"})
"""The types that are created with a creationPayload."""
NEEDS_DEFINITION: Final = frozenset({"SemanticModel", "Report"})
REAL_TYPES: Final = frozenset({
    "ApacheAirflowJob", "CopyJob", "CosmosDBDatabase", "Dashboard", "Dataflow", "Datamart", "DigitalTwinBuilder", "Eventhouse", "Eventstream",
    "GraphModel", "GraphQLApi", "GraphQuerySet", "KQLDashboard", "KQLDatabase", "KQLQueryset", "MLExperiment", "MLModel", "Map",
    "MirroredDatabase", "MirroredWarehouse", "MountedDataFactory", "Ontology", "PaginatedReport", "Reflex", "SQLDatabase", "SQLEndpoint",
    "SparkJobDefinition", "UserDataFunction", "VariableLibrary", "Warehouse", "WarehouseSnapshot",
})  # fmt: skip
_KUSTO_NAME: Final = (re.compile(r"[A-Za-z0-9._-]{1,256}"), "has only letters, digits, underscores, periods and hyphens")
_NAME_RULES: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "Lakehouse": (
        re.compile(r"[A-Za-z][A-Za-z0-9_]{0,122}"),
        "starts with a letter and has only letters, digits and underscores, at most 123",
    ),
    "Ontology": (
        re.compile(r"[A-Za-z][A-Za-z0-9_]{0,98}"),
        "starts with a letter and has only letters, digits and underscores, fewer than 100",
    ),
    "Eventhouse": _KUSTO_NAME,
    "KQLDatabase": _KUSTO_NAME,
}


@dataclass(frozen=True, slots=True)
class NewItem:
    """A request to create an item, checked as far as the request alone allows."""

    type: str
    name: str
    description: str
    folder_id: str | None
    creation_payload: str | None
    format: str | None
    parts: list[Part] | None


def read_new_item(body: Mapping[str, Any], item_type: object) -> NewItem:
    """Check a create request; raises InvalidItemType, a 501 for a type that is not modelled, or what is wrong with its fields."""
    kind = known_type(item_type)
    payload, definition = body.get("creationPayload"), body.get("definition")
    if payload is not None and not isinstance(payload, dict):
        raise invalid("The creationPayload is not an object.")
    if payload is not None and definition is not None:
        raise invalid("Use either creationPayload or definition, not both.", "RequestWithDefinitionAndCreationPayloadNotSupported")
    if payload is not None and kind not in PAYLOAD_TYPES:
        raise invalid(f"The item type '{kind}' does not support a creation payload.", "ItemTypeDoesNotSupportCreationPayload")
    if definition is None and kind in NEEDS_DEFINITION:
        raise invalid(f"An item of type '{kind}' is created from a definition.", "MissingDefinition")
    declared, parts = definitions.read_definition(definition, backslashes=kind == "Ontology") if definition is not None else (None, None)
    return NewItem(
        type=kind,
        name=item_name(kind, body.get("displayName")),
        description=workspaces.optional_text(body.get("description"), "description"),
        folder_id=body.get("folderId") or None,  # deployment tools send "" for the workspace itself
        creation_payload=None if payload is None else json.dumps(payload),
        format=None if parts is None else definitions.format_of(kind, declared, parts),
        parts=parts,
    )


def known_type(item_type: object) -> str:
    """The item type, when it is one that the sandbox models."""
    if isinstance(item_type, str) and item_type in MODELLED_TYPES:
        return item_type
    if isinstance(item_type, str) and item_type in REAL_TYPES:
        raise not_modelled(f"items of type {item_type}")
    raise invalid(f"The item type '{item_type}' is not valid.", "InvalidItemType")


def item_name(item_type: str, name: object) -> str:
    """The display name, when the type accepts it: some have a rule of their own."""
    text = workspaces.display_name(name)
    rule = _NAME_RULES.get(item_type)
    if rule is not None and not rule[0].fullmatch(text):
        raise invalid(f"The name of an item of type {item_type} {rule[1]}: '{text}'.", "InvalidInput")
    return text


def insert_item(records: Records, workspace_id: str, new: NewItem, now: datetime) -> Row:
    """Create the item; raises ItemDisplayNameAlreadyInUse when its type has that name in the workspace already, whatever its case."""
    workspace = workspaces.get_workspace(records, workspace_id)
    folder = None if new.folder_id is None else workspaces.get_folder(records, workspace_id, str(new.folder_id))["id"]
    row: Row = {
        "id": new_id(),
        "workspace_id": workspace["id"],
        "type": new.type,
        "display_name": new.name,
        "description": new.description,
        "folder_id": folder,
        "creation_payload": new.creation_payload,
        "created_at": fabric_time(now),
    }
    columns = ", ".join(row)
    with records.transaction():
        _write_named(records, f"INSERT INTO items ({columns}) VALUES ({', '.join(f':{column}' for column in row)})", row)  # noqa: S608 - our own column names
        if new.parts is not None:
            put_definition(records, row["id"], new.format, new.parts)
    return get_item(records, workspace["id"], row["id"])


def check_name_is_free(records: Records, workspace_id: str, item_type: str, name: str) -> None:
    """Raise ItemDisplayNameAlreadyInUse, before any work is promised."""
    taken = records.row(
        "SELECT id FROM items WHERE workspace_id = :workspace_id AND type = :type AND display_name = :name",
        workspace_id=workspaces.get_workspace(records, workspace_id)["id"],
        type=item_type,
        name=name,
    )
    if taken is not None:
        raise _name_in_use(item_type, name)


def get_item(records: Records, workspace_id: str, item_id: str, item_type: str | None = None) -> Row:
    """Raises WorkspaceNotFound or ItemNotFound; with a type, an item of another type is not found either."""
    workspace = workspaces.get_workspace(records, workspace_id)
    row = records.row(
        "SELECT * FROM items WHERE id = :id AND workspace_id = :workspace_id", id=item_id.lower(), workspace_id=workspace["id"]
    )
    if row is None or (item_type is not None and row["type"] != item_type):
        raise not_found("Item", item_id)
    return row


def list_items(records: Records, workspace_id: str, *, item_type: str | None, folder_id: str | None, recursive: bool) -> list[Row]:
    """The items of a workspace, or of one folder of it, oldest first; without `recursive` only those that lie there directly."""
    workspace = workspaces.get_workspace(records, workspace_id)
    rows = records.rows("SELECT * FROM items WHERE workspace_id = :id ORDER BY seq", id=workspace["id"])
    if item_type is not None:
        rows = [row for row in rows if row["type"].lower() == item_type.lower()]
    if folder_id is None and recursive:
        return rows
    root = None if folder_id is None else workspaces.get_folder(records, workspace_id, folder_id)["id"]
    inside = {root}
    if recursive:
        inside |= {folder["id"] for folder in workspaces.list_folders(records, workspace_id, root_id=root, recursive=True)}
    return [row for row in rows if row["folder_id"] in inside]


def update_item(records: Records, row: Row, changes: Mapping[str, Any]) -> Row:
    """Give an item another name or description; what is not named stays."""
    changed = row | {
        "display_name": item_name(row["type"], changes.get("displayName", row["display_name"])),
        "description": workspaces.optional_text(changes.get("description", row["description"]), "description"),
    }
    _write_named(records, "UPDATE items SET display_name = :display_name, description = :description WHERE id = :id", changed)
    return changed


def move_item(records: Records, row: Row, target_folder_id: object) -> Row:
    """Put an item into a folder, or (None) into the workspace itself."""
    folder = None if target_folder_id is None else workspaces.get_folder(records, row["workspace_id"], str(target_folder_id))["id"]
    records.rows("UPDATE items SET folder_id = :folder WHERE id = :id", folder=folder, id=row["id"])
    return row | {"folder_id": folder}


def delete_item(records: Records, row: Row) -> None:
    """Delete an item with its definition."""
    records.rows("DELETE FROM items WHERE id = :id", id=row["id"])


def put_definition(records: Records, item_id: str, kept_format: str | None, parts: list[Part]) -> None:
    """Replace the whole definition: a part that is not given any more is gone."""
    records.rows(
        "INSERT INTO definitions (item_id, format, parts) VALUES (:item_id, :format, :parts)"
        " ON CONFLICT (item_id) DO UPDATE SET format = excluded.format, parts = excluded.parts",
        item_id=item_id,
        format=kept_format,
        parts=json.dumps(parts),
    )


def parts_of(records: Records, item_id: str) -> tuple[str, list[Part]]:
    """Format and parts as they were given; no parts for an item that was created without a definition."""
    row = records.row("SELECT * FROM definitions WHERE item_id = :id", id=item_id)
    return ("", []) if row is None else (row["format"] or "", json.loads(row["parts"]))


def item_json(row: Row) -> dict[str, Any]:
    """An item as Fabric answers it: a description always, a folder only when it has one."""
    answer = {
        "id": row["id"],
        "type": row["type"],
        "displayName": row["display_name"],
        "description": row["description"],
        "workspaceId": row["workspace_id"],
    }
    return answer if row["folder_id"] is None else answer | {"folderId": row["folder_id"]}


def lakehouse_properties(row: Row, now: datetime, sql_endpoint_seconds: float) -> dict[str, Any]:
    """Where a lakehouse's data is. Its SQL endpoint is provisioned some time after it; nothing answers at that endpoint here."""
    root = f"https://onelake.dfs.fabric.microsoft.com/{row['workspace_id']}/{row['id']}"
    ready = now >= read_time(row["created_at"]) + timedelta(seconds=sql_endpoint_seconds)
    endpoint = {
        "connectionString": f"{row['id']}.datawarehouse.fabric.microsoft.com" if ready else None,
        "id": str(uuid.uuid5(uuid.UUID(row["id"]), "sql-endpoint")) if ready else None,
        "provisioningStatus": "Success" if ready else "InProgress",
    }
    properties = {"oneLakeTablesPath": f"{root}/Tables", "oneLakeFilesPath": f"{root}/Files", "sqlEndpointProperties": endpoint}
    return properties | ({"defaultSchema": "dbo"} if has_schemas(row) else {})


def has_schemas(row: Row) -> bool:
    """Whether the lakehouse was created with schemas."""
    return bool(json.loads(row["creation_payload"] or "{}").get("enableSchemas"))


def resolve(records: Records, workspace: str, item: str) -> Row | None:
    """The item that OneLake means by two GUIDs, or by workspace name and `Name.Type`; None when there is none."""
    return records.row(
        "SELECT items.* FROM items JOIN workspaces ON workspaces.id = items.workspace_id"
        " WHERE (workspaces.id = lower(:workspace) AND items.id = lower(:item))"
        " OR (workspaces.display_name = :workspace AND items.display_name || '.' || items.type = :item COLLATE NOCASE)",
        workspace=workspace,
        item=item,
    )


def _write_named(records: Records, sql: str, row: Row) -> None:
    try:
        records.rows(sql, **row)
    except sqlite3.IntegrityError as error:
        raise _name_in_use(row["type"], row["display_name"]) from error


def _name_in_use(item_type: str, name: str) -> Refused:
    return Refused(409, "ItemDisplayNameAlreadyInUse", f"Requested '{name}' is already in use by another {item_type} of this workspace.")
