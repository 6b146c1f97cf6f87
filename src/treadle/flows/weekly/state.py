"""The state of the weekly flow in a database: runs, stages, checkpoint. One small interface, two databases: PostgreSQL here, Azure SQL beside.

The database is the source of truth. Every change is one transaction with its event, and guarded: whoever was taken for dead changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID

from psycopg import errors as pg

from treadle.control.advisory import AdvisoryLock
from treadle.control.database import Connection, Database
from treadle.control.statements import load_queries
from treadle.control.stored import checked_name, message_text
from treadle.errors import Conflict, NotFound
from treadle.flows.weekly import timeline
from treadle.flows.weekly.record import PIPELINE, Checkpoint, RunEnd, RunStatus, Stage, StageRecord, StageStatus, WeeklyRun, advanced
from treadle.flows.weekly.timeline import Told
from treadle.flows.weekly.week import Week

SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be begun. tag: under which its stages, each a process of its own, find it again."""

    run_id: UUID
    week: Week
    requested_by: str
    tag: str | None
    threshold_pct: Decimal
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """What is recorded now. moved: whether the checkpoint went on by this."""

    run: WeeklyRun
    checkpoint: Checkpoint | None
    moved: bool
    superseded: tuple[UUID, ...] = ()


class WeekLock(Protocol):
    """The sign that somebody works on a week; it ends with the process, however that ended."""

    def alive(self) -> bool:
        """Whether the lock is still ours; asked of the server."""
        ...

    def release(self) -> None:
        """Give it back. Safe to repeat."""
        ...


class WeeklyState(Protocol):
    """Where runs, stages and the checkpoint are kept."""

    def now(self) -> datetime:
        """The database's clock, UTC."""
        ...

    def lock_week(self, week: Week) -> WeekLock | None:
        """None: somebody works on this week."""
        ...

    def begin_run(self, new: NewRun) -> WeeklyRun:
        """Record a run. Raises Conflict when one of this week has not ended, or one of another span has days of it."""
        ...

    def end_run(self, end: RunEnd, *told: Told) -> Ended:
        """Record the end of a run, supersede an older success, move the checkpoint: all or nothing. Safe to repeat with the same end.

        Raises:
            Conflict: it has ended otherwise. NotFound: there is no such run.
        """
        ...

    def begin_stage(self, run_id: UUID, stage: Stage, *told: Told) -> None:
        """Record the beginning of a stage. Raises Conflict when the run has ended."""
        ...

    def end_stage(
        self, run_id: UUID, stage: Stage, status: StageStatus, *told: Told, row_count: int | None = None, error: str | None = None
    ) -> None:
        """Record the end of a stage. Raises Conflict when run or stage has ended."""
        ...

    def take_over(self, run_id: UUID, reason: str) -> tuple[Stage, ...]:
        """Fail the stages that a process which is gone had begun, and return them."""
        ...

    def get_run(self, run_id: UUID) -> WeeklyRun:
        """One run. Raises NotFound."""
        ...

    def runs_of_week(self, week: Week) -> list[WeeklyRun]:
        """Newest first."""
        ...

    def overlapping_runs(self, week: Week) -> list[WeeklyRun]:
        """Of other spans that share a day with this one: under way, or with figures in Salesforce. Newest first, at most 20."""
        ...

    def list_runs(self, limit: int = 50) -> list[WeeklyRun]:
        """Of all weeks, newest first."""
        ...

    def abandoned_runs(self, silent_for: timedelta) -> list[WeeklyRun]:
        """Runs that have not ended and were not heard of for so long."""
        ...

    def list_stages(self, run_id: UUID) -> list[StageRecord]:
        """Every attempt at a stage, in the order in which they were begun."""
        ...

    def checkpoint(self) -> Checkpoint | None:
        """None: nothing has succeeded yet."""
        ...


class PostgresState:
    """The state in the schema `treadle` of Treadle's own PostgreSQL."""

    def __init__(self, own: Database, pipeline: str = PIPELINE) -> None:
        self._own, self._pipeline = own, pipeline

    def now(self) -> datetime:
        """See WeeklyState; so with all of the following."""
        return self._own.now()

    def lock_week(self, week: Week) -> AdvisoryLock | None:  # noqa: D102
        return self._own.try_advisory_lock(f"weekly:{self._pipeline}:{week.start}:{week.end}")

    def begin_run(self, new: NewRun) -> WeeklyRun:  # noqa: D102
        values = {
            **self._week(new.week),
            "run_id": new.run_id,
            "correlation_id": new.tag,
            "threshold_pct": new.threshold_pct,
        }
        who = checked_name("the name of who starts a run", new.requested_by)
        with self._own.transaction() as connection:
            connection.execute(SQL["one_begins"], values)
            if other := connection.execute(SQL["overlapping_runs"], values).fetchone():
                raise overlapped(new.week, run_from_row(other))
            try:
                row = connection.execute(SQL["begin_run"], values).fetchone()
            except pg.UniqueViolation as error:
                raise not_alone(new.week) from error
            again = " It is forced: everything is done anew." if new.forced else ""
            timeline.append(connection, new.run_id, Told(f"{who} started a run of the week {new.week}.{again}", data={"tag": new.tag}))
            return run_from_row(row or {})

    def end_run(self, end: RunEnd, *told: Told) -> Ended:  # noqa: D102
        with self._own.transaction() as connection:
            row = connection.execute(SQL["lock_run"], {"run_id": end.run_id}).fetchone()
            open_still = require_endable(end, RunStatus(row["status"]) if row else None)
            superseded = self._end(connection, end, told) if open_still else ()
            checkpoint, moved = self._move_checkpoint(connection, end)
            run = run_from_row(connection.execute(SQL["get_run"], {"run_id": end.run_id}).fetchone() or {})
            return Ended(run, checkpoint, moved, superseded)

    def begin_stage(self, run_id: UUID, stage: Stage, *told: Told) -> None:  # noqa: D102
        with self._own.transaction() as connection:
            if not connection.execute(SQL["begin_stage"], {"run_id": run_id, "stage": stage}).fetchone():
                raise lost(run_id)
            timeline.append(connection, run_id, *told)

    def end_stage(  # noqa: D102
        self, run_id: UUID, stage: Stage, status: StageStatus, *told: Told, row_count: int | None = None, error: str | None = None
    ) -> None:
        values = {"run_id": run_id, "stage": stage, "status": status, "row_count": row_count, "error": error and message_text(error)}
        with self._own.transaction() as connection:
            if not connection.execute(SQL["end_stage"], values).fetchone():
                raise lost(run_id)
            timeline.append(connection, run_id, *told)

    def take_over(self, run_id: UUID, reason: str) -> tuple[Stage, ...]:  # noqa: D102
        with self._own.transaction() as connection:
            values = {"run_id": run_id, "status": StageStatus.FAILED, "row_count": None, "error": message_text(reason)}
            rows = connection.execute(SQL["end_open_stages"], values).fetchall()
            stages = tuple(Stage(row["stage_name"]) for row in rows)
            if stages:
                timeline.append(connection, run_id, *(Told(reason, "WARNING", stage) for stage in stages))
            return stages

    def get_run(self, run_id: UUID) -> WeeklyRun:  # noqa: D102
        rows = self._own.read(SQL["get_run"], {"run_id": run_id})
        if not rows:
            raise no_such_run(run_id)
        return run_from_row(rows[0])

    def runs_of_week(self, week: Week) -> list[WeeklyRun]:  # noqa: D102
        return [run_from_row(row) for row in self._own.read(SQL["run_columns_of_week"], self._week(week))]

    def overlapping_runs(self, week: Week) -> list[WeeklyRun]:  # noqa: D102
        return [run_from_row(row) for row in self._own.read(SQL["overlapping_runs"], self._week(week))]

    def list_runs(self, limit: int = 50) -> list[WeeklyRun]:  # noqa: D102
        return [run_from_row(row) for row in self._own.read(SQL["list_runs"], {"pipeline": self._pipeline, "limit": limit})]

    def abandoned_runs(self, silent_for: timedelta) -> list[WeeklyRun]:  # noqa: D102
        return [run_from_row(row) for row in self._own.read(SQL["abandoned_runs"], {"pipeline": self._pipeline, "silent_for": silent_for})]

    def list_stages(self, run_id: UUID) -> list[StageRecord]:  # noqa: D102
        return [stage_from_row(row) for row in self._own.read(SQL["list_stages"], {"run_id": run_id})]

    def checkpoint(self) -> Checkpoint | None:  # noqa: D102
        rows = self._own.read(SQL["checkpoint"], {"pipeline": self._pipeline})
        return checkpoint_from_row(rows[0]) if rows else None

    def _week(self, week: Week) -> dict[str, Any]:
        return {"pipeline": self._pipeline, "week_start": week.start, "week_end": week.end}

    def _end(self, connection: Connection, end: RunEnd, told: Sequence[Told]) -> tuple[UUID, ...]:
        superseded: tuple[UUID, ...] = ()
        if end.status.succeeded:
            rows = connection.execute(SQL["supersede"], {**self._week(end.week), "run_id": end.run_id}).fetchall()
            superseded = tuple(row["run_id"] for row in rows)
        values = {**asdict(end), "error_message": end.error_message and message_text(end.error_message)}
        if not connection.execute(SQL["end_run"], {name: value for name, value in values.items() if name != "week"}).fetchone():
            raise lost(end.run_id)
        self._end_stages(connection, end)
        timeline.append(connection, end.run_id, *told)
        for old in superseded:
            timeline.append(connection, old, Told(f"Run {end.run_id} of the same week takes the place of this one."))
        return superseded

    @staticmethod
    def _end_stages(connection: Connection, end: RunEnd) -> None:
        status = StageStatus.SUCCESS if end.status.succeeded else StageStatus.FAILED
        error = end.error_message and message_text(end.error_message)
        connection.execute(SQL["end_open_stages"], {"run_id": end.run_id, "status": status, "row_count": end.stage_rows, "error": error})

    def _move_checkpoint(self, connection: Connection, end: RunEnd) -> tuple[Checkpoint | None, bool]:
        connection.execute(SQL["lock_checkpoint"], {"pipeline": self._pipeline})
        row = connection.execute(SQL["checkpoint"], {"pipeline": self._pipeline}).fetchone()
        kept = checkpoint_from_row(row) if row else None
        if not (end.advance and end.status.succeeded):
            return kept, False
        behind = connection.execute(SQL["complete_weeks"], self._week(end.week)).fetchall()
        complete = {Week(each["batch_week_start"], each["batch_week_end"]) for each in behind}
        moved = advanced(kept, end.week, complete, self._own_now(connection))
        if moved is None:
            return kept, False
        row = connection.execute(SQL["put_checkpoint"], self._checkpoint_values(moved)).fetchone()
        timeline.append(connection, end.run_id, Told(f"The checkpoint is past the week {moved.last}; next is {moved.next}."))
        return checkpoint_from_row(row or {}), True

    def _checkpoint_values(self, checkpoint: Checkpoint) -> dict[str, Any]:
        return {
            "pipeline": self._pipeline,
            "last_start": checkpoint.last and checkpoint.last.start,
            "last_end": checkpoint.last and checkpoint.last.end,
            "next_start": checkpoint.next.start,
            "next_end": checkpoint.next.end,
        }

    @staticmethod
    def _own_now(connection: Connection) -> datetime:
        row = connection.execute("SELECT clock_timestamp() AS now").fetchone()
        moment: datetime = (row or {})["now"]
        return moment


def require_endable(end: RunEnd, status: RunStatus | None) -> bool:
    """Whether the end is still to be recorded. False: it is recorded already, as after a commit whose answer was lost.

    Raises:
        NotFound: there is no such run. Conflict: it has ended otherwise.
    """
    if status is None:
        raise no_such_run(end.run_id)
    if status is RunStatus.STARTED:
        return True
    if status is end.status or (status is RunStatus.SUPERSEDED and end.status.succeeded):
        return False
    raise lost(end.run_id, status)


def run_from_row(row: Mapping[str, Any]) -> WeeklyRun:
    """Read a row of `pipeline_run`; columns that others have added are ignored."""
    return WeeklyRun(
        run_id=row["run_id"],
        week=Week.recorded(row["batch_week_start"], row["batch_week_end"]),
        status=RunStatus(row["status"]),
        started_at=row["pipeline_start_time"],
        ended_at=row["pipeline_end_time"],
        synced=bool(row["synced"]),
        **{name: row[name] for name in _SAME_NAMES},
    )


_SAME_NAMES: Final = (
    "correlation_id", "rows_fetched", "rows_output", "rows_rejected", "reject_rate_pct", "reject_threshold_pct", "output_path", "rejects_path",
    "error_type", "error_message",
)  # fmt: skip


def stage_from_row(row: Mapping[str, Any]) -> StageRecord:
    """Read a row of `pipeline_stage`."""
    return StageRecord(
        Stage(row["stage_name"]),
        StageStatus(row["status"]),
        row["stage_start_time"],
        row["stage_end_time"],
        row["row_count"],
        row["error_message"],
    )


def checkpoint_from_row(row: Mapping[str, Any]) -> Checkpoint:
    """Read a row of `pipeline_checkpoint`."""
    start, end = row["last_successful_week_start"], row["last_successful_week_end"]
    last = Week(start, end) if start and end else None
    return Checkpoint(Week(row["next_week_start"], row["next_week_end"]), last, row["updated_at_utc"])


def not_alone(week: Week) -> Conflict:
    """Somebody else works on the week."""
    return Conflict(
        f"Another run of the week {week} is under way.", hint="Wait for it; see it with: treadle weekly status", details={"week": str(week)}
    )


def overlapped(week: Week, other: WeeklyRun) -> Conflict:
    """A run of another span has days of this one."""
    days = f"--week-start {other.week.start} --week-end {other.week.end}"
    if other.status is RunStatus.STARTED:
        what = "is not ended"
        hint = f"End it with: treadle weekly run {days}. Left alone, it counts as failed after 24 hours."
    else:
        what = "has brought its figures to Salesforce"
        hint = f"Keep to that span: treadle weekly run {days}. If it was a mistake, see docs/how-to/run-weeks.md, Spans that overlap."
    return Conflict(
        f"The span {week} shares days with {other.week}, whose run {other.run_id} {what}: one would overwrite the other.",
        hint=hint,
        details={"week": str(week), "other_week": str(other.week), "run_id": str(other.run_id), "status": str(other.status)},
    )


def lost(run_id: UUID, status: RunStatus | None = None) -> Conflict:
    """A run that somebody else has ended."""
    how = f"is {status} already" if status else "has ended"
    return Conflict(
        f"Run {run_id} {how}, so this result was not recorded.",
        hint="See what happened with: treadle weekly status",
        details={"run_id": str(run_id)},
    )


def no_such_run(run_id: UUID) -> NotFound:
    """There is no run of this id."""
    return NotFound(f"There is no weekly run {run_id}.", hint="List the runs with: treadle weekly status", details={"run_id": str(run_id)})
