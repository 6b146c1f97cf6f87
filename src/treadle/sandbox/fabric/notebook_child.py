"""Runs one notebook in a process of its own: `python -P notebook_child.py PLAN.json`, with the standard library alone.

The plan holds the sources of the cells and the file to write the result to. Standard input is a lifeline: when the sandbox closes it, or
dies, this process ends its whole group. Exit code 0 means that the result file was written, even when the notebook failed.
"""

import contextlib
import json
import linecache
import os
import resource
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn


class NotebookExit(BaseException):
    """`notebookutils.notebook.exit(value)`: the notebook ends here, successfully."""

    def __init__(self, value: object) -> None:
        super().__init__(value)
        self.value = value


def main(plan_file: str) -> None:
    """Run the plan and write what came of it."""
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    _hold_lifeline()
    _limit_memory(plan["memory_bytes"])
    _offer_notebookutils(plan["context"])
    outcome = _run_cells(plan["cells"])
    sys.stdout.flush()
    sys.stderr.flush()
    unfinished = Path(plan["result_file"] + ".unfinished")
    unfinished.write_text(json.dumps(outcome), encoding="utf-8")
    unfinished.replace(plan["result_file"])


def _run_cells(cells: list[str]) -> dict[str, Any]:
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    try:
        for number, source in enumerate(cells, start=1):
            _run_cell(source, f"<cell {number}>", module.__dict__)
    except NotebookExit as ended:
        return {"exit_value": str(ended.value), "error": None}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the notebook raised, SystemExit included, is its result
        traceback.print_exc()
        lines = traceback.format_exception(error)
        return {"exit_value": None, "error": {"ename": type(error).__name__, "evalue": str(error), "traceback": lines}}
    return {"exit_value": None, "error": None}


def _run_cell(source: str, name: str, namespace: dict[str, Any]) -> None:
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # so that a traceback shows the cell's lines
    exec(compile(source, name, "exec"), namespace)  # noqa: S102 - running the notebook's code is what this process is for


def _hold_lifeline() -> None:
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def watch() -> NoReturn:
        with contextlib.suppress(OSError):
            os.read(lifeline, 1)
        os.killpg(0, signal.SIGKILL)
        raise SystemExit

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def _limit_memory(memory_bytes: int | None) -> None:
    if memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _offer_notebookutils(context: Mapping[str, Any]) -> None:
    def leave(value: object = "") -> NoReturn:
        raise NotebookExit(value)

    utilities = _module("notebookutils")
    utilities.notebook = _module("notebookutils.notebook", exit=leave)
    utilities.runtime = _module("notebookutils.runtime", context=dict(context))
    sys.modules["mssparkutils"] = utilities  # the name of the same thing in older notebooks


def _module(name: str, **content: Callable[..., Any] | dict[str, Any]) -> Any:
    module = types.ModuleType(name)
    module.__dict__.update(content)
    sys.modules[name] = module
    return module


if __name__ == "__main__":
    main(sys.argv[1])
