"""The audit: who asked for which change, and what came of it. Append-only, and each entry holds the hash of the one before it.

A change writes `asked` before it begins and `done`, `failed` or `refused` after it, so that a crash in between leaves an `asked` alone.
What the chain proves: nobody altered, removed or reordered entries without changing every later hash. Somebody who owns the tables can
rewrite all of it; so keep the head that `treadle audit verify` prints where they cannot reach it, and give it to a later `verify`.
"""

import hashlib
import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog
from psycopg import errors as pg

from treadle.control.access import Principal
from treadle.control.database import Connection, Database
from treadle.control.statements import load_queries, with_lines
from treadle.control.stored import json_text, message_text, storable
from treadle.errors import InvalidInput, PermissionDenied, TreadleError

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
_PAGE_ROWS: Final = 2_000
_MAX_PAGE: Final = 500
_NOTHING_BEFORE: Final = "0" * 64
_HEAD: Final = re.compile(r"(0|[1-9]\d{0,18}):([0-9a-f]{64})")
NOT_MIGRATED_HINT: Final = "run: treadle migrate"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit. `at` is aware UTC; `asked`: the number of the entry that this one answers, None for one that stands alone."""

    number: int
    at: datetime
    subject: str
    name: str
    role: str | None
    via: str
    action: str
    target: str
    outcome: str
    details: Mapping[str, Any]
    correlation_id: str | None
    asked: int | None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some entries, newest first. `next`: give it as `before` for the page behind this one; None when this is the last."""

    entries: tuple[AuditEntry, ...]
    next: int | None


@dataclass(frozen=True, slots=True)
class FirstBad:
    """Where the chain breaks first, and how."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What `verify` found: how many entries hold together from the beginning, the head they lead to, and the first that does not fit."""

    entries: int
    head: str
    first_bad: FirstBad | None


@dataclass(slots=True)
class OpenEntry:
    """A change that is under way: what it learns (an id, a result) goes into the entry that closes it."""

    number: int
    principal: Principal
    action: str
    target: str
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    def note(self, **facts: Any) -> None:
        """Add facts to the details of the closing entry."""
        self.facts.update(facts)


@contextmanager
def audited(
    own: Database, principal: Principal, action: str, target: str, details: Mapping[str, Any] | None = None
) -> Generator[OpenEntry, None, None]:
    """Carry out a change between its `asked` and its `done`, `failed` or (PermissionDenied) `refused`.

    When `asked` cannot be written nothing is carried out. When the closing entry cannot be written, that is logged: the change has happened,
    and its `asked` stands open in the audit.

    action: verb and noun, such as `run.start`. target: what it is done to, such as `run:<id>`. details: JSON; secrets are hidden.

    Raises:
        InvalidInput: Treadle's own tables are not there; the hint says how to make them.
        And what is raised inside.
    """
    entry = OpenEntry(record(own, principal, action, target, "asked", details=details), principal, action, target)
    try:
        yield entry
    except BaseException as error:
        outcome = "refused" if isinstance(error, PermissionDenied) else "failed"
        _close(own, entry, outcome, {"error": type(error).__name__, "message": _told(error)})
        raise
    _close(own, entry, "done", {})


def record(  # noqa: PLR0913 - the fields of an entry
    own: Database,
    principal: Principal,
    action: str,
    target: str,
    outcome: str,
    *,
    details: Mapping[str, Any] | None = None,
    correlation_id: str | None = None,
    asked: int | None = None,
) -> int:
    """Append one entry and return its number.

    correlation_id: None for the one that is bound to the log's context, if there is one.

    Raises:
        InvalidInput: Treadle's own tables are not there.
    """
    bound = structlog.contextvars.get_contextvars().get("correlation_id")
    values = {
        "subject": storable(principal.subject),
        "name": storable(principal.name),
        "role": principal.role and str(principal.role),
        "via": principal.via,
        "action": action,
        "target": message_text(target),
        "outcome": outcome,
        "details": _canonical(details or {}),
        "correlation_id": correlation_id or (str(bound) if bound else None),
        "asked": asked,
    }
    with own.transaction() as connection:
        return _append(connection, values)


def verify(own: Database, expect_head: str | None = None) -> AuditReport:
    """Recompute the whole chain, as it was at one moment.

    expect_head: `<number>:<hash>` as an earlier `verify` gave it, kept elsewhere: the chain must still contain it. None: not checked.

    Raises:
        InvalidInput: expect_head is not of that form, or Treadle's own tables are not there.
    """
    wanted = _read_head(expect_head) if expect_head else None
    with own.transaction() as connection, _tables_needed():
        connection.execute(_SQL["one_moment"])
        stored = connection.execute(_SQL["head"]).fetchone() or {"number": 0, "hash": _NOTHING_BEFORE}
        number, last, bad = _walk(connection, wanted)
    if bad is None and wanted and wanted[0] > number:
        bad = FirstBad(number + 1, f"the chain ends at {number}, but it once reached {wanted[0]}: its tail was cut off")
    if bad is None and (stored["number"], stored["hash"]) != (number, last):
        bad = FirstBad(number + 1, f"the chain ends at {number}, its recorded head is {stored['number']}: its tail was cut off or added to")
    return AuditReport(number, f"{number}:{last}", bad)


def list_audit(  # noqa: PLR0913 - each is a filter of its own, given by name
    own: Database,
    *,
    limit: int = 50,
    before: int | None = None,
    name: str | None = None,
    action: str | None = None,
    target: str | None = None,
    outcome: str | None = None,
    unfinished: bool = False,
) -> AuditPage:
    """Return one page of entries, newest first.

    limit: 1 to 500. before: only entries with a smaller number. target: what begins so. unfinished: only `asked` that nothing answers.

    Raises:
        InvalidInput: the limit cannot be used, or Treadle's own tables are not there.
    """
    if not 1 <= limit <= _MAX_PAGE:
        raise InvalidInput(f"A page cannot have {limit} entries.", hint=f"Ask for 1 to {_MAX_PAGE}.")
    filters: dict[str, Any] = {
        "before": before,
        "name": name,
        "action": action,
        "target": target,
        "outcome": outcome,
        "unfinished": unfinished,
    }
    wanted = {key for key, value in filters.items() if value}
    values = {key: storable(value) if isinstance(value, str) else value for key, value in filters.items()}
    with own.transaction() as connection, _tables_needed():
        rows = connection.execute(with_lines(_SQL["list_audit"], wanted), values | {"limit": limit + 1}).fetchall()
    found = tuple(_entry(row) for row in rows[:limit])
    return AuditPage(found, found[-1].number if len(rows) > limit else None)


def entry_hash(values: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of an entry with the hash before it. Pure; `at` counts to the microsecond, in UTC."""
    names = (
        "number",
        "subject",
        "name",
        "role",
        "via",
        "action",
        "target",
        "outcome",
        "details",
        "correlation_id",
        "asked",
        "previous_hash",
    )
    at = values["at"].astimezone(UTC).isoformat(timespec="microseconds")
    return hashlib.sha256(_canonical_plain({"at": at, **{name: values[name] for name in names}}).encode()).hexdigest()


@contextmanager
def _tables_needed() -> Generator[None, None, None]:
    """A database that was not migrated is told as what it is. The transaction around it rolls back."""
    try:
        yield
    except (pg.UndefinedTable, pg.InvalidSchemaName) as error:
        raise InvalidInput(
            "Treadle's own tables are not in the database, and every change is audited there.", hint=NOT_MIGRATED_HINT
        ) from error


def _append(connection: Connection, values: dict[str, Any]) -> int:
    with _tables_needed():
        head = connection.execute(_SQL["lock_head"]).fetchone() or {}
    now = connection.execute(_SQL["now"]).fetchone() or {}
    entry = values | {"number": head["number"] + 1, "at": now["now"], "previous_hash": head["hash"]}
    connection.execute(_SQL["append"], entry | {"hash": entry_hash(entry)})
    return int(entry["number"])


def _close(own: Database, entry: OpenEntry, outcome: str, more: Mapping[str, Any]) -> None:
    action, target, asked = entry.action, entry.target, entry.number
    try:
        record(own, entry.principal, action, target, outcome, details={**entry.facts, **more}, asked=asked)
    except TreadleError as error:
        log.error("audit.outcome_not_recorded", action=action, target=target, outcome=outcome, asked=asked, error=error.message)  # noqa: TRY400 - the reason is the database's, not ours


def _told(error: BaseException) -> str:
    return message_text(error.message if isinstance(error, TreadleError) else str(error) or type(error).__name__)


def _walk(connection: Connection, wanted: tuple[int, str] | None) -> tuple[int, str, FirstBad | None]:
    """Follow the chain to its end or its first bad entry: how many hold, the hash they lead to, and that entry."""
    number, last = 0, _NOTHING_BEFORE
    if wanted and wanted[0] == 0 and wanted[1] != last:
        return 0, last, FirstBad(0, "the expected head is not that of an empty audit")
    while rows := connection.execute(_SQL["chain"], {"after": number, "limit": _PAGE_ROWS}).fetchall():
        for row in rows:
            if reason := _fault(row, number + 1, last, wanted):
                return number, last, FirstBad(number + 1, reason)
            number, last = row["number"], row["hash"]
    return number, last, None


def _fault(row: Mapping[str, Any], number: int, last: str, wanted: tuple[int, str] | None) -> str | None:
    if row["number"] != number:
        return f"entry {number} is missing"
    if row["previous_hash"] != last:
        return "it does not continue the entry before it"
    if row["hash"] != entry_hash(row):
        return "its content is not what was written"
    if wanted and wanted[0] == number and wanted[1] != row["hash"]:
        return "it is not the entry that the expected head names: the chain was rewritten"
    return None


def _read_head(text: str) -> tuple[int, str]:
    found = _HEAD.fullmatch(text.strip())
    if not found:
        raise InvalidInput("The expected head is not of the form number:hash.", hint="Give it as `treadle audit verify` printed it.")
    return int(found[1]), found[2]


def _entry(row: Mapping[str, Any]) -> AuditEntry:
    values = {name: row[name] for name in AuditEntry.__dataclass_fields__}
    return AuditEntry(**values | {"at": row["at"].astimezone(UTC), "details": json.loads(row["details"])})


def _canonical(details: Mapping[str, Any]) -> str:
    """JSON with secrets hidden, in one spelling: the members in order, no spaces."""
    return _canonical_plain(json.loads(json_text(details)))


def _canonical_plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
