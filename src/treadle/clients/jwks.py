"""The public keys of an OpenID provider: found by discovery or at a set address, kept, and asked for again when a token names another.

Sources: OpenID Connect Discovery 1.0 §4; RFC 7517 (JSON Web Key).
"""

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import SplitResult, urlsplit

import httpx2
import jwt
import structlog

from treadle.clients.deadline import SecondsClock, seconds_left, within
from treadle.clients.sockets import trusting
from treadle.errors import InvalidInput, Unavailable

FRESH_SECONDS: Final = 3600.0  # so long keys are used without asking; a key that the provider withdrew is taken for no longer
STALE_SECONDS: Final = 24 * 3600.0  # while the provider is away, known keys go on for so long
UNKNOWN_KEY_PAUSE_SECONDS: Final = 30.0  # a token that names an unknown key makes us ask at most this often
FAILURE_PAUSE_SECONDS: Final = 5.0  # and a provider that was away, this often
FETCH_SECONDS: Final = 8.0
_MAX_BYTES: Final = 512 * 1024
_MAX_KEYS: Final = 100
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}  # a packed answer could unpack to any size
_SHORTEST_RSA_BITS: Final = 2048  # RFC 7518 §3.3
_KEY_TYPES: Final[Mapping[str, str]] = {"RS": "RSA", "PS": "RSA", "ES": "EC"}

log = structlog.get_logger()


class KeyRing:
    """The provider's keys by `kid`. Nothing is contacted before the first use. Safe to share between threads."""

    def __init__(
        self,
        issuer: str,
        *,
        jwks_url: str | None = None,
        ca_file: Path | None = None,
        fetch_seconds: float = FETCH_SECONDS,
        clock: SecondsClock = time.monotonic,
    ) -> None:
        """Remember where the keys are.

        jwks_url: None: the provider's discovery document says, and then it must be on the issuer's own host. clock: monotonic seconds.
        fetch_seconds: how long discovery and keys may take together.
        """
        self._issuer, self._jwks_url, self._fetch_seconds, self._clock = issuer, jwks_url, fetch_seconds, clock
        self._client = httpx2.Client(verify=trusting(ca_file), follow_redirects=False)
        self._asking = threading.Lock()
        self._keys: Mapping[str, Mapping[str, Any]] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._failure: str | None = None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def find(self, kid: str, algorithm: str) -> jwt.PyJWK | None:
        """The key of this name, for this algorithm. None: the provider has none, or it is not for signing so.

        Raises:
            Unavailable: the provider cannot be asked, and the key is not known from before.
        """
        if kid in self._keys and self._age() < FRESH_SECONDS:
            return _key_for(self._keys[kid], algorithm)
        usable = kid in self._keys and self._age() < STALE_SECONDS
        if self._asking.acquire(blocking=not usable):
            try:
                self._ask_when_due(kid)
            finally:
                self._asking.release()
        if kid in self._keys and self._age() < STALE_SECONDS:
            return _key_for(self._keys[kid], algorithm)
        if self._failure:
            raise _unavailable(self._issuer, self._failure)
        return None

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._clock() - self._fetched_at

    def _ask_when_due(self, kid: str) -> None:
        """Whoever waited for another's question uses its answer."""
        if kid in self._keys and self._age() < FRESH_SECONDS:
            return
        pause = FAILURE_PAUSE_SECONDS if self._failure else UNKNOWN_KEY_PAUSE_SECONDS
        if self._tried_at is not None and self._clock() - self._tried_at < pause:
            return
        try:
            self._keys, self._failure = self._fetch(), None
            self._fetched_at = self._clock()
        except _NoKeysError as error:
            self._failure = str(error)
            log.warning("oidc.keys_unavailable", issuer=self._issuer, reason=self._failure)
        self._tried_at = self._clock()

    def _fetch(self) -> Mapping[str, Mapping[str, Any]]:
        with within(self._fetch_seconds):
            url = self._jwks_url or self._discovered()
            entries = self._get(url).get("keys")
        if not isinstance(entries, list):
            raise _NoKeysError("the key document has no list of keys")
        keys = (cast("dict[str, Any]", entry) for entry in cast("list[Any]", entries)[:_MAX_KEYS] if isinstance(entry, dict))
        return {str(key["kid"]): key for key in keys if isinstance(key.get("kid"), str) and key.get("use", "sig") == "sig"}

    def _discovered(self) -> str:
        document = self._get(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        if document.get("issuer") != self._issuer:
            raise _NoKeysError("its discovery document names another issuer")
        where = _split(str(document.get("jwks_uri")))
        if where.scheme != "https" or where.netloc != urlsplit(self._issuer).netloc:
            raise _NoKeysError("its keys are on another host; set OIDC_JWKS_URL if that is meant")
        return where.geturl()

    def _get(self, url: str) -> Mapping[str, Any]:
        try:
            with self._client.stream("GET", url, headers=_HEADERS, timeout=seconds_left()) as response:
                content = _read(response)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _NoKeysError(str(error) or type(error).__name__) from error
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise _NoKeysError("its answer is not JSON") from error
        if not isinstance(document, dict):
            raise _NoKeysError("its answer is not a JSON object")
        return cast("dict[str, Any]", document)


class _NoKeysError(Exception):
    """Why the keys could not be had, to follow a colon."""


def checked_url(what: str, url: str) -> str:
    """The address unchanged.

    Raises:
        InvalidInput: it is not https with a host, or carries credentials or a fragment.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.password or parts.fragment:
        raise InvalidInput(f"{what} cannot be used: it must be an https address without credentials.", hint=f"Correct {what}.")
    return url


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise _NoKeysError("the address of its keys cannot be read") from error


def _read(response: httpx2.Response) -> bytes:
    """The body of a 200. A redirect is not followed: who answers for the issuer is the issuer alone."""
    if response.status_code != 200:
        raise _NoKeysError(f"it answered {response.status_code}")
    content = b""
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > _MAX_BYTES:
            raise _NoKeysError("its answer is too long")
    return content


def _key_for(key: Mapping[str, Any], algorithm: str) -> jwt.PyJWK | None:
    """The key, if it is of the algorithm's kind: a key that says nothing of its algorithm (Entra's) is for any of its type."""
    if key.get("kty") != _KEY_TYPES.get(algorithm[:2]) or key.get("alg", algorithm) != algorithm:
        return None
    try:
        made = jwt.PyJWK(dict(key), algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        log.warning("oidc.key_unusable", kid=key.get("kid"))
        return None
    return made if getattr(made.key, "key_size", 0) >= _SHORTEST_RSA_BITS or key["kty"] == "EC" else None


def _unavailable(issuer: str, reason: str) -> Unavailable:
    return Unavailable(
        f"The sign-in service {issuer} cannot be asked for its keys: {reason}.",
        hint="Try again shortly; if it lasts, check OIDC_ISSUER, OIDC_JWKS_URL and TREADLE_CA_FILE.",
        details={"issuer": issuer},
    )
