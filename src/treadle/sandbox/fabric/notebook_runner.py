"""Runs a notebook in a child process: its own session, its own folder, no secrets in its environment, killed whole with its descendants.

The child is notebook_child.py. Its standard input is a lifeline: when this process ends in any way, the child's group ends itself.
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

_CHILD: Final = Path(__file__).with_name("notebook_child.py")
_INHERITED: Final = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
_POLL_SECONDS: Final = 0.05
_LAST_OUTPUT_SECONDS: Final = 2.0
_CHUNK_BYTES: Final = 65_536
_MARK: Final = "TREADLE_NOTEBOOK_PROCESS"
_KILL_ROUNDS: Final = 20  # against a descendant that starts another while it is being killed


@dataclass(frozen=True, slots=True)
class NotebookPlan:
    """What to run, on which lakehouse folder (None: none is attached), and where its output goes."""

    cells: Sequence[str]
    lakehouse: Path | None
    context: Mapping[str, Any]
    output_file: Path


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use; None is no limit."""

    output_bytes: int
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class NotebookEnd:
    """How it ended: `stopped` is why we killed it (None: it ended itself), `error` its exception as {ename, evalue, traceback}."""

    exit_value: str | None = None
    error: Mapping[str, Any] | None = None
    stopped: str | None = None


def run_notebook(plan: NotebookPlan, *, python: str, work_dir: Path, limits: Limits, why_stop: Callable[[], str | None]) -> NotebookEnd:
    """Run the cells to their end, or kill the child's process group as soon as `why_stop` gives a reason. Blocks the calling thread."""
    with tempfile.TemporaryDirectory(prefix="notebook-", dir=work_dir, ignore_cleanup_errors=True) as folder:
        result_file = Path(folder, "result.json")
        home = Path(folder, "home")
        home.mkdir()
        plan_file = _write_plan(plan, Path(folder), result_file, limits)
        mark = f"{_MARK}={uuid.uuid4()}"
        try:
            child = _start([python, "-P", str(_CHILD), str(plan_file)], home, plan.lakehouse, mark)
        except OSError as error:
            return NotebookEnd(
                error={"ename": "SessionNotStarted", "evalue": f"The notebook's interpreter did not start: {error}", "traceback": []}
            )
        output = threading.Thread(target=_copy_output, args=(child.stdout, plan.output_file, limits.output_bytes), daemon=True)
        output.start()
        stopped = _await_end(child, mark, why_stop)
        output.join(_LAST_OUTPUT_SECONDS)
        return NotebookEnd(stopped=stopped) if stopped else _read_result(result_file, child.returncode)


def _write_plan(plan: NotebookPlan, folder: Path, result_file: Path, limits: Limits) -> Path:
    plan_file = folder / "plan.json"
    content = {
        "cells": list(plan.cells),
        "context": dict(plan.context),
        "result_file": str(result_file),
        "memory_bytes": limits.memory_bytes,
    }
    plan_file.write_text(json.dumps(content), encoding="utf-8")
    return plan_file


def _start(command: Sequence[str], home: Path, lakehouse: Path | None, mark: str) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment |= {"HOME": str(home), "TMPDIR": str(home), "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    environment |= dict([mark.split("=", 1)])
    if lakehouse is not None:
        environment["TREADLE_LAKEHOUSE_ROOT"] = str(lakehouse)
    return subprocess.Popen(
        command,
        cwd=home,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _await_end(child: subprocess.Popen[bytes], mark: str, why_stop: Callable[[], str | None]) -> str | None:
    ended = threading.Event()
    threading.Thread(target=_await_exit, args=(child, ended), daemon=True).start()
    stopped: str | None = None
    while not ended.wait(_POLL_SECONDS):
        stopped = why_stop()
        if stopped:
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # what the child started itself must not outlive it
    child.wait()
    for _ in range(_KILL_ROUNDS):
        if not _kill_marked(mark.encode()):
            break
    if child.stdin:
        child.stdin.close()
    return stopped


def _kill_marked(mark: bytes) -> int:
    """Kill every process that inherited the mark in its environment: those that left the group for a session of their own. Returns how many.

    Needs /proc; elsewhere only the group is killed.
    """
    killed = 0
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            process = os.pidfd_open(int(environment.parent.name))  # holds this very process, whatever becomes of its number
            try:
                if mark in environment.read_bytes().split(b"\0"):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    killed += 1
            finally:
                os.close(process)
    return killed


def _await_exit(child: subprocess.Popen[bytes], ended: threading.Event) -> None:
    if hasattr(os, "waitid"):
        with contextlib.suppress(ChildProcessError):  # it was stopped, and has been waited for
            os.waitid(
                os.P_PID, child.pid, os.WEXITED | os.WNOWAIT
            )  # leaves the zombie, so that its group id is still its own when it is killed
    else:
        child.wait()
    ended.set()


def _copy_output(source: IO[bytes], target: Path, limit_bytes: int) -> None:
    with source, target.open("wb") as file:
        left = limit_bytes
        cut = False
        while chunk := os.read(source.fileno(), _CHUNK_BYTES):
            file.write(chunk[:left])
            if len(chunk) > left and not cut:
                file.write(f"\n[the sandbox keeps the first {limit_bytes} bytes of output]\n".encode())
                cut = True
            left = max(0, left - len(chunk))
            file.flush()


def _read_result(result_file: Path, exit_code: int) -> NotebookEnd:
    if result_file.exists():
        result = json.loads(result_file.read_text(encoding="utf-8"))
        return NotebookEnd(exit_value=result["exit_value"], error=result["error"])
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        message = f"The notebook's process was killed from outside by signal {-exit_code} ({name})."
    else:
        message = f"The notebook's process ended with exit code {exit_code} before the notebook did."
    return NotebookEnd(error={"ename": "SessionLost", "evalue": message, "traceback": []})
