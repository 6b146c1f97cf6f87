"""A graph behind Apache TinkerPop's Gremlin protocol, as Azure Cosmos DB for Gremlin takes it: scripts with bindings, GraphSON 2, over TLS alone.

The driver is gremlinpython, which is an extra: `pip install 'treadle[gremlin]'`. It is loaded with the first statement.

Sources: Azure Cosmos DB for Gremlin, "Quickstart: Python", "Limits", "Server response headers"; gremlinpython 3.8, `driver/client.py`.
"""

import asyncio
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import structlog

from treadle.clients.answers import readable, told
from treadle.clients.deadline import Deadline, SecondsClock, within
from treadle.clients.gremlin_answers import SERVICE, Refused, error_of, refusal_of, unreached
from treadle.clients.retry import (
    BACKOFF_SECONDS,
    Answered,
    Attempt,
    Garbled,
    Lost,
    NotSent,
    Pace,
    Settled,
    Step,
    attempt_until_settled,
)
from treadle.clients.sockets import certificate_untrusted, trusting
from treadle.errors import InvalidInput, TreadleError, UnexpectedAnswer

DEADLINE_SECONDS: Final = 120.0  # nobody can cancel a job in the middle of a statement
ATTEMPT_SECONDS: Final = 70.0  # the server gives up after 60
SCRIPT_BYTES: Final = 64 * 1024  # "Limits": script length
REQUEST_BYTES: Final = 1024**2  # of script and bindings; a document of Cosmos DB has at most 2 MB
ANSWER_BYTES: Final = 16 * 1024**2
_CLOSING_SECONDS: Final = 5.0
_WITH_THE_CONNECTION: Final = frozenset({401, 403, 407, 1007, 1008})  # refusals after which another connection is needed

_log = structlog.get_logger()


class GremlinClient:
    """One graph and the key that opens it. One WebSocket, opened when it is needed and anew when it broke.

    Every statement is repeated when it was throttled or its answer was lost, so give it only those that may run twice.
    Safe to share between threads; they take turns.
    """

    def __init__(  # noqa: PLR0913 - what a test replaces is named, not hidden
        self,
        url: str,
        username: str,
        key: str,
        *,
        ca_file: Path | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        attempt_seconds: float = ATTEMPT_SECONDS,
        backoff_seconds: float = BACKOFF_SECONDS,
        clock: SecondsClock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Nothing is contacted yet.

        url: wss://host:port/, for a TinkerPop server with the path /gremlin. username: `cosmos_user(database, graph)` for Cosmos DB.
        deadline_seconds: of a whole statement, waits included. attempt_seconds: of each try.

        Raises:
            InvalidInput: the address is no wss:// one, or there is no key.
        """
        self.url = wss_address(url)
        if not username or not key:
            raise InvalidInput("The Gremlin server wants a user and a key.", hint="Set GREMLIN_DATABASE, GREMLIN_GRAPH and GREMLIN_KEY.")
        self._username, self._key = username, key
        self._ca_file = ca_file
        self._deadline_seconds, self._attempt_seconds, self._backoff_seconds = deadline_seconds, attempt_seconds, backoff_seconds
        self._clock, self._sleep, self._draw = clock, sleep, draw
        self._turn = threading.Lock()
        self._connection: _Connection | None = None

    def submit(
        self,
        script: str,
        bindings: Mapping[str, Any] | None = None,
        *,
        what: str = "run a statement",
        deadline_seconds: float | None = None,
    ) -> list[Any]:
        """Run one statement and return all of its results. Values belong into bindings: what is in them is never read as Gremlin.

        what: the statement in words, to follow "could not".

        Raises:
            InvalidInput: it is larger than a request may be, has values that JSON cannot carry, or the server does not take it.
            Throttled, Unavailable, Conflict: the deadline came first; the statement may have been carried out in part.
            Unauthenticated, PermissionDenied, NotFound: of key and graph. OperationFailed: it failed, and would again.
        """
        check_request(script, bindings or {})
        with self._turn, within(deadline_seconds or self._deadline_seconds, self._clock) as deadline:
            settled = attempt_until_settled(
                lambda number: self._attempt(script, bindings, what, number, deadline),
                Pace(deadline, self._sleep, self._draw, self._backoff_seconds),
            )
        if settled.step is Step.ACCEPT:
            return cast("list[Any]", settled.last.brought)
        raise _failure(what, settled)

    def close(self) -> None:
        """Close the connection. A later statement opens one again."""
        with self._turn:
            self._disconnect()

    def _attempt(self, script: str, bindings: Mapping[str, Any] | None, what: str, number: int, deadline: Deadline) -> "Attempt[_Brought]":
        started = self._clock()
        ends_at = Deadline(min(deadline.at, started + self._attempt_seconds), self._clock)
        attempt = self._exchange(script, bindings, ends_at)
        _log.info(
            "gremlin.call",
            what=what,
            attempt=number,
            elapsed_ms=round((self._clock() - started) * 1000, 1),
            **({"status": attempt.brought.status} if isinstance(attempt.brought, Refused) else {}),
            **({} if isinstance(attempt.ending, Answered) else {"reason": told(attempt.ending)}),
        )
        return attempt

    def _exchange(self, script: str, bindings: Mapping[str, Any] | None, deadline: Deadline) -> "Attempt[_Brought]":
        if self._connection is None:
            self._connection = _Connection(self.url, self._username, self._key, self._ca_file)
        try:
            results, attributes = self._connection.ask(script, dict(bindings or {}), deadline)
        except Exception as error:  # noqa: BLE001 - the driver lets through what many libraries raise; each is told apart below
            return self._failed(error)
        if refused := refusal_of(200, None, attributes):
            return Attempt(refused.ending, refused)
        return Attempt(Answered(200), results)

    def _failed(self, error: Exception) -> "Attempt[_Brought]":
        opened = self._connection is not None and self._connection.opened
        refused = _refusal_in(error)
        if refused is None or refused.status in _WITH_THE_CONNECTION:
            self._disconnect()
        if refused:
            return Attempt(refused.ending, refused)
        if certificate_untrusted(error):
            return Attempt(NotSent("the server's certificate is not trusted", lasting=True), None)
        if isinstance(error, ValueError | LookupError | TypeError):
            return Attempt(Garbled("the answer is no GraphSON", 200), None)
        return Attempt(Lost(_reason(error)) if opened else NotSent(_reason(error)), None)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.close()


_Brought = list[Any] | Refused | None


class _Connection:
    """The driver's client with one WebSocket, whose every wait ends with the deadline of the statement that runs."""

    def __init__(self, url: str, username: str, key: str, ca_file: Path | None) -> None:
        self._transport: Any = _bounded(_driver("aiohttp.transport").AiohttpTransport)(ssl=trusting(ca_file), max_msg_size=ANSWER_BYTES)
        self._client: Any = _driver("client").Client(
            url,
            "g",
            username=username,
            password=key,
            message_serializer=_driver("serializer").GraphSONSerializersV2d0(),
            transport_factory=lambda: self._transport,
            pool_size=1,
        )

    @property
    def opened(self) -> bool:
        """Whether it was connected, so that a statement may have arrived."""
        return bool(self._transport.connected)

    def ask(self, script: str, bindings: dict[str, Any], deadline: Deadline) -> tuple[list[Any], Mapping[str, Any]]:
        """The results, and the attributes of the last status. Raises whatever the driver raises."""
        self._transport.deadline = deadline
        answer = self._client.submit(script, bindings)
        return answer.all().result(), answer.status_attributes or {}

    def close(self) -> None:
        """Never raises: what is broken cannot be closed politely."""
        self._transport.deadline = Deadline(time.monotonic() + _CLOSING_SECONDS)
        for part in (self._client, self._transport):  # a connection that never came about is not among the client's
            try:
                part.close()
            except Exception as error:  # noqa: BLE001 - see above
                _log.info("gremlin.close_failed", reason=_reason(error))


def _driver(module: str) -> Any:
    """A module of gremlinpython, whose errors are raised, and not logged besides: its log line has every result of the connection."""
    logging.getLogger("gremlinpython").setLevel(logging.CRITICAL + 1)
    try:
        return import_module(f"gremlin_python.driver.{module}")
    except ModuleNotFoundError as error:
        raise InvalidInput("The Gremlin driver is not installed.", hint="Install it: pip install 'treadle[gremlin]'.") from error


@cache
def _bounded(base: Any) -> Any:
    """The driver's transport, which by itself waits without end, with a deadline for everything that it does."""

    class Bounded(base):
        deadline = Deadline(0.0)
        connected = False

        def connect(self, *given: Any) -> None:
            self._in_time(base.connect, *given)
            self.connected = True

        def write(self, message: bytes) -> None:
            self._in_time(base.write, message)

        def read(self) -> Any:
            return self._in_time(base.read)

        def close(self) -> None:
            if not self._loop.is_closed():
                self._in_time(base.close)

        def _in_time(self, call: Callable[..., Any], *given: Any) -> Any:
            """Make a call that runs the transport's own event loop, and end whatever it waits for when time is over."""
            timer = self._loop.call_later(self.deadline.remaining_seconds, self._give_up)
            try:
                return call(self, *given)
            except asyncio.CancelledError as error:
                raise TimeoutError("no answer in time") from error
            finally:
                timer.cancel()

        def _give_up(self) -> None:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()

    return Bounded


def cosmos_user(database: str, graph: str) -> str:
    """The user name that tells Cosmos DB which graph is meant.

    Raises:
        InvalidInput: one of the names is empty or has a slash.
    """
    if not database or not graph or "/" in database + graph:
        hint = "Set GREMLIN_DATABASE and GREMLIN_GRAPH."
        raise InvalidInput("The names of the Gremlin database and graph must not be empty or have a slash.", hint=hint)
    return f"/dbs/{database}/colls/{graph}"


def wss_address(url: str) -> str:
    """The address, if a key may be sent there: over TLS, and nothing secret within it.

    Raises:
        InvalidInput: it is another.
    """
    parts = urlsplit(url)
    if parts.scheme != "wss" or not parts.hostname or parts.username or parts.password or parts.query or parts.fragment:
        shown = f"{parts.scheme}://{parts.hostname or ''}"
        raise InvalidInput(f"{shown!r} cannot be the address of a Gremlin server.", hint="Set GREMLIN_URL to wss://host:443/.")
    return f"wss://{parts.netloc}{parts.path or '/'}"


def check_request(script: str, bindings: Mapping[str, Any]) -> None:
    """Refuse what the server would refuse, before it is sent.

    Raises:
        InvalidInput: script or request are too long, or a value cannot be said in JSON.
    """
    script_bytes = len(script.encode())
    try:
        size_bytes = script_bytes + len(json.dumps(bindings, allow_nan=False).encode())
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            "A value of a Gremlin statement cannot be said in JSON.", hint="Text, true or false, and finite numbers can."
        ) from error
    if script_bytes > SCRIPT_BYTES or size_bytes > REQUEST_BYTES:
        message = f"A Gremlin statement has {script_bytes:,} bytes of script and {size_bytes:,} in all; {SCRIPT_BYTES:,} and {REQUEST_BYTES:,} go."
        raise InvalidInput(message, hint="Shorten the longest cells of the row, or leave columns out of the schema.")


def _refusal_in(error: Exception) -> Refused | None:
    """What the server said, in an answer or when the connection was to be opened. None: it said nothing."""
    if isinstance(error, _driver("protocol").GremlinServerError):
        answer = cast("Any", error)
        gone = answer.status_code == 500 and answer.status_message.startswith("Server disconnected")  # the driver's words, not the server's
        return None if gone else refusal_of(answer.status_code, answer.status_message, answer.status_attributes or {})
    each: BaseException | None = error
    while each is not None:
        if isinstance(status := getattr(each, "status", None), int):
            return refusal_of(status, "the connection was refused", {})
        each = each.__cause__ or each.__context__
    return None


def _failure(what: str, settled: "Settled[_Brought]") -> TreadleError:
    ending = settled.last.ending
    if isinstance(settled.last.brought, Refused):
        return error_of(settled.last.brought, what, attempts=settled.attempts)
    if isinstance(ending, Garbled):
        message = f"{SERVICE} answered outside its contract when asked to {what}: {ending.reason}."
        return UnexpectedAnswer(message, hint="Check GREMLIN_URL; report this if it is right.")
    lasting = isinstance(ending, NotSent) and ending.lasting
    return unreached(what, told(ending), lasting=lasting, attempts=settled.attempts)


def _reason(error: BaseException) -> str:
    return readable(str(error)) or type(error).__name__
