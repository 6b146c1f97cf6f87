"""A CONNECT proxy for the Microsoft host names, so that clients without any endpoint setting reach the sandbox.

With HTTPS_PROXY set to it and the sandbox's CA trusted (REQUESTS_CA_BUNDLE, SSL_CERT_FILE), vendor clients run unmodified. It opens
tunnels to the sandbox alone: any other name is refused with 403, so nothing leaves loopback.
"""

import asyncio
import contextlib
import re
from collections.abc import Collection
from typing import Final

from treadle.sandbox.endpoints import LOOPBACK_HOSTS, service_of_host

_CONNECT: Final = re.compile(rb"CONNECT ([^\s:/]+):(\d{1,5}) HTTP/1\.[01]\r\n")
_CHUNK_BYTES: Final = 65_536
_HEAD_SECONDS: Final = 10


class ConnectProxy:
    """Tunnels the Microsoft names on port 443, and the sandbox's own ports, to `tls_port`; the Host header says which service is meant."""

    def __init__(self, tls_port: int, own_ports: Collection[int]) -> None:
        self._tls_port, self._own_ports = tls_port, frozenset(own_ports)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection from a client."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_SECONDS)
            port = self._port_behind(head)
            if port is None:
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nX-Reason: the sandbox tunnels only Microsoft's names\r\n\r\n")
                await writer.drain()
            else:
                await self._tunnel(reader, writer, port)
        writer.close()

    def _port_behind(self, head: bytes) -> int | None:
        asked = _CONNECT.match(head)
        if asked is None:
            return None
        host, port = asked.group(1).decode("latin-1"), int(asked.group(2))
        if port == 443 and service_of_host(host):
            return self._tls_port
        return port if host.lower() in LOOPBACK_HOSTS and port in self._own_ports else None

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection Established\r\n\r\n")
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            far_writer.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy until one side ends; a cut on one side becomes a cut on the other."""
    try:
        while chunk := await source.read(_CHUNK_BYTES):
            target.write(chunk)
            await target.drain()
    finally:
        target.close()
