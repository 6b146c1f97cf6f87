"""Loads a graph, in a process of its own: Delta tables → one Parquet file for each type → the embedded engine.

Rows go through in batches, so memory does not grow with the tables. A row whose key is null, a second row of the same key, and an edge
whose end is not among the nodes are left out, as the real service leaves them out.
"""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import ladybug
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from treadle.sandbox.fabric.graph.child import main
from treadle.sandbox.fabric.graph.filters import passing
from treadle.sandbox.fabric.graph.layout import KEY_COLUMN
from treadle.sandbox.fabric.graph.straight_copy import straight_copy

arrow: Final[Any] = pa  # their types are unknown to the checker
compute: Final[Any] = pc
parquet: Final[Any] = pq
engine: Final[Any] = ladybug

BUFFER_BYTES: Final = 256 * 1024 * 1024
THREADS: Final = 2
COMPRESSION: Final = False  # which takes a quarter of the time of a load, for files that are half as long again
_ROWS_AT_ONCE: Final = 32 * 1024
_BETWEEN_KEYS: Final = "\x1f"
_ARROW_TYPES: Final[Mapping[str, Any]] = {
    "STRING": arrow.string(),
    "INT": arrow.int64(),
    "FLOAT": arrow.float64(),
    "BOOLEAN": arrow.bool_(),
    "ZONED DATETIME": arrow.timestamp("us", "UTC"),
}


class _Unloadable(Exception):
    """A table that does not fit the model."""


def load_graph(request: Mapping[str, Any]) -> bytes:
    """Request: database, scratch, statements, loads – each {table, keys: [name, …], columns: [[name, type], …], sources: […]}.

    A source is {folder, name, keys: [[column, …], …], columns: {name: column}, filter}. Answer: {"rows": {table: count}} or {"fault": words}.
    """
    try:
        return json.dumps({"rows": _load(request)}).encode()
    except _Unloadable as error:
        return json.dumps({"fault": str(error)}).encode()


def _load(request: Mapping[str, Any]) -> dict[str, int]:
    database = engine.Database(Path(request["database"]), buffer_pool_size=BUFFER_BYTES, max_num_threads=THREADS, compression=COMPRESSION)
    connection = engine.Connection(database)
    for statement in request["statements"]:
        connection.execute(statement)
    rows: dict[str, int] = {}
    for load in request["loads"]:
        if not _copied_straight(connection, load):
            file = Path(request["scratch"], f"{load['table']}.parquet")
            _write_parquet(load, file)
            _copy(connection, load["table"], file.name)
            file.unlink()
        rows[load["table"]] = _count(connection, load)
    connection.execute("CHECKPOINT")
    connection.close()
    database.close()
    return rows


def _copied_straight(connection: Any, load: Mapping[str, Any]) -> bool:
    """Whether it could be loaded without a look at each row; a statement that fails leaves nothing behind."""
    if len(load["sources"]) != 1:
        return False
    try:
        statement = straight_copy(load, DeltaTable(load["sources"][0]["folder"]))
        if statement is not None:
            connection.execute(statement)
    except Exception:  # noqa: BLE001 - every kind of damage has its own class there, and the other way says what it is
        return False
    return statement is not None


def _copy(connection: Any, table: str, file: str) -> None:
    """Our own table name, and a file of the folder that this process works in. Leaving out bad rows is slow, so it is asked for only when needed."""
    try:
        connection.execute(f"COPY {table} FROM '{file}'")
    except RuntimeError:  # all that the engine raises: a second row of a key, an edge without an end
        connection.execute(f"COPY {table} FROM '{file}' (ignore_errors=true)")


def _write_parquet(load: Mapping[str, Any], file: Path) -> None:
    """All rows of a type, keys first: that is the order in which the engine reads columns."""
    fields = [arrow.field(name, arrow.string()) for name in load["keys"]]
    fields += [arrow.field(name, _ARROW_TYPES[kind]) for name, kind in load["columns"]]
    schema = arrow.schema(fields)
    with parquet.ParquetWriter(file, schema, compression="snappy") as writer:
        for source in load["sources"]:
            for batch in _batches(source):
                writer.write_batch(_shaped(batch, source, load, schema))


def _batches(source: Mapping[str, Any]) -> Iterator[Any]:
    """The rows of a Delta table that pass its filter, as few columns as are needed."""
    table = _open(source)
    wanted = {column for columns in source["keys"] for column in columns} | set(source["columns"].values()) | set(source["filter_columns"])
    missing = sorted(wanted - set(table.schema.names))
    if missing:
        raise _Unloadable(f"The table of data source '{source['name']}' has no column '{missing[0]}'.")
    for batch in table.to_batches(
        columns=sorted(wanted), batch_size=_ROWS_AT_ONCE, batch_readahead=1, fragment_readahead=1, use_threads=False
    ):
        if source["filter"] is None:
            yield batch
        else:
            yield batch.filter(compute.fill_null(passing(batch, source["filter"]), fill_value=False))


def _open(source: Mapping[str, Any]) -> Any:
    table: Any = DeltaTable
    try:
        return table(source["folder"]).to_pyarrow_dataset()
    except Exception as error:  # every kind of damage has its own class there
        raise _Unloadable(f"The table of data source '{source['name']}' cannot be read: {error}") from error


def _shaped(batch: Any, source: Mapping[str, Any], load: Mapping[str, Any], schema: Any) -> Any:
    keys = [_key(batch, columns) for columns in source["keys"]]
    arrays: list[Any] = [*keys]
    for name, kind in load["columns"]:
        column = source["columns"].get(name)
        if column is None:
            arrays.append(arrow.nulls(batch.num_rows, _ARROW_TYPES[kind]))
        else:
            arrays.append(_cast(batch.column(column), _ARROW_TYPES[kind], source["name"], column))
    rows = arrow.RecordBatch.from_arrays(arrays, schema=schema)
    whole = functools.reduce(compute.and_, [compute.is_valid(key) for key in keys])
    return rows if compute.all(whole).as_py() is not False else rows.filter(whole)


def _key(batch: Any, columns: Sequence[str]) -> Any:
    """A key as text: so that a number in one table finds the same number, written as text, in another."""
    texts = [_cast(batch.column(column), arrow.string(), "", column) for column in columns]
    return texts[0] if len(texts) == 1 else compute.binary_join_element_wise(*texts, _BETWEEN_KEYS)


def _cast(values: Any, kind: Any, source: str, column: str) -> Any:
    """The values as another type; a time without a zone is in UTC."""
    wrong: Exception | None = None
    for between in (kind, arrow.timestamp("us")) if arrow.types.is_timestamp(kind) else (kind,):
        try:
            return compute.cast(compute.cast(values, between), kind)
        except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError) as error:
            wrong = error
    raise _Unloadable(f"The column '{column}' of data source '{source}' does not hold values of type {kind}: {wrong}") from wrong


def _count(connection: Any, load: Mapping[str, Any]) -> int:
    pattern = f"(x:{load['table']})" if load["keys"] == [KEY_COLUMN] else f"()-[x:{load['table']}]->()"
    return connection.execute(f"MATCH {pattern} RETURN count(*)").get_next()[0]


if __name__ == "__main__":
    main(load_graph)
