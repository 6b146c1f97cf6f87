"""The life of a background job: its states, what may happen in each, and what a failure or a dead worker leads to. Pure.

docs/job-states.md is drawn from TRANSITIONS: `python -m treadle.control.jobs.states > docs/job-states.md`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from treadle.errors import (
    ChecksumMismatch,
    Conflict,
    InvalidInput,
    NotFound,
    OperationFailed,
    PermissionDenied,
    Throttled,
    TreadleError,
    Unauthenticated,
)


class JobState(StrEnum):
    """Where a job is; the last three are ends."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether nothing happens to the job any more, unless somebody asks for it again."""
        return self not in {JobState.QUEUED, JobState.RUNNING}


class Happening(StrEnum):
    """What can happen to a job."""

    CLAIM = "claimed by a worker"
    SUCCEED = "done"
    FAIL = "failed for good"
    PUT_BACK = "to be tried again"
    CANCEL = "cancelled"
    ASK_AGAIN = "asked for again"


TRANSITIONS: Final[Mapping[tuple[JobState, Happening], JobState]] = {
    (JobState.QUEUED, Happening.CLAIM): JobState.RUNNING,
    (JobState.QUEUED, Happening.CANCEL): JobState.CANCELLED,
    (JobState.RUNNING, Happening.SUCCEED): JobState.SUCCEEDED,
    (JobState.RUNNING, Happening.FAIL): JobState.FAILED,
    (JobState.RUNNING, Happening.PUT_BACK): JobState.QUEUED,  # a failure that may pass, a worker that stops, or one that died
    (JobState.RUNNING, Happening.CANCEL): JobState.CANCELLED,
    (JobState.FAILED, Happening.ASK_AGAIN): JobState.QUEUED,
    (JobState.CANCELLED, Happening.ASK_AGAIN): JobState.QUEUED,
}

# What a second try cannot mend. Everything else may pass, a defect of ours included: the next worker may be a mended one.
FINAL_ERRORS: Final = (InvalidInput, NotFound, Conflict, PermissionDenied, Unauthenticated, OperationFailed, ChecksumMismatch)
FIRST_BACKOFF_SECONDS: Final = 1.0
LONGEST_BACKOFF_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job has come when something happens to it.

    attempt: which one this is, from 1. seconds_left: until its deadline. cancelled_by: who asked for its end; None: nobody.
    """

    attempt: int
    max_attempts: int
    seconds_left: float
    cancelled_by: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not succeed: what happened, what to do, the facts."""

    message: str
    hint: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Settlement:
    """How an attempt ends: what happens, in words for the trail, and in how many seconds the next may begin.

    counts: whether it was an attempt at all; one that a stopping worker gives back was not.
    """

    happening: Happening
    message: str
    delay_seconds: float = 0.0
    counts: bool = True
    failure: Failure | None = None
    result: Any = None


def next_state(state: JobState, happening: Happening) -> JobState:
    """Where a job stands afterwards.

    Raises:
        Conflict: this cannot happen to a job in that state.
    """
    try:
        return TRANSITIONS[state, happening]
    except KeyError:
        raise Conflict(f"A job that is {state} cannot be {happening}.", hint="Look at it again.", details={"state": str(state)}) from None


def backoff_seconds(attempt: int) -> float:
    """How long to wait after the attempt with this number: 1, 2, 4 … seconds, 5 minutes at most."""
    return min(FIRST_BACKOFF_SECONDS * 2.0 ** min(attempt - 1, 16), LONGEST_BACKOFF_SECONDS)


def after_failure(progress: Progress, error: Exception, *, jitter: float = 1.0) -> Settlement:
    """What an attempt that raised leads to.

    jitter: a factor around 1 that keeps many jobs that failed together from coming back together.
    """
    failure = _told(error)
    if isinstance(error, FINAL_ERRORS):
        return Settlement(Happening.FAIL, f"Failed: {failure.message}", failure=failure)
    message = f"Attempt {progress.attempt} of {progress.max_attempts} failed: {failure.message}"
    return _again(progress, message, failure, _wait(progress, error, jitter))


def after_death(progress: Progress) -> Settlement:
    """What a lease that lapsed leads to: the worker died, hangs, or lost the database."""
    if progress.seconds_left <= 0 and not progress.cancelled_by:  # it may as well hang: nobody could have waited any longer
        return after_deadline(progress.attempt)
    message = f"The worker of attempt {progress.attempt} of {progress.max_attempts} fell silent"
    hint = "See in the workers' logs why they ended, then: treadle jobs retry"
    return _again(progress, f"{message}.", Failure(f"{message}; the job was given up.", hint), backoff_seconds(progress.attempt))


def after_cancel(who: str) -> Settlement:
    """What a request to cancel leads to, once the worker has heard of it."""
    return Settlement(Happening.CANCEL, f"Cancelled by {who}.")


def after_deadline(attempt: int) -> Settlement:
    """What a deadline that passed in the middle of the work leads to."""
    message = f"The job was not done by its deadline; attempt {attempt} was under way."
    return Settlement(Happening.FAIL, message, failure=Failure(message))


def after_stop() -> Settlement:
    """What a worker that is told to stop does with a job in the middle: any other may go on at once."""
    return Settlement(Happening.PUT_BACK, "The worker stops; another goes on from here.", counts=False)


def _again(progress: Progress, message: str, failure: Failure, delay_seconds: float) -> Settlement:
    told = message.rstrip(".")
    if progress.cancelled_by:
        return after_cancel(progress.cancelled_by)
    if progress.attempt >= progress.max_attempts:
        return Settlement(Happening.FAIL, f"{told}; that was the last.", failure=failure)
    if delay_seconds >= progress.seconds_left:
        return Settlement(Happening.FAIL, f"{told}; the deadline leaves no time for another.", failure=failure)
    return Settlement(Happening.PUT_BACK, f"{told}. The next begins in {delay_seconds:.0f} s.", delay_seconds, failure=failure)


def _wait(progress: Progress, error: Exception, jitter: float) -> float:
    asked = error.retry_after_seconds if isinstance(error, Throttled) else None
    return max(backoff_seconds(progress.attempt) * jitter, asked or 0.0)


def _told(error: Exception) -> Failure:
    kind = type(error).__name__
    if isinstance(error, TreadleError):
        return Failure(error.message, error.hint, {"kind": kind, **error.details})
    return Failure(f"{kind}: {error}", "This is a defect in the code of the job; the workers' logs have its traceback.", {"kind": kind})


def as_markdown() -> str:
    """Draw the table for docs/job-states.md."""
    edges = [f"    {before} --> {after}: {happening.value}" for (before, happening), after in TRANSITIONS.items()]
    heads = " | ".join(happening.value for happening in Happening)
    rows = [f"| {state} | " + " | ".join(TRANSITIONS.get((state, happening), "–") for happening in Happening) + " |" for state in JobState]
    finals = ", ".join(kind.__name__ for kind in FINAL_ERRORS)
    return "\n".join(
        [
            "# The states of a background job",
            "",
            "Generated from `TRANSITIONS` in `src/treadle/control/jobs/states.py`; do not edit. A test compares.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            "    [*] --> QUEUED: asked for",
            *edges,
            *(f"    {state} --> [*]" for state in JobState if state.ended),
            "```",
            "",
            f"| job \\ what happens | {heads} |",
            "| --- |" + " --- |" * len(Happening),
            *rows,
            "",
            f"{finals} end a job at once, since trying again would not help. After any other error, and after a worker that died, it is tried",
            f"again in {backoff_seconds(1):.0f}, {backoff_seconds(2):.0f}, {backoff_seconds(3):.0f} … seconds, {LONGEST_BACKOFF_SECONDS:.0f} at most (or as `Retry-After` says), until its attempts or its time are used up.",
            "A worker that stops in order gives its jobs back, and that attempt does not count. A cancellation that arrives after the last step comes",
            "too late: the work is done, and the job has succeeded. Every change is a guarded UPDATE that names the fence of its claim, with its event",
            "in the same statement.",
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
