"""The answers' shapes, as the OpenAPI shows them. Times are UTC; money is rounded to 2 places by whoever computed it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from treadle.control.access import Right, Role
from treadle.control.jobs.states import JobState
from treadle.control.states import RunStatus

Kpis = Annotated[
    dict[str, Any], Field(description="As in kpis.json.", examples=[{"total_revenue": 2297200.86, "orders": 5009, "aov": 458.61}])
]
RunId = Annotated[UUID, Field(examples=["6c0f7e52-5b1c-4c39-9d3e-0a8b8f6f2d11"])]
Moment = Annotated[datetime, Field(examples=["2026-11-21T10:00:00Z"])]
FileName = Annotated[str, Field(description="A plain name in Files/import/.", examples=["superstore.xlsx"], min_length=1, max_length=255)]
# Bounded, since pydantic looks into a text – it may hold half a character, which nothing can store – only where it has to measure it.
Columns = dict[Annotated[str, Field(max_length=1000)], Annotated[str, Field(min_length=1, max_length=1000)]]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", examples=["0" * 64])]


class Shape(BaseModel):
    """Read from our own values by their attributes."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def answer(cls, value: object) -> Response:
        """The value as an answer, made in the thread that has it: FastAPI would take another thread for each half of this."""
        return Response(cls.model_validate(value).model_dump_json() + "\n", media_type="application/json")


class Asked(BaseModel):
    """What a caller sends: a field we do not know is a mistake that should be told."""

    model_config = ConfigDict(extra="forbid")


class RunShape(Shape):
    """One run. In lists, `kpis` has the plain figures only."""

    run_id: RunId
    status: RunStatus
    input_file: str = Field(examples=["superstore.xlsx"])
    triggered_by: str = Field(examples=["ada"])
    created_at: Moment
    started_at: Moment | None = None
    finished_at: Moment | None = None
    status_last_updated_at: Moment | None = None
    error_message: str | None = None
    kpis: Kpis | None = None
    fabric_job_id: str | None = None
    is_restore: bool
    notebook_version: str | None = None
    app_version: str | None = None


class RunsPage(Shape):
    """One page, newest first."""

    runs: list[RunShape]
    next: str | None = Field(description="Give it as `after` for the next page; null on the last.", examples=[None])


class StartRun(Asked):
    """Which file, and how to read it; what is left out is as stored beside the file."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"input_file": "superstore.xlsx", "columns": {"Sales": "revenue"}}]}
    )

    input_file: FileName
    columns: Columns | None = Field(default=None, description="Source column → name.", max_length=500)
    sheet: str | None = Field(default=None, max_length=255)


class RunEventShape(Shape):
    """One line of a run's trail."""

    seq: int = Field(description="1, 2, 3 … within the run; the `id` in the event stream.")
    event_time: Moment
    event_type: str | None = Field(examples=["STATUS_CHANGE"])
    message: str | None = Field(examples=["SUBMITTED → QUEUED."])


class RunEvents(Shape):
    """The trail of a run, oldest first."""

    events: list[RunEventShape]


class ArtifactShape(Shape):
    """A file that a run has left."""

    name: str = Field(examples=["kpis.json"])
    artifact_type: str | None = Field(examples=["json"])
    size_bytes: int | None
    created_at: Moment | None
    url: str = Field(description="Where its bytes are, with ranges.")


class Artifacts(Shape):
    """The files of a run, by path."""

    artifacts: list[ArtifactShape]


class FigureChange(Shape):
    """One figure in two runs; null where a run has none. `relative_change` is a fraction."""

    name: str = Field(examples=["total_revenue"])
    a: float | None
    b: float | None
    change: float | None
    relative_change: float | None


class PartChange(Shape):
    """One value of one breakdown in two runs."""

    breakdown: str = Field(examples=["revenue_by_region"])
    value: str = Field(examples=["West"])
    a: float | None
    b: float | None
    change: float | None
    relative_change: float | None


class ComparisonShape(Shape):
    """What changed from run `a` to run `b`."""

    a: UUID | None
    b: UUID | None
    rows: list[FigureChange]
    breakdowns: list[PartChange]


class RestoreShape(Shape):
    """Who brought which run back."""

    id: UUID
    restored_at: Moment
    restored_by: str
    source_run_id: UUID
    source_input_file: str | None
    target_run_id: UUID | None
    target_status: str | None


class Restores(Shape):
    """The restore history, newest first."""

    restores: list[RestoreShape]
    next: str | None


class FileShape(Shape):
    """A workbook in Files/import/."""

    name: str = Field(examples=["superstore.xlsx"])
    path: str
    size_bytes: int
    modified_at: Moment
    etag: str


class Files(Shape):
    """The workbooks, by name."""

    files: list[FileShape]


class MappingShape(Shape):
    """How the columns of a workbook are read."""

    columns: Mapping[str, str] = Field(examples=[{"Sales": "revenue"}])
    sheet: str | None = None


class PutMapping(Asked):
    """The mapping to store, in place of what was stored."""

    columns: Columns = Field(examples=[{"Sales": "revenue"}], max_length=500)
    sheet: str | None = Field(default=None, max_length=255)


class ProfileShape(Shape):
    """What a run would see in the file; `profile` is of the form of import_profile.json."""

    file_name: str
    etag: str
    computed_at: Moment
    profile: dict[str, Any]


class CreateUpload(Asked):
    """What is going to be sent."""

    file_name: FileName
    size_bytes: int = Field(ge=0, le=2**53, examples=[1048576])
    sha256: Sha256 | None = Field(default=None, description="If known now; else say it when finalising.")
    overwrite: bool = Field(default=True, description="Whether a file of that name may be replaced.")


class Finalise(Asked):
    """The SHA-256 of the whole file, as its sender has it."""

    sha256: Sha256 | None = None


class UploadShape(Shape):
    """An upload and how far it has come."""

    upload_id: UUID
    file_name: str
    size_bytes: int
    offset: int = Field(description="How much the lake has for good: where to go on.")
    state: str = Field(examples=["OPEN"])
    created_by: str
    created_at: Moment
    expires_at: Moment
    url: str


class LockShape(Shape):
    """Who holds the lock. `run_id` null: it is free."""

    run_id: UUID | None
    locked_by: str | None
    locked_at: Moment | None
    input_file: str | None = None
    status: RunStatus | None = None


class ReleaseLock(Asked):
    """Why the lock is to be freed; recorded with your name."""

    reason: str = Field(min_length=1, max_length=500, examples=["job 7f… is dead, confirmed in the monitoring hub"])
    even_if_running: bool = Field(default=False, description="Although the Fabric job may still run.")


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


class RunKpis(Shape):
    """The figures of one run."""

    run_id: RunId
    input_file: str
    created_at: Moment
    kpis: Kpis | None


class LatestKpis(Shape):
    """The figures of the latest run that succeeded, and what changed since the one before. Null: there is no such run yet."""

    latest: RunKpis | None
    previous: RunKpis | None
    changes: list[FigureChange]


class TrendPointShape(Shape):
    """One figure of one run."""

    run_id: RunId
    created_at: Moment
    value: float


class Trend(Shape):
    """One figure over the runs that succeeded, oldest first."""

    kpi: str
    points: list[TrendPointShape]


class TokenShape(Shape):
    """What is known of an API token; never its secret."""

    token_id: str = Field(examples=["0123456789ab"])
    name: str
    role: Role
    scopes: list[Right] | None
    created_at: Moment
    created_by: str
    expires_at: Moment
    revoked_at: Moment | None
    revoked_by: str | None
    last_used_at: Moment | None
    usable: bool


class TokensList(Shape):
    """All tokens, newest first."""

    tokens: list[TokenShape]


class CreateToken(Asked):
    """Whom the token is for, and what it may do."""

    name: str = Field(min_length=1, max_length=100, examples=["nightly-import"])
    role: Role
    scopes: list[Right] | None = Field(default=None, description="Only these rights of the role; null for all.", max_length=50)
    expires_in_days: float = Field(default=90, gt=0, le=3660)


class NewToken(TokenShape):
    """The token with its secret: this answer is the only place where it is ever shown."""

    secret: str


class AuditEntryShape(Shape):
    """One line of the audit."""

    number: int
    at: Moment
    subject: str
    name: str
    role: str | None
    via: str
    action: str = Field(examples=["run.start"])
    target: str
    outcome: str = Field(examples=["done"])
    details: dict[str, Any]
    correlation_id: str | None
    asked: int | None


class AuditPageShape(Shape):
    """One page, newest first."""

    entries: list[AuditEntryShape]
    next: int | None = Field(description="Give it as `before` for the next page; null on the last.")


class Me(Shape):
    """Who calls, and what they may do."""

    subject: str
    name: str
    role: Role | None
    via: str
    rights: list[Right]
    environment: str


class Health(Shape):
    """Whether the service is well. Says what, not where."""

    status: str = Field(examples=["ok"])
    checks: dict[str, str] = Field(default_factory=dict, examples=[{"database": "ok", "own_tables": "ok"}])
