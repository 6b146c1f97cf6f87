"""Runs commands in processes of their own that need not load everything first: each is forked from one process that has loaded it, and only that.

To a command nothing else is different: `treadle …` runs as `__main__`, with its own arguments, folder, environment and streams, and ends with its exit code.
To load it takes most of a second; a set of tests calls hundreds of commands.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

_MOST_BYTES = 1 << 20
_NOT_LOADED = {"api", "portal", "local", "demo"}  # what serves has threads and much of its own
_READ_WHILE_LOADING = ("COLUMNS", "LINES", "TERM", "NO_COLOR", "FORCE_COLOR", "PYTHON", "TZ", "LANG", "LC_")


class Nursery:
    """The process that the others are forked from. environ: its environment, some of which is read while modules are loaded."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.surfaces.nursery", str(theirs.fileno())]
        nothing = subprocess.DEVNULL
        self._process = subprocess.Popen(command, env=environ, stdin=nothing, stdout=nothing, stderr=nothing, pass_fds=[theirs.fileno()])
        self._environ = dict(environ)
        theirs.close()

    def can_run(self, environ: Mapping[str, str]) -> bool:
        """Whether a command with this environment may be forked: nothing in it would have made a difference while modules were loaded."""
        changed = {name for name, _ in self._environ.items() ^ environ.items()}
        return not any(name.startswith(_READ_WHILE_LOADING) for name in changed)

    def run(self, arguments: Sequence[str], cwd: Path, environ: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run([python, "-m", "treadle", *arguments], …)` with its output captured as text."""
        out, err = os.memfd_create("out"), os.memfd_create("err")
        told, tells = os.pipe()
        request = json.dumps({"arguments": list(arguments), "cwd": str(cwd), "environ": dict(environ)}).encode()
        socket.send_fds(self._ours, [request], [out, err, tells])
        os.close(tells)
        with os.fdopen(told) as answers, os.fdopen(out, "rb") as stdout, os.fdopen(err, "rb") as stderr:
            process = int(answers.readline())
            late = threading.Timer(timeout, os.kill, [process, signal.SIGKILL])
            late.start()
            code = int(answers.readline())
            late.cancel()
            if code == -signal.SIGKILL:
                raise subprocess.TimeoutExpired(list(arguments), timeout)
            written = [stream.seek(0) or stream.read().decode() for stream in (stdout, stderr)]
        return subprocess.CompletedProcess(list(arguments), code, *written)

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
