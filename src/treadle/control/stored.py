"""Makes values fit for PostgreSQL: text without what it refuses, JSON without what is not JSON, and no secret in either. Pure."""

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, cast
from uuid import UUID

from treadle.errors import InvalidInput
from treadle.logs import redact

MAX_MESSAGE_CHARS: Final = 8_000  # a stack trace fits; a runaway output does not fill the database
MAX_NAME_CHARS: Final = 1_000
MAX_REASON_CHARS: Final = 500
_REFUSED: Final = re.compile("[\0\ud800-\udfff]")
_WHOLE_DIGITS: Final = 30  # a longer number keeps its size, not its digits


def storable(text: str) -> str:
    """The text with NUL and unpaired surrogates, which PostgreSQL refuses, replaced."""
    return _REFUSED.sub("\N{REPLACEMENT CHARACTER}", text)


def message_text(text: str) -> str:
    """Free text as it may be stored: secrets hidden, NUL and unpaired surrogates (both refused by PostgreSQL) replaced, shortened when huge."""
    shown = redact(storable(text))
    return shown if len(shown) <= MAX_MESSAGE_CHARS else shown[: MAX_MESSAGE_CHARS - 1] + "…"


def checked_name(what: str, text: str, *, max_chars: int = MAX_NAME_CHARS) -> str:
    """A name – of a person, a file, a workspace – unchanged, or an error: a name that was mended would be another name.

    Raises:
        InvalidInput: it is blank, too long, or has control characters.
    """
    if not text.strip():
        raise InvalidInput(f"{what} is empty.", hint=f"Give {what}.", details={"field": what})
    if len(text) > max_chars:
        raise InvalidInput(f"{what} is longer than {max_chars} characters.", details={"field": what, "length": len(text)})
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text):
        raise InvalidInput(f"{what} contains control characters: {text!a}.", details={"field": what})
    return text


def checked_reason(what: str, text: str, *, max_chars: int = MAX_REASON_CHARS) -> str:
    """Why somebody did something, in their words: not blank, not longer than a short paragraph, several lines allowed.

    Raises:
        InvalidInput: it is blank or too long.
    """
    if not text.strip():
        raise InvalidInput(f"{what} is empty.", hint="Say why; it is recorded with your name.", details={"field": what})
    if len(text) > max_chars:
        raise InvalidInput(f"{what} has {len(text)} characters; {max_chars} are allowed.", hint="Shorten it.", details={"field": what})
    return message_text(text.strip())


def checked_time(what: str, moment: datetime) -> datetime:
    """A moment in UTC. A time without a zone is refused: nobody could say which moment it is."""
    if moment.tzinfo is None:
        raise InvalidInput(
            f"{what} has no time zone: {moment.isoformat()}.", hint="Give it with an offset, for example 2026-11-21T10:00:00Z."
        )
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # 0001-01-01T00:00+01:00 lies before the first moment that there is
        raise InvalidInput(
            f"{what} is too far away: {moment.isoformat()}.", hint="Give a date in UTC between the years 1 and 9999."
        ) from None


def json_text(value: Any) -> str:
    """JSON that `jsonb` takes. NaN and the infinities, which JSON does not have, become null; so does nothing else.

    Raises:
        InvalidInput: it is nested deeper than Python can follow, some hundred levels.
    """
    try:
        return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)
    except RecursionError as error:
        raise InvalidInput("This is nested too deeply to be stored.", hint="Use fewer levels.") from error


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            members = cast("Mapping[Any, Any]", value)
            return {redact(storable(str(name))): _plain(item) for name, item in members.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in cast("list[Any]", value)]
        case _:
            return _plain_scalar(value)


def _plain_scalar(value: Any) -> str | int | float | None:
    match value:
        case bool() | int() | None:
            return value
        case float() | Decimal():
            return _number(value)
        case str() | UUID():
            return redact(storable(str(value)))
        case date():
            return value.isoformat()
        case _:
            raise InvalidInput(f"A {type(value).__name__} cannot be stored as JSON.", hint="Store text, numbers, lists and objects.")


def _number(value: float | Decimal) -> int | float | None:
    if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < _WHOLE_DIGITS and value == value.to_integral_value():
        return int(value)
    number = math.nan if isinstance(value, Decimal) and value.is_snan() else float(value)
    return number if math.isfinite(number) else None
