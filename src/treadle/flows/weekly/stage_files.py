"""What each stage of a week gave, as a file in the week's work folder: so a stage whose inputs are the same is not done twice.

A record names the hash of what went in; who comes later with the same hash takes the result, with another does the stage again.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import structlog
from pydantic import TypeAdapter, ValidationError

from treadle.flows.weekly.checkpoint_mirror import write_atomically
from treadle.flows.weekly.record import Stage

log = structlog.get_logger()
T = TypeVar("T")
_FOLDER: Final = "stages"


def inputs_sha256(*parts: object) -> str:
    """One hash for everything that goes into a stage. Pure."""
    return hashlib.sha256("\n".join(str(part) for part in parts).encode()).hexdigest()


def keep_result(folder: Path, stage: Stage, inputs: str, result: Any) -> None:
    """Record what a stage gave. Raises Unavailable when the disk takes nothing."""
    adapter: Any = TypeAdapter(cast("type[Any]", type(result)))
    kept = adapter.dump_python(result, mode="json")
    write_atomically(_file(folder, stage), json.dumps({"inputs_sha256": inputs, "result": kept}, indent=2) + "\n")


def kept_result(folder: Path, stage: Stage, kind: type[T], inputs: str | None = None) -> T | None:
    """What a stage gave. None: nothing yet, or – where `inputs` is given – from other inputs, or in a form that is not ours any more."""
    try:
        kept = json.loads(_file(folder, stage).read_text(encoding="utf-8"))
        if inputs is not None and kept["inputs_sha256"] != inputs:
            return None
        return TypeAdapter(kind).validate_python(kept["result"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        log.warning("weekly.stage_record_unreadable", stage=stage, folder=str(folder), reason=type(error).__name__)
        return None


def forget_results(folder: Path) -> None:
    """Let every stage be done anew. Safe to repeat."""
    for stage in Stage:
        _file(folder, stage).unlink(missing_ok=True)


def _file(folder: Path, stage: Stage) -> Path:
    return folder / _FOLDER / f"{stage.lower()}.json"
