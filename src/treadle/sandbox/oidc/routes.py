"""The OpenID provider on the wire: discovery, keys, the login page, tokens, userinfo, sign-out.

Sources: OpenID Connect Discovery 1.0, Core 1.0 and RP-Initiated Logout 1.0; RFC 6749 §5.2 (errors); RFC 6750 §3.1.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from html import escape
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from treadle.sandbox.faults import FaultScript
from treadle.sandbox.oidc.store import SCOPES, USERS, Asked, OidcClient, OidcStore, Refused, User, leads_here, userinfo

_NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_PAGE_HEADERS: Final = {
    **_NO_STORE,
    # form-action is left open: browsers apply it to the redirect behind the form as well, which leads back to the client
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
}
_ASKED: Final = ("client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge", "code_challenge_method")

Handler = Callable[[Request], Awaitable[Response]]


def oidc_routes(store: OidcStore, faults: FaultScript) -> list[Route]:
    """The routes of the provider; the operation id is the route's name."""
    provider = _Provider(store, faults)
    return [
        Route("/.well-known/openid-configuration", provider.discovery, methods=["GET"], name="oidc.Discovery"),
        Route("/keys", provider.keys, methods=["GET"], name="oidc.Keys"),
        Route("/authorize", provider.authorize, methods=["GET"], name="oidc.Authorize"),
        Route("/authorize", provider.signed_in, methods=["POST"], name="oidc.SignIn"),
        Route("/token", _told(provider.token), methods=["POST"], name="oidc.Token"),
        Route("/userinfo", _told(provider.userinfo), methods=["GET", "POST"], name="oidc.UserInfo"),
        Route("/end_session", provider.end_session, methods=["GET", "POST"], name="oidc.EndSession"),
    ]


def oidc_error(status: int, code: str | None, message: str, now: datetime) -> Response:
    """`{"error", "error_description"}`, OAuth's envelope (RFC 6749 §5.2)."""
    _ = now
    usual = {401: "invalid_token", 429: "slow_down", 501: "not_modelled"}.get(
        status, "temporarily_unavailable" if status >= 500 else "invalid_request"
    )
    headers = _NO_STORE | ({"WWW-Authenticate": 'Basic realm="sandbox"'} if status == 401 else {})
    return JSONResponse({"error": code or usual, "error_description": message}, status, headers)


class _Provider:
    def __init__(self, store: OidcStore, faults: FaultScript) -> None:
        self._store, self._faults = store, faults

    async def discovery(self, _: Request) -> Response:
        issuer = self._store.issuer
        body = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "userinfo_endpoint": f"{issuer}/userinfo",
            "end_session_endpoint": f"{issuer}/end_session",
            "jwks_uri": f"{issuer}/keys",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "client_credentials", "password"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": list(SCOPES),
            "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nonce", "name", "preferred_username", "email", "roles"],
        }
        return JSONResponse(body)

    async def keys(self, _: Request) -> Response:
        return JSONResponse(self._store.public_keys(), headers={"Cache-Control": "max-age=3600"})

    async def authorize(self, request: Request) -> Response:
        """The login page; a request whose redirect_uri cannot be trusted is told here, any other fault by redirecting."""
        query = dict(request.query_params)
        try:
            asked = self._store.check_request(query)
        except Refused as refused:
            return _page("Sign-in refused", f"<p>{escape(refused.description)}</p>", refused.status)
        try:
            self._store.check_wishes(query, asked)
        except Refused as refused:
            return _redirect(asked, {"error": refused.error, "error_description": refused.description})
        return _login_page(query, asked)

    async def signed_in(self, request: Request) -> Response:
        """The form of the login page. The request is checked again: a form can hold anything."""
        form = await _form(request)
        try:
            asked = self._store.check_request(form)
            self._store.check_wishes(form, asked)
            code = self._store.grant(asked, form.get("user", ""))
        except Refused as refused:
            return _page("Sign-in refused", f"<p>{escape(refused.description)}</p>", refused.status)
        return _redirect(asked, {"code": code})

    async def token(self, request: Request) -> Response:
        form = await _form(request)
        client_id, secret = _client(request.headers.get("authorization"), form)
        client = self._store.authenticate_client(client_id, secret)
        about, asked = self._granted(client, form)
        scope = asked.scope if asked else form.get("scope", "")
        token = self._access_token(about, client_id, scope)
        body = {"access_token": token, "token_type": "Bearer", "expires_in": self._store.token_lifetime_seconds, "scope": scope}
        if asked and isinstance(about, User):
            body["id_token"] = self._store.id_token(about, asked)
        return JSONResponse(body, headers=_NO_STORE)

    async def userinfo(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Refused("invalid_token", "There is no bearer token.", 401)
        return JSONResponse(userinfo(self._store.user_of(token)), headers=_NO_STORE)

    async def end_session(self, request: Request) -> Response:
        """Nobody stays signed in here, so there is nothing to end but the client's own session."""
        query = dict(request.query_params) | (await _form(request) if request.method == "POST" else {})
        if leads_here(target := query.get("post_logout_redirect_uri", "")):
            return RedirectResponse(_with_query(target, {"state": query.get("state")}), 303, _PAGE_HEADERS)
        return _page("Signed out", "<p>You are signed out of the sandbox.</p>")

    def _granted(self, client: OidcClient, form: Mapping[str, str]) -> tuple[User | OidcClient, Asked | None]:
        grant = form.get("grant_type")
        if grant == "authorization_code":
            return self._store.redeem(client, form.get("code", ""), form.get("redirect_uri", ""), form.get("code_verifier"))
        if grant == "password":
            return self._store.sign_in(form.get("username", ""), form.get("password", "")), None
        if grant == "client_credentials" and client.secret is not None:
            return client, None
        raise Refused("unsupported_grant_type", "Modelled are authorization_code, client_credentials and, for scripts, password.")

    def _access_token(self, about: User | OidcClient, client_id: str, scope: str) -> str:
        changes: dict[str, Any] = {}
        if self._faults.take("token_issued_expired", "oidc.Token"):
            changes["exp"] = int(self._store.now().timestamp()) - 3600
        if fault := self._faults.take("token_for_another_audience", "oidc.Token"):
            changes["aud"] = fault.args.get("audience", "another-api")
        foreign = self._faults.take("token_signed_by_another_key", "oidc.Token") is not None
        return self._store.access_token(about, client_id, scope, foreign=foreign, **changes)


def _told(handler: Handler) -> Handler:
    """Turn a refusal into OAuth's envelope."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as refused:
            basic = refused.error == "invalid_client"
            challenge = 'Basic realm="sandbox"' if basic else f'Bearer realm="sandbox", error="{refused.error}"'
            headers = _NO_STORE | ({"WWW-Authenticate": challenge} if refused.status == 401 else {})
            return JSONResponse({"error": refused.error, "error_description": refused.description}, refused.status, headers)

    return endpoint


async def _form(request: Request) -> dict[str, str]:
    try:
        return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
    except ValueError:  # not UTF-8: no field of it can be read
        return {}


def _client(authorization: str | None, form: Mapping[str, str]) -> tuple[str, str | None]:
    """Client id and secret, from a Basic header (RFC 6749 §2.3.1: both form-encoded) or from the body."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret")
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Refused("invalid_client", "The Authorization header cannot be read.", 401) from error
    return unquote_plus(client_id), unquote_plus(secret)


def _redirect(asked: Asked, answer: Mapping[str, str | None]) -> Response:
    return RedirectResponse(_with_query(asked.redirect_uri, {**answer, "state": asked.state}), 303, _PAGE_HEADERS)


def _with_query(url: str, values: Mapping[str, str | None]) -> str:
    told = urlencode({name: value for name, value in values.items() if value is not None})
    return url + (("&" if "?" in url else "?") + told if told else "")


def _login_page(query: Mapping[str, str], asked: Asked) -> Response:
    kept = "".join(f'<input type="hidden" name="{name}" value="{escape(query[name])}">' for name in _ASKED if name in query)
    buttons = "".join(f'<p><button name="user" value="{user.name}">{escape(user.full_name)}</button></p>' for user in USERS.values())
    body = f"<p>Sign in to <b>{escape(asked.client_id)}</b> as one of the local users:</p><form method=post>{kept}{buttons}</form>"
    return _page("Sign in", body)


def _page(title: str, body: str, status: int = 200) -> Response:
    style = "body{font:16px system-ui;max-width:28rem;margin:4rem auto;padding:0 1rem}button{font:inherit;padding:.5rem 1rem;width:100%}"
    warning = (
        "<p><strong>SANDBOX</strong> – a stand-in for a sign-in service. Nobody is asked for a password, and nothing here is real.</p>"
    )
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)} – Treadle sandbox</title><style>{style}</style>'
    return HTMLResponse(f"{head}<h1>{escape(title)}</h1>{warning}{body}</html>", status, _PAGE_HEADERS)
