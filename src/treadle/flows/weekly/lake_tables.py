"""Delta tables in the lake that grow by whole batches, each of which arrives once, whoever is killed on the way.

The table's log is fetched to this machine, the batch is appended here, and what is new goes to the lake: data files first, then the commit,
which the lake takes only if nobody else has made that one (https://github.com/delta-io/delta/blob/master/PROTOCOL.md, Writer Version Requirements).
So the lake's own client is all that is needed, with its sign-in, certificates and retries.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import polars as pl
import structlog
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from treadle.clients.onelake import LakeClient
from treadle.errors import Conflict, NotFound

_LOG: Final = "_delta_log"
_TRIES: Final = 8
_VERSION: Final = 1  # of a batch, whose name is its application id: there is only one

log = structlog.get_logger()


def append_once(lake: LakeClient, table: str, batch_id: str, rows: pl.DataFrame) -> bool:
    """Append rows to a table, made if it is not there, unless this batch was appended before. False: it was. Safe to repeat.

    table: its folder in the lake, such as Tables/weekly_sync_log.

    Raises:
        Conflict: others kept committing to the table. And what the lake's client raises.
    """
    for _ in range(_TRIES):
        try:
            return _append(lake, table, batch_id, rows)
        except Conflict:
            log.info("lake_table.other_commit_first", table=table)
    raise Conflict(f"{table} was written by others all the time, so the rows of {batch_id} are not in it.", hint="Repeat the command.")


def _append(lake: LakeClient, table: str, batch_id: str, rows: pl.DataFrame) -> bool:
    with tempfile.TemporaryDirectory(prefix="treadle-delta-") as folder:
        here = Path(folder)
        fetched = set(_fetch_log(lake, table, here))
        if fetched and DeltaTable(str(here)).transaction_version(batch_id) is not None:
            return False
        write_deltalake(
            str(here), _plain(rows), mode="append", commit_properties=CommitProperties(app_transactions=[Transaction(batch_id, _VERSION)])
        )
        _send_new(lake, table, here, fetched)
    return True


def _plain(rows: pl.DataFrame) -> Any:
    """Arrow of the kinds that Delta knows."""
    return cast("Any", rows).to_arrow(compat_level=pl.CompatLevel.oldest())


def _fetch_log(lake: LakeClient, table: str, folder: Path) -> Iterator[str]:
    """Bring the table's log here; the names of its files, none where there is no table."""
    for file in lake.list_files(f"{table}/{_LOG}"):
        target = folder / _LOG / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as content:
            lake.download(file.path, content)
        yield file.name


def _send_new(lake: LakeClient, table: str, folder: Path, fetched: set[str]) -> None:
    """Data files, whose names are their own; then the commit, which counts; then what only makes reading quicker."""
    data = [path for path in sorted(folder.rglob("*.parquet")) if _LOG not in path.parts]
    logs = [path for path in sorted((folder / _LOG).iterdir()) if path.is_file() and path.name not in fetched]
    commits = [path for path in logs if path.suffix == ".json"]
    for path in data:
        _send(lake, f"{table}/{path.relative_to(folder)}", path, overwrite=True)
    try:
        for path in commits:
            _send(lake, f"{table}/{_LOG}/{path.name}", path, overwrite=False)
    except Conflict:
        _remove(lake, [f"{table}/{path.relative_to(folder)}" for path in data])
        raise
    for path in logs:
        if path not in commits:
            _send(lake, f"{table}/{_LOG}/{path.name}", path, overwrite=True)


def _send(lake: LakeClient, path: str, file: Path, *, overwrite: bool) -> None:
    with file.open("rb") as content:
        lake.upload(path, content, overwrite=overwrite)


def _remove(lake: LakeClient, paths: list[str]) -> None:
    """Files that no commit names."""
    for path in paths:
        try:
            lake.delete(path)
        except NotFound:
            continue
