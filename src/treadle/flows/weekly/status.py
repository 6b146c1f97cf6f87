"""How the weekly flow stands: checkpoint, runs with their stages, what waits."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from treadle.flows.weekly import timeline
from treadle.flows.weekly.record import Checkpoint, StageRecord, WeeklyEvent, WeeklyRun, is_stale
from treadle.flows.weekly.services import WeeklyServices


@dataclass(frozen=True, slots=True)
class Standing:
    """stale: the checkpoint has not moved for more than 14 days. waiting: ends of runs that the database does not have yet."""

    checkpoint: Checkpoint | None
    stale: bool
    next_is_over: bool
    waiting: int
    mirror: Any
    runs: tuple[WeeklyRun, ...]


@dataclass(frozen=True, slots=True)
class RunDetails:
    """One run with its stages and all that happened."""

    run: WeeklyRun
    stages: tuple[StageRecord, ...]
    events: tuple[WeeklyEvent, ...]


def standing(services: WeeklyServices, *, limit: int = 20) -> Standing:
    """The flow as it stands; the newest runs first."""
    checkpoint, now = services.state.checkpoint(), services.state.now()
    return Standing(
        checkpoint,
        stale=bool(checkpoint and is_stale(checkpoint, now)),
        next_is_over=bool(checkpoint and now >= checkpoint.next.closes_at),
        waiting=services.mirror.waiting(),
        mirror=services.mirror.read(),
        runs=tuple(services.state.list_runs(limit)),
    )


def run_details(services: WeeklyServices, run_id: UUID) -> RunDetails:
    """Raises NotFound when there is no such run."""
    run = services.state.get_run(run_id)
    return RunDetails(run, tuple(services.state.list_stages(run_id)), tuple(timeline.list_events(services.own, run_id)))
