"""What a build would change of what is there. Asks, and changes nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from treadle.flows.scenario.existing import ITEM_TYPES, Workspace, kql_table_names, query_uri, table_known, table_names
from treadle.flows.scenario.ontology_graph import came_with_ontology, ontology_graph
from treadle.flows.scenario.plan import Change, Existing, Kind, Wanted, plan_scenario
from treadle.flows.scenario.scenario import Scenario
from treadle.flows.scenario.schema import Connector
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.telemetry import show_taken_in
from treadle.flows.scenario.wanted import Names, graph_wanted, once, table_fingerprint, telemetry_tables, telemetry_wanted


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
    graph = ontology_graph(services, found, names, lakehouse_id, scenario_name)
    if graph is not None:
        names = replace(names, graph_model=graph.name)
    wanted: list[Wanted] = []
    if "graph" in scenarios and connector is Connector.FABRIC_GQL:
        wanted += graph_wanted(scenarios["graph"], names, lakehouse_id)
    if "telemetry" in scenarios:
        wanted += telemetry_wanted(scenarios["telemetry"], names)
    existing = _existing_in(services, found, names, {item.kind for item in wanted})
    ontology = found.find(Kind.ONTOLOGY, names.ontology)
    if graph and ontology and came_with_ontology(found, ontology, graph, scenario_name):
        existing = [replace(item, made_by=scenario_name) if item.item_id == graph.item_id else item for item in existing]
    outdated = {graph.name} if graph and _is_any_unlike(existing, wanted) else set[str]()
    if "telemetry" in scenarios:
        outdated |= _cleared(services, found, names, existing, scenarios["telemetry"])
    existing = [replace(item, fingerprint=None) if item.name in outdated else item for item in existing]
    return plan_scenario(scenario_name, once(wanted), existing, overwrite=overwrite)


def _existing_in(services: ScenarioServices, found: Workspace, names: Names, kinds: Iterable[Kind]) -> list[Existing]:
    """The things of these kinds that a build may meet: all items, and the tables of its lakehouse and its KQL database."""
    wanted = set(kinds)
    there = [found.known(kind, item.name, item.item_id) for kind in ITEM_TYPES if kind in wanted for item in found.of_kind(kind)]
    lakehouse, database = found.find(Kind.LAKEHOUSE, names.lakehouse), found.find(Kind.KQL_DATABASE, names.kql_database)
    if Kind.TABLE in wanted and lakehouse:
        there += [table_known(services, found, names.table(name), lakehouse.item_id) for name in table_names(services, lakehouse)]
    if Kind.KQL_TABLE in wanted and database:
        there += [found.known(Kind.KQL_TABLE, names.kql_table(name), database.item_id) for name in kql_table_names(services, database)]
    return there


def _is_any_unlike(existing: Iterable[Existing], wanted: Iterable[Wanted]) -> bool:
    """Whether a table that the graph reads will be loaded: then the graph has to be refreshed, whatever it held."""
    fingerprints = {item.name: item.fingerprint for item in existing if item.kind is Kind.TABLE}
    return any(fingerprints.get(item.name) != item.fingerprint for item in wanted if item.kind is Kind.TABLE)


def _cleared(services: ScenarioServices, found: Workspace, names: Names, existing: Iterable[Existing], scenario: Scenario) -> set[str]:
    """The KQL tables whose rows were brought by a build, and are there no more. One that never had any leaves no trace there, and is taken as it is."""
    filled = {names.kql_table(name): table_fingerprint(table) for name, table in telemetry_tables(scenario) if table.rows}
    brought = [item for item in existing if item.kind is Kind.KQL_TABLE and item.fingerprint and filled.get(item.name) == item.fingerprint]
    database = found.find(Kind.KQL_DATABASE, names.kql_database)
    uri = query_uri(services, database.workspace_id, database.item_id) if database and brought else ""
    if not uri:
        return set()
    kusto = services.kusto(uri, names.kql_database)
    return {item.name for item in brought if not kusto.mgmt(show_taken_in(item.name.partition("/")[2], filled[item.name]))}
