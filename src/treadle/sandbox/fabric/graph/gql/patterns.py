"""Translates MATCH: patterns become the engine's, what stands inside them becomes predicates."""

from collections.abc import Iterable, Sequence

from treadle.sandbox.fabric.graph.gql.faults import SYNTAX, GqlFault
from treadle.sandbox.fabric.graph.gql.scope import Bound, Kind, Scope
from treadle.sandbox.fabric.graph.gql.syntax import Binary, EdgePattern, Filler, Match, PathPattern, PropertyOf, Variable
from treadle.sandbox.fabric.graph.gql.terms import render

_LOOP_EDGE, _LOOP_NODE = "r", "_"
_NEVER = "false"


def match_clause(match: Match, scope: Scope) -> tuple[str, Scope]:
    """`MATCH … WHERE …` for the engine, and the scope behind it."""
    _check_connected(match.paths, scope)
    texts: list[str] = []
    wanted: list[str] = []
    fillers: list[tuple[Filler, Bound]] = []
    for path in match.paths:
        text, scope, more = _path(path, scope, wanted)
        texts.append(text)
        fillers += more
    for filler, bound in fillers:  # behind all patterns: a predicate may name what stands further on
        wanted += _predicates(filler, bound, scope)
    if match.where is not None:
        wanted.append(render(match.where, scope))
    where = f" WHERE {' AND '.join(wanted)}" if wanted else ""
    return f"MATCH {', '.join(texts)}{where}", scope


def _path(path: PathPattern, scope: Scope, wanted: list[str]) -> tuple[str, Scope, list[tuple[Filler, Bound]]]:
    fillers: list[tuple[Filler, Bound]] = []
    text = ""
    for place, node in enumerate(path.nodes):
        if place:
            edge = path.edges[place - 1]
            bound, scope = _edge_bound(edge, scope)
            text += _edge_text(edge, bound, scope, wanted)
            if edge.hops is None:
                fillers.append((edge.filler, bound))
        bound, scope, part = _node(node, scope, wanted)
        text += part
        fillers.append((node, bound))
    if path.variable is None and not path.trail:
        return text, scope, fillers
    engine = scope.fresh()
    if path.variable is not None:
        if not path.edges:
            raise GqlFault(SYNTAX, "A path variable needs a pattern with an edge.", path.place)
        scope = _bind(scope, path.variable, Bound("path", engine), path)
    if path.trail and path.edges:
        wanted.append(f"is_trail({engine})")
    return (f"{engine} = {text}" if path.edges else text), scope, fillers


def _node(node: Filler, scope: Scope, wanted: list[str]) -> tuple[Bound, Scope, str]:
    tables = scope.node_tables(node.label)
    known = scope.names.get(node.variable) if node.variable else None
    if known is not None:
        if known.kind != "node":
            raise GqlFault(SYNTAX, f"The variable '{node.variable}' is no node.", node.place)
        # A second label on a name that the engine has bound is no pattern to it, so it becomes a predicate.
        both = known.tables & tables
        if both != known.tables:
            wanted.append(_one_of(known, both))
        bound = Bound("node", known.engine, both or known.tables)
        return bound, scope.having(str(node.variable), bound), f"({known.engine})"
    bound = Bound("node", scope.fresh(), tables or frozenset(scope.layout.nodes))
    if not tables:
        wanted.append(_NEVER)
    labels = "" if len(bound.tables) == len(scope.layout.nodes) else "".join(f":{table}" for table in sorted(bound.tables))
    return bound, _bind(scope, node.variable, bound, node) if node.variable else scope, f"({bound.engine}{labels})"


def _edge_bound(edge: EdgePattern, scope: Scope) -> tuple[Bound, Scope]:
    tables = scope.edge_tables(edge.filler.label)
    kind: Kind = "edge" if edge.hops is None else "group"
    bound = Bound(kind, scope.fresh(), tables or frozenset(scope.layout.edges))
    return bound, _bind(scope, edge.filler.variable, bound, edge.filler) if edge.filler.variable else scope


def _edge_text(edge: EdgePattern, bound: Bound, scope: Scope, wanted: list[str]) -> str:
    if not scope.edge_tables(edge.filler.label):
        wanted.append(_NEVER)
    labels = "" if len(bound.tables) == len(scope.layout.edges) else f":{'|'.join(sorted(bound.tables))}"
    inside = f"{bound.engine}{labels}"
    if edge.hops is not None:
        inside += f"*{edge.hops[0]}..{edge.hops[1]}{_loop_predicate(edge.filler, bound, scope)}"
    left, right = {"right": ("-", "->"), "left": ("<-", "-"), "any": ("-", "-")}[edge.direction]
    return f"{left}[{inside}]{right}"


def _loop_predicate(filler: Filler, bound: Bound, scope: Scope) -> str:
    """What each edge of a quantified pattern must fulfil; there, the variable is the single edge."""
    single = Bound("edge", _LOOP_EDGE, bound.tables)
    inside = scope.having(filler.variable, single) if filler.variable else scope
    wanted = _predicates(filler, single, inside)
    return f" ({_LOOP_EDGE}, {_LOOP_NODE} | WHERE {' AND '.join(wanted)})" if wanted else ""


def _predicates(filler: Filler, bound: Bound, scope: Scope) -> list[str]:
    """`{name: value}` and `WHERE …` of a pattern."""
    hidden = "\0"  # a name for the element, whether or not the query gave it one
    inside = scope.having(hidden, bound)
    wanted = [
        render(Binary("=", PropertyOf(Variable(hidden, filler.place), name, filler.place), value, filler.place), inside)
        for name, value in filler.properties
    ]
    return [*wanted, *([] if filler.where is None else [render(filler.where, scope)])]


def _one_of(bound: Bound, tables: Iterable[str]) -> str:
    names = ", ".join(f"'{table}'" for table in sorted(tables))
    return f"label({bound.engine}) IN [{names}]" if names else _NEVER


def _bind(scope: Scope, name: str, bound: Bound, where: Filler | PathPattern) -> Scope:
    if name in scope.names:
        raise GqlFault(SYNTAX, f"The variable '{name}' is bound already; only nodes are joined by their name.", where.place)
    return scope.having(name, bound)


def _check_connected(paths: Sequence[PathPattern], scope: Scope) -> None:
    """Patterns share a variable with each other, and with what was matched before ("MATCH statement" of the language guide)."""
    reached = {name for name, bound in scope.names.items() if bound.kind == "node"}
    left = list(paths)
    if not reached:
        reached = _variables(left.pop(0))
    while left:
        joined = next((path for path in left if _variables(path) & reached), None)
        if joined is None:
            raise GqlFault(
                SYNTAX, "The pattern shares no variable with the others: disconnected patterns are not supported.", left[0].place
            )
        left.remove(joined)
        reached |= _variables(joined)


def _variables(path: PathPattern) -> set[str]:
    return {node.variable for node in path.nodes if node.variable}
