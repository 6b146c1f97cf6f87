"""Entra ID on the wire: discovery, keys and the token endpoint of the client credentials flow.

Sources: OpenID Connect on the Microsoft identity platform; OAuth 2.0 client credentials flow; what msal and azure-identity were seen to call.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from treadle.sandbox.answers import aadsts_error
from treadle.sandbox.clock import Clock
from treadle.sandbox.endpoints import LOOPBACK_HOSTS, service_of_host
from treadle.sandbox.entra.store import EntraStore, SignInRefused

_ALIASES = ["login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"]
_NO_STORE = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}


def entra_routes(store: EntraStore, clock: Clock) -> list[Route]:
    """The routes of one tenant; the operation id is the route's name."""
    entra = _Entra(store, clock)
    return [
        Route("/common/discovery/instance", entra.answer(_instance_discovery), methods=["GET"], name="entra.InstanceDiscovery"),
        Route(
            "/{tenant}/v2.0/.well-known/openid-configuration", entra.answer(_discovery), methods=["GET"], name="entra.OpenIdConfiguration"
        ),
        Route("/{tenant}/discovery/v2.0/keys", entra.answer(_keys), methods=["GET"], name="entra.Keys"),
        Route("/{tenant}/discovery/keys", entra.answer(_keys), methods=["GET"], name="entra.Keys"),
        Route("/{tenant}/oauth2/v2.0/token", entra.answer(_token), methods=["POST"], name="entra.Token"),
    ]


Handler = Callable[[EntraStore, Request], Awaitable[Response]]


class _Entra:
    def __init__(self, store: EntraStore, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def answer(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Bind the handler to the store and turn a refusal into Entra's envelope."""

        async def endpoint(request: Request) -> Response:
            try:
                return await handler(self._store, request)
            except SignInRefused as refused:
                return aadsts_error(refused.status, refused.number, refused.error, refused.message, self._clock.now())

        return endpoint


async def _instance_discovery(_: EntraStore, request: Request) -> Response:
    endpoint = urlsplit(request.query_params.get("authorization_endpoint", ""))
    tenant = endpoint.path.strip("/").partition("/")[0]
    if endpoint.scheme != "https" or (endpoint.netloc not in _ALIASES and endpoint.netloc != _authority(request)):
        raise SignInRefused(50049, "invalid_instance", 400, "Unknown or invalid instance.")
    body = {
        "tenant_discovery_endpoint": f"https://{endpoint.netloc}/{tenant}/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [
            {"preferred_network": "login.microsoftonline.com", "preferred_cache": "login.windows.net", "aliases": _ALIASES},
        ],
    }
    return JSONResponse(body)


async def _discovery(store: EntraStore, request: Request) -> Response:
    tenant = request.path_params["tenant"]
    store.tenant_id_of(tenant)
    base = _base(request)
    body = {
        "issuer": store.issuer(base),
        "authorization_endpoint": f"{base}/{tenant}/oauth2/v2.0/authorize",
        "token_endpoint": f"{base}/{tenant}/oauth2/v2.0/token",
        "device_authorization_endpoint": f"{base}/{tenant}/oauth2/v2.0/devicecode",
        "end_session_endpoint": f"{base}/{tenant}/oauth2/v2.0/logout",
        "jwks_uri": f"{base}/{tenant}/discovery/v2.0/keys",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "claims_supported": ["aud", "iss", "iat", "nbf", "exp", "tid", "oid", "sub", "ver", "appid", "azp", "roles"],
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
    }
    return JSONResponse(body)


async def _keys(store: EntraStore, request: Request) -> Response:
    store.tenant_id_of(request.path_params["tenant"])
    return JSONResponse(store.public_keys(), headers={"Cache-Control": "max-age=86400, private"})


async def _token(store: EntraStore, request: Request) -> Response:
    store.tenant_id_of(request.path_params["tenant"])
    form = await _form(request)
    grant = _needed(form, "grant_type")
    if grant != "client_credentials":
        raise SignInRefused(70003, "unsupported_grant_type", 400, f"The app requested an unsupported grant type '{grant}'.")
    client_id, secret = _client(request.headers.get("authorization"), form)
    issued = store.sign_in(client_id, secret, _needed(form, "scope"), store.issuer(_base(request)))
    lifetime = issued.expires_in_seconds
    body = {"token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": issued.access_token}
    return JSONResponse(body, headers=_NO_STORE)


async def _form(request: Request) -> Mapping[str, str]:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    try:
        if content_type == "application/x-www-form-urlencoded" and body:
            return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, strict_parsing=True))
    except ValueError:  # not UTF-8, or a field without "=": the same refusal as for another content type
        pass
    raise SignInRefused(9002313, "invalid_request", 400, "Invalid request. Request is malformed or invalid.")


def _needed(form: Mapping[str, str], name: str) -> str:
    if not form.get(name):
        raise SignInRefused(900144, "invalid_request", 400, f"The request body must contain the following parameter: '{name}'.")
    return form[name]


def _client(authorization: str | None, form: Mapping[str, str]) -> tuple[str, str | None]:
    """Client id and secret, from a Basic header (RFC 6749 section 2.3.1: both form-encoded) or from the body."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return _needed(form, "client_id"), form.get("client_secret")
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise SignInRefused(9002313, "invalid_request", 400, "Invalid request. Request is malformed or invalid.") from error
    return unquote_plus(client_id), unquote_plus(secret)


def _base(request: Request) -> str:
    return f"https://{_authority(request)}"


def _authority(request: Request) -> str:
    """The host that the client used where it leads back to the sandbox, so that links do too; else Entra's own name."""
    host = request.headers.get("host", "")
    own = service_of_host(host) == "entra" or host.partition(":")[0] in LOOPBACK_HOSTS
    return host if own else "login.microsoftonline.com"
