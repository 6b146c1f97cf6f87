"""A scenario as a property graph for Azure Cosmos DB for Gremlin: which vertices and edges there are, under which ids, with which values. Pure.

Each vertex type and each edge rule is a part. What is written of it carries `treadle_scenario`, `treadle_part` and `treadle_content`, the mark: a
fingerprint of file and schema. What has another mark after a build is gone from the archive. `partitionKey` is the partition key; ids are text.

Source: Azure Cosmos DB for Gremlin, "Data partitioning" (a vertex needs its partition key; an edge lives with its source vertex), "Gremlin support"
(values are text, numbers, true and false; there is no null).
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias
from urllib.parse import quote

from treadle.errors import InvalidInput
from treadle.flows.scenario.scenario import Scenario, Table
from treadle.flows.scenario.schema import EdgeFilter, EdgeRule, Endpoint, GraphSchema, ValueType, VertexType

Scalar: TypeAlias = str | int | float | bool
Row: TypeAlias = Mapping[str, str]  # column → cell, as text; an empty cell has no value

_ID_CHARS: Final = 200  # an id of Cosmos DB has at most 255 characters
# What Cosmos DB keeps in the same document, and what it understands: `ttl` would let the vertex expire.
_OF_DOCUMENTS: Final = frozenset({"_rid", "_self", "_etag", "_ts", "_attachments", "_partition", "_isEdge", "_vertexId", "_vertexLabel"})
_OF_EDGES: Final = frozenset({"_sink", "_sinkLabel", "_sinkPartition"})
_OURS: Final = frozenset({"treadle_scenario", "treadle_part", "treadle_content", "treadle_columns"})
_RESERVED: Final = frozenset({"id", "label", "partitionKey", "ttl"}) | _OF_DOCUMENTS | _OF_EDGES | _OURS


@dataclass(frozen=True, slots=True)
class PropertyOf:
    """A property, and where its value comes from: a column of a type, or the same text for all."""

    name: str
    column: str | None
    type: ValueType
    value: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """One end of an edge: the column with the key of a vertex, its label, and its partition."""

    label: str
    column: str
    partition: str


@dataclass(frozen=True, slots=True)
class VertexPart:
    """All vertices of one type. scenario: whose. key: what the graph calls the part. content: its mark."""

    scenario: str
    key: str
    content: str
    label: str
    table: Table
    id_column: str
    partition: str
    properties: tuple[PropertyOf, ...]

    @property
    def columns(self) -> str:
        """The names of the properties as one text, so that a later build knows which have gone."""
        return json.dumps(sorted(item.name for item in self.properties))


@dataclass(frozen=True, slots=True)
class EdgePart:
    """All edges of one rule. once: a row is its source vertex, so that no pair of ends comes twice."""

    scenario: str
    key: str
    content: str
    label: str
    table: Table
    source: End
    target: End
    filter: EdgeFilter | None
    once: bool
    properties: tuple[PropertyOf, ...]


Part: TypeAlias = VertexPart | EdgePart


@dataclass(frozen=True, slots=True)
class Element:
    """A vertex, or an edge with its ends. empty: properties that it does not have, because the cell is empty."""

    id: str
    properties: Mapping[str, Scalar]
    empty: tuple[str, ...]
    source_id: str = ""
    target_id: str = ""


@dataclass(frozen=True, slots=True)
class GraphParts:
    """What a graph is made of, in the order in which it is written."""

    vertices: tuple[VertexPart, ...]
    edges: tuple[EdgePart, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all parts."""
        return tuple(part.key for part in (*self.vertices, *self.edges))


def graph_parts(scenario: Scenario, name: str) -> GraphParts:
    """The parts of a checked scenario. name: under which it is built; it begins every id, so that scenarios can share a graph."""
    if scenario.schema is None:
        return GraphParts((), ())
    vertices = tuple(_vertex_part(vertex, scenario, name) for vertex in scenario.schema.vertices)
    edges: list[EdgePart] = []
    for rule in scenario.schema.edges:
        edges.append(_edge_part(rule, scenario, scenario.schema, name, {edge.key for edge in edges}))
    return GraphParts(vertices, tuple(edges))


def vertex_id(scenario: str, label: str, key: str) -> str:
    """The id of a vertex: readable where it can be, the same for the same names, and of nothing else. It has no character that ids may not have."""
    coded = f"{scenario}:{_coded(label)}:{_coded(key)}"
    return coded if len(coded) <= _ID_CHARS else f"{scenario}:!{_digest(label, key)}"


def elements_of(part: Part, rows: Iterable[Row]) -> Iterator[Element]:
    """The part's vertices or edges, one after the other, in the order of the rows. A row that the filter leaves out or that lacks a key has none.

    Raises:
        InvalidInput: a value is of its type and yet cannot be said in JSON, such as 1e999.
    """
    return _vertices(part, rows) if isinstance(part, VertexPart) else _edges(part, rows)


def _vertex_part(vertex: VertexType, scenario: Scenario, name: str) -> VertexPart:
    table = scenario.table(vertex.csv_file)
    properties = _named([PropertyOf(column, column, table.column(column).type) for column in vertex.properties])
    partition = _partition(vertex)
    content = _digest("vertices", vertex.label, partition, vertex.id_column, table.sha256, *map(str, properties))
    return VertexPart(name, f"vertices:{vertex.label}", content, vertex.label, table, vertex.id_column, partition, properties)


def _edge_part(rule: EdgeRule, scenario: Scenario, schema: GraphSchema, name: str, taken: set[str]) -> EdgePart:
    table = scenario.table(rule.csv_file)
    source, target = _end(rule.source, schema), _end(rule.target, schema)
    properties = _named(
        [
            PropertyOf(item.name, item.column, table.column(item.column).type if item.column is not None else ValueType.STRING, item.value)
            for item in rule.properties
        ]
    )
    ends = (source.label, source.column, target.label, target.column)
    base = f"edges:{_digest(rule.label, table.name, *ends, str(rule.filter), *(item.name for item in properties))[:16]}"
    key = next(key for number in range(1, len(taken) + 2) if (key := base if number == 1 else f"{base}:{number}") not in taken)
    content = _digest("edges", rule.label, str(source), str(target), str(rule.filter), table.sha256, *map(str, properties))
    own = schema.vertex(rule.source.label)
    once = own is not None and (own.csv_file, own.id_column) == (rule.csv_file, rule.source.column)
    return EdgePart(name, key, content, rule.label, table, source, target, rule.filter, once, properties)


def _end(endpoint: Endpoint, schema: GraphSchema) -> End:
    vertex = next(item for item in schema.vertices if item.label == endpoint.label)
    return End(endpoint.label, endpoint.column, _partition(vertex))


def _partition(vertex: VertexType) -> str:
    return vertex.partition_key or vertex.label


def _named(properties: Sequence[PropertyOf]) -> tuple[PropertyOf, ...]:
    """With names that mean something else in Cosmos DB made others, by a _ behind them."""
    taken = {item.name for item in properties} | _RESERVED
    named: list[PropertyOf] = []
    for item in properties:
        name = item.name
        while name in _RESERVED or (name != item.name and name in taken):
            name += "_"
        taken.add(name)
        named.append(PropertyOf(name, item.column, item.type, item.value))
    return tuple(named)


def _vertices(part: VertexPart, rows: Iterable[Row]) -> Iterator[Element]:
    for row in rows:
        if key := row.get(part.id_column):
            yield Element(vertex_id(part.scenario, part.label, key), *_properties(part, row))


def _edges(part: EdgePart, rows: Iterable[Row]) -> Iterator[Element]:
    seen: dict[int, int] = {}  # a pair's digest → how often it came; 8 bytes of digest, so that a million pairs are no burden
    for row in rows:
        source, target = row.get(part.source.column), row.get(part.target.column)
        if not source or not target or not _passes(part.filter, row):
            continue
        ends = vertex_id(part.scenario, part.source.label, source), vertex_id(part.scenario, part.target.label, target)
        pair = _digest(*ends)[:32]
        times = 1
        if not part.once:
            place = int(pair[:16], 16)
            times = seen[place] = seen.get(place, 0) + 1
        number = f":{times}" if times > 1 else ""
        yield Element(f"{part.scenario}:{part.key.removeprefix('edges:')}:{pair}{number}", *_properties(part, row), *ends)


def _passes(wanted: EdgeFilter | None, row: Row) -> bool:
    """As the check has it: an empty cell has no text, so it passes only a negated filter."""
    return wanted is None or (row.get(wanted.column, "") == wanted.value) is not wanted.negate


def _properties(part: Part, row: Row) -> tuple[dict[str, Scalar], tuple[str, ...]]:
    filled: dict[str, Scalar] = {}
    empty: list[str] = []
    for item in part.properties:
        text = item.value if item.column is None else row.get(item.column)
        if text:
            filled[item.name] = _value(text, item, part)
        else:
            empty.append(item.name)
    return filled, tuple(empty)


def _value(text: str, item: PropertyOf, part: Part) -> Scalar:
    """A cell in its type. Moments are ISO 8601 in UTC: Cosmos DB has no type for them, and such texts sort as they should."""
    if item.column is None:
        return text
    if item.type is ValueType.BIG_INT:
        return int(text)
    if item.type is ValueType.BOOLEAN:
        return text.lower() == "true"
    if item.type is ValueType.DATE_TIME:
        return _moment(text, item, part)
    if item.type is ValueType.DOUBLE:
        return _number(text, item, part)
    return text


def _moment(text: str, item: PropertyOf, part: Part) -> str:
    try:
        moment = datetime.fromisoformat(text)
        utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:  # an offset of 99 hours, the first day of year 1
        raise _unsayable(text, item, part) from error
    return utc.isoformat().replace("+00:00", "Z")


def _number(text: str, item: PropertyOf, part: Part) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _unsayable(text, item, part)
    return number


def _unsayable(text: str, item: PropertyOf, part: Part) -> InvalidInput:
    message = f"{part.table.csv_file} column {item.column}: {text[:60]} cannot be a {item.type} in Cosmos DB."
    return InvalidInput(message, hint=f"Mend the value, or make it {ValueType.STRING} in property_types.")


def _coded(text: str) -> str:
    """With every character that an id may not have, or that separates, as = and two hexadecimal digits."""
    return quote(text, safe="").replace("%", "=")


def _digest(*texts: str) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()
