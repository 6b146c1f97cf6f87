"""A GQL query → one read-only statement for the embedded engine, and what its columns are.

The engine's language is openCypher's. What the two say alike goes over word by word; what differs is decided here: names, nulls first in
ORDER BY, GROUP BY, lists from 0, text with a null, quantifiers. No text of the query is in the statement but whole numbers.
"""

from dataclasses import dataclass
from typing import Any, Final

from treadle.sandbox.fabric.graph.gql.faults import SYNTAX, GqlFault
from treadle.sandbox.fabric.graph.gql.parser import parse_query
from treadle.sandbox.fabric.graph.gql.patterns import exists_predicate, match_clause
from treadle.sandbox.fabric.graph.gql.scope import Bound, Scope
from treadle.sandbox.fabric.graph.gql.syntax import (
    Call,
    Expression,
    Filter,
    Item,
    Let,
    Match,
    Order,
    Return,
    SortKey,
    Variable,
)
from treadle.sandbox.fabric.graph.gql.terms import has_aggregate, render
from treadle.sandbox.fabric.graph.layout import Layout

_ALL_ROWS: Final = 2**62  # the engine wants a limit behind every ORDER BY that is not the last


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the answer. form: "value", "path", or "json" for a value that is shown as JSON text."""

    name: str
    form: str


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """What the engine is asked, with values by parameter."""

    statement: str
    parameters: dict[str, Any]
    columns: tuple[Column, ...]
    ordered: bool
    distinct: bool


def translate(text: str, layout: Layout, now: str) -> EnginePlan:
    """Plan a query. now: the time that zoned_datetime() tells, in ISO 8601. Raises GqlFault."""
    try:
        return _translated(text, layout, now)
    except RecursionError as error:  # levels of several kinds that are each within their bounds
        raise GqlFault(SYNTAX, "The query is nested too deeply: use fewer levels of brackets and functions.") from error


def _translated(text: str, layout: Layout, now: str) -> EnginePlan:
    query = parse_query(text)
    scope = Scope(layout, now, exists=exists_predicate)
    clauses: list[str] = []
    for statement in query.statements:
        clause, scope = _clause(statement, scope)
        clauses.append(_settled(clause, scope))
    result, columns = _result(query.result, scope)
    statement = " ".join([*filter(None, clauses), _settled(result, scope)])
    return EnginePlan(statement, scope.made.parameters, columns, bool(query.result.order.keys), query.result.distinct)


def _settled(clause: str, scope: Scope) -> str:
    """The engine reads properties of a group right only from rows that it has put aside once when the group comes from OPTIONAL MATCH."""
    groups = list(dict.fromkeys(scope.made.unsettled))
    scope.made.unsettled.clear()
    return f"WITH * ORDER BY length({groups[0]}) LIMIT {_ALL_ROWS} {clause}" if groups else clause


def _clause(statement: Match | Let | Filter | Order, scope: Scope) -> tuple[str, Scope]:
    match statement:
        case Match():
            return match_clause(statement, scope)
        case Let():
            return _let(statement, scope)
        case Filter():
            return f"WITH * WHERE {render(statement.where, scope)}" if scope.names else "", scope
        case Order():
            limit = statement if statement.limit is not None or not statement.keys else Order(statement.keys, statement.offset, _ALL_ROWS)
            keys = [_sort_key(key, render(key.expression, scope)) for key in statement.keys]
            return f"WITH *{_order(keys, limit)}" if scope.names else "", scope


def _let(let: Let, scope: Scope) -> tuple[str, Scope]:
    """All assignments see the scope before the statement, none sees another. A second name for a node, an edge or a path is only that."""
    made: list[str] = []
    after = scope
    for name, expression, place in let.assignments:
        if name in after.names:
            raise GqlFault(SYNTAX, f"The variable '{name}' is bound already.", place)
        source = scope.names.get(expression.name) if isinstance(expression, Variable) else None
        if source is not None and source.kind != "value":
            after = after.having(name, source)
            continue
        engine = scope.fresh()
        made.append(f"{render(expression, scope)} AS {engine}")
        after = after.having(name, Bound("value", engine))
    return f"WITH {'*, ' if scope.names else ''}{', '.join(made)}" if made else "", after


def _result(result: Return, scope: Scope) -> tuple[str, tuple[Column, ...]]:
    items = result.items or tuple(Item(Variable(name, result.place), None, name) for name in scope.names)
    if not items:
        raise GqlFault(SYNTAX, "RETURN * has nothing to return.", result.place)
    names = [item.name for item in items]
    for name in names:
        if names.count(name) > 1:
            raise GqlFault(SYNTAX, f"Two columns are called '{name}': give one of them an alias.", result.place)
    columns = tuple(Column(item.name, _form(item.expression, scope)) for item in items)
    made = [f"{render(_shown(item.expression), scope, aggregates=True)} AS c{place}" for place, item in enumerate(items)]
    keys = _group_keys(result, items, scope)
    sorting = _order([_sort_key(key, _sorted_by(key, items, scope)) for key in result.order.keys], result.order)
    distinct = "DISTINCT " if result.distinct else ""
    if not keys:
        folded = (
            "DISTINCT " if result.group_by is not None and not any(has_aggregate(item.expression, scope) for item in items) else distinct
        )
        return f"RETURN {folded}{', '.join(made)}{sorting}", columns
    grouped = ", ".join([*made, *(f"{key} AS g{place}" for place, key in enumerate(keys))])
    return f"WITH DISTINCT {grouped} RETURN {distinct}{', '.join(f'c{place}' for place in range(len(items)))}{sorting}", columns


def _group_keys(result: Return, items: tuple[Item, ...], scope: Scope) -> list[str]:
    """What is grouped by beyond the columns that fold nothing: the engine groups by those without being asked."""
    keys: list[str] = []
    for name, place in result.group_by or ():
        column = next((item for item in items if item.name == name), None)
        if column is not None and has_aggregate(column.expression, scope):
            raise GqlFault(SYNTAX, f"GROUP BY names '{name}', which is an aggregate.", place)
        if column is None:
            keys.append(render(Variable(name, place), scope))
    return keys


def _sorted_by(key: SortKey, items: tuple[Item, ...], scope: Scope) -> str:
    """A sort key is a column by its name, a column by its expression, or an expression over names and columns."""
    for place, item in enumerate(items):
        if key.expression == item.expression or (isinstance(key.expression, Variable) and key.expression.name == item.name):
            return f"c{place}"
    for place, item in enumerate(items):
        if item.alias is not None:
            scope = scope.having(item.alias, Bound("value", f"c{place}"))
    return render(key.expression, scope, aggregates=True)


def _sort_key(key: SortKey, engine: str) -> str:
    """Null is the smallest value in GQL and the largest to the engine."""
    way = " DESC" if key.falling else ""
    return f"{engine} IS NOT NULL{way}, {engine}{way}"


def _order(keys: list[str], order: Order) -> str:
    by = f" ORDER BY {', '.join(keys)}" if keys else ""
    skip = f" SKIP {order.offset}" if order.offset is not None else ""
    return by + skip + (f" LIMIT {order.limit}" if order.limit is not None else "")


def _form(expression: Expression, scope: Scope) -> str:
    if _is_json(expression):
        return "json"
    bound = scope.names.get(expression.name) if isinstance(expression, Variable) else None
    return "path" if bound is not None and bound.kind == "path" else "value"


def _shown(expression: Expression) -> Expression:
    """`to_json_string(x)` is x here; the text is made where values are written."""
    return expression.arguments[0] if isinstance(expression, Call) and _is_json(expression) else expression


def _is_json(expression: Expression) -> bool:
    return isinstance(expression, Call) and expression.name == "to_json_string" and len(expression.arguments) == 1
