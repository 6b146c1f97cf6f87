"""Archives that wait for their job, in Treadle's own lakehouse: staged, read back and checked, and cleared away."""

import hashlib
import io
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePath, PurePosixPath
from typing import Any, BinaryIO, Final, cast
from uuid import UUID

import structlog

from treadle.clients.lake_path import lake_path
from treadle.clients.onelake import LakeClient
from treadle.control import uploads
from treadle.control.database import Database
from treadle.control.jobs.job import Job
from treadle.control.jobs.queue import get_job
from treadle.errors import ChecksumMismatch, Conflict, InvalidInput, NotFound, TreadleError
from treadle.flows.scenario.services import ScenarioServices

UPLOADS: Final = "Files/scenarios/uploads"
EXTENSIONS: Final = (".tar.gz", ".tgz")
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


@dataclass(frozen=True, slots=True)
class FinishedUpload:
    """An archive that came as an upload of its own, verified, and that no other job has used."""

    upload_id: UUID
    staged: StagedArchive


Archive = BinaryIO | FinishedUpload


def finished_upload(own: Database, upload_id: UUID, owner: str, job_id: UUID) -> FinishedUpload:
    """The archive of an upload, for a job that is going to be asked for, or was. owner: the subject of who asks.

    Raises:
        NotFound: there is no such upload (any more), or it is somebody else's.
        InvalidInput: it is no archive. Conflict: it is not finalised (`upload_incomplete`), or another job has used it (`upload_used`).
    """
    upload = uploads.get_upload(own, upload_id)
    uploads.require_owner(upload, owner)
    named = {"upload_id": str(upload_id)}
    if upload.archive_path is None:
        raise InvalidInput(
            f"The upload {upload_id} is no archive: it is called {upload.file_name}.",
            hint=f"Begin one whose file_name ends in {' or '.join(EXTENSIONS)}.",
            details=named,
        )
    if upload.used_by not in (None, job_id):
        raise uploads.used(upload_id, upload.used_by)
    if upload.state != "PLACED" or upload.sha256 is None:
        raise Conflict(
            f"The upload {upload_id} is not finished.",
            hint=f"Send what is missing, then: POST /api/uploads/{upload_id}/finalise",
            details={"code": "upload_incomplete", **named},
        )
    return FinishedUpload(upload_id, StagedArchive(upload.archive_path, upload.file_name, upload.size_bytes, upload.sha256))


def used_up(archives: Mapping[str, Archive]) -> list[UUID]:
    """The uploads among the archives, each once. Pure."""
    return list(dict.fromkeys(archive.upload_id for archive in archives.values() if isinstance(archive, FinishedUpload)))


def is_archive(file_name: str) -> bool:
    """Whether a file is an archive by its name. Pure."""
    return file_name.lower().endswith(EXTENSIONS)


def place_of_upload(upload_id: UUID, file_name: str) -> str:
    """Where the archive of an upload waits for its job: in a folder of its own, under its name. Pure. Raises InvalidInput for a name that is no name."""
    if "/" in file_name or not file_name.isprintable() or len(file_name) > _NAME_CHARS:
        raise InvalidInput(
            f"{file_name[:80]!a} cannot be the name of an archive.",
            hint=f"Give a plain file name of at most {_NAME_CHARS} characters, for example telco-noc.tar.gz.",
        )
    return lake_path(_folder(upload_id), file_name)


def stage_archive(services: ScenarioServices, job_id: UUID, slot: str, source: Archive) -> StagedArchive:
    """Bring an archive to where the job finds it, whole or not at all. Safe to repeat: the same job and slot have one place.

    source: read once, from where it stands to its end. An upload is there already, and stays where it is.

    Raises:
        InvalidInput: it is empty, no gzip file, or larger than archives may be.
    """
    if isinstance(source, FinishedUpload):
        return source.staged
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


def remove_staged(lake: LakeClient, job: Job) -> None:
    """Clear away what waited for one job, the uploads that it has used included. Safe to repeat."""
    slots: Any = job.payload.get("slots") or {}
    used = {str(PurePosixPath(told["path"]).parent) for told in slots.values() if str(told.get("path")).startswith(f"{UPLOADS}/")}
    for folder in sorted({_folder(job.job_id), *used}):
        lake.delete_folder(folder)


def remove_staged_quietly(lake: LakeClient, job: Job) -> None:
    """As `remove_staged`; what cannot be reached now, the hourly clean-up clears away."""
    try:
        remove_staged(lake, job)
    except TreadleError as error:
        _log.warning("scenario.upload_left", job_id=str(job.job_id), reason=error.message)


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
    """name: of a folder: the id of a job, or of an upload, which may have been used by one."""
    try:
        folder_id = UUID(name)
        return not get_job(services.own, uploads.user_of(services.own, folder_id) or folder_id).state.ended
    except (NotFound, ValueError):
        return False


def _folder(folder_id: UUID) -> str:
    """Of a job's archives, or of an upload's."""
    return f"{UPLOADS}/{folder_id}"


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
        lake.delete_folder(_folder(job_id))
    except TreadleError as error:
        _log.warning("scenario.upload_left", job_id=str(job_id), reason=error.message)
