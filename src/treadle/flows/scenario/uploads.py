"""Archives that wait for their job, in Treadle's own lakehouse: staged, read back and checked, and cleared away."""

import hashlib
import io
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePath
from typing import Any, BinaryIO, Final, cast
from uuid import UUID

import structlog

from treadle.clients.lake_path import lake_path
from treadle.clients.onelake import LakeClient
from treadle.control.jobs.queue import get_job
from treadle.errors import ChecksumMismatch, InvalidInput, NotFound, TreadleError
from treadle.flows.scenario.services import ScenarioServices

UPLOADS: Final = "Files/scenarios/uploads"
KEPT: Final = timedelta(days=7)
SCRATCH: Final = "treadle-scenario-"  # how folders begin that hold what is in an archive
_GZIP_MAGIC: Final = b"\x1f\x8b"
_NAME_CHARS: Final = 200

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StagedArchive:
    """An archive that waits. path: in Treadle's own lakehouse. file_name: as its sender calls it."""

    path: str
    file_name: str
    size_bytes: int
    sha256: str

    def as_payload(self) -> dict[str, Any]:
        """As the payload of a job has it."""
        return {"path": self.path, "file_name": self.file_name, "size_bytes": self.size_bytes, "sha256": self.sha256}


def staged_in(payload: Mapping[str, Any]) -> dict[str, StagedArchive]:
    """The archives that a job's payload names, by slot. Pure.

    Raises:
        InvalidInput: the payload does not have them as it should.
    """
    try:
        return {slot: StagedArchive(**told) for slot, told in payload["slots"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInput("The job does not say which archives to build from.", hint="Upload them anew.") from error


def stage_archive(services: ScenarioServices, job_id: UUID, slot: str, source: BinaryIO) -> StagedArchive:
    """Bring an archive to where the job finds it, whole or not at all. Safe to repeat: the same job and slot have one place.

    source: read once, from where it stands to its end.

    Raises:
        InvalidInput: it is empty, no gzip file, or larger than archives may be.
    """
    counted = _Counted(source, slot, services.upload_limit_bytes)
    file = services.lake.upload(lake_path(_folder(job_id), f"{slot}.tar.gz"), cast("BinaryIO", counted))
    if not counted.size_bytes:
        services.lake.delete(file.path)
        raise InvalidInput(f"The {slot} archive is empty.", hint="Choose a .tar.gz file.")
    return StagedArchive(file.path, _name_of(source, slot), counted.size_bytes, counted.digest.hexdigest())


def open_staged(lake: LakeClient, staged: StagedArchive) -> BinaryIO:
    """The archive as a stream that is read once, from its beginning; at its end it is known whether these are the bytes that came.

    Raises:
        InvalidInput: it was cleared away. Reading raises ChecksumMismatch when the bytes are others.
    """
    try:
        file = lake.stat(staged.path)
    except NotFound as error:
        raise InvalidInput(
            f"{staged.file_name} is not there any more: archives are kept for {KEPT.days} days.", hint="Upload it anew."
        ) from error
    return io.BufferedReader(_Pieces(lake.read_chunks(file), staged), 1024**2)


def remove_staged(lake: LakeClient, job_id: UUID) -> None:
    """Clear away what waited for one job. Safe to repeat."""
    lake.delete_folder(_folder(job_id))


def clear_uploads(services: ScenarioServices) -> int:
    """Clear away archives whose job ended, or was never asked for, and that are older than a week; returns of how many jobs."""
    old = services.own.now() - KEPT
    stale = [
        folder for folder in services.lake.list_folders(UPLOADS) if folder.modified_at < old and not _is_awaited(services, folder.name)
    ]
    for folder in stale:
        services.lake.delete_folder(folder.path)
    if stale:
        _log.info("scenario.uploads_cleared", jobs=len(stale))
    return len(stale)


def clear_scratch(services: ScenarioServices) -> int:
    """Clear away what workers that were killed have left on this machine, and nobody went on with for a week; returns how many folders."""
    old = (services.own.now() - KEPT).timestamp()
    stale = [folder for folder in services.scratch.glob(f"{SCRATCH}*") if folder.stat().st_mtime < old]
    for folder in stale:
        shutil.rmtree(folder, ignore_errors=True)
    return len(stale)


def _is_awaited(services: ScenarioServices, name: str) -> bool:
    try:
        return not get_job(services.own, UUID(name)).state.ended
    except (NotFound, ValueError):
        return False


def _folder(job_id: UUID) -> str:
    return f"{UPLOADS}/{job_id}"


def _name_of(source: BinaryIO, slot: str) -> str:
    """The name of the file behind a stream, without its folders; the slot's name where there is none."""
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    plain = PurePath(name).name if isinstance(name, str) else ""
    return "".join(sign for sign in plain if sign.isprintable())[:_NAME_CHARS] or f"{slot}.tar.gz"


class _Counted:
    """Lets an archive pass, counts and hashes it, and stops one that is too large or no archive."""

    def __init__(self, source: BinaryIO, slot: str, limit_bytes: int) -> None:
        self._source, self._slot, self._limit_bytes = source, slot, limit_bytes
        self._head = b""
        self.size_bytes = 0
        self.digest = hashlib.sha256()

    def read(self, most: int = -1) -> bytes:
        piece = self._source.read(most)
        self.size_bytes += len(piece)
        self.digest.update(piece)
        if len(self._head) < len(_GZIP_MAGIC):
            self._head = (self._head + piece)[: len(_GZIP_MAGIC)]
            self._check_head(at_end=not piece)
        if self.size_bytes > self._limit_bytes:
            raise InvalidInput(
                f"The {self._slot} archive has more than {self._limit_bytes:,} bytes.",
                hint="Raise SCENARIO_UPLOAD_LIMIT_MB, or leave out what is not needed.",
                details={"code": "too_large", "limit_bytes": self._limit_bytes},
            )
        return piece

    def _check_head(self, *, at_end: bool) -> None:
        if not _GZIP_MAGIC.startswith(self._head) or (at_end and 0 < len(self._head) < len(_GZIP_MAGIC)):
            raise InvalidInput(f"The {self._slot} archive is no gzip file.", hint="Make it with: tar -czf scenario.tar.gz <folder>/")


class _Pieces(io.RawIOBase):
    """A file of the lake, piece by piece, hashed on the way."""

    def __init__(self, pieces: Iterator[bytes], staged: StagedArchive) -> None:
        self._pieces, self._staged = pieces, staged
        self._rest = memoryview(b"")
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
            self._digest.update(self._rest)
            if not self._rest:
                self._compare()
        part = self._rest[: len(target)]
        target[: len(part)] = part
        self._rest = self._rest[len(part) :]
        return len(part)

    def _compare(self) -> None:
        if self._digest.hexdigest() != self._staged.sha256:
            raise ChecksumMismatch(
                f"{self._staged.file_name} is not what was uploaded: its SHA-256 differs.",
                hint="Somebody changed the file in the lakehouse. Upload it anew.",
                details={"path": self._staged.path},
            )


def discard_quietly(lake: LakeClient, job_id: UUID) -> None:
    """Clear away what was staged for a job that was never asked for; what cannot be reached now, the hourly clean-up clears away."""
    try:
        remove_staged(lake, job_id)
    except TreadleError as error:
        _log.warning("scenario.upload_left", job_id=str(job_id), reason=error.message)
