"""What is there, asked of Fabric, with what Treadle has written down of the things it made."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from treadle.clients.fabric import Item, ItemId, WorkspaceId
from treadle.errors import NotFound
from treadle.flows.scenario.plan import Existing, Kind
from treadle.flows.scenario.records import Thing, things_of
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.table_log import TableLog, read_log
from treadle.flows.scenario.telemetry import SHOW_TABLES

ITEM_TYPES: Final[Mapping[Kind, str]] = {
    Kind.LAKEHOUSE: "Lakehouse",
    Kind.ONTOLOGY: "Ontology",
    Kind.GRAPH_MODEL: "GraphModel",
    Kind.EVENTHOUSE: "Eventhouse",
    Kind.KQL_DATABASE: "KQLDatabase",
}
PENDING: Final = ""  # the item id of a thing that is about to be made
_LOADED_WITHIN: Final = timedelta(hours=1)  # of being written down, whether or not anybody waited for the answer


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace as it was found. items: all of them. things: what Treadle knows of it, by kind and name."""

    workspace_id: str
    items: tuple[Item, ...]
    things: dict[tuple[Kind, str], Thing]

    def find(self, kind: Kind, name: str) -> Item | None:
        """The item of that kind and name."""
        return next((item for item in self.of_kind(kind) if item.name == name), None)

    def of_kind(self, kind: Kind) -> tuple[Item, ...]:
        """All items of a kind."""
        return tuple(item for item in self.items if item.type == ITEM_TYPES[kind])

    def known(self, kind: Kind, name: str, item_id: str) -> Existing:
        """What is there, with what we know of it; a thing of that name that others have made anew is none of ours."""
        thing = self.things.get((kind, name))
        if thing is None or not (
            thing.item_id == item_id or any(item.item_id == item_id and is_made_as(thing, item) for item in self.items)
        ):
            return Existing(kind, name, item_id)
        return Existing(kind, name, item_id, thing.fingerprint, thing.scenario)


def is_made_as(thing: Thing, item: Item) -> bool:
    """Whether an item is what was about to be made under its name. One that others made instead lacks the mark in its description. Pure."""
    return thing.item_id == PENDING and bool(thing.mark) and str(thing.mark) in item.description


def is_made_since(services: ScenarioServices, thing: Thing) -> bool:
    """Whether a table of a lakehouse is another one than we know of: ours was dropped, or never came about, and this is somebody else's.

    Told by the first entry of its Delta log, or where a build died before it could note that, by its age. Of other kinds of things, and of logs that
    were cut, it cannot be told.
    """
    log = _log_of(services, thing) if thing.kind is Kind.TABLE else None
    return log is not None and _is_another(thing, log)


def _log_of(services: ScenarioServices, table: Thing) -> TableLog | None:
    return read_log(services.lake_of(table.workspace_id, table.item_id), table.name.partition("/")[2])


def _is_another(thing: Thing, log: TableLog) -> bool:
    if log.first is None:
        return False
    if thing.first_entry is not None:
        return log.first_entry != thing.first_entry
    return thing.noted_at is not None and log.first.modified_at > datetime.fromisoformat(thing.noted_at) + _LOADED_WITHIN


def look_at(services: ScenarioServices, workspace_id: str) -> Workspace:
    """Ask Fabric for all items, and our records for what we made. Raises NotFound, PermissionDenied."""
    items = tuple(services.fabric.list_items(WorkspaceId(workspace_id)))
    there = {item.item_id for item in items}
    things = [_holding(thing, there) for thing in things_of(services.documents, workspace_id)]
    return Workspace(workspace_id, items, {(thing.kind, thing.name): thing for thing in things})


def _holding(thing: Thing, there: Collection[str]) -> Thing:
    """Who has a name: as long as what was displaced is there after all, nothing was made in its place."""
    return thing.displaced if thing.displaced and thing.displaced.item_id in there else thing


def table_known(services: ScenarioServices, found: Workspace, name: str, lakehouse_id: str) -> Existing:
    """A table that is there, with what we know of it: not its content, when somebody has written to it since; nothing, when it was made anew."""
    known, thing = found.known(Kind.TABLE, name, lakehouse_id), found.things.get((Kind.TABLE, name))
    log = _log_of(services, thing) if thing and known.made_by else None
    if thing is None or log is None:
        return known
    if _is_another(thing, log):
        return Existing(Kind.TABLE, name, lakehouse_id)
    return known if thing.last_entry in {None, log.last_entry} else replace(known, fingerprint=None)


def table_names(services: ScenarioServices, lakehouse: Item) -> list[str]:
    """The tables of a lakehouse; none when it has just gone."""
    workspace, item = WorkspaceId(lakehouse.workspace_id), ItemId(lakehouse.item_id)
    return _unless_gone(lambda: [table.name for table in services.fabric.list_tables(workspace, item)])


def kql_table_names(services: ScenarioServices, database: Item) -> list[str]:
    """The tables of a KQL database; none when it has just gone, or is not ready to be asked."""
    uri = query_uri(services, database.workspace_id, database.item_id)
    if not uri:
        return []
    return _unless_gone(lambda: [str(row["TableName"]) for row in services.kusto(uri, database.name).mgmt(SHOW_TABLES)])


def query_uri(services: ScenarioServices, workspace_id: str, database_id: str) -> str:
    """Where a KQL database is asked; empty as long as Fabric does not say."""
    properties = services.fabric.item_properties(WorkspaceId(workspace_id), ItemId(database_id), ITEM_TYPES[Kind.KQL_DATABASE])
    return str(properties.get("queryServiceUri") or "")


def _unless_gone(look: Callable[[], list[str]]) -> list[str]:
    try:
        return look()
    except NotFound:
        return []
