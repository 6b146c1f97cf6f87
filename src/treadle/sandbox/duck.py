"""DuckDB, loaded when it is first needed: most sandboxes never load a table or ask an eventhouse, and a process that has loaded it ends with a page of warnings."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["connect", "engine_error"]


def connect(path: str = ":memory:", config: Mapping[str, Any] | None = None) -> "DuckDBPyConnection":
    """An engine on a file, or one that is gone when it is closed."""
    from duckdb import connect  # noqa: PLC0415 - see above

    return connect(path, config=dict(config or {}))


def engine_error() -> type[Exception]:
    """What the engine raises, for `except`."""
    from duckdb import Error  # noqa: PLC0415 - see above

    return Error
