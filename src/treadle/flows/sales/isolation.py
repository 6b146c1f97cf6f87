"""Work on a file that may be hostile in a child process, so that nothing it does can harm the caller.

The child has a memory limit, a time limit and a process group of its own. It answers over a pipe; standard output and error stay free
for what libraries print. The caller learns of every end of the child as one of our errors: its own, made again here, or a description
of how the child ended.
"""

import contextlib
import errno
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import IO, Any, Final, NoReturn, cast

from treadle import errors
from treadle.errors import InvalidInput, OperationFailed, TreadleError, Unavailable
from treadle.flows.sales.isolated_child import told_errno

_MIB: Final = 1024 * 1024
_CHILD: Final = "treadle.flows.sales.isolated_child"
_ANSWER_LIMIT_BYTES: Final = 64 * _MIB
_TOLD_STDERR_BYTES: Final = 4096
_REAP_SECONDS: Final = 10.0
# For Polars. Freed memory is kept for a while, and comes in large pages: getting fresh ones from the system is a third of the time of writing a long table.
# Few row groups of a Parquet file are fetched ahead: as many as it would fetch by itself take a gigabyte, and are no quicker from a local disk.
_TUNING: Final = {"_RJEM_MALLOC_CONF": "dirty_decay_ms:5000,muzzy_decay_ms:5000,thp:always", "POLARS_ROW_GROUP_PREFETCH_SIZE": "2"}
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_STORAGE_FAILS: Final = frozenset({errno.EIO, errno.EROFS, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT})
# What libraries say when they get no memory, or no room for a thread's stack: Rust, Python, the C library, the allocator of Polars, and its thread pool.
_OUT_OF_MEMORY: Final = (
    "memory allocation",
    "MemoryError",
    "Cannot allocate",
    "out of memory",
    "background thread creation failed",
    "can't start new thread",
    "failed to spawn",
    "ThreadPoolBuildError",
    "failed to map segment",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one isolated job may use.

    `address_space_mb` bounds what the child may reserve, mapped files and thread stacks included: about 2 GiB more than it really uses.
    """

    address_space_mb: int = 8192
    seconds: float = 1800.0


def run_isolated(job: str, arguments: Mapping[str, Any], *, limits: Limits | None = None) -> Any:
    """Call `module:function` with JSON-able keyword arguments in a child process and return its JSON-able result.

    The child ends with this call, whatever happens, and with this process, should that be killed.

    Raises:
        TreadleError: the one that the function raised, with its message, hint and details.
        InvalidInput: the child ran out of memory or time, or was ended by a fault of the reader: the input asks for more than is allowed.
        Unavailable: the storage that the child read from or wrote to is full, or fails.
        OperationFailed: the function raised something else, which is a defect of ours.
    """
    allowed = limits or Limits()
    with tempfile.TemporaryFile() as stderr:
        child, answers, alive = _start(job, arguments, allowed, stderr)
        try:
            answer = _await_answer(answers, time.monotonic() + allowed.seconds)
        finally:
            _end(child)
            os.close(answers)
            os.close(alive)
        if answer is None:
            _raise_late(allowed)
        return _result(answer, child.returncode, stderr, allowed)


def _start(job: str, arguments: Mapping[str, Any], limits: Limits, stderr: IO[bytes]) -> tuple[subprocess.Popen[bytes], int, int]:
    """Start the child. Returns it, the pipe end to read its answer from, and the pipe end whose closing tells it that we are gone."""
    answers, answer_end = os.pipe()
    alive_end, alive = os.pipe()
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", _CHILD, str(answer_end), str(alive_end)],
            stdin=subprocess.PIPE,
            stdout=stderr,
            stderr=stderr,
            pass_fds=(answer_end, alive_end),
            env=_TUNING | os.environ,
            start_new_session=True,
        )
    except BaseException:
        os.close(answers)
        os.close(alive)
        raise
    finally:
        os.close(answer_end)
        os.close(alive_end)
    stdin = cast("IO[bytes]", child.stdin)
    with contextlib.suppress(BrokenPipeError), stdin:  # a child that died at once is described by its return code
        stdin.write(json.dumps({"job": job, "arguments": dict(arguments), "limits": asdict(limits)}).encode())
    return child, answers, alive


def _await_answer(answers: int, deadline: float) -> bytes | None:
    """Read all that the child answers, until it closes the pipe. None: the deadline came first."""
    parts: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(answers, selectors.EVENT_READ)
        while sum(map(len, parts)) <= _ANSWER_LIMIT_BYTES:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            part = os.read(answers, _MIB)
            if not part:
                break
            parts.append(part)
    return b"".join(parts)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Give a child that has answered a moment to go by itself, then end its whole process group."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(0.0 if child.returncode is not None else 0.5)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait(_REAP_SECONDS)


def _result(answer: bytes, return_code: int, stderr: IO[bytes], limits: Limits) -> Any:
    try:
        told = cast("dict[str, Any]", json.loads(answer))
    except ValueError:
        _raise_for_end(return_code, _head(stderr), limits)
    if "result" in told:
        return told["result"]
    error = cast("dict[str, Any]", told["error"])
    _raise_for_storage(error["errno"], error["message"])
    text = f"{error['class']}: {error['message']}"
    if error["class"] in {"MemoryError", "PanicException"}:  # from Python, and from the Rust code of a reader
        _raise_for_end(return_code, text, limits, name=error["class"])
    if error["errno"] in {errno.EAGAIN, errno.ENOMEM} or (_is_not_ours(error) and _tells_of_memory(text)):
        _raise_for_memory({"ended_by": error["class"], "limit_mb": limits.address_space_mb, "told": text}, limits)
    raise _made_again(error)


def _is_not_ours(told: Mapping[str, Any]) -> bool:
    known = getattr(errors, str(told["class"]), None)
    return not (isinstance(known, type) and issubclass(known, TreadleError))


def _raise_for_storage(number: int | None, told: str) -> None:
    """Say that the storage is to blame, where the operating system's error says so: the file may be as good as any."""
    if number not in _FULL | _STORAGE_FAILS:
        return
    if number in _FULL:
        what, hint = "is full", "Free space there, and in the folder for temporary files, then start again."
    else:
        what, hint = "could not be read or written", "Look whether the lakehouse is mounted and its disk is sound, then start again."
    raise Unavailable(
        f"The storage that the file is read from and worked on {what}: {os.strerror(number)}.",
        hint=hint,
        details={"errno": number, "told": told[:1000]},
    )


def _made_again(told: Mapping[str, Any]) -> TreadleError:
    known = getattr(errors, str(told["class"]), None)
    if isinstance(known, type) and issubclass(known, TreadleError):
        return known(told["message"], hint=told["hint"], details=told["details"])
    return OperationFailed(
        f"Reading failed in a way that Treadle did not expect: {told['class']}: {told['message']}",
        hint="Report this with the file, if it may be shared.",
        details={"error": told["class"]},
    )


def _raise_late(limits: Limits) -> NoReturn:
    raise InvalidInput(
        f"Reading the file took longer than {limits.seconds:g} seconds and was stopped.",
        hint="Save the sheet alone as .xlsx or .csv, or allow more time (TREADLE_READ_SECONDS).",
        details={"limit_seconds": limits.seconds},
    )


def _raise_for_end(return_code: int, told: str, limits: Limits, *, name: str = "") -> NoReturn:
    name = name or (signal.Signals(-return_code).name if return_code < 0 else f"exit code {return_code}")
    details = {"ended_by": name, "limit_mb": limits.address_space_mb, "told": told}
    if return_code == -signal.SIGXCPU:
        _raise_late(limits)
    number = told_errno(told)
    _raise_for_storage(number, told)
    if return_code == -signal.SIGKILL or _tells_of_memory(told) or number in {errno.EAGAIN, errno.ENOMEM}:
        _raise_for_memory(details, limits)
    raise InvalidInput(
        f"The file could not be read: the reader ended with {name}.",
        hint="The file is probably damaged. Open it in a spreadsheet program and save it again as .xlsx.",
        details=details,
    )


def _tells_of_memory(told: str) -> bool:
    return any(sign in told for sign in _OUT_OF_MEMORY)


def _raise_for_memory(details: Mapping[str, Any], limits: Limits) -> NoReturn:
    raise InvalidInput(
        f"Reading the file needs more memory than the {limits.address_space_mb:,} MB that are allowed, and was stopped.",
        hint="A stray cell far from the data is the usual cause: delete the empty rows and columns around it, or save the data as .csv. "
        "If the file is as it should be, allow more memory (TREADLE_READ_MEMORY_MB).",
        details=details,
    )


def _head(stderr: IO[bytes]) -> str:
    """What the child printed first; a dying Rust library tells why at once, and then prints a long trace."""
    stderr.seek(0)
    return stderr.read(_TOLD_STDERR_BYTES).decode(errors="replace").strip()
