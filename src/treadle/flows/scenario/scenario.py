"""A scenario that was checked and can be built."""

from dataclasses import dataclass
from pathlib import Path

from treadle.flows.scenario.column_types import Column
from treadle.flows.scenario.schema import GraphSchema, Manifest


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file, and the table that it becomes. path: its bytes on this machine, while the scratch folder lasts. columns: in the file's order."""

    name: str
    csv_file: str
    path: Path
    sha256: str
    size_bytes: int
    rows: int
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """The column of that name, which is there: the schema was checked."""
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True, slots=True)
class Scenario:
    """schema: None for an archive that has telemetry only. tables: those of the graph, then those of the telemetry."""

    manifest: Manifest
    schema: GraphSchema | None
    tables: tuple[Table, ...]

    def table(self, csv_file: str) -> Table:
        """The table that a file of the schema becomes."""
        return next(table for table in self.tables if table.csv_file == csv_file)
