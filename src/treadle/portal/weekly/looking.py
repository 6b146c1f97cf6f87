"""How the weekly flow stands, looked at once for all sessions of this process. Reads databases alone.

A page asks at its own pace; the database is asked when the last look is too old, by one page for all, and never while nobody asks.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from treadle.actions import jobs, weekly
from treadle.actions.services import Services
from treadle.control.access import Principal, Right, require
from treadle.control.jobs.job import Job, JobEvent
from treadle.control.jobs.states import JobState
from treadle.flows.weekly.jobs import KEY
from treadle.flows.weekly.status import RunDetails, Standing
from treadle.portal.fresh import FRESH_SECONDS, Fresh
from treadle.portal.shared import Portal, portal

RUNS: Final = 300  # newest ones, of which the calendar tells
_JOBS: Final = 20  # newest ones, among which one that is active is looked for
_EVENTS: Final = 20  # last ones of the job


@dataclass(frozen=True, slots=True)
class JobSeen:
    """The weekly job that is active, else the newest one, with the last of its events, oldest first."""

    job: Job
    events: tuple[JobEvent, ...]


class WeeklyLooks:
    """One per process. Safe for all sessions at once; the rights are those of who asks, each time."""

    def __init__(self, services: Services, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._services, self._fresh = services, Fresh(clock)

    def standing(self, who: Principal, *, fresh_seconds: float = FRESH_SECONDS) -> Standing:
        """Checkpoint and newest runs; right `runs:read`. fresh_seconds: how old the answer may be; 0: no look that began before this call will do.

        Raises:
            PermissionDenied, and what was met when the database was asked.
        """
        require(who, Right.RUNS_READ)
        return self._fresh.get("standing", lambda: weekly.standing(self._services, who, limit=RUNS), fresh_seconds)

    def job(self, who: Principal, *, fresh_seconds: float = FRESH_SECONDS) -> JobSeen | None:
        """The weekly job that is active, else the newest one; right `jobs:read`. None: there is none. Raises as `standing`."""
        require(who, Right.JOBS_READ)
        return self._fresh.get("job", lambda: self._read_job(who), fresh_seconds)

    def details(self, who: Principal, run_id: UUID, *, fresh_seconds: float = FRESH_SECONDS) -> RunDetails:
        """A run with stages and timeline; right `runs:read`. Raises NotFound, and as `standing`."""
        require(who, Right.RUNS_READ)
        return self._fresh.get(run_id, lambda: weekly.run_details(self._services, who, run_id), fresh_seconds)

    def _read_job(self, who: Principal) -> JobSeen | None:
        found = jobs.list_jobs(self._services, who, key=KEY, limit=_JOBS).jobs
        if not found:
            return None
        job = chosen_job(found)
        events = jobs.list_events(self._services, who, job.job_id, after_seq=max(0, job.last_seq - _EVENTS), limit=_EVENTS)
        return JobSeen(job, tuple(events))


def chosen_job(newest_first: "tuple[Job, ...]") -> Job:
    """The one that runs, else the oldest that waits, for that is next; else the newest. Pure."""
    running = [job for job in newest_first if job.state is JobState.RUNNING]
    waiting = [job for job in newest_first if job.state is JobState.QUEUED]
    return (running or waiting or [newest_first[0]])[-1]


def looks() -> WeeklyLooks:
    """Those of the portal that is open."""
    opened = portal()
    with _opening:
        if not _kept or _kept[0][0] is not opened:
            _kept[:] = [(opened, WeeklyLooks(opened.services))]
        return _kept[0][1]


_kept: Final[list[tuple[Portal, WeeklyLooks]]] = []  # at most one, as of the portal itself
_opening: Final = threading.Lock()
