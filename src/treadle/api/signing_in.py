"""Who calls: an API token or a bearer JWT becomes a principal."""

from typing import Final

from treadle.api.config import ApiSettings
from treadle.api.limits import RateLimit
from treadle.api.problems import CallerUnauthenticated
from treadle.control import tokens
from treadle.control.access import Principal, principal_from_claims
from treadle.control.database import Database
from treadle.errors import TreadleError, Unauthenticated

_LONGEST_HEADER: Final = 16 * 1024
_HINT: Final = "Send `Authorization: Bearer …` with a token from `treadle token create`, or one of the organisation's sign-in service."


class SignIn:
    """Reads the Authorization header. Safe to share between threads."""

    def __init__(self, own: Database, settings: ApiSettings) -> None:
        self._own, self._settings = own, settings
        self._refused = RateLimit(settings.refused_limit)

    def recalled(self, header: str | None) -> Principal | None:
        """Who calls, when that was proven a moment ago by an API token; None: ask `principal`, which may have to ask the database."""
        scheme, _, secret = (header or "").partition(" ")
        known = scheme.lower() == "bearer" and tokens.looks_like_token(secret)
        return tokens.recall_principal(self._own, secret) if known else None

    def principal(self, header: str | None, address: str) -> Principal:
        """Prove who calls.

        Raises:
            CallerUnauthenticated: nobody, or not provably.
            TooManyRequests: too many have failed from this address.
        """
        try:
            return self._proven(bearer_of(header))
        except Unauthenticated as error:
            self._refused.take(address)  # only who fails is held up: others behind the same address are not
            if isinstance(error, CallerUnauthenticated):
                raise
            raise CallerUnauthenticated(error.message, hint=error.hint or _HINT, given=True) from error

    def still_proven(self, header: str | None) -> bool:
        """Whether who was let in by this header would be let in again. While nobody can be asked, it stays as it was."""
        try:
            self._proven(bearer_of(header))
        except TreadleError as error:
            return not isinstance(error, Unauthenticated)
        return True

    def _proven(self, secret: str) -> Principal:
        if tokens.looks_like_token(secret):
            return tokens.authenticate(self._own, secret)
        if self._settings.verifier is None:
            raise CallerUnauthenticated("The bearer token is no API token of Treadle.", hint=_HINT, given=True)
        claims = self._settings.verifier.verify(secret)
        return principal_from_claims(claims, self._settings.role_claim, self._settings.role_map)


def bearer_of(header: str | None) -> str:
    """The token in an Authorization header. Pure.

    Raises:
        CallerUnauthenticated: there is none, or it is of another scheme.
    """
    if not header:
        raise CallerUnauthenticated("The request does not say who calls.", hint=_HINT)
    scheme, _, secret = header.partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret or len(header) > _LONGEST_HEADER or not secret.isascii() or " " in secret:
        raise CallerUnauthenticated("The Authorization header does not hold a bearer token.", hint=_HINT, given=True)
    return secret
