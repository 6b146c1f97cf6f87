"""Tabular KQL as SQL of the embedded engine: a source and the operators behind its pipes. Pure.

Source: "Tabular operators" of the Kusto documentation. What is not here is answered 501 by name.
"""

# ruff: noqa: S608 - the SQL is made of identifiers and literals that types.py quotes, and of our own words

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from treadle.sandbox.kusto import functions
from treadle.sandbox.kusto.expressions import Scope, condition, expression
from treadle.sandbox.kusto.refusals import not_modelled, semantic_error
from treadle.sandbox.kusto.tokens import Reader, tokens_of
from treadle.sandbox.kusto.typed import Typed
from treadle.sandbox.kusto.types import Column, quoted


@dataclass(frozen=True, slots=True)
class Relation:
    """Rows as a SELECT, with the columns in their order."""

    sql: str
    columns: tuple[Column, ...]


Resolve = Callable[[str], Relation]
"""The rows of a table by its name; raises Refused for an unknown one."""
Named = tuple[str, Typed]
_SOURCES: Final = frozenset({"union", "range", "datatable", "externaldata", "find", "search", "evaluate", "materialize", "invoke", "graph"})


def compile_query(text: str, resolve: Resolve, now: datetime) -> Relation:
    """Read one query. Raises Refused with the service's words for wrong KQL, and a 501 for what is not modelled."""
    reader = Reader(tokens_of(text))
    if reader.ended:
        raise reader.unexpected("expected a query")
    relation = _source(reader, resolve, now)
    relation = _piped(reader, relation, now)
    if reader.accept(";") and not reader.ended:
        raise not_modelled("More than one KQL statement in one request")
    reader.end()
    return relation


def compile_pipe(text: str, rows: Relation, now: datetime) -> Relation:
    """The operators behind the first pipe of a management command, over its result."""
    reader = Reader(tokens_of(text))
    relation = _piped(reader, rows, now)
    reader.end()
    return relation


def _piped(reader: Reader, relation: Relation, now: datetime) -> Relation:
    while reader.accept("|"):
        relation = _operator(reader, relation, now)
    return relation


def _source(reader: Reader, resolve: Resolve, now: datetime) -> Relation:
    for word in ("let", "declare", "set", "alias", "restrict", "pattern"):
        mark = reader.mark()
        if reader.accept(word) and reader.here.kind == "name":
            raise not_modelled(f"The KQL statement '{word}'")
        reader.back(mark)
    if reader.accept("print"):
        named = _unique((name, value) for name, value in _list(reader, Scope((), now, "print"), "print_{0}", start=0))
        return _selected("(SELECT 1)", named)
    name = reader.name()
    if name in _SOURCES and (reader.here.kind == "name" or reader.here.text == "("):
        raise not_modelled(f"The KQL source '{name}'")
    if reader.here.text == "(":
        raise not_modelled(f"The KQL source '{name}(…)'")
    return resolve(name)


def _operator(reader: Reader, rows: Relation, now: datetime) -> Relation:
    word = reader.name()
    while reader.here.text == "-" and word in {"project", "mv", "make", "sample", "partition"}:
        reader.next()
        word += f"-{reader.name()}"
    read = _OPERATORS.get(word)
    if read is None:
        raise not_modelled(f"The KQL operator '{word}'")
    return read(reader, rows, Scope(rows.columns, now, word))


def _take(reader: Reader, rows: Relation, _scope: Scope) -> Relation:
    return replace(rows, sql=f"SELECT * FROM ({rows.sql}) LIMIT {reader.whole_number()}")


def _where(reader: Reader, rows: Relation, scope: Scope) -> Relation:
    return replace(rows, sql=f"SELECT * FROM ({rows.sql}) WHERE {condition(reader, scope)}")


def _project(reader: Reader, rows: Relation, scope: Scope) -> Relation:
    return _selected(f"({rows.sql})", _unique(_list(reader, scope, "Column{0}")))


def _extend(reader: Reader, rows: Relation, scope: Scope) -> Relation:
    new = dict(_unique(_list(reader, scope, "Column{0}")))
    kept: list[Named] = [(column.name, new.pop(column.name, scope.column(column.name))) for column in rows.columns]
    return _selected(f"({rows.sql})", [*kept, *new.items()])


def _project_away(reader: Reader, rows: Relation, scope: Scope) -> Relation:
    gone = {scope.column(name).column for name in _names(reader)}
    return _selected(f"({rows.sql})", [(column.name, scope.column(column.name)) for column in rows.columns if column.name not in gone])


def _project_rename(reader: Reader, rows: Relation, scope: Scope) -> Relation:
    renamed: dict[str, str] = {}
    while True:
        new = reader.name()
        reader.expect("=")
        renamed[reader.name()] = new
        if not reader.accept(","):
            break
    for old in renamed:
        scope.column(old)
    return _selected(
        f"({rows.sql})", _unique((renamed.get(column.name, column.name), scope.column(column.name)) for column in rows.columns)
    )


def _count(_reader: Reader, rows: Relation, _scope: Scope) -> Relation:
    return Relation(f'SELECT count(*) AS "Count" FROM ({rows.sql})', (Column("Count", "long"),))


def _distinct(reader: Reader, rows: Relation, scope: Scope) -> Relation:
    if reader.accept("*"):
        return replace(rows, sql=f"SELECT DISTINCT * FROM ({rows.sql})")
    chosen = _selected(f"({rows.sql})", _unique(_list(reader, scope, "Column{0}")))
    return replace(chosen, sql=f"SELECT DISTINCT * FROM ({chosen.sql})")


def _sort(reader: Reader, rows: Relation, scope: Scope) -> Relation:
    reader.expect("by")
    return replace(rows, sql=f"SELECT * FROM ({rows.sql}) ORDER BY {_orders(reader, scope)}")


def _top(reader: Reader, rows: Relation, scope: Scope) -> Relation:
    number = reader.whole_number()
    reader.expect("by")
    return replace(rows, sql=f"SELECT * FROM ({rows.sql}) ORDER BY {_orders(reader, scope)} LIMIT {number}")


def _summarize(reader: Reader, rows: Relation, scope: Scope) -> Relation:
    wanted: list[Named] = [] if reader.accept("by") else _aggregates(reader, scope)
    grouped = bool(not wanted) or reader.accept("by")
    groups = _list(reader, scope, "Column{0}") if grouped else []
    named = _unique([*groups, *wanted])
    keys = ", ".join(str(number + 1) for number in range(len(groups)))
    chosen = _selected(f"({rows.sql})", named)
    return replace(chosen, sql=f"{chosen.sql} GROUP BY {keys}" if keys else chosen.sql)


def _aggregates(reader: Reader, scope: Scope) -> list[Named]:
    found: list[Named] = []
    while not found or reader.accept(","):
        given, function = None, reader.name()
        if reader.accept("="):
            given, function = function, reader.name()
        if not functions.is_aggregate(function) or reader.here.text != "(":
            raise not_modelled(f"The KQL aggregation '{function}'")
        reader.expect("(")
        value = functions.aggregate(function, _arguments(reader, scope))
        if reader.here.kind == "operator" and reader.here.text in {"+", "-", "*", "/"}:
            raise not_modelled("Computing with aggregations inside of summarize")
        found.append((given or f"{function}_{value.column or ''}", Typed(value.sql, value.type)))
    return found


def _arguments(reader: Reader, scope: Scope) -> list[Typed]:
    found: list[Typed] = []
    while not reader.accept(")"):
        if found:
            reader.expect(",")
        found.append(expression(reader, scope))
    return found


def _orders(reader: Reader, scope: Scope) -> str:
    """Falling unless it says otherwise; nulls come last when falling and first when rising, as in Kusto."""
    orders: list[str] = []
    while not orders or reader.accept(","):
        value = expression(reader, scope)
        rising = reader.accept("asc")
        if not rising:
            reader.accept("desc")
        first = rising
        if reader.accept("nulls"):
            first = reader.accept("first")
            if not first:
                reader.expect("last")
        orders.append(f"{value.sql} {'ASC' if rising else 'DESC'} NULLS {'FIRST' if first else 'LAST'}")
    return ", ".join(orders)


def _list(reader: Reader, scope: Scope, unnamed: str, *, start: int = 1) -> list[Named]:
    """Expressions with their names: given, that of the column which they are about, or one by number."""
    found: list[Named] = []
    while not found or reader.accept(","):
        given = _given_name(reader)
        value = expression(reader, scope)
        found.append(
            (given or value.column or unnamed.format(len([1 for name, _ in found if name.startswith(unnamed[:-3])]) + start), value)
        )
    return found


def _given_name(reader: Reader) -> str | None:
    mark = reader.mark()
    if reader.here.kind == "name":
        name = reader.name()
        if reader.accept("="):
            return name
    reader.back(mark)
    return None


def _names(reader: Reader) -> list[str]:
    names = [reader.name()]
    while reader.accept(","):
        names.append(reader.name())
    return names


def _unique(named: Iterable[Named]) -> list[Named]:
    """Each name once: a second one gets a number, as Kusto gives it. Names that differ by case alone are too much for the engine."""
    taken: dict[str, str] = {}
    found: list[Named] = []
    for name, value in named:
        fresh, number = name, 0
        while fresh in taken.values():
            number += 1
            fresh = f"{name}{number}"
        if fresh.lower() in taken:
            raise not_modelled(f"Columns whose names differ by case alone ('{fresh}')")
        taken[fresh.lower()] = fresh
        found.append((fresh, value))
    return found


def _selected(source: str, named: Sequence[Named]) -> Relation:
    if not named:
        raise semantic_error("SEM0022: no columns are left")
    columns = ", ".join(f"{value.sql} AS {quoted(name)}" for name, value in named)
    return Relation(f"SELECT {columns} FROM {source}", tuple(Column(name, value.type) for name, value in named))


Operator = Callable[[Reader, Relation, Scope], Relation]
_OPERATORS: Final[dict[str, Operator]] = {
    "take": _take, "limit": _take, "where": _where, "filter": _where, "project": _project, "extend": _extend, "project-away": _project_away,
    "project-rename": _project_rename, "count": _count, "distinct": _distinct, "sort": _sort, "order": _sort, "top": _top, "summarize": _summarize,
}  # fmt: skip
