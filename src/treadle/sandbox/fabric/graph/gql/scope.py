"""The names that are bound at a place of a query, and what the engine calls them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from treadle.sandbox.fabric.graph.gql.faults import GRAPH_TYPE, SYNTAX, GqlFault, Place
from treadle.sandbox.fabric.graph.gql.syntax import LabelBoth, LabelEither, LabelExpression, LabelName, LabelNot, Match
from treadle.sandbox.fabric.graph.layout import Column, EdgeLayout, Layout, NodeLayout

Kind = Literal["node", "edge", "group", "path", "value"]


@dataclass(frozen=True, slots=True)
class Bound:
    """What a name stands for. engine: its name there. tables: those that a node, an edge or the edges of a group can be of.

    optional: whether OPTIONAL MATCH bound it. witness: what is null to the engine where that found nothing; a path itself has empty places then, and
    a node a label.
    """

    kind: Kind
    engine: str
    tables: frozenset[str] = frozenset()
    witness: str = ""
    optional: bool = False

    def if_there(self, text: str) -> str:
        """What is made of the name, null where OPTIONAL MATCH found nothing."""
        return f"(CASE WHEN {self.witness} IS NULL THEN NULL ELSE {text} END)" if self.optional and self.witness else text


@dataclass(slots=True)
class Made:
    """What is made while a query is translated: parameters by name, and how many engine names there are.

    unsettled: groups of an OPTIONAL MATCH of whose edges the statement that is being made reads properties.
    """

    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    names: int = 0
    unsettled: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Scope:
    """Names in the order in which they were bound. `made` is shared by all scopes of a query.

    exists: translates EXISTS, as its patterns hold expressions again; None where the engine takes none. inside_exists: whether this is one.
    """

    layout: Layout
    now: str
    names: dict[str, Bound] = field(default_factory=dict[str, Bound])
    made: Made = field(default_factory=Made)
    exists: "Callable[[Match, Scope], str] | None" = None
    inside_exists: bool = False

    def fresh(self) -> str:
        """A name for the engine."""
        self.made.names += 1
        return f"v{self.made.names}"

    def parameter(self, value: object) -> str:
        """A parameter with this value: no text of a query is ever part of the statement."""
        name = f"a{len(self.made.parameters)}"
        self.made.parameters[name] = value
        return f"${name}"

    def having(self, name: str, bound: Bound) -> Self:
        """A scope with one more name, or with another meaning of it."""
        return replace(self, names={**self.names, name: bound})

    def find(self, name: str, place: Place) -> Bound:
        """What a name stands for; raises 42001."""
        if name not in self.names:
            raise GqlFault(SYNTAX, f"The variable '{name}' is not defined.", place)
        return self.names[name]

    def column(self, bound: Bound, name: str, place: Place) -> str:
        """The column of a property. Raises 42001 for one that no type has, or that has several types among those it can be of."""
        found = {column for table in bound.tables if (column := self._columns(table).get(name))}
        if not found:
            raise GqlFault(SYNTAX, f"Property '{name}' does not exist in type {self._described(bound)}.", place)
        if len(found) > 1:
            types = " and ".join(sorted(column.type for column in found))
            raise GqlFault(SYNTAX, f"Property '{name}' is {types} in {self._described(bound)}: name a label.", place)
        return found.pop().name

    def element(self, table: str) -> NodeLayout | EdgeLayout:
        """The type that a table holds."""
        return self.layout.nodes[table] if table in self.layout.nodes else self.layout.edges[table]

    def node_tables(self, label: LabelExpression | None) -> frozenset[str]:
        """The node tables that a label expression fits; all without one. Raises G2000 for a label that no node type has."""
        labels = {one.table: frozenset(one.labels) for one in self.layout.nodes.values()}
        _check_known(label, labels.values(), "node")
        return frozenset(table for table, has in labels.items() if _fits(label, has))

    def edge_tables(self, label: LabelExpression | None) -> frozenset[str]:
        """As `node_tables`, for edges."""
        labels = {one.table: frozenset([one.label]) for one in self.layout.edges.values()}
        _check_known(label, labels.values(), "edge")
        return frozenset(table for table, has in labels.items() if _fits(label, has))

    def _columns(self, table: str) -> dict[str, Column]:
        return dict(self.element(table).columns)

    def _described(self, bound: Bound) -> str:
        labels = {"&".join(one.labels) if isinstance(one, NodeLayout) else one.label for one in map(self.element, bound.tables)}
        return "|".join(sorted(labels)) or "of nothing"


def _fits(label: LabelExpression | None, labels: frozenset[str]) -> bool:
    match label:
        case None:
            return True
        case LabelName():
            return label.name in labels
        case LabelNot():
            return not _fits(label.operand, labels)
        case LabelBoth():
            return _fits(label.left, labels) and _fits(label.right, labels)
        case LabelEither():
            return _fits(label.left, labels) or _fits(label.right, labels)


def _check_known(label: LabelExpression | None, known: Iterable[frozenset[str]], kind: str) -> None:
    match label:
        case LabelName() if not any(label.name in labels for labels in known):
            raise GqlFault(GRAPH_TYPE, f"The label expression does not match any {kind} type: '{label.name}'.", label.place)
        case LabelNot():
            _check_known(label.operand, known, kind)
        case LabelBoth() | LabelEither():
            _check_known(label.left, known, kind)
            _check_known(label.right, known, kind)
        case _:
            pass
