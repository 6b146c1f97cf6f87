"""One effect, however often a request is sent: `once` carries out the first of equal requests and gives its answer to all.

Two nets, one under the other. The claim row keeps equal requests apart and replays the answer. Should its holder crash between effect and
answer, the next one starts again with the same `started_id`, by which whatever is started is known: so it finds it instead of starting another.
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import structlog
from psycopg import errors as pg

from treadle.control.audit import NOT_MIGRATED_HINT
from treadle.control.database import Database
from treadle.control.statements import load_queries
from treadle.errors import Conflict, InvalidInput, TreadleError

_SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}")  # visible ASCII, as the draft for the Idempotency-Key header has it
KEY_REUSED: Final = "idempotency_key_reused"
IN_PROGRESS: Final = "idempotency_in_progress"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request that carries a key. owner: the principal's subject. route: method and path, with its ids. body: as it came, or canonical."""

    owner: str
    key: str
    route: str
    body: bytes

    @property
    def fingerprint(self) -> bytes:
        """What tells it from another request with the same key."""
        return hashlib.sha256(self.route.encode() + b"\0" + self.body).digest()

    @property
    def started_id(self) -> UUID:
        """The id of whatever this request starts: the same each time it is sent."""
        return started_id(self.owner, self.route, self.key)


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer as it is kept and replayed; `body` is JSON and never holds a secret. replayed: it was given before."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a claim counts as alive without an answer, for how long an answer is kept, and how long equal requests wait for it."""

    lease: timedelta = timedelta(seconds=180)  # longer than any request that starts something may take
    lifetime: timedelta = timedelta(hours=24)
    wait_seconds: float = 10


PATIENCE: Final = Patience()


def started_id(owner: str, route: str, key: str) -> UUID:
    """The id of what the request with this key starts. Pure."""
    return uuid5(NAMESPACE_URL, "treadle:started:" + json.dumps([owner, route, key]))


def once(own: Database, request: KeyedRequest, effect: Callable[[UUID], KeptAnswer], patience: Patience = PATIENCE) -> KeptAnswer:
    """Carry out the effect, or give the answer of the equal request that did.

    effect: gets `request.started_id`, must be safe to repeat with it, and returns the answer to keep. What it raises is not kept: the key is
    free again, and the same request may be tried again.

    Raises:
        InvalidInput: the key is malformed, was used for another request (`details["code"]` is `idempotency_key_reused`), or Treadle's own
            tables are not there.
        Conflict: an equal request is still being carried out after all the waiting; details have code and retry_after_seconds.
        And what the effect raises.
    """
    _require_key(request.key)
    holder = uuid4()
    if kept := _claim_or_kept(own, request, holder, patience):
        return kept
    try:
        answer = effect(request.started_id)
    except BaseException:
        _let_go(own, request, holder)
        raise
    _keep(own, request, holder, answer)
    return answer


def delete_expired(own: Database) -> int:
    """Forget what has expired, and return how many keys that were. Safe to repeat."""
    total = 0
    while True:
        with own.transaction() as connection:
            deleted = len(connection.execute(_SQL["delete_expired"]).fetchall())
        total += deleted
        if not deleted:
            return total


def _claim_or_kept(own: Database, request: KeyedRequest, holder: UUID, patience: Patience) -> KeptAnswer | None:
    """None: the claim is ours. Else the answer, once the one who has the claim has given it."""
    deadline, pause, pause_seconds = time.monotonic() + patience.wait_seconds, threading.Event(), 0.02
    while True:
        claimed, row = _try_claim(own, request, holder, patience)
        if claimed:
            return None
        if row and bytes(row["fingerprint"]) != request.fingerprint:
            raise _reused(request)
        if row and row["answer"] is not None:
            return KeptAnswer(row["answer"]["status"], row["answer"]["body"], row["answer"]["headers"], replayed=True)
        if time.monotonic() + pause_seconds > deadline:
            raise _in_progress()
        pause.wait(pause_seconds)
        pause_seconds = min(0.5, pause_seconds * 1.5)


def _try_claim(own: Database, request: KeyedRequest, holder: UUID, patience: Patience) -> tuple[bool, dict[str, Any] | None]:
    """Whether the claim is ours, and else the row that stands in the way; None when that has just gone."""
    where = {"owner": request.owner, "key": request.key}
    values = where | {"fingerprint": request.fingerprint, "holder": holder, "lease": patience.lease, "lifetime": patience.lifetime}
    with own.transaction() as connection:
        try:
            if connection.execute(_SQL["claim"], values).fetchone():
                return True, None
        except (pg.UndefinedTable, pg.InvalidSchemaName) as error:
            raise InvalidInput("Treadle's own tables are not in the database.", hint=NOT_MIGRATED_HINT) from error
        return False, connection.execute(_SQL["kept"], where).fetchone()


def _keep(own: Database, request: KeyedRequest, holder: UUID, answer: KeptAnswer) -> None:
    """Best effort: an answer that is not kept is worked out again by the next equal request, from what was started."""
    kept = json.dumps({"status": answer.status, "body": answer.body, "headers": dict(answer.headers)})
    try:
        with own.transaction() as connection:
            connection.execute(_SQL["keep_answer"], {"owner": request.owner, "key": request.key, "holder": holder, "answer": kept})
    except TreadleError as error:
        log.warning("idempotency.answer_not_kept", route=request.route, error=error.message)


def _let_go(own: Database, request: KeyedRequest, holder: UUID) -> None:
    """Best effort: a claim that stays is free when its lease lapses."""
    try:
        with own.transaction() as connection:
            connection.execute(_SQL["let_go"], {"owner": request.owner, "key": request.key, "holder": holder})
    except TreadleError as error:
        log.warning("idempotency.claim_not_let_go", route=request.route, error=error.message)


def _require_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise InvalidInput(
            "The Idempotency-Key is not 1 to 200 visible ASCII characters.", hint="Send a new UUID with each request that starts something."
        )


def _reused(request: KeyedRequest) -> InvalidInput:
    return InvalidInput(
        "This Idempotency-Key was used for another request.",
        hint="Send a new key with each new request, and the same one only to repeat the same request.",
        details={"code": KEY_REUSED, "route": request.route},
    )


def _in_progress() -> Conflict:
    return Conflict(
        "A request with this Idempotency-Key is still being carried out.",
        hint="Send it again in a few seconds; it will have its effect once.",
        details={"code": IN_PROGRESS, "retry_after_seconds": 2},
    )
