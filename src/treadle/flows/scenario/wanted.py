"""What a checked scenario needs in its workspace, with fingerprints, as plan and build compare it with what is there. Pure.

Tables go by the name of their lakehouse or database and their own: two lakehouses may each have a table of one name.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from treadle.flows.scenario.asked import DEFAULT_NAMES, Asked
from treadle.flows.scenario.definition import Part, fingerprint
from treadle.flows.scenario.graph_model import graph_model_parts
from treadle.flows.scenario.ontology import LakehouseSource, ontology_of, ontology_parts
from treadle.flows.scenario.plan import Kind, Wanted
from treadle.flows.scenario.scenario import Scenario, Table
from treadle.flows.scenario.schema import GraphSchema

_APART: Final = "\x1f"


@dataclass(frozen=True, slots=True)
class Names:
    """How the things of a build are called. graph_model: None as long as Fabric has not said how the ontology's graph is called."""

    workspace_id: str
    lakehouse: str
    ontology: str
    eventhouse: str
    kql_database: str
    graph_model: str | None = None

    @property
    def new_graph_model(self) -> str:
        """What a graph model is called that we have to make ourselves."""
        return f"{self.ontology}_graph"

    def table(self, name: str) -> str:
        """A table of the lakehouse, as plans and records call it."""
        return f"{self.lakehouse}/{name}"

    def kql_table(self, name: str) -> str:
        """A table of the KQL database, so too."""
        return f"{self.kql_database}/{name}"


def names_of(asked: Asked, kql_database: str) -> Names:
    """How the things of a build are called. asked: as `naming.settled` left it; a name that it lacks is the default."""
    lakehouse, ontology, eventhouse = ({**DEFAULT_NAMES, **asked.given_names}[member] for member in DEFAULT_NAMES)
    return Names(asked.workspace_id, lakehouse, ontology, eventhouse, kql_database)


def tables_of_slot(scenario: Scenario, slot: str) -> tuple[tuple[str, Table], ...]:
    """The tables that a slot's archive becomes, by the names that they get."""
    return telemetry_tables(scenario) if slot == "telemetry" else tuple((table.name, table) for table in graph_tables(scenario))


def graph_tables(scenario: Scenario) -> tuple[Table, ...]:
    """The tables of the graph; an archive may have telemetry, too, which is for the other slot."""
    if scenario.schema is None:
        return ()
    wanted = set(scenario.schema.csv_files)
    return tuple(table for table in scenario.tables if table.csv_file in wanted)


def telemetry_tables(scenario: Scenario) -> tuple[tuple[str, Table], ...]:
    """The tables of measurements, each with the name that the manifest gives it."""
    files = {table.csv_file: table for table in scenario.tables}
    return tuple((told.name, files[told.csv_file]) for told in scenario.manifest.telemetry if told.csv_file in files)


def graph_wanted(scenario: Scenario, names: Names, lakehouse_id: str | None) -> tuple[Wanted, ...]:
    """What a graph in Fabric needs. lakehouse_id: None: there is none yet, so that what refers to it cannot be there either."""
    tables = graph_tables(scenario)
    source = LakehouseSource(names.workspace_id, lakehouse_id or "")
    return (
        Wanted(Kind.LAKEHOUSE, names.lakehouse, shared=True),
        *(Wanted(Kind.TABLE, names.table(table.name), table_fingerprint(table)) for table in tables),
        Wanted(Kind.ONTOLOGY, names.ontology, ontology_fingerprint(scenario, source, names.ontology)),
        Wanted(Kind.GRAPH_MODEL, names.graph_model or names.new_graph_model, graph_fingerprint(scenario, source)),
    )


def telemetry_wanted(scenario: Scenario, names: Names) -> tuple[Wanted, ...]:
    """What measurements in an eventhouse need. The lakehouse holds the files while they are ingested."""
    return (
        Wanted(Kind.LAKEHOUSE, names.lakehouse, shared=True),
        Wanted(Kind.EVENTHOUSE, names.eventhouse, shared=True),
        Wanted(Kind.KQL_DATABASE, names.kql_database, shared=True),
        *(Wanted(Kind.KQL_TABLE, names.kql_table(name), table_fingerprint(table)) for name, table in telemetry_tables(scenario)),
    )


def table_fingerprint(table: Table) -> str:
    """Of the content and of the types that its columns get."""
    columns = [f"{column.name}{_APART}{column.type}" for column in table.columns]
    return _digest(table.sha256, *columns)


def ontology_definition(scenario: Scenario, source: LakehouseSource, display_name: str) -> tuple[Part, ...]:
    """The ontology, whole, bound to the tables of one lakehouse."""
    return ontology_parts(ontology_of(schema_of(scenario), graph_tables(scenario)), source, display_name)


def ontology_fingerprint(scenario: Scenario, source: LakehouseSource, display_name: str) -> str:
    """Of the ontology's definition."""
    return fingerprint(ontology_definition(scenario, source, display_name))


def graph_fingerprint(scenario: Scenario, source: LakehouseSource) -> str:
    """Of the graph: its definition, and the content of its tables, since a graph has to be refreshed when they change.

    Neither its name nor the form in which Fabric spells the tables' addresses is part of it: both are known only later.
    """
    tables = graph_tables(scenario)
    places = {table.name: f"{source.workspace_id}/{source.lakehouse_id}/{table.name}" for table in tables}
    parts = graph_model_parts(schema_of(scenario), tables, places, "", scenario.manifest.node_styles)
    return _digest(fingerprint(parts), *(table_fingerprint(table) for table in tables))


def schema_of(scenario: Scenario) -> GraphSchema:
    """The schema of a scenario that has a graph."""
    if scenario.schema is None:
        raise ValueError("the scenario has no graph")
    return scenario.schema


def _digest(*texts: str) -> str:
    return hashlib.sha256(_APART.join(texts).encode()).hexdigest()


def once(wanted: Iterable[Wanted]) -> tuple[Wanted, ...]:
    """Each thing once, although several slots need it."""
    return tuple({(item.kind, item.name): item for item in wanted}.values())
