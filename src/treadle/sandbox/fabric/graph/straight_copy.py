"""Loads a type straight from the files of its Delta table, where nothing has to be changed on the way: half the work of a refresh.

That is so for one table without a filter whose columns have just the types of the properties. Whatever else there is, or goes wrong, is left to
the way that looks at each row.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

_PLAIN_COLUMN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN_PATH: Final = re.compile(r"[^'\"\\`\x00-\x1f]+")
_DELTA_TYPES: Final[Mapping[str, str]] = {
    "STRING": "string",
    "INT": "long",
    "FLOAT": "double",
    "BOOLEAN": "boolean",
    "ZONED DATETIME": "timestamp",
}
_KEY_TYPES: Final = frozenset({"string", "long"})


def straight_copy(load: Mapping[str, Any], table: Any) -> str | None:
    """The statement that loads it, or None where this way cannot be taken. load: as `load_graph` has it; table: the open Delta table of its source."""
    if len(load["sources"]) != 1 or load["sources"][0]["filter"] is not None or not _plain(table):
        return None
    source = load["sources"][0]
    types = {str(field.name): str(getattr(field.type, "type", "")) for field in table.schema().fields}
    keys = [columns[0] for columns in source["keys"] if len(columns) == 1]
    wanted = [(source["columns"].get(name), _DELTA_TYPES[kind]) for name, kind in load["columns"]]
    if len(keys) != len(source["keys"]) or any(types.get(key) not in _KEY_TYPES for key in keys):
        return None
    if any(column is None or types.get(column) != kind for column, kind in wanted):
        return None
    if not all(_PLAIN_COLUMN.fullmatch(name) for name in types):
        return None
    return _statement(load["table"], table.file_uris(), keys, [str(column) for column, _ in wanted])


def _plain(table: Any) -> bool:
    """Whether the files themselves are the table."""
    metadata, protocol = table.metadata(), table.protocol()
    mapped = any(name.startswith("delta.columnMapping") for name in metadata.configuration)
    features = set(getattr(protocol, "reader_features", None) or ())
    files = table.file_uris()
    return (
        bool(files)
        and not metadata.partition_columns
        and not mapped
        and not features
        and all(_PLAIN_PATH.fullmatch(file) for file in files)
    )


def _statement(table: str, files: Sequence[str], keys: Sequence[str], columns: Sequence[str]) -> str:
    listed = ", ".join(f"'{file}'" for file in files)
    filled = " AND ".join(f"`{key}` IS NOT NULL" for key in keys)
    values = ", ".join([*(f"CAST(`{key}` AS STRING)" for key in keys), *(f"`{column}`" for column in columns)])
    return f"COPY {table} FROM (LOAD FROM [{listed}] WHERE {filled} RETURN {values})"
