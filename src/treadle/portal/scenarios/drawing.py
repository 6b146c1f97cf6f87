"""A scenario's model, and what a query found, as pictures in Graphviz's language. Pure; the browser draws them.

All names and values are texts of others: they are quoted, their entities and escapes are taken out, and colours are used only if they are colours.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from treadle.visible_text import visible

MOST_NODES: Final = 80  # of an answer; more is a ball of wool
MOST_EDGES: Final = 200
_PALETTE: Final = ("#2563eb", "#0f766e", "#b45309", "#7c3aed", "#be185d", "#4d7c0f", "#0369a1", "#b91c1c")  # white reads on each
_FAINT: Final = "#8a8f98"  # reads on both themes' grounds
_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_LONGEST: Final = 40  # of a text in the picture, in characters
_LONGEST_HOVER: Final = 300
_DEFAULT_SIZE: Final = 18
_FONT: Final = "Inter, Helvetica, sans-serif"


@dataclass(frozen=True, slots=True)
class Style:
    """How nodes of a label are drawn. fill, ink: `#rrggbb`; points: the size of their letters."""

    fill: str
    ink: str
    points: int


@dataclass(frozen=True, slots=True)
class DrawnNode:
    """A node of an answer. id: what edges name it by; label: its type, empty when it has none; title: what stands in it; hover: its properties."""

    id: str
    label: str
    title: str
    hover: str


@dataclass(frozen=True, slots=True)
class DrawnEdge:
    """An edge of an answer, from node to node."""

    source: str
    target: str
    label: str


def styles_of(graph_styles: Any, labels: Sequence[str]) -> dict[str, Style]:
    """A style for each label: the scenario's own where it has one, else a colour of ours."""
    told = _mapping(graph_styles)
    own = _mapping(told.get("node_types", told))
    return {label: _style(own.get(label), place) for place, label in enumerate(dict.fromkeys(labels))}


def _style(said: Any, place: int) -> Style:
    told = _mapping(said)
    colour, size = str(told.get("color") or ""), told.get("size")
    fill = colour.lower() if _COLOUR.fullmatch(colour) else _PALETTE[place % len(_PALETTE)]
    number = size if isinstance(size, int) and not isinstance(size, bool) else _DEFAULT_SIZE
    return Style(fill, ink_on(fill), 9 + round(min(max(number, 8), 40) / 5))


def ink_on(fill: str) -> str:
    """Black or white, whichever reads better on this ground. Source: WCAG 2.2, relative luminance."""
    red, green, blue = (int(fill[at : at + 2], 16) / 255 for at in (1, 3, 5))
    luminance = sum(
        share * (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
        for share, value in ((0.2126, red), (0.7152, green), (0.0722, blue))
    )
    return "#ffffff" if luminance < 0.179 else "#111827"


def model_dot(model: Mapping[str, Any], styles: Mapping[str, Style]) -> str:
    """The entity types with their keys, and the relationship types between them.

    model: {"entity_types": [{"label", "key", "properties": [{"name", "type"}]}], "relationship_types": [{"name", "label", "source", "target"}]}.
    """
    entities = entity_types(model)
    ids = {entity["label"]: f"n{place}" for place, entity in enumerate(entities)}
    lines = [
        _node(
            ids[entity["label"]], entity["label"], f"Key: {entity.get('key', '')}", styles[entity["label"]], under=_properties_told(entity)
        )
        for entity in entities
    ]
    lines += [
        _edge(ids[each["source"]], ids[each["target"]], each["label"])
        for each in relationship_types(model)
        if each["source"] in ids and each["target"] in ids
    ]
    return _digraph(lines)


def answer_dot(nodes: Sequence[DrawnNode], edges: Sequence[DrawnEdge], styles: Mapping[str, Style]) -> str:
    """What a query found, as far as it can be drawn."""
    shown = nodes[:MOST_NODES]
    ids = {node.id: f"n{place}" for place, node in enumerate(shown)}
    fallback = _style(None, 0)
    lines = [_node(ids[node.id], node.title, node.hover, styles.get(node.label, fallback)) for node in shown]
    drawn = dict.fromkeys((edge.source, edge.target, edge.label) for edge in edges if edge.source in ids and edge.target in ids)
    several = len({label for _, _, label in drawn}) > 1  # one and the same word on each says nothing more
    lines += [_edge(ids[source], ids[target], label if several else "", label) for source, target, label in list(drawn)[:MOST_EDGES]]
    return _digraph(lines)


def entity_types(model: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entity types of a model that have a label; none where the scenario has no graph. Somebody may have written the record by hand."""
    return [each for each in _mappings(model, "entity_types") if each.get("label")]


def relationship_types(model: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The relationship types of a model that have a label and both ends."""
    return [each for each in _mappings(model, "relationship_types") if each.get("label") and each.get("source") and each.get("target")]


def properties_of(entity: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The properties of an entity type, each with name and type."""
    return [each for each in _mappings(entity, "properties") if each.get("name")]


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else dict[str, Any]()


def _mappings(holder: Any, name: str) -> list[Mapping[str, Any]]:
    found: Any = _mapping(holder).get(name)
    return [each for each in cast("list[Any]", found) if isinstance(each, Mapping)] if isinstance(found, list) else []


def quoted(text: object, most: int = _LONGEST) -> str:
    """Text of others as a string of Graphviz: no escape, no entity and no quote of it means anything there. most: characters of it."""
    shown = visible(str(text))
    shown = shown if len(shown) <= most else f"{shown[: most - 1]}…"
    return '"' + shown.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"') + '"'


def _properties_told(entity: Mapping[str, Any]) -> str:
    count = len(properties_of(entity))
    return f"{count} {'property' if count == 1 else 'properties'}"


def _node(node_id: str, title: str, hover: str, style: Style, under: str = "") -> str:
    label = quoted(title) if not under else f"{quoted(title)[:-1]}\\n{quoted(under)[1:]}"
    return (
        f'  {node_id} [label={label} tooltip={quoted(hover, _LONGEST_HOVER)} fillcolor="{style.fill}" fontcolor="{style.ink}" fontsize={style.points}'
        f' color="{style.fill}"];'
    )


def _edge(source: str, target: str, label: str, hover: str = "") -> str:
    return f"  {source} -> {target} [label={quoted(label)} tooltip={quoted(hover or label)}];"


def _digraph(lines: Sequence[str]) -> str:
    head = [
        "digraph {",
        '  graph [bgcolor="transparent" rankdir=LR nodesep=0.25 ranksep=0.7 pad=0.1];',
        f'  node [shape=box style="rounded,filled" fontname="{_FONT}" margin="0.16,0.08" height=0.3];',
        f'  edge [color="{_FAINT}" fontcolor="{_FAINT}" fontname="{_FONT}" fontsize=10 arrowsize=0.7];',
    ]
    return "\n".join([*head, *lines, "}"])
