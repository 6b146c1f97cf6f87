"""OAuth on the wire: tokens, userinfo, revocation; and SOAP login(), which is switched off.

Sources: Salesforce Help, "OAuth Endpoints", "OAuth Error Codes"; 005132110 (SOAP login() is off by default in new orgs).
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from treadle.sandbox.endpoints import LOOPBACK_HOSTS
from treadle.sandbox.salesforce.cloud import SalesforceCloud
from treadle.sandbox.salesforce.identity import LOGIN_AUDIENCES, ORGANIZATION_ID, USER_ID, OAuthRefused
from treadle.sandbox.salesforce.refusals import Refused
from treadle.sandbox.salesforce.routes import AnyCase

_NO_STORE: Final = {"Cache-Control": "no-cache, no-store", "Pragma": "no-cache"}
_JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LOGIN_HOSTS: Final = frozenset(url.removeprefix("https://") for url in LOGIN_AUDIENCES)
_ENDING: Final = '299 - "The OAuth username-password flow is being retired by Salesforce; use JWT bearer or client credentials."'
_SOAP_FAULT: Final = """<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:sf="urn:fault.partner.soap.sforce.com" \
xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><soapenv:Fault><faultcode>sf:INVALID_OPERATION</faultcode>\
<faultstring>INVALID_OPERATION: {message}</faultstring><detail><sf:UnexpectedErrorFault xsi:type="sf:UnexpectedErrorFault">\
<sf:exceptionCode>INVALID_OPERATION</sf:exceptionCode><sf:exceptionMessage>{message}</sf:exceptionMessage></sf:UnexpectedErrorFault></detail>\
</soapenv:Fault></soapenv:Body></soapenv:Envelope>"""
_SOAP_OFF: Final = "SOAP API login() is disabled by default in this org. Contact the org administrator to enable SOAP API login()."

Answer = Callable[[Request, Mapping[str, str]], Response]


def oauth_routes(cloud: SalesforceCloud) -> list[Route]:
    """The routes of sign-in; the operation id is the route's name."""
    doors = _Doors(cloud)
    return [
        AnyCase("/services/oauth2/token", doors.answering(doors.token), "POST", "Token"),
        AnyCase("/services/oauth2/revoke", doors.answering(doors.revoke), "POST", "Revoke"),
        AnyCase("/services/oauth2/userinfo", doors.answering(doors.userinfo), "GET", "UserInfo"),
        AnyCase("/services/Soap/u/{version}", _soap_login, "POST", "SoapLogin"),
        AnyCase("/services/Soap/u/{version}/{org}", _soap_login, "POST", "SoapLogin"),
    ]


class _Doors:
    def __init__(self, cloud: SalesforceCloud) -> None:
        self._identity, self._clock = cloud.identity, cloud.clock

    def answering(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that reads the form and turns refusals into OAuth's envelope."""

        async def endpoint(request: Request) -> Response:
            form = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
            try:
                return await anyio.to_thread.run_sync(answer, request, form)
            except OAuthRefused as refused:
                return JSONResponse({"error": refused.error, "error_description": refused.description}, refused.status, _NO_STORE)

        return endpoint

    def token(self, request: Request, form: Mapping[str, str]) -> Response:
        grant, headers = form.get("grant_type"), dict(_NO_STORE)
        if grant == "client_credentials":
            if request.headers.get("host", "").partition(":")[0].lower() in _LOGIN_HOSTS:
                raise OAuthRefused("invalid_grant", "request not supported on this domain")
            session = self._identity.session_by_client(*_client(request, form))
        elif grant == _JWT_BEARER:
            session = self._identity.session_by_assertion(form.get("assertion", ""))
        elif grant == "password":
            session = self._identity.session_by_password(form)
            headers["Warning"] = _ENDING
        else:
            raise OAuthRefused("unsupported_grant_type", "grant type not supported")
        return JSONResponse(self._granted(request, session), headers=headers)

    def revoke(self, request: Request, form: Mapping[str, str]) -> Response:
        self._identity.revoke(form.get("token") or request.query_params.get("token", ""))
        return Response(status_code=200, headers=_NO_STORE)

    def userinfo(self, request: Request, _: Mapping[str, str]) -> Response:
        try:
            self._identity.check_session(request.headers.get("authorization", "").partition(" ")[2])
        except Refused:
            return Response("Bad_OAuth_Token", 403, media_type="text/html")
        base, username = self._identity.instance_url, self._identity.credentials.username
        body = {
            "sub": f"{base}/id/{ORGANIZATION_ID}/{USER_ID}",
            "user_id": USER_ID,
            "organization_id": ORGANIZATION_ID,
            "preferred_username": username,
            "name": "Treadle Integration",
            "email": username,
            "urls": {"rest": f"{base}/services/data/v{{version}}/", "custom_domain": base},
            "active": True,
            "user_type": "STANDARD",
        }
        return JSONResponse(body)

    def _granted(self, request: Request, session: str) -> dict[str, str]:
        """No `expires_in`: Salesforce tells none. The signature is over id and time, by the app's secret."""
        base, issued_at = self._base(request), str(int(self._clock.now().timestamp() * 1000))
        identity = f"{base}/id/{ORGANIZATION_ID}/{USER_ID}"
        key = self._identity.credentials.client_secret.encode()
        signature = base64.b64encode(hmac.new(key, (identity + issued_at).encode(), hashlib.sha256).digest()).decode()
        granted = {"access_token": session, "instance_url": base, "id": identity, "token_type": "Bearer"}
        return granted | {"scope": "api", "issued_at": issued_at, "signature": signature}

    def _base(self, request: Request) -> str:
        """The address that the client used, where it leads here; else our own."""
        host = request.headers.get("host", "")
        return f"https://{host}" if host.partition(":")[0] in LOOPBACK_HOSTS else self._identity.instance_url


async def _soap_login(_: Request) -> Response:
    return Response(_SOAP_FAULT.format(message=_SOAP_OFF), 500, media_type="text/xml")


def _client(request: Request, form: Mapping[str, str]) -> tuple[str, str | None]:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret")
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise OAuthRefused("invalid_client", "The Authorization header cannot be read.") from error
    return unquote(client_id), unquote(secret)
