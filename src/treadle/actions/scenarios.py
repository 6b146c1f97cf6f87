"""Scenarios: plan, build, follow, destroy, and ask their graphs. A build is a background job; to those who wait for it, an upload job."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from treadle.actions.change import change
from treadle.actions.services import Services
from treadle.control.access import Principal, Right, require
from treadle.control.audit import OpenEntry
from treadle.control.jobs import overview, queue
from treadle.control.jobs.job import Job
from treadle.errors import InvalidInput, TreadleError
from treadle.flows.scenario import flow, provision_item
from treadle.flows.scenario.asking import BUSY, busy
from treadle.flows.scenario.flow import BUILD, Asked, BuildPlan, DestroyPlan
from treadle.flows.scenario.plan import Existing
from treadle.flows.scenario.provision_item import ItemWish
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.upload_job import UploadJob, upload_job

if TYPE_CHECKING:  # what only some callers need is loaded by those
    from collections.abc import Mapping
    from typing import BinaryIO

    from treadle.clients.fabric import Workspace
    from treadle.clients.graph_answers import GraphAnswer
    from treadle.flows.scenario.connections import Connection
    from treadle.flows.scenario.records import ScenarioRecord, Thing
    from treadle.flows.scenario.slots import Slot
    from treadle.flows.scenario.uploads import Archive, FinishedUpload


@dataclass(frozen=True, slots=True)
class UploadJobs:
    """One page of upload jobs, newest first. next: give it as `after` for the page behind; None on the last."""

    jobs: tuple[UploadJob, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class FabricStatus:
    """Where scenarios are built. connection: the one asked about, else the active one; None: there is none.

    reachable: whether Fabric lets us into its workspace now; problem: why not. running: what holds it now. things: what was made there.
    """

    connection: "Connection | None"
    reachable: bool
    problem: str | None
    running: Job | None
    things: "tuple[Thing, ...]"


def plan(services: Services, who: Principal, asked: Asked, archives: "Mapping[Slot, BinaryIO]") -> BuildPlan:
    """What a build would change; right `scenarios:read`. Changes nothing. Raises as `flow.plan_build`."""
    require(who, Right.SCENARIOS_READ)
    return flow.plan_build(services.scenarios(), asked, archives)


def find_workspace(services: Services, who: Principal, workspace_id: str | None, name: str | None) -> "Workspace":
    """The workspace that is meant by its id, its name or both; by neither: the active connection's. Right `scenarios:build`.

    Raises:
        NotFound: there is none of this id or name that Fabric shows us. PermissionDenied: as Fabric answers.
        InvalidInput: several have the name, id and name mean different ones, or there is neither, and no connection is active.
    """
    from treadle.clients.fabric import Workspace  # noqa: PLC0415 - see above
    from treadle.flows.scenario import workspaces  # noqa: PLC0415 - the same
    from treadle.flows.scenario.connections import active_connection  # noqa: PLC0415 - the same

    require(who, Right.SCENARIOS_BUILD)
    scenario = services.scenarios()
    if found := workspaces.find_workspace(scenario.fabric, workspace_id, name):
        return found
    if active := active_connection(scenario.documents):
        return Workspace(active.workspace_id, active.workspace_name)
    raise InvalidInput(
        "Nobody said in which workspace, and no connection is active.",
        hint="Send workspace_id or workspace_name, or select a connection: POST /query/fabric/connections/{id}/select",
        details={"field": "workspace_id"},
    )


def finished_upload(services: Services, who: Principal, upload_id: UUID, job_id: UUID) -> "FinishedUpload":
    """An archive that this principal has uploaded by itself, for the build that is going to have this id; right `scenarios:build`.

    Raises as `uploads.finished_upload` of the scenario flow.
    """
    from treadle.flows.scenario.uploads import finished_upload  # noqa: PLC0415 - see above

    require(who, Right.SCENARIOS_BUILD)
    return finished_upload(services.own, upload_id, who.subject, job_id)


def build(services: Services, who: Principal, asked: Asked, archives: "Mapping[Slot, Archive]", *, job_id: UUID | None = None) -> Job:
    """Have a worker build a scenario; right `scenarios:build`. Safe to repeat with the same job_id. Raises as `flow.request_build`.

    Builds of one workspace run one after the other. archives: open files, each read once from where it stands; the caller closes them. Or uploads
    that are finished, which the job uses up.
    """
    with change(services, who, Right.SCENARIOS_BUILD, "scenario.build", _target(asked), **_wish(asked, archives)) as entry:
        return _started(entry, flow.request_build(services.scenarios(), asked, archives, who.name, job_id=job_id))


def provision(services: Services, who: Principal, asked: Asked, archives: "Mapping[Slot, Archive]", *, job_id: UUID | None = None) -> Job:
    """As `build`, but only into a workspace that nothing else holds. Who is refused leaves no job behind.

    Raises:
        Conflict: another provisioning of the workspace runs or waits; details name it: code `provisioning_running`, job_id, requested_by, since.
    """
    with change(services, who, Right.SCENARIOS_BUILD, "scenario.build", _target(asked), **_wish(asked, archives)) as entry:
        scenario = services.scenarios()
        _require_free(scenario, asked.workspace_id, job_id)
        return _started(entry, flow.request_build(scenario, asked, archives, who.name, job_id=job_id, alone=True))


def provision_one(services: Services, who: Principal, wish: ItemWish, *, job_id: UUID | None = None) -> Job:
    """Have a worker find or create a lakehouse, an eventhouse or an ontology; right `scenarios:build`.

    Raises Conflict as `provision`, else as `provision_item.request_item`.
    """
    target = f"workspace:{wish.workspace_id}"
    with change(services, who, Right.SCENARIOS_BUILD, "scenario.provision", target, kind=wish.kind, name=wish.name) as entry:
        scenario = services.scenarios()
        _require_free(scenario, wish.workspace_id, job_id)
        return _started(entry, provision_item.request_item(scenario, wish, who.name, job_id=job_id))


def require_free(services: Services, who: Principal, workspace_id: str) -> None:
    """Raise the Conflict that `provision` would, before an archive is sent in vain; right `scenarios:build`."""
    require(who, Right.SCENARIOS_BUILD)
    _require_free(services.scenarios(), workspace_id, None)


def plan_destroy(services: Services, who: Principal, name: str) -> tuple[Existing, ...]:
    """What the end of a scenario would remove, last built first; right `scenarios:read`. Raises NotFound."""
    return survey_destroy(services, who, name).removed


def survey_destroy(services: Services, who: Principal, name: str) -> DestroyPlan:
    """The same, with what it would leave, and why; right `scenarios:read`. Raises NotFound."""
    require(who, Right.SCENARIOS_READ)
    return flow.survey_destroy(services.scenarios(), name)


def destroy(services: Services, who: Principal, name: str, *, job_id: UUID | None = None) -> Job:
    """Have a worker remove what a scenario made; right `scenarios:build`. Safe to repeat with the same job_id. Raises NotFound."""
    with change(services, who, Right.SCENARIOS_BUILD, "scenario.destroy", f"scenario:{name}") as entry:
        return _started(entry, flow.request_destroy(services.scenarios(), name, who.name, job_id=job_id))


def list_scenarios(services: Services, who: Principal) -> "list[ScenarioRecord]":
    """The scenarios that were built, by name; right `scenarios:read`."""
    from treadle.flows.scenario.records import list_scenarios  # noqa: PLC0415 - see above

    require(who, Right.SCENARIOS_READ)
    return list(list_scenarios(services.scenarios().documents))


def get_scenario(services: Services, who: Principal, name: str) -> "ScenarioRecord":
    """One scenario; right `scenarios:read`. Raises NotFound."""
    from treadle.flows.scenario.records import get_scenario  # noqa: PLC0415 - see above

    require(who, Right.SCENARIOS_READ)
    return get_scenario(services.scenarios().documents, name)


def query(services: Services, who: Principal, name: str, gql: str) -> "GraphAnswer":
    """Ask the graph of a scenario; right `scenarios:read`. Raises as `flow.query_graph`."""
    require(who, Right.SCENARIOS_READ)
    return flow.query_graph(services.scenarios(), name, gql)


def query_model(services: Services, who: Principal, workspace_id: str, graph_model_id: str, gql: str) -> "GraphAnswer":
    """Ask a graph model by its ids; right `scenarios:read`. Raises as `flow.query_graph_model`."""
    require(who, Right.SCENARIOS_READ)
    return flow.query_graph_model(services.scenarios(), workspace_id, graph_model_id, gql)


def upload_jobs(
    services: Services, who: Principal, *, workspace_id: str | None = None, limit: int = 50, after: str | None = None
) -> UploadJobs:
    """One page of builds, newest first, without the results of their steps; right `scenarios:read`. Raises InvalidInput."""
    require(who, Right.SCENARIOS_READ)
    key = flow.workspace_key(workspace_id) if workspace_id else None
    page = overview.shown_jobs(services.own, BUILD, key=key, limit=limit, after=after)
    job_ids = [job.job_id for job in page.jobs]
    steps, told = overview.steps_of(services.own, job_ids), overview.newest_told(services.own, job_ids, "slot")
    return UploadJobs(tuple(upload_job(job, steps[job.job_id], told[job.job_id]) for job in page.jobs), page.next)


def get_upload_job(services: Services, who: Principal, job_id: UUID) -> UploadJob:
    """One build with the results of its steps; right `scenarios:read`. Raises NotFound."""
    require(who, Right.SCENARIOS_READ)
    return _seen(services, overview.shown_job(services.own, BUILD, job_id))


def cancel_upload_job(services: Services, who: Principal, job_id: UUID) -> UploadJob:
    """Cancel a build that waits, or ask one that runs to stop; right `scenarios:build`. Raises NotFound, and Conflict when it has ended."""
    with change(services, who, Right.SCENARIOS_BUILD, "scenario.cancel", f"job:{job_id}") as entry:
        overview.shown_job(services.own, BUILD, job_id)
        job = queue.request_cancel(services.own, job_id, who.name)
        entry.note(state=job.state)
        return _seen(services, job)


def retry_upload_job(services: Services, who: Principal, job_id: UUID) -> UploadJob:
    """Ask again for a build that failed or was cancelled; right `scenarios:build`. What is done stays done. Raises NotFound, Conflict."""
    with change(services, who, Right.SCENARIOS_BUILD, "scenario.retry", f"job:{job_id}") as entry:
        overview.shown_job(services.own, BUILD, job_id)
        job = queue.retry_job(services.own, job_id, who.name)
        entry.note(state=job.state)
        return _seen(services, job)


def delete_upload_job(services: Services, who: Principal, job_id: UUID) -> None:
    """Take a build that has ended out of the list, and clear its archives away; right `scenarios:build`. What it made stays.

    Raises NotFound, and Conflict while it goes on.
    """
    from treadle.flows.scenario.uploads import remove_staged_quietly  # noqa: PLC0415 - see above

    with change(services, who, Right.SCENARIOS_BUILD, "scenario.delete_job", f"job:{job_id}"):
        job = overview.hide_job(services.own, BUILD, job_id, who.name)
        remove_staged_quietly(services.scenarios().lake, job)


def status(services: Services, who: Principal, workspace_id: str | None = None) -> FabricStatus:
    """Whether scenarios can be built, where, and what is under way there; right `scenarios:read`. Asks Fabric once."""
    from treadle.flows.scenario.connections import active_connection, list_connections  # noqa: PLC0415 - see above
    from treadle.flows.scenario.records import things_of  # noqa: PLC0415 - the same

    require(who, Right.SCENARIOS_READ)
    scenario = services.scenarios()
    if workspace_id is None:
        connection = active_connection(scenario.documents)
    else:
        connection = next((item for item in list_connections(scenario.documents) if item.workspace_id == workspace_id.lower()), None)
    if connection is None:
        return FabricStatus(None, reachable=False, problem="No workspace is connected.", running=None, things=())
    problem = _problem_of(scenario, connection.workspace_id)
    running = flow.running_build(scenario, connection.workspace_id)
    return FabricStatus(
        connection, problem is None, problem, running, tuple(things_of(scenario.documents, connection.workspace_id))
    )  # fmt: skip


def _problem_of(scenario: ScenarioServices, workspace_id: str) -> str | None:
    from treadle.clients.fabric import WorkspaceId  # noqa: PLC0415 - see above

    try:
        scenario.fabric.get_workspace(WorkspaceId(workspace_id))
    except TreadleError as error:
        return error.message
    return None


def _seen(services: Services, job: Job) -> UploadJob:
    told = overview.newest_told(services.own, [job.job_id], "slot")[job.job_id]
    return upload_job(job, queue.list_steps(services.own, job.job_id), told)


def _require_free(scenario: ScenarioServices, workspace_id: str, job_id: UUID | None) -> None:
    """job_id: of the asking itself, which may be a repetition."""
    holder = flow.running_build(scenario, workspace_id)
    if holder is not None and holder.job_id != job_id:
        raise busy(workspace_id, holder)


def _started(entry: OpenEntry, job: Job) -> Job:
    entry.note(job_id=job.job_id)
    return job


def _target(asked: Asked) -> str:
    return f"scenario:{asked.scenario_name}" if asked.scenario_name else f"workspace:{asked.workspace_id}"


def _wish(asked: Asked, archives: "Mapping[Slot, Archive]") -> dict[str, object]:
    return {
        "workspace_id": asked.workspace_id,
        "backend": asked.backend,
        "slots": [str(slot) for slot in archives],
        "overwrite": asked.overwrite,
    }


__all__ = ["BUSY", "Asked", "BuildPlan", "DestroyPlan", "Existing", "FabricStatus", "ItemWish", "UploadJob", "UploadJobs"]
