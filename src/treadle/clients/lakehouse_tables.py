"""The tables of a lakehouse: list them, and load one from a file of its own.

Source: https://learn.microsoft.com/rest/api/fabric/lakehouse/tables
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from treadle.clients.answers import Exchange
from treadle.clients.fabric_calls import FabricCalls, item_path
from treadle.clients.fabric_records import ItemId, Reader, WorkspaceId
from treadle.clients.lake_path import lake_path
from treadle.clients.operations import WAIT_SECONDS
from treadle.errors import InvalidInput

Format = Literal["Parquet", "Csv"]
Mode = Literal["Overwrite", "Append"]

_TABLE: Final = re.compile(r"(?=[0-9]*[a-zA-Z_])[a-zA-Z0-9_]{1,256}")


@dataclass(frozen=True, slots=True)
class LakehouseTable:
    """A table as the lakehouse lists it. location: abfss://…/Tables/<name>. format: Delta, unless somebody has put something else there."""

    name: str
    location: str
    format: str


class LakehouseTables(FabricCalls):
    """The part of Fabric's client that is about tables."""

    def list_tables(self, workspace: WorkspaceId, lakehouse: ItemId) -> list[LakehouseTable]:
        """List Tables: all of a lakehouse without schemas; raises InvalidInput for one that has them."""
        path = f"{item_path(workspace, lakehouse, 'lakehouses')}/tables"
        answered = self.transport.pages(path, what=f"list the tables of lakehouse {lakehouse}")
        return [_read_table(answer.exchange, entry) for answer, entry in answered]

    def load_table(  # noqa: PLR0913 - which table, from what, how
        self,
        workspace: WorkspaceId,
        lakehouse: ItemId,
        table: str,
        *,
        path: str,
        format: Format = "Parquet",  # noqa: A002 - Fabric's own word
        mode: Mode = "Overwrite",
        deadline_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Load Table, and wait until it is done. path: of a file in the same lakehouse, below `Files/`; a CSV has a header and commas.

        Safe to repeat with Overwrite: the table then has what the file has. With Append it is not.

        Raises:
            OperationFailed: Fabric could not read the file, or not write the table.
            OutcomeUnknown: of Append alone; the rows may be there.
            InvalidInput: the table's name or the path cannot be used; nothing was sent.
        """
        body = {
            "relativePath": _checked_file(path),
            "pathType": "File",
            "mode": mode,
            "formatOptions": {"format": "Csv", "header": True, "delimiter": ","} if format == "Csv" else {"format": format},
        }
        answer = self.transport.request(
            "POST",
            f"{item_path(workspace, lakehouse, 'lakehouses')}/tables/{checked_table(table)}/load",
            what=f"load table {table} from {path}",
            json=body,
            safety="safe" if mode == "Overwrite" else "unsafe",
            wants_json=False,
        )
        self._finished(answer, deadline_seconds)


def checked_table(name: str) -> str:
    """Return a table's name if a lakehouse takes it; it becomes a segment of a path. Raises InvalidInput. Source: Load Table."""
    if not _TABLE.fullmatch(name):
        raise InvalidInput(
            f"{name[:80]!a} cannot be a table of a lakehouse.",
            hint="A name has letters of A to Z, digits and underscores, up to 256 of them, and not digits alone.",
            details={"table": name[:80]},
        )
    return name


def _checked_file(path: str) -> str:
    checked = lake_path(path)
    if not checked.startswith("Files/"):
        raise InvalidInput(f"{path!a} is no file that a table can be loaded from.", hint="Name one below Files/.")
    return checked


def _read_table(exchange: Exchange, source: Mapping[str, Any]) -> LakehouseTable:
    reader = Reader(exchange, source, "table")
    return LakehouseTable(reader.text("name"), reader.text("location"), reader.text_or("format"))
