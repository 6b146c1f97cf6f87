"""One way to call a REST API: authorised, bounded by a deadline, retried where that is safe, within the quotas, logged, errors by meaning."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, cast
from urllib.parse import urlsplit

import httpx2
import structlog

from treadle import __version__
from treadle.clients.answers import (
    Answer,
    Exchange,
    RawAnswer,
    failure_of,
    outcome_unknown,
    read_json,
    request_id_of,
    told,
    unexpected,
)
from treadle.clients.deadline import Deadline, SecondsClock, seconds_left, within
from treadle.clients.locations import query_of
from treadle.clients.quotas import Quotas, shared_quotas
from treadle.clients.retry import (
    BACKOFF_SECONDS,
    Answered,
    Attempt,
    Ending,
    Garbled,
    Lost,
    NotSent,
    Pace,
    Safety,
    Settled,
    Step,
    attempt_until_settled,
    retry_after_of,
)
from treadle.clients.sockets import certificate_untrusted, trusting
from treadle.errors import InvalidInput, OutcomeUnknown, TreadleError

ATTEMPT_SECONDS: Final = 20.0
DEADLINE_SECONDS: Final = 60.0
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
MAX_PAGES: Final = 10_000

_log = structlog.get_logger()


class TokenSource(Protocol):
    """Where bearer tokens come from. `entra.credential` makes one."""

    @property
    def identity(self) -> str:
        """Who the tokens are for; quotas count per identity. Not a secret."""
        ...

    def get_token(self, *scopes: str, **kwargs: Any) -> Any:
        """Return an azure AccessToken for one scope."""
        ...

    def renew(self, scope: str, refused: str) -> None:
        """Forget the token that a server has refused."""
        ...


class Transport:
    """Calls one service at one configured address. A token is only ever sent there. Safe to share between threads."""

    def __init__(  # noqa: PLR0913 - what a test replaces is named, not hidden
        self,
        base_url: str,
        *,
        service: str,
        credential: TokenSource,
        scope: str,
        ca_file: Path | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        attempt_seconds: float = ATTEMPT_SECONDS,
        backoff_seconds: float = BACKOFF_SECONDS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        quotas: Quotas | None = None,
        clock: SecondsClock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Nothing is contacted yet.

        deadline_seconds: of a whole call, retries included. attempt_seconds: of each attempt of a safe call; an unsafe one, which gets no
        second, may use the whole deadline. quotas: None means those that this process shares for the credential's identity at this address.
        clock, sleep, draw: monotonic seconds, waiting, and random numbers in [0, 1).
        """
        self.base_url = https_origin(base_url)
        self.service = service
        self._credential, self._scope = credential, scope
        self._deadline_seconds, self._attempt_seconds, self._backoff_seconds = deadline_seconds, attempt_seconds, backoff_seconds
        self._max_answer_bytes = max_answer_bytes
        self._quotas = quotas or shared_quotas(self.base_url, credential.identity)
        self._clock, self._sleep, self._draw = clock, sleep, draw
        self._client = _open_client(ca_file, kept_connections=20)
        # A kept connection that the server is just closing would turn a POST that never arrived into one of unknown outcome.
        self._fresh_client = _open_client(ca_file, kept_connections=0)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
        self._fresh_client.close()

    def request(  # noqa: PLR0913 - the parts of an HTTP call, each named
        self,
        method: str,
        path: str,
        *,
        what: str,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        deadline_seconds: float | None = None,
        safety: Safety = "safe",
        wants_json: bool = True,
    ) -> Answer:
        """Make one call and return its successful answer.

        what: the call in words, to follow "could not". path: starts with `/`; its ids are the caller's to check.
        safety: "unsafe" is repeated only if it surely did nothing. wants_json: a 200 or 201 whose body is not JSON counts as garbled.

        Raises:
            OutcomeUnknown: an unsafe call may have had its effect.
            Throttled, Unavailable: the deadline came first; nothing was changed.
            Another TreadleError: a definite refusal, by its meaning.
        """
        call = _Call(Exchange(self.service, what, method, path), self._build(method, path, json, params), safety, wants_json)
        with within(deadline_seconds or self._deadline_seconds, self._clock) as deadline:
            settled = attempt_until_settled(
                lambda number: self._attempt(call, number, deadline),
                Pace(deadline, self._sleep, self._draw, self._backoff_seconds),
                safety=safety,
                renew_token=lambda: self._credential.renew(self._scope, _bearer_of(call.request)),
            )
        return _conclude(call.exchange, settled)

    def pages(self, path: str, *, what: str, params: Mapping[str, str] | None = None) -> Iterator[tuple[Answer, Mapping[str, Any]]]:
        """Yield every entry of a paged list with the answer it came in, page after page, each within its own deadline.

        Entries stand under `value`, or `data` in the lakehouse API. Of a continuation URI only the query is used, on our own path.
        Raises UnexpectedAnswer when the pages go round in a circle.
        """
        query, seen = dict(params or {}), set[str]()
        for _ in range(MAX_PAGES):
            answer = self.request("GET", path, what=what, params=query)
            page = answer.json_object()
            yield from ((answer, entry) for entry in entries_of(answer.exchange, page))
            following = next_page(page)
            if following is None:
                return
            mark = repr(sorted(following.items()))
            if mark in seen:
                raise unexpected(answer.exchange, "the list continues with a page that came before")
            seen.add(mark)
            query = dict(params or {}) | following
        raise unexpected(Exchange(self.service, what, "GET", path), f"the list has more than {MAX_PAGES} pages")

    def _build(self, method: str, path: str, json: Any, params: Mapping[str, str] | None) -> httpx2.Request:
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": f"treadle/{__version__}"}
        return httpx2.Request(method, self.base_url + path, headers=headers, json=json, params=params or None)

    def _attempt(self, call: "_Call", number: int, deadline: Deadline) -> Attempt[RawAnswer | None]:
        self._quotas.wait_for_turn(call.exchange.path, deadline.remaining_seconds)
        call.request.headers["Authorization"] = f"Bearer {self._credential.get_token(self._scope).token}"
        started = self._clock()
        with within(self._attempt_seconds if call.safety == "safe" else deadline.remaining_seconds, self._clock):
            attempt = self._exchange(call)
        _log_exchange(call.exchange, number, attempt, self._clock() - started)
        return attempt

    def _exchange(self, call: "_Call") -> Attempt[RawAnswer | None]:
        client = self._client if call.safety == "safe" else self._fresh_client
        call.request.extensions["timeout"] = httpx2.Timeout(seconds_left()).as_dict()
        try:
            with contextlib.closing(client.send(call.request, stream=True)) as response:
                answer = _read(response, self._max_answer_bytes)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError) as error:
            return Attempt(_not_sent(error), None)
        except httpx2.RequestError as error:
            return Attempt(Lost(_reason(error)), None)
        except _TooLongError as error:
            return Attempt(Garbled(str(error), error.status), None)
        return Attempt(_ending_of(answer, wants_json=call.wants_json), answer)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of `Transport.request`, all attempts of it."""

    exchange: Exchange
    request: httpx2.Request
    safety: Safety
    wants_json: bool


def _open_client(ca_file: Path | None, *, kept_connections: int) -> httpx2.Client:
    limits = httpx2.Limits(max_connections=100, max_keepalive_connections=kept_connections, keepalive_expiry=15.0)
    return httpx2.Client(verify=trusting(ca_file), follow_redirects=False, limits=limits)


def https_origin(url: str) -> str:
    """Return scheme, host and port of a base URL. A token must not travel in clear text, so only https is taken."""
    parts = urlsplit(url.rstrip("/"))
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.query or parts.fragment or parts.path:
        raise InvalidInput(f"{url!r} cannot be the address of a service.", hint="Give it as https://host or https://host:port.")
    return f"https://{parts.netloc}"


def entries_of(exchange: Exchange, page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of one page of a list."""
    entries = page.get("value", page.get("data"))
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in cast("list[Any]", entries)):
        raise unexpected(exchange, "the list has no entries under value or data")
    return cast("list[Mapping[str, Any]]", entries)


def next_page(page: Mapping[str, Any]) -> dict[str, str] | None:
    """The query parameters that lead to the next page. None: this was the last."""
    token, uri = page.get("continuationToken"), page.get("continuationUri")
    if isinstance(token, str) and token:
        return {"continuationToken": token}
    return (query_of(uri) or None) if isinstance(uri, str) else None


class _TooLongError(Exception):
    """The answer has more bytes than any answer of these services should."""

    def __init__(self, status: int, max_bytes: int) -> None:
        super().__init__(f"the answer is longer than {max_bytes} bytes")
        self.status = status


def _read(response: httpx2.Response, max_bytes: int) -> RawAnswer:
    received, length = list[bytes](), 0
    for chunk in response.iter_bytes():
        length += len(chunk)
        if length > max_bytes:
            raise _TooLongError(response.status_code, max_bytes)
        received.append(chunk)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return RawAnswer(response.status_code, headers, b"".join(received), retry_after_of(headers, datetime.now(UTC)))


def _ending_of(answer: RawAnswer, *, wants_json: bool) -> Ending:
    if wants_json and answer.status in (200, 201):
        problem, _ = read_json(answer.content)
        if problem:
            return Garbled(problem, answer.status)
    return Answered(answer.status, answer.refusal().error_code if answer.status >= 400 else None, answer.retry_after_seconds)


def _not_sent(error: Exception) -> NotSent:
    untrusted = certificate_untrusted(error)
    return NotSent("the server's certificate is not trusted" if untrusted else _reason(error), lasting=untrusted)


def _reason(error: Exception) -> str:
    said = str(error)
    if isinstance(error, httpx2.TimeoutException):
        return "no answer in time" + (f" ({said})" if said and "timed out" not in said else "")
    return said.rstrip(". ") or type(error).__name__  # it becomes part of a sentence


def _bearer_of(request: httpx2.Request) -> str:
    return request.headers["Authorization"].removeprefix("Bearer ")


def _conclude(exchange: Exchange, settled: Settled[RawAnswer | None]) -> Answer:
    answer = settled.last.brought
    if settled.step is not Step.ACCEPT or answer is None:
        raise _failure(exchange, settled)
    return Answer(exchange, answer.status, answer.headers, answer.content, answer.retry_after_seconds, settled.attempts)


def _failure(exchange: Exchange, settled: Settled[RawAnswer | None]) -> TreadleError:
    if settled.step is Step.UNKNOWN:
        return _unknown(exchange, settled.last.ending, settled.attempts)
    return failure_of(exchange, settled.last.ending, settled.last.brought, attempts=settled.attempts)


def _unknown(exchange: Exchange, ending: Ending, attempts: int) -> OutcomeUnknown:
    status = ending.status if isinstance(ending, Answered | Garbled) else None
    return outcome_unknown(exchange, told(ending), attempts=attempts, status=status)


def _log_exchange(exchange: Exchange, number: int, attempt: Attempt[RawAnswer | None], elapsed_seconds: float) -> None:
    ending, answer = attempt.ending, attempt.brought
    facts: dict[str, Any] = {"status": answer.status} if answer else {"reason": told(ending)}
    if isinstance(ending, Garbled):
        facts["reason"] = ending.reason
    if isinstance(ending, Answered) and ending.error_code:
        facts["error_code"] = ending.error_code
    _log.info(
        "http.call",
        service=exchange.service,
        method=exchange.method,
        path=exchange.path,
        attempt=number,
        elapsed_ms=round(elapsed_seconds * 1000, 1),
        request_id=request_id_of(answer.headers) if answer else None,
        **facts,
    )
