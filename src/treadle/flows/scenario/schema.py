"""What a scenario says of itself, as plain values. Names of fields are those of scenario.yaml and graph_schema.yaml."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

UNREAD: Final = (
    "\0"  # stands, while faults are looked for, where a file says nothing that can be read; no text of a file has this character
)


class ValueType(StrEnum):
    """The types of Fabric's ontology."""

    STRING = "String"
    BIG_INT = "BigInt"
    DOUBLE = "Double"
    BOOLEAN = "Boolean"
    DATE_TIME = "DateTime"
    OBJECT = "Object"


class Connector(StrEnum):
    """Where the graph goes."""

    FABRIC_GQL = "fabric-gql"
    COSMOSDB_GREMLIN = "cosmosdb-gremlin"


@dataclass(frozen=True, slots=True)
class VertexType:
    """A kind of node: one CSV file, one row a node."""

    label: str
    csv_file: str
    id_column: str
    partition_key: str | None
    properties: tuple[str, ...]
    property_types: Mapping[str, ValueType]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of an edge: the row's `column` holds the value of the node's `property`."""

    label: str
    property: str
    column: str


@dataclass(frozen=True, slots=True)
class EdgeProperty:
    """A property of an edge, from a column or the same for all."""

    name: str
    column: str | None
    value: str | None


@dataclass(frozen=True, slots=True)
class EdgeFilter:
    """Only rows whose column has this text; negated: only the others."""

    column: str
    value: str
    negate: bool


@dataclass(frozen=True, slots=True)
class EdgeRule:
    """How rows of one CSV file become edges. Several rules may share a label."""

    label: str
    csv_file: str
    source: Endpoint
    target: Endpoint
    properties: tuple[EdgeProperty, ...]
    filter: EdgeFilter | None

    @property
    def endpoints(self) -> tuple[str, str, str]:
        """Label, source and target: what one relationship type is made of."""
        return self.label, self.source.label, self.target.label


@dataclass(frozen=True, slots=True)
class GraphSchema:
    """graph_schema.yaml. data_dir: where the CSV files are, below the scenario's root."""

    data_dir: str
    vertices: tuple[VertexType, ...]
    edges: tuple[EdgeRule, ...]

    def vertex(self, label: str) -> VertexType | None:
        """The vertex type of that label."""
        return next((vertex for vertex in self.vertices if vertex.label == label != UNREAD), None)

    @property
    def csv_files(self) -> tuple[str, ...]:
        """Every CSV file that is named, once, in order."""
        named = [vertex.csv_file for vertex in self.vertices] + [edge.csv_file for edge in self.edges]
        return tuple(name for name in dict.fromkeys(named) if name != UNREAD)


@dataclass(frozen=True, slots=True)
class TelemetryTable:
    """One table of measurements."""

    name: str
    csv_file: str
    id_field: str | None
    numeric_fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeStyle:
    """How nodes of a label are drawn."""

    color: str | None
    size: int | None
    icon: str | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """scenario.yaml, as far as it is used."""

    name: str
    display_name: str
    description: str
    domain: str | None
    use_cases: tuple[str, ...]
    example_questions: tuple[str, ...]
    connector: Connector
    schema_file: str
    entities_dir: str | None
    telemetry_dir: str
    telemetry: tuple[TelemetryTable, ...]
    telemetry_database: str | None = None
    telemetry_connector: str | None = None
    node_styles: Mapping[str, NodeStyle] = field(default_factory=dict[str, NodeStyle])
