"""Several works of one step at once, of which those that fail stop no other."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Final

from treadle.control.jobs.states import FINAL_ERRORS
from treadle.errors import OperationFailed, TreadleError, Unavailable

AT_ONCE: Final = 10  # tables under way: most of the time of a load is waiting for Fabric
_SHOWN: Final = 5


def each_at_once(works: Mapping[str, Callable[[], None]], what: str) -> None:
    """Do all of these, a few at a time; one that fails stops no other.

    Raises:
        TreadleError: some failed; the message names each, and `details["failed"]` says why. It is one that may pass if one of them may.
        Interrupted: the attempt is to end; what had not begun was not begun.
    """
    failed: dict[str, TreadleError] = {}
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="scenario") as pool:
        futures = {name: pool.submit(copy_context().run, work) for name, work in works.items()}  # log lines keep naming the job
        try:
            for name, future in futures.items():
                try:
                    future.result()
                except TreadleError as error:
                    failed[name] = error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    if failed:
        raise _several(failed, what, len(works))


def _several(failed: Mapping[str, TreadleError], what: str, of: int) -> TreadleError:
    told = "; ".join(f"{name}: {error.message}" for name, error in list(failed.items())[:_SHOWN])
    kind = OperationFailed if all(isinstance(error, FINAL_ERRORS) for error in failed.values()) else Unavailable
    first = next(iter(failed.values()))
    return kind(
        f"{len(failed)} of {of} {what} failed, the others are done: {told}",
        hint=f"{first.hint or 'Mend what the message names.'} A retry does only what failed.",
        details={"failed": {name: {"kind": type(error).__name__, "message": error.message} for name, error in failed.items()}},
    )
