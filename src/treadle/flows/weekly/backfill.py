"""Backfill: several weeks in their order, with a preview of what will happen to each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from treadle.errors import InvalidInput
from treadle.flows.weekly.flow import WeekOptions, WeekOutcome, run_week
from treadle.flows.weekly.record import Checkpoint, RunStatus, WeeklyRun, count_of_weeks, weeks_between
from treadle.flows.weekly.services import Check, Report, WeeklyServices, nobody_listens, nobody_objects
from treadle.flows.weekly.week import Week, days_after, week_of

Action = Literal["run", "resume", "again", "skip", "wait"]
MOST_WEEKS = 530  # ten years


@dataclass(frozen=True, slots=True)
class BackfillWeek:
    """What will happen to a week, and why."""

    week: Week
    action: Action
    why: str
    rows_fetched: int | None = None  # of its latest success


def plan_backfill(services: WeeklyServices, first: date, last: date, *, force: bool = False) -> list[BackfillWeek]:
    """What a backfill from the week that begins on `first` to the one that holds `last` will do. Changes nothing.

    Raises:
        InvalidInput: the dates name no weeks, or weeks that lie across those of the checkpoint.
    """
    _require_weeks(first, last, services.state.checkpoint())
    weeks = weeks_between(first, last)
    now = services.state.now()
    return [decide(week, services.state.runs_of_week(week), now, force=force) for week in weeks]


def decide(week: Week, runs: Sequence[WeeklyRun], now: datetime, *, force: bool) -> BackfillWeek:
    """What will happen to one week. runs: of this week, newest first. Pure."""
    if now < week.closes_at:
        return BackfillWeek(week, "wait", "it is not over")
    left = next((run for run in runs if run.status is RunStatus.STARTED), None)
    done = runs[0] if runs and runs[0].complete else None
    rows = done.rows_fetched if done else None
    if force:
        return BackfillWeek(week, "again", "it is done, and forced" if done else "it is forced", rows)
    if left:
        return BackfillWeek(week, "resume", f"a run was begun {left.started_at:%Y-%m-%d %H:%M} UTC and has not ended", rows)
    if done:
        return BackfillWeek(week, "skip", f"it is done since {done.started_at:%Y-%m-%d}", rows)
    if runs and runs[0].status.succeeded:
        return BackfillWeek(week, "run", "so far it is on one machine only, or from before it was over", runs[0].rows_fetched)
    return BackfillWeek(week, "run", f"its last run failed: {runs[0].error_message}" if runs else "it was never run")


def run_backfill(  # noqa: PLR0913 - as run_week, for several
    services: WeeklyServices,
    plan: Sequence[BackfillWeek],
    options: WeekOptions,
    *,
    on_week: Callable[[WeekOutcome], None] = lambda _outcome: None,
    report: Report = nobody_listens,
    check: Check = nobody_objects,
) -> list[WeekOutcome]:
    """Run the weeks of a plan one after the other; the first that fails ends it, so that the checkpoint has no gap behind it.

    Raises as `run_week`; the weeks before stay done.
    """
    outcomes = list[WeekOutcome]()
    for each in plan:
        if each.action == "wait":
            continue
        check()
        outcomes.append(run_week(services, each.week, options, report=report, check=check))
        on_week(outcomes[-1])
    return outcomes


def _require_weeks(first: date, last: date, checkpoint: Checkpoint | None) -> None:
    count = count_of_weeks(first, last)
    if not count:
        raise InvalidInput(f"There is no week from {first} to {last}.", hint="Give the earlier date first.")
    if count > MOST_WEEKS:
        raise InvalidInput(f"{count:,} weeks are more than a backfill takes at once.", hint=f"Give at most {MOST_WEEKS} weeks.")
    off = (first - checkpoint.next.start).days % 7 if checkpoint else 0
    if off:
        fitting = week_of(days_after(first, -off))
        raise InvalidInput(
            f"Weeks that begin on {first:%A}, {first}, lie across those of the checkpoint, which begin on {_weekday(checkpoint)}.",
            hint=f"Begin with {fitting.start} or {fitting.next.start}.",
        )


def _weekday(checkpoint: Checkpoint | None) -> str:
    return f"{checkpoint.next.start:%A}" if checkpoint else ""
