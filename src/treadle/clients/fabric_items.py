"""The items of a workspace: list, create, describe, read and replace their definitions, delete.

Each method is one endpoint, named as Microsoft names it. Source: https://learn.microsoft.com/rest/api/fabric/core/items
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from treadle.clients.answers import Answer, outcome_unknown
from treadle.clients.fabric_calls import FabricCalls, item_path, workspace_path
from treadle.clients.fabric_records import Item, ItemId, Reader, WorkspaceId, definition_of, read_definition, read_item
from treadle.clients.locations import checked_id
from treadle.clients.operations import WAIT_SECONDS
from treadle.errors import InvalidInput, NotFound

_COLLECTIONS: Final = {
    "Lakehouse": "lakehouses",
    "Eventhouse": "eventhouses",
    "KQLDatabase": "kqlDatabases",
    "Ontology": "ontologies",
    "GraphModel": "graphModels",
}


class FabricItems(FabricCalls):
    """The part of Fabric's client that is about items of any type."""

    def list_items(self, workspace: WorkspaceId, type: str | None = None) -> list[Item]:  # noqa: A002 - Fabric's own word
        """The items of a workspace, of one type or of all."""
        path = f"{workspace_path(workspace)}/items"
        answered = self.transport.pages(path, what=f"list items of workspace {workspace}", params={"type": type} if type else None)
        return [read_item(answer.exchange, entry) for answer, entry in answered]

    def get_item(self, workspace: WorkspaceId, item: ItemId) -> Item:
        """One item of any type, whether or not lists show it yet."""
        answer = self.transport.request("GET", item_path(workspace, item), what=f"read item {item}")
        return read_item(answer.exchange, answer.json_object())

    def find_item(self, workspace: WorkspaceId, type: str, name: str) -> Item | None:  # noqa: A002 - Fabric's own word
        """The item of this type and exact name, or None. One that was made a moment ago may not be listed yet."""
        return next(iter(self._named(workspace, type, name)), None)

    def item_properties(self, workspace: WorkspaceId, item: ItemId, type: str) -> Mapping[str, Any]:  # noqa: A002 - Fabric's own word
        """What only items of this type have, such as the query service of an eventhouse; empty if Fabric tells none.

        Source: Get Lakehouse, Get Eventhouse, Get KQL Database, Get Ontology, Get GraphModel.
        """
        collection = _COLLECTIONS.get(type)
        if collection is None:
            raise InvalidInput(f"Nothing is known of properties of a {type}.", hint=f"Known are: {', '.join(_COLLECTIONS)}.")
        what = f"read the properties of {type} {item}"
        answer = self.transport.request("GET", item_path(workspace, item, collection), what=what)
        return Reader(answer.exchange, answer.json_object(), type).object("properties")

    def create_item(  # noqa: PLR0913 - the fields of the request, each named
        self,
        workspace: WorkspaceId,
        *,
        name: str,
        type: str,  # noqa: A002 - Fabric's own word
        parts: Mapping[str, bytes] | None = None,
        creation_payload: Mapping[str, Any] | None = None,
        folder_id: str | None = None,
        description: str = "",
        deadline_seconds: float = WAIT_SECONDS,
    ) -> Item:
        """Create an item and wait until it is there. Not safe to repeat: look the name up before a second try.

        parts: path inside the item's folder → content. creation_payload: what some types want to know instead, such as the eventhouse of a
        KQL database; Fabric takes one of the two. It creates some types at once (201) and others by an operation (202), and may do either
        for any. Raises Conflict (the name is taken, or not free yet), OperationFailed, OutcomeUnknown.
        """
        body: dict[str, Any] = {"displayName": name, "type": type, "description": description}
        body |= {"definition": definition_of(parts)} if parts is not None else {}
        body |= {"creationPayload": dict(creation_payload)} if creation_payload is not None else {}
        body |= {"folderId": checked_id(folder_id, "folder")} if folder_id else {}
        what = f"create {type} {name}"
        answer = self.transport.request("POST", f"{workspace_path(workspace)}/items", what=what, json=body, safety="unsafe")
        created = self._result(answer, deadline_seconds)
        return read_item(answer.exchange, created) if created is not None else self._created(workspace, name, type, answer)

    def get_item_definition(self, workspace: WorkspaceId, item: ItemId, *, deadline_seconds: float = WAIT_SECONDS) -> dict[str, bytes]:
        """The files of an item: path inside its folder → content."""
        answer = self.transport.request(
            "POST", f"{item_path(workspace, item)}/getDefinition", what=f"read the definition of item {item}", json={}
        )
        return read_definition(answer.exchange, self._result(answer, deadline_seconds) or {})

    def update_item_definition(
        self,
        workspace: WorkspaceId,
        item: ItemId,
        parts: Mapping[str, bytes],
        *,
        update_metadata: Literal["keep", "update"] = "keep",
        deadline_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Replace all files of an item, and with "update" its name and description by those of `.platform`. Safe to repeat."""
        answer = self.transport.request(
            "POST",
            f"{item_path(workspace, item)}/updateDefinition",
            what=f"update the definition of item {item}",
            params={"updateMetadata": "true"} if update_metadata == "update" else None,
            json={"definition": definition_of(parts)},
            wants_json=False,
        )
        self._finished(answer, deadline_seconds)

    def delete_item(self, workspace: WorkspaceId, item: ItemId) -> None:
        """Delete an item. Raises NotFound if it was not there before. Safe to repeat."""
        try:
            self.transport.request("DELETE", item_path(workspace, item), what=f"delete item {item}", wants_json=False)
        except NotFound as error:
            if error.details.get("attempts", 1) == 1:  # else an earlier attempt has deleted it, and its answer was lost
                raise

    def _created(self, workspace: WorkspaceId, name: str, item_type: str, answer: Answer) -> Item:
        found = self._named(workspace, item_type, name)
        if len(found) != 1:
            raise outcome_unknown(answer.exchange, f"it was done, but the workspace lists {len(found)} such items")
        return found[0]

    def _named(self, workspace: WorkspaceId, item_type: str, name: str) -> list[Item]:
        return [item for item in self.list_items(workspace, item_type) if item.name == name]
