"""The shapes of runs: their events, files, figures and restores, and the lock."""

from uuid import UUID

from pydantic import ConfigDict, Field

from treadle.api.shapes.base import Asked, Columns, Figure, FileName, Kpis, Moment, RunId, Shape
from treadle.control.states import RunStatus


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
    a: Figure | None
    b: Figure | None
    change: Figure | None
    relative_change: float | None


class PartChange(Shape):
    """One value of one breakdown in two runs."""

    breakdown: str = Field(examples=["revenue_by_region"])
    value: str = Field(examples=["West"])
    a: Figure | None
    b: Figure | None
    change: Figure | None
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
    value: int | float


class Trend(Shape):
    """One figure over the runs that succeeded, oldest first."""

    kpi: str
    points: list[TrendPointShape]


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
