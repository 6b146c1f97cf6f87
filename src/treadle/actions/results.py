"""What runs have published: which run is current, whether its files are those that were written, and what is in them.

Right `runs:read` for all of it, as for a run's files over HTTP. A large file is never read into memory: what would have to be is refused.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Final, Literal, cast
from uuid import UUID

import polars as pl

from treadle.actions.services import Services
from treadle.clients.onelake import OneLakeClient
from treadle.control import runs as stored
from treadle.control.access import Principal, Right, require
from treadle.errors import ChecksumMismatch, Conflict, InvalidInput, NotFound, UnexpectedAnswer
from treadle.flows.sales.artifacts import PARQUET
from treadle.flows.sales.lakehouse import CURRENT, KPIS, MANIFEST, PROFILE, RUN_METADATA, run_path
from treadle.flows.sales.manifest import MAX_RECORD_BYTES, FileEntry, parse_run_record, require_restorable
from treadle.flows.sales.published import read_published_manifest

DOWNLOAD_BYTES: Final = 200 * 1024**2  # a larger file goes from the lake to whoever asks the API for it, not through a page
PREVIEW_BYTES: Final = 32 * 1024**2  # of a Parquet file, which is some ten times as much in memory
PREVIEW_ROWS: Final = 100
_LOOKS: Final = 3  # at a folder that a publisher may be replacing
_SPOOL_BYTES: Final = 8 * 1024**2  # larger files go to disk while they are checked

State = Literal["there", "missing", "differs"]


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A file as its record lists it, and as the lake has it now. sha256 is None for the record itself, which lists all but itself."""

    name: str
    size_bytes: int
    sha256: str | None
    seen_bytes: int | None  # None: it is not there

    @property
    def state(self) -> State:
        """What a look at the folder tells; other bytes of the same number are found only by reading them."""
        if self.seen_bytes is None:
            return "missing"
        return "there" if self.seen_bytes == self.size_bytes else "differs"


@dataclass(frozen=True, slots=True)
class Source:
    """Where results are read, and by which record they are known. published_…: None for a run's own folder."""

    run_id: UUID
    folder: str
    record: str  # manifest.json, or run_metadata.json
    files: tuple[ResultFile, ...]
    published_at: datetime | None = None
    published_by_run: UUID | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every file is there with the size that was recorded for it."""
        return all(file.state == "there" for file in self.files)

    @property
    def is_current(self) -> bool:
        """Whether this is what is published."""
        return self.published_at is not None

    def file(self, name: str) -> ResultFile:
        """The named file. Raises NotFound."""
        for file in self.files:
            if file.name == name:
                return file
        raise NotFound(f"{self.record} lists no file {name!a}.", hint=f"It lists: {', '.join(file.name for file in self.files)}.")


def published(services: Services, who: Principal) -> Source:
    """What is current, by `current/manifest.json`. Reads the manifest and lists the folder, no more.

    Raises:
        NotFound: nothing was ever published. And what the lake raises.
    """
    require(who, Right.RUNS_READ)
    lake = services.sales.lake
    source = _published(lake)
    for _ in range(_LOOKS - 1):
        if source.is_whole:
            break
        source = _published(lake)  # a publisher may have been between the files and the manifest
    return source


def of_run(services: Services, who: Principal, run_id: UUID) -> Source:
    """A run's own folder, by its `run_metadata.json`.

    Raises:
        NotFound: the run left nothing. Conflict: it is a restore, which has no files of its own. And what the lake raises.
    """
    require(who, Right.RUNS_READ)
    lake = services.sales.lake
    try:
        record = parse_run_record(lake.read_bytes(run_path(run_id, RUN_METADATA), max_bytes=MAX_RECORD_BYTES), run_id)
    except NotFound as error:
        raise NotFound(
            f"Run {run_id} has left no results in the lake.",
            hint="Only a run that succeeded has some; look for another one in the archive.",
            details={"run_id": str(run_id)},
        ) from error
    require_restorable(record)
    return Source(run_id, run_path(run_id), RUN_METADATA, _files(lake, run_path(run_id), record.files, RUN_METADATA))


def kpis(services: Services, who: Principal, run_id: UUID) -> Mapping[str, Any]:
    """The figures of a run: from the database, else from its `kpis.json` in the lake.

    Raises:
        NotFound: neither has any. ChecksumMismatch: the file is damaged.
    """
    require(who, Right.RUNS_READ)
    try:
        known = stored.get_run(services.database, run_id).kpis
    except NotFound:
        known = None  # published by another installation, or before this database began
    return known or _object(read(services, who, of_run(services, who, run_id), KPIS), KPIS)


def preview(services: Services, who: Principal, source: Source, rows: int = PREVIEW_ROWS) -> pl.DataFrame:
    """The first rows of the cleaned table.

    Raises:
        InvalidInput: the file is larger than PREVIEW_BYTES. ChecksumMismatch: it is damaged.
    """
    require(who, Right.RUNS_READ)
    size = source.file(PARQUET).size_bytes
    if size > PREVIEW_BYTES:
        raise InvalidInput(
            f"{PARQUET} has {size:,} bytes, more than the {PREVIEW_BYTES:,} that are opened here.", hint="Download it to look into it."
        )
    with open_file(services, who, source, PARQUET) as file:
        return pl.read_parquet(file, n_rows=rows)


def missing_values(services: Services, who: Principal, source: Source) -> dict[str, int]:
    """How many rows lack a value, by column of the cleaned table; a column that the profile does not count is left out."""
    schema = _object(read(services, who, source, PROFILE), PROFILE).get("schema")
    columns = cast("list[Any]", schema) if isinstance(schema, list) else []
    counted = [cast("dict[str, Any]", column) for column in columns if isinstance(column, dict)]
    return {str(column["column"]): column["null_count"] for column in counted if isinstance(column.get("null_count"), int)}


def read(services: Services, who: Principal, source: Source, name: str) -> bytes:
    """A small file whole, as `open_file`. Raises InvalidInput also above MAX_RECORD_BYTES."""
    require(who, Right.RUNS_READ)
    if source.file(name).size_bytes > MAX_RECORD_BYTES:
        raise _too_large(source, name)
    with open_file(services, who, source, name) as file:
        return file.read()


def open_file(services: Services, who: Principal, source: Source, name: str) -> BinaryIO:
    """A copy that was checked by size and SHA-256, at its beginning, on disk when it is large; the caller closes it.

    A file that is damaged in `current/`, or replaced there meanwhile, is taken from the run's own folder.

    Raises:
        InvalidInput: it is larger than DOWNLOAD_BYTES. ChecksumMismatch: it is nowhere as it was written.
    """
    require(who, Right.RUNS_READ)
    entry = source.file(name)
    if entry.size_bytes > DOWNLOAD_BYTES:
        raise _too_large(source, name)
    for path in dict.fromkeys((f"{source.folder}/{name}", run_path(source.run_id, name))):
        if copy := _checked_copy(services.sales.lake, path, entry):
            return copy
    raise _damaged(source, [name])


def verify(services: Services, who: Principal, source: Source) -> int:
    """Check every listed file where it lies by size and SHA-256, and return how many bytes that were.

    Raises:
        InvalidInput: one is larger than DOWNLOAD_BYTES. ChecksumMismatch: names those that are not as they were written.
    """
    require(who, Right.RUNS_READ)
    listed = [file for file in source.files if file.sha256]
    damaged = [file.name for file in listed if not _is_intact(services.sales.lake, source, file)]
    if damaged:
        raise _damaged(source, damaged)
    return sum(file.size_bytes for file in listed)


def api_path(source: Source, name: str) -> str:
    """Where the API gives a file of the run, of any size."""
    return f"/api/runs/{source.run_id}/artifacts/{name}"


def _published(lake: OneLakeClient) -> Source:
    manifest = read_published_manifest(lake)
    files = _files(lake, CURRENT, manifest.files, MANIFEST)
    return Source(manifest.run_id, CURRENT, MANIFEST, files, manifest.published_at, manifest.published_by_run)


def _files(lake: OneLakeClient, folder: str, entries: tuple[FileEntry, ...], record: str) -> tuple[ResultFile, ...]:
    seen = {file.name: file.size_bytes for file in lake.list_files(folder)}
    listed = tuple(ResultFile(entry.name, entry.size_bytes, entry.sha256, seen.get(entry.name)) for entry in entries)
    return (*listed, ResultFile(record, seen.get(record, 0), None, seen.get(record)))


def _checked_copy(lake: OneLakeClient, path: str, entry: ResultFile) -> BinaryIO | None:
    """None: the lake has no such file, or one of other bytes, or it is being replaced."""
    try:
        if entry.sha256 and lake.stat(path).size_bytes != entry.size_bytes:
            return None  # known before anything is downloaded
        copy = cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES))  # noqa: SIM115 - the caller closes it
        try:
            lake.download(path, copy)
            copy.seek(0)
            digest = hashlib.file_digest(cast("Any", copy), "sha256").hexdigest()
            copy.seek(0)
        except BaseException:
            copy.close()
            raise
    except (NotFound, Conflict):
        return None
    if entry.sha256 in (None, digest):
        return copy
    copy.close()
    return None


def _is_intact(lake: OneLakeClient, source: Source, file: ResultFile) -> bool:
    if file.size_bytes > DOWNLOAD_BYTES:
        raise _too_large(source, file.name)
    copy = _checked_copy(lake, f"{source.folder}/{file.name}", file)
    if copy:
        copy.close()
    return copy is not None


def _damaged(source: Source, names: list[str]) -> ChecksumMismatch:
    many = len(names) > 1
    return ChecksumMismatch(
        f"{' and '.join(names)} in {source.folder} {'are' if many else 'is'} not what {source.record} lists: missing or damaged.",
        hint="Restore this run or another one, or run the workbook again.",
        details={"files": names, "run_id": str(source.run_id), "folder": source.folder},
    )


def _too_large(source: Source, name: str) -> InvalidInput:
    return InvalidInput(
        f"{name} has {source.file(name).size_bytes:,} bytes, too many to go through this page.",
        hint=f"Get it from the API: {api_path(source, name)}",
        details={"file": name, "size_bytes": source.file(name).size_bytes},
    )


def _object(content: bytes, name: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(content)
    except ValueError as error:
        raise UnexpectedAnswer(f"{name} cannot be read: {error}.", hint="Run the workbook again.") from error
    if not isinstance(parsed, dict):
        raise UnexpectedAnswer(f"{name} is not a JSON object.", hint="Run the workbook again.")
    return cast("dict[str, Any]", parsed)
