"""The child side of `isolation`: limits first, then the job, then one JSON answer on the pipe."""

import contextlib
import importlib
import json
import math
import os
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
            }
        }


if __name__ == "__main__":
    main()
