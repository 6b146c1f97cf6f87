"""The life of a run: its states, Fabric's words for a job, and the one table that leads from these to those. Pure.

docs/states.md is drawn from TRANSITIONS: `python -m treadle.control.states > docs/states.md`.
"""

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class RunStatus(StrEnum):
    """Where a run is. Later members are further on; the last two are ends."""

    SUBMITTED = "SUBMITTED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Whether nothing can change any more."""
        return self in {RunStatus.SUCCEEDED, RunStatus.FAILED}

    @property
    def rank(self) -> int:
        """How far along the run is. Both ends rank alike, so neither can follow the other."""
        return {RunStatus.SUBMITTED: 0, RunStatus.QUEUED: 1, RunStatus.RUNNING: 2}.get(self, 3)


class JobStatus(StrEnum):
    """What Fabric says of a job instance. The list is open: Fabric may add words.

    Source: Fabric REST, Job Scheduler, Get Item Job Instance, `Status`.
    """

    NOT_STARTED = "NotStarted"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    DEDUPED = "Deduped"

    @property
    def ended(self) -> bool:
        """Whether the job does no more work."""
        return self not in {JobStatus.NOT_STARTED, JobStatus.IN_PROGRESS}


ACTIVE: Final = (RunStatus.SUBMITTED, RunStatus.QUEUED, RunStatus.RUNNING)

TRANSITIONS: Final[Mapping[tuple[RunStatus, JobStatus], RunStatus]] = {
    (RunStatus.SUBMITTED, JobStatus.NOT_STARTED): RunStatus.QUEUED,
    (RunStatus.SUBMITTED, JobStatus.IN_PROGRESS): RunStatus.RUNNING,  # polled late: QUEUED was never seen
    (RunStatus.SUBMITTED, JobStatus.COMPLETED): RunStatus.SUCCEEDED,
    (RunStatus.SUBMITTED, JobStatus.FAILED): RunStatus.FAILED,
    (RunStatus.SUBMITTED, JobStatus.CANCELLED): RunStatus.FAILED,
    (RunStatus.SUBMITTED, JobStatus.DEDUPED): RunStatus.FAILED,
    (RunStatus.QUEUED, JobStatus.IN_PROGRESS): RunStatus.RUNNING,
    (RunStatus.QUEUED, JobStatus.COMPLETED): RunStatus.SUCCEEDED,
    (RunStatus.QUEUED, JobStatus.FAILED): RunStatus.FAILED,
    (RunStatus.QUEUED, JobStatus.CANCELLED): RunStatus.FAILED,
    (RunStatus.QUEUED, JobStatus.DEDUPED): RunStatus.FAILED,
    (RunStatus.RUNNING, JobStatus.COMPLETED): RunStatus.SUCCEEDED,
    (RunStatus.RUNNING, JobStatus.FAILED): RunStatus.FAILED,
    (RunStatus.RUNNING, JobStatus.CANCELLED): RunStatus.FAILED,
    (RunStatus.RUNNING, JobStatus.DEDUPED): RunStatus.FAILED,
}  # what is not listed keeps the state: an older answer that comes late, or any word after the end


def job_status(word: str) -> JobStatus | None:
    """Read Fabric's word, in any case. None: a word that this version does not know."""
    return next((known for known in JobStatus if known.value.casefold() == word.strip().casefold()), None)


def next_status(status: RunStatus, job_word: str) -> RunStatus:
    """Where a run stands after Fabric said this of its job. Never goes back, and never leaves an end.

    A word that is not known keeps the status; the caller warns and watches a deadline.
    """
    known = job_status(job_word)
    return status if known is None else TRANSITIONS.get((status, known), status)


def as_markdown() -> str:
    """Draw the table for docs/states.md."""
    edges: dict[tuple[RunStatus, RunStatus], list[str]] = {}
    for (before, word), after in TRANSITIONS.items():
        edges.setdefault((before, after), []).append(word.value)
    drawing = [f"    {before} --> {after}: {', '.join(words)}" for (before, after), words in edges.items()]
    heads = " | ".join(word.value for word in JobStatus)
    rows = [f"| {before} | " + " | ".join(next_status(before, word) for word in JobStatus) + " |" for before in RunStatus]
    return "\n".join(
        [
            "# The states of a run",
            "",
            "Generated from `TRANSITIONS` in `src/treadle/control/states.py`; do not edit. A test compares.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            "    [*] --> SUBMITTED: the run row is written before Fabric is called",
            *drawing,
            "    SUCCEEDED --> [*]",
            "    FAILED --> [*]",
            "```",
            "",
            f"| run \\ job | {heads} |",
            "| --- |" + " --- |" * len(JobStatus),
            *rows,
            "",
            "A word that Treadle does not know keeps the state. A run also becomes FAILED from any active state when its trigger is known to have",
            "failed, when no job of it exists after the grace period, when Fabric reports Completed but the run's folder does not prove it, or when an",
            "operator releases its lock. Every change is a guarded UPDATE and writes its event in the same transaction.",
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
