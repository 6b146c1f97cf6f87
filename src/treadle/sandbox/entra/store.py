"""One Entra tenant: its applications, the tokens it signs, and the check that an API makes of a token.

Sources: Microsoft identity platform, OAuth 2.0 client credentials flow; access token claims reference; error code reference.
"""

import base64
import hmac
import re
import secrets
import string
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.types import Options

from treadle.sandbox.clock import Clock
from treadle.sandbox.state import read_json, write_json

TENANT_ALIASES: Final = frozenset({"common", "organizations"})
TOKEN_LIFETIME_SECONDS: Final = 3599

FABRIC_AUDIENCE: Final = "https://api.fabric.microsoft.com"
POWER_BI_AUDIENCE: Final = "https://analysis.windows.net/powerbi/api"
STORAGE_AUDIENCE: Final = "https://storage.azure.com"
KUSTO_AUDIENCE: Final = "https://kusto.kusto.windows.net"
RESOURCES: Final = frozenset(
    {
        FABRIC_AUDIENCE,
        POWER_BI_AUDIENCE,
        STORAGE_AUDIENCE,
        "https://datalake.azure.net",  # a token is given, but OneLake refuses it
        "https://database.windows.net",
        KUSTO_AUDIENCE,
        "https://api.kusto.windows.net",
        "https://management.azure.com",
        "https://management.core.windows.net",
        "https://graph.microsoft.com",
    }
)
ACCEPTED_AUDIENCES: Final[Mapping[str, frozenset[str]]] = {
    "fabric": frozenset({FABRIC_AUDIENCE, POWER_BI_AUDIENCE}),
    "onelake": frozenset({STORAGE_AUDIENCE}),
    "kusto": frozenset({KUSTO_AUDIENCE, "https://api.kusto.windows.net"}),
}
"""Which `aud` each API takes. Fabric takes Power BI's as well; OneLake takes only Storage's; Kusto takes a cluster's own address, too."""
_CLUSTER: Final = re.compile(r"https://[\w-]+(\.[\w-]+)?\.kusto\.(fabric\.microsoft\.com|windows\.net)/?\Z")


_SIGNATURE_AND_CLAIMS: Final[Options] = {  # times are checked by the sandbox's clock, the audience by the API that is called
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "require": ["exp", "aud", "iss", "oid", "appid", "tid"],
}


class TokenRejected(Exception):
    """A request without a usable token.

    reason: missing, malformed, algorithm, signature, tenant, expired, not_yet_valid or audience. `code` is Fabric's word for it.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.code = "TokenExpired" if reason == "expired" else "Unauthorized"


class SignInRefused(Exception):
    """A token request that Entra answers with an AADSTS error."""

    def __init__(self, number: int, error: str, status: int, message: str) -> None:
        super().__init__(f"AADSTS{number}: {message}")
        self.number, self.error, self.status, self.message = number, error, status, message


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a valid token speaks for; `roles` are application permissions."""

    object_id: str
    client_id: str
    tenant_id: str
    audience: str
    display_name: str
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Client:
    """A registered application with its service principal; `secret` None makes it a public client."""

    client_id: str
    object_id: str
    display_name: str
    secret: str | None = field(repr=False)
    secret_expires_at: datetime | None = None
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SandboxCredentials:
    """The identity that a fresh sandbox comes with; generated per state folder and kept there, mode 0600."""

    tenant_id: str
    client_id: str
    client_secret: str = field(repr=False)
    client_object_id: str
    owner_upn: str
    owner_object_id: str


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A signed access token and how long it lasts."""

    access_token: str = field(repr=False)
    expires_in_seconds: int


class EntraStore:
    """The tenant. Its applications other than the first, and the lifetime of tokens, last as long as the process."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        identity = read_json(folder / "identity.json") or _new_identity(folder)
        self._key = cast("rsa.RSAPrivateKey", serialization.load_pem_private_key(identity["signing_key_pem"].encode(), password=None))
        self.key_id: str = identity["key_id"]
        self.credentials = SandboxCredentials(**identity["credentials"])
        self.tenant_domain = "treadle.onmicrosoft.com"
        self.token_lifetime_seconds = TOKEN_LIFETIME_SECONDS
        self.cluster_url: str | None = None  # where the sandbox's eventhouses listen
        first = self.credentials
        self._clients = {first.client_id: Client(first.client_id, first.client_object_id, "Treadle", first.client_secret)}

    def register_client(
        self,
        display_name: str = "Another application",
        *,
        secret_expires_at: datetime | None = None,
        public: bool = False,
        roles: Iterable[str] = (),
    ) -> Client:
        """Add an application with a generated secret; `public` gives it none."""
        secret = None if public else _new_secret()
        client = Client(str(uuid.uuid4()), str(uuid.uuid4()), display_name, secret, secret_expires_at, tuple(roles))
        with self._lock:
            self._clients[client.client_id] = client
        return client

    def tenant_id_of(self, tenant: str) -> str:
        """The id behind a tenant's GUID, domain or alias; raises SignInRefused for a tenant that does not exist."""
        name = tenant.lower()
        if name in TENANT_ALIASES or name in {self.credentials.tenant_id, self.tenant_domain}:
            return self.credentials.tenant_id
        message = f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."
        raise SignInRefused(90002, "invalid_request", 400, message)

    def sign_in(self, client_id: str, secret: str | None, scope: str, issuer: str) -> IssuedToken:
        """The client credentials grant; raises SignInRefused by the AADSTS table."""
        client = self._clients.get(client_id.lower())
        if client is None:
            message = f"Application with identifier '{client_id}' was not found in the directory 'Treadle'."
            raise SignInRefused(700016, "unauthorized_client", 400, message)
        self._check_secret(client, secret)
        return self.issue_token(client, resource_of(scope, self.is_cluster), issuer=issuer)

    def issue_token(
        self,
        client: Client | None = None,
        audience: str = FABRIC_AUDIENCE,
        *,
        issuer: str | None = None,
        lifetime_seconds: int | None = None,
    ) -> IssuedToken:
        """Sign a token; by default for the sandbox's own application, with the lifetime that is set. Below zero it has expired already."""
        lifetime = self.token_lifetime_seconds if lifetime_seconds is None else lifetime_seconds
        claims = self._claims(client or self._clients[self.credentials.client_id], audience, issuer or self.issuer(), lifetime)
        token = jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self.key_id, "x5t": self.key_id})
        return IssuedToken(token, lifetime)

    def issuer(self, base: str = "https://login.microsoftonline.com") -> str:
        """The `iss` of tokens asked for at this authority."""
        return f"{base}/{self.credentials.tenant_id}/v2.0"

    def public_keys(self) -> dict[str, Any]:
        """The JWKS document."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.key_id,
            "x5t": self.key_id,
            "n": _base64url(numbers.n),
            "e": _base64url(numbers.e),
        }
        return {"keys": [key]}

    def authenticate(self, headers: Mapping[str, str], audience: str) -> Principal:
        """Who sent this request, for the API `audience` ("fabric" or "onelake"); raises TokenRejected with the reason.

        headers: any mapping that finds "authorization" without regard to case, such as Starlette's.
        """
        scheme, _, token = (headers.get("authorization") or headers.get("Authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise TokenRejected("missing", "The request has no bearer token.")
        claims = self._verified_claims(token.strip())
        self._check_times(claims)
        accepted = claims["aud"] in ACCEPTED_AUDIENCES[audience] or (audience == "kusto" and self.is_cluster(claims["aud"]))
        if not accepted:
            raise TokenRejected("audience", f"The token is for '{claims.get('aud')}', which this API does not take.")
        name = str(claims.get("app_displayname", ""))
        return Principal(claims["oid"], claims["appid"], claims["tid"], claims["aud"], name, tuple(claims.get("roles", ())))

    def is_cluster(self, resource: str) -> bool:
        """Whether a resource is the address of a Kusto cluster: by Microsoft's names, or where the sandbox's own listens."""
        own = self.cluster_url is not None and f"{resource}/".startswith(f"{self.cluster_url}/")
        return own or _CLUSTER.match(resource) is not None

    def _check_secret(self, client: Client, secret: str | None) -> None:
        app = f"app '{client.client_id}'"
        if client.secret is None:
            raise SignInRefused(
                700025, "invalid_client", 401, "Client is public so neither 'client_assertion' nor 'client_secret' should be presented."
            )
        if secret is None:
            raise SignInRefused(
                7000216, "invalid_client", 401, "'client_assertion', 'client_secret' or 'request' is required for the grant."
            )
        if not hmac.compare_digest(client.secret.encode(), secret.encode()):
            message = f"Invalid client secret provided. Ensure the secret being sent is the client secret value, not its ID, for {app}."
            raise SignInRefused(7000215, "invalid_client", 401, message)
        if client.secret_expires_at is not None and client.secret_expires_at <= self._clock.now():
            raise SignInRefused(7000222, "invalid_client", 401, f"The provided client secret keys for {app} are expired.")

    def _claims(self, client: Client, audience: str, issuer: str, lifetime_seconds: int) -> dict[str, Any]:
        issued_at = int(self._clock.now().timestamp())
        claims: dict[str, Any] = {
            "aud": audience, "iss": issuer, "iat": issued_at, "nbf": min(issued_at, issued_at + lifetime_seconds), "exp": issued_at + lifetime_seconds,
            "tid": self.credentials.tenant_id, "oid": client.object_id, "sub": client.object_id, "idtyp": "app", "ver": "2.0",
            "appid": client.client_id, "azp": client.client_id, "appidacr": "1", "azpacr": "1", "app_displayname": client.display_name,
            "idp": issuer, "uti": secrets.token_urlsafe(16), "rh": "0.treadle",
        }  # fmt: skip
        return claims | ({"roles": list(client.roles)} if client.roles else {})

    def _verified_claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise TokenRejected("malformed", "The bearer token is not a JWT.") from error
        if header.get("alg") != "RS256":
            raise TokenRejected("algorithm", f"The token is signed with '{header.get('alg')}'; only RS256 is taken.")
        if header.get("kid") != self.key_id:
            raise TokenRejected("signature", "The token names a signing key that this tenant does not have.")
        try:
            claims: dict[str, Any] = jwt.decode(token, self._key.public_key(), ["RS256"], _SIGNATURE_AND_CLAIMS)
        except jwt.InvalidSignatureError as error:
            raise TokenRejected("signature", "The signature of the token is not valid.") from error
        except jwt.InvalidTokenError as error:
            raise TokenRejected("malformed", f"The token is not usable: {error}") from error
        if claims["tid"] != self.credentials.tenant_id or not str(claims["iss"]).endswith(f"/{self.credentials.tenant_id}/v2.0"):
            raise TokenRejected("tenant", "The token comes from another tenant.")
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.now().timestamp()
        if now >= claims["exp"]:
            raise TokenRejected("expired", "Access token has expired, resubmit with a new access token")
        if now < claims.get("nbf", 0) - timedelta(minutes=5).total_seconds():
            raise TokenRejected("not_yet_valid", "The token is not valid yet.")


def resource_of(scope: str, is_cluster: Callable[[str], bool] = lambda _: False) -> str:
    """The audience that a client-credentials scope asks for; raises SignInRefused when there is not exactly one `<resource>/.default`."""
    words = scope.split()
    if len(words) != 1:
        _bad_scope(scope)
    resource, default, rest = words[0].partition("/.default")
    if not default:
        if words[0].rpartition("/")[0] not in RESOURCES and words[0] not in RESOURCES:
            _bad_scope(scope)
        message = f"The provided value for scope {scope} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."
        raise SignInRefused(1002012, "invalid_scope", 400, message)
    if rest or not (resource.rstrip("/") in RESOURCES or is_cluster(resource.rstrip("/"))):
        _bad_scope(scope)
    return resource.rstrip("/")


def _base64url(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8)).rstrip(b"=").decode()


def _bad_scope(scope: str) -> NoReturn:
    message = f"The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope {scope} is not valid."
    raise SignInRefused(70011, "invalid_scope", 400, message)


def _new_secret() -> str:
    """A client secret; it never starts with a dash, which a command line would take for an option."""
    return f"{secrets.choice(string.ascii_letters)}{secrets.token_urlsafe(30)}"


def _new_identity(folder: Path) -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    identity = {
        "key_id": secrets.token_urlsafe(20),
        "signing_key_pem": pem.decode(),
        "credentials": {
            "tenant_id": str(uuid.uuid4()),
            "client_id": str(uuid.uuid4()),
            "client_secret": _new_secret(),
            "client_object_id": str(uuid.uuid4()),
            "owner_upn": "owner@treadle.onmicrosoft.com",
            "owner_object_id": str(uuid.uuid4()),
        },
    }
    write_json(folder / "identity.json", identity)
    return identity
