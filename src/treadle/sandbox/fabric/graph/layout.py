"""How a graph model lies in the embedded engine: a table for each type, names of our own, and what each stands for. Pure.

Names of people never reach the engine: tables are n0, n1 … and e0, e1 …, columns p0, p1 …. A property has the same column in all tables
where it has the same type, so that one expression reads it in all of them. Each node table has the column k, the text of the node's key.

The engine takes for a pattern only nodes of types that its edges join, also where it takes no step, and knows no pattern without edge types. So there
is one more table of edges, z, which joins every node type with itself and stays empty.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from treadle.sandbox.fabric.graph.model import GraphModel, Property

KEY_COLUMN: Final = "k"
NO_EDGES: Final = "z"
ENGINE_TYPES: Final[Mapping[str, str]] = {
    "STRING": "STRING",
    "INT": "INT64",
    "FLOAT": "DOUBLE",
    "BOOLEAN": "BOOL",
    "ZONED DATETIME": "TIMESTAMP_TZ",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the engine and the type of its property."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class NodeLayout:
    """A node type. columns: property → column. key: the properties of the key."""

    table: str
    alias: str
    labels: tuple[str, ...]
    key: tuple[str, ...]
    columns: Mapping[str, Column]


@dataclass(frozen=True, slots=True)
class EdgeLayout:
    """An edge type; source and target are the tables of its ends."""

    table: str
    alias: str
    label: str
    source: str
    target: str
    columns: Mapping[str, Column]


@dataclass(frozen=True, slots=True)
class Layout:
    """All tables of a graph, by name."""

    nodes: Mapping[str, NodeLayout]
    edges: Mapping[str, EdgeLayout]

    def to_json(self) -> dict[str, Any]:
        """For the file beside the graph, and for the process that answers queries."""
        return {
            "nodes": [
                {"alias": one.alias, "labels": one.labels, "key": one.key, "properties": _properties(one.columns)}
                for one in self.nodes.values()
            ],
            "edges": [
                {"alias": one.alias, "label": one.label, "source": one.source, "target": one.target, "properties": _properties(one.columns)}
                for one in self.edges.values()
            ],
        }

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        columns = _Columns()
        nodes = {
            f"n{place}": NodeLayout(
                f"n{place}",
                one["alias"],
                tuple(one["labels"]),
                tuple(one["key"]),
                columns.of(Property(*pair) for pair in one["properties"]),
            )
            for place, one in enumerate(content["nodes"])
        }
        edges = {
            f"e{place}": EdgeLayout(
                f"e{place}",
                one["alias"],
                one["label"],
                one["source"],
                one["target"],
                columns.of(Property(*pair) for pair in one["properties"]),
            )
            for place, one in enumerate(content["edges"])
        }
        return cls(nodes, edges)

    def statements(self) -> list[str]:
        """What makes the empty tables."""
        nodes = [
            f"CREATE NODE TABLE {one.table}({KEY_COLUMN} STRING{_declared(one.columns)}, PRIMARY KEY ({KEY_COLUMN}))"
            for one in self.nodes.values()
        ]
        edges = [f"CREATE REL TABLE {one.table}(FROM {one.source} TO {one.target}{_declared(one.columns)})" for one in self.edges.values()]
        return [*nodes, *edges, f"CREATE REL TABLE {NO_EDGES}({', '.join(f'FROM {table} TO {table}' for table in self.nodes)})"]

    def graph_type(self) -> dict[str, Any]:
        """The type of the graph as getQueryableGraphType tells it."""
        aliases = {one.table: one.alias for one in self.nodes.values()}
        return {
            "nodeTypes": [
                {"alias": one.alias, "labels": one.labels, "primaryKeyProperties": one.key, "properties": _shown(one.columns)}
                for one in self.nodes.values()
            ],
            "edgeTypes": [
                {
                    "alias": one.alias,
                    "labels": [one.label],
                    "sourceNodeType": {"alias": aliases[one.source]},
                    "destinationNodeType": {"alias": aliases[one.target]},
                    "properties": _shown(one.columns),
                }
                for one in self.edges.values()
            ],
        }


def layout_of(model: GraphModel) -> Layout:
    """Lay out a model; types without a table are there too, without data."""
    tables = {one.alias: f"n{place}" for place, one in enumerate(model.node_types)}
    return Layout.of_json(
        {
            "nodes": [
                {
                    "alias": one.alias,
                    "labels": one.labels,
                    "key": one.key,
                    "properties": [(item.name, item.type) for item in one.properties],
                }
                for one in model.node_types
            ],
            "edges": [
                {
                    "alias": one.alias,
                    "label": one.label,
                    "source": tables[one.source],
                    "target": tables[one.target],
                    "properties": [(item.name, item.type) for item in one.properties],
                }
                for one in model.edge_types
            ],
        }
    )


class _Columns:
    """Gives each pair of property name and type its column."""

    def __init__(self) -> None:
        self._names: dict[Property, str] = {}

    def of(self, properties: Iterable[Property]) -> dict[str, Column]:
        return {one.name: Column(self._names.setdefault(one, f"p{len(self._names)}"), one.type) for one in properties}


def _properties(columns: Mapping[str, Column]) -> list[tuple[str, str]]:
    return [(name, column.type) for name, column in columns.items()]


def _shown(columns: Mapping[str, Column]) -> list[dict[str, str]]:
    return [{"name": name, "type": column.type} for name, column in columns.items()]


def _declared(columns: Mapping[str, Column]) -> str:
    return "".join(f", {column.name} {ENGINE_TYPES[column.type]}" for column in columns.values())
