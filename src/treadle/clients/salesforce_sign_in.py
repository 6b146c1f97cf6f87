"""Signing in to Salesforce as a program: a signed assertion, client credentials, or a user's password, which is on its way out.

Sources: RFC 7523 (JWT bearer); https://help.salesforce.com – OAuth 2.0 JWT Bearer Flow, OAuth 2.0 Client Credentials Flow;
the username-password flow is deprecated (help.salesforce.com, article 000886201).
"""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import jwt
import structlog

from treadle.clients.transport import Content, Transport
from treadle.errors import InvalidInput, MissingSettings, TreadleError, Unauthenticated
from treadle.logs import hide_secrets

TOKEN_PATH: Final = "/services/oauth2/token"  # noqa: S105 - a path
_ASSERTION_SECONDS: Final = 180  # Salesforce takes assertions of at most three minutes
_JWT_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SignIn:
    """What there is to sign in with; the first way that is complete is taken: a private key, a client secret alone, a password.

    audience: of the assertion; None: the address that is asked, which is right for My Domain. Government clouds want https://login.salesforce.com.
    """

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)  # with the security token behind it, where the org asks for one
    private_key: str | None = field(default=None, repr=False)  # PEM
    audience: str | None = None

    @property
    def way(self) -> str:
        """`jwt-bearer`, `client-credentials` or `password`.

        Raises:
            MissingSettings: none of them is complete.
        """
        if self.private_key and self.username:
            return "jwt-bearer"
        if self.client_secret and self.username and self.password:
            return "password"
        if self.client_secret:
            return "client-credentials"
        missing = ["SALESFORCE_USERNAME"] if self.private_key else ["SALESFORCE_CLIENT_SECRET"]
        raise MissingSettings(
            f"To sign in to Salesforce, {missing[0]} is missing.",
            hint="Set SALESFORCE_PRIVATE_KEY_FILE and SALESFORCE_USERNAME, or SALESFORCE_CLIENT_SECRET.",
            details={"missing": missing},
        )


@dataclass(frozen=True, slots=True)
class SessionToken:
    """A session of Salesforce. How long it lasts is a setting of the org and is not told; a server that refuses it gets a new one."""

    token: str = field(repr=False)
    user_id: str | None = None  # who acts; None: the org did not say


class SalesforceCredential:
    """Gives out one session until it is refused. Safe to share between threads."""

    def __init__(self, url: str, sign_in: SignIn, *, ca_file: Path | None = None, deadline_seconds: float = 30) -> None:
        """Nothing is contacted yet. url: https address of the org (My Domain), which is asked for tokens as well."""
        self._sign_in, self._way = sign_in, sign_in.way
        hide_secrets([secret for secret in (sign_in.client_secret, sign_in.password, sign_in.private_key) if secret])
        self._transport = Transport(url, service="Salesforce", credential=None, ca_file=ca_file, deadline_seconds=deadline_seconds)
        self._session: SessionToken | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"SalesforceCredential({self.identity})"

    @property
    def identity(self) -> str:
        """The client id, and who acts."""
        return f"{self._sign_in.client_id}/{self._sign_in.username or 'its run-as user'}"

    def get_token(self, *scopes: str, **_asked: Any) -> SessionToken:
        """Return the session, signing in first where there is none. Raises Unauthenticated, Unavailable, Throttled, UnexpectedAnswer."""
        del scopes
        with self._lock:
            if self._session is None:
                self._session = self._sign_in_anew()
            return self._session

    def renew(self, scope: str, refused: str) -> None:
        """Forget the session that a server has refused, unless another thread has renewed it already."""
        del scope
        with self._lock:
            if self._session and self._session.token == refused:
                self._session = None

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def _sign_in_anew(self) -> SessionToken:
        if self._way == "password":
            log.warning(
                "salesforce.password_flow", hint="Salesforce is ending this way of signing in; use a private key or client credentials."
            )
        body = Content(urlencode(self._form()).encode(), "application/x-www-form-urlencoded")
        try:
            told = self._transport.request("POST", TOKEN_PATH, what="sign in", content=body).json_object()
        except (InvalidInput, Unauthenticated) as error:
            raise _refused(error) from error
        token = told.get("access_token")
        if not isinstance(token, str) or not token:
            raise Unauthenticated("Salesforce's answer to the sign-in has no access_token.", hint="Check SALESFORCE_URL.")
        hide_secrets([token])
        identity = told.get("id")  # https://…/id/<org id>/<user id>
        return SessionToken(token, identity.rstrip("/").rpartition("/")[2] or None if isinstance(identity, str) else None)

    def _form(self) -> dict[str, str]:
        sign_in = self._sign_in
        if self._way == "jwt-bearer":
            return {"grant_type": _JWT_GRANT, "assertion": self._assertion()}
        own = {"client_id": sign_in.client_id, "client_secret": sign_in.client_secret or ""}
        if self._way == "client-credentials":
            return {"grant_type": "client_credentials", **own}
        return {"grant_type": "password", **own, "username": sign_in.username or "", "password": sign_in.password or ""}

    def _assertion(self) -> str:
        sign_in = self._sign_in
        claims = {
            "iss": sign_in.client_id,
            "sub": sign_in.username,
            "aud": sign_in.audience or self._transport.base_url,
            "exp": int(time.time()) + _ASSERTION_SECONDS,
        }
        try:
            return jwt.encode(claims, sign_in.private_key or "", algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            raise InvalidInput(
                "The private key for Salesforce cannot be used to sign.", hint="SALESFORCE_PRIVATE_KEY_FILE must be an RSA key in PEM."
            ) from error


def _refused(error: TreadleError) -> Unauthenticated:
    """OAuth answers a wrong secret with 400 as well."""
    return Unauthenticated(
        error.message,
        hint="Check SALESFORCE_CLIENT_ID and its secret or key, that the app may use this flow, and SALESFORCE_AUDIENCE.",
        details=error.details,
    )
