"""The shapes of background jobs."""

from typing import Any
from uuid import UUID

from pydantic import Field

from treadle.api.shapes.base import Moment, Shape
from treadle.control.jobs.states import JobState


class JobShape(Shape):
    """A background job."""

    job_id: UUID
    kind: str = Field(examples=["file_profile"])
    key: str | None
    state: JobState
    attempt: int
    max_attempts: int | None
    requested_by: str
    correlation_id: str | None
    created_at: Moment
    due_at: Moment
    deadline_at: Moment | None
    started_at: Moment | None
    finished_at: Moment | None
    cancel_requested_by: str | None
    error_message: str | None
    error_hint: str | None
    result: Any = None


class StepShape(Shape):
    """One step of a job."""

    name: str
    position: int
    state: str
    attempt: int
    started_at: Moment
    finished_at: Moment | None
    error_message: str | None


class JobDetails(JobShape):
    """A background job with its steps."""

    steps: list[StepShape]


class JobsPage(Shape):
    """One page, newest first."""

    jobs: list[JobShape]
    next: str | None


class JobEventShape(Shape):
    """Something that happened to a job."""

    seq: int
    at: Moment
    level: str
    step: str | None
    pct: float | None
    message: str
    data: dict[str, Any] | None


class JobEvents(Shape):
    """What happened to a job, oldest first."""

    events: list[JobEventShape]
