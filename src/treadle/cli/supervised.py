"""Processes that `treadle up` keeps running beside itself: each in a session of its own, started again when it dies, stopped with us."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, Final

import structlog

from treadle.errors import Unavailable
from treadle.settings import STARTING_FILE_NAME

log = structlog.get_logger()

RESTART_SECONDS: Final = 1.0
_STARTING_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.1


@contextlib.contextmanager
def supervised(command: str, options: Sequence[str], state: Path, stop: threading.Event) -> Generator[None]:
    """Run `treadle <command>` until the end of the block or until stopped. Its log is `logs/<command>.jsonl`, its process id `<command>.pid`."""
    logs = state / "logs"
    logs.mkdir(exist_ok=True)
    with (logs / f"{command}.jsonl").open("ab") as log_file:
        keeper = threading.Thread(target=_keep, args=(command, options, state, log_file, stop), name=f"{command}-keeper")
        keeper.start()
        try:
            yield
        finally:
            stop.set()
            keeper.join()


def _keep(command: str, options: Sequence[str], state: Path, log_file: IO[bytes], stop: threading.Event) -> None:
    while not stop.is_set():
        # A session of its own: Ctrl-C reaches us, and we stop it orderly. Its standard input ends with us, and so does the process.
        process = subprocess.Popen(
            [sys.executable, "-m", "treadle", command, "--with-parent", *options, "--state", str(state)],
            stdin=subprocess.PIPE,
            stdout=log_file,
            stderr=log_file,
            start_new_session=True,
            env={**os.environ, "TREADLE_STATE_FILE": STARTING_FILE_NAME},
        )
        (state / f"{command}.pid").write_text(str(process.pid))
        while process.poll() is None and not stop.wait(0.2):
            pass
        if stop.is_set():
            process.terminate()
            process.wait()
        if process.stdin:
            process.stdin.close()
        if stop.is_set():
            return
        log.warning("process.died", command=command, code=process.returncode)
        stop.wait(RESTART_SECONDS)


def free_port(host: str, wanted: int) -> int:
    """The wanted port if nobody listens there, else any that is free."""
    for port in (wanted, 0):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial, contextlib.suppress(OSError):
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
            return int(trial.getsockname()[1])
    raise Unavailable(f"No port of {host} is free.", hint="Set API_HOST to an address of this machine.")


def wait_until_listening(host: str, port: int, stop: threading.Event) -> None:
    """Return when somebody listens, or when told to stop.

    Raises:
        Unavailable: nobody does in time.
    """
    for _ in range(int(_STARTING_SECONDS / _LOOK_SECONDS)):
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        if stop.wait(_LOOK_SECONDS):
            return
    raise Unavailable(f"The API did not begin to listen on {host}:{port}.", hint="See logs/api.jsonl in the state directory.")
