"""Connections: the workspaces that scenarios are built in, and which of them is active.

Active is the one that was chosen last. That is read off the times of choosing, so that two who choose at once never make two of them active.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from treadle.clients.fabric import FabricClient, WorkspaceId
from treadle.clients.locations import checked_id
from treadle.errors import Conflict, NotFound
from treadle.flows.scenario.records import all_documents
from treadle.stores.containers import CONNECTIONS
from treadle.stores.document_store import Document, DocumentStore

_LATER: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Connection:
    """A workspace that was found good. Times are aware UTC. last_used: None if it was never active."""

    workspace_id: str
    workspace_name: str
    created_at: datetime
    last_used: datetime | None
    active: bool


def list_connections(store: DocumentStore) -> list[Connection]:
    """All connections: the active one first, then by name."""
    documents = list(all_documents(store, CONNECTIONS))
    active = _active(documents)
    found = [_connection(document, active=document.id == active) for document in documents]
    return sorted(found, key=lambda connection: (not connection.active, connection.workspace_name.casefold(), connection.workspace_id))


def active_connection(store: DocumentStore) -> Connection | None:
    """The active connection, if there is one."""
    return next((connection for connection in list_connections(store) if connection.active), None)


def get_connection(store: DocumentStore, workspace_id: str) -> Connection:
    """One connection. Raises NotFound."""
    wanted = workspace_id.lower()
    found = next((connection for connection in list_connections(store) if connection.workspace_id == wanted), None)
    if found is None:
        raise _no_connection(workspace_id)
    return found


def add_connection(store: DocumentStore, fabric: FabricClient, workspace_id: str, now: datetime) -> Connection:
    """Ask Fabric for the workspace, and keep it under the name that it has there. The first connection is active at once.

    Safe to repeat: the time of its making stays, the name is read anew. Raises NotFound or PermissionDenied as Fabric answers.
    """
    workspace = fabric.get_workspace(WorkspaceId(checked_id(workspace_id, "workspace")))
    wanted = workspace.workspace_id.lower()
    first = None if active_connection(store) else _text(now)

    def added(known: Mapping[str, Any] | None) -> dict[str, Any]:
        before = known or {"workspace_id": wanted, "created_at": _text(now), "chosen_at": None, "last_used": None}
        chosen = {"chosen_at": first, "last_used": first} if first else {}
        return {**before, "id": wanted, "workspace_name": workspace.name, **chosen}

    _change(store, wanted, added)
    return get_connection(store, wanted)


def select_connection(store: DocumentStore, workspace_id: str, now: datetime) -> Connection:
    """Make a connection the active one. Safe to repeat. Raises NotFound."""

    def chosen(known: Mapping[str, Any] | None) -> dict[str, Any]:
        if known is None:
            raise _no_connection(workspace_id)
        earlier = [moment for other in all_documents(store, CONNECTIONS) if (moment := _time(other.body.get("chosen_at")))]
        behind = max(earlier, default=now) + _LATER  # a clock that runs late does not lose against an earlier choice
        return {**known, "chosen_at": _text(max(now, behind)), "last_used": _text(now)}

    wanted = checked_id(workspace_id, "workspace").lower()
    _change(store, wanted, chosen)
    return get_connection(store, wanted)


def delete_connection(store: DocumentStore, workspace_id: str) -> None:
    """Forget a connection; nothing in Fabric changes. After the active one is deleted none is active until somebody chooses.

    Raises NotFound.
    """
    document = _find(store, workspace_id)
    documents = list(all_documents(store, CONNECTIONS))
    if _active(documents) == document.id:
        for other in documents:  # first the others lose their older claims, so that none of them slips in
            if other.id != document.id and other.body.get("chosen_at"):
                _withdraw(store, other)
    store.delete(CONNECTIONS, document.id)


def _withdraw(store: DocumentStore, document: Document) -> None:
    with suppress(Conflict):  # it was chosen, or deleted, meanwhile
        store.put(CONNECTIONS, document.id, {**document.body, "chosen_at": None}, if_match=document.etag)


def _change(store: DocumentStore, workspace_id: str, changed: Callable[[Mapping[str, Any] | None], dict[str, Any]]) -> None:
    """Write what comes of the document that is there, or of none; once more when somebody else was quicker."""
    while True:
        known = store.find(CONNECTIONS, workspace_id)
        body = changed(known.body if known else None)
        with suppress(Conflict):
            store.put(CONNECTIONS, workspace_id, body, if_match=known.etag if known else None, create_only=known is None)
            return


def _find(store: DocumentStore, workspace_id: str) -> Document:
    found = store.find(CONNECTIONS, checked_id(workspace_id, "workspace").lower())
    if found is None:
        raise _no_connection(workspace_id)
    return found


def _no_connection(workspace_id: str) -> NotFound:
    return NotFound(
        f"There is no connection to the workspace {workspace_id[:80]!a}.", hint="Add it first.", details={"workspace_id": workspace_id[:80]}
    )


def _active(documents: list[Document]) -> str | None:
    chosen = [(moment, document.id) for document in documents if (moment := _time(document.body.get("chosen_at")))]
    return max(chosen)[1] if chosen else None


def _connection(document: Document, *, active: bool) -> Connection:
    body = document.body
    created = _time(body.get("created_at")) or document.updated_at
    return Connection(document.id, str(body.get("workspace_name") or document.id), created, _time(body.get("last_used")), active)


def _time(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
