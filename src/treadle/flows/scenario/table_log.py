"""What the log of a Delta table tells without being read: whether it is the table that was loaded, and whether anybody has written to it since.

Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md (Delta Log Entries: one file for each version, never changed)
"""

import re
from dataclasses import dataclass
from typing import Final

from treadle.clients.lake_requests import LakeFile
from treadle.clients.onelake import LakeClient

_ENTRY: Final = re.compile(r"\d{20}\.json")
_FIRST: Final = f"{0:020}.json"


@dataclass(frozen=True, slots=True)
class TableLog:
    """first: the entry that began the table, which an overwrite keeps; None: it was cut off. last: the newest, which every write replaces."""

    first: LakeFile | None
    last: LakeFile

    @property
    def first_entry(self) -> str | None:
        """What tells this table from one that is made anew under its name."""
        return self.first.etag if self.first else None

    @property
    def last_entry(self) -> str:
        """What tells this content from any later one."""
        return f"{self.last.name} {self.last.etag}"


def read_log(lake: LakeClient, table: str) -> TableLog | None:
    """The log of a table of the lakehouse; None: there is no such table. Any failure to find out is raised."""
    entries = [file for file in lake.list_files(f"Tables/{table}/_delta_log") if _ENTRY.fullmatch(file.name)]
    return TableLog(next((file for file in entries if file.name == _FIRST), None), entries[-1]) if entries else None
