"""Where a page ended, as an opaque text that may travel through a URL. Pure.

It names the last row by its keys, so what is inserted meanwhile neither repeats nor hides rows. The check digits catch a cursor that was
cut, edited or made for another list; they guard nothing secret, and the values inside only ever become parameters.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from treadle.errors import InvalidInput

_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class Cursor:
    """The keys of the last row seen: its time (UTC) and its id."""

    moment: datetime
    row_id: UUID


def encode_cursor(of: str, moment: datetime, row_id: UUID) -> str:
    """Write a cursor for the list named `of`."""
    text = f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat()} {row_id}"
    return base64.urlsafe_b64encode(f"{text} {_check_digits(of, text)}".encode()).rstrip(b"=").decode()


def decode_cursor(of: str, cursor: str) -> Cursor:
    """Read a cursor back.

    Raises:
        InvalidInput: it was not made by `encode_cursor` for this list.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        moment_text, row_text, _ = raw.split(" ")
        found = Cursor(datetime.fromisoformat(moment_text).replace(tzinfo=UTC), UUID(row_text))
        if encode_cursor(of, found.moment, found.row_id) == cursor:
            return found
    except (ValueError, binascii.Error):
        pass
    raise InvalidInput("This page cursor cannot be used: it is cut, changed, or of another list.", hint="Start again from the first page.")


def _check_digits(of: str, text: str) -> str:
    return hashlib.sha256(f"{of} {text}".encode()).hexdigest()[:_DIGITS]
