"""The command line of Treadle. This module loads nothing: until `main` runs, Ctrl-C would be answered with a traceback."""

import atexit
import gc
import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    """Load the commands, which takes a moment, and run the one that was asked for."""
    atexit.register(_end_quickly)
    patient = signal.getsignal(signal.SIGINT) is not signal.default_int_handler  # whoever started us wants Ctrl-C ignored
    if not patient:
        signal.signal(signal.SIGINT, _leave)
    from treadle.cli.commands import run  # noqa: PLC0415 - see above

    if not patient:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _end_quickly() -> None:
    """At the end Python looks through all objects again and again: seconds, for memory that is given back anyway. DuckDB lists what is not found so."""
    if "duckdb" not in sys.modules:
        gc.freeze()


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Nothing was begun yet. An exception would have to find its way through half-loaded modules."""
    os.write(2, b"Interrupted.\n")
    os._exit(INTERRUPTED)
