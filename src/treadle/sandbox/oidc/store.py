"""The provider's users, clients, codes and tokens.

Sources: OpenID Connect Core 1.0; RFC 6749 (OAuth 2.0), RFC 7636 (PKCE), RFC 9068 (JWT access tokens).
"""

import base64
import hashlib
import hmac
import secrets
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from jwt.types import Options

from treadle.sandbox.clock import Clock
from treadle.sandbox.endpoints import LOOPBACK_HOSTS
from treadle.sandbox.state import read_json, write_json

AUDIENCE: Final = "api://treadle"  # not the client id: an ID token, whose audience that is, must not pass for an access token
TOKEN_LIFETIME_SECONDS: Final = 3600
_CODE_SECONDS: Final = 60
SCOPES: Final = ("openid", "profile", "email")
_UNTIMED: Final[Options] = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}  # times are checked by the sandbox's clock


class Refused(Exception):
    """A request that OAuth answers with an error: its code, what to say, and the HTTP status."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error, self.description, self.status = error, description, status


@dataclass(frozen=True, slots=True)
class User:
    """A local person. The password for scripts is the name itself: nothing here is secret, or real."""

    name: str
    subject: str
    full_name: str
    roles: tuple[str, ...]

    @property
    def email(self) -> str:
        """An address that reaches nobody."""
        return f"{self.name}@treadle.example"


USERS: Final[Mapping[str, User]] = {
    "ada": User("ada", "11111111-0000-4000-8000-000000000001", "Ada (admin)", ("admin",)),
    "olga": User("olga", "11111111-0000-4000-8000-000000000002", "Olga (operator)", ("operator",)),
    "vic": User("vic", "11111111-0000-4000-8000-000000000003", "Vic (viewer)", ("viewer",)),
}


@dataclass(frozen=True, slots=True)
class OidcClient:
    """A registered application; `secret` None makes it a public one, which must use PKCE. roles: its own, for client_credentials."""

    client_id: str
    secret: str | None = field(repr=False)
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person is asked to sign in for: an authorization request that was checked."""

    client_id: str
    redirect_uri: str
    scope: str
    state: str | None
    nonce: str | None
    code_challenge: str | None


@dataclass(frozen=True, slots=True)
class _Granted:
    """What a code stands for."""

    asked: Asked
    user: User
    until: datetime


class OidcStore:
    """The provider. Codes, and clients other than the first two, last as long as the process."""

    def __init__(self, folder: Path, issuer: str, clock: Clock) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.issuer = issuer
        self.token_lifetime_seconds = TOKEN_LIFETIME_SECONDS
        self._clock, self._lock = clock, threading.Lock()
        identity = read_json(folder / "identity.json") or _new_identity(folder)
        self._keys = [(str(identity["key_id"]), _read_key(identity["signing_key_pem"]))]
        self._clients = {
            "treadle": OidcClient("treadle", str(identity["client_secret"]), ("operator",)),
            "treadle-cli": OidcClient("treadle-cli", None),
        }
        self._codes: dict[str, _Granted] = {}

    @property
    def client(self) -> OidcClient:
        """The confidential client that comes with this state."""
        return self._clients["treadle"]

    def register_client(self, client_id: str, *, public: bool = False, roles: Iterable[str] = ()) -> OidcClient:
        """Add an application, with a generated secret unless it is public."""
        client = OidcClient(client_id, None if public else secrets.token_urlsafe(30), tuple(roles))
        with self._lock:
            self._clients[client_id] = client
        return client

    def rotate_key(self, *, keep_old: bool = True) -> str:
        """Sign with a new key from now on, and return its id; the old one stays published unless told otherwise."""
        fresh = (secrets.token_urlsafe(12), _new_key())
        with self._lock:
            self._keys = [fresh, *(self._keys if keep_old else [])]
        return fresh[0]

    def public_keys(self) -> dict[str, Any]:
        """The JWKS document: the key that signs first, then the earlier ones."""
        return {"keys": [_public_jwk(key_id, key) for key_id, key in self._keys]}

    def check_request(self, query: Mapping[str, str]) -> Asked:
        """Check an authorization request. Raises Refused; `invalid_client` and a bad redirect_uri must not be told by redirecting."""
        client = self._clients.get(query.get("client_id", ""))
        if client is None:
            raise Refused("invalid_client", "There is no such client.", 401)
        redirect_uri = query.get("redirect_uri", "")
        if not leads_here(redirect_uri):
            raise Refused("invalid_redirect_uri", "The redirect_uri must lead to this machine: http(s)://localhost:<port>/…")
        return Asked(
            client.client_id, redirect_uri, query.get("scope", ""), query.get("state"), query.get("nonce"), query.get("code_challenge")
        )

    def check_wishes(self, query: Mapping[str, str], asked: Asked) -> None:
        """Check the rest of the request, whose faults the client is told by redirecting."""
        if query.get("response_type") != "code":
            raise Refused("unsupported_response_type", "Only the code flow is modelled.")
        if "openid" not in asked.scope.split():
            raise Refused("invalid_scope", "The scope must contain openid.")
        if query.get("prompt") == "none":
            raise Refused("login_required", "Nobody is signed in here: each request asks anew.")
        if asked.code_challenge and query.get("code_challenge_method") != "S256":
            raise Refused("invalid_request", "The code_challenge_method must be S256.")
        if not asked.code_challenge and self._clients[asked.client_id].secret is None:
            raise Refused("invalid_request", "A public client must send a code_challenge.")

    def grant(self, asked: Asked, user_name: str) -> str:
        """Make the code for a person who has signed in. Raises Refused for a user that does not exist."""
        code = secrets.token_urlsafe(30)
        with self._lock:
            self._codes[code] = _Granted(asked, _user(user_name), self._clock.now() + timedelta(seconds=_CODE_SECONDS))
        return code

    def authenticate_client(self, client_id: str, secret: str | None) -> OidcClient:
        """The client that asks for a token. Raises Refused when it is unknown or its secret is wrong."""
        client = self._clients.get(client_id)
        if client is None or not hmac.compare_digest((client.secret or "").encode(), (secret or "").encode()):
            raise Refused("invalid_client", "The client is unknown or its secret is wrong.", 401)
        return client

    def redeem(self, client: OidcClient, code: str, redirect_uri: str, verifier: str | None) -> tuple[User, Asked]:
        """What a code stands for; each works once, within a minute. Raises Refused."""
        with self._lock:
            granted = self._codes.pop(code, None)
        if granted is None or granted.until <= self._clock.now():
            raise Refused("invalid_grant", "The code is unknown, was used, or has expired.")
        asked = granted.asked
        if (asked.client_id, asked.redirect_uri) != (client.client_id, redirect_uri):
            raise Refused("invalid_grant", "The code was given to another client or redirect_uri.")
        if asked.code_challenge and not hmac.compare_digest(_challenge_of(verifier or ""), asked.code_challenge):
            raise Refused("invalid_grant", "The code_verifier does not fit the code_challenge.")
        return granted.user, asked

    def sign_in(self, user_name: str, password: str) -> User:
        """The password grant, for scripts. Raises Refused."""
        if password != user_name or user_name not in USERS:
            raise Refused("invalid_grant", "The name or the password is wrong. (Sandbox: the password of each local user is its name.)")
        return USERS[user_name]

    def access_token(self, about: User | OidcClient, client_id: str, scope: str = "", *, foreign: bool = False, **changes: Any) -> str:
        """Sign an access token for a person or a client. foreign: see `sign`. changes: claims in place of the usual ones."""
        roles = list(about.roles)
        who = _personal_claims(about) if isinstance(about, User) else {"sub": about.client_id}
        claims = self._times() | {
            "aud": AUDIENCE,
            "jti": uuid.uuid4().hex,
            "client_id": client_id,
            "azp": client_id,
            "scope": scope,
            "roles": roles,
        }
        return self.sign(claims | who | changes, kind="at+jwt", foreign=foreign)

    def id_token(self, user: User, asked: Asked) -> str:
        """Sign an ID token."""
        claims = self._times() | _personal_claims(user) | {"aud": asked.client_id, "roles": list(user.roles)}
        return self.sign(claims | ({"nonce": asked.nonce} if asked.nonce else {}))

    def sign(self, claims: Mapping[str, Any], *, kind: str = "JWT", foreign: bool = False) -> str:
        """Sign any claims; foreign: by a key that is not published, under the id of one that is."""
        key_id, key = self._keys[0]
        return jwt.encode(dict(claims), _new_key() if foreign else key, algorithm="RS256", headers={"kid": key_id, "typ": kind})

    def user_of(self, token: str) -> User:
        """Whom an access token is about. Raises Refused."""
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = next(key for key_id, key in self._keys if key_id == kid)
            claims = jwt.decode(token, key.public_key(), ["RS256"], _UNTIMED, audience=AUDIENCE, issuer=self.issuer)
            fresh = claims["exp"] > self._clock.now().timestamp()
        except (jwt.InvalidTokenError, StopIteration, KeyError) as error:
            raise Refused("invalid_token", "The access token is not valid here.", 401) from error
        user = next((user for user in USERS.values() if user.subject == claims.get("sub")), None)
        if user is None or not fresh:
            raise Refused("invalid_token", "The access token has expired or is about no person.", 401)
        return user

    def now(self) -> datetime:
        """The sandbox's time."""
        return self._clock.now()

    def _times(self) -> dict[str, Any]:
        now = int(self._clock.now().timestamp())
        return {"iss": self.issuer, "iat": now, "nbf": now, "exp": now + self.token_lifetime_seconds}


def userinfo(user: User) -> dict[str, Any]:
    """What the userinfo endpoint tells."""
    return _personal_claims(user) | {"roles": list(user.roles)}


def _personal_claims(user: User) -> dict[str, Any]:
    return {"sub": user.subject, "preferred_username": user.name, "name": user.full_name, "email": user.email, "email_verified": True}


def _user(name: str) -> User:
    if name not in USERS:
        raise Refused("access_denied", "There is no such local user.")
    return USERS[name]


def leads_here(redirect_uri: str) -> bool:
    """Only to this machine: a code must not leave it."""
    try:
        where = urlsplit(redirect_uri)
    except ValueError:
        return False
    return where.scheme in {"http", "https"} and where.hostname in LOOPBACK_HOSTS and not where.fragment and where.username is None


def _challenge_of(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _read_key(pem: str) -> rsa.RSAPrivateKey:
    return cast("rsa.RSAPrivateKey", serialization.load_pem_private_key(pem.encode(), password=None))


def _public_jwk(key_id: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "use": "sig", "alg": "RS256", "kid": key_id}


def _new_identity(folder: Path) -> dict[str, Any]:
    pem = _new_key().private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    identity = {"key_id": secrets.token_urlsafe(12), "signing_key_pem": pem.decode(), "client_secret": secrets.token_urlsafe(30)}
    write_json(folder / "identity.json", identity)
    return identity
