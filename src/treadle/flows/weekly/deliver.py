"""The stage SYNC: plan against what Salesforce has acknowledged, send what changed, record row by row what came of it.

Killed at any moment, it goes on where it stood: first every part that was begun is settled – by its job, or by the rows themselves – and then
the rest is planned anew. So no row is sent twice, and none is forgotten.
"""

import random
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import polars as pl
import structlog

from treadle.clients.salesforce import SalesforceClient
from treadle.errors import Conflict, NotFound, OperationFailed
from treadle.flows.weekly.acknowledged import (
    RefusedRow,
    acknowledged_by,
    ask_again,
    forget_gone,
    record_outcomes,
    record_pending,
    write_acknowledged,
)
from treadle.flows.weekly.acknowledged import refused_rows as list_refused
from treadle.flows.weekly.alone import alone_with
from treadle.flows.weekly.ledger import (
    Carried,
    Part,
    PartCounts,
    PlannedPart,
    Sync,
    add_parts,
    carried_by,
    drop_part,
    finish_sync,
    list_parts,
    open_sync,
    settle_part,
    unfinished_sync,
)
from treadle.flows.weekly.metrics import MetricsFile
from treadle.flows.weekly.part_files import read_rows, sha256_of, write_outcomes, write_rows
from treadle.flows.weekly.record import Stage
from treadle.flows.weekly.row_hash import HASH_COLUMNS
from treadle.flows.weekly.send_part import JOB_FAILED, Delivery, Patience, cut, send_part, settle_again
from treadle.flows.weekly.services import Check, Progress, Report, WeeklyServices
from treadle.flows.weekly.sync_cost import Guards, estimate_cost, read_limits
from treadle.flows.weekly.sync_fields import CUSTOMER_WEEKLY, read_describe
from treadle.flows.weekly.sync_outcome import SyncOutcome
from treadle.flows.weekly.sync_plan import CREATE, UPDATE, SyncPlan, mark_refused, plan_sync
from treadle.flows.weekly.timeline import Told, tell
from treadle.flows.weekly.week import Week
from treadle.flows.weekly.write_back import write_back

ROUNDS: Final = 5  # how often rows that were locked or never tried are sent, the first time included
LOST_SHARE: Final = 0.10  # of a week's rows: with more that are not in Salesforce, the stage fails
_REASON: Final = {"external_id": pl.String, "code": pl.String, "message": pl.String}
_SORT_BY: Final = "External_Customer_Id__c"  # rows of one customer, which share parents in Salesforce, go together

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Sending:
    """One sync as it is carried out."""

    services: WeeklyServices
    delivery: Delivery
    sync: Sync
    folder: Path  # where the rows of its parts are
    report: Report


def sync_week(  # noqa: PLR0913 - what, for which run, and who listens: each named
    services: WeeklyServices,
    week: Week,
    run_id: UUID | None,
    metrics: MetricsFile,
    *,
    plan_only: bool,
    report: Report,
    check: Check,
    override_guards: bool = False,
) -> SyncOutcome:
    """Bring a week's metrics to Salesforce, or say what that would do. Safe to repeat: what is acknowledged is not sent again.

    run_id: of the run that this belongs to; None only for a plan. override_guards: carry a plan out although a guard objects.

    Raises:
        Conflict: a guard objects to the plan, or another process is sending this week.
        InvalidInput: the metrics do not fit the object. OperationFailed: more than LOST_SHARE of the rows are not there.
        Throttled, Unavailable, …: Salesforce could not be asked; what it has acknowledged is kept, and the next try goes on from there.
    """
    delivery = _delivery(services, check)
    target = _target(services, delivery.salesforce)
    with _alone(services, target, week, needed=not plan_only):
        left = None if plan_only else _settle_left(services, delivery, target, week, report)
        plan = _plan(services, delivery, target, week, metrics)
        rows, waiting, gone = _rows_to_send(services, target, week, plan)
        if plan_only or run_id is None:
            return _planned(_with_refused(delivery, plan, rows.height, waiting), rows, waiting.height)
        carried = carried_by(services.own, run_id, target, week, left)
        if plan.trips and not override_guards:
            raise _objection(plan, week)
        forget_gone(services.own, target, week, gone)
        sync = Sync(uuid4(), run_id, target, week)
        counts = _send(_Sending(services, delivery, sync, _folder(services, sync), report), plan, rows, waiting=waiting.height)
        outcome = _outcome(plan, counts, waiting.height, _carried_over(services, target, week, metrics, plan, carried))
        _require_little_lost(outcome, week)
        return outcome


def refused_rows(services: WeeklyServices, week: Week) -> list[RefusedRow]:
    """The rows of a week that Salesforce refused and that were not acknowledged since."""
    return list_refused(services.own, _target(services, services.salesforce()), week)


def retry_refused(services: WeeklyServices, week: Week, *, report: Report, check: Check) -> SyncOutcome:
    """Send the refused rows of a week once more, as the week's metrics have them now, and nothing else that may have changed.

    Raises:
        NotFound: none was refused. And as `sync_week`.
    """
    delivery = _delivery(services, check)
    target = _target(services, delivery.salesforce)
    with alone_with(services, week), _alone(services, target, week, needed=True):
        waiting = list_refused(services.own, target, week)
        if not waiting:
            raise NotFound(f"No row of the week {week} was refused.", hint="See what there is with: treadle weekly rejects ls")
        ask_again(services.own, target, week)
        _settle_left(services, delivery, target, week, report)
        plan = _plan(services, delivery, target, week, _metrics_of(services, week))
        rows, _, gone = _rows_to_send(services, target, week, plan)
        forget_gone(services.own, target, week, gone)
        rows = rows.filter(pl.col("external_id").is_in([row.external_id for row in waiting]))
        if not rows.height:
            return SyncOutcome()
        sync = Sync(uuid4(), waiting[0].run_id, target, week)
        counts = _send(_Sending(services, delivery, sync, _folder(services, sync), report), plan, rows, waiting=None)
        return SyncOutcome(counts.created, counts.updated, refused=counts.refused, pending=counts.undecided)


def _delivery(services: WeeklyServices, check: Check) -> Delivery:
    client: SalesforceClient = services.salesforce()
    mapping = replace(CUSTOMER_WEEKLY, object_name=services.settings.salesforce_object)
    describe = read_describe(client.describe(mapping.object_name))
    return Delivery(client, services.own, mapping, describe, Patience(time.sleep, time.monotonic, check=check))


@contextmanager
def _alone(services: WeeklyServices, target: str, week: Week, *, needed: bool) -> Generator[None]:
    """Keep others from taking over what this process is sending: a sync that is found unfinished is then nobody's."""
    if not needed:
        yield
        return
    with services.own.hold_advisory_lock(f"weekly-sync:{target}:{week}") as lock:
        if not lock.held:
            raise Conflict(f"The week {week} is being sent to Salesforce by another process.", hint="Wait for it to end.")
        yield


def _target(services: WeeklyServices, salesforce: SalesforceClient) -> str:
    """Which org and object, as the ledger names it."""
    return f"{salesforce.org}/{services.settings.salesforce_object}"


def _folder(services: WeeklyServices, sync: Sync) -> Path:
    return services.work_folder(sync.week) / "sync" / str(sync.sync_id)


def _metrics_of(services: WeeklyServices, week: Week) -> MetricsFile:
    path = services.work_folder(week) / "metrics.parquet"
    if not path.is_file():
        raise NotFound(
            f"The metrics of the week {week} are not on this machine.",
            hint=f"treadle weekly run --week-start {week.start} --week-end {week.end} --force",
        )
    return MetricsFile(path, pl.scan_parquet(path).select(pl.len()).collect().item(), sha256_of(path), path.stat().st_size)


def _plan(services: WeeklyServices, delivery: Delivery, target: str, week: Week, metrics: MetricsFile) -> SyncPlan:
    folder = services.work_folder(week) / "sync"
    folder.mkdir(parents=True, exist_ok=True)
    mapping = delivery.mapping
    known = write_acknowledged(services.own, target, week, mapping, folder / "acknowledged.parquet")
    settings = services.settings
    return plan_sync(
        metrics.path,
        known,
        delivery.describe,
        mapping,
        Guards(settings.sync_max_update_pct, settings.sync_max_missing_pct),
        folder=folder,
        limits=read_limits(delivery.salesforce.limits()),
    )


def _rows_to_send(services: WeeklyServices, target: str, week: Week, plan: SyncPlan) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """The creates and updates of a plan, without those that Salesforce has refused as they are; these, each with the `reason`; and the keys of refused
    rows that have nothing to be sent any more.
    """
    rows = pl.scan_parquet(plan.rows_path).filter(pl.col("action").is_in([CREATE, UPDATE])).drop("problems").collect()
    refused = list_refused(services.own, target, week)
    gone = sorted({row.external_id for row in refused} - set(rows["external_id"]))
    waiting = pl.DataFrame(
        [(row.external_id, row.row_hash_hi, row.row_hash_lo, row.message) for row in refused if not row.retry],
        {"external_id": pl.String, **dict.fromkeys(HASH_COLUMNS, pl.Int64), "reason": pl.String},
        orient="row",
    )
    same = ["external_id", *HASH_COLUMNS]
    left = rows.join(waiting, on=same, how="anti", maintain_order="left")
    return left, rows.select("action", *same).join(waiting, on=same, how="inner").select("action", "external_id", "reason"), gone


def _with_refused(delivery: Delivery, plan: SyncPlan, sent: int, waiting: pl.DataFrame) -> SyncPlan:
    """The plan as it is shown: rows that wait as refused are neither sent nor paid for."""
    if not waiting.height:
        return plan
    upload_bytes = plan.cost.upload_bytes * sent // (sent + waiting.height)
    return mark_refused(plan, waiting, estimate_cost(sent, upload_bytes, read_limits(delivery.salesforce.limits())))


def _planned(plan: SyncPlan, rows: pl.DataFrame, waiting: int) -> SyncOutcome:
    creates = int((rows["action"] == CREATE).sum())
    return SyncOutcome(creates, rows.height - creates, plan.unchanged, plan.blocked, waiting, 0, plan)


def _objection(plan: SyncPlan, week: Week) -> Conflict:
    reasons = "; ".join(f"{trip.guard}: {trip.reason}" for trip in plan.trips)
    return Conflict(
        f"The plan is not carried out, since a guard objects – {reasons}.",
        hint=f"Look at it with: treadle weekly plan --week-start {week.start}. If it is right: treadle weekly stage salesforce-sync "
        f"--week-start {week.start} --week-end {week.end} --override-guards",
        details={"guards": [trip.guard for trip in plan.trips], "create": plan.create, "update": plan.update, "digest": plan.digest},
    )


def _settle_left(services: WeeklyServices, delivery: Delivery, target: str, week: Week, report: Report) -> Sync | None:
    """Settle what a killed process has begun. Returns its sync; None: there is none."""
    sync = unfinished_sync(services.own, target, week)
    if sync is None:
        return None
    log.info("sync.taken_over", sync_id=str(sync.sync_id))
    sending = _Sending(services, delivery, sync, _folder(services, sync), report)
    for part in [part for part in list_parts(services.own, sync) if part.open]:
        rows = None if part.state == "PLANNED" else read_rows(sending.folder, part)
        if rows is None:
            _drop(sending, part)
            continue
        outcomes = settle_again(delivery, part, rows)
        if outcomes is not None:
            _settle(sending, part, rows, outcomes)
    _finish(sending, None)
    return sync


def _finish(sending: _Sending, plan: SyncPlan | None, *, pending: int = 0, waiting: int = 0) -> None:
    """Tell the lake what was done, and only then that the sync is."""
    own, sync, now = sending.services.own, sending.sync, datetime.now(UTC)
    write_back(sending.services, sync, list_parts(own, sync), sending.folder, plan=plan, pending=pending, waiting=waiting, now=now)
    finish_sync(own, sync)


def _drop(sending: _Sending, part: Part) -> None:
    """Drop a part that was not sent, or whose rows are no longer here: once its job has ended, planning them anew is safe."""
    if part.state != "PLANNED":
        settle_again(sending.delivery, part, pl.DataFrame(schema={"external_id": pl.String, "action": pl.String}))
        gone = f"The file of part {part.part} is no longer here: what came of its {part.row_count:,} rows cannot be recorded, and they are sent again."
        _tell(sending, gone, level="WARNING")
    drop_part(sending.delivery.own, part)


def _send(sending: _Sending, plan: SyncPlan, rows: pl.DataFrame, *, waiting: int | None) -> PartCounts:
    """Send the rows, and those that were locked or never tried again, each time fewer; return what became of them.

    waiting: how many more of the week's rows were refused before and are not tried again; None: this is not all else of the week.
    """
    total, done, reasons = PartCounts(), 0, pl.DataFrame(schema=_REASON)
    for attempt in range(1, ROUNDS + 1):
        undecided: list[pl.DataFrame] = []
        for part, block in _write_parts(sending, plan, rows, first=attempt == 1):
            sending.delivery.patience.check()
            outcomes = send_part(sending.delivery, part, block)
            if outcomes is None:
                undecided.append(block)
                continue
            counts = _settle(sending, part, block, outcomes)
            _require_whole_job(outcomes)
            total = PartCounts(total.created + counts.created, total.updated + counts.updated, total.refused + counts.refused)
            left = outcomes.filter(pl.col("outcome") == "undecided").select(_REASON.keys())
            undecided.append(block.join(left, on="external_id", how="semi"))
            reasons = pl.concat([left, reasons])
            done += block.height - undecided[-1].height
            sending.report(Progress(Stage.SYNC, done, plan.create + plan.update, "rows"))
        rows = pl.concat(undecided) if undecided else rows.clear()
        if not rows.height:
            break
        if attempt < ROUNDS:
            rows = rows.sort(_SORT_BY, "external_id")
            _tell(sending, f"{rows.height:,} rows were locked or not tried; they are sent again, alone.", level="WARNING")
            sending.delivery.patience.sleep(random.uniform(0.5, 1) * min(30, 2**attempt))  # noqa: S311 - a pause, not a secret
    if rows.height:
        record_pending(sending.services.own, sending.sync, rows, reasons, sending.delivery.mapping)
    _finish(sending, plan if waiting is not None else None, pending=rows.height, waiting=waiting or 0)
    return replace(total, undecided=rows.height)


def _require_whole_job(outcomes: pl.DataFrame) -> None:
    """A job that failed as a whole would fail again."""
    left = outcomes.filter(pl.col("code") == JOB_FAILED)
    if left.height:
        raise OperationFailed(
            f"Salesforce ended a job before {left.height:,} of its rows: {left['message'][0]}",
            hint="Mend what it names and run the week again: what was acknowledged is kept, and the other rows are sent then.",
            details={"rows": left.height},
        )


def _write_parts(sending: _Sending, plan: SyncPlan, rows: pl.DataFrame, *, first: bool) -> list[tuple[Part, pl.DataFrame]]:
    """Put the rows of each part on disk and each part into the ledger, before Salesforce hears of any."""
    own, sync = sending.services.own, sending.sync
    sending.folder.mkdir(parents=True, exist_ok=True)
    channel, blocks = cut(sending.delivery.mapping, rows)
    number = 1 if first else len(list_parts(own, sync)) + 1
    planned = [
        PlannedPart(place, channel, block.height, write_rows(sending.folder, place, block)) for place, block in enumerate(blocks, number)
    ]
    if first:
        open_sync(own, sync, plan.digest, planned)
    else:
        add_parts(own, sync, planned)
    known = {part.part: part for part in list_parts(own, sync)}
    return [(known[place.part], block) for place, block in zip(planned, blocks, strict=True)]


def _settle(sending: _Sending, part: Part, rows: pl.DataFrame, outcomes: pl.DataFrame) -> PartCounts:
    """Record what became of every row, and only then that the part is settled."""
    write_outcomes(sending.folder, part, outcomes)
    delivery = sending.delivery
    record_outcomes(sending.services.own, sending.sync, rows, outcomes, delivery.mapping, folds_case=delivery.folds_case)
    found: dict[str, int] = dict(outcomes["outcome"].value_counts().iter_rows())
    counts = PartCounts(**{name: found.get(name, 0) for name in ("created", "updated", "refused", "undecided")})
    settle_part(sending.services.own, part, counts)
    told = ", ".join(f"{count:,} {name}" for name, count in found.items())
    _tell(
        sending,
        f"Part {part.part} ({part.channel}): {told}.",
        level="WARNING" if counts.refused else "INFO",
        data={"job_id": part.job_id, **found},
    )
    return counts


def _tell(sending: _Sending, message: str, *, level: str = "INFO", data: dict[str, Any] | None = None) -> None:
    tell(sending.services.own, sending.sync.run_id, Told(message, level, Stage.SYNC, data))


def _carried_over(  # noqa: PLR0913, PLR0917 - each named
    services: WeeklyServices, target: str, week: Week, metrics: MetricsFile, plan: SyncPlan, carried: Carried
) -> Carried:
    """Of what was brought there before the run was interrupted, those rows that the week still has and the plan finds unchanged."""
    if not carried.sync_ids:
        return carried
    planned = set(pl.scan_parquet(plan.rows_path).select("external_id").collect().to_series())
    keys = set(pl.scan_parquet(metrics.path).select(CUSTOMER_WEEKLY.external_id.source).collect().to_series())
    count = len((acknowledged_by(services.own, target, week, carried.sync_ids) & keys) - planned)
    created = min(carried.created, count)
    return replace(carried, created=created, updated=min(carried.updated, count - created))


def _outcome(plan: SyncPlan, counts: PartCounts, waiting: int, carried: Carried) -> SyncOutcome:
    return SyncOutcome(
        created=counts.created + carried.created,
        updated=counts.updated + carried.updated,
        unchanged=plan.unchanged - carried.created - carried.updated,
        invalid=plan.blocked,
        refused=counts.refused + waiting,
        pending=counts.undecided,
        plan=plan,
    )


def _require_little_lost(outcome: SyncOutcome, week: Week) -> None:
    lost = outcome.invalid + outcome.refused + outcome.pending
    if lost > LOST_SHARE * outcome.rows:
        raise OperationFailed(
            f"Of {outcome.rows:,} rows of the week {week}, {outcome.invalid:,} were not sent, since Salesforce would refuse them, it has refused"
            f" {outcome.refused:,}, and {outcome.pending:,} are pending: more than {LOST_SHARE:.0%}.",
            hint=f"See why with: treadle weekly {'plan' if outcome.invalid else 'rejects ls'} {week.options}. What was acknowledged is kept.",
            details={
                "invalid": outcome.invalid,
                "refused": outcome.refused,
                "pending": outcome.pending,
                "created": outcome.created,
                "updated": outcome.updated,
            },
        )
