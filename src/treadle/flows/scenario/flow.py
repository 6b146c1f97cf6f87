"""The second half of the scenario flow as its users see it: what a build would change, the job that does it, and how to be rid of it again.

What does the work is loaded when it is needed: every process that can ask for a build loads this module, and few of them check an archive.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar
from uuid import UUID, uuid4

from treadle.clients.fabric import ItemId, WorkspaceId
from treadle.control.jobs.job import Job, NewJob
from treadle.control.jobs.queue import get_job, list_jobs
from treadle.control.jobs.states import JobState
from treadle.errors import Conflict, InvalidInput, NotFound
from treadle.flows.scenario.asked import SLOTS, Asked, asked_payload, check_asked
from treadle.flows.scenario.asking import ask_for
from treadle.flows.scenario.faults import Fault
from treadle.flows.scenario.plan import Action, Change, Existing, Kind, counts
from treadle.flows.scenario.records import find_scenario, get_scenario
from treadle.flows.scenario.schema import Connector
from treadle.flows.scenario.services import ScenarioServices

if TYPE_CHECKING:
    from treadle.clients.graph_answers import GraphAnswer
    from treadle.flows.scenario.slots import Slot
    from treadle.flows.scenario.uploads import Archive

__all__ = [
    "BUILD",
    "DESTROY",
    "Asked",
    "BuildPlan",
    "DestroyPlan",
    "DocumentCounts",
    "Left",
    "plan_build",
    "plan_destroy",
    "query_graph",
    "query_graph_model",
    "request_build",
    "request_destroy",
    "running_build",
    "survey_destroy",
    "workspace_key",
]

BUILD: Final = "scenario_build"
DESTROY: Final = "scenario_destroy"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DocumentCounts:
    """What storing an archive of documents would change: how many of each. removed: the archive does not have them any more."""

    created: int
    updated: int
    removed: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What a build would change. faults: what must be mended first; while there are any, nothing is planned. notes: worth knowing.

    changes: of things. documents: slot → what changes of its documents, for the slots that have an archive.
    """

    scenario_name: str
    backend: str
    changes: tuple[Change, ...]
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    documents: Mapping[str, DocumentCounts] = field(default_factory=dict[str, DocumentCounts])

    @property
    def counts(self) -> Mapping[str, int]:
        """How many things for each action: create, update, unchanged, conflict. Documents are counted by themselves."""
        return counts(self.changes)

    @property
    def can_be_applied(self) -> bool:
        """Whether nothing stands against it."""
        return not self.faults and not any(change.action is Action.CONFLICT for change in self.changes)


@dataclass(frozen=True, slots=True)
class Left:
    """Something that a scenario uses and that stays when it is destroyed. reason: in words, for a person."""

    thing: Existing
    reason: str


@dataclass(frozen=True, slots=True)
class DestroyPlan:
    """What a scenario's end would remove, last built first, and what it would leave. documents: slot → how many go with it; only slots that have any."""

    removed: tuple[Existing, ...]
    left: tuple[Left, ...]
    documents: Mapping[str, int] = field(default_factory=dict[str, int])


def plan_build(services: ScenarioServices, asked: Asked, archives: "Mapping[Slot, BinaryIO]") -> BuildPlan:
    """Check the archives, look at what is there, and compare. Changes nothing. archives: each read once, from where it stands.

    Raises:
        InvalidInput: a name or id cannot be used, or there is no archive.
        NotFound, PermissionDenied: of the workspace.
    """
    from treadle.flows.scenario.preview import preview_build  # noqa: PLC0415 - see above

    given = _given(asked, archives)
    workspace = services.fabric.get_workspace(WorkspaceId(asked.workspace_id))
    told = replace(asked, workspace_id=asked.workspace_id.lower(), workspace_name=workspace.name)  # as the job has it
    return preview_build(services, told, given)


def request_build(  # noqa: PLR0913 - who asks for what, by name
    services: ScenarioServices,
    asked: Asked,
    archives: "Mapping[Slot, Archive]",
    who: str,
    *,
    job_id: UUID | None = None,
    alone: bool = False,
) -> Job:
    """Bring the archives to where the job finds them, and ask for the job. Safe to repeat with the same job_id.

    Only what can be said at once is checked: names, sizes, that each is a gzip file, and the workspace, which is asked and says what it is called.
    Builds of one workspace run one after the other; alone: this one only if no other one runs or waits. An upload is used up by the job.

    Raises:
        InvalidInput: a name or id cannot be used, there is no archive, or one is too large or no gzip file.
        NotFound, PermissionDenied: of the workspace.
        Conflict: the job_id is that of another kind of job, another job has an upload, or the workspace; nothing was asked for.
    """
    from treadle.flows.scenario.uploads import discard_quietly, stage_archive, used_up  # noqa: PLC0415 - see above

    given = _given(asked, archives)
    job_id = job_id or uuid4()
    if there := _asked_before(services, job_id, BUILD):
        return there
    workspace = services.fabric.get_workspace(WorkspaceId(asked.workspace_id))
    told = replace(asked, workspace_id=asked.workspace_id.lower(), workspace_name=workspace.name)
    try:
        slots = {slot: stage_archive(services, job_id, slot, source).as_payload() for slot, source in given.items()}
        payload = {**asked_payload(told), "slots": slots}
        new = NewJob(BUILD, payload, who, key=workspace_key(asked.workspace_id), job_id=job_id)
        return ask_for(services.own, new, alone=alone, used=used_up(given))
    except (InvalidInput, Conflict):
        discard_quietly(services.lake, job_id)
        raise


def running_build(services: ScenarioServices, workspace_id: str) -> Job | None:
    """The build or removal that holds a workspace now, or is the next to hold it. None: it is free."""
    from treadle.flows.scenario.claims import holder_of, workspace  # noqa: PLC0415 - see above

    key = workspace_key(workspace_id)
    for state in (JobState.RUNNING, JobState.QUEUED):
        if found := list_jobs(services.own, key=key, state=state, limit=500).jobs:
            return found[-1]  # the oldest, which is the first to run
    return holder_of(services, workspace(workspace_id))  # a removal that reaches into it


def plan_destroy(services: ScenarioServices, scenario_name: str) -> tuple[Existing, ...]:
    """What the end of a scenario would remove, last built first. `survey_destroy` also says what stays, and why.

    Raises:
        NotFound: no scenario of this name was built.
    """
    return survey_destroy(services, scenario_name).removed


def survey_destroy(services: ScenarioServices, scenario_name: str) -> DestroyPlan:
    """What the end of a scenario would remove, and what it would leave because others use it or it was there before.

    Raises:
        NotFound: no scenario of this name was built.
    """
    from treadle.flows.scenario.survey import survey  # noqa: PLC0415 - see above

    return survey(services, scenario_name)


def request_destroy(services: ScenarioServices, scenario_name: str, who: str, *, job_id: UUID | None = None) -> Job:
    """Ask for the job that removes what a scenario made. Safe to repeat with the same job_id.

    Raises:
        NotFound: no scenario of this name was built.
        Conflict: the job_id is that of another kind of job.
    """
    job_id = job_id or uuid4()
    if there := _asked_before(services, job_id, DESTROY):
        return there
    workspace_id, workspace_name = _workspace_of(services, scenario_name)
    payload = {"scenario_name": scenario_name, "workspace_id": workspace_id, "workspace_name": workspace_name}
    return ask_for(services.own, NewJob(DESTROY, payload, who, key=workspace_key(workspace_id), job_id=job_id))


def query_graph(services: ScenarioServices, scenario_name: str, gql: str) -> "GraphAnswer":
    """Ask the graph of a scenario, in GQL.

    Raises:
        NotFound: no such scenario was built, or it has no graph in Fabric.
        InvalidInput: the engine refuses the query, in its words; or the graph is elsewhere, and does not understand GQL.
    """
    record = get_scenario(services.documents, scenario_name)
    if record.graph_connector == Connector.COSMOSDB_GREMLIN:
        from treadle.flows.scenario.build_gremlin import refuse_gql  # noqa: PLC0415 - see above

        raise refuse_gql(scenario_name)
    if record.graph_model_id is None:
        if lost := next((loss for loss in record.lost if loss.kind is Kind.GRAPH_MODEL), None):
            raise NotFound(
                f"The graph of {scenario_name} was taken over by {lost.taken_by}.", hint="Build it again, with names of its own."
            )
        raise NotFound(f"The scenario {scenario_name} has no graph.", hint="Build it with a graph archive.")
    return query_graph_model(services, record.workspace_id, record.graph_model_id, gql)


def query_graph_model(services: ScenarioServices, workspace_id: str, graph_model_id: str, gql: str) -> "GraphAnswer":
    """As `query_graph`, for a graph model that is named by its ids."""
    return services.fabric.execute_query(WorkspaceId(workspace_id), ItemId(graph_model_id), gql)


def workspace_key(workspace_id: str) -> str:
    """The key under which jobs of a workspace run one after the other. Pure."""
    return f"scenario:{workspace_id.lower()}"


def _given(asked: Asked, archives: "Mapping[Slot, T]") -> dict[str, T]:
    """The archives in the order in which they are done. Raises InvalidInput for what cannot be built."""
    check_asked(asked, {str(slot): source for slot, source in archives.items()})
    by_name = {str(slot): source for slot, source in archives.items()}
    return {slot: by_name[slot] for slot in SLOTS if slot in by_name}


def _asked_before(services: ScenarioServices, job_id: UUID, kind: str) -> Job | None:
    try:
        there = get_job(services.own, job_id)
    except NotFound:
        return None
    if there.kind != kind:
        raise Conflict(f"{job_id} is the id of a job of another kind.", hint="Use another id.", details={"job_id": str(job_id)})
    return there


def _workspace_of(services: ScenarioServices, scenario_name: str) -> tuple[str, str]:
    """Id and name of the workspace that a scenario's end holds. Raises NotFound."""
    record = find_scenario(services.documents, scenario_name)
    if record:
        return record.workspace_id.lower(), record.workspace_name
    from treadle.flows.scenario.survey import workspaces_of  # noqa: PLC0415 - see above

    workspaces = workspaces_of(services, scenario_name)  # a build that never came to its end
    if not workspaces:
        get_scenario(services.documents, scenario_name)
    return workspaces[0], ""
