"""What a lakehouse, a KQL database or an eventhouse holds that a scenario's end must not take along. What cannot be seen is never taken for nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from treadle.clients.fabric import Item, ItemId, WorkspaceId
from treadle.errors import NotFound
from treadle.flows.scenario.existing import ITEM_TYPES, Workspace, query_uri
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.presence import item_now
from treadle.flows.scenario.records import Thing
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.telemetry import SHOW_SCHEMA, SHOW_TABLES, beside_tables

CONTAINERS: Final = {Kind.TABLE: Kind.LAKEHOUSE, Kind.KQL_TABLE: Kind.KQL_DATABASE}
UNSEEN: Final = "what Fabric does not show just now"
_OURS_IN_FILES: Final = frozenset({"scenarios", ".treadle"})


@dataclass(frozen=True, slots=True)
class Going:
    """What goes of a scenario before an item does, or has gone. It grows while things are looked at, or removed.

    dropped: tables of lakehouses that went before this attempt: Fabric may list them still, but what is in OneLake under their names is another's.
    """

    things: list[Thing] = field(default_factory=list[Thing])
    dropped: list[Thing] = field(default_factory=list[Thing])


def strangers_in(services: ScenarioServices, found: Workspace, scenario: str, item: Item, going: Going) -> list[str]:
    """What is in an item that nobody of us put there, or that we leave, in words; empty: it may go.

    Where Fabric shows the item and then does not find it, or not all that is in it, nobody knows what else it holds: UNSEEN.

    Raises:
        Unavailable, PermissionDenied, …: a look failed; the item must stay.
    """
    strangers = set[str]()
    try:
        for stranger in _strangers(services, found, scenario, item, going):
            strangers.add(stranger)
    except NotFound:
        strangers.add(UNSEEN)
    return sorted(strangers)


def _strangers(services: ScenarioServices, found: Workspace, scenario: str, item: Item, going: Going) -> Iterator[str]:
    if item.type == ITEM_TYPES[Kind.LAKEHOUSE]:
        yield from _in_lakehouse(services, scenario, item, going)
    elif item.type == ITEM_TYPES[Kind.KQL_DATABASE]:
        yield from _in_database(services, item, going)
    elif item.type == ITEM_TYPES[Kind.EVENTHOUSE]:
        yield from _in_eventhouse(services, found, item, going)


def _in_lakehouse(services: ScenarioServices, scenario: str, item: Item, going: Going) -> Iterator[str]:
    """Its tables as Fabric lists them, which may lag behind either way, and as they are in OneLake; and its files."""
    lake = services.lake_of(item.workspace_id, item.item_id)
    listed = {table.name for table in services.fabric.list_tables(WorkspaceId(item.workspace_id), ItemId(item.item_id))}
    tables = (listed - _tables_of(going.dropped, Kind.TABLE, item.item_id)) | {folder.name for folder in lake.list_folders("Tables")}
    yield from (f"table {name}" for name in tables - _tables_of(going.things, Kind.TABLE, item.item_id))
    yield from (f"Files/{folder.name}" for folder in lake.list_folders("Files") if folder.name not in _OURS_IN_FILES)
    yield from (f"Files/scenarios/{folder.name}" for folder in lake.list_folders("Files/scenarios") if folder.name != scenario)
    yield from (file.path for folder in ("Tables", "Files") for file in lake.list_files(folder))


def _in_database(services: ScenarioServices, item: Item, going: Going) -> Iterator[str]:
    """Its tables, functions, views and the like. Raises NotFound as long as Fabric does not say where it is asked."""
    uri = query_uri(services, item.workspace_id, item.item_id)
    if not uri:
        raise NotFound(f"Fabric does not say where the KQL database {item.name} is asked.", hint="Try again in a moment.")
    kusto = services.kusto(uri, item.name)
    tables = {str(row["TableName"]) for row in kusto.mgmt(SHOW_TABLES)}
    yield from (f"table {name}" for name in tables - _tables_of(going.things, Kind.KQL_TABLE, item.item_id))
    yield from beside_tables(str(kusto.mgmt(SHOW_SCHEMA)[0]["DatabaseSchema"]))


def _tables_of(things: Sequence[Thing], kind: Kind, item_id: str) -> set[str]:
    """The tables of one lakehouse or database among things."""
    return {thing.name.partition("/")[2] for thing in things if thing.kind is kind and thing.item_id == item_id}


def _in_eventhouse(services: ScenarioServices, found: Workspace, item: Item, going: Going) -> Iterator[str]:
    """Databases of the eventhouse that stay, but for its own, if that is empty; as Fabric lists them, and as the eventhouse names them itself."""
    leaving = {
        each.item_id for each in going.things if each.kind is Kind.KQL_DATABASE
    }  # its tables have its id, too, and may go without it
    listed = found.of_kind(Kind.KQL_DATABASE)
    unlisted = _databases_named(services, item) - leaving - {database.item_id for database in listed}
    named = [database for each in sorted(unlisted) if (database := item_now(services, item.workspace_id, each))]
    for database in (*listed, *named):
        if database.item_id in leaving:
            continue
        properties = services.fabric.item_properties(WorkspaceId(database.workspace_id), ItemId(database.item_id), database.type)
        if str(properties.get("parentEventhouseItemId") or item.item_id).lower() != item.item_id:
            continue  # it is another's; one of which Fabric does not say whose it is may be this one's
        inside = strangers_in(services, found, "", database, going) if database.name == item.name else [database.name]
        if inside:
            yield UNSEEN if inside == [UNSEEN] else f"database {database.name}"


def _databases_named(services: ScenarioServices, eventhouse: Item) -> set[str]:
    """The ids of its databases, by its property databasesItemIds. Source: Get Eventhouse."""
    properties = services.fabric.item_properties(WorkspaceId(eventhouse.workspace_id), ItemId(eventhouse.item_id), eventhouse.type)
    return {str(each).lower() for each in cast("Sequence[object]", properties.get("databasesItemIds") or ())}
