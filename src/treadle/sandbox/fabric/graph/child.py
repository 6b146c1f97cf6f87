"""Runs a part of this package in a process of its own, so that a crash, a hang or a leak of the engine's native code ends that process alone.

The child gets one line of JSON on its standard input and writes its answer to its standard output. Its input is also its lifeline: it ends
itself when the input is closed, however this process ends.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

_INHERITED: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
_POLL_SECONDS: Final = 0.02
_WORDS_KEPT: Final = 2000


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """output: what it wrote. broken: why there is none – stopped by us, or ended by itself in disorder – else None."""

    output: bytes = b""
    stopped: str | None = None
    broken: str | None = None


def run_child(module: str, request: Mapping[str, Any], folder: Path, why_stop: Callable[[], str | None]) -> ChildEnd:
    """Run the module's main with this request to its end, or kill it as soon as `why_stop` gives a reason. Blocks the calling thread.

    folder: where it is to work, and where its temporary files go.
    """
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ} | {"HOME": str(folder), "TMPDIR": str(folder)}
    with tempfile.TemporaryFile(dir=folder) as output, tempfile.TemporaryFile(dir=folder) as words:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=words,
            start_new_session=True,
        )
        stopped = _await_end(child, json.dumps(request).encode(), why_stop)
        if stopped is not None:
            return ChildEnd(stopped=stopped)
        if child.returncode == 0:
            output.seek(0)
            return ChildEnd(output=output.read())
        return ChildEnd(broken=_describe(child.returncode, words))


def main(work: Callable[[Mapping[str, Any]], bytes]) -> None:
    """In the child: read the request, do the work, write what it gives."""
    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)  # what native code prints is no part of the answer
        request = json.loads(sys.stdin.buffer.readline())
        threading.Thread(target=_end_with_parent, daemon=True).start()
        output.write(work(request))
    os._exit(0)  # whatever threads the engine still has


def _await_end(child: subprocess.Popen[bytes], request: bytes, why_stop: Callable[[], str | None]) -> str | None:
    assert child.stdin is not None
    stopped: str | None = None
    with child.stdin:
        with contextlib.suppress(BrokenPipeError):  # it ended before it read; its exit code tells why
            child.stdin.write(request + b"\n")
            child.stdin.flush()
        while child.poll() is None and stopped is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_POLL_SECONDS)
            stopped = why_stop() if child.poll() is None else None
        if stopped is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return stopped


def _describe(exit_code: int, words: IO[bytes]) -> str:
    words.seek(0)
    last = words.read().decode(errors="replace").strip().rpartition("\n")[2][:_WORDS_KEPT]
    how = f"was killed by signal {-exit_code} ({signal.Signals(-exit_code).name})" if exit_code < 0 else f"ended with exit code {exit_code}"
    return f"The graph engine's process {how}. {last}".strip()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)
