"""What a graph answers to a GQL query: columns and rows, and the nodes and edges in them. Pure.

Source: https://learn.microsoft.com/fabric/graph/gql-query-api and …/gql-reference-status-codes
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from treadle.clients.answers import Exchange, readable, unexpected
from treadle.clients.fabric_records import Reader
from treadle.errors import InvalidInput, OperationFailed

_REFUSED: Final = ("22", "42", "G2")  # data exception, syntax or access rule, violation of the graph type: the query is to be mended
_DONE: Final = "0"  # 00 success, 01 warning, 02 no data, 03 informational
_INTEGERS: Final = frozenset({"INT", "INT64", "UINT64", "BIGINT", "INTEGER"})
_SOURCES: Final = ("source", "sourceOid", "sourceId", "src", "from")
_TARGETS: Final = ("destination", "target", "destinationOid", "targetOid", "destinationId", "targetId", "dst", "to")
_MOST_CAUSES: Final = 5


@dataclass(frozen=True, slots=True)
class GraphColumn:
    """A column of an answer. gql_type: Fabric's word, such as INT64, NODE or LIST<STRING>; json_type: how its values come."""

    name: str
    gql_type: str
    json_type: str


@dataclass(frozen=True, slots=True)
class GraphAnswer:
    """What a query found. A row has a value for each column; null is None. Integers are whole, whatever their size.

    A float that JSON has no number for stays the text that Fabric sends: Inf, -Inf or NaN. status: the GQLSTATUS; 02000 is an empty answer.
    """

    columns: tuple[GraphColumn, ...]
    rows: tuple[Mapping[str, Any], ...]
    status: str
    description: str


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node in an answer. id: as Fabric names it within the graph; labels and properties are empty where only the reference came."""

    id: str
    labels: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """An edge in an answer, from the node `source` to the node `target`, by their ids."""

    id: str
    source: str
    target: str
    labels: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict[str, Any])


def read_answer(exchange: Exchange, source: Mapping[str, Any]) -> GraphAnswer:
    """Read the body of Execute Query, which is answered with HTTP 200 whatever came of the query.

    Raises:
        InvalidInput: the query is at fault, in the engine's words.
        OperationFailed: the engine could not carry it out.
        UnexpectedAnswer: the answer is outside its contract.
    """
    whole = Reader(exchange, source, "answer")
    status = Reader(exchange, whole.object("status"), "status of the answer")
    code = status.text("code")
    if not code.startswith(_DONE):
        raise _failure(exchange, code, whole.object("status"))
    columns, rows = _table(exchange, whole.object("result"))
    return GraphAnswer(columns, rows, code, status.text_or("description"))


def nodes_and_edges(answer: GraphAnswer) -> tuple[tuple[GraphNode, ...], tuple[GraphEdge, ...]]:
    """What can be drawn of an answer: each node and edge once, in the order in which they come; none, if it has only values.

    Found in columns of nodes, edges and paths, in lists of them, and in texts that TO_JSON_STRING has made of them. An edge is left out when
    nothing says between which nodes it is. A node that is only named by an edge is there by its id alone.
    """
    nodes: dict[str, GraphNode] = {}
    edges: dict[str, GraphEdge] = {}
    for column in answer.columns:
        for row in answer.rows:
            for found in _elements(row.get(column.name), column.gql_type):
                _keep(found, nodes, edges)
    for edge in edges.values():
        for end in (edge.source, edge.target):
            nodes.setdefault(end, GraphNode(end))
    return tuple(nodes.values()), tuple(edges.values())


def _failure(exchange: Exchange, code: str, status: Mapping[str, Any]) -> InvalidInput | OperationFailed:
    words = "; ".join(_words(status)) or "it gives no reason"
    details = {"service": exchange.service, "gql_status": code, "reason": words}
    if code.startswith(_REFUSED):
        return InvalidInput(f"The graph refuses the query: {words} ({code}).", hint="Correct the query and try again.", details=details)
    return OperationFailed(
        f"The graph could not carry out the query: {words} ({code}).", hint="Try again; a smaller answer may help (LIMIT).", details=details
    )


def _words(status: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """What the engine says, and where, down the chain of causes."""
    if said := readable(status.get("description")):
        yield said.removeprefix("error: ") + _place(status)
    cause = status.get("cause")
    if isinstance(cause, dict) and depth < _MOST_CAUSES:
        yield from _words(cast("Mapping[str, Any]", cause), depth + 1)


def _place(status: Mapping[str, Any]) -> str:
    diagnostics = status.get("diagnostics")
    told: Mapping[str, Any] = cast("Mapping[str, Any]", diagnostics) if isinstance(diagnostics, dict) else {}
    where = readable(_plain(told.get("_errorLocation"), "ANY"))
    return f" at {where}" if where else ""


def _table(exchange: Exchange, result: Mapping[str, Any]) -> tuple[tuple[GraphColumn, ...], tuple[Mapping[str, Any], ...]]:
    """Nothing at all where the result is omitted (kind NOTHING)."""
    if result.get("kind") != "TABLE":
        return (), ()
    columns = tuple(_read_column(exchange, entry) for entry in _objects(exchange, result, "columns"))
    rows = tuple(
        {column.name: _plain(row.get(column.name), column.gql_type) for column in columns} for row in _objects(exchange, result, "data")
    )
    return columns, rows


def _read_column(exchange: Exchange, source: Mapping[str, Any]) -> GraphColumn:
    reader = Reader(exchange, source, "column of the answer")
    return GraphColumn(reader.text("name"), reader.text_or("gqlType", "ANY"), reader.text_or("jsonType", "unknown"))


def _objects(exchange: Exchange, result: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found: Any = result.get(name) or []
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in cast("list[Any]", found)):
        raise unexpected(exchange, f"{name} of the result is not a list of objects", field=name)
    return cast("list[Mapping[str, Any]]", found)


def _plain(value: Any, gql_type: str) -> Any:
    """A value as Python has it: without Fabric's wrapping, and integers that came as text as integers."""
    if isinstance(value, dict) and set(cast("dict[str, Any]", value)) == {"gqlType", "value"}:
        wrapped = cast("dict[str, Any]", value)
        return _plain(wrapped["value"], str(wrapped["gqlType"]))
    kind = gql_type.upper()
    if isinstance(value, list):
        inner = gql_type[5:-1] if kind.startswith("LIST<") else "ANY"
        return [_plain(each, inner) for each in cast("list[Any]", value)]
    if isinstance(value, str) and kind.split(" ", 1)[0] in _INTEGERS:
        return int(value) if value.removeprefix("-").isdecimal() else value
    return -0.0 if isinstance(value, str) and value == "-0" and kind.startswith(("FLOAT", "DOUBLE")) else cast("Any", value)


def _elements(value: Any, gql_type: str) -> Iterator[GraphNode | GraphEdge]:
    kind = gql_type.upper()
    if isinstance(value, list):
        if kind.startswith("PATH"):
            yield from _path(cast("list[Any]", value))
            return
        inner = gql_type[5:-1] if kind.startswith("LIST<") else "ANY"
        for each in cast("list[Any]", value):
            yield from _elements(each, inner)
    elif isinstance(value, dict):
        yield from _object(cast("Mapping[str, Any]", value))
    elif isinstance(value, str) and kind.startswith("NODE"):
        yield GraphNode(value)
    elif isinstance(value, str) and value.startswith("{") and '"oid"' in value:
        yield from _text(value)


def _text(value: str) -> Iterator[GraphNode | GraphEdge]:
    """A node or edge that TO_JSON_STRING has made a text of; any other text is none."""
    try:
        told = json.loads(value)
    except (ValueError, RecursionError):
        return
    if isinstance(told, dict):
        yield from _object(cast("Mapping[str, Any]", told))


def _object(told: Mapping[str, Any]) -> Iterator[GraphNode | GraphEdge]:
    """A path has its elements, an edge has ends, a node has neither; what has no id is a record of values."""
    for name in ("elements", "path"):
        if isinstance(steps := told.get(name), list):
            yield from _path(cast("list[Any]", steps))
            return
    if "oid" not in told:
        return
    source, target = _end(told, _SOURCES), _end(told, _TARGETS)
    if source is not None and target is not None:
        yield GraphEdge(str(told["oid"]), source, target, _labels(told), _properties(told))
    elif source is None and target is None:
        yield GraphNode(str(told["oid"]), _labels(told), _properties(told))


def _path(steps: Sequence[Any]) -> Iterator[GraphNode | GraphEdge]:
    """Every second step is an edge. One that does not name its ends lies between its neighbours, in the direction of the path."""
    for place, step in enumerate(steps):
        if place % 2 == 0:
            yield GraphNode(_id_of(step), _labels(step), _properties(step))
        elif (named := [found for found in _elements(step, "ANY") if isinstance(found, GraphEdge)]) or place + 1 == len(steps):
            yield from named
        else:
            yield GraphEdge(_id_of(step), _id_of(steps[place - 1]), _id_of(steps[place + 1]), _labels(step), _properties(step))


def _id_of(step: Any) -> str:
    return str(cast("Mapping[str, Any]", step).get("oid")) if isinstance(step, Mapping) else str(step)


def _end(told: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The id of the node at one end of an edge: a text or number, or an object that has one."""
    for name in names:
        end = told.get(name)
        if isinstance(end, Mapping):
            end = cast("Mapping[str, Any]", end).get("oid")
        if isinstance(end, str | int) and not isinstance(end, bool):
            return str(end)
    return None


def _labels(told: Any) -> tuple[str, ...]:
    found = cast("Mapping[str, Any]", told).get("labels") if isinstance(told, Mapping) else None
    return tuple(str(label) for label in cast("list[Any]", found)) if isinstance(found, list) else ()


def _properties(told: Any) -> Mapping[str, Any]:
    found = cast("Mapping[str, Any]", told).get("properties") if isinstance(told, Mapping) else None
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}


def _keep(found: GraphNode | GraphEdge, nodes: dict[str, GraphNode], edges: dict[str, GraphEdge]) -> None:
    """The fuller of two that name the same thing."""
    if isinstance(found, GraphEdge):
        edges.setdefault(found.id, found)
    elif found.id not in nodes or (found.properties and not nodes[found.id].properties):
        nodes[found.id] = found
