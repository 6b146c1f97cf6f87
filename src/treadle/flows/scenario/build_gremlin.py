"""Brings a scenario's graph to Azure Cosmos DB for Gremlin: vertices type by type, edges rule by rule, then what is gone from the archive goes.

Rows are streamed from the CSV files, and what is in the graph is asked of the graph: a part that has all its elements, with this build's mark and none
with another, is left alone. Every step may run twice, and a step that was broken off goes on where it was: what is written already costs a look.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from treadle.clients.gremlin import GremlinClient
from treadle.errors import InvalidInput, OperationFailed
from treadle.flows.scenario.gremlin_graph import EdgePart, GraphParts, Part, VertexPart, elements_of, graph_parts
from treadle.flows.scenario.gremlin_statements import (
    Selection,
    Statement,
    check_sizes,
    current,
    of_other_parts,
    of_scenario,
    outdated,
    outdated_properties,
    upserts,
)
from treadle.flows.scenario.plan import Action, Kind
from treadle.flows.scenario.scenario import Scenario, Table
from treadle.flows.scenario.schema import Connector

REMOVED_AT_ONCE: Final = 50  # a vertex takes its edges along, and a statement has 30 seconds
_TOLD_PER_CENT: Final = 2
_LABEL_CHARS: Final = 200


class Context(Protocol):
    """What of a job's context is used here: `control.jobs.run.JobContext` has it."""

    def check(self) -> None:
        """Raise when the job is to stop."""
        ...

    def step(self, name: str, effect: Callable[[], Any]) -> Any:
        """Do a step once, and keep its result."""
        ...

    def progress(
        self, message: str, *, pct: float | None = None, data: Mapping[str, Any] | None = None, step: str | None = None, level: str = "INFO"
    ) -> None:
        """Tell those who watch."""
        ...


def build_gremlin_graph(gremlin: GremlinClient, scenario: Scenario, name: str, context: Context) -> dict[str, Any]:
    """Make the graph what the scenario says, in the steps `graph.vertices:<label>`, `graph.edges:<number>` and `graph.gone`.

    name: under which it is built; two scenarios of different names do not touch each other. Returns {"vertices": {label: how many}, "edges": {label:
    how many}, "written", "unchanged", "removed"}, where written counts the elements of parts that were not as they should be.

    Raises:
        InvalidInput: Cosmos DB cannot hold a row or a type. OperationFailed: the graph does not have what was written.
        Throttled, Unavailable, Unauthenticated, …: as `GremlinClient.submit`.
    """
    parts = graph_parts(scenario, name)
    check_sizes(parts)
    telling = _Telling(context, sum(part.table.rows for part, _ in _steps(parts)))
    done: list[tuple[Part, dict[str, int]]] = []
    for part, step in _steps(parts):
        telling.begin(sum(earlier.table.rows for earlier, _ in done))
        done.append((part, context.step(f"graph.{step}", partial(_write_part, gremlin, part, step, telling))))
    gone = context.step("graph.gone", lambda: _remove_all(gremlin, of_other_parts(name, parts.keys), telling.check))
    counted: dict[str, Any] = {"vertices": {}, "edges": {}}
    for part, result in done:
        labels = counted["vertices" if isinstance(part, VertexPart) else "edges"]
        labels[part.label] = labels.get(part.label, 0) + result["elements"]
    return {
        **counted,
        "written": sum(result["written"] for _, result in done),
        "unchanged": sum(result["elements"] - result["written"] for _, result in done),
        "removed": sum(result["removed"] for _, result in done) + sum(gone.values()),
    }


@dataclass(frozen=True, slots=True)
class PartPlan:
    """What a build would do about one part of the graph. kind: vertices or edges. name: "vertices Shop". elements: how many the archive has. reason: for a person."""

    action: Action
    kind: Kind
    name: str
    elements: int
    reason: str


def plan_gremlin_graph(gremlin: GremlinClient, scenario: Scenario, name: str) -> tuple[PartPlan, ...]:
    """What `build_gremlin_graph` would do, part by part: create, update or unchanged. Changes nothing.

    Raises:
        InvalidInput: Cosmos DB cannot hold a row or a type.
    """
    parts = graph_parts(scenario, name)
    check_sizes(parts)
    return tuple(_plan_part(gremlin, part) for part, _ in _steps(parts))


def _plan_part(gremlin: GremlinClient, part: Part) -> PartPlan:
    wanted, found, others = _state(gremlin, part)
    kind = Kind.EDGES if isinstance(part, EdgePart) else Kind.VERTICES
    if found == wanted and not others:
        return PartPlan(Action.UNCHANGED, kind, _plural(part), wanted, "has this content")
    if found or others:
        return PartPlan(Action.UPDATE, kind, _plural(part), wanted, f"has other content: {found:,} of {wanted:,} are as they should be")
    return PartPlan(Action.CREATE, kind, _plural(part), wanted, f"is not there yet: {wanted:,}")


def has_other_parts(gremlin: GremlinClient, scenario: Scenario, name: str) -> bool:
    """Whether the graph has parts of the scenario that the archive does not have any more, which a build removes."""
    return any(_number(gremlin, found.count(1)) for found in of_other_parts(name, graph_parts(scenario, name).keys))


def is_in_graph(gremlin: GremlinClient, name: str) -> bool:
    """Whether the graph has anything of a scenario of this name, whoever brought it there."""
    return any(_number(gremlin, found.count(1)) for found in of_scenario(name))


def remove_gremlin_graph(gremlin: GremlinClient, name: str, check: Callable[[], None]) -> dict[str, int]:
    """Remove all that scenarios of this name have in the graph. Safe to repeat. check: raises when the work is to stop.

    Returns how many edges and vertices went.
    """
    return _remove_all(gremlin, of_scenario(name), check)


def count_gremlin_graph(gremlin: GremlinClient, name: str) -> dict[str, int]:
    """How many edges and vertices of a scenario there are."""
    edges, vertices = of_scenario(name)
    return {"edges": _number(gremlin, edges.count()), "vertices": _number(gremlin, vertices.count())}


def refuse_gql(name: str) -> InvalidInput:
    """The error for a query in GQL to a scenario whose graph is here."""
    return InvalidInput(
        f"The graph of {name} is in Azure Cosmos DB for Gremlin, which does not understand GQL.",
        hint=f"Ask it by Gremlin, with any client of Cosmos DB, or build the scenario with {Connector.FABRIC_GQL}.",
    )


def _steps(parts: GraphParts) -> Iterator[tuple[Part, str]]:
    """Each part, and what its step is called; a label that is too long to be part of a name is named by its place."""
    for number, part in enumerate(parts.vertices, 1):
        yield part, f"vertices:{part.label if len(part.label) <= _LABEL_CHARS else number}"
    yield from ((part, f"edges:{number}") for number, part in enumerate(parts.edges, 1))


def _write_part(gremlin: GremlinClient, part: Part, step: str, telling: "_Telling") -> dict[str, int]:
    wanted, found, changed = _state(gremlin, part)
    if found == wanted and not changed:
        return {"elements": wanted, "written": 0, "removed": 0}
    older = outdated_properties(_ask(gremlin, outdated(part).distinct("treadle_columns"))) if changed else None
    for statement in upserts(part, elements_of(part, _rows(part.table)), older):
        telling.check()
        _run(gremlin, statement, part)
        telling.wrote(part, step, statement.elements)
    removed = _remove(gremlin, outdated(part), telling.check) if changed else 0
    return {"elements": wanted, "written": wanted, "removed": removed}


def _state(gremlin: GremlinClient, part: Part) -> tuple[int, int, bool]:
    """How many elements the archive has, how many of them are as they should be, and whether there are others of an earlier build."""
    wanted = sum(1 for _ in elements_of(part, _rows(part.table)))
    return wanted, _number(gremlin, current(part).count()), _number(gremlin, outdated(part).count(1)) > 0


def _run(gremlin: GremlinClient, statement: Statement, part: Part) -> None:
    results = gremlin.submit(statement.script, statement.bindings, what=f"write {_plural(part)}")
    if statement.elements and results != [statement.elements]:
        raise OperationFailed(
            f"The graph has {results} of {statement.elements} {_plural(part)} that were written to it.",
            hint="Vertices that edges need may have been removed at the same time: build the scenario again.",
            details={"part": part.key},
        )


def _remove_all(gremlin: GremlinClient, selections: tuple[Selection, Selection], check: Callable[[], None]) -> dict[str, int]:
    edges, vertices = selections
    return {"edges": _remove(gremlin, edges, check), "vertices": _remove(gremlin, vertices, check)}


def _remove(gremlin: GremlinClient, selection: Selection, check: Callable[[], None]) -> int:
    removed = 0
    while found := _number(gremlin, selection.count(REMOVED_AT_ONCE)):
        check()
        drop = selection.drop(REMOVED_AT_ONCE)
        gremlin.submit(drop.script, drop.bindings, what="remove what is gone from the scenario")
        removed += found
    return removed


def _ask(gremlin: GremlinClient, statement: Statement) -> list[Any]:
    return gremlin.submit(statement.script, statement.bindings, what="look at what is in the graph")


def _number(gremlin: GremlinClient, statement: Statement) -> int:
    (number,) = _ask(gremlin, statement)
    return int(number)


def _rows(table: Table) -> Iterator[dict[str, str]]:
    """The rows of a checked file, one after the other, by the names of its columns."""
    with table.path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        header = next(rows)
        for cells in rows:
            yield dict(zip(header, cells, strict=False))  # a blank line is a row of a table with one column


def _plural(part: Part) -> str:
    if isinstance(part, EdgePart):
        return f"edges {part.label} from {part.source.label} to {part.target.label}"
    return f"vertices {part.label}"


class _Telling:
    """How far the whole graph is, told now and then: each word is a row in the database."""

    def __init__(self, context: Context, total: int) -> None:
        self.check = context.check
        self._context, self._total = context, max(total, 1)
        self._before = self._done = 0
        self._told = -_TOLD_PER_CENT

    def begin(self, before: int) -> None:
        """A part begins, behind parts of so many rows, done now or in an earlier attempt."""
        self._before, self._done = before, 0

    def wrote(self, part: Part, step: str, elements: int) -> None:
        """So many more are written; tell it if it is time."""
        self._done += elements
        rows = min(self._total, self._before + self._done)
        pct = 100 * rows // self._total
        if elements and pct >= self._told + _TOLD_PER_CENT:
            self._told = pct
            detail = f"{rows:,} of {self._total:,} rows: {_plural(part)}"
            data = {"slot": "graph", "step": step, "detail": detail, "pct": pct}
            self._context.progress(detail, pct=pct, step=f"graph.{step}", data=data)
