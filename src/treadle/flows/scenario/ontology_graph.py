"""Which graph model is an ontology's: Fabric makes one with each ontology, and says nowhere which."""

from collections.abc import Sequence

from treadle.clients.fabric import Item, ItemId, WorkspaceId
from treadle.flows.scenario.as_brought import sources_in
from treadle.flows.scenario.existing import PENDING, Workspace
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.records import Thing
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.wanted import Names


def ontology_graph(services: ScenarioServices, found: Workspace, names: Names, lakehouse_id: str | None, scenario_name: str) -> Item | None:
    """The graph model of the ontology: the scenario's own, or else the one that came with the ontology.

    Its name begins with the ontology's and `_graph`; what follows is Fabric's own. So a name proves nothing: with an ontology that a build made there
    came a graph that was not there before, and in which there is nothing but our tables. With one that others made comes whatever has the name; who
    takes it must be allowed to.
    """
    ontology = found.find(Kind.ONTOLOGY, names.ontology)
    if ontology is None:
        return None
    owners = {item: found.known(Kind.GRAPH_MODEL, item.name, item.item_id).made_by for item in found.of_kind(Kind.GRAPH_MODEL)}
    candidates = [item for item in owners if _belongs(item.name, names.ontology, found)]
    ours = [item for item in candidates if owners[item] == scenario_name]
    if ours or (before := _graphs_before(found, ontology, scenario_name)) is None:
        return _single(ours or candidates)
    if lost_graphs(found, names.ontology, scenario_name):
        return None  # the one that came with it was found, and is gone: these are others'
    fresh = [item for item in candidates if item.item_id not in before]
    return _single([item for item in fresh if owners[item] or _reads_only_from(services, item, lakehouse_id)])


def lost_graphs(found: Workspace, ontology: str, scenario_name: str) -> list[Thing]:
    """Graph models of the scenario's ontology that a build has found, and that are gone."""
    there = {item.item_id for item in found.of_kind(Kind.GRAPH_MODEL)}
    written = [thing for thing in found.things.values() if thing.kind is Kind.GRAPH_MODEL and thing.scenario == scenario_name]
    fitting = [thing for thing in written if _belongs(thing.name, ontology, found)]
    return [thing for thing in fitting if thing.item_id != PENDING and thing.item_id not in there]


def came_with_ontology(found: Workspace, ontology: Item, graph: Item, scenario_name: str) -> bool:
    """Whether a graph model that nobody has written down was not there before this ontology, which a build of the scenario made."""
    before = _graphs_before(found, ontology, scenario_name)
    unknown = found.known(Kind.GRAPH_MODEL, graph.name, graph.item_id).made_by is None
    return before is not None and graph.item_id not in before and unknown


def others_with_its_graph(found: Workspace, ontology: Thing) -> set[str]:
    """Other scenarios that have taken over the graph model of an ontology, with which it would go."""
    before = ontology.graphs_before or ()
    graphs = [thing for thing in found.things.values() if thing.kind is Kind.GRAPH_MODEL and thing.scenario != ontology.scenario]
    return {thing.scenario for thing in graphs if thing.item_id not in before and _belongs(thing.name, ontology.name, found)}


def _graphs_before(found: Workspace, ontology: Item, scenario_name: str) -> tuple[str, ...] | None:
    """The graph models that were there before the scenario's ontology; None: it is another's, or no build has made it."""
    thing = found.things.get((Kind.ONTOLOGY, ontology.name))
    if thing is None or not thing.made or found.known(Kind.ONTOLOGY, ontology.name, ontology.item_id).made_by != scenario_name:
        return None
    return thing.graphs_before


def _reads_only_from(services: ScenarioServices, graph: Item, lakehouse_id: str | None) -> bool:
    """Whether a graph model is empty, as Fabric makes it, or reads nothing but this lakehouse: then it is nobody else's."""
    paths = sources_in(services.fabric.get_item_definition(WorkspaceId(graph.workspace_id), ItemId(graph.item_id)))
    return paths is not None and all(lakehouse_id is not None and f"/{lakehouse_id}/" in path for path in paths)


def _belongs(graph: str, ontology: str, found: Workspace) -> bool:
    """Whether a graph's name says that it is this ontology's: of `net` and `net_graph`, `net_graph_graph1` is the second one's."""
    names = {ontology, *(item.name for item in found.of_kind(Kind.ONTOLOGY))}
    return max((name for name in names if graph.casefold().startswith(f"{name}_graph".casefold())), key=len, default=None) == ontology


def _single(found: Sequence[Item]) -> Item | None:
    return found[0] if len(found) == 1 else None
