"""Resumable uploads, as the database knows them: what is to come, for which name, until when. How much has come is the lake's to say."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from treadle.control.database import Database
from treadle.control.statements import load_queries
from treadle.control.stored import checked_name
from treadle.errors import Conflict, InvalidInput, NotFound

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
SHA256_DIGITS: Final = 64


@dataclass(frozen=True, slots=True)
class NewUpload:
    """What somebody is going to send. sha256: in lower-case hexadecimal digits; None: it is said at the end."""

    upload_id: UUID
    file_name: str
    size_bytes: int
    sha256: str | None
    overwrite: bool
    staged_path: str
    created_by: str


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload. state: OPEN, PLACING (verified; the rename may have happened), PLACED, CANCELLED. Times are aware UTC."""

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
        Conflict: its file is in its place, or about to be.
    """
    with own.transaction() as connection:
        if connection.execute(_SQL["cancel_upload"], {"upload_id": upload_id}).fetchone() is None:
            raise _over(upload_id)


def over_uploads(own: Database) -> list[tuple[UUID, str]]:
    """Uploads that nobody will go on with, at most 500: id and staged path."""
    return [(row["upload_id"], row["staged_path"]) for row in own.read(_SQL["over_uploads"])]


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
