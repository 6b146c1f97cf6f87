"""The optional files beside a workbook in `Files/import/`: its column mapping, and the visitors that its funnel needs."""

import json
from pathlib import Path
from typing import Final

from treadle.errors import InvalidInput, TreadleError
from treadle.flows.sales.column_mapping import ColumnMapping, parse_mapping_file
from treadle.flows.sales.files import require_inside
from treadle.flows.sales.funnel import FunnelSource, parse_funnel
from treadle.flows.sales.lakehouse import funnel_path, mapping_path
from treadle.flows.sales.table import Finding

_MAX_BYTES: Final = 1024 * 1024


def read_mapping(lakehouse: Path, input_file: str) -> ColumnMapping:
    """The column mapping stored beside the workbook; an empty one when there is none.

    Raises:
        InvalidInput: it cannot be read. Without it the wrong columns would be summed, so the run must not go on.
    """
    content = _read(lakehouse, lakehouse / mapping_path(input_file))
    return ColumnMapping() if content is None else parse_mapping_file(content, Path(mapping_path(input_file)).name)


def read_funnel(lakehouse: Path, input_file: str) -> tuple[FunnelSource | None, list[Finding]]:
    """The visitors stored beside the workbook; None when there are none, and a warning when the file cannot be read."""
    path = lakehouse / funnel_path(input_file)
    try:
        content = _read(lakehouse, path)
        return (None if content is None else parse_funnel(json.loads(content))), []
    except (TreadleError, ValueError) as error:
        return None, [Finding("funnel", passed=False, detail=f"{path.name} was not used: {error}", severity="warning")]


def _read(lakehouse: Path, path: Path) -> bytes | None:
    if not path.is_file():
        return None
    if path.stat().st_size > _MAX_BYTES:
        raise InvalidInput(f"{path.name} is larger than 1 MB.", hint="It holds a few column names or numbers, nothing more.")
    return require_inside(lakehouse, path).read_bytes()
