"""Bodies that are too large for memory, as they come: a bounded number at once, in pieces, never longer than there is room, and only while they come.

Each has one of a few turns, so a turn is for who sends: nobody has all of them, and who falls silent or sends drop by drop is let go.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager

from fastapi import Request
from starlette.requests import ClientDisconnect

from treadle.api.config import ApiSettings
from treadle.api.guard import App
from treadle.api.problems import TooManyRequests
from treadle.control.access import Principal
from treadle.errors import Unavailable


@contextmanager
def receiving(shared: App, who: Principal) -> Generator[None]:
    """Take one of the turns that this process has. On the event loop's thread.

    Raises:
        TooManyRequests: this principal has as many as one may have.
        Unavailable: all are taken.
    """
    own, all_taken = shared.receiving[who.subject], shared.receiving.total()
    if own >= shared.settings.uploads_per_principal:
        text = f"{who.name} is sending {own} uploads at this moment."
        raise TooManyRequests(text, hint="Wait for one of them to end.", retry_after_seconds=5)
    if all_taken >= shared.settings.uploads_at_once:
        raise Unavailable(f"{all_taken} uploads are being received at this moment.", hint="Try again in a moment.")
    shared.receiving[who.subject] += 1
    shared.metrics.uploads_open.inc()
    try:
        yield
    finally:
        shared.receiving -= Counter([who.subject])  # which forgets who has none
        shared.metrics.uploads_open.dec()


class IncomingBody:
    """A request's body in pieces: never more than one of them is in memory.

    room: how many bytes there may be; `too_long` says afterwards that there were more. `cut`: why it was not read to its end, for its sender – who
    went away, fell silent or was too slow; empty when it was.
    """

    def __init__(self, request: Request, room: int, settings: ApiSettings, piece_bytes: int) -> None:
        self._stream, self._room, self._piece_bytes = request.stream(), room, piece_bytes
        self._stall_seconds, self._pace = settings.stall_seconds, Pace(settings.slowest_bytes_per_second, settings.stall_seconds)
        self.too_long, self.cut = False, ""

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, as far as it comes and as far as there is room for it."""
        gathered = bytearray()
        while chunk := await self._next():
            self.too_long = len(chunk) > self._room
            gathered += chunk[: self._room]
            self._room -= min(len(chunk), self._room)
            if self.too_long or self.cut:
                break
            if len(gathered) >= self._piece_bytes:
                yield bytes(gathered)
                gathered.clear()
        if gathered:
            yield bytes(gathered)

    async def _next(self) -> bytes:
        """The next bytes; none at the end, or when the sender has gone, falls silent or is too slow."""
        asked_at = time.monotonic()
        try:
            async with asyncio.timeout(self._stall_seconds):
                chunk = await self._some()
        except (ClientDisconnect, TimeoutError):
            self.cut = "No bytes came for a while"
            return b""
        if chunk and self._pace.is_too_slow(time.monotonic() - asked_at, len(chunk)):
            self.cut = f"Fewer than {self._pace.least_bytes_per_second:,} bytes a second came"
        return chunk

    async def _some(self) -> bytes:
        async for chunk in self._stream:
            if chunk:
                return chunk
        return b""


class Pace:
    """Whether bytes come fast enough, judged once for each `window_seconds` of waiting for them: what disk and lake take is not the sender's."""

    def __init__(self, least_bytes_per_second: int, window_seconds: float) -> None:
        self.least_bytes_per_second, self._window_seconds = least_bytes_per_second, window_seconds
        self._waited_seconds, self._came_bytes = 0.0, 0

    def is_too_slow(self, waited_seconds: float, size_bytes: int) -> bool:
        """Take what came after a wait into account."""
        self._waited_seconds += waited_seconds
        self._came_bytes += size_bytes
        if self._waited_seconds < self._window_seconds:
            return False
        too_slow = self._came_bytes < self.least_bytes_per_second * self._waited_seconds
        self._waited_seconds, self._came_bytes = 0.0, 0
        return too_slow
