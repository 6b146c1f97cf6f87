"""What a query of the graph found, for a table and for a picture. Pure."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from treadle.clients.graph_answers import GraphAnswer, GraphEdge, GraphNode, nodes_and_edges
from treadle.portal.scenarios.drawing import DrawnEdge, DrawnNode, entity_types
from treadle.visible_text import visible

_HOVERED: Final = 8  # properties of a node that are told under the pointer
_ID_CHARS: Final = 12  # of the graph's own id, where a node has no other name
_LONGEST_CELL: Final = 2_000  # characters


def drawn_of(answer: GraphAnswer, model: Mapping[str, Any]) -> tuple[list[DrawnNode], list[DrawnEdge]]:
    """The nodes and edges of an answer as they are drawn; none where it has values alone."""
    nodes, edges = nodes_and_edges(answer)
    keys = _keys(model)
    return [_drawn(node, keys) for node in nodes], [DrawnEdge(edge.source, edge.target, _label(edge)) for edge in edges]


def drawn_told(nodes: Sequence[DrawnNode], edges: Sequence[DrawnEdge]) -> str:
    """How many nodes and edges of which kind there are, in a sentence."""
    told = [f"{_counted(len(nodes), 'node')} ({_kinds([node.label for node in nodes])})"]
    if edges:
        told.append(f"{_counted(len(edges), 'edge')} ({_kinds([edge.label for edge in edges])})")
    return ", ".join(told)


def answer_rows(answer: GraphAnswer, model: Mapping[str, Any], most: int) -> list[dict[str, Any]]:
    """The first rows of an answer as those of a table: numbers as numbers, nodes and edges by their names, everything else as text.

    A column whose values are of several kinds is text throughout.
    """
    nodes, edges = nodes_and_edges(answer)
    keys = _keys(model)
    named = {node.id: _name(node, keys) for node in nodes} | {edge.id: _label(edge) or "edge" for edge in edges}
    columns = {
        column.name: [_cell(row.get(column.name), named, column.gql_type) for row in answer.rows[:most]] for column in answer.columns
    }
    told = {visible(name): _of_one_kind(values) for name, values in columns.items()}
    return [dict(zip(told, row, strict=True)) for row in zip(*told.values(), strict=True)]


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word if count == 1 else word + 's'}"


def _kinds(labels: Sequence[str]) -> str:
    return ", ".join(f"{label or 'no label'} {count:,}" for label, count in Counter(labels).items())


def _keys(model: Mapping[str, Any]) -> dict[str, str]:
    return {str(entity["label"]): str(entity.get("key", "")) for entity in entity_types(model)}


def _drawn(node: GraphNode, keys: Mapping[str, str]) -> DrawnNode:
    label = node.labels[0] if node.labels else ""
    shown = [f"{name}: {value}" for name, value in list(node.properties.items())[:_HOVERED]]
    return DrawnNode(node.id, label, _name(node, keys), ", ".join([*filter(None, [label]), *shown]))


def _name(node: GraphNode, keys: Mapping[str, str]) -> str:
    """The value of its key, else of its first property, else its type and the beginning of its id."""
    for key in (keys.get(label) for label in node.labels):
        if key and node.properties.get(key) is not None:
            return str(node.properties[key])
    first = next((value for value in node.properties.values() if value is not None), None)
    return str(first) if first is not None else " ".join([*node.labels[:1], node.id[:_ID_CHARS]])


def _label(edge: GraphEdge) -> str:
    return edge.labels[0] if edge.labels else ""


def _cell(value: Any, named: Mapping[str, str], gql_type: str) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    found = _oid(value) if not (isinstance(value, str) and gql_type.upper().startswith("NODE")) else value
    if found is not None and found in named:
        return visible(named[found])
    text = value if isinstance(value, str) else json.dumps(_plain(value, named), ensure_ascii=False, default=str)
    return visible(text[:_LONGEST_CELL])


def _plain(value: Any, named: Mapping[str, str]) -> Any:
    """The same, with nodes and edges in it by their names."""
    if isinstance(value, list):
        return [_plain(each, named) for each in cast("list[Any]", value)]
    found = _oid(value)
    return named[found] if found is not None and found in named else value


def _oid(value: Any) -> str | None:
    """The id of a node or edge, which comes as an object or as the text of one."""
    told: Any = value
    if isinstance(value, str) and value.startswith("{") and '"oid"' in value:
        try:
            told = json.loads(value)
        except (ValueError, RecursionError):
            return None
    oid = cast("Mapping[str, Any]", told).get("oid") if isinstance(told, Mapping) else None
    return None if oid is None else str(oid)


def _of_one_kind(values: Sequence[Any]) -> list[Any]:
    """Unchanged if all are numbers, all are truth values or all are text; else all as text."""
    kinds = {_kind(value) for value in values if value is not None}
    return list(values) if len(kinds) <= 1 and "large" not in kinds else [None if value is None else str(value) for value in values]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int) and abs(value) >= 2**63:
        return "large"  # no table holds it as a number
    return "number" if isinstance(value, int | float) else "text"
