"""A background job, its steps and its events, as the database has them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from treadle.control.jobs.states import JobState

JsonValue = Any  # what JSON has: None, bool, int, float, str, list and dict of these


class StepState(StrEnum):
    """Where a step is. STOPPED: its attempt ended in the middle of it; it begins again."""

    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class NewJob:
    """Something to be done.

    Args:
        kind: which code does it (`kinds.Kind.name`).
        payload: what it works on, as JSON; never a secret.
        requested_by: who asked.
        key: jobs of one key run one after the other, oldest first. None: beside any other.
        once: the natural key of the asking: as long as a job with it is kept, asking again returns that job.
        job_id: None: a new one. The same id again returns the job that has it.
        due_at: not before this moment. None: now.
        max_attempts: None: as its kind says.
        deadline_seconds: how long it may take from its first start, further attempts included. None: as its kind says.
        correlation_id: what the request that led to it is called in the logs.
    """

    kind: str
    payload: Mapping[str, Any]
    requested_by: str
    key: str | None = None
    once: str | None = None
    job_id: UUID | None = None
    due_at: datetime | None = None
    max_attempts: int | None = None
    deadline_seconds: float | None = None
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it was read. Times are UTC; the lease is there while it runs; error and result as its last attempt left them.

    attempt: the number of the current or last one; 0 before the first. max_attempts, deadline_at: None before the first claim.
    started_at: of the first attempt. fence: grows with each claim. last_seq: of its newest event.
    """

    job_id: UUID
    kind: str
    key: str | None
    once: str | None
    state: JobState
    payload: dict[str, Any]
    result: JsonValue
    error_message: str | None
    error_hint: str | None
    error_details: dict[str, Any] | None
    attempt: int
    max_attempts: int | None
    requested_by: str
    correlation_id: str | None
    created_at: datetime
    due_at: datetime
    deadline_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    lease_owner: str | None
    lease_until: datetime | None
    fence: int
    cancel_requested_at: datetime | None
    cancel_requested_by: str | None
    last_seq: int


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a job; `result` is there once it is DONE, and is what a repeated job gets instead of doing it again."""

    name: str
    position: int
    state: StepState
    attempt: int
    started_at: datetime
    finished_at: datetime | None
    result: JsonValue
    error_message: str | None


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job. `seq` counts 1, 2, 3 … per job without gaps, in the order of the commits. pct: 0 to 100."""

    job_id: UUID
    seq: int
    at: datetime
    level: str
    step: str | None
    pct: float | None
    message: str
    data: dict[str, Any] | None


_JOB_FIELDS: Final = tuple(field.name for field in fields(Job))
_STEP_FIELDS: Final = tuple(field.name for field in fields(Step))


def job_from_row(row: Mapping[str, Any]) -> Job:
    """Read a row of `treadle.jobs`; columns that a newer Treadle has added are ignored."""
    values: dict[str, Any] = {name: row[name] for name in _JOB_FIELDS}
    values["state"] = JobState(row["state"])
    return Job(**values)


def step_from_row(row: Mapping[str, Any]) -> Step:
    """Read a row of `treadle.job_steps`."""
    values: dict[str, Any] = {name: row[name] for name in _STEP_FIELDS}
    values["state"] = StepState(row["state"])
    return Step(**values)
