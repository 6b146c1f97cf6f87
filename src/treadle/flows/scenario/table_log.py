"""What the log of a Delta table tells without being read: whether it is the table that was loaded, and whether anybody has written to it since.

Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md (Delta Log Entries: one file for each version, never changed)
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from treadle.clients.lake_requests import LakeFile
from treadle.clients.onelake import LakeClient

_ENTRY: Final = re.compile(r"\d{20}\.json")
_FIRST: Final = f"{0:020}.json"
_READ_MOST: Final = 20  # newer entries; of a table with more, somebody makes use
_READ_BYTES: Final = 1024**2


@dataclass(frozen=True, slots=True)
class TableLog:
    """entries: one for each version that the log still has, oldest first; never none."""

    entries: tuple[LakeFile, ...]

    @property
    def first(self) -> LakeFile | None:
        """The entry that began the table, which an overwrite keeps; None: it was cut off."""
        return self.entries[0] if self.entries[0].name == _FIRST else None

    @property
    def first_entry(self) -> str | None:
        """What tells this table from one that is made anew under its name."""
        return self.first.etag if self.first else None

    @property
    def last_entry(self) -> str:
        """What tells this content from any later one."""
        return _told(self.entries[-1])


def _told(entry: LakeFile) -> str:
    return f"{entry.name} {entry.etag}"


def read_log(lake: LakeClient, table: str) -> TableLog | None:
    """The log of a table of the lakehouse; None: there is no such table. Any failure to find out is raised."""
    entries = [file for file in lake.list_files(f"Tables/{table}/_delta_log") if _ENTRY.fullmatch(file.name)]
    return TableLog(tuple(entries)) if entries else None


def is_written_since(lake: LakeClient, log: TableLog, last_entry: str | None) -> bool:
    """Whether rows or columns have changed since an entry was the last. last_entry: as the log told it; None: not known, so that nobody can say.

    What keeps a table in order – OPTIMIZE, VACUUM – writes entries, too, and changes nothing.
    """
    if last_entry in {None, log.last_entry}:
        return False
    newer = [entry for entry in log.entries if _told(entry) > str(last_entry)]
    return len(newer) == len(log.entries) or len(newer) > _READ_MOST or any(_changes(lake, entry) for entry in newer)


def _changes(lake: LakeClient, entry: LakeFile) -> bool:
    if entry.size_bytes > _READ_BYTES:
        return True
    actions: list[dict[str, Any]] = [json.loads(line) for line in lake.read_bytes(entry.path, max_bytes=_READ_BYTES).splitlines() if line]
    return any("metaData" in action or _is_of_data(action) for action in actions)


def _is_of_data(action: Mapping[str, Any]) -> bool:
    return any(bool(action[kind].get("dataChange")) for kind in ("add", "remove", "cdc") if kind in action)
