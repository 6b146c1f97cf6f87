"""Bearer tokens of an OpenID provider: verified, or refused with a reason.

Pinned by settings: issuer, audience, algorithms. The token chooses nothing but which of the issuer's keys it names.
Sources: RFC 7519 (JWT), RFC 8725 (best current practices), RFC 9068 (JWT access tokens).
"""

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jwt
from jwt.types import Options

from treadle.clients.deadline import SecondsClock
from treadle.clients.jwks import FETCH_SECONDS, KeyRing, checked_url
from treadle.errors import InvalidInput, Unauthenticated

ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"})
REMEMBERED_SECONDS: Final = 5.0  # an accepted token is not verified again within this time
_REMEMBERED_TOKENS: Final = 10_000
_MAX_TOKEN_CHARS: Final = 16 * 1024
_MAX_KID_CHARS: Final = 256
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_NEEDED: Final = ("exp", "iat", "iss", "aud", "sub")
_CLAIMS: Final[Options] = {"require": list(_NEEDED)}

# The first that fits is the reason that is told.
_REASONS: Final[Sequence[tuple[type[Exception], str, str]]] = (
    (jwt.ExpiredSignatureError, "expired", "it has expired"),
    (jwt.ImmatureSignatureError, "not_yet_valid", "it is not valid yet, or was issued in the future"),
    (jwt.InvalidAudienceError, "audience", "it is for another audience"),
    (jwt.InvalidIssuerError, "issuer", "it comes from another issuer"),
    (jwt.MissingRequiredClaimError, "claims", "a claim is missing; needed are " + ", ".join(_NEEDED)),
    (jwt.InvalidSignatureError, "signature", "its signature is wrong"),
)


class TokenVerifier:
    """Verifies the tokens of one issuer for one audience. Safe to share between threads."""

    def __init__(  # noqa: PLR0913 - what is pinned, each by name
        self,
        issuer: str,
        audience: str,
        *,
        algorithms: Sequence[str] = ("RS256",),
        jwks_url: str | None = None,
        ca_file: Path | None = None,
        leeway_seconds: float = 30,
        fetch_seconds: float = FETCH_SECONDS,
        clock: SecondsClock = time.monotonic,
    ) -> None:
        """Nothing is contacted yet.

        jwks_url: where the keys are; None: as the issuer's discovery document says. leeway_seconds: how far clocks may differ.
        fetch_seconds: how long asking for the keys may take.
        clock: monotonic seconds, for what is remembered; the token's own times are judged by the machine's clock.

        Raises:
            InvalidInput: an address is not https, the audience is empty, or an algorithm is not asymmetric.
        """
        self._issuer, self._audience = checked_url("OIDC_ISSUER", issuer), audience
        self._algorithms, self._leeway_seconds, self._clock = tuple(algorithms), leeway_seconds, clock
        if not audience or not algorithms or not ALGORITHMS.issuperset(algorithms):
            raise InvalidInput("OIDC_AUDIENCE is empty, or an algorithm is not one with a public key.", hint=f"Use: {sorted(ALGORITHMS)}.")
        where = jwks_url and checked_url("OIDC_JWKS_URL", jwks_url)
        self._keys = KeyRing(issuer, jwks_url=where, ca_file=ca_file, fetch_seconds=fetch_seconds, clock=clock)
        self._accepted: dict[bytes, tuple[float, Mapping[str, Any]]] = {}
        self._changing = threading.Lock()

    def verify(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token that is good. Asked again within 5 seconds, the answer comes from memory.

        Raises:
            Unauthenticated: it is not; `details["reason"]` says in a word why. The token itself is never repeated.
            Unavailable: the issuer's keys cannot be had, so nothing can be said about it.
        """
        if len(token) > _MAX_TOKEN_CHARS or not token.isascii():
            raise _refused("size", f"it is longer than {_MAX_TOKEN_CHARS} characters, or not ASCII")
        mark = hashlib.sha256(token.encode()).digest()
        until, claims = self._accepted.get(mark, (0.0, {}))
        if self._clock() < until:
            return claims
        claims = self._verified(token)
        self._remember(mark, claims)
        return claims

    def close(self) -> None:
        """Close the connections."""
        self._keys.close()

    def _verified(self, token: str) -> Mapping[str, Any]:
        algorithm, kid = self._read_header(token)
        key = self._keys.find(kid, algorithm)
        if key is None:
            raise _refused("unknown_key", "the issuer has no such signing key")
        try:
            return jwt.decode(token, key, [algorithm], _CLAIMS, audience=self._audience, issuer=self._issuer, leeway=self._leeway_seconds)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise _as_refusal(error) from None  # the library's words may quote the token

    def _read_header(self, token: str) -> tuple[str, str]:
        """Algorithm and key id, as the token asks for them; whether it may is decided here."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise _refused("malformed", "it is no signed JWT") from None
        algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if algorithm not in self._algorithms:
            raise _refused("algorithm", f"it is not signed by {' or '.join(self._algorithms)}")
        if not isinstance(kind, str) or kind.lower() not in _TYPES or "crit" in header:
            raise _refused("type", "it is of another type than an access token")
        if not isinstance(kid, str) or not 0 < len(kid) <= _MAX_KID_CHARS:
            raise _refused("unknown_key", "it does not say by which key it is signed")
        return algorithm, kid

    def _remember(self, mark: bytes, claims: Mapping[str, Any]) -> None:
        seconds = min(REMEMBERED_SECONDS, int(claims["exp"]) - int(time.time()) + round(self._leeway_seconds))
        with self._changing:
            if len(self._accepted) >= _REMEMBERED_TOKENS:
                self._accepted = {}
            self._accepted[mark] = (self._clock() + seconds, claims)


def _as_refusal(error: Exception) -> Unauthenticated:
    for kind, reason, said in _REASONS:
        if isinstance(error, kind):
            return _refused(reason, said)
    return _refused("malformed", "its claims cannot be read")


def _refused(reason: str, said: str) -> Unauthenticated:
    return Unauthenticated(
        f"The bearer token was not accepted: {said}.", hint="Sign in again and send the new access token.", details={"reason": reason}
    )
