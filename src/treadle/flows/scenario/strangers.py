"""What a lakehouse, a KQL database or an eventhouse holds that a scenario's end must not take along. What cannot be seen is never taken for nothing."""

from collections.abc import Iterator, Sequence
from typing import Final, cast

from treadle.clients.fabric import Item, ItemId, WorkspaceId
from treadle.errors import NotFound
from treadle.flows.scenario.existing import ITEM_TYPES, Workspace, query_uri
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.records import Thing
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.telemetry import SHOW_SCHEMA, SHOW_TABLES, beside_tables

CONTAINERS: Final = {Kind.TABLE: Kind.LAKEHOUSE, Kind.KQL_TABLE: Kind.KQL_DATABASE}
UNSEEN: Final = "what Fabric does not show just now"
_OURS_IN_FILES: Final = frozenset({"scenarios", ".treadle"})


def strangers_in(services: ScenarioServices, found: Workspace, scenario: str, item: Item, going: Sequence[Thing]) -> list[str]:
    """What is in an item that nobody of us put there, or that we leave, in words; empty: it may go. going: what goes before it.

    Where Fabric lists the item and then does not find it, or not all that is in it, nobody knows what it holds: UNSEEN.

    Raises:
        Unavailable, PermissionDenied, …: a look failed; the item must stay.
    """
    try:
        return sorted(set(_strangers(services, found, scenario, item, going)))
    except NotFound:
        return [UNSEEN]


def _strangers(services: ScenarioServices, found: Workspace, scenario: str, item: Item, going: Sequence[Thing]) -> Iterator[str]:
    if item.type == ITEM_TYPES[Kind.LAKEHOUSE]:
        yield from _in_lakehouse(services, scenario, item, going)
    elif item.type == ITEM_TYPES[Kind.KQL_DATABASE]:
        yield from _in_database(services, item, going)
    elif item.type == ITEM_TYPES[Kind.EVENTHOUSE]:
        yield from _in_eventhouse(services, found, item, going)


def _in_lakehouse(services: ScenarioServices, scenario: str, item: Item, going: Sequence[Thing]) -> Iterator[str]:
    """Its tables as Fabric lists them, which may lag behind, and as they are in OneLake; and its files."""
    lake = services.lake_of(item.workspace_id, item.item_id)
    tables = {table.name for table in services.fabric.list_tables(WorkspaceId(item.workspace_id), ItemId(item.item_id))}
    tables |= {folder.name for folder in lake.list_folders("Tables")}
    yield from (f"table {name}" for name in tables - _tables_of(going, Kind.TABLE, item.item_id))
    yield from (f"Files/{folder.name}" for folder in lake.list_folders("Files") if folder.name not in _OURS_IN_FILES)
    yield from (f"Files/scenarios/{folder.name}" for folder in lake.list_folders("Files/scenarios") if folder.name != scenario)
    yield from (file.path for folder in ("Tables", "Files") for file in lake.list_files(folder))


def _in_database(services: ScenarioServices, item: Item, going: Sequence[Thing]) -> Iterator[str]:
    """Its tables, functions, views and the like. Raises NotFound as long as Fabric does not say where it is asked."""
    uri = query_uri(services, item.workspace_id, item.item_id)
    if not uri:
        raise NotFound(f"Fabric does not say where the KQL database {item.name} is asked.", hint="Try again in a moment.")
    kusto = services.kusto(uri, item.name)
    tables = {str(row["TableName"]) for row in kusto.mgmt(SHOW_TABLES)}
    yield from (f"table {name}" for name in tables - _tables_of(going, Kind.KQL_TABLE, item.item_id))
    yield from beside_tables(str(kusto.mgmt(SHOW_SCHEMA)[0]["DatabaseSchema"]))


def _tables_of(going: Sequence[Thing], kind: Kind, item_id: str) -> set[str]:
    """The tables of one lakehouse or database that go."""
    return {thing.name.partition("/")[2] for thing in going if thing.kind is kind and thing.item_id == item_id}


def _in_eventhouse(services: ScenarioServices, found: Workspace, item: Item, going: Sequence[Thing]) -> Iterator[str]:
    """Databases of the eventhouse that stay, but for its own, if that is empty; as Fabric lists them, and as the eventhouse names them itself."""
    leaving = {each.item_id for each in going if each.kind is Kind.KQL_DATABASE}  # its tables have its id, too, and may go without it
    databases = found.of_kind(Kind.KQL_DATABASE)
    if _databases_named(services, item) - leaving - {database.item_id for database in databases}:
        yield UNSEEN
    for database in databases:
        if database.item_id in leaving:
            continue
        properties = services.fabric.item_properties(WorkspaceId(database.workspace_id), ItemId(database.item_id), database.type)
        if str(properties.get("parentEventhouseItemId") or item.item_id).lower() != item.item_id:
            continue  # it is another's; one of which Fabric does not say whose it is may be this one's
        if database.name != item.name or strangers_in(services, found, "", database, going):
            yield f"database {database.name}"


def _databases_named(services: ScenarioServices, eventhouse: Item) -> set[str]:
    """The ids of its databases, by its property databasesItemIds. Source: Get Eventhouse."""
    properties = services.fabric.item_properties(WorkspaceId(eventhouse.workspace_id), ItemId(eventhouse.item_id), eventhouse.type)
    return {str(each).lower() for each in cast("Sequence[object]", properties.get("databasesItemIds") or ())}
