"""The background jobs of the weekly flow: run a week, run several, send refused rows again. All under one key, so one at a time.

What they are made of is loaded when one runs: every process that knows the kinds of jobs loads this module, and few of them run a week.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from treadle.control.jobs.job import JsonValue, NewJob
from treadle.control.jobs.kinds import Kind
from treadle.control.jobs.run import JobContext
from treadle.errors import InvalidInput
from treadle.flows.weekly.services import Progress, Report, WeeklyServices
from treadle.flows.weekly.week import Week

if TYPE_CHECKING:
    from treadle.flows.weekly.flow import WeekOptions, WeekOutcome

RUN, BACKFILL, RETRY = "weekly_run", "weekly_backfill", "weekly_rejects_retry"
KEY: Final = "weekly"
_RUN_SECONDS: Final = 4 * 3600.0
_BACKFILL_SECONDS: Final = 72 * 3600.0
_TOLD_EVERY_SECONDS: Final = 2.0

Open = Callable[[], WeeklyServices]


def weekly_kinds(services: Open) -> tuple[Kind, ...]:
    """services: opened when a job needs them, since they need settings that not every installation has."""
    return (
        Kind(RUN, lambda context: _run(services(), context), deadline_seconds=_RUN_SECONDS),
        Kind(BACKFILL, lambda context: _backfill(services(), context), deadline_seconds=_BACKFILL_SECONDS),
        Kind(RETRY, lambda context: _retry(services(), context), deadline_seconds=_RUN_SECONDS),
    )


def run_job(week: Week, requested_by: str, *, force: bool = False, local_only: bool = False) -> NewJob:
    """A job that runs one week."""
    return NewJob(RUN, {**_week_payload(week), "force": force, "local_only": local_only}, requested_by, key=KEY)


def backfill_job(first: date, last: date, requested_by: str, *, force: bool = False) -> NewJob:
    """A job that runs several weeks, one after the other."""
    return NewJob(BACKFILL, {"from": str(first), "to": str(last), "force": force}, requested_by, key=KEY)


def retry_job(week: Week, requested_by: str) -> NewJob:
    """A job that sends a week's refused rows again."""
    return NewJob(RETRY, _week_payload(week), requested_by, key=KEY)


def _run(services: WeeklyServices, context: JobContext) -> JsonValue:
    from treadle.flows.weekly.flow import run_week  # noqa: PLC0415 - see above

    payload, week = context.payload, _week_in(context.payload)
    options = _options(context, force=bool(payload.get("force")), local_only=bool(payload.get("local_only")))

    def run() -> JsonValue:
        return as_result(run_week(services, week, options, report=_reporting(context), check=context.check))

    return context.step("run", run)


def _backfill(services: WeeklyServices, context: JobContext) -> JsonValue:
    """Each week a step: an attempt that comes later does not look at those that are done."""
    from treadle.flows.weekly.backfill import plan_backfill  # noqa: PLC0415 - see above

    first, last = (_date_in(context.payload, name) for name in ("from", "to"))
    force = bool(context.payload.get("force"))
    plan = plan_backfill(services, first, last, force=force)
    options = _options(context, force=force)
    results: dict[str, JsonValue] = {}
    for each in plan:
        if each.action != "wait":
            results[str(each.week)] = context.step(
                f"week {each.week.start}", lambda week=each.week: _one_of_many(services, week, options, context)
            )
    return results


def _one_of_many(services: WeeklyServices, week: Week, options: "WeekOptions", context: JobContext) -> JsonValue:
    from treadle.flows.weekly.flow import run_week  # noqa: PLC0415 - see above

    return as_result(run_week(services, week, options, report=_reporting(context), check=context.check))


def _retry(services: WeeklyServices, context: JobContext) -> JsonValue:
    from treadle.flows.weekly.sync_outcome import counts_of, require_all_taken, retry_refused  # noqa: PLC0415 - see above

    week = _week_in(context.payload)

    def retry() -> JsonValue:
        return dict(counts_of(retry_refused(services, week, report=_reporting(context), check=context.check)))

    counts = context.step("retry", retry)
    require_all_taken(week, counts)
    return counts


def as_result(outcome: "WeekOutcome") -> dict[str, Any]:
    """An outcome as JSON has it. Pure."""
    told = asdict(outcome)
    for name in ("week", "next_week"):
        told[name] = {part: str(day) for part, day in told[name].items()} if told[name] else None
    told |= {"run_id": outcome.run_id and str(outcome.run_id), "status": outcome.status and str(outcome.status)}
    return told | {"stages": [str(stage) for stage in outcome.stages]}


def _options(context: JobContext, *, force: bool, local_only: bool = False) -> "WeekOptions":
    """By its tag, a later attempt finds the run that an earlier one has begun, and goes on with it also if it is forced."""
    from treadle.flows.weekly.flow import WeekOptions  # noqa: PLC0415 - see above

    return WeekOptions(context.job.requested_by, force=force, local_only=local_only, tag=f"job:{context.job.job_id}")


def _reporting(context: JobContext) -> Report:
    """Tell those who watch now and then, not at every page."""
    told_at = 0.0

    def report(progress: Progress) -> None:
        nonlocal told_at
        finished = progress.total is not None and progress.done >= progress.total
        if not finished and not progress.note and time.monotonic() - told_at < _TOLD_EVERY_SECONDS:
            return
        told_at = time.monotonic()
        pct = min(100.0, 100.0 * progress.done / progress.total) if progress.total else None
        of = f" of {progress.total:,}" if progress.total is not None else ""
        note = f" – {progress.note}" if progress.note else ""
        context.progress(f"{progress.stage}: {progress.done:,}{of} {progress.unit}{note}", pct=pct)

    return report


def _week_payload(week: Week) -> dict[str, Any]:
    return {"week_start": str(week.start), "week_end": str(week.end)}


def _week_in(payload: Mapping[str, Any]) -> Week:
    return Week(_date_in(payload, "week_start"), _date_in(payload, "week_end"))


def _date_in(payload: Mapping[str, Any], name: str) -> date:
    try:
        return date.fromisoformat(payload[name])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"The job does not say {name}.", hint="Ask for it anew, from the portal or the command line.") from error
