"""Publication: a finished run's folder is sealed by its metadata, and `current/` is switched to a run by its manifest, each written last.

`lakehouse` is the folder that holds `Files/`: the lakehouse mount, or the sandbox's folder.
"""

import errno
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID

import structlog

from treadle.errors import Conflict, NotFound, TreadleError, UnexpectedAnswer
from treadle.flows.sales.durable_copy import copy_durably
from treadle.flows.sales.files import (
    TEMPORARY_SUFFIX,
    entry_of_open,
    exclusively,
    flush_folder,
    remove_temporaries,
    require_entry,
    temporary_beside,
    write_json,
)
from treadle.flows.sales.lakehouse import CURRENT, DATA_FILES, MANIFEST, RUN_METADATA, current_path, run_path
from treadle.flows.sales.manifest import FileEntry, Manifest, RunRecord, choose_source, parse_manifest, parse_run_record

PUBLISH_WAIT_SECONDS: Final = 120.0  # for another publisher on this machine to end

log = structlog.get_logger()


def write_run_metadata(lakehouse: Path, run_id: UUID, metadata: Mapping[str, Any]) -> RunRecord:
    """Seal the run's folder: from here on it is complete and never changes.

    Raises:
        Conflict: it is sealed already.
    """
    path = lakehouse / run_path(run_id, RUN_METADATA)
    if path.exists():
        raise Conflict(f"Run {run_id} is finished already; its folder is never rewritten.", details={"run_id": str(run_id)})
    write_json(path, metadata)
    return read_run_record(lakehouse, run_id)


def read_run_record(lakehouse: Path, run_id: UUID) -> RunRecord:
    """Read what a run's metadata records.

    Raises:
        NotFound: there is no such run, or it did not finish; the message says which.
        UnexpectedAnswer: the metadata is damaged.
    """
    path = lakehouse / run_path(run_id, RUN_METADATA)
    if path.is_file():
        return parse_run_record(path.read_bytes(), run_id)
    fault = f"has no {RUN_METADATA}: it did not finish" if path.parent.is_dir() else "is not in the lakehouse"
    raise NotFound(
        f"Run {run_id} {fault}.", hint="Choose a run that succeeded: treadle run ls --status SUCCEEDED", details={"run_id": str(run_id)}
    )


def verify_run(lakehouse: Path, run_id: UUID) -> RunRecord:
    """Check every file of a run against its metadata.

    Raises:
        ChecksumMismatch: a file is missing or has other bytes; the message names it.
        NotFound, UnexpectedAnswer: as `read_run_record`.
    """
    record = read_run_record(lakehouse, run_id)

    def verify(entry: FileEntry) -> None:
        require_entry(lakehouse / run_path(run_id, entry.name), entry)

    with ThreadPoolExecutor(2, "verify") as threads:
        list(threads.map(verify, record.files))
    return record


def publish_current(
    lakehouse: Path, source: RunRecord, *, published_by: UUID, now: datetime, copies: Mapping[str, Path] | None = None
) -> Manifest:
    """Make `current/` the files of the run `source`. Safe to repeat, and to be killed at any moment.

    All files are copied and verified beside the old ones first, then renamed over them, and the manifest is replaced last. Until then readers, who go
    by the manifest, get the old run; afterwards the new one.

    now: UTC, when the manifest says it was published.
    copies: by name, those of the run's files of which there is a copy, on disk and verified: it is used up.

    Raises:
        ChecksumMismatch: a file of the run is not what its metadata records; `current/` is untouched.
        Conflict: another process on this machine has been publishing for PUBLISH_WAIT_SECONDS.
    """
    current = lakehouse / CURRENT
    current.mkdir(parents=True, exist_ok=True)
    with exclusively(current, wait_seconds=PUBLISH_WAIT_SECONDS):
        remove_temporaries(current)
        manifest = Manifest(source.run_id, published_by, now, _next_sequence(lakehouse), source.files)
        made = _copy_all(lakehouse / run_path(source.run_id), current, source.files, copies or {})
        for name, copy in made.items():
            copy.replace(current / name)
        flush_folder(current)
        write_json(current / MANIFEST, manifest.as_json())
    log.info("current.published", run_id=str(source.run_id), published_by_run=str(published_by), sequence=manifest.sequence)
    return manifest


def read_manifest(lakehouse: Path) -> Manifest | None:
    """Read which run is current; None when nothing was ever published. Raises UnexpectedAnswer when the manifest is damaged."""
    try:
        return parse_manifest((lakehouse / current_path(MANIFEST)).read_bytes())
    except FileNotFoundError:
        return None


def open_current(lakehouse: Path, manifest: Manifest, name: str) -> BinaryIO:
    """Open a file of the current result, verified, at its beginning; the caller closes it.

    Read several files with one manifest, and they are of one run, whatever is published meanwhile: the bytes checked are those of the open file.

    Raises:
        ChecksumMismatch: neither `current/` nor the run's own folder has the file that the manifest lists.
        NotFound: the manifest lists no such file.
    """
    entry = manifest.entry(name)
    seen = _open_if_there(lakehouse / current_path(name))
    if seen:
        facts = entry_of_open(name, seen)
        if choose_source(manifest, name, facts.size_bytes, facts.sha256) == current_path(name):
            seen.seek(0)
            return seen
        seen.close()
    path = lakehouse / run_path(manifest.run_id, name)
    require_entry(path, entry)
    return path.open("rb")


def read_current(lakehouse: Path, name: str) -> bytes:
    """Read one file of the current result, verified. For several files of one run, use `read_manifest` and `open_current`.

    Raises:
        NotFound: nothing is published.
        ChecksumMismatch: as `open_current`.
    """
    manifest = read_manifest(lakehouse)
    if manifest is None:
        raise NotFound("Nothing is published yet.", hint="Run a workbook: treadle run start FILE")
    with open_current(lakehouse, manifest, name) as file:
        return file.read()


def repair_current(lakehouse: Path) -> bool:
    """Make the copies in `current/` agree with the manifest again, after a publisher was killed half-way. Returns whether any did not.

    Readers by manifest never need this; whoever reads the copies directly does. Costs next to nothing when nobody was killed.
    """
    current = lakehouse / CURRENT
    if not _looks_torn(current):
        return False
    with exclusively(current, wait_seconds=PUBLISH_WAIT_SECONDS):
        remove_temporaries(current)
        manifest = read_manifest(lakehouse)
        torn = tuple(entry for entry in manifest.files if not _agrees(current / entry.name, entry)) if manifest else ()
        if manifest and torn:
            for name, copy in _copy_all(lakehouse / run_path(manifest.run_id), current, torn, {}).items():
                copy.replace(current / name)
            write_json(current / MANIFEST, manifest.as_json())  # the same again: it must be the youngest file
            log.warning("current.repaired", run_id=str(manifest.run_id), files=[entry.name for entry in torn])
    return bool(torn)


def _looks_torn(current: Path) -> bool:
    """Whether a publication began after the last one that ended: a temporary file is left, a file is younger than the manifest, or one is gone."""
    if not (current / MANIFEST).is_file():
        return False
    finished = (current / MANIFEST).stat().st_mtime_ns
    if not all((current / name).is_file() for name in DATA_FILES):
        return True
    return any(file.name.endswith(TEMPORARY_SUFFIX) or file.stat().st_mtime_ns > finished for file in current.iterdir())


def _next_sequence(lakehouse: Path) -> int:
    try:
        previous = read_manifest(lakehouse)
    except UnexpectedAnswer as error:
        log.warning("manifest.damaged", error=error.message)  # publishing is what mends it
        previous = None
    return previous.sequence + 1 if previous else 1


def _copy_all(source: Path, target: Path, entries: tuple[FileEntry, ...], there: Mapping[str, Path]) -> dict[str, Path]:
    """Copy the files under temporary names and verify the copies; all or none. there: copies that were verified before. Returns name → copy."""
    copies = {entry.name: temporary_beside(target / entry.name) for entry in entries}

    def copy_one(entry: FileEntry) -> None:
        if entry.name not in there or not _moved(there[entry.name], copies[entry.name]):
            _copy(source, copies[entry.name], entry)

    try:
        with ThreadPoolExecutor(2, "publish") as threads:
            list(threads.map(copy_one, entries))
    except BaseException:
        for copy in copies.values():
            copy.unlink(missing_ok=True)
        raise
    return copies


def _copy(source: Path, copy: Path, entry: FileEntry) -> None:
    original = source / entry.name
    if not original.is_file():
        require_entry(original, entry)
    if copy_durably(original, copy) != entry:
        require_entry(original, entry)  # the usual culprit, and then the one to name
        require_entry(copy, entry)


def _moved(path: Path, target: Path) -> bool:
    """Whether it could be moved; to another file system it cannot."""
    try:
        path.replace(target)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.ENOTSUP, errno.ENOSYS}:
            raise
        return False
    return True


def _agrees(path: Path, entry: FileEntry) -> bool:
    try:
        require_entry(path, entry)
    except TreadleError:
        return False
    return True


def _open_if_there(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None
