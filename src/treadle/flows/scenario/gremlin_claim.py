"""Whose a graph in Azure Cosmos DB is, and what a build would change of it.

What a scenario has there goes by its name alone. So two workspaces that build a scenario of one name mean the same vertices, and only one of them
may: who builds first writes down that it is his, before the first vertex; the other one meets a conflict, or takes it over.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from treadle.control.jobs.job import JsonValue
from treadle.errors import Conflict
from treadle.flows.scenario.plan import Action, Change, Kind
from treadle.flows.scenario.records import Thing, find_scenario, forget_thing, things_of_scenario
from treadle.flows.scenario.scenario import Scenario
from treadle.flows.scenario.schema import Connector
from treadle.flows.scenario.services import ScenarioServices

if TYPE_CHECKING:  # its driver is an extra
    from treadle.flows.scenario.building import Building
    from treadle.stores.document_store import DocumentStore


def claims_of(store: "DocumentStore", name: str) -> list[Thing]:
    """Who has the graph of a scenario of this name: nobody, one workspace, or while it is being taken over two."""
    claims = [thing for thing in things_of_scenario(store, name) if thing.kind is Kind.GREMLIN_GRAPH]
    record = find_scenario(store, name)
    if not claims and record and record.graph_connector == Connector.COSMOSDB_GREMLIN:
        return [Thing(name, record.workspace_id.lower(), Kind.GREMLIN_GRAPH, name, name)]  # built before claims were written
    return claims


def plan_gremlin(services: ScenarioServices, workspace_id: str, name: str, scenario: Scenario, *, overwrite: bool) -> tuple[Change, ...]:
    """The graph, then each of its parts: what a build would do about it. Changes nothing.

    Raises:
        InvalidInput: Cosmos DB cannot hold a row or a type. Others: as `GremlinClient.submit`.
    """
    from treadle.flows.scenario.build_gremlin import has_other_parts, plan_gremlin_graph  # noqa: PLC0415 - its driver is an extra

    gremlin = services.gremlin()
    parts = plan_gremlin_graph(gremlin, scenario, name)
    graph = _plan_graph(services, workspace_id, name, overwrite=overwrite)
    if graph.action is Action.UNCHANGED and has_other_parts(gremlin, scenario, name):
        graph = Change(
            Action.UPDATE, graph.kind, name, graph.item_id, "has parts that the archive does not have any more; they are removed"
        )
    return (graph, *(Change(part.action, part.kind, part.name.removeprefix(f"{part.kind} "), None, part.reason) for part in parts))


def claim_graph(build: "Building") -> JsonValue:
    """Write down that the graph is this workspace's, before anything goes there. Safe to repeat.

    Raises:
        Conflict: it is another's, and may not be taken over.
    """
    store, name, workspace = build.services.documents, build.scenario_name, build.asked.workspace_id
    change = _plan_graph(build.services, workspace, name, overwrite=build.asked.overwrite)
    if change.action is Action.CONFLICT:
        raise _refused(name, change.reason)
    build.remember(Kind.GREMLIN_GRAPH, name, name, made=True)
    for other in _others(store, name, workspace):
        if not build.asked.overwrite:  # it came between our look and our word
            build.forget(Kind.GREMLIN_GRAPH, name)
            raise _refused(name, _is_of(other))
        forget_thing(store, other)
    return {"action": change.action}


def _plan_graph(services: ScenarioServices, workspace_id: str, name: str, *, overwrite: bool) -> Change:
    from treadle.flows.scenario.build_gremlin import is_in_graph  # noqa: PLC0415 - its driver is an extra

    if other := next(_others(services.documents, name, workspace_id), None):
        if overwrite:
            return Change(Action.UPDATE, Kind.GREMLIN_GRAPH, name, None, f"is taken over from workspace {other.workspace_id}")
        return Change(Action.CONFLICT, Kind.GREMLIN_GRAPH, name, None, _is_of(other))
    if claims_of(services.documents, name):
        return Change(Action.UNCHANGED, Kind.GREMLIN_GRAPH, name, name, "is there")
    if not is_in_graph(services.gremlin(), name):
        return Change(Action.CREATE, Kind.GREMLIN_GRAPH, name, None, "is not there yet")
    if overwrite:
        return Change(Action.UPDATE, Kind.GREMLIN_GRAPH, name, None, "is taken over from somebody else")
    return Change(Action.CONFLICT, Kind.GREMLIN_GRAPH, name, None, "is there, and nothing is known here of who made it")


def _others(store: "DocumentStore", name: str, workspace_id: str) -> Iterator[Thing]:
    return (claim for claim in claims_of(store, name) if claim.workspace_id.lower() != workspace_id.lower())


def _is_of(other: Thing) -> str:
    return f"is that of the scenario of this name in workspace {other.workspace_id}"


def _refused(name: str, reason: str) -> Conflict:
    return Conflict(
        f"{name} cannot be built: the graph of this name in Azure Cosmos DB {reason}.",
        hint="Build it under another name, or take it over with --overwrite.",
        details={"scenario": name},
    )
