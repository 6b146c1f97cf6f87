"""The weekly flow: look at it, run weeks and stages, plan, backfill, look at rejects and send refused rows again."""

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

from treadle.actions.change import change
from treadle.actions.services import Services
from treadle.clients.events_api import ApiCheck
from treadle.control.access import Principal, Right, require
from treadle.control.jobs import queue
from treadle.control.jobs.job import Job
from treadle.flows.weekly import backfill as backfills
from treadle.flows.weekly import flow, jobs, rejects, status
from treadle.flows.weekly.backfill import BackfillWeek
from treadle.flows.weekly.flow import WeekOptions, WeekOutcome
from treadle.flows.weekly.metrics import MetricsFile
from treadle.flows.weekly.record import Stage
from treadle.flows.weekly.rejects import Reject, RuleCount, WholeReject
from treadle.flows.weekly.services import Check, Report, nobody_listens, nobody_objects
from treadle.flows.weekly.stages import Engine
from treadle.flows.weekly.status import RunDetails, Standing
from treadle.flows.weekly.sync_fields import CUSTOMER_WEEKLY
from treadle.flows.weekly.sync_outcome import refused_rows, retry_refused
from treadle.flows.weekly.sync_plan import RowChange, SyncPlan, describe_changes
from treadle.flows.weekly.week import Week


def standing(services: Services, who: Principal, *, limit: int = 20) -> Standing:
    """Checkpoint, newest runs, what waits; right `runs:read`."""
    require(who, Right.RUNS_READ)
    return status.standing(services.weekly(), limit=limit)


def run_details(services: Services, who: Principal, run_id: UUID) -> RunDetails:
    """One run with stages and timeline; right `runs:read`. Raises NotFound."""
    require(who, Right.RUNS_READ)
    return status.run_details(services.weekly(), run_id)


def week_due(services: Services, who: Principal, *, tag: str | None = None) -> tuple[Week, bool]:
    """The week that comes next, and whether it is over; right `runs:read`. Raises NotFound when there is no checkpoint."""
    require(who, Right.RUNS_READ)
    return flow.week_due(services.weekly(), tag)


def run(  # noqa: PLR0913 - as flow.run_week
    services: Services, who: Principal, week: Week, options: WeekOptions, *, report: Report = nobody_listens, check: Check = nobody_objects
) -> WeekOutcome:
    """Run a week in this process; right `runs:start`. Raises as `flow.run_week`."""
    asked = {
        "force": options.force,
        "override_guards": options.override_guards,
        "local_only": options.local_only,
        "dry_run": options.dry_run,
    }
    with change(services, who, Right.RUNS_START, "weekly.run", f"week:{week}", **asked) as entry:
        outcome = flow.run_week(services.weekly(), week, options, report=report, check=check)
        entry.note(run_id=outcome.run_id and str(outcome.run_id), status=outcome.status, skipped=outcome.skipped)
        return outcome


def run_stage(  # noqa: PLR0913 - as flow.run_stage
    services: Services,
    who: Principal,
    week: Week,
    stage: Stage,
    options: WeekOptions,
    *,
    report: Report = nobody_listens,
    check: Check = nobody_objects,
) -> WeekOutcome:
    """Do one stage in this process; right `runs:start`. Raises as `flow.run_stage`."""
    asked = {"stage": stage, "force": options.force, "override_guards": options.override_guards}
    with change(services, who, Right.RUNS_START, "weekly.stage", f"week:{week}", **asked) as entry:
        outcome = flow.run_stage(services.weekly(), week, stage, options, report=report, check=check)
        entry.note(run_id=outcome.run_id and str(outcome.run_id), status=outcome.status, skipped=outcome.skipped)
        return outcome


def plan(
    services: Services, who: Principal, week: Week, *, engine: Engine = "embedded", report: Report = nobody_listens
) -> tuple[MetricsFile, Any]:
    """What would be told to Salesforce; right `runs:read`. Raises Conflict when the week was not transformed on this machine."""
    require(who, Right.RUNS_READ)
    return flow.plan_week(services.weekly(), week, engine=engine, report=report)


def plan_changes(  # noqa: PLR0913 - of which plan, which rows
    services: Services, who: Principal, plan_made: SyncPlan, *, action: str | None = None, offset: int = 0, limit: int = 20
) -> tuple[list[RowChange], int]:
    """Rows of a plan for people, field by field, and how many there are; right `runs:read`. action: create, update, blocked or refused."""
    del services  # the plan's rows are a file
    require(who, Right.RUNS_READ)
    return describe_changes(plan_made.rows_path, CUSTOMER_WEEKLY, action=action, offset=offset, limit=limit)


def plan_backfill(services: Services, who: Principal, first: date, last: date, *, force: bool = False) -> list[BackfillWeek]:
    """What a backfill would do with each week; right `runs:read`. Raises InvalidInput."""
    require(who, Right.RUNS_READ)
    return backfills.plan_backfill(services.weekly(), first, last, force=force)


def backfill(  # noqa: PLR0913 - as backfill.run_backfill
    services: Services,
    who: Principal,
    weeks: Sequence[BackfillWeek],
    options: WeekOptions,
    *,
    on_week: Callable[[WeekOutcome], None] = lambda _outcome: None,
    report: Report = nobody_listens,
    check: Check = nobody_objects,
) -> list[WeekOutcome]:
    """Run the weeks of a plan in this process; right `runs:start`. Raises as `flow.run_week`; the weeks before stay done."""
    span = f"weeks:{weeks[0].week.start}…{weeks[-1].week.end}" if weeks else "weeks:none"
    asked = {"force": options.force, "override_guards": options.override_guards, "weeks": len(weeks)}
    with change(services, who, Right.RUNS_START, "weekly.backfill", span, **asked) as entry:
        outcomes = backfills.run_backfill(services.weekly(), weeks, options, on_week=on_week, report=report, check=check)
        entry.note(run=len([outcome for outcome in outcomes if not outcome.skipped]))
        return outcomes


def request_run(services: Services, who: Principal, week: Week, *, force: bool = False, local_only: bool = False) -> Job:
    """Have a worker run a week; right `runs:start`."""
    with change(services, who, Right.RUNS_START, "weekly.run", f"week:{week}", force=force, local_only=local_only) as entry:
        job = queue.enqueue(services.own, jobs.run_job(week, who.name, force=force, local_only=local_only))
        entry.note(job_id=job.job_id)
        return job


def request_backfill(services: Services, who: Principal, first: date, last: date, *, force: bool = False) -> Job:
    """Have a worker run several weeks; right `runs:start`. Raises InvalidInput for dates that are no weeks."""
    with change(services, who, Right.RUNS_START, "weekly.backfill", f"weeks:{first}…{last}", force=force) as entry:
        backfills.plan_backfill(services.weekly(), first, last, force=force)
        job = queue.enqueue(services.own, jobs.backfill_job(first, last, who.name, force=force))
        entry.note(job_id=job.job_id)
        return job


def request_retry(services: Services, who: Principal, week: Week) -> Job:
    """Have a worker send a week's refused rows again; right `runs:start`."""
    with change(services, who, Right.RUNS_START, "weekly.rejects_retry", f"week:{week}") as entry:
        job = queue.enqueue(services.own, jobs.retry_job(week, who.name))
        entry.note(job_id=job.job_id)
        return job


def retry_rejects(services: Services, who: Principal, week: Week, *, report: Report = nobody_listens, check: Check = nobody_objects) -> Any:
    """Send the rows of a week that Salesforce refused again, those alone, in this process; right `runs:start`."""
    with change(services, who, Right.RUNS_START, "weekly.rejects_retry", f"week:{week}"):
        return retry_refused(services.weekly(), week, report=report, check=check)


def count_rejects(services: Services, who: Principal, week: Week) -> list[RuleCount]:
    """The week's rejected events by rule; right `runs:read`. Raises NotFound when the week was not transformed on this machine."""
    require(who, Right.RUNS_READ)
    return rejects.count_by_rule(rejects.rejects_file(services.weekly(), week))


def list_rejects(  # noqa: PLR0913 - whose, which, how many
    services: Services, who: Principal, week: Week, *, rule: str | None = None, offset: int = 0, limit: int = 50
) -> list[Reject]:
    """Some of them, in order; right `runs:read`. Raises NotFound."""
    require(who, Right.RUNS_READ)
    return rejects.list_rejects(rejects.rejects_file(services.weekly(), week), rule=rule, offset=offset, limit=limit)


def show_reject(services: Services, who: Principal, week: Week, row_index: int) -> WholeReject:
    """One of them, whole; right `runs:read`. Raises NotFound."""
    require(who, Right.RUNS_READ)
    return rejects.show_reject(rejects.rejects_file(services.weekly(), week), row_index)


def export_rejects(services: Services, who: Principal, week: Week, target: Path, *, rule: str | None = None) -> int:
    """All of them as a file on this machine; right `runs:read`; returns how many. Raises NotFound, InvalidInput."""
    require(who, Right.RUNS_READ)
    return rejects.export_rejects(rejects.rejects_file(services.weekly(), week), target, rule=rule)


def list_refused(services: Services, who: Principal, week: Week) -> list[Any]:
    """The rows that Salesforce refused, with its reasons; right `runs:read`."""
    require(who, Right.RUNS_READ)
    return refused_rows(services.weekly(), week)


def check_api(services: Services, who: Principal) -> ApiCheck:
    """Ask the events API for one event; right `runs:read`. Raises MissingSettings, Unauthenticated, Unavailable, UnexpectedAnswer."""
    require(who, Right.RUNS_READ)
    api = services.weekly().events_api()
    try:
        return api.check()
    finally:
        api.close()
