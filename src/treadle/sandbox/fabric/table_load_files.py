"""The files of a table load as one stream of Arrow batches whose types Delta knows, so that memory stays bounded.

CSV is read by DuckDB, whose errors name line and column; the types are found by looking at all rows first, as Spark's inference does.
"""

# ruff: noqa: S608 - the SQL is made of quoted literals and names, and of our own words

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from treadle.sandbox.csv_records import first_record
from treadle.sandbox.duck import connect, engine_error
from treadle.sandbox.fabric.table_loads import LoadWish

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

arrow: Final[Any] = pa  # their types are unknown to the checker
parquet: Final[Any] = pq
_BATCH_ROWS: Final = 65_536
_LONGEST_LINE_BYTES: Final = 16 * 1024 * 1024
_MEMORY: Final = "192MB"
_FORBIDDEN: Final = re.compile(r"[ ,;{}()\n\t=]")
_GLOB: Final = re.compile(r"[*?\[]")  # which the engine would look for as a pattern
_LINE: Final = re.compile(r"CSV Error on Line: (\d+)")
_REASON: Final = re.compile(r"(Expected Number of Columns: \d+ Found: \d+|Value with unterminated quote found|Error when converting column .*|Invalid unicode.*|Maximum line size.*)")  # fmt: skip
_WIDER: Final = {frozenset({"BIGINT", "DOUBLE"}): "DOUBLE", frozenset({"DATE", "TIMESTAMP"}): "TIMESTAMP"}
_CSV_TYPES: Final[Mapping[str, Any]] = {
    "BIGINT": arrow.int64(),
    "DOUBLE": arrow.float64(),
    "BOOLEAN": arrow.bool_(),
    "DATE": arrow.date32(),
    "VARCHAR": arrow.string(),
}
_SAMPLE_ROWS: Final = 10_000
_TESTS: Final[Mapping[str, str]] = {  # the narrowest first; a column is of the first type that all its values fit
    "BOOLEAN": "lower({0}) IN ('true', 'false')",
    "BIGINT": "regexp_full_match({0}, '[+-]?[0-9]{{1,18}}')",
    "DOUBLE": "TRY_CAST({0} AS DOUBLE) IS NOT NULL",
    "DATE": "length({0}) = 10 AND TRY_CAST({0} AS DATE) IS NOT NULL",
    "TIMESTAMP": "length({0}) > 10 AND TRY_CAST({0} AS TIMESTAMPTZ) IS NOT NULL",
}
_ENGINE_TYPES: Final = {
    "int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT", "float": "FLOAT", "double": "DOUBLE", "bool": "BOOLEAN",
    "date32[day]": "DATE",
}  # fmt: skip
_INSTANT: Final = arrow.timestamp("us", "UTC")
_DELTA_TYPES: Final[tuple[tuple[Callable[[Any], bool], Any], ...]] = (
    (arrow.types.is_timestamp, _INSTANT),
    (lambda kind: arrow.types.is_uint8(kind) or arrow.types.is_uint16(kind), arrow.int32()),  # the next type that holds all their values
    (arrow.types.is_unsigned_integer, arrow.int64()),
    (arrow.types.is_float16, arrow.float32()),
    (lambda kind: arrow.types.is_large_string(kind) or arrow.types.is_string_view(kind), arrow.string()),
    (lambda kind: arrow.types.is_large_binary(kind) or arrow.types.is_binary_view(kind), arrow.binary()),
    (arrow.types.is_date64, arrow.date32()),
    (
        lambda kind: (
            arrow.types.is_time(kind) or arrow.types.is_duration(kind) or arrow.types.is_null(kind) or arrow.types.is_interval(kind)
        ),
        None,
    ),
)


class LoadFailed(Exception):
    """A load that cannot go on; the message names the file, and the line and column where there are any."""

    def __init__(self, message: str, code: str = "InvalidData") -> None:
        super().__init__(message)
        self.message, self.code = message, code


@dataclass(frozen=True, slots=True)
class LoadFile:
    """A file: where it can be read now, and how messages name it."""

    path: str
    name: str


@contextmanager
def batches_of(wish: LoadWish, files: Sequence[LoadFile], wanted: Any) -> Generator[Any]:
    """All rows of all files, one after another, under the schema `wanted` (None: that of the files). Raises LoadFailed, now or while it is read."""
    if wish.format == "Parquet":
        yield _parquet(files, wanted)
        return
    with connect(config={"memory_limit": _MEMORY, "threads": 2, "autoload_known_extensions": False}) as engine:
        engine.execute("SET TimeZone = 'UTC'")
        yield _csv(engine, wish, files, wanted)


def delta_type(kind: Any) -> Any:
    """The type under which Delta keeps values of an Arrow type; None for one that it cannot keep."""
    if arrow.types.is_dictionary(kind):
        return delta_type(kind.value_type)
    return next((known for fits, known in _DELTA_TYPES if fits(kind)), kind)


def check_names(names: Sequence[str], file: LoadFile) -> None:
    """Raise LoadFailed for names that a Delta table without column mapping does not take."""
    for number, name in enumerate(names, start=1):
        if not name or _FORBIDDEN.search(name):
            message = f"{file.name}: column {number} is called '{name}'; Delta takes no empty name and none of ' ,;{{}}()\\n\\t='."
            raise LoadFailed(message, "InvalidColumnName")
    lowered = [name.lower() for name in names]
    twice = next((name for name in lowered if lowered.count(name) > 1), None)
    if twice is not None:
        raise LoadFailed(f"{file.name}: two columns are called '{twice}', whatever their case.", "DuplicateColumn")


def _parquet(files: Sequence[LoadFile], wanted: Any) -> Any:
    schema = wanted or _schema_of(files[0])
    return arrow.RecordBatchReader.from_batches(schema, _parquet_batches(files, schema))


def _schema_of(file: LoadFile) -> Any:
    found = _opened(file).schema_arrow
    check_names(found.names, file)
    fields: list[Any] = []
    for field in found:
        kind = delta_type(field.type)
        if kind is None:
            raise LoadFailed(f"{file.name}: column '{field.name}' is of type {field.type}, which Delta cannot keep.")
        fields.append(arrow.field(field.name, kind))
    return arrow.schema(fields)


def _parquet_batches(files: Sequence[LoadFile], schema: Any) -> Iterator[Any]:
    for file in files:
        opened = _opened(file)
        _check_same(file, opened.schema_arrow.names, schema.names)
        rows = 0
        try:
            for batch in opened.iter_batches(_BATCH_ROWS):
                yield _cast(batch, schema, file, rows)
                rows += batch.num_rows
        except (arrow.ArrowException, OSError) as error:
            raise LoadFailed(f"{file.name}: behind row {rows} it cannot be read: {error}") from error


def _cast(batch: Any, schema: Any, file: LoadFile, rows: int) -> Any:
    arrays: list[Any] = []
    for field in schema:
        column = batch.column(batch.schema.get_field_index(field.name))
        try:
            arrays.append(column if column.type == field.type else column.cast(field.type))
        except arrow.ArrowException as error:
            raise LoadFailed(f"{file.name}: column '{field.name}', between rows {rows + 1} and {rows + batch.num_rows}: {error}") from error
    return arrow.RecordBatch.from_arrays(arrays, schema=schema)


def _opened(file: LoadFile) -> Any:
    try:
        return parquet.ParquetFile(file.path)
    except (arrow.ArrowException, OSError) as error:
        raise LoadFailed(f"{file.name} is not a Parquet file: {error}") from error


def _check_same(file: LoadFile, found: Sequence[str], wanted: Sequence[str]) -> None:
    missing, new = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or new:
        said = [f"it lacks {', '.join(missing)}"] * bool(missing) + [f"the table has no {', '.join(new)}"] * bool(new)
        raise LoadFailed(f"{file.name}: its columns do not fit: {'; '.join(said)}.", "SchemaMismatch")


def _csv(engine: "DuckDBPyConnection", wish: LoadWish, files: Sequence[LoadFile], wanted: Any) -> Any:
    found = [_columns(engine, wish, file) for file in files]
    for file, columns in zip(files, found, strict=True):
        _check_same(file, list(columns), wanted.names if wanted else list(found[0]))
    common = {name: _common([columns[name] for columns in found]) for name in found[0]}
    schema = wanted or arrow.schema([arrow.field(name, _CSV_TYPES.get(kind, _INSTANT)) for name, kind in common.items()])
    return arrow.RecordBatchReader.from_batches(schema, _csv_batches(engine, wish, list(zip(files, found, strict=True)), schema))


def _columns(engine: "DuckDBPyConnection", wish: LoadWish, file: LoadFile) -> dict[str, str]:
    """Names and types of a file, by all its rows."""
    try:
        first = first_record(file.path, wish.delimiter, gzipped=_is_gzipped(file))
        if not first:
            raise LoadFailed(f"{file.name}: the file is empty.")
        names = [name.strip() for name in first] if wish.header else [f"_c{number}" for number in range(len(first))]
        check_names(names, file)
        return dict(zip(names, _kinds(engine, wish, file, names), strict=True))
    except engine_error() as error:
        raise _failed(file, error) from error


def _kinds(engine: "DuckDBPyConnection", wish: LoadWish, file: LoadFile, names: Sequence[str]) -> list[str]:
    """The type of each column: what the first rows leave open, all rows decide. A column without any value is text."""
    declared = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in names)
    source = f"{_read(wish, file)}, header = {str(wish.header).lower()}, auto_detect = false, columns = {{{declared}}})"
    tests = [(name, kind) for name in names for kind in _TESTS]
    open_still = [test for test, fits in _fits(engine, f"(SELECT * FROM {source} LIMIT {_SAMPLE_ROWS})", tests) if fits is not False]
    found = [test for test, fits in _fits(engine, source, open_still) if fits]
    return [next((kind for column, kind in found if column == name), "VARCHAR") for name in names]


def _fits(engine: "DuckDBPyConnection", source: str, tests: Sequence[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], bool | None]]:
    """For each (column, type) whether all values fit it; None where there are no values."""
    if not tests:
        return iter(())
    columns = ", ".join(
        f"bool_and({_TESTS[kind].format(_quoted(name))}) FILTER (WHERE {_quoted(name)} IS NOT NULL)" for name, kind in tests
    )
    return zip(tests, engine.execute(f"SELECT {columns} FROM {source}").fetchall()[0], strict=True)


def _common(kinds: Sequence[str]) -> str:
    several = frozenset(kinds)
    return kinds[0] if len(several) == 1 else _WIDER.get(several, "VARCHAR")


def _csv_batches(
    engine: "DuckDBPyConnection", wish: LoadWish, files: Sequence[tuple[LoadFile, dict[str, str]]], schema: Any
) -> Iterator[Any]:
    chosen = ", ".join(_quoted(name) for name in schema.names)
    for file, columns in files:
        rows = 0
        declared = ", ".join(f"{_literal(name)}: '{_engine_type(schema.field(name).type)}'" for name in columns)
        try:
            options = f"header = {str(wish.header).lower()}, auto_detect = false, columns = {{{declared}}}"
            reader = engine.sql(f"SELECT {chosen} FROM {_read(wish, file)}, {options})").to_arrow_reader(_BATCH_ROWS)
            for batch in reader:
                yield _cast(batch, schema, file, rows)
                rows += batch.num_rows
        except (engine_error(), arrow.ArrowException) as error:
            raise _failed(file, error) from error


def _engine_type(kind: Any) -> str:
    """What the engine reads a field of CSV as, so that what does not fit is told with its line."""
    if arrow.types.is_timestamp(kind):
        return "TIMESTAMPTZ"
    if arrow.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    return _ENGINE_TYPES.get(str(kind), "VARCHAR")


def _read(wish: LoadWish, file: LoadFile) -> str:
    """The beginning of a call of read_csv; the caller adds options of its own and closes it."""
    compression = "gzip" if _is_gzipped(file) else "none"
    options = f"delim = {_literal(wish.delimiter)}, quote = '\"', escape = '\"'"
    path = _literal(_GLOB.sub(r"[\g<0>]", file.path))
    return f"read_csv({path}, {options}, max_line_size = {_LONGEST_LINE_BYTES}, compression = '{compression}'"


def _is_gzipped(file: LoadFile) -> bool:
    return file.name.lower().endswith(".gz")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _failed(file: LoadFile, error: Exception) -> LoadFailed:
    text = str(error)
    line, reason = _LINE.search(text), _REASON.search(text)
    where = f", line {line.group(1)}" if line else ""
    return LoadFailed(f"{file.name}{where}: {reason.group(1) if reason else text.partition(chr(10))[0]}")
