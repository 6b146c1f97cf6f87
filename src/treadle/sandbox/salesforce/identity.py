"""Who may come in: one connected app, one user, sessions that end by the sandbox's clock.

Sources: Salesforce Help, "OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration", "OAuth 2.0 Client Credentials Flow for Server-to-Server
Integration", "OAuth Error Codes", 005132110 (SOAP login() ends), 000886201 (the username-password flow ends).
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import jwt
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.types import Options as JwtOptions

from treadle.sandbox.salesforce.ids import id_of
from treadle.sandbox.salesforce.refusals import Refused
from treadle.sandbox.salesforce.workshop import Workshop
from treadle.sandbox.state import read_json, write_json, write_private

_log = structlog.get_logger()
ORGANIZATION_ID: Final = id_of("00D", 1)
USER_ID: Final = id_of("005", 1)
PERSON_ID: Final = id_of("005", 2)
LOGIN_AUDIENCES: Final = ("https://login.salesforce.com", "https://test.salesforce.com")
_LONGEST_ASSERTION_SECONDS: Final = 300
_UNTIMED: Final[JwtOptions] = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}  # times by our clock
_BAD_SESSION: Final = ("INVALID_SESSION_ID", "Session expired or invalid")


class OAuthRefused(Exception):
    """A token request that is answered in OAuth's envelope."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error, self.description, self.status = error, description, status


@dataclass(frozen=True, slots=True)
class SalesforceCredentials:
    """What comes with this state. The private key belongs to the certificate that the connected app knows."""

    client_id: str
    client_secret: str = field(repr=False)
    username: str
    password: str = field(repr=False)
    security_token: str = field(repr=False)
    private_key_file: Path


class Identity:
    """The connected app, its user, and the sessions: signed texts, so that they outlast a restart as Salesforce's do."""

    def __init__(self, workshop: Workshop, instance_url: str) -> None:
        self._records, self._clock, self._options = workshop.records, workshop.clock, workshop.options
        folder = workshop.folder
        self.instance_url = instance_url
        known = read_json(folder / "identity.json") or _new_identity(folder)
        self._session_key = str(known["session_key"]).encode()
        self._public_key = cast("rsa.RSAPublicKey", serialization.load_pem_public_key(str(known["public_key_pem"]).encode()))
        self.credentials = SalesforceCredentials(
            str(known["client_id"]),
            str(known["client_secret"]),
            str(known["username"]),
            str(known["password"]),
            str(known["security_token"]),
            folder / "private-key.pem",
        )

    def session_by_client(self, client_id: str, secret: str | None) -> str:
        """The client credentials flow: a session of the app's run-as user."""
        self._check_client(client_id, secret)
        return self.open_session()

    def session_by_assertion(self, assertion: str) -> str:
        """The JWT bearer flow: an assertion signed by the registered key."""
        try:
            claims: Mapping[str, Any] = jwt.decode(assertion, self._public_key, ["RS256"], _UNTIMED)
        except jwt.InvalidTokenError as error:
            raise OAuthRefused("invalid_grant", "invalid assertion") from error
        if claims.get("iss") != self.credentials.client_id:
            raise OAuthRefused("invalid_client_id", "client identifier invalid")
        if str(claims.get("aud")).rstrip("/") not in self.audiences:
            raise OAuthRefused("invalid_grant", "audience is invalid")
        self._check_expiry(claims.get("exp"))
        if str(claims.get("sub") or claims.get("prn")).lower() != self.credentials.username.lower():
            raise OAuthRefused("invalid_grant", "user hasn't approved this consumer")
        return self.open_session()

    def session_by_password(self, form: Mapping[str, str]) -> str:
        """The username-password flow, which Salesforce is ending; the security token may be added to the password."""
        self._check_client(form.get("client_id", ""), form.get("client_secret"))
        known = self.credentials
        fits = form.get("password") in {known.password, known.password + known.security_token}
        if not fits or form.get("username", "").lower() != known.username.lower():
            raise OAuthRefused("invalid_grant", "authentication failure")
        _log.warning("sandbox.salesforce.password_flow", advice="Salesforce is ending this flow; use JWT bearer or client credentials.")
        return self.open_session()

    @property
    def audiences(self) -> tuple[str, ...]:
        """Whom an assertion may be meant for: the org's own address, and the login hosts unless the options say otherwise."""
        return self._options.audiences or (self.instance_url, *LOGIN_AUDIENCES)

    def open_session(self, *, seconds: float | None = None) -> str:
        """A new session id; `seconds` in place of the usual lifetime."""
        lifetime = self._options.session_seconds if seconds is None else seconds
        ends_at = int(self._clock.now().timestamp() + lifetime)
        body = f"{secrets.token_hex(8)}.{ends_at}"
        return f"{ORGANIZATION_ID[:15]}!{body}.{self._signature(body)}"

    def check_session(self, session: str) -> None:
        """Raises Refused, in the words that every client knows, for a session that has ended or never was."""
        body, _, signature = session.partition("!")[2].rpartition(".")
        genuine = hmac.compare_digest(signature.encode(), self._signature(body).encode())
        alive = genuine and int(body.partition(".")[2]) > self._clock.now().timestamp()
        if not alive or self._records.row("is_revoked", session=_digest(session)):
            raise Refused(401, *_BAD_SESSION)

    def revoke(self, session: str) -> None:
        """End a session."""
        try:
            self.check_session(session)
        except Refused as refused:
            raise OAuthRefused("invalid_token", "invalid token: it has ended or never was") from refused
        self._records.rows("revoke", session=_digest(session))

    def _check_client(self, client_id: str, secret: str | None) -> None:
        if client_id != self.credentials.client_id:
            raise OAuthRefused("invalid_client_id", "client identifier invalid")
        if not hmac.compare_digest((secret or "").encode(), self.credentials.client_secret.encode()):
            raise OAuthRefused("invalid_client", "invalid client credentials")

    def _check_expiry(self, stated: Any) -> None:
        try:
            left = float(stated) - self._clock.now().timestamp()  # some clients send it as text
        except (TypeError, ValueError):
            raise OAuthRefused("invalid_grant", "invalid assertion: exp is no number") from None
        if left <= 0:
            raise OAuthRefused("invalid_grant", "assertion expired")
        if left > _LONGEST_ASSERTION_SECONDS:
            raise OAuthRefused("invalid_grant", f"invalid assertion: exp is more than {_LONGEST_ASSERTION_SECONDS} seconds ahead")

    def _signature(self, body: str) -> str:
        return hmac.new(self._session_key, body.encode(), hashlib.sha256).hexdigest()


def _digest(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()


def _new_identity(folder: Path) -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_private(folder / "private-key.pem", private)
    identity = {
        "client_id": f"3MVG9{secrets.token_urlsafe(30)}",
        "client_secret": secrets.token_hex(32).upper(),
        "username": "integration@treadle.example",
        "password": secrets.token_urlsafe(18),
        "security_token": secrets.token_hex(12),
        "session_key": secrets.token_hex(32),
        "public_key_pem": public.decode(),
    }
    write_json(folder / "identity.json", identity)
    return identity
