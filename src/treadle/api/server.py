"""The API as a process: uvicorn with our limits, one orderly way to stop, and sockets that notice a peer that is gone."""

import logging
import resource
import socket
import threading
from functools import partial
from typing import Any, Final, cast

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from treadle.api.connection import Connection
from treadle.api.guard import shared_of

GRACE_SECONDS: Final = 10  # what is under way when the process is told to stop may take so long
_KEEP_ALIVE_SECONDS: Final = 75
_GONE_MILLISECONDS: Final = 30_000  # a peer that acknowledges nothing for so long has vanished
_BACKLOG: Final = 512
_OPEN_FILES: Final = 16_384


class Server(uvicorn.Server):
    """Lets event streams go before it waits for the rest: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, api: FastAPI) -> None:
        super().__init__(config)
        self._api = api

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, end what streams, wait for what is under way."""
        shared_of(self._api).hub.end_streams()
        await super().shutdown(sockets)


def make_server(api: FastAPI, around: ASGIApp | None = None) -> Server:
    """A server for the API, or for what has the API in it and may speak WebSocket; `run` it with the sockets that `listen` gives."""
    logging.getLogger("uvicorn.error").addFilter(_already_told)
    config = uvicorn.Config(
        around or api,
        http=cast("Any", partial(Connection, settings=shared_of(api).settings)),
        log_config=None,
        access_log=False,  # each request is logged by us, with its correlation id
        server_header=False,
        date_header=True,
        lifespan="on",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ws="websockets-sansio" if around else "none",
        limit_concurrency=2_000,
        proxy_headers=False,  # an address that a caller can write is none; put the proxy's own limits in front
    )
    return Server(config, api)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any free one. Raises OSError when the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named: asyncio turns Nagle's delay off only then
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted sockets inherit these
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _GONE_MILLISECONDS)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def serve(api: FastAPI, listener: socket.socket, stop: threading.Event, around: ASGIApp | None = None) -> None:
    """Serve until told to stop; then let what is under way end. around: as for `make_server`."""
    _allow_many_connections()
    server = make_server(api, around)

    def stop_when_told() -> None:
        stop.wait()
        server.should_exit = True

    threading.Thread(target=stop_when_told, name="api-stop", daemon=True).start()
    server.run(sockets=[listener])
    stop.set()


def _allow_many_connections() -> None:
    """Each connection is an open file, and many systems let a process have 1,024 until it asks for the more that it may have."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(_OPEN_FILES, most)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _already_told(record: logging.LogRecord) -> bool:
    """A broken-off answer is logged where it breaks off, in one line; uvicorn would add the whole stack."""
    return not (record.exc_info and "ASGI application" in record.getMessage())
