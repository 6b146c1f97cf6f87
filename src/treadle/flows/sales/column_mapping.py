"""How the columns of one workbook are to be read: stored beside it as `<file name>.mapping.json`.

Pure: the notebook's child process reads it too, and must not load a cloud client for that.

`{"columns": {"Sales": "revenue"}, "sheet": "Orders"}`, or the bare `{"Sales": "revenue"}`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from treadle.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Source column → wanted name, and the sheet to read."""

    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    sheet: str | None = None  # None: the first visible sheet with rows

    def to_json(self) -> bytes:
        """The content of the mapping file."""
        stored: dict[str, Any] = {"columns": dict(self.columns)} | ({"sheet": self.sheet} if self.sheet else {})
        return json.dumps(stored, ensure_ascii=False, indent=2).encode()


def parse_mapping_file(content: bytes, name: str) -> ColumnMapping:
    """Read a mapping file; `name` is for the message.

    Raises:
        InvalidInput: it is not JSON of one of the two forms.
    """
    try:
        stored = json.loads(content)
    except ValueError as error:
        raise InvalidInput(
            f"{name} is not valid JSON: {error}.", hint="Correct it, or replace it by starting the run with --map."
        ) from error
    if not isinstance(stored, dict):
        raise InvalidInput(f"{name} is not a JSON object.", hint='It holds, for example: {"columns": {"Sales": "revenue"}}')
    members = cast("dict[str, Any]", stored)
    columns = members.get("columns") if "columns" in members and not isinstance(members["columns"], str) else members
    sheet = members.get("sheet") if columns is not members else None
    if not isinstance(columns, dict) or not all(
        isinstance(value, str) and value.strip() for value in cast("dict[str, Any]", columns).values()
    ):
        raise InvalidInput(
            f"{name} does not map column names to column names.", hint='It holds, for example: {"columns": {"Sales": "revenue"}}'
        )
    if sheet is not None and not isinstance(sheet, str):
        raise InvalidInput(f"{name} names a sheet that is not text.", hint="Give the sheet's name in quotes.")
    return ColumnMapping(cast("dict[str, str]", columns), sheet)
