"""One way to call a REST API: authorised, bounded by a deadline, retried where that is safe, within the quotas, logged, errors by meaning."""

import contextlib
import hashlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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
from treadle.clients.quotas import Quotas
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


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that stays the same and is sent in a header of its own, for services that know no tokens."""

    header: str
    key: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.key or not self.key.isascii() or not self.key.isprintable() or self.key != self.key.strip():
            raise InvalidInput(f"The key for the header {self.header} cannot be sent: it is empty, or not plain text.", hint="Set it anew.")

    @property
    def identity(self) -> str:
        """A mark of the key from which it cannot be found."""
        return hashlib.sha256(self.key.encode()).hexdigest()[:16]


class Transport:
    """Calls one service at one configured address. A token or key is only ever sent there. Safe to share between threads."""

    def __init__(  # noqa: PLR0913 - what a test replaces is named, not hidden
        self,
        base_url: str,
        *,
        service: str,
        credential: TokenSource | ApiKey | None,
        scope: str = "",
        ca_file: Path | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        attempt_seconds: float = ATTEMPT_SECONDS,
        backoff_seconds: float = BACKOFF_SECONDS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        max_attempts: int | None = None,
        quotas: Quotas | None = None,
        clock: SecondsClock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Nothing is contacted yet.

        credential: None: requests carry none. scope: of the bearer token; none for a key.
        deadline_seconds: of a whole call, retries included. attempt_seconds: of each attempt of a safe call; an unsafe one, which gets no
        second, may use the whole deadline. max_attempts: of a call; None: as many as the deadline has room for.
        quotas: what the service allows, so that a busy process waits instead of being refused; None: nothing is known of any.
        clock, sleep, draw: monotonic seconds, waiting, and random numbers in [0, 1).
        """
        self.base_url = https_origin(base_url)
        self.service = service
        self._credential, self._scope = credential, scope
        self._deadline_seconds, self._attempt_seconds, self._backoff_seconds = deadline_seconds, attempt_seconds, backoff_seconds
        self._max_answer_bytes = max_answer_bytes
        self._max_attempts = max_attempts
        self._quotas = quotas
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
        content: "Content | None" = None,
        params: Mapping[str, str] | None = None,
        deadline_seconds: float | None = None,
        attempt_seconds: float | None = None,
        safety: Safety = "safe",
        wants_json: bool = True,
        problem_of: Callable[[bytes], str | None] | None = None,
        into: Path | None = None,
    ) -> Answer:
        """Make one call and return its successful answer.

        what: the call in words, to follow "could not". path: starts with `/`; its ids are the caller's to check.
        safety: "unsafe" is repeated only if it surely did nothing. wants_json: a 200 or 201 whose body is not JSON counts as garbled.
        problem_of: says what is wrong with such a body, instead; None: nothing.
        attempt_seconds: of each attempt, where the transport's own would be too short for what is asked.
        content: a body that is not JSON. into: a file for the body of a successful answer, which may be longer than memory should hold;
        the answer's own content is then empty.

        Raises:
            OutcomeUnknown: an unsafe call may have had its effect.
            Throttled, Unavailable: the deadline came first; nothing was changed.
            Another TreadleError: a definite refusal, by its meaning.
        """
        call = _Call(
            Exchange(self.service, what, method, path),
            self._build(method, path, json, params, content),
            safety,
            problem_of or (_json_problem if wants_json and into is None else None),
            into,
            attempt_seconds or self._attempt_seconds,
        )
        with within(deadline_seconds or self._deadline_seconds, self._clock) as deadline:
            settled = attempt_until_settled(
                lambda number: self._attempt(call, number, deadline),
                Pace(deadline, self._sleep, self._draw, self._backoff_seconds, self._max_attempts),
                safety=safety,
                renew_token=self._renewal(call.request),
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

    def _build(self, method: str, path: str, json: Any, params: Mapping[str, str] | None, content: "Content | None") -> httpx2.Request:
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": f"treadle/{__version__}"}
        if content:
            headers |= {"Content-Type": content.media_type, "Accept": "*/*"}
            return httpx2.Request(method, self.base_url + path, headers=headers, content=content.body, params=params or None)
        return httpx2.Request(method, self.base_url + path, headers=headers, json=json, params=params or None)

    def _attempt(self, call: "_Call", number: int, deadline: Deadline) -> Attempt[RawAnswer | None]:
        if self._quotas:
            self._quotas.wait_for_turn(call.exchange.path, deadline.remaining_seconds)
        self._authorise(call.request)
        started = self._clock()
        with within(call.attempt_seconds if call.safety == "safe" else deadline.remaining_seconds, self._clock):
            attempt = self._exchange(call)
        _log_exchange(call.exchange, number, attempt, self._clock() - started)
        return attempt

    def _authorise(self, request: httpx2.Request) -> None:
        if isinstance(self._credential, ApiKey):
            request.headers[self._credential.header] = self._credential.key
        elif self._credential:
            request.headers["Authorization"] = f"Bearer {self._credential.get_token(self._scope).token}"

    def _renewal(self, request: httpx2.Request) -> Callable[[], None] | None:
        """How a refused token is renewed; None where there is none, and for a key, which cannot be."""
        credential = self._credential
        if credential is None or isinstance(credential, ApiKey):
            return None
        return lambda: credential.renew(self._scope, _bearer_of(request))

    def _exchange(self, call: "_Call") -> Attempt[RawAnswer | None]:
        client = self._client if call.safety == "safe" else self._fresh_client
        call.request.extensions["timeout"] = httpx2.Timeout(seconds_left()).as_dict()
        try:
            with contextlib.closing(client.send(call.request, stream=True)) as response:
                answer = _read(response, self._max_answer_bytes, call.into)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError) as error:
            return Attempt(_not_sent(error), None)
        except httpx2.RequestError as error:
            return Attempt(Lost(_reason(error)), None)
        except _TooLongError as error:
            return Attempt(Garbled(str(error), error.status), None)
        return Attempt(_ending_of(answer, call.problem_of), answer)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of `Transport.request`, all attempts of it."""

    exchange: Exchange
    request: httpx2.Request
    safety: Safety
    problem_of: Callable[[bytes], str | None] | None
    into: Path | None
    attempt_seconds: float


@dataclass(frozen=True, slots=True)
class Content:
    """A request's body that is not JSON."""

    body: bytes = field(repr=False)
    media_type: str


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


def _read(response: httpx2.Response, max_bytes: int, into: Path | None) -> RawAnswer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    content = b""
    if into and response.status_code == 200:
        _write_to(into, response)
    else:
        content = _read_whole(response, max_bytes)
    return RawAnswer(response.status_code, headers, content, retry_after_of(headers, datetime.now(UTC)))


def _write_to(path: Path, response: httpx2.Response) -> None:
    """From the beginning, whatever an earlier attempt has left there."""
    with path.open("wb") as file:
        for chunk in response.iter_bytes():
            file.write(chunk)


def _read_whole(response: httpx2.Response, max_bytes: int) -> bytes:
    received, length = list[bytes](), 0
    for chunk in response.iter_bytes():
        length += len(chunk)
        if length > max_bytes:
            raise _TooLongError(response.status_code, max_bytes)
        received.append(chunk)
    return b"".join(received)


def _json_problem(content: bytes) -> str | None:
    return read_json(content)[0]


def _ending_of(answer: RawAnswer, problem_of: Callable[[bytes], str | None] | None) -> Ending:
    if problem_of and answer.status in (200, 201) and (problem := problem_of(answer.content)):
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
