"""Bring somebody who signs in back to the page from which they did: Streamlit brings everybody to the front page."""

import re
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOGIN: Final = "/auth/login"
CALLBACK: Final = "/oauth2callback"
COOKIE: Final = "treadle_return"
KEPT_SECONDS: Final = 600  # a sign-in that takes longer ends on the front page
LONGEST: Final = 2000  # characters; browsers take cookies of 4096 bytes
# Of one of our own pages: what names a host ("//evil.example"), or would end the header, does not fit.
_OF_A_PAGE: Final = re.compile(r"/[a-z]+(\?[!-~]*)?")


class ReturnAddress:
    """ASGI layer: remembers, when a sign-in begins, the page that asked for it, and leads there when it has succeeded.

    The page is known by the Referer, which our own Referrer-Policy lets browsers send in full to ourselves. It is kept in a cookie of that browser.
    """

    def __init__(self, app: ASGIApp, own: str) -> None:
        """own: host and port as browsers know the portal, if a proxy asks us by another name."""
        self._app, self._own = app, own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; only the two of a sign-in are looked at."""
        if scope["type"] != "http" or scope["path"] not in (LOGIN, CALLBACK):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def with_return(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                if scope["path"] == LOGIN:
                    answer.append("set-cookie", _cookie(asked_from(headers.get("referer", ""), (self._own, headers.get("host", "")))))
                elif message["status"] == 302:
                    answer["location"] = kept_in(headers.get("cookie", "")) or answer["location"]
                    answer.append("set-cookie", _cookie(None))
            await send(message)

        await self._app(scope, receive, with_return)


def asked_from(referer: str, hosts: Collection[str]) -> str | None:
    """The page of ours, by any of these hosts, that a Referer names, with its query. None: it names none. Pure."""
    parts = urlsplit(referer)
    address = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return address if parts.netloc.lower() in {host.lower() for host in hosts} and _is_of_a_page(address) else None


def kept_in(cookies: str) -> str | None:
    """The page that a browser has kept. None: none, or what it sends is no page of ours. Pure."""
    try:
        kept = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return None
    address = unquote(kept.value) if kept else ""
    return address if _is_of_a_page(address) else None


def _is_of_a_page(address: str) -> bool:
    return len(address) <= LONGEST and _OF_A_PAGE.fullmatch(address) is not None


def _cookie(address: str | None) -> str:
    """It is no secret, and says nothing of who signs in. None: away with it."""
    value, age = (quote(address, safe=""), KEPT_SECONDS) if address else ("", 0)
    return f"{COOKIE}={value}; Max-Age={age}; Path=/; HttpOnly; SameSite=Lax"
