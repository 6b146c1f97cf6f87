"""The portal as one application with the API beside it: one port, one sign-in service, the same services.

Streamlit's own runtime serves the pages; whatever is asked under `/api` or `/query` goes to the API with all its layers, untouched by Streamlit's.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import streamlit
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.web import bootstrap

from treadle.portal.return_address import ReturnAddress
from treadle.portal.shared import Portal, open_portal
from treadle.portal.told import script_failed
from treadle.portal.unanswered_timers import leave_timers_unanswered
from treadle.portal.upload_guard import UploadGuard, signed_in_uploaders

SCRIPT: Final = Path(__file__).parent / "app.py"
_SECURITY: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True, slots=True)
class SignInService:
    """Where people sign in, and as which application we ask. url: of the portal, as browsers see it."""

    url: str
    issuer: str
    client_id: str
    client_secret: str
    cookie_secret: str
    ca_file: Path | None = None


class PortalApp:
    """The ASGI application: pages here, the API there."""

    def __init__(self, ui: streamlit.App, api: ASGIApp) -> None:
        self.ui, self.api = ui, api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, one WebSocket, or the life of the process."""
        if scope["type"] == "lifespan":
            await _live(self.api, self.ui, receive, send)
        elif scope["type"] == "http" and _is_for_api(scope["path"]):
            await self.api(scope, receive, send)
        else:
            await self.ui(scope, receive, send)


def create_portal(portal: Portal, api: ASGIApp, *, sign_in: SignInService | None, allowed_hosts: tuple[str, ...]) -> PortalApp:
    """Put pages and API together. One per process: Streamlit knows no more.

    sign_in: None when nobody signs in, which `portal.local` must then allow. allowed_hosts: the names under which browsers may ask; `*` for any.
    """
    _log_as_we_do()
    leave_timers_unanswered()
    open_portal(portal)
    ui = streamlit.App(
        SCRIPT,
        secrets={"auth": _auth(sign_in)} if sign_in else {},
        middleware=[
            Middleware(_Guarded, allowed=allowed_hosts, own=urlsplit(sign_in.url).netloc if sign_in else ""),
            Middleware(ReturnAddress, own=urlsplit(sign_in.url).netloc if sign_in else ""),
            Middleware(UploadGuard, limit_bytes=portal.upload_bytes, may_upload=_uploaders(portal, sign_in)),
        ],
        on_script_error=script_failed,
    )
    options: dict[str, Any] = {"server_maxUploadSize": max(1, portal.upload_bytes // 1024**2)}
    if sign_in:
        options |= {"server_corsAllowedOrigins": [sign_in.url]}
    bootstrap.load_config_options(options)
    return PortalApp(ui, api)


def _uploaders(portal: Portal, sign_in: SignInService | None) -> Callable[[Mapping[str, str]], bool | None]:
    """Whose files are taken; those of everybody who reaches a portal that serves this machine alone."""
    if sign_in is None:
        return lambda _: True
    url = urlsplit(sign_in.url)
    return signed_in_uploaders(sign_in.cookie_secret, f"{url.scheme}://{url.netloc}", portal.role_claim, dict(portal.role_map))


def _log_as_we_do() -> None:
    """Streamlit gives loggers handlers of its own, whose lines are no JSON; without them our own handler has what they say."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("streamlit", "uvicorn"):
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True


def _auth(service: SignInService) -> dict[str, Any]:
    kwargs: dict[str, Any] = {"scope": "openid profile email"}
    if service.ca_file:
        kwargs["verify"] = str(service.ca_file)
    return {
        "redirect_uri": f"{service.url}/oauth2callback",
        "cookie_secret": service.cookie_secret,
        "client_id": service.client_id,
        "client_secret": service.client_secret,
        "server_metadata_url": f"{service.issuer}/.well-known/openid-configuration",
        "client_kwargs": kwargs,
    }


def _is_for_api(path: str) -> bool:
    return path in ("/api", "/metrics") or path.startswith(("/api/", "/query/"))


class _Guarded:
    """ASGI layer: answers only to the names that the portal has, and sends the headers that keep a browser from doing what it need not."""

    def __init__(self, app: ASGIApp, allowed: tuple[str, ...], own: str) -> None:
        """own: host and port as browsers know the portal, if a proxy asks us by another name."""
        self._app, self._allowed, self._own = app, tuple(name.lower() for name in allowed), own.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._knows(headers.get("host", "")) or (scope["type"] == "websocket" and not self._is_ours(headers)):
            await _refuse(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)

    def _is_ours(self, headers: Headers) -> bool:
        """Whether one of our own pages opens this WebSocket: a browser would send the cookies for a page of anybody's, too."""
        origin = headers.get("origin")
        return origin is None or urlsplit(origin).netloc.lower() in (headers.get("host", "").lower(), self._own)

    def _knows(self, header: str) -> bool:
        host = header.strip().lower()
        name = host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host
        return any(allowed in ("*", name) or (allowed.startswith("*.") and name.endswith(allowed[1:])) for allowed in self._allowed)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    text = "The Host header names no host of this service. Use its own name, or add this one to API_ALLOWED_HOSTS.\n"
    await PlainTextResponse(text, 421)(scope, receive, send)


async def _live(api: ASGIApp, ui: ASGIApp, receive: Receive, send: Send) -> None:
    """Start both, say so, wait for the end, stop both: each thinks that it alone is the application."""
    try:
        async with AsyncExitStack() as running:
            await receive()
            for app in (api, ui):
                await running.enter_async_context(_Life(app))
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except Exception as error:
        await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
        raise
    await send({"type": "lifespan.shutdown.complete"})


class _Life:
    """The lifespan protocol of one application, from the server's side."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._to, self._from = asyncio.Queue[Message](), asyncio.Queue[Message]()

    async def __aenter__(self) -> None:
        scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        self._task = asyncio.create_task(self._run(scope))
        await self._say("lifespan.startup")

    async def __aexit__(self, *_: object) -> None:
        await self._say("lifespan.shutdown")
        await self._task

    async def _run(self, scope: Scope) -> None:
        try:
            await self._app(scope, self._to.get, self._from.put)
        except Exception as error:  # noqa: BLE001 - told to whoever waits for the answer
            await self._from.put({"type": "lifespan.failed", "message": f"{type(error).__name__}: {error}"})

    async def _say(self, message: str) -> None:
        await self._to.put({"type": message})
        answer = await self._from.get()
        if answer["type"] != f"{message}.complete":
            raise RuntimeError(f"{message} failed: {answer.get('message', '')}")
