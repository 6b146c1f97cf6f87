"""The schema of a scenario as the definition of a Fabric graph model: node and edge types, and the tables that fill them. Pure.

Source: Fabric REST, "Graph Model definition". An edge type is a label between two node types; each edge rule of the schema is one table of it,
with its filter. Fixed values of edge properties have no place there. `NotEqual`, for negated filters, is not among the article's examples.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from treadle.flows.scenario.definition import Part, platform_part, stable_guid
from treadle.flows.scenario.scenario import Table
from treadle.flows.scenario.schema import EdgeFilter, EdgeRule, GraphSchema, NodeStyle, ValueType, VertexType

_SCHEMAS: Final = "https://developer.microsoft.com/json-schemas/fabric/item/graphIndex/definition/{}/1.0.0/schema.json"
_TYPES: Final[Mapping[ValueType, str]] = {
    ValueType.STRING: "STRING",
    ValueType.BIG_INT: "INT",
    ValueType.DOUBLE: "FLOAT",
    ValueType.BOOLEAN: "BOOLEAN",
    ValueType.DATE_TIME: "ZONED DATETIME",
    ValueType.OBJECT: "STRING",
}
_COLUMNS_DRAWN, _APART_X, _APART_Y = 4, 240, 180  # the first picture: a grid; people move it
_USUAL_SIZE: Final = 30


def graph_model_parts(
    schema: GraphSchema,
    tables: Iterable[Table],
    locations: Mapping[str, str],
    display_name: str,
    styles: Mapping[str, NodeStyle] | None = None,
) -> tuple[Part, ...]:
    """The definition, whole.

    tables: those of the schema, checked. locations: table name → abfss:// path as the lakehouse lists it. styles: by vertex label.
    """
    by_file = {table.csv_file: table for table in tables}
    rules: defaultdict[tuple[str, str, str], list[EdgeRule]] = defaultdict(list)
    for edge in schema.edges:
        rules[edge.endpoints].append(edge)
    used = [by_file[csv_file].name for csv_file in schema.csv_files]
    return (
        Part(
            "dataSources.json",
            {"$schema": _SCHEMAS.format("dataSources"), "dataSources": [_source(name, locations[name]) for name in used]},
        ),
        Part(
            "graphDefinition.json",
            {
                "$schema": _SCHEMAS.format("graphDefinition"),
                "nodeTables": [_node_table(vertex, by_file[vertex.csv_file]) for vertex in schema.vertices],
                "edgeTables": [_edge_table(edge, by_file[edge.csv_file]) for edge in schema.edges],
            },
        ),
        Part(
            "graphType.json",
            {
                "$schema": _SCHEMAS.format("graphType"),
                "nodeTypes": [_node_type(vertex, by_file[vertex.csv_file]) for vertex in schema.vertices],
                "edgeTypes": [_edge_type(pair, edges, by_file) for pair, edges in rules.items()],
            },
        ),
        Part("stylingConfiguration.json", _styling(schema, list(rules), styles or {})),
        platform_part("GraphModel", display_name, stable_guid("graph model", display_name)),
    )


def node_alias(label: str) -> str:
    """How the definition's files refer to a node type."""
    return f"{label}_nodeType"


def edge_alias(pair: tuple[str, str, str]) -> str:
    """How the definition's files refer to an edge type, which is (label, source, target)."""
    label, source, target = pair
    return f"{source}_{label}_{target}_edgeType"


def _source(table: str, location: str) -> dict[str, Any]:
    return {"name": _source_name(table), "type": "DeltaTable", "properties": {"path": location}}


def _source_name(table: str) -> str:
    return f"{table}_Table"


def _node_table(vertex: VertexType, table: Table) -> dict[str, Any]:
    return {
        "id": stable_guid("node table", vertex.label),
        "nodeTypeAlias": node_alias(vertex.label),
        "dataSourceName": _source_name(table.name),
        "propertyMappings": [_mapping(name, name) for name in vertex.properties],
    }


def _edge_table(edge: EdgeRule, table: Table) -> dict[str, Any]:
    wanted = f"{edge.filter.column} {'≠' if edge.filter.negate else '='} {edge.filter.value}" if edge.filter else ""
    content = {
        "id": stable_guid("edge table", *edge.endpoints, table.name, edge.source.column, edge.target.column, wanted),
        "edgeTypeAlias": edge_alias(edge.endpoints),
        "dataSourceName": _source_name(table.name),
        "sourceNodeKeyColumns": [edge.source.column],
        "destinationNodeKeyColumns": [edge.target.column],
        "propertyMappings": [_mapping(item.name, item.column) for item in edge.properties if item.column is not None],
    }
    return content | ({"filter": _filter(edge.filter)} if edge.filter else {})


def _filter(wanted: EdgeFilter) -> dict[str, str]:
    return {"operator": "NotEqual" if wanted.negate else "Equal", "columnName": wanted.column, "value": wanted.value}


def _mapping(name: str, column: str) -> dict[str, str]:
    return {"propertyName": name, "sourceColumn": column}


def _node_type(vertex: VertexType, table: Table) -> dict[str, Any]:
    return {
        "alias": node_alias(vertex.label),
        "labels": [vertex.label],
        "primaryKeyProperties": [vertex.id_column],
        "properties": [{"name": name, "type": _TYPES[table.column(name).type]} for name in vertex.properties],
    }


def _edge_type(pair: tuple[str, str, str], edges: Iterable[EdgeRule], tables: Mapping[str, Table]) -> dict[str, Any]:
    types = {
        item.name: _TYPES[tables[edge.csv_file].column(item.column).type]
        for edge in edges
        for item in edge.properties
        if item.column is not None
    }
    return {
        "alias": edge_alias(pair),
        "labels": [pair[0]],
        "sourceNodeType": {"alias": node_alias(pair[1])},
        "destinationNodeType": {"alias": node_alias(pair[2])},
        "properties": [{"name": name, "type": kind} for name, kind in types.items()],
    }


def _styling(schema: GraphSchema, pairs: Iterable[tuple[str, str, str]], styles: Mapping[str, NodeStyle]) -> dict[str, Any]:
    labels = [vertex.label for vertex in schema.vertices]
    positions = {
        node_alias(label): {"x": place % _COLUMNS_DRAWN * _APART_X, "y": place // _COLUMNS_DRAWN * _APART_Y}
        for place, label in enumerate(labels)
    }
    sizes = {node_alias(label): {"size": _size(styles.get(label))} for label in labels}
    sizes |= {edge_alias(pair): {"size": _USUAL_SIZE} for pair in pairs}
    layout = {"positions": positions, "styles": sizes, "pan": {"x": 0, "y": 0}, "zoomLevel": 1}
    return {"$schema": _SCHEMAS.format("stylingConfiguration"), "modelLayout": layout}


def _size(style: NodeStyle | None) -> int:
    return style.size if style and style.size is not None else _USUAL_SIZE
