"""The state of the weekly flow on Azure SQL, by Microsoft's own driver `mssql-python`, which is an extra: `pip install 'treadle[azure-sql]'`.

Its statements are parsed in tests with the T-SQL dialect of sqlglot and its steps are tested against a recorded connection; neither has been
run against a server by this project's tests. The timeline stays in PostgreSQL, so an event may be missing where a process dies between the two.

Source: https://learn.microsoft.com/sql/connect/python/mssql-python/python-sql-driver-mssql-python
"""

import re
import struct
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Final, LiteralString, cast
from uuid import UUID

from treadle.control.database import Database
from treadle.control.statements import load_queries
from treadle.control.stored import checked_name, message_text
from treadle.errors import Conflict, InvalidInput, OutcomeUnknown, TreadleError, Unavailable
from treadle.flows.weekly import timeline
from treadle.flows.weekly.record import PIPELINE, Checkpoint, RunEnd, RunStatus, Stage, StageRecord, StageStatus, WeeklyRun, advanced
from treadle.flows.weekly.state import (
    Ended,
    NewRun,
    checkpoint_from_row,
    lost,
    no_such_run,
    not_alone,
    overlapped,
    require_endable,
    run_from_row,
    stage_from_row,
)
from treadle.flows.weekly.timeline import Told
from treadle.flows.weekly.week import Week

SQL: Final = load_queries(Path(__file__).with_suffix(".sql"))
TABLES_FILE: Final = Path(__file__).with_name("state_azure_tables.sql")
SQL_SCOPE: Final = "https://database.windows.net/.default"
_ACCESS_TOKEN: Final = 1256  # SQL_COPT_SS_ACCESS_TOKEN
_PARAMETER: Final = re.compile(r"(?<!@)@([a-z_]+)\b")
_DUPLICATE_KEY: Final = ("2601", "2627")  # what SQL Server calls a row that a unique index refuses
_CONNECT_SECONDS: Final = 15

Row = dict[str, Any]
Connect = Callable[[], Any]  # a DB-API connection with autocommit off


def connector(server: str, database: str, token_of: Callable[[str], str]) -> Connect:
    """How to open connections to one database. token_of: scope → access token of Entra ID.

    Raises:
        InvalidInput: the driver is not installed.
    """
    try:
        driver: Any = import_module("mssql_python")
    except ImportError as error:
        raise InvalidInput(
            "The state is to be on Azure SQL, but its driver is not installed.",
            hint="pip install 'treadle[azure-sql]', or unset AZURE_SQL_SERVER.",
        ) from error

    def connect() -> Any:
        attributes = {_ACCESS_TOKEN: token_bytes(token_of(SQL_SCOPE))}
        text = f"Server={{{server}}};Database={{{database}}};Encrypt=yes;TrustServerCertificate=no"
        return driver.connect(text, autocommit=False, attrs_before=attributes, timeout=_CONNECT_SECONDS)

    return connect


def token_bytes(token: str) -> bytes:
    """An access token as the driver takes it: UTF-16, its length in front. Pure."""
    encoded = token.encode("utf-16-le")
    return struct.pack("<I", len(encoded)) + encoded


def bound(sql: str, values: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """A statement with `?` for each `@name` that has a value, and the values in that order. Pure.

    Other names, such as a procedure's own `@Resource`, and a statement's own variables stay as they are.
    """
    order = list[Any]()

    def place(found: re.Match[str]) -> str:
        if found[1] not in values:
            return found[0]
        order.append(_plain(values[found[1]]))
        return "?"

    return _PARAMETER.sub(place, sql), tuple(order)


class AzureState:
    """See `state.WeeklyState`. Each call is one transaction on a connection of its own, which the driver pools."""

    def __init__(self, connect: Connect, own: Database, pipeline: str = PIPELINE) -> None:
        """own: where the timeline is."""
        self._connect, self._own, self._pipeline = connect, own, pipeline

    def now(self) -> datetime:  # noqa: D102
        return _utc(self._rows("now")[0]["now"])

    def lock_week(self, week: Week) -> "AzureWeekLock | None":  # noqa: D102
        lock = AzureWeekLock(self._open(), f"treadle:weekly:{self._pipeline}:{week.start}:{week.end}")
        return lock if lock.held else None

    def begin_run(self, new: NewRun) -> WeeklyRun:  # noqa: D102
        who = checked_name("the name of who starts a run", new.requested_by)
        values = {
            **self._week(new.week),
            "run_id": new.run_id,
            "correlation_id": new.tag,
            "threshold_pct": new.threshold_pct,
        }
        with self._transaction() as execute:
            if execute("one_begins", {"begin": f"treadle:weekly:begin:{self._pipeline}"})[0]["granted"] < 0:
                raise not_alone(new.week)
            if others := execute("overlapping_runs", values):
                raise overlapped(new.week, _run(others[0]))
            try:
                execute("begin_run", values)
            except Conflict as error:
                raise not_alone(new.week) from error
            run = _run(execute("get_run", {"run_id": new.run_id})[0])
        timeline.tell(self._own, new.run_id, Told(f"{who} started a run of the week {new.week}.", data={"tag": new.tag}))
        return run

    def end_run(self, end: RunEnd, *told: Told) -> Ended:  # noqa: D102
        superseded, moved = tuple[UUID, ...](), None
        with self._transaction() as execute:
            rows = execute("lock_run", {"run_id": end.run_id})
            ends_now = require_endable(end, RunStatus(rows[0]["status"]) if rows else None)
            if ends_now:
                superseded = self._end(execute, end)
            kept = self._kept(execute("checkpoint_to_move", {"pipeline": self._pipeline}))
            if end.advance and end.status.succeeded:
                moved = self._move(execute, kept, end.week)
            run = _run(execute("get_run", {"run_id": end.run_id})[0])
        if ends_now:
            timeline.tell(self._own, end.run_id, *told)
        return Ended(run, moved or kept, moved is not None, superseded)

    def begin_stage(self, run_id: UUID, stage: Stage, *told: Told) -> None:  # noqa: D102
        with self._transaction() as execute:
            if not execute("begin_stage", {"run_id": run_id, "stage": stage}):
                raise lost(run_id)
        timeline.tell(self._own, run_id, *told)

    def end_stage(  # noqa: D102
        self, run_id: UUID, stage: Stage, status: StageStatus, *told: Told, row_count: int | None = None, error: str | None = None
    ) -> None:
        values = {"run_id": run_id, "stage": stage, "status": status, "row_count": row_count, "error": error and message_text(error)}
        with self._transaction() as execute:
            if not execute("end_stage", values):
                raise lost(run_id)
        timeline.tell(self._own, run_id, *told)

    def take_over(self, run_id: UUID, reason: str) -> tuple[Stage, ...]:  # noqa: D102
        values = {"run_id": run_id, "status": StageStatus.FAILED, "row_count": None, "error": message_text(reason)}
        with self._transaction() as execute:
            stages = tuple(Stage(row["stage_name"]) for row in execute("end_open_stages", values))
        timeline.tell(self._own, run_id, *(Told(reason, "WARNING", stage) for stage in stages))
        return stages

    def get_run(self, run_id: UUID) -> WeeklyRun:  # noqa: D102
        rows = self._rows("get_run", {"run_id": run_id})
        if not rows:
            raise no_such_run(run_id)
        return _run(rows[0])

    def runs_of_week(self, week: Week) -> list[WeeklyRun]:  # noqa: D102
        return [_run(row) for row in self._rows("run_columns_of_week", self._week(week))]

    def overlapping_runs(self, week: Week) -> list[WeeklyRun]:  # noqa: D102
        return [_run(row) for row in self._rows("overlapping_runs", self._week(week))]

    def list_runs(self, limit: int = 50) -> list[WeeklyRun]:  # noqa: D102
        return [_run(row) for row in self._rows("list_runs", {"pipeline": self._pipeline, "limit": limit})]

    def abandoned_runs(self, silent_for: timedelta) -> list[WeeklyRun]:  # noqa: D102
        values = {"pipeline": self._pipeline, "silent_seconds": round(silent_for.total_seconds())}
        return [_run(row) for row in self._rows("abandoned_runs", values)]

    def list_stages(self, run_id: UUID) -> list[StageRecord]:  # noqa: D102
        return [stage_from_row(_in_utc(row)) for row in self._rows("list_stages", {"run_id": run_id})]

    def checkpoint(self) -> Checkpoint | None:  # noqa: D102
        return self._kept(self._rows("checkpoint", {"pipeline": self._pipeline}))

    @staticmethod
    def _kept(rows: Sequence[Row]) -> Checkpoint | None:
        return checkpoint_from_row(_in_utc(rows[0])) if rows else None

    def _week(self, week: Week) -> dict[str, Any]:
        return {"pipeline": self._pipeline, "week_start": week.start, "week_end": week.end}

    def _end(self, execute: "Execute", end: RunEnd) -> tuple[UUID, ...]:
        superseded: tuple[UUID, ...] = ()
        if end.status.succeeded:
            found = execute("supersede", {**self._week(end.week), "run_id": end.run_id})
            superseded = tuple(UUID(str(row["run_id"])) for row in found)
        values = {**asdict(end), "error_message": end.error_message and message_text(end.error_message)}
        if not execute("end_run", {name: value for name, value in values.items() if name != "week"}):
            raise lost(end.run_id)
        status = StageStatus.SUCCESS if end.status.succeeded else StageStatus.FAILED
        execute("end_open_stages", {"run_id": end.run_id, "status": status, "row_count": end.stage_rows, "error": values["error_message"]})
        return superseded

    def _move(self, execute: "Execute", kept: Checkpoint | None, week: Week) -> Checkpoint | None:
        complete = {Week(row["batch_week_start"], row["batch_week_end"]) for row in execute("complete_weeks", self._week(week))}
        moved = advanced(kept, week, complete, _utc(execute("now", {})[0]["now"]))
        if moved:
            last = moved.last
            values = {
                "pipeline": self._pipeline,
                "last_start": last and last.start,
                "last_end": last and last.end,
                "next_start": moved.next.start,
                "next_end": moved.next.end,
            }
            execute("put_checkpoint", values)
        return moved

    def _rows(self, name: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        with self._transaction() as execute:
            return execute(name, values or {})

    def _open(self) -> Any:
        try:
            return self._connect()
        except TreadleError:
            raise
        except Exception as error:
            raise _unreachable(error) from error

    @contextmanager
    def _transaction(self) -> "Generator[Execute]":
        """Commit what happens inside, or roll all of it back."""
        connection = self._open()
        committing = False
        try:
            yield lambda name, values: run_statement(connection, SQL[name], values)
            committing = True
            connection.commit()
        except BaseException as error:
            with suppress(Exception):  # a connection that broke has rolled back already
                connection.rollback()
            if isinstance(error, TreadleError) or not isinstance(error, Exception):
                raise
            if committing:
                raise OutcomeUnknown(
                    "The connection to Azure SQL broke during a commit: the change may or may not be there.", hint="Look before you repeat."
                ) from error
            raise _unreachable(error) from error
        finally:
            with suppress(Exception):
                connection.close()


Execute = Callable[[str, Mapping[str, Any]], list[Row]]


class AzureWeekLock:
    """An application lock of a session of its own."""

    def __init__(self, connection: Any, resource: str) -> None:
        self._connection, self._values = connection, {"resource": resource}
        self.held = False
        try:
            rows = run_statement(connection, SQL["lock_week"], self._values)
            connection.commit()
            self.held = bool(rows) and int(rows[0]["granted"]) >= 0
        finally:
            if not self.held:
                connection.close()

    def alive(self) -> bool:
        """Whether the session still holds it."""
        if not self.held:
            return False
        try:
            rows = run_statement(self._connection, SQL["week_is_locked"], self._values)
            self._connection.commit()
        except TreadleError:
            return False
        return bool(rows) and rows[0]["mode"] == "Exclusive"

    def release(self) -> None:
        """Give it back. Safe to repeat."""
        if not self.held:
            return
        self.held = False
        with suppress(TreadleError):  # a session that is gone has given it back already
            run_statement(self._connection, SQL["unlock_week"], self._values)
        with suppress(Exception):
            self._connection.close()


def run_statement(connection: Any, sql: LiteralString, values: Mapping[str, Any]) -> list[Row]:
    """Run one statement with its values as parameters; return its rows, none for a statement that has none.

    Raises:
        Conflict: a unique index refuses the row. Unavailable: anything else that the driver reports.
    """
    text, order = bound(sql, values)
    try:
        cursor = connection.cursor()
        cursor.execute(text, order)
        while cursor.description is None and cursor.nextset():  # a batch may begin with statements that have no rows
            continue
        if cursor.description is None:
            return []
        names = [str(column[0]) for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cast("list[Sequence[Any]]", cursor.fetchall())]
    except Exception as error:
        if any(code in str(error) for code in _DUPLICATE_KEY) or "duplicate key" in str(error):
            raise Conflict("A row with this key is there already.", hint="Look at what is there.") from error
        raise _unreachable(error) from error


def _unreachable(error: Exception) -> Unavailable:
    text = " ".join(str(error).split())[:400]
    return Unavailable(f"Azure SQL cannot do this now: {text}.", hint="Check AZURE_SQL_SERVER and AZURE_SQL_DATABASE, then try again.")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID | Stage | StageStatus | RunStatus) else value


def _run(row: Row) -> WeeklyRun:
    return run_from_row({**_in_utc(row), "run_id": UUID(str(row["run_id"]))})


def _in_utc(row: Row) -> Row:
    """`datetime2` has no zone; everything here is UTC."""
    return {name: _utc(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
