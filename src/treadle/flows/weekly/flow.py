"""The weekly flow as its callers see it: run a week, run one stage of it, plan what Salesforce would be told.

    EXTRACT → TRANSFORM → LOAD → QUALITY_GATE → SYNC

Each stage leaves its result in the week's work folder, so whoever is killed anywhere goes on there: the same command again, or the next stage.
The checkpoint moves with the end of a run, in one transaction, past a week that is processed whole and past no other.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final
from uuid import UUID

import structlog

from treadle.errors import Conflict, InvalidInput, NotFound
from treadle.flows.weekly import stages
from treadle.flows.weekly.alone import alone_with
from treadle.flows.weekly.extract import Extracted, read_extract
from treadle.flows.weekly.load import Loaded
from treadle.flows.weekly.metrics import MetricsFile
from treadle.flows.weekly.record import PIPELINE, RunEnd, RunStatus, Stage, WeeklyRun, kept_tag
from treadle.flows.weekly.recorder import Finished, Recorder, begin_or_continue, catch_up
from treadle.flows.weekly.services import Check, Report, WeeklyServices, nobody_listens, nobody_objects
from treadle.flows.weekly.stage_files import kept_result
from treadle.flows.weekly.stages import Done, Engine, Gated, Work
from treadle.flows.weekly.sync_outcome import counts_of
from treadle.flows.weekly.timeline import Told, tell
from treadle.flows.weekly.transform import transform_week
from treadle.flows.weekly.week import Week, require_begun
from treadle.settings_weekly import Part

log = structlog.get_logger()
_NEEDED: Final[Mapping[Stage, tuple[Part, ...]]] = {Stage.EXTRACT: ("events",), Stage.SYNC: ("salesforce",)}
_LOOKED_THROUGH: Final = 500  # runs among which that of a tag is looked for


@dataclass(frozen=True, slots=True)
class WeekOptions:
    """How a week is to be run. tag: under which the single stages of one run find each other, such as an orchestrator's run id."""

    requested_by: str
    dry_run: bool = False  # extract, judge and check only; nothing is recorded, published or sent
    force: bool = False  # do everything again, also a week that is done
    override_guards: bool = False  # carry the plan for Salesforce out although a guard objects to it
    local_only: bool = False  # neither lake nor Salesforce; the checkpoint stays
    advance_on_skip: bool = False  # move the checkpoint past a week that was found done
    engine: Engine = "embedded"
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class WeekOutcome:
    """What came of a week, or of one of its stages. The six counts are those of Salesforce; rows_… those of the events.

    skipped: why nothing was done; None: it was. queued: the database was away at the end, which is recorded at the next start.
    """

    run_id: UUID | None
    week: Week
    status: RunStatus | None  # STARTED: stages are left to be done; None: nothing was begun
    stages: tuple[Stage, ...]  # those that were carried out
    rows_fetched: int | None = None
    rows_valid: int | None = None
    rows_rejected: int | None = None
    reject_rate_pct: float | None = None
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    invalid: int = 0
    refused: int = 0
    pending: int = 0
    output_path: str | None = None
    rejects_path: str | None = None
    next_week: Week | None = None
    checkpoint_moved: bool = False
    skipped: str | None = None
    dry_run: bool = False
    queued: bool = False

    @property
    def warning(self) -> str | None:
        """What is left to be done although the run has ended, a line each. None: nothing."""
        told = list[str]()
        if self.pending:
            rows, these = ("row is", "it") if self.pending == 1 else ("rows are", "them")
            told.append(f"{self.pending:,} {rows} pending; send {these} with: treadle weekly rejects retry {self.week.options}")
        if self.refused:
            rows = "row was" if self.refused == 1 else "rows were"
            told.append(f"{self.refused:,} {rows} refused; see why with: treadle weekly rejects ls {self.week.options}")
        if self.invalid:
            rows = "row was" if self.invalid == 1 else "rows were"
            told.append(
                f"{self.invalid:,} {rows} not sent, since Salesforce would refuse them; see why with: treadle weekly plan {self.week.options}"
            )
        if self.next_week and self.week != self.next_week and self.week.shares_days_with(self.next_week):
            told.append(f"The checkpoint stays before {self.next_week}: {self.week} is another span, with days of that week.")
        return "\n".join(told) or None


def run_week(
    services: WeeklyServices, week: Week, options: WeekOptions, *, report: Report = nobody_listens, check: Check = nobody_objects
) -> WeekOutcome:
    """Process one week from the events API to Salesforce. Safe to repeat: a week that is done is left alone, one that was begun is gone on with.

    Raises:
        MissingSettings: names all that is missing; nothing was begun.
        Conflict: another run of the week is under way, a run of another span has days of it, or this one would replace a whole one by less.
        InvalidInput, OperationFailed: the events do not pass; the run is FAILED, the checkpoint stays.
        Unavailable, Throttled, …: another system is away or refuses; the run is FAILED with the reason, and run again it goes on there.
    """
    services.settings.require_weekly({"events"} if options.local_only or options.dry_run else {"events", "salesforce"})
    work = _work(services, week, options, report, check)
    if options.dry_run:
        return _dry_run(work)
    catch_up(services)
    with alone_with(services, week) as alone:
        if not options.force and (done := _complete_run(services, week)):
            return _skip(work, done, options)
        _require_no_less(services, week, options)
        require_begun(week, services.state.now())
        recorder = begin_or_continue(
            services, week, alone, requested_by=options.requested_by, tag=kept_tag(options.tag), anew=options.force, fetches=True
        )
        with recorder.failed_if_broken():
            return _all_stages(recorder, work)


def run_stage(  # noqa: PLR0913 - as run_week
    services: WeeklyServices,
    week: Week,
    stage: Stage,
    options: WeekOptions,
    *,
    report: Report = nobody_listens,
    check: Check = nobody_objects,
) -> WeekOutcome:
    """Do one stage; the run stays open for the next one, and ends with the last. Safe to repeat, as `run_week`; raises as that.

    Raises:
        Conflict: also when the stage before it was not done.
    """
    services.settings.require_weekly(_NEEDED.get(stage, ()))
    anew = options.force and stage is Stage.EXTRACT
    work = _work(services, week, options, report, check, force=options.force and not anew)
    if stage is Stage.SYNC and options.local_only:
        raise InvalidInput("The stage salesforce-sync cannot stay on this machine.", hint="Leave out --local-only, or the stage.")
    catch_up(services)
    with alone_with(services, week) as alone:
        if not options.force and (done := _complete_run(services, week)):
            return _skip(work, done, options)
        _require_no_less(services, week, options)
        require_begun(week, services.state.now())
        stages.require_before(work, stage)
        fetches = stage is Stage.EXTRACT
        recorder = begin_or_continue(
            services, week, alone, requested_by=options.requested_by, tag=kept_tag(options.tag), anew=anew, fetches=fetches
        )
        with recorder.failed_if_broken():
            return _one_stage(recorder, work, stage)


def week_due(services: WeeklyServices, tag: str | None = None) -> tuple[Week, bool]:
    """The week that comes next by the checkpoint, and whether it is over; with the tag of a run, that run's week.

    So the last stage of an orchestrator's run, repeated after it moved the checkpoint, still means its own week.

    Raises:
        NotFound: there is no checkpoint yet.
    """
    tagged = next(
        (run for run in services.state.list_runs(_LOOKED_THROUGH) if tag is not None and run.correlation_id == kept_tag(tag)), None
    )
    if tagged:
        return tagged.week, True
    checkpoint = catch_up(services)
    if checkpoint is None:
        raise NotFound(
            "There is no checkpoint yet, so nothing says which week comes next.",
            hint="Run the first week by its dates: treadle weekly run --week-start … --week-end …",
        )
    return checkpoint.next, services.state.now() >= checkpoint.next.closes_at


def not_over(week: Week) -> WeekOutcome:
    """What is told of a week that comes next but is not over: there is nothing to do yet."""
    why = f"The week {week} is not over before {week.closes_at:%Y-%m-%d} 00:00 UTC."
    return WeekOutcome(None, week, None, (), next_week=week, skipped=why)


def plan_week(
    services: WeeklyServices, week: Week, *, engine: Engine = "embedded", report: Report = nobody_listens, check: Check = nobody_objects
) -> tuple[MetricsFile, Any]:
    """What SYNC would do with the week's events as they are here. Changes nothing outside the work folder.

    Raises:
        Conflict: the week was not transformed here, or a run of it is under way.
    """
    with alone_with(services, week):
        return stages.plan(Work(services, week, services.work_folder(week), report, check, engine=engine))


def _work(  # noqa: PLR0913 - as run_week
    services: WeeklyServices, week: Week, options: WeekOptions, report: Report, check: Check, *, force: bool = False
) -> Work:
    return Work(
        services,
        week,
        services.work_folder(week),
        report,
        check,
        force=force,
        override_guards=options.override_guards,
        local_only=options.local_only,
        engine=options.engine,
    )


def _all_stages(recorder: Recorder, work: Work) -> WeekOutcome:
    extracted = recorder.do(Stage.EXTRACT, partial(stages.extract, work))
    recorder.do(Stage.TRANSFORM, partial(stages.transform, work))
    recorder.do(Stage.LOAD, partial(stages.load, work))
    if work.local_only:
        return _gate_last(recorder, work, tuple(Stage)[:-1])
    gated = recorder.do(Stage.QUALITY_GATE, partial(stages.quality_gate, work))
    return _sync_last(recorder, work, gated, extracted, tuple(Stage))


def _one_stage(recorder: Recorder, work: Work, stage: Stage) -> WeekOutcome:
    if stage is Stage.SYNC:
        gated = stages.required(stages.passed_gate(work), work, Stage.QUALITY_GATE)
        extracted = stages.required(read_extract(work.folder), work, Stage.EXTRACT)
        return _sync_last(recorder, work, gated, extracted, (stage,))
    if stage is Stage.QUALITY_GATE and work.local_only:
        return _gate_last(recorder, work, (stage,))
    recorder.do(stage, partial(_EFFECTS[stage], work))
    return _outcome(work, recorder.run.run_id, RunStatus.STARTED, (stage,), None)


def _gate_last(recorder: Recorder, work: Work, done: tuple[Stage, ...]) -> WeekOutcome:
    """A run that stays on this machine ends here, and the checkpoint stays: the week is not processed whole."""
    gated, finished = recorder.do_last(Stage.QUALITY_GATE, partial(stages.quality_gate, work), _status, advance=False)
    return _outcome(work, recorder.run.run_id, gated.status, done, finished)


def _sync_last(recorder: Recorder, work: Work, gated: Gated, extracted: Extracted, done: tuple[Stage, ...]) -> WeekOutcome:
    sync = partial(stages.sync, work, recorder.run.run_id)
    synced, finished = recorder.do_last(Stage.SYNC, sync, lambda _synced: gated.status, advance=stages.is_whole(extracted))
    return _outcome(work, recorder.run.run_id, gated.status, done, finished, counts_of(synced))


def _status(gated: Gated) -> RunStatus:
    return gated.status


def _outcome(  # noqa: PLR0913, PLR0917 - what came of it
    work: Work,
    run_id: UUID | None,
    status: RunStatus,
    done: tuple[Stage, ...],
    finished: Finished | None,
    counts: Mapping[str, Any] | None = None,
) -> WeekOutcome:
    extracted, loaded = read_extract(work.folder), kept_result(work.folder, Stage.LOAD, Loaded)
    current = stages.transformed(work.folder) if extracted else None
    placed = loaded if loaded and current and loaded.events.sha256 == current.events_sha256 else None
    return WeekOutcome(
        run_id,
        work.week,
        status,
        done,
        rows_fetched=extracted and extracted.rows_fetched,
        rows_valid=current and current.rows_valid,
        rows_rejected=current and current.rows_rejected,
        reject_rate_pct=float(current.reject_rate_pct) if current else None,
        output_path=placed and (placed.events.lake_path or str(placed.events.local_path)),
        rejects_path=placed and (placed.rejects.lake_path or str(placed.rejects.local_path)),
        next_week=finished.checkpoint.next if finished and finished.checkpoint else None,
        checkpoint_moved=bool(finished and finished.moved),
        queued=bool(finished and finished.queued),
        **(counts or {}),
    )


def _complete_run(services: WeeklyServices, week: Week) -> WeeklyRun | None:
    """The run by which the week is done. None: there is none, or a later one did not end well: what that has begun is to be brought to an end."""
    newest = next(iter(services.state.runs_of_week(week)), None)
    return newest if newest and newest.complete else None


def _require_no_less(services: WeeklyServices, week: Week, options: WeekOptions) -> None:
    """A success takes the place of the older one; one that stays on this machine must not take that of a whole one.

    Raises:
        Conflict: it would.
    """
    whole = next((run for run in services.state.runs_of_week(week) if run.complete), None) if options.local_only else None
    if whole:
        raise Conflict(
            f"The week {week} is in the lake and in Salesforce, by run {whole.run_id}. A run with --local-only would take its place, and the week"
            " would no longer count as done.",
            hint="Leave out --local-only to do all of it again, or only look with --dry-run.",
            details={"week": str(week), "run_id": str(whole.run_id)},
        )


def _skip(work: Work, done: WeeklyRun, options: WeekOptions) -> WeekOutcome:
    """Leave a week alone that is done. What the lake has lost meanwhile is sent again; the checkpoint moves only if that was asked for."""
    services = work.services
    if not work.local_only and stages.transformed(work.folder) and (loaded := stages.load(work).value).uploads:
        message = f"The lake lacked files of the week {work.week}; {loaded.uploads} were sent again."
        tell(services.own, done.run_id, Told(message, "WARNING", Stage.LOAD))
        log.warning("weekly.lake_mended", week=str(work.week), uploads=loaded.uploads)
    checkpoint, moved = services.state.checkpoint(), False
    if options.advance_on_skip:
        ended = services.state.end_run(RunEnd(done.run_id, work.week, done.status, advance=True))
        checkpoint, moved = ended.checkpoint, ended.moved
    if checkpoint:
        services.mirror.write(PIPELINE, checkpoint)
    return WeekOutcome(
        done.run_id,
        work.week,
        done.status,
        (),
        rows_fetched=done.rows_fetched,
        rows_valid=done.rows_output,
        rows_rejected=done.rows_rejected,
        reject_rate_pct=None if done.reject_rate_pct is None else float(done.reject_rate_pct),
        output_path=done.output_path,
        rejects_path=done.rejects_path,
        next_week=checkpoint and checkpoint.next,
        checkpoint_moved=moved,
        skipped=f"The week {work.week} is done already, by run {done.run_id}.",
    )


def _dry_run(work: Work) -> WeekOutcome:
    """Extract, judge and check in a folder of its own, and throw it away."""
    services = work.services
    folder = services.settings.state_dir / "dry_runs" / work.week.folder
    trial = replace(work, folder=folder)
    try:
        kept = read_extract(work.folder)
        extracted = kept if kept and stages.is_whole(kept) else stages.extract(trial).value
        made = transform_week(extracted, folder, check=work.check)
        gated = stages.quality_gate(trial).value
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return WeekOutcome(
        None,
        work.week,
        gated.status,
        (Stage.EXTRACT, Stage.TRANSFORM, Stage.QUALITY_GATE),
        rows_fetched=made.rows_fetched,
        rows_valid=made.rows_valid,
        rows_rejected=made.rows_rejected,
        reject_rate_pct=float(made.reject_rate_pct),
        dry_run=True,
    )


_EFFECTS: Final[Mapping[Stage, Callable[[Work], Done[Any]]]] = {
    Stage.EXTRACT: stages.extract,
    Stage.TRANSFORM: stages.transform,
    Stage.LOAD: stages.load,
    Stage.QUALITY_GATE: stages.quality_gate,
}
