"""Large files, piece by piece: each piece goes straight through to the lake, and the lake says how far an upload has come.

Nothing of a file is ever kept here. What the lake has flushed survives a cut connection, a killed server and another server's turn; the sender
asks for the offset and goes on from there. At the end the stored bytes are read back and must have the SHA-256 that the sender says.
"""

import hashlib
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from treadle.clients.onelake import LakeFile, OneLakeClient, staged_path
from treadle.control import runs, uploads
from treadle.control.database import AdvisoryLock, Database
from treadle.control.uploads import NewUpload, Upload
from treadle.errors import Conflict, InvalidInput, NotFound, OutcomeUnknown, TreadleError
from treadle.flows.sales.lakehouse import import_path
from treadle.flows.sales.services import SalesServices

log = structlog.get_logger()

PIECE_BYTES: Final = 4 * 1024 * 1024
FIRST_FLUSH_BYTES: Final = 32 * 1024 * 1024
MOST_UNFLUSHED_BYTES: Final = 256 * 1024 * 1024  # what a killed server may make a sender repeat
_GZIP_MAGIC: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class MostBytes:
    """How large a file of a kind may be. hint: what to do about one that is larger."""

    size_bytes: int
    hint: str


def offset_of(lake: OneLakeClient, upload: Upload) -> int:
    """How much of an upload the lake has for good."""
    if upload.state == "PLACED":
        return upload.size_bytes
    try:
        return lake.stat(upload.staged_path).size_bytes
    except NotFound:
        return 0 if upload.state == "OPEN" else upload.size_bytes  # PLACING: the rename has happened


def begin(services: SalesServices, own: Database, new: NewUpload, *, lifetime: uploads.timedelta, most: MostBytes | None = None) -> Upload:
    """Record an upload and make its empty file in the lake. Safe to repeat with the same id. most: None for that of workbooks.

    Raises:
        InvalidInput: it is larger than uploads may be (`details["code"]` is `too_large`).
        Conflict: a file of that name is there and may not be replaced, or a run is reading it.
    """
    most = most or MostBytes(services.upload_limit_bytes, "Raise TREADLE_UPLOAD_LIMIT_MB, or split the file.")
    if new.size_bytes > most.size_bytes:
        raise InvalidInput(
            f"{new.file_name} has {new.size_bytes:,} bytes; uploads end at {most.size_bytes:,}.",
            hint=most.hint,
            details={"code": "too_large", "limit_bytes": most.size_bytes},
        )
    if new.archive_path is None:
        _require_place(services, new.file_name, overwrite=new.overwrite)
    upload = uploads.create_upload(own, new, lifetime)
    if upload.state == "OPEN":
        services.lake.begin_staged(str(upload.upload_id))
    return upload


class Receiver:
    """Takes the pieces of one request, one after the other. Only one receiver of an upload is there at a time, in all processes."""

    def __init__(self, lake: OneLakeClient, upload: Upload, alone: AdvisoryLock, offset: int) -> None:
        self._lake, self._alone, self.upload = lake, alone, upload
        self.offset = self._flushed = offset

    def append(self, piece: bytes) -> None:
        """Bring a piece to the lake; what has gathered is flushed whenever it has doubled, so that flushing costs little however large the file.

        Raises Conflict when it would become longer than was said, InvalidInput when an archive does not begin as one.
        """
        if self.offset + len(piece) > self.upload.size_bytes:
            raise Conflict("More bytes came than the upload was said to have.", details={"offset": self.offset})
        if piece and self.offset == 0:
            _require_head(self.upload, piece)
        if piece:
            self._lake.append_at(self.upload.staged_path, piece, self.offset)
            self.offset += len(piece)
        if self.offset - self._flushed >= min(max(FIRST_FLUSH_BYTES, self._flushed), MOST_UNFLUSHED_BYTES):
            self.flush()

    def flush(self) -> int:
        """Make all that has come count, and return how much that is."""
        if self.offset > self._flushed:
            self._lake.flush_at(self.upload.staged_path, self.offset)
            self._flushed = self.offset
        return self._flushed

    def close(self) -> None:
        """Let others go on with the upload."""
        self._alone.release()


def receive(services: SalesServices, own: Database, upload_id: UUID, offset: int) -> Receiver:
    """Begin to take bytes from this offset; the caller closes what is returned.

    Raises:
        NotFound: there is no such upload (any more).
        Conflict: the offset is not where the lake is (`offset_mismatch`, with the right one), or another request is sending.
    """
    alone = _alone(own, upload_id)
    try:
        upload = uploads.get_upload(own, upload_id)
        _require_open(upload)
        _require_offset(offset_of(services.lake, upload), offset)
        services.lake.begin_staged(str(upload_id))  # after a crash between row and file
        return Receiver(services.lake, upload, alone, offset)
    except BaseException:
        alone.release()
        raise


def finalise(services: SalesServices, own: Database, upload_id: UUID, sha256: str | None) -> LakeFile:
    """Verify what is stored, by reading it back, and put it in its place in one step. Safe to repeat, also after a crash in the middle.

    sha256: of the whole file, as its sender has it; None: as it was said in the beginning.

    Raises:
        InvalidInput: no SHA-256 was ever said, the stored bytes have another one (`sha256_mismatch`), or an archive is none; nothing was placed.
        Conflict: bytes are missing (`upload_incomplete`), a run is reading the file, it may not be replaced, or somebody is sending; or a job has
            used the archive (`upload_used`).
        NotFound: there is no such upload (any more).
    """
    alone = _alone(own, upload_id)
    try:
        upload = uploads.get_upload(own, upload_id)
        if upload.used_by is not None:
            raise uploads.used(upload_id, upload.used_by)
        wanted = _wanted_sha256(upload, sha256)
        if upload.state != "PLACED" and not (upload.state == "PLACING" and _is_in_place(services.lake, upload)):
            _verify(services.lake, upload, wanted)
            _place(services, own, upload, wanted)
        uploads.end_placing(own, upload_id)
        return services.lake.stat(_place_of(upload))
    finally:
        alone.release()


def give_up(services: SalesServices, own: Database, upload_id: UUID) -> None:
    """Cancel an upload and clear its bytes away. Safe to repeat.

    Raises:
        NotFound: there is no such upload (any more). Conflict: it is placed – of an archive: used –, or somebody is sending.
    """
    alone = _alone(own, upload_id)
    try:
        upload = uploads.get_upload(own, upload_id)
        uploads.cancel_upload(own, upload_id)
        _clear(services.lake, upload.staged_path, upload.archive_path)
    finally:
        alone.release()


def clear_over(services: SalesServices, own: Database) -> int:
    """Clear away the bytes of uploads that nobody will go on with, and forget them; return how many. For the clean-up job; may run twice."""
    cleared = 0
    for upload_id, staged, archive in uploads.over_uploads(own):
        alone = own.try_advisory_lock(_key(upload_id))
        if alone is None:
            continue
        try:
            _clear(services.lake, staged, archive)
            uploads.delete_upload(own, upload_id)
            cleared += 1
        finally:
            alone.release()
    return cleared


def _alone(own: Database, upload_id: UUID) -> AdvisoryLock:
    alone = own.try_advisory_lock(_key(upload_id))
    if alone is None:
        raise Conflict(
            f"Another request is working on the upload {upload_id}.",
            hint="Wait for its end, ask for the offset, and go on from there.",
            details={"code": "upload_busy", "upload_id": str(upload_id), "retry_after_seconds": 1},
        )
    return alone


def _key(upload_id: UUID) -> str:
    return f"upload:{upload_id}"


def _require_open(upload: Upload) -> None:
    if upload.state != "OPEN":
        raise Conflict(f"The upload {upload.upload_id} is complete.", hint="Begin a new one.", details={"upload_id": str(upload.upload_id)})


def _require_offset(stored: int, given: int) -> None:
    if given != stored:
        raise Conflict(
            f"The upload is at {stored:,} bytes, not at {given:,}.",
            hint="Go on from `offset`.",
            details={"code": "offset_mismatch", "offset": stored},
        )


def _require_place(services: SalesServices, file_name: str, *, overwrite: bool) -> None:
    if not overwrite and services.lake.exists(import_path(file_name)):
        raise Conflict(
            f"{file_name} exists already.", hint="Choose another name, or allow it to be replaced.", details={"file_name": file_name}
        )
    reading = [run for run in runs.active_runs(services.database) if run.input_file == file_name]
    if reading:
        raise Conflict(
            f"Run {reading[0].run_id} is reading {file_name} at this moment.",
            hint="Wait for its end, or use another name.",
            details={"run_id": str(reading[0].run_id)},
        )


def _wanted_sha256(upload: Upload, given: str | None) -> str:
    if given is None and upload.sha256 is None:
        raise InvalidInput("The SHA-256 of the file was never said.", hint='Send {"sha256": "…"}; compute it with: sha256sum FILE')
    said = uploads.checked_sha256(given or upload.sha256 or "")
    if upload.sha256 is not None and said != upload.sha256:
        raise InvalidInput(
            "The SHA-256 is not the one that was said before.",
            hint="Send the same one, or begin a new upload.",
            details={"code": "sha256_mismatch"},
        )
    return said


def _verify(lake: OneLakeClient, upload: Upload, wanted: str) -> None:
    file = lake.stat(upload.staged_path)
    if file.size_bytes != upload.size_bytes:
        raise Conflict(
            f"{upload.file_name} is not complete: {file.size_bytes:,} of {upload.size_bytes:,} bytes are there.",
            hint="Send the rest from `offset`.",
            details={"code": "upload_incomplete", "offset": file.size_bytes},
        )
    digest, head = hashlib.sha256(), b""
    for chunk in lake.read_chunks(file):
        head = head or chunk[: len(_GZIP_MAGIC)]
        digest.update(chunk)
    if digest.hexdigest() != wanted:
        raise InvalidInput(
            f"{upload.file_name} was not put in place: the stored bytes have another SHA-256 than the file you sent.",
            hint="Check the digest; if it is right, cancel the upload and send the file again.",
            details={"code": "sha256_mismatch", "expected": wanted, "stored": digest.hexdigest()},
        )
    if len(head) < len(_GZIP_MAGIC):
        head += b"\0"  # a file of one byte, or of none, is no archive either
    _require_head(upload, head)


def _require_head(upload: Upload, head: bytes) -> None:
    """head: the first bytes of the file, as many as there are yet."""
    if upload.archive_path is not None and head[: len(_GZIP_MAGIC)] != _GZIP_MAGIC[: len(head)]:
        raise InvalidInput(
            f"{upload.file_name} is no gzip file.",
            hint="Make it with: tar -czf scenario.tar.gz <folder>/",
            details={"upload_id": str(upload.upload_id)},
        )


def _place(services: SalesServices, own: Database, upload: Upload, sha256: str) -> None:
    if upload.archive_path is None:
        _require_place(services, upload.file_name, overwrite=upload.overwrite)
    uploads.begin_placing(own, upload.upload_id, sha256)
    try:
        services.lake.rename(upload.staged_path, _place_of(upload), overwrite=upload.overwrite)
    except OutcomeUnknown:
        raise  # it stays PLACING: who asks again finds out
    except TreadleError:
        uploads.back_to_open(own, upload.upload_id)
        raise


def _is_in_place(lake: OneLakeClient, upload: Upload) -> bool:
    """Whether the rename of a finalisation that broke off had happened: the staged file is gone."""
    return not lake.exists(upload.staged_path)


def _place_of(upload: Upload) -> str:
    return upload.archive_path or import_path(upload.file_name)


def _clear(lake: OneLakeClient, staged: str, archive: str | None) -> None:
    """Clear away what has gathered, and an archive with the folder that is its own."""
    try:
        lake.delete(staged)
    except NotFound:
        log.debug("upload.nothing_to_clear", path=staged)
    if archive is not None:
        lake.delete_folder(archive.rpartition("/")[0])


def new_staged_path(upload_id: UUID) -> str:
    """Where the bytes of an upload gather."""
    return staged_path(str(upload_id))
