"""What a build would change of what is there. Asks, and changes nothing."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from treadle.flows.scenario.as_brought import definition_known, is_empty, kql_table_known, table_known
from treadle.flows.scenario.existing import ITEM_TYPES, Workspace, kql_table_names, table_names
from treadle.flows.scenario.ontology_graph import came_with_ontology, ontology_graph
from treadle.flows.scenario.plan import Change, Existing, Kind, Wanted, plan_scenario
from treadle.flows.scenario.scenario import Scenario
from treadle.flows.scenario.schema import Connector
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.wanted import Names, graph_wanted, once, table_fingerprint, telemetry_tables, telemetry_wanted

_LOOKS_AT_ONCE: Final = 8


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
    filled = _filled(scenarios["telemetry"], names) if "telemetry" in scenarios else dict[str, str]()
    existing = _existing_in(services, found, names, wanted, filled)
    ontology = found.find(Kind.ONTOLOGY, names.ontology)
    if graph and ontology and came_with_ontology(found, ontology, graph, scenario_name):
        existing = [replace(item, made_by=scenario_name) if item.item_id == graph.item_id else item for item in existing]
    names_wanted = {item.name for item in wanted if item.kind in {Kind.ONTOLOGY, Kind.GRAPH_MODEL}}
    existing = [_looked_into(services, found, item) if item.name in names_wanted else item for item in existing]
    if graph and _is_any_unlike(existing, wanted):
        existing = [replace(item, fingerprint=None) if item.item_id == graph.item_id else item for item in existing]
    return plan_scenario(scenario_name, once(wanted), existing, overwrite=overwrite)


def _filled(telemetry: Scenario, names: Names) -> Mapping[str, str]:
    """The fingerprints of the KQL tables that have rows. One that has none leaves no trace there, and is taken as it is."""
    return {names.kql_table(name): table_fingerprint(table) for name, table in telemetry_tables(telemetry) if table.rows}


def _existing_in(
    services: ScenarioServices, found: Workspace, names: Names, wanted: Sequence[Wanted], filled: Mapping[str, str]
) -> list[Existing]:
    """The things of these kinds that a build may meet: all items, and the tables of its lakehouse and its KQL database."""
    kinds, needed = {item.kind for item in wanted}, {item.name for item in wanted}
    there = [found.known(kind, item.name, item.item_id) for kind in ITEM_TYPES if kind in kinds for item in found.of_kind(kind)]
    lakehouse, database = found.find(Kind.LAKEHOUSE, names.lakehouse), found.find(Kind.KQL_DATABASE, names.kql_database)

    def table(name: str) -> Existing:
        """What is needed, with what its log tells."""
        place = str(lakehouse.item_id if lakehouse else "")
        return table_known(services, found, name, place) if name in needed else found.known(Kind.TABLE, name, place)

    def kql_table(name: str) -> Existing:
        """What is needed, with what its rows tell."""
        known = found.known(Kind.KQL_TABLE, name, str(database.item_id if database else ""))
        return kql_table_known(services, found, known, filled.get(name)) if name in needed else known

    with ThreadPoolExecutor(_LOOKS_AT_ONCE, thread_name_prefix="scenario-look") as threads:
        if Kind.TABLE in kinds and lakehouse:
            there += threads.map(table, map(names.table, table_names(services, lakehouse)))
        if Kind.KQL_TABLE in kinds and database:
            there += threads.map(kql_table, map(names.kql_table, kql_table_names(services, database)))
    return there


def _looked_into(services: ScenarioServices, found: Workspace, item: Existing) -> Existing:
    """An ontology or a graph model, with what its definition tells."""
    if item.kind not in {Kind.ONTOLOGY, Kind.GRAPH_MODEL}:
        return item
    if item.made_by:
        return definition_known(services, found, item)
    return replace(item, is_empty=is_empty(services, found.workspace_id, item.kind, item.item_id))


def _is_any_unlike(existing: Iterable[Existing], wanted: Iterable[Wanted]) -> bool:
    """Whether a table that the graph reads will be loaded: then the graph has to be refreshed, whatever it held."""
    fingerprints = {item.name: item.fingerprint for item in existing if item.kind is Kind.TABLE}
    return any(fingerprints.get(item.name) != item.fingerprint for item in wanted if item.kind is Kind.TABLE)
