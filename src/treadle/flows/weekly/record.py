"""What the state tables hold: runs, their stages, the checkpoint; and how the checkpoint moves on. Pure."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from treadle.flows.weekly.week import Week, days_after, week_of

PIPELINE: Final = "reverse_etl_customer_weekly"
_TAG_CHARACTERS: Final = 50  # of correlation_id where the state is on Azure SQL
STALE_AFTER: Final = timedelta(days=14)


class RunStatus(StrEnum):
    """Where a run is. SUPERSEDED: it succeeded, and a later run of the same week did, too."""

    STARTED = "STARTED"
    SUCCESS = "SUCCESS"
    SUCCESS_WITH_REJECTS = "SUCCESS_WITH_REJECTS"
    FAILED = "FAILED"
    SUPERSEDED = "SUPERSEDED"

    @property
    def ended(self) -> bool:
        """Whether the run will not change any more, unless it is superseded."""
        return self is not RunStatus.STARTED

    @property
    def succeeded(self) -> bool:
        """Whether its results count."""
        return self in (RunStatus.SUCCESS, RunStatus.SUCCESS_WITH_REJECTS)


class Stage(StrEnum):
    """The parts of a run, in their order."""

    EXTRACT = "EXTRACT"
    TRANSFORM = "TRANSFORM"
    LOAD = "LOAD"
    QUALITY_GATE = "QUALITY_GATE"
    SYNC = "SYNC"


class StageStatus(StrEnum):
    """Where a stage is. SKIPPED: the run was asked to leave it out."""

    STARTED = "STARTED"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True)
class WeeklyRun:
    """One run of one week. Times are UTC; counts and paths are absent until the run has ended."""

    run_id: UUID
    week: Week
    status: RunStatus
    started_at: datetime
    ended_at: datetime | None = None
    correlation_id: str | None = None
    rows_fetched: int | None = None
    rows_output: int | None = None
    rows_rejected: int | None = None
    reject_rate_pct: Decimal | None = None
    reject_threshold_pct: Decimal | None = None
    output_path: str | None = None
    rejects_path: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    synced: bool = False  # whether its stage SYNC succeeded; a success without it was local only

    @property
    def complete(self) -> bool:
        """Whether the week is processed whole by this run: to the lake and to Salesforce, and after the week was over."""
        return self.status.succeeded and self.synced and self.started_at >= self.week.closes_at


@dataclass(frozen=True, slots=True)
class StageRecord:
    """One attempt at one stage of a run."""

    stage: Stage
    status: StageStatus
    started_at: datetime
    ended_at: datetime | None
    row_count: int | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Which week comes next. last: None before the first success."""

    next: Week
    last: Week | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended, as it is to be recorded; also what waits in the queue while the database is away.

    stage_rows: of the stage that is under way, which ends with the run.
    advance: whether the week is processed whole, so that the checkpoint may move past it.
    """

    run_id: UUID
    week: Week
    status: RunStatus
    rows_fetched: int | None = None
    rows_output: int | None = None
    rows_rejected: int | None = None
    reject_rate_pct: Decimal | None = None
    output_path: str | None = None
    rejects_path: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    stage_rows: int | None = None
    advance: bool = False


@dataclass(frozen=True, slots=True)
class WeeklyEvent:
    """Something that happened to a run. `seq` counts 1, 2, 3 … per run without gaps. stage: None for the run as a whole."""

    run_id: UUID
    seq: int
    at: datetime
    level: str
    stage: str | None
    message: str
    data: Mapping[str, Any] | None


def advanced(checkpoint: Checkpoint | None, finished: Week, complete: Collection[Week], now: datetime) -> Checkpoint | None:
    """Where the checkpoint stands once `finished` is processed. None: where it stood.

    It moves past that span alone which it says comes next, first and last day, and on past those directly behind it that are complete already:
    so a week that is run out of order leaves no gap behind the checkpoint, running an old week again does not take it back, and a shorter span
    does not move it off its weekday.
    A pipeline without a checkpoint gets one from its first success.
    """
    if checkpoint is not None and finished != checkpoint.next:
        return None
    last, following = finished, _week_behind(finished)
    while following in complete:
        last, following = following, _week_behind(following)
    return Checkpoint(following, last, now)


def kept_tag(tag: str | None) -> str | None:
    """A run's tag as the state tables keep it, in 50 characters: a longer one ends in a mark of the whole, so that no two become one."""
    if tag is None or len(tag) <= _TAG_CHARACTERS:
        return tag
    mark = hashlib.sha256(tag.encode()).hexdigest()[:16]
    return f"{tag[: _TAG_CHARACTERS - 17]}-{mark}"


def is_stale(checkpoint: Checkpoint, now: datetime) -> bool:
    """Whether nothing has moved for so long that somebody should look."""
    return now - checkpoint.updated_at > STALE_AFTER


def weeks_between(first: date, last: date) -> list[Week]:
    """The weeks of seven days from the one that begins on `first` to the one that holds `last`, in order. Raises InvalidInput as `Week`."""
    return [week_of(first + timedelta(days=7 * number)) for number in range(count_of_weeks(first, last))]


def count_of_weeks(first: date, last: date) -> int:
    """How many these are."""
    return max(0, (last - first).days // 7 + 1)


def _week_behind(week: Week) -> Week:
    return week_of(days_after(week.end, 1))
