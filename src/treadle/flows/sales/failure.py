"""How a failed run says why: one file in its folder, for the worker and for people."""

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import structlog

from treadle.errors import OperationFailed, TreadleError, Unavailable
from treadle.flows.sales.files import write_json

log = structlog.get_logger()


@contextmanager
def failure_told(path: Path) -> Generator[None]:
    """Leave the reason of a failure at `path` as `{error, message, hint, details, failed_at}`, and let it go on to end the notebook.

    Raises:
        Unavailable: in place of an OSError, which is the lakehouse mount failing.
    """
    try:
        yield
    except TreadleError as error:
        _tell(path, error)
        raise
    except OSError as error:
        unavailable = Unavailable(
            f"The lakehouse could not be read or written: {error.strerror or error}.",
            hint="Look whether it is mounted and has space, then start the run again.",
            details={"errno": error.errno, "file": Path(str(error.filename)).name if error.filename else None},
        )
        _tell(path, unavailable)
        raise unavailable from error
    except Exception as error:
        _tell(path, OperationFailed(f"{type(error).__name__}: {error}", hint="Report this as a defect of Treadle."))
        raise


def _tell(path: Path, error: TreadleError) -> None:
    if error.hint:
        error.add_note(f"Hint: {error.hint}")  # Fabric shows the traceback, and the notes with it
    log.error("run.failed", error=type(error).__name__, message=error.message)
    told = {"error": type(error).__name__, "message": error.message, "hint": error.hint, "details": _plain(error.details)}
    try:
        write_json(path, {**told, "failed_at": datetime.now(UTC)})
    except OSError as failure:
        log.warning("run.failure_not_recorded", reason=str(failure))


def _plain(value: Any) -> Any:
    """Details as JSON can hold them, whatever a library put into them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in cast("Iterable[Any]", value)]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
