"""Runs: start, restore, cancel; find, list, follow, compare, and the figures over time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from treadle.actions.change import change
from treadle.actions.services import Services
from treadle.control import artifacts as stored_artifacts
from treadle.control import compare as comparing
from treadle.control import events as trail
from treadle.control import restores as history
from treadle.control import runs as stored
from treadle.control.access import Principal, Right, require
from treadle.control.artifacts import Artifact
from treadle.control.compare import Comparison
from treadle.control.events import Event
from treadle.control.restores import Restore
from treadle.control.run import Run
from treadle.control.run_search import Page
from treadle.control.states import RunStatus
from treadle.errors import InvalidInput, NotFound
from treadle.flows.sales import flow
from treadle.flows.sales.flow import StartRequest
from treadle.flows.sales.input_files import Progress, Wishes

_MAX_TREND: Final = 500


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One figure of one run that succeeded."""

    run_id: UUID
    created_at: datetime
    value: int | float


def start(  # noqa: PLR0913 - what somebody asks for, each by name
    services: Services,
    who: Principal,
    input_file: str,
    *,
    columns: Mapping[str, str] | None = None,
    sheet: str | None = None,
    local_file: Path | None = None,
    run_id: UUID | None = None,
    progress: Progress | None = None,
) -> Run:
    """Start a run of a workbook in the lake; right `runs:start`, and `files:write` for what changes in the lake: columns, sheet, local_file.

    columns, sheet: how to read it, from now on; None as it is stored beside the file. local_file: brought to the lake under that name first.
    run_id: makes the start safe to repeat; None for a new one.

    Raises:
        PermissionDenied, and what `flow.start` raises.
    """
    new_id = run_id or uuid4()
    wished = {"columns": dict(columns) if columns is not None else None, "sheet": sheet}
    needs = {Right.RUNS_START} | ({Right.FILES_WRITE} if columns is not None or sheet is not None or local_file else set[Right]())
    with change(services, who, needs, "run.start", f"run:{new_id}", input_file=input_file, **wished) as entry:
        request = StartRequest(input_file, requested_by=who.name, local_file=local_file, wishes=Wishes(columns, sheet))
        run = flow.start(services.sales, request, run_id=new_id, progress=progress)
        entry.note(status=run.status, fabric_job_id=run.fabric_job_id)
        return run


def restore(services: Services, who: Principal, source_run_id: UUID, *, run_id: UUID | None = None) -> Run:
    """Publish an earlier run's files to `current/` again, as a run of its own; right `runs:restore`. run_id: as for `start`."""
    new_id = run_id or uuid4()
    with change(services, who, Right.RUNS_RESTORE, "run.restore", f"run:{new_id}", source_run_id=source_run_id) as entry:
        run = flow.restore(services.sales, source_run_id, who.name, run_id=new_id)
        entry.note(status=run.status, fabric_job_id=run.fabric_job_id)
        return run


def cancel(services: Services, who: Principal, run_id: UUID) -> Run:
    """Ask for a run to be stopped, and return it as it was; right `runs:cancel`."""
    with change(services, who, Right.RUNS_CANCEL, "run.cancel", f"run:{run_id}"):
        return flow.cancel(services.sales, run_id, who.name)


def get_run(services: Services, who: Principal, run_id: UUID) -> Run:
    """One run; right `runs:read`, as for all below. Raises NotFound."""
    require(who, Right.RUNS_READ)
    return stored.get_run(services.database, run_id)


def find_run(services: Services, who: Principal, text: str) -> Run:
    """The run whose id begins so. Raises InvalidInput, NotFound."""
    require(who, Right.RUNS_READ)
    return stored.find_run(services.database, text)


def list_runs(services: Services, who: Principal, **filters: Any) -> Page:
    """One page of runs, newest first; the filters are those of `run_search.list_runs`."""
    require(who, Right.RUNS_READ)
    return stored.list_runs(services.database, **filters)


def list_events(services: Services, who: Principal, run_id: UUID, *, after: str | None = None, limit: int | None = None) -> list[Event]:
    """The trail of a run, oldest first. Raises NotFound."""
    run = get_run(services, who, run_id)
    return trail.list_events(services.database, run.run_id, after=after, limit=limit)


def follow(services: Services, who: Principal, run_id: UUID) -> tuple[Run, list[Event]]:
    """A run and its trail, oldest first, with no more than two queries: a page looks again and again. Raises NotFound."""
    run = get_run(services, who, run_id)
    return run, trail.list_events(services.database, run.run_id)


def list_artifacts(services: Services, who: Principal, run_id: UUID) -> list[Artifact]:
    """The files that a run has left. Raises NotFound."""
    run = get_run(services, who, run_id)
    return stored_artifacts.list_artifacts(services.database, run.run_id)


def get_artifact(services: Services, who: Principal, run_id: UUID, name: str) -> Artifact:
    """One file of a run, by its name without folders. Raises NotFound, with the names that there are."""
    found = list_artifacts(services, who, run_id)
    for artifact in found:
        if artifact.file_path.rpartition("/")[2] == name:
            return artifact
    names = [artifact.file_path.rpartition("/")[2] for artifact in found]
    raise NotFound(
        f"Run {run_id} has no file {name!a}.",
        hint=f"It has: {', '.join(names)}." if names else "A run has files once it has succeeded.",
        details={"run_id": str(run_id), "files": names},
    )


def compare(services: Services, who: Principal, a: UUID, b: UUID) -> Comparison:
    """Two runs' figures side by side. Raises NotFound."""
    require(who, Right.RUNS_READ)
    return comparing.compare_runs(services.database, a, b)


def list_restores(services: Services, who: Principal, *, after: str | None = None, limit: int | None = None) -> list[Restore]:
    """Who brought which run back, newest first."""
    require(who, Right.RUNS_READ)
    return history.list_restores(services.database, after=after, limit=limit)


def latest(services: Services, who: Principal) -> tuple[Run | None, Run | None]:
    """The newest run that succeeded, and the one before it; None where there is none."""
    require(who, Right.RUNS_READ)
    newest = stored.latest_succeeded(services.database)
    newest = newest and stored.get_run(services.database, newest.run_id)
    return newest, stored.previous_run(services.database, newest) if newest else None


def trend(services: Services, who: Principal, kpi: str, *, limit: int = 50) -> list[TrendPoint]:
    """One figure of the newest runs that succeeded, oldest first; runs without it are left out.

    Raises:
        InvalidInput: the limit is not 1 to 500.
    """
    require(who, Right.RUNS_READ)
    if not 1 <= limit <= _MAX_TREND:
        raise InvalidInput(f"A trend cannot have {limit} points.", hint=f"Ask for 1 to {_MAX_TREND}.")
    found = stored.list_runs(services.database, status={RunStatus.SUCCEEDED}, include_restores=False, limit=limit).runs
    points = ((run, _figure((run.kpis or {}).get(kpi))) for run in reversed(found))
    return [TrendPoint(run.run_id, run.created_at, value) for run, value in points if value is not None]


def _figure(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
