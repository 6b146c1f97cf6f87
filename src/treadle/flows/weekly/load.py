"""Stage LOAD: a week's events and rejects, published on this machine and in the lake, each verified by length and SHA-256.

What is there already with the same bytes is left alone; whether it is, is looked up, not believed. A file is replaced by one rename, so a
reader finds the older week or the newer one, never a part; and the rejects come before the events, by which a week is known to be there.
"""

import hashlib
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from treadle.clients.onelake import LakeClient, LakeFile
from treadle.errors import ChecksumMismatch, Conflict, NotFound, Unavailable
from treadle.flows.weekly.record import Stage
from treadle.flows.weekly.services import Check, LakePlaces, Progress, Report, WeeklyServices, nobody_listens, nobody_objects
from treadle.flows.weekly.week import Week

log = structlog.get_logger()
_BLOCK_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class WeekFile:
    """A file that TRANSFORM made."""

    path: Path
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """Where a file is now. lake_path: None when it stayed on this machine; etag: of the very version that was verified there."""

    local_path: Path
    lake_path: str | None
    size_bytes: int
    sha256: str
    etag: str | None
    uploaded: bool  # False: the lake had it already, or was not asked


@dataclass(frozen=True, slots=True)
class Loaded:
    """A week's two files."""

    events: LoadedFile
    rejects: LoadedFile

    @property
    def uploads(self) -> int:
        """How many of them were sent to the lake."""
        return self.events.uploaded + self.rejects.uploaded


def load_week(  # noqa: PLR0913 - what, where to, what is known, and who listens: each named
    services: WeeklyServices,
    week: Week,
    events: WeekFile,
    rejects: WeekFile,
    *,
    known: Loaded | None = None,
    local_only: bool = False,
    report: Report = nobody_listens,
    check: Check = nobody_objects,
) -> Loaded:
    """Publish both files, where they are missing or other. Safe to repeat, also after a kill at any point.

    known: what an earlier load of this machine verified, so that an unchanged file of the lake need not be read again. local_only: leave the
    lake alone.

    Raises:
        ChecksumMismatch: a file is not what TRANSFORM made, or the lake has not kept what was sent.
        Unavailable: the disk takes nothing. And what the lake's client raises.
    """
    total = rejects.size_bytes + events.size_bytes
    places = None if local_only else services.places

    def load(file: WeekFile, local: Path, lake_path: str, before: LoadedFile | None, begun: int) -> LoadedFile:
        publish(file, local, check)
        if places is None:
            return LoadedFile(local, None, file.size_bytes, file.sha256, None, uploaded=False)

        def sent(done: int, _all: int) -> None:
            check()
            report(Progress(Stage.LOAD, begun + done, total, "bytes"))

        return _in_lake(places, file, local, lake_path, before, sent)

    paths = services.places
    loaded_rejects = load(rejects, services.local_rejects(week), paths.rejects_path(week), known and known.rejects, 0)
    loaded_events = load(events, services.local_events(week), paths.events_path(week), known and known.events, rejects.size_bytes)
    report(Progress(Stage.LOAD, total, total, "bytes"))
    return Loaded(loaded_events, loaded_rejects)


def publish(file: WeekFile, target: Path, check: Check = nobody_objects) -> bool:
    """Copy a file to its place on this machine unless the same bytes are there. False: they were."""
    if _is(target, file):
        return False
    with _written_whole(target) as temporary, temporary.open("wb") as out:
        digest, size = hashlib.sha256(), 0
        for block in _blocks(file.path):
            check()
            digest.update(block)
            size += len(block)
            out.write(block)
        _require_same(file, file.path, size, digest.hexdigest())
        out.flush()
        os.fsync(out.fileno())
    return True


def has_same(lake: LakeClient, path: str, file: WeekFile, known: LoadedFile | None = None) -> LakeFile | None:
    """The file in the lake, if it has these bytes. None: it is missing or another.

    known: where its entity tag is still that of the version that was verified, the bytes need not be read again.
    """
    try:
        there = lake.stat(path)
    except NotFound:
        return None
    if there.size_bytes != file.size_bytes:
        return None
    if known and (known.lake_path, known.sha256, known.etag) == (path, file.sha256, there.etag):
        return there
    return there if _stored_sha256(lake, there) == file.sha256 else None


def _in_lake(  # noqa: PLR0913, PLR0917 - as load_week
    places: LakePlaces, file: WeekFile, local: Path, path: str, known: LoadedFile | None, sent: Callable[[int, int], None]
) -> LoadedFile:
    if there := has_same(places.lake, path, file, known):
        return LoadedFile(local, path, file.size_bytes, file.sha256, there.etag, uploaded=False)
    with local.open("rb") as source, places.lake.stage_upload(source, progress=sent) as staged:
        stored = places.lake.stat(staged.path)
        _require_same(file, staged.path, stored.size_bytes, _stored_sha256(places.lake, stored))
        placed = staged.put_in_place(path)
    log.info("weekly.file_uploaded", path=path, size_bytes=file.size_bytes, sha256=file.sha256)
    return LoadedFile(local, path, file.size_bytes, file.sha256, placed.etag, uploaded=True)


def _stored_sha256(lake: LakeClient, file: LakeFile) -> str:
    """Of the bytes that the lake gives back. Empty when somebody replaces them meanwhile: then they are not what we look for."""
    digest = hashlib.sha256()
    try:
        for chunk in lake.read_chunks(file):
            digest.update(chunk)
    except Conflict:
        return ""
    return digest.hexdigest()


def _require_same(file: WeekFile, where: Path | str, size_bytes: int, sha256: str) -> None:
    if (size_bytes, sha256) != (file.size_bytes, file.sha256):
        raise ChecksumMismatch(
            f"{where} is not the file that TRANSFORM made: {size_bytes:,} bytes instead of {file.size_bytes:,}, or other ones.",
            hint="Run the stage transform again with --force, then load.",
            details={"path": str(where), "expected_sha256": file.sha256, "found_sha256": sha256},
        )


def _is(path: Path, file: WeekFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest() == file.sha256


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as source:
            while block := source.read(_BLOCK_BYTES):
                yield block
    except FileNotFoundError as error:
        raise Conflict(f"{path} is not there.", hint="Run the stage transform first: treadle weekly stage transform") from error


@contextmanager
def _written_whole(target: Path) -> Generator[Path]:
    """A name beside the target that takes its place when all went well; what earlier writers that were killed have left is removed."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{target.name}.*.tmp"):
            left.unlink(missing_ok=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise Unavailable(
            f"{target} cannot be written: {error.strerror or type(error).__name__}.", hint="Make room or correct the folder's rights."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
