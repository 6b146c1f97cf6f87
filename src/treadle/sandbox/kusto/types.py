"""Kusto's scalar types: how they are kept in the embedded engine, read from text, and called in answers. Pure.

Source: "Scalar data types" of the Kusto documentation; the .NET names in recorded answers of azure-kusto-python.
"""

from dataclasses import dataclass
from typing import Final

from treadle.sandbox.kusto.refusals import syntax_error


@dataclass(frozen=True, slots=True)
class ScalarType:
    """stored: the engine's type. net, data_type: what schema answers and v1 answers call it. read: SQL that reads it from text `{0}`, null when it cannot."""

    stored: str
    net: str
    data_type: str
    read: str


_WHOLE: Final = r"CASE WHEN regexp_full_match(trim({{0}}), '[+-]?[0-9]+') THEN TRY_CAST(trim({{0}}) AS {0}) END"
TYPES: Final = {
    "string": ScalarType("VARCHAR", "System.String", "String", "coalesce({0}, '')"),
    "bool": ScalarType("BOOLEAN", "System.SByte", "SByte", "CASE lower(trim({0})) WHEN 'true' THEN true WHEN '1' THEN true WHEN 'false' THEN false WHEN '0' THEN false END"),
    "int": ScalarType("INTEGER", "System.Int32", "Int32", _WHOLE.format("INTEGER")),
    "long": ScalarType("BIGINT", "System.Int64", "Int64", _WHOLE.format("BIGINT")),
    "real": ScalarType("DOUBLE", "System.Double", "Double", "TRY_CAST({0} AS DOUBLE)"),
    "decimal": ScalarType("DECIMAL(38, 12)", "System.Data.SqlTypes.SqlDecimal", "SqlDecimal", "TRY_CAST({0} AS DECIMAL(38, 12))"),
    "datetime": ScalarType("TIMESTAMP", "System.DateTime", "DateTime", "TRY_CAST({0} AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"),
    "timespan": ScalarType("INTERVAL", "System.TimeSpan", "TimeSpan", "TRY_CAST(regexp_replace({0}, '^(-?)([0-9]+)\\.([0-9]+:)', '\\1\\2 days \\1\\3') AS INTERVAL)"),
    "guid": ScalarType("UUID", "System.Guid", "Guid", "TRY_CAST({0} AS UUID)"),
    "dynamic": ScalarType("VARCHAR", "System.Object", "Object", "CASE WHEN {0} IS NULL OR {0} = '' THEN NULL WHEN json_valid({0}) THEN {0} ELSE to_json({0})::VARCHAR END"),
}  # fmt: skip
_OTHER_NAMES: Final = {"int32": "int", "int64": "long", "double": "real", "boolean": "bool", "date": "datetime", "time": "timespan", "uuid": "guid", "uniqueid": "guid"}  # fmt: skip
NUMERIC: Final = frozenset({"int", "long", "real", "decimal"})


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table or of a result; the type is one of TYPES."""

    name: str
    type: str


def scalar_type(name: str) -> str:
    """The type that a word names, such as int64 → long; raises Refused for another word."""
    word = name.lower().removeprefix("system.")
    known = _OTHER_NAMES.get(word, word)
    if known not in TYPES:
        raise syntax_error(f"'{name}' is not a scalar type", 0)
    return known


def quoted(name: str) -> str:
    """A name as an identifier of the engine's SQL."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(text: str) -> str:
    """A text as a literal of the engine's SQL."""
    return "'" + text.replace("'", "''") + "'"
