"""API tokens: made, listed, revoked, and read back from what a caller presents.

A token reads `trdl_<id>_<secret>`: 12 hexadecimal digits that name it, and 256 random bits that are shown once and kept as a hash alone.
"""

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import structlog
from psycopg import errors as pg

from treadle.control.access import Principal, Right, Role, rights_of
from treadle.control.audit import NOT_MIGRATED_HINT
from treadle.control.database import Connection, Database
from treadle.control.statements import load_queries, with_lines
from treadle.control.stored import checked_name
from treadle.errors import Conflict, InvalidInput, NotFound, TreadleError, Unauthenticated

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
_TOKEN: Final = re.compile(r"trdl_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_TOKEN_ID: Final = re.compile(r"[0-9a-f]{12}")
_SHORTEST: Final = timedelta(minutes=1)
_LONGEST: Final = timedelta(days=3660)
_MAX_NAME_CHARS: Final = 100
REMEMBERED_SECONDS: Final = 5.0  # after a revocation elsewhere, a token may be taken for so much longer
_REMEMBERED_TOKENS: Final = 10_000
_NO_HASH: Final = hashlib.sha256(b"").digest()

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token. Times are aware UTC. `scopes` None: all rights of the role."""

    token_id: str
    name: str
    role: Role
    scopes: tuple[Right, ...] | None
    created_at: datetime
    created_by: str
    expires_at: datetime
    revoked_at: datetime | None
    revoked_by: str | None
    last_used_at: datetime | None
    expired: bool

    @property
    def usable(self) -> bool:
        """Whether it was accepted when it was read."""
        return self.revoked_at is None and not self.expired


def looks_like_token(text: str) -> bool:
    """Whether a bearer credential is an API token rather than a JWT. Pure."""
    return text.startswith("trdl_")


def create_token(  # noqa: PLR0913 - what a token is made of
    own: Database,
    name: str,
    role: Role,
    scopes: Collection[Right] | None,
    expires_in: timedelta,
    *,
    created_by: str,
    token_id: str | None = None,
) -> tuple[Token, str]:
    """Make a token and return it with its secret, which cannot be shown again.

    scopes: None for all rights of the role. token_id: 12 hexadecimal digits, derived from a request that may be repeated; None for any.

    Raises:
        InvalidInput: the name, the scopes or the lifetime cannot be used, or Treadle's own tables are not there.
        Conflict: a token with this id exists; its secret was shown when it was made.
    """
    identity = token_id or secrets.token_hex(6)
    secret = f"trdl_{identity}_{secrets.token_urlsafe(32)}"
    values = {
        "token_id": _checked_id(identity),
        "name": checked_name("the name of the token", name, max_chars=_MAX_NAME_CHARS),
        "role": str(role),
        "scopes": _checked_scopes(role, scopes),
        "secret_sha256": _hash(secret),
        "created_by": checked_name("the name of who makes the token", created_by),
        "lifetime": _checked_lifetime(expires_in),
    }
    rows = _execute(own, "insert_token", values)
    if not rows:
        raise Conflict(
            f"The token {identity} was made before; its secret was shown then and cannot be shown again.",
            hint="If it was lost, revoke the token and make another.",
            details={"token_id": identity},
        )
    return _token(rows[0]), secret


def list_tokens(own: Database, *, usable_only: bool = False) -> list[Token]:
    """Return all tokens, newest first, or only those that would be accepted now.

    Raises:
        InvalidInput: Treadle's own tables are not there.
    """
    return [_token(row) for row in _execute(own, "list_tokens", {}, {"usable"} if usable_only else set())]


def revoke_token(own: Database, token_id: str, revoked_by: str) -> Token:
    """Make a token worthless: here at once, in other processes within 5 seconds. Safe to repeat; the first who revoked it stays recorded.

    Raises:
        NotFound: there is no such token.
    """
    checked_name("the name of who revokes", revoked_by)
    values = {"token_id": token_id, "revoked_by": revoked_by}
    rows = _execute(own, "revoke_token", values) if _TOKEN_ID.fullmatch(token_id) else []
    _remembered(own).forget(token_id)
    return _token(rows[0]) if rows else get_token(own, token_id)


def get_token(own: Database, token_id: str) -> Token:
    """Return what is kept of one token.

    Raises:
        NotFound: there is no such token.
    """
    rows = _execute(own, "get_token", {"token_id": token_id}) if _TOKEN_ID.fullmatch(token_id) else []
    if not rows:
        raise NotFound(f"There is no token {token_id!a}.", hint="List them with: treadle token ls")
    return _token(rows[0])


def authenticate(own: Database, presented: str) -> Principal:
    """Return whom a presented token speaks for. Asked again within 5 seconds, the answer comes from memory.

    Raises:
        Unauthenticated: it is malformed, unknown, revoked or has expired; the first two are not told apart.
    """
    found = _TOKEN.fullmatch(presented)
    if not found:
        raise _unknown()
    known, digest = _remembered(own), _hash(presented)
    if principal := known.recall(digest):
        return principal
    asked = known.moment()
    row = _known_token(own, found[1], digest)
    principal = _principal(found[1], row)
    known.remember(digest, principal, min(REMEMBERED_SECONDS, row["seconds_left"]), asked)
    if row["use_unrecorded"]:
        _record_use(own, found[1])
    return principal


def recall_principal(own: Database, presented: str) -> Principal | None:
    """Whom a presented token speaks for, if it was accepted within the last 5 seconds. Asks nobody, so an event loop may call it."""
    return _remembered(own).recall(_hash(presented))


class _Remembered:
    """Tokens that were accepted a moment ago, by their hash, and until when that holds. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[bytes, tuple[float, Principal]] = {}
        self._revocations = 0

    def moment(self) -> tuple[float, int]:
        """To be taken before the database is asked: what it answers is as old as that."""
        return time.monotonic(), self._revocations

    def recall(self, digest: bytes) -> Principal | None:
        until, principal = self._until.get(digest, (0.0, None))
        return principal if time.monotonic() < until else None

    def remember(self, digest: bytes, principal: Principal, seconds: float, asked: tuple[float, int]) -> None:
        """Not when a token was revoked since: it may be this one, and the row that was read older than its revocation."""
        began, revocations = asked
        with self._lock:
            if revocations != self._revocations:
                return
            if len(self._until) >= _REMEMBERED_TOKENS:
                self._until.clear()
            self._until[digest] = (began + seconds, principal)

    def forget(self, token_id: str) -> None:
        with self._lock:
            self._revocations += 1
            self._until = {digest: kept for digest, kept in self._until.items() if kept[1].token_id != token_id}


_all_remembered: WeakKeyDictionary[Database, _Remembered] = WeakKeyDictionary()
_adding = threading.Lock()


def _remembered(own: Database) -> _Remembered:
    with _adding:
        return _all_remembered.setdefault(own, _Remembered())


def _known_token(own: Database, token_id: str, digest: bytes) -> Mapping[str, Any]:
    """The row of a token whose secret is right and that may be used. The comparison takes as long for an unknown id as for a wrong secret."""
    rows = _execute(own, "authenticate", {"token_id": token_id})
    if not hmac.compare_digest(rows[0]["secret_sha256"] if rows else _NO_HASH, digest):
        raise _unknown()
    row = rows[0]
    if row["revoked"]:
        raise Unauthenticated(f"The API token {token_id} was revoked.", hint="Ask an admin for another.")
    if row["seconds_left"] <= 0:
        raise Unauthenticated(f"The API token {token_id} has expired.", hint="Ask an admin for another.")
    return row


def _principal(token_id: str, row: Mapping[str, Any]) -> Principal:
    scopes = None if row["scopes"] is None else frozenset(Right(scope) for scope in row["scopes"] if scope in set(Right))
    return Principal(f"token:{token_id}", row["name"], Role(row["role"]), "token", scopes, token_id)


def _record_use(own: Database, token_id: str) -> None:
    """Best effort: when a token was used last is a help for cleaning up, not a condition for using it."""
    try:
        with own.transaction() as connection:
            connection.execute(_SQL["record_use"], {"token_id": token_id})
    except TreadleError as error:
        log.warning("token.use_not_recorded", token_id=token_id, error=error.message)


def _unknown() -> Unauthenticated:
    return Unauthenticated("The API token is not known here.", hint="Check that it was copied whole: trdl_…, 61 characters.")


def _execute(own: Database, name: str, values: Mapping[str, Any], lines: Collection[str] = ()) -> list[dict[str, Any]]:
    with own.transaction() as connection:
        return _rows(connection, name, values, lines)


def _rows(connection: Connection, name: str, values: Mapping[str, Any], lines: Collection[str]) -> list[dict[str, Any]]:
    try:
        return connection.execute(with_lines(_SQL[name], frozenset(lines)), values).fetchall()
    except (pg.UndefinedTable, pg.InvalidSchemaName) as error:
        raise InvalidInput("Treadle's own tables are not in the database, so there are no API tokens.", hint=NOT_MIGRATED_HINT) from error


def _token(row: Mapping[str, Any]) -> Token:
    scopes = None if row["scopes"] is None else tuple(Right(scope) for scope in row["scopes"] if scope in set(Right))
    values: dict[str, Any] = {**row, "role": Role(row["role"]), "scopes": scopes}
    return Token(**values)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _checked_id(token_id: str) -> str:
    if not _TOKEN_ID.fullmatch(token_id):
        raise InvalidInput(f"{token_id!a} cannot be the id of a token.", hint="Give 12 hexadecimal digits.")
    return token_id


def _checked_scopes(role: Role, scopes: Collection[Right] | None) -> list[str] | None:
    if scopes is None:
        return None
    beyond = sorted(set(scopes) - rights_of(role))
    if beyond or not scopes:
        what = f"the role {role} has not {', '.join(beyond)}" if beyond else "there are none"
        raise InvalidInput(f"These scopes cannot be given: {what}.", hint=f"Scopes of {role}: {', '.join(sorted(rights_of(role)))}.")
    return sorted(str(scope) for scope in set(scopes))


def _checked_lifetime(lifetime: timedelta) -> timedelta:
    if not _SHORTEST <= lifetime <= _LONGEST:
        raise InvalidInput("A token lives for at least a minute and at most ten years.", hint="Give another lifetime, such as 90 days.")
    return lifetime
