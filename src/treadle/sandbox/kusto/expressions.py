"""Scalar expressions of KQL as SQL of the embedded engine, each with its Kusto type. Pure.

Source: "Scalar operators", "String operators", "between operator" of the Kusto documentation.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from treadle.sandbox.kusto import functions
from treadle.sandbox.kusto.refusals import not_modelled, semantic_error
from treadle.sandbox.kusto.tokens import Reader, Token
from treadle.sandbox.kusto.typed import Typed
from treadle.sandbox.kusto.types import NUMERIC, TYPES, Column, quoted, scalar_type, text_literal

_COMPARISONS: Final = {"==": "=", "!=": "<>", "<>": "<>", "<": "<", ">": ">", "<=": "<=", ">=": ">="}
_TEXT_TESTS: Final = {
    "contains": "contains(lower({0}), lower({1}))",
    "contains_cs": "contains({0}, {1})",
    "startswith": "starts_with(lower({0}), lower({1}))",
    "startswith_cs": "starts_with({0}, {1})",
    "endswith": "ends_with(lower({0}), lower({1}))",
    "endswith_cs": "ends_with({0}, {1})",
    "has": "regexp_matches({0}, '(?i)(^|[^\\pL\\pN])' || regexp_escape({1}) || '($|[^\\pL\\pN])')",
    "has_cs": "regexp_matches({0}, '(^|[^\\pL\\pN])' || regexp_escape({1}) || '($|[^\\pL\\pN])')",
}
_SUMS: Final = {"+", "-"}
_PRODUCTS: Final = {"*", "/", "%"}
_DATE_TEXT: Final = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[ T](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,7}))?)?)?\s*(Z|[+-]\d{2}:?\d{2})?\Z"
)
_SPAN_TEXT: Final = re.compile(r"(-?)(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,7}))?)?\Z")


@dataclass(frozen=True, slots=True)
class Scope:
    """What names stand for at this place of a query: the columns of the rows, and the time that `now()` says. `place` is how messages name it."""

    columns: Sequence[Column]
    now: datetime
    place: str = "query"
    aggregates: bool = False

    def column(self, name: str) -> Typed:
        """The column of this name; raises Refused for an unknown one. Names count their case."""
        for column in self.columns:
            if column.name == name:
                return Typed(quoted(name), column.type, name)
        raise semantic_error(f"SEM0100: '{self.place}' operator: Failed to resolve column or scalar expression named '{name}'")


def expression(reader: Reader, scope: Scope) -> Typed:
    """Read one scalar expression."""
    left = _both(reader, scope)
    while reader.accept("or"):
        left = _logical("OR", left, _both(reader, scope), scope)
    return left


def condition(reader: Reader, scope: Scope) -> str:
    """An expression that must be of type bool, as SQL."""
    read = expression(reader, scope)
    if read.type != "bool":
        raise semantic_error(f"SEM0021: '{scope.place}' operator: the condition is of type {read.type}, not bool")
    return read.sql


def _both(reader: Reader, scope: Scope) -> Typed:
    left = _comparison(reader, scope)
    while reader.accept("and"):
        left = _logical("AND", left, _comparison(reader, scope), scope)
    return left


def _logical(word: str, left: Typed, right: Typed, scope: Scope) -> Typed:
    if left.type != "bool" or right.type != "bool":
        raise semantic_error(f"SEM0021: '{scope.place}' operator: '{word.lower()}' joins values of type bool")
    return Typed(f"({left.sql} {word} {right.sql})", "bool")


def _comparison(reader: Reader, scope: Scope) -> Typed:
    left = _sum(reader, scope)
    token = reader.here
    if token.kind == "operator" and token.text in _COMPARISONS:
        reader.next()
        return _compare(token.text, left, _sum(reader, scope))
    if reader.accept("=~") or reader.accept("!~"):
        right = _sum(reader, scope)
        return _negated(token.text == "!~", f"lower({_text(left)}) = lower({_text(right)})")
    mark = reader.mark()
    negated = reader.accept("!")
    if (read := _worded(reader, scope, left)) is not None:
        return _negated(negated, read)
    if negated:
        reader.back(mark)
    return left


def _worded(reader: Reader, scope: Scope, left: Typed) -> str | None:
    """The comparisons whose operator is a word; None where none comes."""
    if reader.accept("between"):
        return _between(reader, scope, left)
    if reader.accept("in"):
        return _in(reader, scope, left, "lower({0})" if reader.accept("~") else "{0}")
    if reader.accept("matches", "regex"):
        return f"regexp_matches({_text(left)}, {_text(_sum(reader, scope))})"
    word = reader.here.text.lower()
    if reader.here.kind != "name" or word not in _TEXT_TESTS:
        if reader.here.kind == "name" and word in {"has_any", "has_all", "hasprefix", "hassuffix", "has_any_index"}:
            raise not_modelled(f"The KQL operator '{word}'")
        return None
    reader.next()
    return "(" + _TEXT_TESTS[word].format(_text(left), _text(_sum(reader, scope))) + ")"


def _between(reader: Reader, scope: Scope, left: Typed) -> str:
    reader.expect("(")
    low = _sum(reader, scope)
    reader.expect("..")
    high = _sum(reader, scope)
    reader.expect(")")
    if low.type == "datetime" and high.type == "timespan":
        high = Typed(f"({low.sql} + {high.sql})", "datetime")
    _check_comparable(left, low)
    _check_comparable(left, high)
    return f"({left.sql} BETWEEN {low.sql} AND {high.sql})"


def _in(reader: Reader, scope: Scope, left: Typed, form: str) -> str:
    reader.expect("(")
    values = [expression(reader, scope)]
    while reader.accept(","):
        values.append(expression(reader, scope))
    reader.expect(")")
    for value in values:
        _check_comparable(left, value)
    if form != "{0}":
        _text(left)
    return f"({form.format(left.sql)} IN ({', '.join(form.format(value.sql) for value in values)}))"


def _compare(sign: str, left: Typed, right: Typed) -> Typed:
    _check_comparable(left, right)
    return Typed(f"({left.sql} {_COMPARISONS[sign]} {right.sql})", "bool")


def _check_comparable(left: Typed, right: Typed) -> None:
    if left.type == "dynamic" or right.type == "dynamic":
        raise not_modelled("Comparing values of type dynamic")
    if left.type != right.type and not {left.type, right.type} <= NUMERIC:
        message = f"SEM0064: Cannot compare values of types {left.type} and {right.type}. Try adding explicit casts"
        raise semantic_error(message)


def _negated(negated: bool, sql: str) -> Typed:  # noqa: FBT001 - the two forms of each comparison
    return Typed(f"(NOT {sql})" if negated else sql, "bool")


def _text(value: Typed) -> str:
    if value.type != "string":
        raise semantic_error(f"SEM0025: One or more operands of a string operator are of type {value.type}, not string")
    return value.sql


def _sum(reader: Reader, scope: Scope) -> Typed:
    left = _product(reader, scope)
    while reader.here.kind == "operator" and reader.here.text in _SUMS:
        sign = reader.next().text
        left = _add(sign, left, _product(reader, scope))
    return left


def _add(sign: str, left: Typed, right: Typed) -> Typed:
    kinds = (left.type, right.type)
    sql = f"({left.sql} {sign} {right.sql})"
    if set(kinds) <= NUMERIC:
        return Typed(sql, _wider(left.type, right.type))
    if kinds in {("datetime", "timespan"), ("timespan", "timespan")} or (sign == "+" and kinds == ("timespan", "datetime")):
        return Typed(sql, "datetime" if "datetime" in kinds else "timespan")
    if sign == "-" and kinds == ("datetime", "datetime"):
        return Typed(f"to_microseconds(epoch_us({left.sql}) - epoch_us({right.sql}))", "timespan")
    raise semantic_error(f"SEM0062: The operator '{sign}' does not take {left.type} and {right.type}")


def _product(reader: Reader, scope: Scope) -> Typed:
    left = _signed(reader, scope)
    while reader.here.kind == "operator" and reader.here.text in _PRODUCTS:
        sign = reader.next().text
        left = _multiply(sign, left, _signed(reader, scope))
    return left


def _multiply(sign: str, left: Typed, right: Typed) -> Typed:
    kinds = (left.type, right.type)
    if set(kinds) <= NUMERIC:
        kind = _wider(left.type, right.type)
        return Typed(f"({left.sql} {'//' if sign == '/' and kind in {'int', 'long'} else sign} {right.sql})", kind)
    if sign == "/" and kinds == ("timespan", "timespan"):
        return Typed(f"(epoch_us({left.sql}) / epoch_us({right.sql}))", "real")
    if sign == "*" and "timespan" in kinds and set(kinds) & NUMERIC:
        span, factor = (left, right) if left.type == "timespan" else (right, left)
        return Typed(f"to_microseconds((epoch_us({span.sql}) * {factor.sql})::BIGINT)", "timespan")
    raise semantic_error(f"SEM0062: The operator '{sign}' does not take {left.type} and {right.type}")


def _wider(left: str, right: str) -> str:
    order = ("int", "long", "decimal", "real")
    return max(left, right, key=order.index)


def _signed(reader: Reader, scope: Scope) -> Typed:
    if reader.accept("-"):
        value = _signed(reader, scope)
        if value.type not in NUMERIC | {"timespan"}:
            raise semantic_error(f"SEM0062: The operator '-' does not take {value.type}")
        return Typed(f"(- {value.sql})", value.type)
    return _primary(reader, scope)


def _primary(reader: Reader, scope: Scope) -> Typed:
    token = reader.here
    if reader.accept("("):
        value = expression(reader, scope)
        reader.expect(")")
        return Typed(value.sql, value.type, value.column)
    if token.kind == "string":
        return Typed(text_literal(reader.text()), "string")
    if token.kind in {"long", "real", "timespan", "literal"}:
        return literal(reader.next())
    if token.kind != "name":
        raise reader.unexpected("expected an expression")
    name = reader.name()
    if token.value != "quoted":
        if name in {"true", "false"}:
            return Typed(name, "bool")
        if reader.accept("("):
            return _call(reader, scope, name)
    value = scope.column(name)
    if reader.here.kind == "operator" and reader.here.text in {".", "["}:
        raise not_modelled("Reaching into a value of type dynamic")
    return value


def _call(reader: Reader, scope: Scope, name: str) -> Typed:
    arguments: list[Typed] = []
    while not reader.accept(")"):
        if arguments:
            reader.expect(",")
        arguments.append(expression(reader, scope))
    return functions.call(name, arguments, scope.now)


def literal(token: Token) -> Typed:
    """A number, a timespan, or a literal with its type before it, such as datetime(2026-01-31)."""
    if token.kind == "long":
        return Typed(f"{token.value}::BIGINT", "long")
    if token.kind == "real":
        return Typed(f"{token.value!r}::DOUBLE", "real")
    if token.kind == "timespan":
        return Typed(f"to_microseconds({token.value}::BIGINT)", "timespan")
    return _typed_literal(scalar_type(token.text), str(token.value).strip("'\""))


def _typed_literal(kind: str, text: str) -> Typed:
    if text == "null":
        return Typed(f"NULL::{TYPES[kind].stored}", kind)
    if kind == "datetime":
        return Typed(f"TIMESTAMP {text_literal(str(_moment(text)))}", kind)
    if kind == "timespan":
        return Typed(f"to_microseconds({_span_microseconds(text)}::BIGINT)", kind)
    return Typed(f"({TYPES[kind].read.format(text_literal(text))})", kind)


def _moment(text: str) -> datetime:
    match = _DATE_TEXT.match(text)
    if match is None:
        raise semantic_error(f"SEM0001: '{text}' is not a datetime that the sandbox reads; write 2026-01-31T12:00:00Z")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    offset = "+00:00" if zone in {None, "Z"} else f"{zone[:3]}:{zone[-2:]}"
    clock = f"{int(hour or 0):02}:{minute or '00'}:{second or '00'}.{(fraction or '').ljust(6, '0')[:6]}"
    try:
        moment = datetime.fromisoformat(f"{year}-{int(month):02}-{int(day):02}T{clock}{offset}")
    except ValueError as error:
        raise semantic_error(f"SEM0001: '{text}' is not a datetime: {error}") from error
    return moment.astimezone(UTC).replace(tzinfo=None)


def _span_microseconds(text: str) -> int:
    match = _SPAN_TEXT.match(text)
    if match is None:
        raise semantic_error(f"SEM0001: '{text}' is not a timespan that the sandbox reads; write 1.12:00:00")
    sign, days, hours, minutes, seconds, fraction = match.groups()
    total = ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds or 0)
    return (-1 if sign else 1) * (total * 1_000_000 + int((fraction or "0").ljust(6, "0")[:6]))
