"""Bodies that are too large for memory, as they come: a bounded number at once, in pieces, and never longer than there is room."""

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager

from fastapi import Request
from starlette.requests import ClientDisconnect

from treadle.api.guard import App
from treadle.errors import Unavailable


@contextmanager
def receiving(shared: App) -> Generator[None]:
    """Take one of the turns that this process has. On the event loop's thread. Raises Unavailable when all are taken."""
    if shared.receiving >= shared.settings.uploads_at_once:
        raise Unavailable(f"{shared.receiving} uploads are being received at this moment.", hint="Try again in a moment.")
    shared.receiving += 1
    shared.metrics.uploads_open.inc()
    try:
        yield
    finally:
        shared.receiving -= 1
        shared.metrics.uploads_open.dec()


class IncomingBody:
    """A request's body in pieces: never more than one of them is in memory.

    room: how many bytes there may be; `too_long` says afterwards that there were more. `cut`: the sender went away or fell silent.
    """

    def __init__(self, request: Request, room: int, stall_seconds: float, piece_bytes: int) -> None:
        self._stream, self._room, self._stall_seconds, self._piece_bytes = request.stream(), room, stall_seconds, piece_bytes
        self.too_long = self.cut = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, as far as it comes and as far as there is room for it."""
        gathered = bytearray()
        while chunk := await self._next():
            self.too_long = len(chunk) > self._room
            gathered += chunk[: self._room]
            self._room -= min(len(chunk), self._room)
            if self.too_long:
                break
            if len(gathered) >= self._piece_bytes:
                yield bytes(gathered)
                gathered.clear()
        if gathered:
            yield bytes(gathered)

    async def _next(self) -> bytes:
        """The next bytes; none at the end, or when the sender has gone or falls silent."""
        try:
            async with asyncio.timeout(self._stall_seconds):
                async for chunk in self._stream:
                    if chunk:
                        return chunk
        except (ClientDisconnect, TimeoutError):
            self.cut = True
        return b""
