"""The definition of a graph model, read and checked. Pure.

Source: "Graph Model definition" of the Fabric REST documentation (also in microsoft/mcp, item-definitions/graph-model-definition.md);
graphModel/definitions.json of fabric-rest-api-specs for GraphType.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from treadle.sandbox.fabric.definitions import Part, text_of
from treadle.sandbox.fabric.refusals import Refused, invalid

PARTS: Final = ("graphType.json", "graphDefinition.json", "dataSources.json", "stylingConfiguration.json")
PROPERTY_TYPES: Final = ("STRING", "INT", "FLOAT", "BOOLEAN", "ZONED DATETIME")
COMPARISONS: Final = ("Equal", "NotEqual", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual", "Contains", "In")
_SCHEMA: Final = "https://developer.microsoft.com/json-schemas/fabric/item/graphIndex/definition/{}/1.0.0/schema.json"

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Property:
    """A property and its type, one of PROPERTY_TYPES."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class NodeType:
    """What nodes of one kind have. key: the names of the properties that tell them apart."""

    alias: str
    labels: tuple[str, ...]
    key: tuple[str, ...]
    properties: tuple[Property, ...]


@dataclass(frozen=True, slots=True)
class EdgeType:
    """Edges of one label between two node types, which are named by alias."""

    alias: str
    label: str
    source: str
    target: str
    properties: tuple[Property, ...]


@dataclass(frozen=True, slots=True)
class NodeTable:
    """A table with a row for each node. columns: property → column of the table. filter: as it stands in the definition, or None."""

    alias: str
    source: str
    columns: Mapping[str, str]
    filter: Json | None


@dataclass(frozen=True, slots=True)
class EdgeTable:
    """A table with a row for each edge; the key columns are in the order of the key of the node type at that end."""

    alias: str
    source: str
    source_columns: tuple[str, ...]
    target_columns: tuple[str, ...]
    columns: Mapping[str, str]
    filter: Json | None


@dataclass(frozen=True, slots=True)
class GraphModel:
    """A whole definition. sources: name → path of a Delta table."""

    node_types: tuple[NodeType, ...]
    edge_types: tuple[EdgeType, ...]
    node_tables: tuple[NodeTable, ...]
    edge_tables: tuple[EdgeTable, ...]
    sources: Mapping[str, str]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to load: no table that makes a node."""
        return not self.node_types or not self.node_tables


def broken(path: str, words: str, rule: str = "InvalidGraphDefinition") -> Refused:
    """What a definition is refused with."""
    return invalid(f"[{rule}] {path}: {words}", "ModelValidationError")


def empty_parts() -> list[Part]:
    """The definition of a graph model that was made without one."""
    layout = {"positions": {}, "styles": {}, "pan": {"x": 0, "y": 0}, "zoomLevel": 1}
    contents: dict[str, dict[str, Any]] = {
        "graphType": {"nodeTypes": [], "edgeTypes": []},
        "graphDefinition": {"nodeTables": [], "edgeTables": []},
        "dataSources": {"dataSources": []},
        "stylingConfiguration": {"modelLayout": layout},
    }
    return [_part(f"{name}.json", {"$schema": _SCHEMA.format(name), **content}) for name, content in contents.items()]


def read_model(parts: Sequence[Part]) -> GraphModel:
    """Read a definition; raises Refused (ModelValidationError) with the file and the rule that it breaks."""
    files = {name: _read(parts, name) for name in PARTS}
    node_types = tuple(_node_type(item) for item in _list("graphType.json", files["graphType.json"], "nodeTypes"))
    nodes = {one.alias: one for one in node_types}
    _check_unique("graphType.json", "alias", [one.alias for one in node_types])
    edge_types = tuple(_edge_type(item, nodes) for item in _list("graphType.json", files["graphType.json"], "edgeTypes"))
    _check_unique("graphType.json", "alias", [*(one.alias for one in node_types), *(one.alias for one in edge_types)])
    sources = _sources(files["dataSources.json"])
    definition = files["graphDefinition.json"]
    _check_styles(files["stylingConfiguration.json"], {*nodes, *(one.alias for one in edge_types)})
    return GraphModel(
        node_types,
        edge_types,
        tuple(_node_table(item, nodes, sources) for item in _list("graphDefinition.json", definition, "nodeTables")),
        tuple(
            _edge_table(item, nodes, {one.alias: one for one in edge_types}, sources)
            for item in _list("graphDefinition.json", definition, "edgeTables")
        ),
        sources,
    )


def _node_type(item: Json) -> NodeType:
    alias, properties = _text("graphType.json", item, "alias"), _properties(item)
    labels, key = _texts("graphType.json", item, "labels"), _texts("graphType.json", item, "primaryKeyProperties")
    if not labels or not key:
        raise broken("graphType.json", f"The node type '{alias}' needs labels and primaryKeyProperties.")
    for name in key:
        if name not in {one.name for one in properties}:
            raise broken("graphType.json", f"The key property '{name}' of the node type '{alias}' is not one of its properties.")
    return NodeType(alias, labels, key, properties)


def _edge_type(item: Json, nodes: Mapping[str, NodeType]) -> EdgeType:
    alias, labels = _text("graphType.json", item, "alias"), _texts("graphType.json", item, "labels")
    if len(labels) != 1:
        raise broken("graphType.json", f"The edge type '{alias}' has exactly one label.")
    ends = [_text("graphType.json", _object("graphType.json", item, end), "alias") for end in ("sourceNodeType", "destinationNodeType")]
    for end in ends:
        if end not in nodes:
            raise broken("graphType.json", f"The edge type '{alias}' names the node type '{end}', which does not exist.")
    return EdgeType(alias, labels[0], ends[0], ends[1], _properties(item))


def _properties(item: Json) -> tuple[Property, ...]:
    found = [
        Property(_text("graphType.json", one, "name"), _text("graphType.json", one, "type"))
        for one in _list("graphType.json", item, "properties")
    ]
    _check_unique("graphType.json", "property", [one.name for one in found])
    for one in found:
        if one.type not in PROPERTY_TYPES:
            raise broken("graphType.json", f"The type '{one.type}' of the property '{one.name}' is not one of {', '.join(PROPERTY_TYPES)}.")
    return tuple(found)


def _sources(file: Json) -> dict[str, str]:
    items = _list("dataSources.json", file, "dataSources")
    names = [_text("dataSources.json", item, "name") for item in items]
    _check_unique("dataSources.json", "name", names)
    for item in items:
        if item.get("type") != "DeltaTable":
            raise broken("dataSources.json", f"The type '{item.get('type')}' of '{item['name']}' is not DeltaTable.")
    paths = [_text("dataSources.json", _object("dataSources.json", item, "properties"), "path") for item in items]
    return dict(zip(names, paths, strict=True))


def _node_table(item: Json, nodes: Mapping[str, NodeType], sources: Mapping[str, str]) -> NodeTable:
    alias = _text("graphDefinition.json", item, "nodeTypeAlias")
    if alias not in nodes:
        raise broken("graphDefinition.json", f"A node table names the node type '{alias}', which does not exist.")
    columns = _columns(item, {one.name for one in nodes[alias].properties})
    for name in nodes[alias].key:
        if name not in columns:
            raise broken("graphDefinition.json", f"A node table of '{alias}' maps no column to the key property '{name}'.")
    return NodeTable(alias, _source(item, sources), columns, _filter(item))


def _edge_table(item: Json, nodes: Mapping[str, NodeType], edges: Mapping[str, EdgeType], sources: Mapping[str, str]) -> EdgeTable:
    alias = _text("graphDefinition.json", item, "edgeTypeAlias")
    edge = edges.get(alias)
    if edge is None:
        raise broken("graphDefinition.json", f"An edge table names the edge type '{alias}', which does not exist.")
    ends = [_texts("graphDefinition.json", item, field) for field in ("sourceNodeKeyColumns", "destinationNodeKeyColumns")]
    for columns, node in zip(ends, (edge.source, edge.target), strict=True):
        if len(columns) != len(nodes[node].key):
            raise broken(
                "graphDefinition.json",
                f"An edge table of '{alias}' has {len(columns)} key columns for '{node}', whose key has {len(nodes[node].key)}.",
            )
    return EdgeTable(alias, _source(item, sources), ends[0], ends[1], _columns(item, {one.name for one in edge.properties}), _filter(item))


def _columns(item: Json, known: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for mapping in _list("graphDefinition.json", item, "propertyMappings"):
        name = _text("graphDefinition.json", mapping, "propertyName")
        if name not in known or name in found:
            raise broken("graphDefinition.json", f"The property '{name}' is mapped twice, or is none of the type's properties.")
        found[name] = _text("graphDefinition.json", mapping, "sourceColumn")
    return found


def _source(item: Json, sources: Mapping[str, str]) -> str:
    name = _text("graphDefinition.json", item, "dataSourceName")
    if name not in sources:
        raise broken("graphDefinition.json", f"A table names the data source '{name}', which dataSources.json does not have.")
    return name


def _filter(item: Json) -> Json | None:
    wanted: object = item.get("filter")
    if wanted is None:
        return None
    _check_filter(wanted)
    return cast("dict[str, Any]", wanted)


def _check_filter(wanted: object) -> None:
    if not isinstance(wanted, dict):
        raise broken("graphDefinition.json", "A filter is not an object.")
    fields = cast("dict[str, Any]", wanted)
    _, inner = filter_group(fields)
    if inner is not None:
        for one in inner:
            _check_filter(one)
    elif fields.get("operator") not in COMPARISONS or not isinstance(fields.get("columnName"), str) or "value" not in fields:
        raise broken("graphDefinition.json", f"A filter has an operator ({', '.join(COMPARISONS)}), a columnName and a value.")


def filter_group(wanted: Json) -> tuple[str, Sequence[Any] | None]:
    """("and" or "or", the filters of the group); no filters for a single comparison."""
    for word in ("and", "or"):
        inner: object = wanted.get(word)
        if isinstance(inner, list):
            return word, cast("list[Any]", inner)
        inner = wanted.get("filters")
        if str(wanted.get("operator")).lower() == word and isinstance(inner, list):
            return word, cast("list[Any]", inner)
    return "and", None


def filter_columns(wanted: Json | None) -> set[str]:
    """The columns that a filter looks at."""
    if wanted is None:
        return set()
    _, inner = filter_group(wanted)
    if inner is None:
        return {wanted["columnName"]}
    return {column for one in inner for column in filter_columns(one)}


def _check_styles(file: Json, aliases: set[str]) -> None:
    layout = _object("stylingConfiguration.json", file, "modelLayout")
    for field in ("positions", "styles"):
        drawn: object = layout.get(field) or {}
        unknown = [alias for alias in cast("dict[str, Any]", drawn) if alias not in aliases] if isinstance(drawn, dict) else [field]
        if unknown:
            raise broken("stylingConfiguration.json", f"{field} names '{unknown[0]}', which is no type of graphType.json.")


def _read(parts: Sequence[Part], name: str) -> Json:
    part = next((part for part in parts if part["path"] == name), None)
    if part is None:
        raise broken(name, "The part is missing.")
    try:
        content = json.loads(text_of(part))
    except ValueError as error:
        raise broken(name, f"The part is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise broken(name, "The part is not a JSON object.")
    return cast("dict[str, Any]", content)


def _check_unique(path: str, what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise broken(path, f"The {what} '{name}' occurs twice.")
        seen.add(name)


def _list(path: str, content: Json, field: str) -> list[dict[str, Any]]:
    items: object = [] if content.get(field) is None else content[field]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in cast("list[object]", items)):
        raise broken(path, f"{field} is not a list of objects.")
    return cast("list[dict[str, Any]]", items)


def _object(path: str, content: Json, field: str) -> Json:
    value: object = content.get(field)
    if not isinstance(value, dict):
        raise broken(path, f"{field} is missing or no object.")
    return cast("dict[str, Any]", value)


def _text(path: str, content: Json, field: str) -> str:
    value: object = content.get(field)
    if not isinstance(value, str) or not value:
        raise broken(path, f"{field} is missing or no text.")
    return value


def _texts(path: str, content: Json, field: str) -> tuple[str, ...]:
    values: object = [] if content.get(field) is None else content[field]
    if not isinstance(values, list) or not all(isinstance(value, str) and value for value in cast("list[object]", values)):
        raise broken(path, f"{field} is not a list of texts.")
    return tuple(cast("list[str]", values))


def _part(path: str, content: Json) -> Part:
    payload = base64.b64encode(json.dumps(content, indent=2).encode()).decode()
    return {"path": path, "payload": payload, "payloadType": "InlineBase64"}
