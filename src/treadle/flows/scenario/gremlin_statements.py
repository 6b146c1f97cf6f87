"""The Gremlin statements that write, count and remove a graph: one traversal each, over steps that Azure Cosmos DB documents. Pure.

Neither bytecode nor lambdas. Every value and label is a binding, and every name of a property that is no plain word, so nothing of an archive is ever
read as Gremlin, and batches of one shape have one text. Plain words stand there as words, because grammars that are stricter than Groovy's, TinkerPop's
own `gremlin-lang` among them, want it so. Cosmos DB has no transactions and walks breadth first, so a statement touches each element once, and may run twice: it leaves
alone what has this build's mark already, changes what has another, and adds what is missing.

Sources: Azure Cosmos DB for Gremlin, "Gremlin support" (steps; sub-traversals in `union` use the index where a second `V()` does not), "Limits" (400
steps, 64 KB of script), "Quickstart: Python" (ids and partition keys are set and read as properties).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from treadle.errors import InvalidInput
from treadle.flows.scenario.gremlin_graph import EdgePart, Element, GraphParts, Part, Scalar, VertexPart

STEPS: Final = 390  # of 400, in one statement
SCRIPT_BYTES: Final = 48 * 1024  # of 64 KB
BATCH_BYTES: Final = 256 * 1024  # script and values; an element that is larger goes alone
_STEPS_AROUND: Final = 3  # inject, union, count
_STEP_BYTES: Final = 40  # more than any step has
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_OF_PART: Final = ".has('treadle_scenario', scen).has('treadle_part', part)"
_WHOSE: Final = ".property('treadle_scenario', scen).property('treadle_part', part)"
_MARKED: Final = ".property('treadle_content', mark)"  # last, so that what was broken off has another mark, or none


@dataclass(frozen=True, slots=True)
class Statement:
    """One traversal. elements: how many vertices or edges it leaves as they should be, which is also its one result; 0: it has none of interest."""

    script: str
    bindings: Mapping[str, Scalar]
    elements: int = 0


def check_sizes(parts: GraphParts) -> None:
    """Refuse what no statement can write.

    Raises:
        InvalidInput: a type has more properties than one statement can set.
    """
    for part in (*parts.vertices, *parts.edges):
        if _STEPS_AROUND + _steps(part, len(part.properties)) > STEPS:
            raise InvalidInput(
                f"{part.label} has {len(part.properties)} properties; Cosmos DB cannot take so many in one statement.",
                hint="Leave properties out of the schema.",
            )


def upserts(part: Part, elements: Iterable[Element], older: frozenset[str] | None) -> Iterator[Statement]:
    """Statements that bring the elements about, in batches within the limits; each may run twice.

    older: the properties of elements with another mark; None: there are none, so nothing has to be taken off before. What is taken off is taken off
    in a statement of its own, which comes first.
    """
    for batch in _batches(part, elements):
        if older is not None and (clearing := _clearing(part, batch, older)):
            yield clearing
        yield _upsert(part, batch)


def outdated_properties(columns: Iterable[str]) -> frozenset[str]:
    """All names in values of `treadle_columns`."""
    return frozenset(str(name) for text in columns for name in json.loads(text))


@dataclass(frozen=True, slots=True)
class Selection:
    """Vertices or edges of a scenario, by what they are marked with."""

    script: str
    bindings: Mapping[str, Scalar]

    def count(self, most: int | None = None) -> Statement:
        """How many there are; counting stops at `most`."""
        return Statement(f"{self.script}{'' if most is None else f'.limit({most:d})'}.count()", self.bindings)

    def distinct(self, name: str) -> Statement:
        """The different values of one property, none twice."""
        return Statement(f"{self.script}.values('{name}').dedup()", self.bindings)

    def drop(self, most: int) -> Statement:
        """Remove at most so many; of vertices their edges, too."""
        return Statement(f"{self.script}.limit({most:d}).drop()", self.bindings)


def current(part: Part) -> Selection:
    """What has this build's mark."""
    bindings = {**_of_part(part), "mark": part.content}
    if isinstance(part, EdgePart):
        return Selection(f"g.E(){_OF_PART}.has('treadle_content', mark)", bindings)
    return Selection(f"g.V().has('partitionKey', pk){_OF_PART}.has('treadle_content', mark)", {"pk": part.partition, **bindings})


def outdated(part: Part) -> Selection:
    """What has another mark: from an earlier build, and after this one gone from the archive."""
    start = "g.E()" if isinstance(part, EdgePart) else "g.V()"
    return Selection(f"{start}{_OF_PART}.has('treadle_content', neq(mark))", {**_of_part(part), "mark": part.content})


def of_other_parts(scenario: str, keys: Sequence[str]) -> tuple[Selection, Selection]:
    """Edges and vertices of the scenario that belong to none of these parts."""
    names = {f"part{place}": key for place, key in enumerate(keys)}
    where = f".has('treadle_scenario', scen).has('treadle_part', without({', '.join(names)}))"
    return Selection(f"g.E(){where}", {"scen": scenario, **names}), Selection(f"g.V(){where}", {"scen": scenario, **names})


def of_scenario(scenario: str) -> tuple[Selection, Selection]:
    """All edges and all vertices of a scenario."""
    where = ".has('treadle_scenario', scen)"
    return Selection(f"g.E(){where}", {"scen": scenario}), Selection(f"g.V(){where}", {"scen": scenario})


def _of_part(part: Part) -> dict[str, Scalar]:
    return {"scen": part.scenario, "part": part.key}


def _batches(part: Part, elements: Iterable[Element]) -> Iterator[list[Element]]:
    batch: list[Element] = []
    steps = script_bytes = size_bytes = 0
    for element in elements:
        more = _steps(part, len(element.properties))
        longer = _STEP_BYTES * more + 2 * sum(map(len, element.properties))
        larger = longer + sum(len(str(value).encode()) for value in (element.id, *element.properties.values()))
        if batch and (steps + more > STEPS - _STEPS_AROUND or script_bytes + longer > SCRIPT_BYTES or size_bytes + larger > BATCH_BYTES):
            yield batch
            batch, steps, script_bytes, size_bytes = [], 0, 0, 0
        batch.append(element)
        steps, script_bytes, size_bytes = steps + more, script_bytes + longer, size_bytes + larger
    if batch:
        yield batch


def _steps(part: Part, properties: int) -> int:
    """How many steps the branch of an element has: `_vertex` and `_edge` below, counted."""
    return 2 * properties + (17 if isinstance(part, VertexPart) else 19)


def _upsert(part: Part, batch: Sequence[Element]) -> Statement:
    places = {item.name: place for place, item in enumerate(part.properties)}
    bindings: dict[str, Scalar] = {"lab": part.label, "mark": part.content, **_of_part(part)}
    if isinstance(part, VertexPart):
        bindings |= {"pk": part.partition, "cols": part.columns}
    else:
        bindings |= {"pk": part.source.partition, "pk_to": part.target.partition}
    branches: list[str] = []
    for number, element in enumerate(batch):
        bindings[f"i{number}"] = element.id
        sets = ""
        for name, value in element.properties.items():
            bindings[f"v{number}_{places[name]}"] = value
            sets += f".property({_named(name, places[name], bindings)}, v{number}_{places[name]})"
        if isinstance(part, EdgePart):
            bindings |= {f"a{number}": element.source_id, f"b{number}": element.target_id}
        branches.append(_vertex(number, sets) if isinstance(part, VertexPart) else _edge(number, sets))
    return Statement(f"g.inject(0).union({', '.join(branches)}).count()", bindings, len(batch))


def _vertex(number: int, sets: str) -> str:
    sets = f"{sets}.property('treadle_columns', cols){_MARKED}"
    return (
        f"__.V().has('partitionKey', pk).has('id', i{number}).fold().coalesce("
        "__.unfold().has('treadle_content', mark), "
        f"__.unfold(){sets}, "
        f"__.addV(lab).property('id', i{number}).property('partitionKey', pk){_WHOSE}{sets})"
    )


def _edge(number: int, sets: str) -> str:
    there = f"__.outE(lab).has('id', i{number})"
    return (
        f"__.V().has('partitionKey', pk).has('id', a{number}).coalesce("
        f"{there}.has('treadle_content', mark), "
        f"{there}{sets}{_MARKED}, "
        f"__.addE(lab).to(__.V().has('partitionKey', pk_to).has('id', b{number})).property('id', i{number}){_WHOSE}{sets}{_MARKED})"
    )


def _named(name: str, place: int, bindings: dict[str, Scalar]) -> str:
    """How a property is named in a script: as it is if it is a plain word, else by a binding."""
    if _PLAIN.fullmatch(name):
        return f"'{name}'"
    bindings[f"n{place}"] = name
    return f"n{place}"


def _clearing(part: Part, batch: Sequence[Element], older: frozenset[str]) -> Statement | None:
    """Takes off what elements of an earlier build have and these do not: properties that the schema has no more, and cells that are empty now."""
    bindings: dict[str, Scalar] = {"mark": part.content, "pk": part.partition if isinstance(part, VertexPart) else part.source.partition}
    gone = older - {item.name for item in part.properties}
    places: dict[str, int] = {}
    branches: list[str] = []
    for number, element in enumerate(batch):
        if not (unwanted := sorted({*gone, *element.empty})):
            continue
        names = [_named(name, places.setdefault(name, len(places)), bindings) for name in unwanted]
        bindings[f"i{number}"] = element.id
        where = f"__.V().has('partitionKey', pk).has('id', i{number})"
        if isinstance(part, EdgePart):
            bindings |= {"lab": part.label, f"i{number}": element.source_id, f"e{number}": element.id}
            where += f".outE(lab).has('id', e{number})"
        branches.append(f"{where}.has('treadle_content', neq(mark)).properties({', '.join(names)}).drop()")
    return Statement(f"g.inject(0).union({', '.join(branches)})", bindings) if branches else None
