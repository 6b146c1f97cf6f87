"""The tables of all KQL databases, in one DuckDB file of the state folder.

A change of rows and of what is known about them is one transaction, so that a kill of the sandbox leaves all of it or nothing.
Names count their case in Kusto and do not in the engine; so a table is kept as data.t<number>, and the catalog knows what it is called.
"""

# ruff: noqa: S608 - the SQL is made of identifiers and literals that types.py quotes, and of our own words

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from treadle.sandbox.clock import Clock
from treadle.sandbox.duck import connect, engine_error
from treadle.sandbox.kusto.queries import Relation
from treadle.sandbox.kusto.refusals import bad_command, entity_missing
from treadle.sandbox.kusto.types import TYPES, Column, quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Row = dict[str, Any]
EXTENT_COLUMN: Final = "$extent"
_CATALOG: Final = Path(__file__).with_name("catalog.sql")
_ENGINE: Final[dict[str, str | bool | int | float | list[str]]] = {
    "memory_limit": "256MB",
    "threads": 2,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a database, with its columns in their order."""

    number: int
    database_id: str
    name: str
    folder: str
    docstring: str
    columns: tuple[Column, ...]

    @property
    def stored(self) -> str:
        """Where its rows are."""
        return f"data.t{self.number}"

    def relation(self) -> Relation:
        """Its rows, for a query."""
        return Relation(f"SELECT {', '.join(quoted(column.name) for column in self.columns)} FROM {self.stored}", self.columns)


class Store:
    """Safe to use from any thread: changes come one after another, readers do not wait. The file is opened when it is first needed."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self._writing, self._opening = threading.RLock(), threading.Lock()
        self._opened: DuckDBPyConnection | None = None

    def close(self) -> None:
        """Close the file."""
        with self._writing, self._opening:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def now(self) -> datetime:
        """The sandbox's time as the engine keeps it: UTC, without a zone."""
        return self._clock.now().astimezone(UTC).replace(tzinfo=None)

    def _connection(self) -> "DuckDBPyConnection":
        with self._opening:
            if self._opened is None:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                opened = connect(str(self._folder / "kusto.duckdb"), config=_ENGINE)
                opened.execute("SET GLOBAL TimeZone = 'UTC'")
                opened.execute("SET GLOBAL error_on_division_by_zero = false")
                opened.execute(_CATALOG.read_text(encoding="utf-8"))
                self._opened = opened
            return self._opened.cursor()

    def rows(self, sql: str, **values: Any) -> list[Row]:
        """Read by one statement."""
        with self._connection() as connection:
            return _rows(connection, sql, values)

    @contextmanager
    def change(self) -> Generator["Change"]:
        """One transaction, alone; nothing of it stays when it raises."""
        with self._writing, self._connection() as connection:
            connection.execute("BEGIN TRANSACTION")
            try:
                yield Change(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def read(self, relation: Relation, most: int) -> Sequence[Sequence[Any]]:
        """The rows of a query, at most `most`. Raises Refused where the engine fails while it computes."""
        try:
            with self._connection() as connection:
                return connection.execute(relation.sql).fetchmany(most)
        except engine_error() as error:
            raise bad_command(
                f"The query failed while it was computed: {str(error).partition(chr(10))[0]}", "General_BadRequest"
            ) from error

    # What there is.

    def tables(self, database_id: str) -> list[Table]:
        """All tables of a database, by name."""
        found = self.rows("SELECT * FROM catalog.tables WHERE database_id = $id ORDER BY name", id=database_id)
        wanted = [row["id"] for row in found]
        columns = self.rows("SELECT * FROM catalog.columns WHERE list_contains($ids, table_id) ORDER BY position", ids=wanted)
        return [_table(row, columns) for row in found]

    def table(self, database_id: str, name: str) -> Table:
        """One table; raises Refused when the database has none of this name."""
        table = self.find_table(database_id, name)
        if table is None:
            raise entity_missing("Table", name)
        return table

    def find_table(self, database_id: str, name: str) -> Table | None:
        """One table, or None."""
        return next((table for table in self.tables(database_id) if table.name == name), None)

    def extents(self, table: Table) -> list[Row]:
        """The extents of a table, oldest first."""
        return self.rows("SELECT * FROM catalog.extents WHERE table_id = $id ORDER BY number", id=table.number)

    def mappings(self, table: Table) -> list[Row]:
        """The ingestion mappings of a table, by kind and name."""
        return self.rows("SELECT * FROM catalog.mappings WHERE table_id = $id ORDER BY kind, name", id=table.number)

    def version(self, database_id: str) -> int:
        """How often the schema of a database changed."""
        found = self.rows("SELECT minor FROM catalog.versions WHERE database_id = $id", id=database_id)
        return found[0]["minor"] if found else 0

    def drop_database(self, database_id: str) -> None:
        """Forget a database with all its tables; nothing happens when it never had any."""
        if self._opened is None and not (self._folder / "kusto.duckdb").exists():
            return
        tables = self.tables(database_id)
        with self.change() as change:
            for table in tables:
                change.drop_table(table)
            change.run("DELETE FROM catalog.versions WHERE database_id = $id", id=database_id)


class Change:
    """Statements of one transaction."""

    def __init__(self, connection: "DuckDBPyConnection") -> None:
        self._connection = connection

    def run(self, sql: str, **values: Any) -> list[Row]:
        """One statement; what it returns."""
        return _rows(self._connection, sql, values)

    def next_number(self) -> int:
        """A number that nothing else has."""
        return self.run("SELECT nextval('catalog.numbers') AS number")[0]["number"]

    def note_version(self, database_id: str) -> None:
        """Count a change of a database's schema."""
        if not self.run("UPDATE catalog.versions SET minor = minor + 1 WHERE database_id = $id RETURNING minor", id=database_id):
            self.run("INSERT INTO catalog.versions VALUES ($id, 1)", id=database_id)

    def create_table(self, database_id: str, name: str, columns: Sequence[Column]) -> Table:
        """A new, empty table."""
        table = Table(self.next_number(), database_id, name, "", "", tuple(columns))
        self.run("INSERT INTO catalog.tables VALUES ($id, $database, $name, '', '')", id=table.number, database=database_id, name=name)
        stored = ", ".join(f"{quoted(column.name)} {TYPES[column.type].stored}" for column in columns)
        self.run(f"CREATE TABLE {table.stored} ({stored}, {quoted(EXTENT_COLUMN)} BIGINT)")
        self._write_columns(table)
        return table

    def set_columns(self, table: Table, columns: Sequence[Column]) -> Table:
        """Give a table these columns in this order; columns that it has not any more lose their data, new ones are null."""
        before = {column.name: column for column in table.columns}
        after = {column.name for column in columns}
        for column in columns:
            if column.name not in before:
                default = " DEFAULT ''" if column.type == "string" else ""
                self.run(f"ALTER TABLE {table.stored} ADD COLUMN {quoted(column.name)} {TYPES[column.type].stored}{default}")
        for name in before.keys() - after:
            self.run(f"ALTER TABLE {table.stored} DROP COLUMN {quoted(name)}")
        changed = Table(table.number, table.database_id, table.name, table.folder, table.docstring, tuple(columns))
        self._write_columns(changed)
        return changed

    def describe_table(self, table: Table, folder: str | None, docstring: str | None) -> None:
        """Set folder and docstring; None leaves what is there."""
        sql = "UPDATE catalog.tables SET folder = coalesce($folder, folder), docstring = coalesce($docstring, docstring) WHERE id = $id"
        self.run(sql, id=table.number, folder=folder, docstring=docstring)

    def clear_table(self, table: Table) -> None:
        """Take all rows and extents of a table away."""
        self.run(f"DELETE FROM {table.stored}")
        self.run("DELETE FROM catalog.extents WHERE table_id = $id", id=table.number)

    def drop_extents(self, table: Table, numbers: Sequence[int]) -> None:
        """Take the rows of some extents away."""
        self.run(f"DELETE FROM {table.stored} WHERE list_contains($numbers, {quoted(EXTENT_COLUMN)})", numbers=list(numbers))
        self.run("DELETE FROM catalog.extents WHERE list_contains($numbers, number)", numbers=list(numbers))

    def drop_table(self, table: Table) -> None:
        """Take a table away."""
        self.run(f"DROP TABLE {table.stored}")
        for kind in ("extents", "mappings", "columns"):
            self.run(f"DELETE FROM catalog.{kind} WHERE table_id = $id", id=table.number)
        self.run("DELETE FROM catalog.tables WHERE id = $id", id=table.number)

    def _write_columns(self, table: Table) -> None:
        self.run("DELETE FROM catalog.columns WHERE table_id = $id", id=table.number)
        for position, column in enumerate(table.columns):
            values: Row = {"id": table.number, "position": position, "name": column.name, "type": column.type}
            self.run("INSERT INTO catalog.columns VALUES ($id, $position, $name, $type)", **values)
        self.note_version(table.database_id)


def _table(row: Row, columns: Sequence[Row]) -> Table:
    own = tuple(Column(column["name"], column["type"]) for column in columns if column["table_id"] == row["id"])
    return Table(row["id"], row["database_id"], row["name"], row["folder"], row["docstring"], own)


def _rows(connection: "DuckDBPyConnection", sql: str, values: Row) -> list[Row]:
    done = connection.execute(sql, values) if values else connection.execute(sql)
    names = [column[0] for column in done.description or ()]
    return [dict(zip(names, row, strict=True)) for row in done.fetchall()] if names else []
