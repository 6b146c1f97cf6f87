"""Fabric's answers as values: frozen, checked where they enter, unknown fields ignored. Pure.

Source: https://learn.microsoft.com/rest/api/fabric/ and the definitions in microsoft/fabric-rest-api-specs.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NewType, cast

from treadle.clients.answers import Exchange, unexpected
from treadle.clients.locations import is_id

WorkspaceId = NewType("WorkspaceId", str)
ItemId = NewType("ItemId", str)
JobId = NewType("JobId", str)

_TIME: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?(?:[Zz]|([+-][0-9]{2}:[0-9]{2}))?")


@dataclass(frozen=True, slots=True)
class JobLocation:
    """Where a started job can be polled: on the configured host, whatever host Fabric named."""

    job_id: str
    url: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class JobInstance:
    """One run of an item. `status` is Fabric's own word, of which there may be more than are documented."""

    job_id: str
    item_id: str
    job_type: str
    invoke_type: str  # Manual, Scheduled; empty if Fabric does not say
    status: str
    failure_code: str | None = None
    failure_message: str | None = None
    started_at: datetime | None = None  # UTC
    ended_at: datetime | None = None  # UTC; None while it runs
    retry_after_seconds: float | None = None  # when to look again; None: Fabric does not say


@dataclass(frozen=True, slots=True)
class ActivityRun:
    """One activity of a pipeline run."""

    name: str
    type: str
    status: str  # Queued, InProgress, Succeeded, Failed, Cancelled, Inactive
    started_at: datetime | None = None  # UTC
    ended_at: datetime | None = None  # UTC
    duration_seconds: float | None = None
    error_code: str | None = None
    error_message: str | None = None
    output: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace that the identity can see."""

    workspace_id: str
    name: str
    capacity_id: str | None = None  # None: on shared capacity, which runs no notebooks


@dataclass(frozen=True, slots=True)
class Item:
    """A notebook, pipeline, lakehouse or any other item of a workspace."""

    item_id: str
    workspace_id: str
    name: str
    type: str
    description: str = ""
    folder_id: str | None = None  # None: at the top of the workspace


class Reader:
    """Reads fields of one JSON object; what is missing or of the wrong kind is an UnexpectedAnswer that names it."""

    def __init__(self, exchange: Exchange, source: Mapping[str, Any], what: str) -> None:
        self._exchange, self._source, self._what = exchange, source, what

    def text(self, name: str) -> str:
        """A required text that is not empty."""
        value = self._source.get(name)
        if not isinstance(value, str) or not value:
            raise self._wrong(name, "is missing" if value is None else "is not a text")
        return value

    def text_or(self, name: str, default: str = "") -> str:
        """An optional text; null and absence are the same."""
        value = self._source.get(name)
        return value if isinstance(value, str) else default

    def id(self, name: str) -> str:
        """A required UUID, in lower case."""
        value = self.text(name)
        if not is_id(value):
            raise self._wrong(name, "is not an id")
        return value.lower()

    def id_or_none(self, name: str) -> str | None:
        """An optional UUID, in lower case."""
        return self.id(name) if self._source.get(name) else None

    def time(self, name: str) -> datetime | None:
        """An optional time, in UTC."""
        value = self._source.get(name)
        if value is None or value == "":
            return None
        try:
            return parse_time(value)
        except (ValueError, TypeError) as error:
            raise self._wrong(name, "is not a time") from error

    def number(self, name: str) -> float | None:
        """An optional number."""
        value = self._source.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def object(self, name: str) -> Mapping[str, Any]:
        """An optional object; empty if absent or null."""
        value = self._source.get(name)
        return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}

    def _wrong(self, name: str, how: str) -> Exception:
        return unexpected(self._exchange, f"{name} of the {self._what} {how}", field=name)


def parse_time(text: str) -> datetime:
    """Read one of Fabric's times as an aware UTC datetime; raises ValueError.

    They come with Z, with an offset or – meaning UTC – with neither, and with up to seven fractional digits, of which six are kept.
    """
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError(f"not a time: {text[:40]!r}")
    day, clock, fraction, offset = match.groups()
    digits = (fraction or ".0")[1:7].ljust(6, "0")
    try:
        return datetime.fromisoformat(f"{day}T{clock}.{digits}{offset or '+00:00'}").astimezone(UTC)
    except OverflowError as error:  # the year 1 or 9999 with an offset that leads out of the calendar
        raise ValueError(f"not a time: {text[:40]!r}") from error


def read_job_instance(exchange: Exchange, source: Mapping[str, Any], retry_after_seconds: float | None = None) -> JobInstance:
    """Read an ItemJobInstance (Job Scheduler, Get Item Job Instance)."""
    reader = Reader(exchange, source, "job instance")
    failure_code, failure_message = _failure_reason(source.get("failureReason"))
    return JobInstance(
        job_id=reader.id("id"),
        item_id=reader.text_or("itemId").lower(),
        job_type=reader.text_or("jobType"),
        invoke_type=reader.text_or("invokeType"),
        status=reader.text("status"),
        failure_code=failure_code,
        failure_message=failure_message,
        started_at=reader.time("startTimeUtc"),
        ended_at=reader.time("endTimeUtc"),
        retry_after_seconds=retry_after_seconds,
    )


def read_activity_run(exchange: Exchange, source: Mapping[str, Any]) -> ActivityRun:
    """Read one row of queryactivityruns."""
    reader = Reader(exchange, source, "activity run")
    failure = Reader(exchange, reader.object("error"), "error of the activity run")
    milliseconds = reader.number("durationInMs")
    return ActivityRun(
        name=reader.text("activityName"),
        type=reader.text_or("activityType"),
        status=reader.text("status"),
        started_at=reader.time("activityRunStart"),
        ended_at=reader.time("activityRunEnd"),
        duration_seconds=None if milliseconds is None else milliseconds / 1000,
        error_code=failure.text_or("errorCode") or None,
        error_message=failure.text_or("message") or None,
        output=reader.object("output"),
    )


def read_workspace(exchange: Exchange, source: Mapping[str, Any]) -> Workspace:
    """Read a Workspace (Core, Workspaces)."""
    reader = Reader(exchange, source, "workspace")
    return Workspace(reader.id("id"), reader.text("displayName"), reader.id_or_none("capacityId"))


def read_item(exchange: Exchange, source: Mapping[str, Any]) -> Item:
    """Read an Item (Core, Items)."""
    reader = Reader(exchange, source, "item")
    return Item(
        item_id=reader.id("id"),
        workspace_id=reader.id("workspaceId"),
        name=reader.text("displayName"),
        type=reader.text("type"),
        description=reader.text_or("description"),
        folder_id=reader.id_or_none("folderId"),
    )


def definition_of(parts: Mapping[str, bytes]) -> dict[str, Any]:
    """An item definition for a request. parts: path inside the item's folder, with forward slashes → content."""
    return {
        "parts": [
            {"path": path, "payload": base64.b64encode(content).decode("ascii"), "payloadType": "InlineBase64"}
            for path, content in parts.items()
        ]
    }


def read_definition(exchange: Exchange, source: Mapping[str, Any]) -> dict[str, bytes]:
    """The parts of an item definition: path → content."""
    parts = Reader(exchange, source, "answer").object("definition").get("parts")
    if not isinstance(parts, list):
        raise unexpected(exchange, "parts of the definition is missing", field="parts")
    return dict(_read_part(exchange, part) for part in cast("list[Any]", parts))


def _read_part(exchange: Exchange, part: Any) -> tuple[str, bytes]:
    reader = Reader(exchange, cast("Mapping[str, Any]", part) if isinstance(part, dict) else {}, "part of the definition")
    try:
        return reader.text("path"), base64.b64decode(reader.text_or("payload"), validate=True)
    except binascii.Error as error:
        raise unexpected(exchange, "payload of the part of the definition is not base64", field="payload") from error


def _failure_reason(reason: Any) -> tuple[str | None, str | None]:
    """Code and message of a failureReason: an ErrorResponse, null, or – seen from older services – a bare text."""
    if isinstance(reason, str):
        return None, reason or None
    told = cast("dict[str, Any]", reason) if isinstance(reason, dict) else {}
    code, message = told.get("errorCode"), told.get("message")
    return code if isinstance(code, str) and code else None, message if isinstance(message, str) and message else None
