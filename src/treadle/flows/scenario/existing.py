"""What is there, asked of Fabric, with what Treadle has written down of the things it made; and what a build would change of it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from treadle.clients.fabric import Item, ItemId, WorkspaceId
from treadle.errors import NotFound
from treadle.flows.scenario.plan import Change, Existing, Kind, Wanted, plan_scenario
from treadle.flows.scenario.records import Thing, things_of
from treadle.flows.scenario.scenario import Scenario
from treadle.flows.scenario.schema import Connector
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.telemetry import SHOW_SCHEMA, SHOW_TABLES, beside_tables
from treadle.flows.scenario.wanted import Names, graph_wanted, once, telemetry_wanted

ITEM_TYPES: Final[Mapping[Kind, str]] = {
    Kind.LAKEHOUSE: "Lakehouse",
    Kind.ONTOLOGY: "Ontology",
    Kind.GRAPH_MODEL: "GraphModel",
    Kind.EVENTHOUSE: "Eventhouse",
    Kind.KQL_DATABASE: "KQLDatabase",
}
PENDING: Final = ""  # the item id of a thing that is about to be made
_LOADED_WITHIN: Final = timedelta(hours=1)  # of being written down, whether or not anybody waited for the answer
_GRAPH_SOURCES: Final = "dataSources.json"


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
    """Whether a table of a lakehouse is younger than what we know of it: ours was dropped, or never came about, and this is somebody else's.

    Told by the first entry of its Delta log, which an Overwrite keeps. Of other kinds of things, and of logs that were cut, it cannot be told.
    """
    if thing.kind is not Kind.TABLE or thing.noted_at is None:
        return False
    first = f"Tables/{thing.name.partition('/')[2]}/_delta_log/{0:020}.json"
    try:
        begun_at = services.lake_of(thing.workspace_id, thing.item_id).stat(first).modified_at
    except NotFound:
        return False
    return begun_at > datetime.fromisoformat(thing.noted_at) + _LOADED_WITHIN


def look_at(services: ScenarioServices, workspace_id: str) -> Workspace:
    """Ask Fabric for all items, and our records for what we made. Raises NotFound, PermissionDenied."""
    items = services.fabric.list_items(WorkspaceId(workspace_id))
    things = {(thing.kind, thing.name): thing for thing in things_of(services.documents, workspace_id)}
    return Workspace(workspace_id, tuple(items), things)


def plan_changes(  # noqa: PLR0913, PLR0917 - where, for whom, what, and whether by force
    services: ScenarioServices,
    found: Workspace,
    scenario_name: str,
    names: Names,
    scenarios: Mapping[str, Scenario],
    connector: Connector,
    *,
    overwrite: bool,
) -> tuple[Change, ...]:
    """One change for each thing that the archives need. scenarios: by slot, those that have been checked."""
    lakehouse = found.find(Kind.LAKEHOUSE, names.lakehouse)
    lakehouse_id = lakehouse.item_id if lakehouse else None
    graph = ontology_graph(services, found, names, lakehouse_id, overwrite=overwrite)
    if graph is not None:
        names = replace(names, graph_model=graph.name)
    wanted: list[Wanted] = []
    if "graph" in scenarios and connector is Connector.FABRIC_GQL:
        wanted += graph_wanted(scenarios["graph"], names, lakehouse_id)
    if "telemetry" in scenarios:
        wanted += telemetry_wanted(scenarios["telemetry"], names)
    existing = _existing_in(services, found, names, {item.kind for item in wanted})
    return plan_scenario(scenario_name, once(wanted), existing, overwrite=overwrite)


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


def kql_beside_tables(services: ScenarioServices, database: Item) -> list[str]:
    """Functions, views and the like of a KQL database, in words; as `kql_table_names`."""
    uri = query_uri(services, database.workspace_id, database.item_id)
    if not uri:
        return []
    return _unless_gone(lambda: beside_tables(str(services.kusto(uri, database.name).mgmt(SHOW_SCHEMA)[0]["DatabaseSchema"])))


def query_uri(services: ScenarioServices, workspace_id: str, database_id: str) -> str:
    """Where a KQL database is asked; empty as long as Fabric does not say."""
    properties = services.fabric.item_properties(WorkspaceId(workspace_id), ItemId(database_id), ITEM_TYPES[Kind.KQL_DATABASE])
    return str(properties.get("queryServiceUri") or "")


def ontology_graph(  # noqa: PLR0913 - where, whose, and what is known of it
    services: ScenarioServices,
    found: Workspace,
    names: Names,
    lakehouse_id: str | None,
    *,
    before: frozenset[str] | None = None,
    overwrite: bool = False,
) -> Item | None:
    """The graph model that Fabric made with our ontology, as far as it can be told from others.

    Its name begins with the ontology's and `_graph`; what follows is Fabric's own. What we have written down comes first, then the one that was not
    there before the ontology. Of others the name must fit no ontology with a longer name, and there must be nothing in it but our tables, unless we
    may take over what others made.
    """
    if found.find(Kind.ONTOLOGY, names.ontology) is None:
        return None
    candidates = [item for item in found.of_kind(Kind.GRAPH_MODEL) if _belongs(item.name, names.ontology, found.of_kind(Kind.ONTOLOGY))]
    written = [item for item in candidates if found.known(Kind.GRAPH_MODEL, item.name, item.item_id).made_by]
    fresh = [item for item in candidates if before is not None and item.item_id not in before]
    return (
        _single(written)
        or _single(fresh)
        or _single([item for item in candidates if overwrite or _reads_from(services, item, lakehouse_id)])
    )


def _existing_in(services: ScenarioServices, found: Workspace, names: Names, kinds: Iterable[Kind]) -> tuple[Existing, ...]:
    """The things of these kinds that a build may meet: all items, and the tables of its lakehouse and its KQL database."""
    wanted = set(kinds)
    there = [found.known(kind, item.name, item.item_id) for kind in ITEM_TYPES if kind in wanted for item in found.of_kind(kind)]
    lakehouse, database = found.find(Kind.LAKEHOUSE, names.lakehouse), found.find(Kind.KQL_DATABASE, names.kql_database)
    if Kind.TABLE in wanted and lakehouse:
        there += [found.known(Kind.TABLE, names.table(name), lakehouse.item_id) for name in table_names(services, lakehouse)]
    if Kind.KQL_TABLE in wanted and database:
        there += [found.known(Kind.KQL_TABLE, names.kql_table(name), database.item_id) for name in kql_table_names(services, database)]
    return tuple(_with_its_ontology(item, there, names) for item in there)


def _with_its_ontology(item: Existing, there: Iterable[Existing], names: Names) -> Existing:
    """A graph that nobody has written down yet was made by whoever made its ontology."""
    if item.kind is not Kind.GRAPH_MODEL or item.made_by or item.name != names.graph_model:
        return item
    ontology = next((other for other in there if other.kind is Kind.ONTOLOGY and other.name == names.ontology), None)
    return replace(item, made_by=ontology.made_by) if ontology else item


def _reads_from(services: ScenarioServices, graph: Item, lakehouse_id: str | None) -> bool:
    """Whether a graph model is empty, as Fabric makes it, or reads nothing but this lakehouse: then it is nobody else's."""
    parts = services.fabric.get_item_definition(WorkspaceId(graph.workspace_id), ItemId(graph.item_id))
    try:
        sources: list[Any] = json.loads(parts.get(_GRAPH_SOURCES) or "{}").get("dataSources") or []
        paths = [str(source["properties"]["path"]) for source in sources]
    except (ValueError, TypeError, KeyError, AttributeError):
        return False
    return all(lakehouse_id is not None and f"/{lakehouse_id}/" in path for path in paths)


def _belongs(graph: str, ontology: str, ontologies: Sequence[Item]) -> bool:
    """Whether a graph's name says that it is this ontology's: of `net` and `net_graph`, `net_graph_graph1` is the second one's."""
    fitting = [item.name for item in ontologies if graph.casefold().startswith(f"{item.name}_graph".casefold())]
    return max(fitting, key=len, default=None) == ontology


def _unless_gone(look: Callable[[], list[str]]) -> list[str]:
    try:
        return look()
    except NotFound:
        return []


def _single(found: Sequence[Item]) -> Item | None:
    return found[0] if len(found) == 1 else None
