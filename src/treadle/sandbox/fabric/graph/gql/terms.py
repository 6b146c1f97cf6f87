"""Translates expressions. Only what is named here reaches the engine: operators and functions by this table, values as parameters.

Source: "GQL expressions, predicates, and functions" of the Fabric documentation.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from treadle.sandbox.fabric.graph.gql.faults import DATA, SYNTAX, GqlFault, Place
from treadle.sandbox.fabric.graph.gql.scope import Bound, Scope
from treadle.sandbox.fabric.graph.gql.syntax import (
    Binary,
    Call,
    Case,
    Exists,
    Expression,
    Index,
    ListOf,
    Literal,
    PropertyOf,
    Unary,
    Variable,
    parts,
)
from treadle.sandbox.fabric.graph.layout import NodeLayout

AGGREGATES: Final[Mapping[str, str]] = {"count": "count", "sum": "sum", "avg": "avg", "min": "min", "max": "max", "collect_list": "collect"}
_HORIZONTAL: Final[Mapping[str, str]] = {
    "sum": "(CASE WHEN list_min({0}) IS NULL THEN NULL ELSE list_sum({0}) END)",
    "avg": "(CASE WHEN list_min({0}) IS NULL THEN NULL ELSE list_sum({0}) / cast(size({0}) AS DOUBLE) END)",
    "min": "list_min({0})",
    "max": "list_max({0})",
    "collect_list": "{0}",
}
_FUNCTIONS: Final[Mapping[str, str]] = {
    "upper": "upper({0})",
    "lower": "lower({0})",
    "trim": "trim({0})",
    "char_length": "size({0})",
    "character_length": "size({0})",
    "string_join": "list_to_string({1}, {0})",
    "size": "size({0})",
}
_LONGEST_TEXT: Final = 64 * 1024  # operands stand in the statement twice, so nesting would let it grow without bounds
_PATH_FUNCTIONS: Final[Mapping[str, str]] = {"nodes": "nodes({0})", "edges": "rels({0})", "path_length": "length({0})"}


def render(expression: Expression, scope: Scope, *, aggregates: bool = False) -> str:  # noqa: C901, PLR0911 - one for each kind of expression
    """The expression for the engine. Raises GqlFault for what is not known. aggregates: whether count(…) and its like may stand here."""
    inner: Callable[[Expression], str] = lambda one: render(one, scope, aggregates=aggregates)  # noqa: E731 - the recursion with the same settings
    match expression:
        case Literal():
            return _literal(expression, scope)
        case Variable():
            return _variable(scope.find(expression.name, expression.place))
        case PropertyOf():
            return _property(expression, scope)
        case Index():
            return f"{inner(expression.target)}[({inner(expression.index)}) + 1]"
        case ListOf():
            return f"[{', '.join(map(inner, expression.items))}]"
        case Unary():
            return _unary(expression.operator, inner(expression.operand))
        case Binary():
            return _binary(expression, scope, inner)
        case Call():
            return _call(expression, scope, inner, aggregates=aggregates)
        case Case():
            return _case(expression, scope, inner)
        case Exists():
            return _exists(expression, scope)


def has_aggregate(expression: Expression, scope: Scope) -> bool:
    """Whether the expression folds rows together. An aggregate over the edges of one path does not."""
    if isinstance(expression, Call) and expression.name in AGGREGATES and _group_of(expression, scope) is None:
        return True
    return any(has_aggregate(one, scope) for one in parts(expression))


def _literal(literal: Literal, scope: Scope) -> str:
    match literal.value:
        case None:
            return "NULL"
        case bool():
            return "true" if literal.value else "false"
        case int():
            return str(literal.value)
        case _:
            return scope.parameter(literal.value)


def _variable(bound: Bound) -> str:
    if bound.kind == "group":
        return f"rels({bound.engine})"
    return bound.if_there(bound.engine) if bound.kind == "path" else bound.engine


def _property(expression: PropertyOf, scope: Scope) -> str:
    bound = _element(expression.target, scope, expression.place)
    return f"{bound.engine}.{scope.column(bound, expression.name, expression.place)}"


def _element(target: Expression, scope: Scope, place: Place) -> Bound:
    bound = scope.find(target.name, target.place) if isinstance(target, Variable) else None
    if bound is None or bound.kind not in ("node", "edge"):
        raise GqlFault(SYNTAX, "Properties are read from variables that are bound to one node or edge.", place)
    return bound


def _unary(operator: str, operand: str) -> str:
    return f"({operand} {operator})" if operator.startswith("IS ") else f"({operator} {operand})"


def _binary(expression: Binary, scope: Scope, inner: Callable[[Expression], str]) -> str:
    if expression.operator == "||":
        return _joined(expression, inner)
    bounds = [scope.names.get(side.name) if isinstance(side, Variable) else None for side in (expression.left, expression.right)]
    if expression.operator in ("=", "<>") and all(bound is not None and bound.kind in ("node", "edge") for bound in bounds):
        left, right = (f"id({bound.engine})" for bound in bounds if bound is not None)
        if expression.operator == "=" and scope.inside_exists:  # the engine fails on ids that are equal to ids from outside
            return f"(NOT ({left} <> {right}))"
    else:
        left, right = inner(expression.left), inner(expression.right)
    return f"({left} {expression.operator} {right})"


def _joined(expression: Binary, inner: Callable[[Expression], str]) -> str:
    """Text after text; null if one of them is, which the engine would take for no text."""
    texts = [inner(part) for part in _operands(expression)]
    nulls = " OR ".join(f"{text} IS NULL" for text in dict.fromkeys(texts) if not text.startswith("$"))
    joined = f"concat({', '.join(texts)})"
    made = f"(CASE WHEN {nulls} THEN NULL ELSE {joined} END)" if nulls else joined
    if len(made) > _LONGEST_TEXT:
        raise GqlFault(SYNTAX, "The expression is too large.", expression.place)
    return made


def _operands(expression: Expression) -> list[Expression]:
    if isinstance(expression, Binary) and expression.operator == "||":
        return [*_operands(expression.left), *_operands(expression.right)]
    return [expression]


def _call(call: Call, scope: Scope, inner: Callable[[Expression], str], *, aggregates: bool) -> str:
    if call.name in AGGREGATES:
        return _aggregate(call, scope, inner, aggregates=aggregates)
    if call.star or call.distinct:
        raise GqlFault(SYNTAX, f"{call.name} takes neither * nor DISTINCT.", call.place)
    if call.name == "coalesce" and call.arguments:
        _check_alike(call.arguments, scope, call.place)
        return f"coalesce({', '.join(map(inner, call.arguments))})"
    if call.name == "zoned_datetime":
        return _zoned_datetime(call, scope)
    if call.name == "labels":
        return _labels(_element(_only(call), scope, call.place), scope)
    if call.name in _PATH_FUNCTIONS:
        path = _path(_only(call), scope, call.place)
        return path.if_there(_PATH_FUNCTIONS[call.name].format(path.engine))
    template = _FUNCTIONS.get(call.name)
    if template is None:
        raise GqlFault(SYNTAX, f"The function '{call.name}' is not supported.", call.place)
    if len(call.arguments) != (2 if "{1}" in template else 1):
        raise GqlFault(SYNTAX, f"{call.name} got {len(call.arguments)} arguments.", call.place)
    return template.format(*map(inner, call.arguments))


def _case(case: Case, scope: Scope, inner: Callable[[Expression], str]) -> str:
    """With a subject, too, as conditions: to the engine `CASE subject WHEN NULL` fits whatever there is."""
    of_elements = _check_alike(case.results, scope, case.place)
    made = "".join(f" WHEN {_wanted(case, wanted, scope, inner)} THEN {inner(result)}" for wanted, result in case.branches)
    made += "" if of_elements else _type_of_all(case, inner)
    otherwise = "" if case.otherwise is None else f" ELSE {inner(case.otherwise)}"
    if len(made) > _LONGEST_TEXT:
        raise GqlFault(SYNTAX, "The expression is too large.", case.place)
    return f"(CASE{made}{otherwise} END)"


def _wanted(case: Case, wanted: Sequence[Expression], scope: Scope, inner: Callable[[Expression], str]) -> str:
    if case.subject is None:
        return inner(wanted[0])
    return f"({' OR '.join(_binary(Binary('=', case.subject, one, case.place), scope, inner) for one in wanted)})"


def _type_of_all(case: Case, inner: Callable[[Expression], str]) -> str:
    """A branch that is never taken: the engine turns all results into the type of the last one behind THEN, and 2.5 into 2 where that is whole."""
    results = [one for one in case.results if one != Literal(None, case.place)]
    types = {type(one.value) if isinstance(one, Literal) else None for one in results}
    if len(results) < 2 or (len(types) == 1 and None not in types):
        return ""
    return f" WHEN false THEN coalesce({', '.join(map(inner, results))})"


def _check_alike(results: Sequence[Expression], scope: Scope, place: Place) -> bool:
    """Whether it is about nodes or edges. What one expression can come to is of one type: the engine takes no node for an edge, nor one of other types."""
    bounds = [scope.names.get(one.name) if isinstance(one, Variable) else None for one in results if one != Literal(None, place)]
    kinds = {(bound.kind, bound.tables) if bound is not None and bound.kind != "value" else ("value", frozenset[str]()) for bound in bounds}
    if len(kinds) > 1 or any(kind in ("group", "path") for kind, _ in kinds):
        raise GqlFault(SYNTAX, "It chooses among values, among nodes of the same types, or among edges of the same types.", place)
    return any(kind != "value" for kind, _ in kinds)


def _exists(expression: Exists, scope: Scope) -> str:
    if scope.exists is None:
        raise GqlFault(SYNTAX, "EXISTS is not supported in the predicate of a quantified edge.", expression.place)
    return scope.exists(expression.match, scope)


def _aggregate(call: Call, scope: Scope, inner: Callable[[Expression], str], *, aggregates: bool) -> str:
    group = _group_of(call, scope)
    if group is not None:
        return _horizontal(call, group, scope)
    if not aggregates:
        raise GqlFault(SYNTAX, f"{call.name} folds rows together, which is for RETURN.", call.place)
    if call.star:
        return "count(*)"
    return f"{AGGREGATES[call.name]}({'DISTINCT ' if call.distinct else ''}{inner(_only(call))})"


def _horizontal(call: Call, group: Bound, scope: Scope) -> str:
    """An aggregate over the edges of one path: count(e), collect_list(e), or sum, avg, min, max of a property."""
    argument = _only(call)
    if isinstance(argument, Variable):
        if call.name == "count":
            return f"coalesce(size(rels({group.engine})), 0)"
        if call.name == "collect_list":
            return f"rels({group.engine})"
    elif isinstance(argument, PropertyOf) and call.name in _HORIZONTAL:
        if group.optional:
            scope.made.unsettled.append(group.engine)
        values = f"properties(rels({group.engine}), '{scope.column(group, argument.name, argument.place)}')"
        return group.if_there(_HORIZONTAL[call.name].format(values))
    raise GqlFault(SYNTAX, f"{call.name} over the edges of a path is not supported here.", call.place)


def _group_of(call: Call, scope: Scope) -> Bound | None:
    """The group that an aggregate works along, or None for one that folds rows."""
    argument = call.arguments[0] if len(call.arguments) == 1 else None
    variable = argument.target if isinstance(argument, PropertyOf) else argument
    bound = scope.names.get(variable.name) if isinstance(variable, Variable) else None
    return bound if bound is not None and bound.kind == "group" else None


def _zoned_datetime(call: Call, scope: Scope) -> str:
    if not call.arguments:
        return f"cast({scope.parameter(scope.now)} AS TIMESTAMP_TZ)"
    argument = _only(call)
    if not isinstance(argument, Literal) or not isinstance(argument.value, str):
        raise GqlFault(SYNTAX, "zoned_datetime takes a text.", call.place)
    try:
        moment = datetime.fromisoformat(argument.value)
    except ValueError as error:
        raise GqlFault(DATA, f"invalid date, time, or datetime format: '{argument.value}'", call.place) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return f"cast({scope.parameter(moment.astimezone(UTC).isoformat())} AS TIMESTAMP_TZ)"


def _labels(bound: Bound, scope: Scope) -> str:
    cases = ""
    for table in sorted(bound.tables):
        element = scope.element(table)
        labels = element.labels if isinstance(element, NodeLayout) else (element.label,)
        cases += f" WHEN '{table}' THEN [{', '.join(map(scope.parameter, labels))}]"
    if not cases:
        return "NULL"
    return bound.if_there(f"(CASE label({bound.engine}){cases} END)")  # the engine has a label also for a node that is not there


def _path(argument: Expression, scope: Scope, place: Place) -> Bound:
    bound = scope.names.get(argument.name) if isinstance(argument, Variable) else None
    if bound is None or bound.kind != "path":
        raise GqlFault(SYNTAX, "This function takes a path variable, as in MATCH p = (a)-[e]->(b).", place)
    return bound


def _only(call: Call) -> Expression:
    if len(call.arguments) != 1:
        raise GqlFault(SYNTAX, f"{call.name} takes one argument.", call.place)
    return call.arguments[0]
