"""The child side of `isolation`: limits first, then the job, then one JSON answer on the pipe."""

import contextlib
import importlib
import json
import math
import os
import re
import resource
import sys
import threading
from pathlib import Path
from typing import Any

_MIB = 1024 * 1024
_PARENT_GONE = 75


def main() -> None:
    """Read the order from standard input, limit this process, do the work, answer, and end without clearing up: the parent is waiting."""
    answer_end, alive_end = (int(number) for number in sys.argv[1:3])
    order = json.load(sys.stdin)
    _limit(order["limits"])
    threading.Thread(target=_end_with_parent, args=(alive_end,), daemon=True).start()
    answer = json.dumps(_answer(order["job"], order["arguments"]), default=str).encode()
    with os.fdopen(answer_end, "wb") as pipe:
        pipe.write(answer)
    sys.stdout.flush()
    os._exit(0)  # a reader thread may still be busy with a file that was refused


def _limit(limits: dict[str, Any]) -> None:
    space = int(limits["address_space_mb"]) * _MIB
    processor_seconds = math.ceil(limits["seconds"]) * (os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CPU, (processor_seconds, processor_seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # not Linux, or not allowed: then the system chooses by itself whom to end when memory is short
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _end_with_parent(alive_end: int) -> None:
    os.read(alive_end, 1)
    os._exit(_PARENT_GONE)


def _answer(job: str, arguments: dict[str, Any]) -> dict[str, Any]:
    module, _, function = job.partition(":")
    try:
        return {"result": getattr(importlib.import_module(module), function)(**arguments)}
    except BaseException as error:  # noqa: BLE001 - the parent is to hear of everything, a panic of a Rust library too
        return {
            "error": {
                "class": type(error).__name__,
                "message": getattr(error, "message", str(error)),
                "hint": getattr(error, "hint", None),
                "details": getattr(error, "details", {}),
                "errno": _errno(error),
            }
        }


def _errno(error: BaseException) -> int | None:
    """The number of the operating system's error that this one is, tells of, or was raised because of. None: of none."""
    met: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in met:
        met.add(id(cause))
        number = cause.errno if isinstance(cause, OSError) and cause.errno else told_errno(str(cause))
        if number:
            return number
        cause = cause.__cause__ or cause.__context__
    return None


def told_errno(text: str) -> int | None:
    """The number of the operating system's error in what a library says of one that it made anew. None: it tells of none.

    Rust: `No space left on device (os error 28)`, or `Os { code: 28, …`; Polars, of a Python file that it wrote to: `[Errno 28] No space left on device`.
    """
    told = re.search(r"(?:\(os error |\bOs \{ code: |\[Errno )(\d+)", text)
    return int(told.group(1)) if told else None


if __name__ == "__main__":
    main()
