"""The scalar and aggregation functions that are modelled, as SQL. Pure.

Source: "Scalar functions" and "Aggregation functions" of the Kusto documentation.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from treadle.sandbox.kusto.refusals import not_modelled, semantic_error
from treadle.sandbox.kusto.typed import Typed
from treadle.sandbox.kusto.types import NUMERIC, TYPES

_UNITS: Final = {"startofday": "day", "startofmonth": "month", "startofyear": "year"}
_CASTS: Final = {
    "tostring": "string", "toint": "int", "tolong": "long", "toreal": "real", "todouble": "real", "todecimal": "decimal",
    "todatetime": "datetime", "totimespan": "timespan", "tobool": "bool", "toboolean": "bool", "toguid": "guid",
}  # fmt: skip
_SAME_TYPE: Final = {"abs": "abs({0})", "tolower": "lower({0})", "toupper": "upper({0})", "not": "(NOT {0})"}
_AGGREGATES: Final = frozenset({"count", "countif", "sum", "sumif", "avg", "avgif", "min", "max", "dcount", "dcountif"})
_NO_AGGREGATES: Final = "SEM0220: The aggregation function '{0}' is used outside of summarize"


def call(name: str, arguments: Sequence[Typed], now: datetime) -> Typed:
    """A scalar function; raises Refused for one that is not modelled, or arguments that it does not take."""
    read = _SCALARS.get(name)
    if read is not None:
        return read(name, arguments, now)
    if name in _CASTS:
        return _cast(name, arguments)
    if name in _AGGREGATES:
        raise semantic_error(_NO_AGGREGATES.format(name))
    raise not_modelled(f"The KQL function '{name}'")


def is_aggregate(name: str) -> bool:
    """Whether summarize can compute it here."""
    return name in _AGGREGATES


def aggregate(name: str, arguments: Sequence[Typed]) -> Typed:
    """An aggregation function over the rows of a group; raises Refused for arguments that it does not take."""
    base, conditional = (name.removesuffix("if"), True) if name.endswith("if") else (name, False)
    taken = list(arguments)
    only = ""
    if conditional:
        if not taken or taken[-1].type != "bool":
            raise semantic_error(f"SEM0260: The function '{name}' takes a condition as its last argument")
        only = f" FILTER (WHERE {taken.pop().sql})"
    if base == "count":
        _takes(name, taken, 0)
        return Typed(f"count(*){only}", "long")
    _takes(name, taken[:1], 1)
    (value,) = taken[:1]
    if base == "dcount":
        return Typed(f"count(DISTINCT {value.sql}){only}", "long", value.column)
    _takes(name, taken, 1)
    if base in {"min", "max"}:
        return Typed(f"{base}({value.sql}){only}", value.type, value.column)
    return _total(name, base, value, only)


def _total(name: str, base: str, value: Typed, only: str) -> Typed:
    if value.type not in NUMERIC | {"timespan"} or (base == "avg" and value.type == "timespan"):
        raise semantic_error(f"SEM0261: The function '{name}' does not take values of type {value.type}")
    if base == "avg":
        return Typed(f"(avg({value.sql}){only})::DOUBLE", "real", value.column)
    kind = "long" if value.type == "int" else value.type
    return Typed(f"coalesce((sum({value.sql}){only})::{TYPES[kind].stored}, {_zero(kind)})", kind, value.column)


def _zero(kind: str) -> str:
    return "INTERVAL '0 seconds'" if kind == "timespan" else f"0::{TYPES[kind].stored}"


def _takes(name: str, arguments: Sequence[Typed], number: int) -> None:
    if len(arguments) != number:
        raise semantic_error(f"SEM0219: The function '{name}' takes {number} arguments, not {len(arguments)}")


def _of_type(name: str, value: Typed, *kinds: str) -> Typed:
    if value.type not in kinds:
        raise semantic_error(f"SEM0262: The function '{name}' takes {' or '.join(kinds)}, not {value.type}")
    return value


def _now(name: str, arguments: Sequence[Typed], now: datetime) -> Typed:
    moment = f"TIMESTAMP '{now.astimezone(UTC).replace(tzinfo=None)}'"
    if not arguments and name == "now":
        return Typed(moment, "datetime")
    _takes(name, arguments, 1)
    span = _of_type(name, arguments[0], "timespan")
    return Typed(f"({moment} {'-' if name == 'ago' else '+'} {span.sql})", "datetime")


def _bin(name: str, arguments: Sequence[Typed], _now: datetime) -> Typed:
    _takes(name, arguments, 2)
    value, size = arguments
    if value.type == "datetime":
        span = _of_type(name, size, "timespan").sql
        micros = f"(epoch_us({value.sql}) - ((epoch_us({value.sql}) % epoch_us({span})) + epoch_us({span})) % epoch_us({span}))"
        return Typed(f"make_timestamp({micros})", "datetime", value.column)
    if value.type not in NUMERIC or size.type not in NUMERIC:
        raise semantic_error(f"SEM0262: The function '{name}' takes a datetime with a timespan, or two numbers")
    kind = "real" if "real" in {value.type, size.type} else value.type
    return Typed(f"(floor({value.sql} / {size.sql}) * {size.sql})::{TYPES[kind].stored}", kind, value.column)


def _start(name: str, arguments: Sequence[Typed], _now: datetime) -> Typed:
    _takes(name, arguments, 1)
    value = _of_type(name, arguments[0], "datetime")
    return Typed(f"date_trunc('{_UNITS[name]}', {value.sql})::TIMESTAMP", "datetime", value.column)


def _is_null(name: str, arguments: Sequence[Typed], _now: datetime) -> Typed:
    _takes(name, arguments, 1)
    value = arguments[0]
    empty = f"({value.sql} = '')" if value.type == "string" and name.endswith("empty") else f"({value.sql} IS NULL)"
    return Typed(f"(NOT {empty})" if "not" in name else empty, "bool")


def _same(name: str, arguments: Sequence[Typed], _now: datetime) -> Typed:
    _takes(name, arguments, 1)
    kinds = {"abs": tuple(NUMERIC), "not": ("bool",)}.get(name, ("string",))
    value = _of_type(name, arguments[0], *kinds)
    return Typed(_SAME_TYPE[name].format(value.sql), value.type)


def _length(name: str, arguments: Sequence[Typed], _now: datetime) -> Typed:
    _takes(name, arguments, 1)
    return Typed(f"length({_of_type(name, arguments[0], 'string').sql})::BIGINT", "long")


def _round(name: str, arguments: Sequence[Typed], _now: datetime) -> Typed:
    digits = arguments[1].sql if len(arguments) == 2 else "0"
    _takes(name, arguments[:1], 1)
    return Typed(f"round({_of_type(name, arguments[0], *NUMERIC).sql}::DOUBLE, ({digits})::INTEGER)", "real")


def _iff(name: str, arguments: Sequence[Typed], _now: datetime) -> Typed:
    _takes(name, arguments, 3)
    test, yes, no = arguments
    _of_type(name, test, "bool")
    if yes.type != no.type and not {yes.type, no.type} <= NUMERIC:
        raise semantic_error(f"SEM0263: The two values of '{name}' are of types {yes.type} and {no.type}")
    kind = yes.type if yes.type == no.type else "real" if "real" in {yes.type, no.type} else "long"
    return Typed(f"(CASE WHEN {test.sql} THEN {yes.sql} ELSE {no.sql} END)", kind)


def _strcat(name: str, arguments: Sequence[Typed], _now: datetime) -> Typed:
    if not arguments:
        raise semantic_error(f"SEM0219: The function '{name}' takes at least one argument")
    return Typed("concat(" + ", ".join(_cast("tostring", [one]).sql for one in arguments) + ")", "string")


def _coalesce(name: str, arguments: Sequence[Typed], _now: datetime) -> Typed:
    if not arguments or len({one.type for one in arguments}) != 1:
        raise semantic_error(f"SEM0263: The values of '{name}' are not all of one type")
    if arguments[0].type == "string":
        sql = "coalesce(" + ", ".join(f"nullif({one.sql}, '')" for one in arguments) + ", '')"
        return Typed(sql, "string")
    return Typed("coalesce(" + ", ".join(one.sql for one in arguments) + ")", arguments[0].type)


def _cast(name: str, arguments: Sequence[Typed]) -> Typed:
    _takes(name, arguments, 1)
    (value,), kind = arguments, _CASTS[name]
    if value.type == kind:
        return value
    if kind == "string":
        return Typed(f"coalesce({_as_text(value)}, '')", "string", value.column)
    if value.type == "string":
        return Typed(f"({TYPES[kind].read.format(value.sql)})", kind, value.column)
    if kind in NUMERIC and value.type in NUMERIC | {"bool"}:
        whole = f"trunc({value.sql})" if kind in {"int", "long"} and value.type in {"real", "decimal"} else value.sql
        return Typed(f"TRY_CAST({whole} AS {TYPES[kind].stored})", kind, value.column)
    raise not_modelled(f"The KQL function '{name}' of a value of type {value.type}")


def _as_text(value: Typed) -> str:
    if value.type == "datetime":
        return f"strftime({value.sql}, '%Y-%m-%dT%H:%M:%S.%f') || '0Z'"
    if value.type == "bool":
        return f"CASE {value.sql} WHEN true THEN 'True' WHEN false THEN 'False' END"
    if value.type == "timespan":
        raise not_modelled("The KQL function 'tostring' of a value of type timespan")
    return f"({value.sql})::VARCHAR"


Scalar = Callable[[str, Sequence[Typed], datetime], Typed]
_SCALARS: Final[dict[str, Scalar]] = {
    "now": _now, "ago": _now, "bin": _bin, "floor": _bin, "startofday": _start, "startofmonth": _start, "startofyear": _start,
    "isnull": _is_null, "isnotnull": _is_null, "isempty": _is_null, "isnotempty": _is_null, "abs": _same, "tolower": _same, "toupper": _same,
    "not": _same, "strlen": _length, "round": _round, "iff": _iff, "iif": _iff, "strcat": _strcat, "coalesce": _coalesce,
}  # fmt: skip
