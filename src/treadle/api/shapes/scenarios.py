"""The shapes of scenarios: upload jobs, provisioning, connections, documents and what a graph answers."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field

from treadle.api.shapes.base import Asked, Moment, Shape
from treadle.api.words import for_callers
from treadle.flows.scenario.upload_job import UploadStatus

Backend = Literal["fabric-gql", "cosmosdb-gremlin"]
Pct = Annotated[float, Field(ge=0, le=100, description="How far, 0 to 100.")]
WorkspaceId = Annotated[UUID, Field(description="A workspace of Fabric.", examples=["11111111-1111-4111-8111-111111111111"])]
ItemName = Annotated[str, Field(min_length=1, max_length=256)]
AnyWorkspaceId = Annotated[
    UUID | None,
    Field(description="A workspace of Fabric. Left out: the one that `workspace_name` names; without that, the active connection."),
]
AnyWorkspaceName = Annotated[
    str | None, Field(max_length=256, description="What that is called, exactly; it must be its name if the id is sent, too.")
]
_LEFT_OUT = "Left out: the one that the scenario has in this workspace, if it was built there last, else"


class UploadStepShape(Shape):
    """One slot of an upload job."""

    name: str = Field(examples=["graph"], description="The slot.")
    status: UploadStatus
    detail: str = Field(description="What happens, or happened last, for people.")
    pct: Pct


class UploadStepDetails(UploadStepShape):
    """One slot of an upload job, with what its steps have done."""

    results: dict[str, Any] = Field(description="Of the steps that are done, by their names.")


class UploadJobShape(Shape):
    """A build of a scenario, as those who wait for it see it."""

    id: UUID = Field(validation_alias="job_id")
    scenario_name: str | None = Field(description="Null until the manifest was read, if nobody named it.")
    status: UploadStatus
    created_at: Moment
    updated_at: Moment = Field(description="When something last happened to it.")
    overall_pct: Pct
    error: str | None = Field(description="Why it failed; null: it has not.")
    hint: Annotated[str | None, AfterValidator(lambda hint: hint and for_callers(hint))] = Field(description="What to do about that.")
    backend: str | None = Field(
        examples=["fabric-gql"], description="Where its graph lives; null until the manifest was read, if nobody said."
    )
    workspace_id: str = Field(description="The workspace of Fabric.")
    workspace_name: str = Field(description="What that is called.")
    requested_by: str
    attempt: int
    max_attempts: int | None
    cancel_requested_by: str | None
    steps: list[UploadStepShape] = Field(description="The slots that were given, in the order in which they are done.")


class UploadJobDetails(UploadJobShape):
    """A build with what its steps have done, and what came of it."""

    steps: list[UploadStepDetails] = Field(description="The slots that were given, in the order in which they are done.")  # pyright: ignore[reportIncompatibleVariableOverride] - read only
    result: Any = None
    error_details: dict[str, Any] | None = Field(description="What belongs to `error`, such as the faults of an archive.")


class UploadJobsPage(Shape):
    """One page of upload jobs, newest first."""

    jobs: list[UploadJobShape]
    next: str | None


class StartedUpload(Shape):
    """The job that was asked for."""

    job_id: UUID


class InWorkspace(Asked):
    """Where something is to be made: the workspace by its id, by its name, or by both."""

    workspace_id: AnyWorkspaceId = None
    workspace_name: AnyWorkspaceName = None


class BuildForm(InWorkspace):
    """The texts of a form that brings archives."""

    scenario_name: str | None = Field(default=None, max_length=200, description="As the manifest says if it is left out.")
    backend: Backend | None = Field(default=None, description="As the manifest says if it is left out.")
    lakehouse_name: ItemName | None = Field(default=None, description=f"Found or created. {_LEFT_OUT} `lakehouse`.")
    ontology_name: ItemName | None = Field(default=None, description=f"Found or created. {_LEFT_OUT} `ontology`.")
    eventhouse_name: ItemName | None = Field(default=None, description=f"Found or created. {_LEFT_OUT} `eventhouse`.")
    overwrite: bool = Field(default=False, description="Whether things that another scenario made, or nobody knows who, are taken over.")


class ProvisionLakehouse(InWorkspace):
    """A lakehouse to find or create."""

    lakehouse_name: ItemName = Field(default="lakehouse", description="Its name.")


class ProvisionEventhouse(InWorkspace):
    """An eventhouse to find or create."""

    eventhouse_name: ItemName = Field(default="eventhouse", description="Its name.")


class ProvisionOntology(InWorkspace):
    """An ontology to find or create."""

    ontology_name: ItemName = Field(default="ontology", description="Its name.")


class ConnectionShape(Shape):
    """A workspace that scenarios can be built in."""

    id: str = Field(validation_alias="workspace_id")
    workspace_id: str = Field(description="The workspace of Fabric.")
    workspace_name: str = Field(description="What Fabric calls it.")
    created_at: Moment
    last_used: Moment | None = Field(description="When it was last selected or built in; null: never.")
    active: bool = Field(description="Whether builds go there unless they name another.")


class Connections(Shape):
    """The workspaces."""

    connections: list[ConnectionShape]


class AddConnection(Asked):
    """The workspace to connect; Fabric is asked whether it is there and we are let in."""

    workspace_id: WorkspaceId
    workspace_name: str | None = Field(default=None, max_length=256, description="Taken for compatibility; Fabric's own name is kept.")


class ThingShape(Shape):
    """Something in Fabric that a build made."""

    scenario: str
    kind: str = Field(examples=["ontology"])
    name: str
    item_id: str = Field(description="Fabric's id of it.")


class FabricStatusShape(Shape):
    """Where scenarios are built, and whether that works."""

    connection: ConnectionShape | None = Field(description="The one asked about, else the active one; null: there is none.")
    reachable: bool = Field(description="Whether Fabric lets us into the workspace now.")
    problem: str | None = Field(description="Why not.")
    running_job_id: UUID | None = Field(description="The provisioning that holds the workspace now; null: it is free.")
    requested_by: str | None = Field(description="Who asked for that.")
    things: list[ThingShape] = Field(description="What builds have made there.")


class DocumentShape(Shape):
    """A document: a JSON object. `id` is its id; `_etag` and `_updated_at` are told, never stored."""

    model_config = ConfigDict(extra="allow", from_attributes=True)

    id: str
    etag: str = Field(alias="_etag", description="Another one after every write.")
    updated_at: Moment = Field(alias="_updated_at", description="When it was last written.")


class DocumentsPage(Shape):
    """One page of documents."""

    items: list[DocumentShape]
    next: str | None


class GraphQuery(Asked):
    """What to ask, and which graph: a scenario's, or a graph model by its ids."""

    query: str = Field(min_length=1, max_length=20_000, description="In GQL.", examples=["MATCH (n) RETURN n LIMIT 10"])
    scenario_name: str | None = Field(default=None, max_length=200, description="The scenario whose graph is asked.")
    workspace_id: UUID | None = Field(default=None, description="The workspace of the graph model, if no scenario is named.")
    graph_model_id: UUID | None = Field(default=None, description="The graph model, if no scenario is named.")


class GraphColumnShape(Shape):
    """A column of an answer."""

    name: str
    gql_type: str = Field(description="Its type as the graph says, such as INT64 or NODE.")
    json_type: str = Field(description="How its values come.")


class GraphNodeShape(Shape):
    """A node to draw."""

    id: str
    labels: list[str] = Field(description="What it is; none where only a reference to it came.")
    properties: dict[str, Any] = Field(description="Its values.")


class GraphEdgeShape(GraphNodeShape):
    """An edge to draw."""

    source: str = Field(description="The id of the node that it leaves.")
    target: str = Field(description="The id of the node that it leads to.")


class GraphAnswerShape(Shape):
    """What a graph answers: columns and rows, and what of it can be drawn."""

    columns: list[GraphColumnShape]
    rows: list[dict[str, Any]] = Field(description="A value for each column, by its name.")
    status: str = Field(description="GQL's status; 00000: all is well, 02000: nothing was found.", examples=["00000"])
    description: str = Field(description="What that means.")
    nodes: list[GraphNodeShape] = Field(description="The nodes in the answer, each once.")
    edges: list[GraphEdgeShape] = Field(description="The edges in the answer, each once.")
