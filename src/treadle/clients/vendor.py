"""The network under Microsoft's own libraries: confined to configured hosts, bounded by the running deadline, recorded and logged.

azure-identity and azure-storage-file-datalake bring retries of their own; those are switched off, and `retry.py` decides from what was
recorded here. The libraries' exceptions tell less: msal, for one, turns a 503 and an unknown tenant into the same ValueError.
"""

import logging
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast
from urllib.parse import urlsplit

import requests
import structlog
from azure.core.exceptions import (
    AzureError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseError,
)
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from treadle.clients.answers import RawAnswer, request_id_of, told
from treadle.clients.deadline import seconds_left, within
from treadle.clients.retry import Answered, Attempt, Ending, Garbled, Lost, NotSent, retry_after_of
from treadle.clients.sockets import certificate_untrusted, trusting
from treadle.errors import UnexpectedAnswer

T = TypeVar("T")

_READ_SECONDS: Final = 60.0
_BLOCK_BYTES: Final = 256 * 1024

_log = structlog.get_logger()

# They warn of each failed attempt; here it is logged as http.call, and its last is raised to be logged where it is handled.
for _library in ("azure", "msal"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)


@dataclass(slots=True)
class _Record:
    """The latest exchange of one attempt."""

    attempt: int
    ending: Ending | None = None
    answer: RawAnswer | None = None
    foreign: UnexpectedAnswer | None = None


_recording: ContextVar[_Record | None] = ContextVar("treadle_vendor_record", default=None)


@dataclass(frozen=True, slots=True)
class Brought(Generic[T]):
    """What a call of a vendor's library brought: a value, or the refusal and the exception that came instead."""

    value: T | None = None
    answer: RawAnswer | None = None
    error: Exception | None = None


def attempt_call(call: Callable[[], T], at_most_seconds: float, number: int) -> Attempt[Brought[T]]:
    """Call a vendor's library once and say how the exchange behind it ended. number: of the attempt, from 1.

    Raises UnexpectedAnswer, without another attempt, when the library was led to a foreign host.
    """
    record = _Record(number)
    token = _recording.set(record)
    try:
        with within(at_most_seconds):
            return Attempt(Answered(200), Brought(call()))
    except (AzureError, ValueError) as error:
        if record.foreign is not None:
            raise record.foreign from error
        return Attempt(_ending_of(record, error), Brought(answer=record.answer, error=error))
    finally:
        _recording.reset(token)


def _ending_of(record: _Record, error: Exception) -> Ending:
    failed = record.ending is not None and not (isinstance(record.ending, Answered) and record.ending.status < 300)
    if failed:
        return cast("Ending", record.ending)
    if isinstance(error, ServiceResponseError | IncompleteReadError):
        return Lost("the answer was cut off")
    if isinstance(error, ServiceRequestError):
        return NotSent("the deadline passed")
    return Garbled("the answer cannot be read", record.answer.status if record.answer else 0)


class _DeadlineAdapter(HTTPAdapter):
    """Opens connections by our own TLS context, and repeats nothing."""

    def __init__(self, ca_file: Path | None) -> None:
        self._context = trusting(ca_file)
        super().__init__(max_retries=Retry(total=False, redirect=False, raise_on_status=False))

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, **kwargs, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context has its certificates; requests would add its own bundle to them."""
        del url, verify, cert
        conn.cert_reqs = "CERT_REQUIRED"


class ConfinedTransport(RequestsTransport):
    """Sends to the given origins and to no other host, whatever a server says. Never follows a redirect."""

    def __init__(self, service: str, origins: list[str], *, ca_file: Path | None) -> None:
        session = requests.Session()
        session.trust_env = False  # requests would let a ~/.netrc replace the Authorization header
        session.mount("https://", _DeadlineAdapter(ca_file))
        super().__init__(session=session, use_env_settings=False, connection_data_block_size=_BLOCK_BYTES)
        self._service = service
        self._origins = frozenset(origins)

    def send(self, request: Any, *, proxies: Any = None, **kwargs: Any) -> Any:
        """Send once, and record how it ended."""
        self._confine(request.url)
        left = seconds_left(_READ_SECONDS) or 0.0
        if left <= 0:  # noted, since azure-identity passes no error on as it was raised
            late = NotSent("the deadline passed")
            self._note(request, late, None, time.monotonic())
            raise ServiceRequestTimeoutError(late.reason)
        started = time.monotonic()
        try:
            response = self._send(
                request, proxies=proxies or _proxies_for(request.url), **kwargs | {"connection_timeout": left, "read_timeout": left}
            )
        except AzureError as error:
            self._note(request, _ending_of_failure(error), None, started)
            raise
        answer = _answer_of(response)
        ending = Answered(answer.status, answer.refusal().error_code if answer.status >= 400 else None, answer.retry_after_seconds)
        self._note(request, ending, answer, started)
        return response

    def _send(self, request: Any, **kwargs: Any) -> Any:
        return cast("Any", super().send(request, **kwargs))

    def _confine(self, url: str) -> None:
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" in self._origins:
            return
        foreign = UnexpectedAnswer(
            f"{self._service} pointed to the foreign host {parts.hostname}, to which no credentials are sent.",
            hint="Check the configured address.",
            details={"service": self._service, "host": parts.hostname},
        )
        if record := _recording.get():
            record.foreign = foreign
        raise foreign

    def _note(self, request: Any, ending: Ending, answer: RawAnswer | None, started: float) -> None:
        facts: dict[str, Any] = {"status": answer.status} if answer else {"reason": told(ending)}
        if record := _recording.get():
            record.ending, record.answer = ending, answer
            facts["attempt"] = record.attempt
        if isinstance(ending, Answered) and ending.error_code:
            facts["error_code"] = ending.error_code
        _log.info(
            "http.call",
            service=self._service,
            method=request.method,
            path=urlsplit(request.url).path,
            elapsed_ms=round((time.monotonic() - started) * 1000, 1),
            request_id=request_id_of(answer.headers) if answer else None,
            **facts,
        )


def _answer_of(response: Any) -> RawAnswer:
    headers = {str(name).lower(): str(value) for name, value in cast("Mapping[str, str]", response.headers).items()}
    refused = response.status_code >= 400
    content = cast("bytes", response.read()) if refused else b""
    return RawAnswer(response.status_code, headers, content, retry_after_of(headers, datetime.now(UTC)))


def _ending_of_failure(error: AzureError) -> Ending:
    if certificate_untrusted(error):
        return NotSent("the server's certificate is not trusted", lasting=True)
    if isinstance(error, ServiceRequestError):
        return NotSent("no connection")
    return Lost("the answer was cut off" if isinstance(error, IncompleteReadError) else "no whole answer in time")


def _proxies_for(url: str) -> dict[str, str] | None:
    """The proxy that HTTPS_PROXY names for this address, unless NO_PROXY excepts it."""
    target = urlsplit(url)
    named = urllib.request.getproxies().get(target.scheme)
    return None if not named or urllib.request.proxy_bypass(target.netloc) else {target.scheme: named}
