"""What is there, asked of Fabric, with what Treadle has written down of the things it made."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from treadle.clients.fabric import Item, ItemId, WorkspaceId
from treadle.errors import NotFound
from treadle.flows.scenario.plan import Existing, Kind
from treadle.flows.scenario.records import Thing, forget_thing, record_thing, things_of
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.telemetry import SHOW_TABLES

ITEM_TYPES: Final[Mapping[Kind, str]] = {
    Kind.LAKEHOUSE: "Lakehouse",
    Kind.ONTOLOGY: "Ontology",
    Kind.GRAPH_MODEL: "GraphModel",
    Kind.EVENTHOUSE: "Eventhouse",
    Kind.KQL_DATABASE: "KQLDatabase",
}
PENDING: Final = ""  # the item id of a thing that is about to be made


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


def look_at(services: ScenarioServices, workspace_id: str) -> Workspace:
    """Ask Fabric for all items, and our records for what we made, under the names that items have now. Raises NotFound, PermissionDenied."""
    items = tuple(services.fabric.list_items(WorkspaceId(workspace_id)))
    names = {item.item_id: item.name for item in items}
    things = [_holding(thing, names) for thing in things_of(services.documents, workspace_id)]
    known = {(thing.kind, thing.name): thing for thing in things}
    for old, new in renamed(things, names):
        del known[old.kind, old.name]
        known[new.kind, new.name] = new
    return Workspace(workspace_id, items, known)


def renamed(things: Sequence[Thing], names: Mapping[str, str]) -> list[tuple[Thing, Thing]]:
    """Things whose item somebody has renamed, or the item that they are in: as they were noted, and as they are. names: by id. Pure."""
    taken = {(thing.kind, thing.name) for thing in things}
    found = [(thing, replace(thing, name=_name_now(thing, names))) for thing in things if thing.item_id in names]
    return [(old, new) for old, new in found if (new.kind, new.name) not in taken]


def _name_now(thing: Thing, names: Mapping[str, str]) -> str:
    if thing.kind is Kind.GREMLIN_GRAPH:
        return thing.name
    _, slash, table = thing.name.partition("/")
    return f"{names[thing.item_id]}{slash}{table}"


def note_renames(services: ScenarioServices, found: Workspace) -> None:
    """Write down under their names of now what somebody has renamed, before a job works with it. Safe to repeat."""
    names = {item.item_id: item.name for item in found.items}
    for old, new in renamed(things_of(services.documents, found.workspace_id), names):
        record_thing(services.documents, new)
        forget_thing(services.documents, replace(old, displaced=None))


def _holding(thing: Thing, there: Collection[str]) -> Thing:
    """Who has a name: as long as what was displaced is there after all, nothing was made in its place."""
    return thing.displaced if thing.displaced and thing.displaced.item_id in there else thing


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
