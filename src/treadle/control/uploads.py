"""Resumable uploads, as the database knows them: what is to come, for which name, until when. How much has come is the lake's to say."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from treadle.control.database import Connection, Database
from treadle.control.statements import load_queries
from treadle.control.stored import checked_name
from treadle.errors import Conflict, InvalidInput, NotFound

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
SHA256_DIGITS: Final = 64


@dataclass(frozen=True, slots=True)
class NewUpload:
    """What somebody is going to send.

    sha256: in lower-case hexadecimal digits; None: it is said at the end. owner: the subject of `created_by`. archive_path: where an archive goes
    when it is verified; None: a workbook, which goes to Files/import/.
    """

    upload_id: UUID
    file_name: str
    size_bytes: int
    sha256: str | None
    overwrite: bool
    staged_path: str
    created_by: str
    owner: str | None = None
    archive_path: str | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload. state: OPEN, PLACING (verified; the rename may have happened), PLACED, CANCELLED. Times are aware UTC.

    owner, archive_path: as `NewUpload`. used_by: the job that builds from an archive; None: it waits for one.
    """

    upload_id: UUID
    file_name: str
    size_bytes: int
    sha256: str | None
    overwrite: bool
    staged_path: str
    state: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    placed_at: datetime | None
    owner: str | None = None
    archive_path: str | None = None
    used_by: UUID | None = None


def create_upload(own: Database, new: NewUpload, lifetime: timedelta) -> Upload:
    """Record an upload, and return it. The same id again returns the first.

    Raises:
        InvalidInput: a value cannot be stored.
    """
    checked_name("the name of the file", new.file_name)
    checked_name("the name of who uploads", new.created_by)
    values = {field: getattr(new, field) for field in NewUpload.__dataclass_fields__}
    with own.transaction() as connection:
        connection.execute(_SQL["create_upload"], values | {"lifetime": lifetime})
    return get_upload(own, new.upload_id)


def get_upload(own: Database, upload_id: UUID) -> Upload:
    """Return an upload that can still be worked with, or that is placed.

    Raises:
        NotFound: there is none, it was cancelled, or its time is over.
    """
    rows = own.read(_SQL["get_upload"], {"upload_id": upload_id})
    if not rows:
        raise _gone(upload_id, f"There is no upload {upload_id}.")
    row = rows[0]
    if row["expired"]:
        raise _gone(upload_id, f"The upload {upload_id} has expired.")
    if row["state"] == "CANCELLED":
        raise _gone(upload_id, f"The upload {upload_id} was cancelled.")
    return _upload(row)


def require_owner(upload: Upload, subject: str) -> None:
    """An archive is there for who began the upload, and for nobody else. Raises NotFound, as if there were none."""
    if upload.archive_path is not None and upload.owner != subject:
        raise _gone(upload.upload_id, f"There is no upload {upload.upload_id}.")


def use_upload(connection: Connection, upload_id: UUID, job_id: UUID) -> None:
    """Note, in the transaction that asks for the job, that it has this archive. Safe to repeat with the same job.

    Raises:
        Conflict: another job has it, or it was given up meanwhile.
    """
    if connection.execute(_SQL["use_upload"], {"upload_id": upload_id, "job_id": job_id}).fetchone() is None:
        raise used(upload_id, None)


def user_of(own: Database, upload_id: UUID) -> UUID | None:
    """The job that has used an archive. None: nobody has, or there is no such upload (any more)."""
    rows = own.read(_SQL["user_of"], {"upload_id": upload_id})
    return rows[0]["used_by"] if rows else None


def used(upload_id: UUID, job_id: UUID | None) -> Conflict:
    """What somebody is told who wants to use an archive a second time. job_id: who has it, if that is known."""
    return Conflict(
        f"The upload {upload_id} is used up{f' by the job {job_id}' if job_id else ''}.",
        hint="Retry that job, or upload the archive anew.",
        details={"code": "upload_used", "upload_id": str(upload_id)} | ({"job_id": str(job_id)} if job_id else {}),
    )


def begin_placing(own: Database, upload_id: UUID, sha256: str) -> None:
    """Note that the stored bytes were verified, before they are renamed into place.

    Raises:
        Conflict: the upload was ended by somebody else.
    """
    with own.transaction() as connection:
        if connection.execute(_SQL["begin_placing"], {"upload_id": upload_id, "sha256": checked_sha256(sha256)}).fetchone() is None:
            raise _over(upload_id)


def back_to_open(own: Database, upload_id: UUID) -> None:
    """Note that the rename was refused, so that it can be asked for again."""
    with own.transaction() as connection:
        connection.execute(_SQL["back_to_open"], {"upload_id": upload_id})


def end_placing(own: Database, upload_id: UUID) -> None:
    """Note that the file is in its place. Safe to repeat."""
    with own.transaction() as connection:
        connection.execute(_SQL["end_placing"], {"upload_id": upload_id})


def cancel_upload(own: Database, upload_id: UUID) -> None:
    """Give an upload up. Safe to repeat.

    Raises:
        Conflict: its file is in its place, or about to be; or a job has used the archive.
    """
    with own.transaction() as connection:
        if connection.execute(_SQL["cancel_upload"], {"upload_id": upload_id}).fetchone() is None:
            raise _over(upload_id)


def over_uploads(own: Database) -> list[tuple[UUID, str, str | None]]:
    """Uploads that nobody will go on with, at most 500: id, staged path, and the path of an archive that nobody has used."""
    return [(row["upload_id"], row["staged_path"], row["archive_path"]) for row in own.read(_SQL["over_uploads"])]


def delete_upload(own: Database, upload_id: UUID) -> None:
    """Forget an upload whose bytes are gone. Safe to repeat."""
    with own.transaction() as connection:
        connection.execute(_SQL["delete_upload"], {"upload_id": upload_id})


def checked_sha256(text: str) -> str:
    """The digest in lower case.

    Raises:
        InvalidInput: it is none.
    """
    lowered = text.lower()
    if len(lowered) != SHA256_DIGITS or set(lowered) - set("0123456789abcdef"):
        raise InvalidInput("The SHA-256 is not 64 hexadecimal digits.", hint="Compute it with: sha256sum FILE")
    return lowered


def _upload(row: Mapping[str, Any]) -> Upload:
    return Upload(**{name: row[name] for name in Upload.__dataclass_fields__})


def _gone(upload_id: UUID, message: str) -> NotFound:
    return NotFound(message, hint="Begin a new one.", details={"upload_id": str(upload_id)})


def _over(upload_id: UUID) -> Conflict:
    return Conflict(f"The upload {upload_id} is over.", hint="Look at it again.", details={"upload_id": str(upload_id)})
