"""The shop's events API: one list, `GET {base}/datasets/ecom_events`, in pages, behind a key. The contract is product.md §2."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from treadle.clients.answers import read_json
from treadle.clients.retry import BACKOFF_SECONDS
from treadle.clients.transport import ApiKey, Transport, https_origin
from treadle.errors import InvalidInput, NotFound, PermissionDenied, TreadleError, Unauthenticated

KEY_HEADER: Final = "X-API-KEY"
MAX_PAGE_SIZE: Final = 1_000
TIMEOUT_SECONDS: Final = 60.0
MAX_RETRIES: Final = 3
_PATH: Final = "/datasets/ecom_events"
_LEAST_WAIT_SECONDS: Final = 60.0  # a limit of calls a minute asks for no longer wait than that
_TOLD_FROM_SECONDS: Final = 5.0
_JSON_WHITESPACE: Final = b" \t\r\n"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_HINTS: Final[dict[type[TreadleError], str]] = {
    Unauthenticated: "Check API_KEY.",
    PermissionDenied: "Ask the owner of the events API to let this API_KEY read the events.",
    NotFound: f"Check API_BASE_URL; {_PATH} is asked for below it.",
}


@dataclass(frozen=True, slots=True)
class ApiCheck:
    """The API answered and took the key."""

    url: str
    answered_in_ms: float
    size_bytes: int


class EventsApi:
    """The API as one key sees it. Every call only reads, so each is safe to repeat. Safe to share between threads."""

    def __init__(  # noqa: PLR0913 - where, as whom, how patiently: each named
        self,
        base_url: str,
        *,
        api_key: str,
        ca_file: Path | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_retries: int = MAX_RETRIES,
        backoff_seconds: float = BACKOFF_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Nothing is contacted yet.

        base_url: https, may have a path. timeout_seconds: of each attempt. max_retries: attempts after the first that failed; what passes
        is repeated (429 as Retry-After says, 5xx, cut connections, pages of HTML), what does not is not.
        """
        origin, self._prefix = _split(base_url)
        wait_seconds = max_retries * max(timeout_seconds, _LEAST_WAIT_SECONDS)
        self.transport = Transport(
            origin,
            service="The events API",
            credential=ApiKey(KEY_HEADER, api_key),
            ca_file=ca_file,
            deadline_seconds=timeout_seconds + wait_seconds,
            attempt_seconds=timeout_seconds,
            backoff_seconds=backoff_seconds,
            max_attempts=1 + max_retries,
            sleep=self._pause,
        )
        self._sleep = sleep
        self.on_wait: Callable[[float], None] = lambda _seconds: None
        """Told of each pause before an attempt is repeated that is long enough to be wondered at, in seconds, as it begins."""

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()

    def _pause(self, seconds: float) -> None:
        if seconds >= _TOLD_FROM_SECONDS:
            self.on_wait(seconds)
        self._sleep(seconds)

    @property
    def url(self) -> str:
        """Where the list is."""
        return f"{self.transport.base_url}{self._prefix}{_PATH}"

    def page(self, opens: datetime, closes: datetime, page: int, page_size: int) -> bytes:
        """The body of one page of the events from `opens` on and before `closes` (aware), as it came. page: from 1.

        That it begins as JSON does is all that is checked here: what the API says in it is for the reader to judge.

        Raises:
            InvalidInput: there is no such page size, or the API does not take the question.
            Unauthenticated, PermissionDenied: the key is not taken.
            Throttled, Unavailable: still so after all retries.
            UnexpectedAnswer: no JSON came, time and again.
        """
        if not 1 <= page_size <= MAX_PAGE_SIZE:
            raise InvalidInput(f"A page cannot have {page_size} events.", hint=f"Set API_PAGE_SIZE to a number from 1 to {MAX_PAGE_SIZE}.")
        window = {"start_time": _as_text(opens), "end_time": _as_text(closes)}
        params = window | {"page": str(page), "page_size": str(page_size)}
        what = f"list page {page} of the events from {window['start_time']} to {window['end_time']}"
        try:
            return self.transport.request("GET", self._prefix + _PATH, what=what, params=params, problem_of=_problem_of).content
        except (Unauthenticated, PermissionDenied, NotFound) as refusal:
            raise type(refusal)(refusal.message, hint=_HINTS[type(refusal)], details=refusal.details) from refusal

    def check(self) -> ApiCheck:
        """Ask for one event of the last day, to see whether address and key are right. Raises as `page`."""
        started, now = time.monotonic(), datetime.now(UTC).replace(microsecond=0)
        body = self.page(now - timedelta(days=1), now, 1, 1)
        return ApiCheck(self.url, round((time.monotonic() - started) * 1000, 1), len(body))


def _split(base_url: str) -> tuple[str, str]:
    """Origin and path. Raises InvalidInput for anything but https, which would show the key to the network."""
    try:
        parts = urlsplit(base_url.strip())
        clean = not (parts.query or parts.fragment or parts.username) and parts.port != 0
    except ValueError:
        parts, clean = urlsplit(""), False
    if not clean or parts.scheme != "https" or not parts.hostname or not parts.path.isascii():
        # the address is not repeated: a password may stand in it
        raise InvalidInput("API_BASE_URL cannot be the address of the events API.", hint="Set it to https://host or https://host/path.")
    return https_origin(f"https://{parts.netloc}"), parts.path.rstrip("/")


def _as_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _problem_of(body: bytes) -> str | None:
    """What tells at once that this is no answer of the API, such as a gateway's page of HTML: worth another try."""
    start = body.removeprefix(_BYTE_ORDER_MARK).lstrip(_JSON_WHITESPACE)[:1]
    return None if start in (b"{", b"[") else read_json(body)[0] or "the answer is neither an object nor a list"
