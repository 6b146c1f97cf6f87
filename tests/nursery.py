"""Runs commands in processes of their own that need not load everything first: each is forked from one process that has loaded it, and only that.

To a command nothing else is different: `treadle …` runs as `__main__`, with its own arguments, folder, environment and streams, and ends with its exit code.
To load it takes most of a second; a set of tests calls hundreds of commands.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

_MOST_BYTES = 1 << 20
WIDE = {"COLUMNS": "200"}  # of all that is forked here: so that no line is broken
_NOT_LOADED = {"api", "portal", "local", "demo"}  # what serves has threads and much of its own
_READ_WHILE_LOADING = ("COLUMNS", "LINES", "TERM", "NO_COLOR", "FORCE_COLOR", "PYTHON", "TZ", "LANG", "LC_")


class Command:
    """A command that was started: what a test needs of `subprocess.Popen`. Its output is kept, however much it writes."""

    def __init__(self, arguments: Sequence[str], told: BinaryIO, out: BinaryIO, err: BinaryIO) -> None:
        self._arguments, self._told, self._streams = list(arguments), told, (out, err)
        self.pid = int(told.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None: it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended. Raises TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self._arguments, timeout or 0)
            self.returncode = int(self._told.readline())
            self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing, if it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """As `send_signal`."""
        self.send_signal(signal.SIGKILL)

    def communicate(self) -> tuple[bytes, bytes]:
        """Wait for its end; return all that it wrote, which can be asked again."""
        self.wait()
        out, err = (stream.seek(0) or stream.read() for stream in self._streams)
        return out, err


class Nursery:
    """The process that the others are forked from. environ: its environment, some of which is read while modules are loaded."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.nursery", str(theirs.fileno())]
        nothing = subprocess.DEVNULL
        self._process = subprocess.Popen(command, env=environ, stdin=nothing, stdout=nothing, stderr=nothing, pass_fds=[theirs.fileno()])
        self._environ = dict(environ)
        theirs.close()

    def can_run(self, environ: Mapping[str, str]) -> bool:
        """Whether a command with this environment may be forked: nothing in it would have made a difference while modules were loaded."""
        changed = {name for name, _ in self._environ.items() ^ environ.items()}
        return not any(name.startswith(_READ_WHILE_LOADING) for name in changed)

    def start(self, arguments: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> Command:
        """As `subprocess.Popen([python, "-m", "treadle", *arguments], …)`, with nothing on standard input."""
        out, err = os.memfd_create("out"), os.memfd_create("err")
        told, tells = os.pipe()
        request = json.dumps({"arguments": list(arguments), "cwd": str(cwd), "environ": dict(environ)}).encode()
        socket.send_fds(self._ours, [request], [out, err, tells])
        os.close(tells)
        return Command(arguments, os.fdopen(told, "rb", buffering=0), os.fdopen(out, "rb"), os.fdopen(err, "rb"))

    def run(self, arguments: Sequence[str], cwd: Path, environ: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run([python, "-m", "treadle", *arguments], …)` with its output captured as text."""
        command = self.start(arguments, cwd, environ)
        try:
            code = command.wait(timeout)
        finally:
            command.kill()
        out, err = (written.decode() for written in command.communicate())
        return subprocess.CompletedProcess(list(arguments), code, out, err)

    def close(self) -> None:
        """End it; commands that are under way go on."""
        self._ours.close()
        self._process.wait()


def _serve(requests: socket.socket) -> None:
    """Fork a process for each request, until nobody is left to ask. Each is watched by one more, so that several may be under way."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # of the watchers
    while True:
        request, streams, _, _ = socket.recv_fds(requests, _MOST_BYTES, 3)
        if not request:
            return
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _watch(json.loads(request), *streams)
            os._exit(0)
        for stream in streams:
            os.close(stream)


def _watch(request: Mapping[str, Any], out: int, err: int, tells: int) -> None:
    """Fork the command; tell its process id, and once it has ended its exit code."""
    process = os.fork()
    if process == 0:
        os.close(tells)
        _become(request, out, err)
    os.write(tells, f"{process}\n".encode())
    _, status = os.waitpid(process, 0)
    os.write(tells, f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(request: Mapping[str, Any], out: int, err: int) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.argv = ["treadle", *request["arguments"]]
    code = _ended_with()
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _ended_with() -> int:
    try:
        runpy.run_module("treadle", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _load() -> None:
    places = {place.partition(":")[0] for place, _ in import_module("treadle.cli.commands").COMMANDS.values()}
    for name in sorted(places - _NOT_LOADED):
        import_module(f"treadle.cli.{name}")
    gc.collect()
    gc.freeze()  # so that no child copies it all when it collects


if __name__ == "__main__":
    _load()
    _serve(socket.socket(fileno=int(sys.argv[1])))
