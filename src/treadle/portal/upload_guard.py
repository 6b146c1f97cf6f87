"""Who may send a file to a page, and how large it may be: decided before a byte of it is read.

Streamlit takes files at an address of their own, for whichever session the address names, and asks nobody to sign in there.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.auth_util import get_cookie_with_chunks
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from treadle.control.access import Right, allowed, principal_from_claims
from treadle.errors import Unauthenticated
from treadle.portal import signed_out

_PATH: Final = "/_stcore/upload_file/"
_TAKES: Final = frozenset({"PUT", "POST", "DELETE"})
_AROUND_A_FILE: Final = 64 * 1024  # of a multipart body, beside the file in it

Claims = Mapping[str, Any]


class UploadGuard:
    """ASGI layer: a file is taken from somebody who has signed in and may bring files, and up to the limit."""

    def __init__(self, app: ASGIApp, limit_bytes: int, may_upload: Callable[[Mapping[str, str]], bool | None]) -> None:
        """may_upload: whether whoever has these cookies may bring files; None: nobody has signed in with them."""
        self._app, self._limit_bytes, self._may_upload = app, limit_bytes, may_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer it here."""
        if scope["type"] == "http" and scope["method"] in _TAKES and _PATH in scope["path"]:
            refusal = self._refusal(Headers(scope=scope))
            if refusal:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> PlainTextResponse | None:
        """The answer, without reading on: the connection ends with it. A body without a length is counted by Streamlit as it comes."""
        may = self._may_upload(cookie_parser(headers.get("cookie", "")))
        if not may:
            text, status = ("This role may not bring files.\n", 403) if may is False else ("Sign in to send a file.\n", 401)
            return PlainTextResponse(text, status, {"Connection": "close"})
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdecimal():
            return PlainTextResponse("Content-Length is not a number.\n", 400, {"Connection": "close"})
        if int(length[:20]) > self._limit_bytes + _AROUND_A_FILE:
            text = f"The file is larger than the {self._limit_bytes:,} bytes that a page takes. Send it to /api/uploads, which takes larger ones.\n"
            return PlainTextResponse(text, 413, {"Connection": "close"})
        return None


def signed_in_uploaders(
    secret: str, origin: str, role_claim: str, role_map: Mapping[str, str]
) -> Callable[[Mapping[str, str]], bool | None]:
    """What tells from a browser's cookies whether somebody may bring files. secret: signs the cookies; origin: of the portal that set them."""

    def may_upload(cookies: Mapping[str, str]) -> bool | None:
        claims = _claims(cookies, secret, origin)
        if claims is None:
            return None
        try:
            return allowed(principal_from_claims(claims, role_claim, dict(role_map)), Right.FILES_WRITE)
        except Unauthenticated:
            return None

    return may_upload


def _claims(cookies: Mapping[str, str], secret: str, origin: str) -> Claims | None:
    """What the sign-in service has said of the person, as Streamlit keeps it. None: not signed by us, for another portal, over, or ended by them."""

    def one(name: str) -> bytes | None:
        return decode_signed_value(secret, name, cookies.get(name, ""))

    try:
        found: Any = json.loads(get_cookie_with_chunks(one, USER_COOKIE_NAME) or "null")
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    claims = cast("dict[str, Any]", found)
    expires = claims.get("exp")
    if claims.get("is_logged_in") is not True or claims.get("origin") != origin:
        return None
    holds = isinstance(expires, int | float) and expires > time.time() and not signed_out.has_ended(claims)
    return claims if holds else None
