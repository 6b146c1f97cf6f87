"""Where the Delta tables of a graph model lie on this machine.

A path names workspace and lakehouse by id or by name, on whatever host: real definitions have onelake.dfs.fabric.microsoft.com as well as
onelake.pbidedicated.windows.net.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from treadle.sandbox.fabric import items
from treadle.sandbox.fabric.refusals import Refused, invalid
from treadle.sandbox.fabric.workshop import Workshop

_PATH: Final = re.compile(r"abfss?://(?P<workspace>[^/@]+)@[^/]+/(?P<item>[^/]+)/(?P<table>Tables(?:/[^/]+){1,2})/?")


def table_folders(shop: Workshop, sources: Mapping[str, str]) -> dict[str, Path]:
    """The folder of each source, by its name. Raises Refused (ModelValidationError) with every source that leads to no Delta table."""
    found = {name: _folder(shop, path) for name, path in sources.items()}
    missing = [
        f"Failed to fetch schema for data source '{name}'. Cannot resolve OneLake table reference for path '{sources[name]}'."
        for name, folder in found.items()
        if folder is None
    ]
    if missing:
        raise schema_fetch_failed(" ".join(missing))
    return {name: folder for name, folder in found.items() if folder is not None}


def schema_fetch_failed(words: str) -> Refused:
    """What a definition or a refresh is refused with when a table is not there."""
    return invalid(f"[DataSourceSchemaFetchFailed] {words}", "ModelValidationError")


def _folder(shop: Workshop, path: str) -> Path | None:
    match = _PATH.fullmatch(unquote(path))
    row = None if match is None else items.resolve(shop.records, match["workspace"], match["item"])
    if match is None or row is None or row["type"] != "Lakehouse":
        return None
    root = shop.lake.path_of(row["workspace_id"], row["id"]).resolve()
    folder = (root / match["table"]).resolve()
    return folder if folder.is_relative_to(root / "Tables") and (folder / "_delta_log").is_dir() else None
