"""Translates MATCH and EXISTS: patterns become the engine's, what stands inside them becomes predicates."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace

from treadle.sandbox.fabric.graph.gql.faults import SYNTAX, GqlFault
from treadle.sandbox.fabric.graph.gql.scope import Bound, Scope
from treadle.sandbox.fabric.graph.gql.syntax import (
    Binary,
    EdgePattern,
    Filler,
    Match,
    PathMode,
    PathPattern,
    PropertyOf,
    Variable,
)
from treadle.sandbox.fabric.graph.gql.terms import render
from treadle.sandbox.fabric.graph.layout import NO_EDGES

_LOOP_EDGE, _LOOP_NODE = "r", "_"
_NEVER = "false"


def match_clause(match: Match, scope: Scope) -> tuple[str, Scope]:
    """`MATCH … WHERE …` for the engine, and the scope behind it."""
    _check_connected(match.paths, scope)
    text, after = _patterns(match, scope)
    if not match.optional:
        return f"MATCH {text}", after
    # What was bound before may be of any type that it was of: the row is there all the same.
    names = {
        name: scope.names.get(name) or replace(bound, optional=True, witness=bound.witness or f"id({bound.engine})")
        for name, bound in after.names.items()
    }
    return f"OPTIONAL MATCH {text}", replace(after, names=names)


def exists_predicate(match: Match, scope: Scope) -> str:
    """`EXISTS { MATCH … WHERE … }` for the engine: names from outside mean what they mean there, those from inside end with it."""
    shared = set[str]().union(*map(_variables, match.paths)) & scope.names.keys()
    _check_connected(match.paths, scope if shared else None)
    text, _ = _patterns(match, replace(scope, inside_exists=True))
    return f"(EXISTS {{ MATCH {text} }})"


def _patterns(match: Match, scope: Scope) -> tuple[str, Scope]:
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
    return f"{', '.join(texts)}{where}", scope


def _path(path: PathPattern, scope: Scope, wanted: list[str]) -> tuple[str, Scope, list[tuple[Filler, Bound]]]:
    fillers: list[tuple[Filler, Bound]] = []
    ends: list[Bound] = []
    edges: list[Bound] = []
    text = ""
    for place, node in enumerate(path.nodes):
        edge = path.edges[place - 1] if place else None
        if edge is not None:
            bound, scope = _edge_bound(edge, scope)
            edges.append(bound)
        end, scope, part = _node(node, scope, wanted)
        if edge is not None:
            text += _edge_text(edge, edges[-1], (ends[-1], end), scope, wanted)
            fillers += [(edge.filler, edges[-1])] if edge.hops is None else []
        text += part
        ends.append(end)
        fillers.append((node, end))
    if edges and path.mode != "WALK":
        wanted.append(_repeats_nothing(path.mode, ends, edges))
    if path.variable is None:
        return text, scope, fillers
    if not edges:
        raise GqlFault(SYNTAX, "A path variable needs a pattern with an edge.", path.place)
    engine = scope.fresh()
    bound = Bound("path", engine, witness=edges[0].witness or f"id({edges[0].engine})")
    return f"{engine} = {text}", _bind(scope, path.variable, bound, path), fillers


def _repeats_nothing(mode: PathMode, nodes: Sequence[Bound], edges: Sequence[Bound]) -> str:
    """As many different edges as the path is long, or one node more. It is put together from the parts of the path: what the engine makes of the
    path itself – is_trail, is_acyclic, nodes – is wrong inside OPTIONAL MATCH and EXISTS.
    """
    groups = [edge.engine for edge in edges if edge.kind == "group"]
    length = " + ".join([str(len(edges) - len(groups)), *(f"length({group})" for group in groups)])
    if mode == "TRAIL":
        return f"size(list_distinct({_ids([edge for edge in edges if edge.kind == 'edge'], 'rels', groups)})) = {length}"
    closed = f"({length}) > 0 AND id({nodes[0].engine}) = id({nodes[-1].engine})"
    one_more = "1" if mode == "ACYCLIC" else f"(CASE WHEN {closed} THEN 0 ELSE 1 END)"
    return f"size(list_distinct({_ids(nodes, 'nodes', groups)})) = {length} + {one_more}"


def _ids(elements: Sequence[Bound], inside: str, groups: Sequence[str]) -> str:
    """The ids of these elements, and of those inside the groups: a group's nodes are those between its ends."""
    lists = [f"[{', '.join(f'id({one.engine})' for one in elements)}]"] if elements else []
    lists += [f"properties({inside}({group}), '_ID')" for group in groups]
    return functools.reduce(lambda left, right: f"list_concat({left}, {right})", lists)


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
    engine = scope.fresh()
    if edge.hops is None:
        bound = Bound("edge", engine, tables or frozenset(scope.layout.edges))
    else:
        bound = Bound("group", engine, tables, f"length({engine})")
    return bound, _bind(scope, edge.filler.variable, bound, edge.filler) if edge.filler.variable else scope


def _edge_text(edge: EdgePattern, bound: Bound, ends: tuple[Bound, Bound], scope: Scope, wanted: list[str]) -> str:
    if bound.tables and not (scope.edge_tables(edge.filler.label) and _can_join(edge, bound, ends, scope)):
        wanted.append(_NEVER)
    tables = sorted(bound.tables) if bound.tables and not _stays_elsewhere(edge, bound, ends, scope) else [*sorted(bound.tables), NO_EDGES]
    inside = f"{bound.engine}:{'|'.join(tables)}"
    if edge.hops is not None:
        inside += f"*{edge.hops[0]}..{edge.hops[1]}{_loop_predicate(edge.filler, bound, scope)}"
    left, right = {"right": ("-", "->"), "left": ("<-", "-"), "any": ("-", "-")}[edge.direction]
    return f"{left}[{inside}]{right}"


def _can_join(edge: EdgePattern, bound: Bound, ends: tuple[Bound, Bound], scope: Scope) -> bool:
    """Whether the types allow such an edge. The engine does not look at the types of a node from outside OPTIONAL MATCH and EXISTS."""
    left, right = (end.tables for end in ends)
    ways = [(one.source, one.target) for one in map(scope.layout.edges.__getitem__, bound.tables)]
    ways = {"right": ways, "left": [way[::-1] for way in ways], "any": [*ways, *(way[::-1] for way in ways)]}[edge.direction]
    if edge.hops is None:
        return any(start in left and end in right for start, end in ways)
    return edge.hops[0] == 0 or (any(start in left for start, _ in ways) and any(end in right for _, end in ways))


def _stays_elsewhere(edge: EdgePattern, bound: Bound, ends: tuple[Bound, Bound], scope: Scope) -> bool:
    """Whether a path of no edges can stand at a node that the edges neither leave nor reach."""
    if edge.hops is None or edge.hops[0] > 0:
        return False
    joined = [scope.layout.edges[table] for table in bound.tables]
    return not (ends[0].tables & ends[1].tables <= {one.source for one in joined} & {one.target for one in joined})


def _loop_predicate(filler: Filler, bound: Bound, scope: Scope) -> str:
    """What each edge of a quantified pattern must fulfil; there, the variable is the single edge."""
    single = Bound("edge", _LOOP_EDGE, bound.tables)
    inside = replace(scope.having(filler.variable, single) if filler.variable else scope, exists=None)
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


def _check_connected(paths: Sequence[PathPattern], scope: Scope | None) -> None:
    """Patterns share a variable with each other, and with what was matched before ("MATCH statement" of the language guide)."""
    reached = {name for name, bound in scope.names.items() if bound.kind == "node"} if scope else set[str]()
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
