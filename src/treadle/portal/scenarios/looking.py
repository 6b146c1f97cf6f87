"""Scenarios, their jobs and the connections, looked at once for all sessions of this process. Reads databases alone."""

import threading
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from treadle.actions import connections, jobs, scenarios
from treadle.actions.services import Services
from treadle.control.access import Principal, Right, require
from treadle.control.jobs.job import Job, JobEvent, Step
from treadle.flows.scenario.connections import Connection
from treadle.flows.scenario.records import ScenarioRecord
from treadle.portal.fresh import FRESH_SECONDS, Fresh
from treadle.portal.scenarios.job_told import KINDS
from treadle.portal.shared import Portal, portal

_JOBS: Final = 50  # newest ones of each kind
_EVENTS: Final = 20  # last ones of a job


@dataclass(frozen=True, slots=True)
class JobSeen:
    """A job with its steps, and the last of its events, oldest first."""

    job: Job
    steps: tuple[Step, ...]
    events: tuple[JobEvent, ...]


class ScenarioLooks:
    """One per process. Safe for all sessions at once; the rights are those of who asks, each time.

    fresh_seconds: how old an answer may be; 0: no look that began before this call will do. All raise PermissionDenied, and what was met when the
    database was asked.
    """

    def __init__(self, services: Services) -> None:
        self._services, self._fresh = services, Fresh()

    def jobs(self, who: Principal, *, fresh_seconds: float = FRESH_SECONDS) -> tuple[Job, ...]:
        """The builds and removals, newest first, without those that somebody has put out of sight; right `jobs:read`."""
        require(who, Right.JOBS_READ)
        return self._fresh.get("jobs", lambda: self._read_jobs(who), fresh_seconds)

    def job(self, who: Principal, job_id: UUID, *, fresh_seconds: float = FRESH_SECONDS) -> JobSeen:
        """One of them; right `jobs:read`. Raises also NotFound."""
        require(who, Right.JOBS_READ)
        return self._fresh.get(job_id, lambda: self._read_job(who, job_id), fresh_seconds)

    def scenarios(self, who: Principal, *, fresh_seconds: float = FRESH_SECONDS) -> tuple[ScenarioRecord, ...]:
        """The scenarios that were built, by name; right `scenarios:read`."""
        require(who, Right.SCENARIOS_READ)
        return self._fresh.get("scenarios", lambda: tuple(scenarios.list_scenarios(self._services, who)), fresh_seconds)

    def scenario(self, who: Principal, name: str, *, fresh_seconds: float = FRESH_SECONDS) -> ScenarioRecord | None:
        """One of them; right `scenarios:read`. None: none of this name was built."""
        return next((each for each in self.scenarios(who, fresh_seconds=fresh_seconds) if each.name == name), None)

    def connections(self, who: Principal, *, fresh_seconds: float = FRESH_SECONDS) -> tuple[Connection, ...]:
        """The workspaces that scenarios can be built in; right `scenarios:read`."""
        require(who, Right.SCENARIOS_READ)
        return self._fresh.get("connections", lambda: tuple(connections.list_connections(self._services, who)), fresh_seconds)

    def look_again(self) -> None:
        """Forget all looks: somebody has just changed something, and must see it."""
        self._fresh.clear()

    def _read_jobs(self, who: Principal) -> tuple[Job, ...]:
        found = [job for kind in KINDS for job in jobs.list_shown_jobs(self._services, who, kind, limit=_JOBS)]
        return tuple(sorted(found, key=lambda job: (job.created_at, job.job_id), reverse=True))

    def _read_job(self, who: Principal, job_id: UUID) -> JobSeen:
        job = jobs.get_job(self._services, who, job_id)
        steps = jobs.list_steps(self._services, who, job_id)
        events = jobs.list_events(self._services, who, job_id, after_seq=max(0, job.last_seq - _EVENTS), limit=_EVENTS)
        return JobSeen(job, tuple(steps), tuple(events))


def looks() -> ScenarioLooks:
    """Those of the portal that is open."""
    opened = portal()
    with _opening:
        if not _kept or _kept[0][0] is not opened:
            _kept[:] = [(opened, ScenarioLooks(opened.services))]
        return _kept[0][1]


_kept: Final[list[tuple[Portal, ScenarioLooks]]] = []  # at most one, as of the portal itself
_opening: Final = threading.Lock()
