"""Queries that fit a scenario's model, so that nobody begins with an empty box. Pure.

The language is GQL (ISO/IEC 39075) as Fabric's graph takes it: https://learn.microsoft.com/fabric/graph/gql-language-guide
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from treadle.portal.scenarios.drawing import entity_types, relationship_types

ROWS: Final = 25  # that a query to be drawn asks for
_PLAIN: Final = re.compile(
    r"(?=.*[a-z][A-Z]|.*_)[A-Za-z_][A-Za-z0-9_]*"
)  # TransportLink, connects_to; many single words, such as Order, are reserved


@dataclass(frozen=True, slots=True)
class ReadyQuery:
    """A query, and what it asks in words."""

    title: str
    gql: str


def ready_queries(model: Mapping[str, Any]) -> list[ReadyQuery]:
    """One of each kind that the model allows: nodes, a relationship, a count by neighbour, a path of two relationships."""
    entities = {str(entity["label"]): entity for entity in entity_types(model)}
    relations = [each for each in relationship_types(model) if str(each["source"]) in entities and str(each["target"]) in entities]
    if not entities:
        return []
    if not relations:
        first = next(iter(entities))
        return [ReadyQuery(f"All of type {first}", f"MATCH (a:{_name(first)}) RETURN TO_JSON_STRING(a) AS a LIMIT {ROWS}")]
    found = [_relation(relations[0]), _count(relations[0], entities)]
    if path := _path(relations):
        found.append(path)
    source = str(relations[0]["target"])
    found.append(ReadyQuery(f"Nodes of type {source}", f"MATCH (a:{_name(source)})\nRETURN TO_JSON_STRING(a) AS a\nLIMIT {ROWS}"))
    return found


def _relation(each: Mapping[str, Any]) -> ReadyQuery:
    source, label, target = (_name(str(each[name])) for name in ("source", "label", "target"))
    return ReadyQuery(
        f"{each['source']} {str(each['label']).replace('_', ' ')} {each['target']}",
        f"MATCH (a:{source})-[e:{label}]->(b:{target})\nRETURN {_whole('a', 'e', 'b')}\nLIMIT {ROWS}",
    )


def _count(each: Mapping[str, Any], entities: Mapping[str, Mapping[str, Any]]) -> ReadyQuery:
    source, label, target = (_name(str(each[name])) for name in ("source", "label", "target"))
    key = _name(str(entities[str(each["target"])].get("key") or "id"))
    return ReadyQuery(
        f"How many {each['source']} for each {each['target']}",
        f"MATCH (a:{source})-[e:{label}]->(b:{target})\nRETURN b.{key} AS {key}, count(*) AS total\nGROUP BY {key}\nORDER BY total DESC",
    )


def _path(relations: list[Mapping[str, Any]]) -> ReadyQuery | None:
    """Two relationships in a row, from one type over a second to a third."""
    for first in relations:
        for second in relations:
            ends = (str(first["source"]), str(first["target"]), str(second["target"]))
            if second["source"] == first["target"] and len(set(ends)) == len(ends):
                a, b, c = (_name(end) for end in ends)
                one, two = _name(str(first["label"])), _name(str(second["label"]))
                return ReadyQuery(
                    f"From {ends[0]} over {ends[1]} to {ends[2]}",
                    f"MATCH (a:{a})-[e:{one}]->(b:{b})-[f:{two}]->(c:{c})\nRETURN {_whole('a', 'e', 'b', 'f', 'c')}\nLIMIT {ROWS}",
                )
    return None


def _whole(*variables: str) -> str:
    """Nodes and edges with their labels and properties: by itself the service answers with references alone."""
    return ", ".join(f"TO_JSON_STRING({each}) AS {each}" for each in variables)


def _name(text: str) -> str:
    """A name as the language takes it: in backticks, unless it can be neither a reserved word nor anything but a name."""
    return text if _PLAIN.fullmatch(text) else "`" + text.replace("`", "``") + "`"
