"""What an ingestion reads: data in the command, or a file of the sandbox's OneLake; and how it becomes rows.

Sources: "Ingestion mappings", "Ingestion properties", "Ingestion error codes", "Storage connection strings" of the Kusto documentation.
"""

# ruff: noqa: S608 - the SQL is made of identifiers and literals that types.py quotes, and of our own words

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from treadle.sandbox.csv_records import first_record
from treadle.sandbox.duck import connect, engine_error
from treadle.sandbox.kusto.refusals import Refused, bad_command, not_modelled
from treadle.sandbox.kusto.types import TYPES, Column, quoted, text_literal

DELIMITERS: Final = {"csv": ",", "tsv": "\t", "psv": "|", "scsv": ";"}
_LONGEST_LINE_BYTES: Final = 32 * 1024 * 1024
_CSV_ERROR: Final = re.compile(r"CSV Error on Line: (\d+)")
_REASON: Final = re.compile(
    r"(Expected Number of Columns: \d+ Found: \d+|Value with unterminated quote found|Invalid unicode.*|Maximum line size.*)"
)
_CODES: Final = {
    "Expected": ("Stream_WrongNumberOfFields", "Inconsistent number of fields in the input records"),
    "Value": ("Stream_ClosingQuoteMissing", "Invalid CSV format. Closing quote missing"),
}

Mapped = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """Data to ingest: `path` is where it can be read now, `name` what messages and answers call it (never with its credentials)."""

    path: str
    name: str
    size_bytes: int
    format: str
    ignore_first_record: bool = False

    @property
    def compression(self) -> str:
        """As the engine names it."""
        return "gzip" if self.name.lower().endswith(".gz") else "none"


def read_mapping(text: str) -> list[dict[str, Any]]:
    """A CSV or Parquet mapping in either of its JSON forms, as `[{"column", "DataType", "Properties"}]`. Raises Refused."""
    try:
        entries: Any = json.loads(text)
    except ValueError as error:
        raise bad_command(f"The ingestion mapping is not valid JSON: {error}", "BadRequest_InvalidMapping") from error
    if not isinstance(entries, list) or not entries or not all(isinstance(one, dict) for one in cast("list[Any]", entries)):
        raise bad_command("The ingestion mapping is not a list of columns.", "BadRequest_InvalidMapping")
    return [_mapping_entry(one) for one in cast("list[dict[str, Any]]", entries)]


def _mapping_entry(entry: Mapped) -> dict[str, Any]:
    fields = {name.lower(): value for name, value in entry.items()}
    inner = {name.lower(): value for name, value in cast("Mapped", fields.get("properties") or {}).items()} | fields
    column = fields.get("column") or fields.get("name")
    if not isinstance(column, str) or not column:
        raise bad_command(f"An entry of the ingestion mapping names no column: {json.dumps(dict(entry))}", "BadRequest_InvalidMapping")
    properties = {name: str(inner[name.lower()]) for name in ("Ordinal", "ConstValue", "Path") if inner.get(name.lower()) is not None}
    if not properties or not properties.get("Ordinal", "0").isdecimal():
        message = f"The ingestion mapping of column '{column}' needs an Ordinal from 0, a Path or a ConstValue."
        raise bad_command(message, "BadRequest_InvalidMapping")
    if inner.get("transform"):
        raise not_modelled("Transformations in ingestion mappings")
    kind = fields.get("datatype")
    return {"column": column, **({"DataType": kind} if kind else {}), "Properties": properties}


def rows_of(source: Source, columns: Sequence[Column], mapping: Sequence[Mapped] | None) -> str:
    """A SELECT of the table's columns from the source: what it has not is null, what does not fit its type is null, as Kusto does it.

    Raises Refused for a mapping to columns that the table has not, and for a format that is not modelled.
    """
    known = {column.name for column in columns}
    unknown = [str(entry["column"]) for entry in mapping or () if entry["column"] not in known]
    if unknown:
        raise bad_command(f"The mapping names columns that the table has not: {', '.join(unknown)}.", "BadRequest_InvalidMapping")
    if source.format == "parquet":
        return _parquet(source, columns, mapping)
    if source.format not in DELIMITERS:
        raise not_modelled(f"Ingesting data of format '{source.format}'")
    return _csv(source, columns, mapping)


def _csv(source: Source, columns: Sequence[Column], mapping: Sequence[Mapped] | None) -> str:
    delimiter = DELIMITERS[source.format]
    fields = len(first_record(source.path, delimiter, gzipped=source.compression == "gzip")) or 1
    places = _places(columns, mapping)
    chosen = ", ".join(_value(column, places.get(column.name), fields) for column in columns)
    declared = ", ".join(f"'f{number}': 'VARCHAR'" for number in range(fields))
    header = "true" if source.ignore_first_record else "false"
    options = f"header = {header}, auto_detect = false, delim = {text_literal(delimiter)}, quote = '\"', escape = '\"', nullstr = ''"
    limits = f"max_line_size = {_LONGEST_LINE_BYTES}, compression = '{source.compression}', columns = {{{declared}}}"
    return f"SELECT {chosen} FROM read_csv({text_literal(source.path)}, {options}, {limits})"


def _places(columns: Sequence[Column], mapping: Sequence[Mapped] | None) -> dict[str, Mapped]:
    if mapping is None:
        return {column.name: {"Ordinal": str(number)} for number, column in enumerate(columns)}
    return {entry["column"]: entry["Properties"] for entry in mapping}


def _value(column: Column, place: Mapped | None, fields: int) -> str:
    scalar = TYPES[column.type]
    if place is not None and "ConstValue" in place:
        return scalar.read.format(text_literal(place["ConstValue"]))
    if place is None or int(place.get("Ordinal", fields)) >= fields:
        return "''" if column.type == "string" else f"NULL::{scalar.stored}"
    return scalar.read.format(f"f{int(place['Ordinal'])}")


def _parquet(source: Source, columns: Sequence[Column], mapping: Sequence[Mapped] | None) -> str:
    read = f"read_parquet({text_literal(source.path)})"
    try:
        found = [row[0] for row in connect().execute(f"DESCRIBE SELECT * FROM {read}").fetchall()]
    except engine_error() as error:
        raise unreadable(source, error) from error
    paths = {entry["column"]: str(entry["Properties"].get("Path", "")).removeprefix("$.") for entry in mapping or ()}
    chosen: list[str] = []
    for column in columns:
        name = paths.get(column.name, column.name) if mapping is not None else column.name
        stored = TYPES[column.type].stored
        empty = "''" if column.type == "string" else f"NULL::{stored}"
        value = (
            f"TRY_CAST({quoted(name)} AS {stored})"
            if column.type != "datetime"
            else f"TRY_CAST({quoted(name)} AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"
        )
        chosen.append((f"coalesce({value}, '')" if column.type == "string" else value) if name in found else empty)
    return f"SELECT {', '.join(chosen)} FROM {read}"


def unreadable(source: Source, error: Exception) -> Refused:
    """The refusal of data that cannot be read, in the service's codes, with the line."""
    text = str(error)
    line, reason = _CSV_ERROR.search(text), _REASON.search(text)
    where = f" (line {line.group(1)})" if line else ""
    code, message = (
        _CODES.get(reason.group(1).split()[0], ("BadRequest_UnexpectedCharacterInInputStream", ""))
        if reason
        else ("BadRequest_InvalidBlob", "")
    )
    detail = reason.group(1) if reason else text.partition("\n")[0]
    return bad_command(f"{message or 'The data cannot be read'}: '{source.name}'{where}: {detail}.", code)
