"""How a standing command learns that it is to stop."""

import contextlib
import os
import signal
import sys
import threading
from typing import Any


def stop_on_signal() -> threading.Event:
    """An event that SIGTERM, SIGHUP and Ctrl-C set, so that what is under way ends orderly."""
    stop = threading.Event()

    def set_stop(_number: int, _frame: Any) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, set_stop)
    return stop


def stop_with_parent(stop: threading.Event) -> None:
    """Set the event when standard input ends: whoever holds the other end is gone, however it went."""
    standard_input = sys.stdin.fileno()  # not the buffered file: a thread that still waits inside it aborts the interpreter when that ends

    def wait_for_end() -> None:
        with contextlib.suppress(OSError):  # closed by ourselves at the end
            while os.read(standard_input, 4096):
                continue
        stop.set()

    threading.Thread(target=wait_for_end, name="parent-watch", daemon=True).start()
