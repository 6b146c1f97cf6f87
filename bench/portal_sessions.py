"""Sessions of the portal without a browser: they speak Streamlit's protocol over a WebSocket, and keep the clocks that a browser would keep.

Twenty pages in a Chromium on the two cores that also serve them would measure Chromium.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

PATIENCE_SECONDS = 120.0


class Session:
    """One page that somebody has open. Its fragments run by the clock as the server has asked for, until the server says otherwise."""

    def __init__(self, url: str, page: str) -> None:
        self._connection: ClientConnection = connect(
            f"ws://{urlsplit(url).netloc}/_stcore/stream", origin=url, subprotocols=["streamlit"], max_size=None
        )
        self._page, self._page_hash = page, ""
        self._intervals: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._said, self._stop = bytearray(), threading.Event()
        self.asked = self.drawn = 0  # how often the server was asked for something, and how often it has drawn the whole page
        self._ask()
        self._thread = threading.Thread(target=self._live, name="session")
        self._thread.start()

    @property
    def clocks(self) -> int:
        """How many fragments run by the clock."""
        return len(self._intervals)

    def wait_for(self, text: str) -> None:
        """Until the server has sent something with this text in it."""
        until = time.monotonic() + PATIENCE_SECONDS
        while text.encode() not in self._said:
            if time.monotonic() > until:
                raise TimeoutError(f"{text!r} did not come within {PATIENCE_SECONDS:g} s")
            time.sleep(0.05)

    def close(self) -> None:
        """Leave the page."""
        self._stop.set()
        self._thread.join()
        self._connection.close()

    def _live(self) -> None:
        while not self._stop.is_set():
            now = time.monotonic()
            for fragment_id in [name for name, due in self._due.items() if due <= now]:
                self._due[fragment_id] = now + self._intervals[fragment_id]
                self._ask(fragment_id)
            try:
                self._take(self._connection.recv(timeout=0.05))
            except TimeoutError:
                continue

    def _ask(self, fragment_id: str = "") -> None:
        message = BackMsg()
        state = message.rerun_script
        state.page_name, state.page_script_hash = ("", self._page_hash) if self._page_hash else (self._page, "")
        state.fragment_id, state.is_auto_rerun = fragment_id, bool(fragment_id)
        self._connection.send(message.SerializeToString())
        self.asked += 1

    def _take(self, received: str | bytes) -> None:
        assert isinstance(received, bytes)
        message = ForwardMsg.FromString(received)
        kind = message.WhichOneof("type")
        if kind == "new_session" and not message.metadata.run.fragment_ids:
            self.drawn += 1
            self._page_hash = message.new_session.page_script_hash
            self._intervals.clear()
            self._due.clear()
            self._said.clear()
        elif kind == "navigation":  # only now is known which page it is; what asks in another's name is not answered
            self._page_hash = message.navigation.page_script_hash
        elif kind == "auto_rerun":
            asked = message.auto_rerun
            if self._intervals.get(asked.fragment_id) != asked.interval:
                self._intervals[asked.fragment_id] = asked.interval
                self._due[asked.fragment_id] = time.monotonic() + asked.interval
        elif kind == "stop_auto_rerun":
            for fragment_id in message.stop_auto_rerun.fragment_ids:
                self._intervals.pop(fragment_id, None)
                self._due.pop(fragment_id, None)
        elif kind == "delta":
            self._said += received


@contextmanager
def sessions(url: str, page: str, count: int) -> Iterator[list[Session]]:
    """So many people with the page open."""
    opened: list[Session] = []
    try:
        opened.extend(Session(url, page) for _ in range(count))
        yield opened
    finally:
        for session in opened:
            session.close()
