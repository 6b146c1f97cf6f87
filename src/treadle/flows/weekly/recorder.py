"""What is recorded of one run while it goes on, and how it ends – also when the database is away at that moment, or somebody stops it."""

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar
from uuid import uuid4

import structlog

from treadle.control.jobs.run import Cancelled, DeadlinePassed, Interrupted
from treadle.errors import (
    ChecksumMismatch,
    InvalidInput,
    OperationFailed,
    OutcomeUnknown,
    Throttled,
    TreadleError,
    Unavailable,
    UnexpectedAnswer,
)
from treadle.flows.weekly.alone import Alone, alone_with
from treadle.flows.weekly.extract import read_extract
from treadle.flows.weekly.lineage import Dataset
from treadle.flows.weekly.load import Loaded
from treadle.flows.weekly.record import PIPELINE, Checkpoint, RunEnd, RunStatus, Stage, StageStatus, WeeklyRun, advanced, is_stale
from treadle.flows.weekly.services import WeeklyServices
from treadle.flows.weekly.stage_files import kept_result
from treadle.flows.weekly.stages import Done, begin_anew
from treadle.flows.weekly.state import Ended, NewRun, overlapped
from treadle.flows.weekly.timeline import Told
from treadle.flows.weekly.transform import is_of, read_transformed
from treadle.flows.weekly.week import Week

log = structlog.get_logger()
T = TypeVar("T")
ABANDONED_AFTER: Final = timedelta(hours=24)
_AWAY: Final = (Unavailable, OutcomeUnknown, Throttled)
_JUDGES: Final = frozenset({Stage.TRANSFORM, Stage.QUALITY_GATE})  # the stages that say whether the data passes
_BY_DATA: Final = frozenset(error.__name__ for error in (InvalidInput, OperationFailed, UnexpectedAnswer, ChecksumMismatch))
_GONE: Final = "The process that worked on it is gone; it goes on from here."


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended. checkpoint: as it is now. queued: the database was away; the end waits on this machine and is recorded at the next start."""

    end: RunEnd
    checkpoint: Checkpoint | None
    moved: bool
    queued: bool


def catch_up(services: WeeklyServices) -> Checkpoint | None:
    """Before anything is begun: record what waited for the database, end what nobody will end any more. Return the checkpoint.

    Raises:
        Unavailable: the database is away; nothing is begun without it.
    """
    late = Told("Recorded late: the database was away when the run ended.", "WARNING")
    replayed = services.mirror.replay(lambda end: services.state.end_run(end, late))
    for run in services.state.abandoned_runs(ABANDONED_AFTER):
        _end_abandoned(services, run)
    checkpoint = services.state.checkpoint()
    if checkpoint and (replayed.recorded or services.mirror.read() is None):
        services.mirror.write(PIPELINE, checkpoint)
    if checkpoint and is_stale(checkpoint, services.state.now()):
        log.warning("weekly.checkpoint_stale", updated_at=checkpoint.updated_at.isoformat(), next_week=str(checkpoint.next))
    return checkpoint


def begin_or_continue(  # noqa: PLR0913 - which run, how, and who asks: each named
    services: WeeklyServices, week: Week, alone: Alone, *, requested_by: str, tag: str | None, anew: bool, fetches: bool
) -> "Recorder":
    """The run of the week that was left unfinished, or a new one. Call it under the lock of the week.

    fetches: whether EXTRACT is among what is asked for; behind a run that failed by its data, what that has fetched is then forgotten, since
    the source may have been mended. anew: everything is done again; a run that was left is ended, as is one of another tag. The run of the same tag is gone on with in any case:
    it is this very run, killed and started again.

    Raises:
        Conflict: a run of another span has days of this one.
    """
    if others := services.state.overlapping_runs(week):
        raise overlapped(week, others[0])
    runs = services.state.runs_of_week(week)
    left = next((run for run in runs if run.status is RunStatus.STARTED), None)
    same_tag = left is not None and tag is not None and left.correlation_id == tag
    if left and (same_tag or (not anew and (tag is None or left.correlation_id is None))):
        services.state.take_over(left.run_id, _GONE)
        return Recorder(services, left, alone)
    if left:
        _end_left(services, left, "It was left unfinished, and another run of the week took its place.")
    if anew or (fetches and not left and runs and _failed_by_data(services, runs[0])):
        begin_anew(services.work_folder(week))
    threshold = Decimal(str(services.settings.reject_threshold_pct))
    run = services.state.begin_run(NewRun(uuid4(), week, requested_by, tag, threshold, forced=anew))
    services.lineage.tell("START", run.run_id, week, run.started_at, inputs=[_api_dataset(services)])
    return Recorder(services, run, alone)


class Recorder:
    """One run that goes on. Every write is guarded: a run that somebody else has ended takes none."""

    def __init__(self, services: WeeklyServices, run: WeeklyRun, alone: Alone) -> None:
        self.services, self.run, self.week = services, run, run.week
        self._alone = alone

    def do(self, stage: Stage, effect: Callable[[], Done[T]]) -> T:
        """One stage, recorded at its beginning and its end."""
        done = self._begun(stage, effect)
        told = Told(f"{_name(stage)}: {done.message}", done.level, stage, done.data)
        self.services.state.end_stage(self.run.run_id, stage, StageStatus.SUCCESS, told, row_count=done.rows)
        return done.value

    def do_last(
        self, stage: Stage, effect: Callable[[], Done[T]], status_of: Callable[[T], RunStatus], *, advance: bool
    ) -> tuple[T, Finished]:
        """The last stage, which ends with the run in one transaction: supersede an older success, move the checkpoint."""
        done = self._begun(stage, effect)
        status = status_of(done.value)
        told = Told(f"{_name(stage)}: {done.message}", done.level, stage, done.data)
        end = self._end(status, stage_rows=done.rows, advance=advance)
        return done.value, self._record(end, told, Told(f"The run ended as {status}.", data=done.data))

    @contextlib.contextmanager
    def failed_if_broken(self) -> Generator[None]:
        """Whatever breaks off ends the run as FAILED with the reason; a worker that merely stops leaves it for the next one to go on with."""
        try:
            yield
        except BaseException as error:
            if not isinstance(error, Interrupted) or isinstance(error, Cancelled | DeadlinePassed):
                self._fail(error)
            raise

    def _begun(self, stage: Stage, effect: Callable[[], Done[T]]) -> Done[T]:
        self._alone.require()
        self.services.state.begin_stage(self.run.run_id, stage, Told(f"{_name(stage)} begins.", stage=stage))
        with structlog.contextvars.bound_contextvars(stage=str(stage), run_id=str(self.run.run_id)):
            return effect()

    def _end(self, status: RunStatus, **values: Any) -> RunEnd:
        """The run's end with the counts and places that its files tell of."""
        folder = self.services.work_folder(self.week)
        made, loaded, extracted = read_transformed(folder), kept_result(folder, Stage.LOAD, Loaded), read_extract(folder)
        counts: dict[str, Any] = {}
        if made and extracted and is_of(made, extracted):
            counts = {
                "rows_fetched": made.rows_fetched,
                "rows_output": made.rows_valid,
                "rows_rejected": made.rows_rejected,
                "reject_rate_pct": made.reject_rate_pct,
            }
        if made and loaded and loaded.events.sha256 == made.events_sha256:
            counts["output_path"] = loaded.events.lake_path or str(loaded.events.local_path)
            counts["rejects_path"] = loaded.rejects.lake_path or str(loaded.rejects.local_path)
        return RunEnd(self.run.run_id, self.week, status, **{**counts, **values})

    def _record(self, end: RunEnd, *told: Told) -> Finished:
        """Record the end; while the database is away it waits on this machine, for the work itself is done."""
        services = self.services
        try:
            self._alone.require()
            ended = services.state.end_run(end, *told)
        except _AWAY as error:
            return self._queue(end, error)
        if ended.checkpoint:
            services.mirror.write(PIPELINE, ended.checkpoint)
        self._tell_lineage(ended)
        return Finished(end, ended.checkpoint, ended.moved, queued=False)

    def _queue(self, end: RunEnd, error: TreadleError) -> Finished:
        log.warning("weekly.end_not_recorded", run_id=str(end.run_id), error=error.message)
        now = datetime.now(UTC)
        self.services.mirror.queue(end, now)
        mirrored = self.services.mirror.checkpoint()
        moved = advanced(mirrored, end.week, (), now) if end.advance and end.status.succeeded else None
        if moved:
            self.services.mirror.write(PIPELINE, moved, pending=True)
        return Finished(end, moved or mirrored, moved is not None, queued=True)

    def _fail(self, error: BaseException) -> None:
        """Best effort: a run that cannot be ended now is ended, or gone on with, by the next one of its week."""
        kind, message, known = _told_of(error)
        end = self._end(RunStatus.FAILED, error_type=kind, error_message=message, **known)
        told = Told(message, "ERROR", data={"error_type": kind})
        try:
            self._record(end, told, Told("The run ended as FAILED.", "ERROR"))
        except TreadleError as failure:
            log.warning("weekly.failure_not_recorded", run_id=str(self.run.run_id), error=failure.message)

    def _tell_lineage(self, ended: Ended) -> None:
        services, run = self.services, ended.run
        outputs = [
            Dataset(_lake_namespace(services), path, rows)
            for path, rows in ((run.output_path, run.rows_output), (run.rejects_path, run.rows_rejected))
            if path
        ]
        read = Dataset(_api_dataset(services).namespace, _api_dataset(services).name, run.rows_fetched)
        happening = "COMPLETE" if run.status.succeeded else "FAIL"
        at = run.ended_at or run.started_at
        services.lineage.tell(happening, run.run_id, run.week, at, inputs=[read], outputs=outputs, error=run.error_message)


def _told_of(error: BaseException) -> tuple[str, str, dict[str, Any]]:
    """Type and message of what broke a run off, and counts that only it knows."""
    if isinstance(error, TreadleError):
        known = {name: error.details[name] for name in ("rows_fetched", "rows_rejected", "rejects_path") if name in error.details}
        rate = error.details.get("reject_rate_pct")
        return type(error).__name__, error.message, known | ({"reject_rate_pct": Decimal(str(rate))} if known and rate is not None else {})
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted", "Somebody interrupted the run; started again, it goes on where it stopped.", {}
    if isinstance(error, Cancelled):
        return "Cancelled", "The run was cancelled; started again, it goes on where it stopped.", {}
    return type(error).__name__, f"{type(error).__name__}: {error}".rstrip(": "), {}


def _failed_by_data(services: WeeklyServices, run: WeeklyRun) -> bool:
    """Whether a run failed since its data did not pass, or was damaged; not when a system was away, for then it goes on with what it has."""
    if run.status is not RunStatus.FAILED or run.error_type not in _BY_DATA:
        return False
    failed = [stage.stage for stage in services.state.list_stages(run.run_id) if stage.status is StageStatus.FAILED]
    return bool(failed) and failed[-1] in _JUDGES


def _end_abandoned(services: WeeklyServices, run: WeeklyRun) -> None:
    try:
        with alone_with(services, run.week):
            _end_left(
                services, run, f"Nothing was heard of it for {ABANDONED_AFTER.total_seconds() / 3600:g} hours, so it counts as failed."
            )
    except TreadleError as error:
        log.info("weekly.abandoned_run_left", run_id=str(run.run_id), reason=error.message)


def _end_left(services: WeeklyServices, run: WeeklyRun, why: str) -> None:
    end = RunEnd(run.run_id, run.week, RunStatus.FAILED, error_type="Abandoned", error_message=why)
    services.state.end_run(end, Told(why, "ERROR"))


def _name(stage: Stage) -> str:
    return stage.capitalize().replace("_", " ")


def _api_dataset(services: WeeklyServices) -> Dataset:
    return Dataset(services.settings.api_base_url or "events-api", "datasets/ecom_events")


def _lake_namespace(services: WeeklyServices) -> str:
    place = services.places.lake.place
    return f"{place.account_url}/{place.file_system}"
