"""Conditional headers and byte ranges. Pure.

Sources: "Specifying conditional headers for Blob service operations", "Specifying the range header" (Azure Storage REST reference).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from treadle.sandbox.onelake import failures
from treadle.sandbox.onelake.failures import StorageError

_RANGE: Final = re.compile(r"bytes=(\d{1,19})-(\d{1,19})?\Z")


@dataclass(frozen=True, slots=True)
class Conditions:
    """The four conditional headers; an entity tag is kept without quotes, times are aware and UTC, None means not given."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: datetime | None = None
    if_unmodified_since: datetime | None = None


ALWAYS: Final = Conditions()


def conditions_of(headers: Mapping[str, str], prefix: str = "") -> Conditions:
    """Read the conditional headers, or the `x-ms-source-` ones by prefix. Raises InvalidHeaderValue for a time that is none."""
    return Conditions(
        _tag(headers.get(f"{prefix}if-match")),
        _tag(headers.get(f"{prefix}if-none-match")),
        _moment(headers, f"{prefix}if-modified-since"),
        _moment(headers, f"{prefix}if-unmodified-since"),
    )


def check_write(conditions: Conditions, etag: str | None, modified_at: datetime | None) -> None:
    """Raise ConditionNotMet where a write must not happen; None for both means that nothing is stored there."""
    if conditions.if_match is not None and (etag is None or conditions.if_match not in {"*", etag}):
        raise failures.condition_failed()
    if etag is None or modified_at is None:
        return
    if conditions.if_none_match in {"*", etag}:
        raise failures.condition_failed()
    if conditions.if_modified_since is not None and modified_at <= conditions.if_modified_since:
        raise failures.condition_failed()
    if conditions.if_unmodified_since is not None and modified_at > conditions.if_unmodified_since:
        raise failures.condition_failed()


def check_create(conditions: Conditions, etag: str | None, modified_at: datetime | None) -> None:
    """As check_write, but `If-None-Match: *` says PathAlreadyExists: it is how one of many creators is told to stand back."""
    if conditions.if_none_match == "*" and etag is not None:
        raise failures.path_exists()
    check_write(conditions, etag, modified_at)


def check_source(conditions: Conditions, etag: str, modified_at: datetime) -> None:
    """Raise SourceConditionNotMet where a rename or copy must leave its source alone."""
    try:
        check_write(conditions, etag, modified_at)
    except StorageError as error:
        raise StorageError(
            412, "SourceConditionNotMet", "The source condition specified using HTTP conditional header(s) is not met."
        ) from error


def check_read(conditions: Conditions, etag: str, modified_at: datetime) -> None:
    """Raise 412, or 304 where the reader already has this."""
    if conditions.if_match is not None and conditions.if_match not in {"*", etag}:
        raise failures.condition_failed()
    if conditions.if_unmodified_since is not None and modified_at > conditions.if_unmodified_since:
        raise failures.condition_failed()
    if conditions.if_none_match in {"*", etag}:
        raise failures.not_modified(etag)
    if conditions.if_none_match is None and conditions.if_modified_since is not None and modified_at <= conditions.if_modified_since:
        raise failures.not_modified(etag)


def byte_range(headers: Mapping[str, str], size: int) -> tuple[int, int] | None:
    """The wanted (offset, length), None for the whole; x-ms-range wins over Range.

    Raises InvalidHeaderValue for a form that storage does not know (a suffix, several ranges), InvalidRange (416) past the end.
    """
    name = "x-ms-range" if "x-ms-range" in headers else "range"
    if (text := headers.get(name)) is None:
        return None
    if (match := _RANGE.match(text.strip())) is None:
        raise failures.bad_header(name)
    first, last = int(match[1]), int(match[2]) if match[2] else size - 1
    if first >= size:
        raise StorageError(
            416,
            "InvalidRange",
            "The range specified is invalid for the current size of the resource.",
            {"Content-Range": f"bytes */{size}"},
        )
    if last < first:
        raise failures.bad_header(name)
    return first, min(last, size - 1) - first + 1


def _tag(text: str | None) -> str | None:
    return text.strip().removeprefix("W/").strip('"') if text else None


def _moment(headers: Mapping[str, str], name: str) -> datetime | None:
    if not (text := headers.get(name)):
        return None
    try:
        moment = parsedate_to_datetime(text)
    except ValueError as error:
        raise failures.bad_header(name) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
