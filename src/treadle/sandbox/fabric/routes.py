"""The table of Fabric's operations, and the Starlette routes made from it.

An operation's id is "fabric." and the last word of its operationId in the published specification; fault scripts name it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from treadle.sandbox.fabric import routes_graphs as graph
from treadle.sandbox.fabric import routes_items as item
from treadle.sandbox.fabric import routes_jobs as job
from treadle.sandbox.fabric import routes_tables as table
from treadle.sandbox.fabric import routes_workspaces as workspace
from treadle.sandbox.fabric.calls import Answer, AnyCaseRoute, Authenticate, Call, endpoint
from treadle.sandbox.fabric.cloud import FabricCloud
from treadle.sandbox.fabric.items import COLLECTIONS
from treadle.sandbox.fabric.refusals import Refused

Handler = Callable[[FabricCloud, Call], Answer]


class Operation(NamedTuple):
    """One line of the table: the id without its prefix, the quota it counts towards, and how it is reached."""

    name: str
    bucket: str
    method: str
    path: str
    handler: Handler


_WS: Final = "/v1/workspaces/{workspace}"
_ITEM: Final = _WS + "/items/{item}"
_TYPED_FORMS: Final = ("/items", "/items/{item}", "/items/{item}/getDefinition", "/items/{item}/updateDefinition")

OPERATIONS: Final[tuple[Operation, ...]] = tuple(
    Operation(*line)
    for line in (
        ("ListWorkspaces", "platform", "GET", "/v1/workspaces", workspace.list_workspaces),
        ("CreateWorkspace", "platform", "POST", "/v1/workspaces", workspace.create_workspace),
        ("GetWorkspace", "platform", "GET", _WS, workspace.get_workspace),
        ("UpdateWorkspace", "platform", "PATCH", _WS, workspace.update_workspace),
        ("DeleteWorkspace", "platform", "DELETE", _WS, workspace.delete_workspace),
        ("AssignToCapacity", "platform", "POST", _WS + "/assignToCapacity", workspace.assign_to_capacity),
        ("ListWorkspaceRoleAssignments", "platform", "GET", _WS + "/roleAssignments", workspace.list_role_assignments),
        ("AddWorkspaceRoleAssignment", "platform", "POST", _WS + "/roleAssignments", workspace.add_role_assignment),
        ("ListCapacities", "platform", "GET", "/v1/capacities", workspace.list_capacities),
        ("ListFolders", "platform", "GET", _WS + "/folders", workspace.list_folders),
        ("CreateFolder", "platform", "POST", _WS + "/folders", workspace.create_folder),
        ("GetFolder", "platform", "GET", _WS + "/folders/{folder}", workspace.get_folder),
        ("UpdateFolder", "platform", "PATCH", _WS + "/folders/{folder}", workspace.update_folder),
        ("DeleteFolder", "platform", "DELETE", _WS + "/folders/{folder}", workspace.delete_folder),
        ("MoveFolder", "platform", "POST", _WS + "/folders/{folder}/move", workspace.move_folder),
        ("ListItems", "platform", "GET", _WS + "/items", item.list_items),
        ("CreateItem", "platform", "POST", _WS + "/items", item.create_item),
        ("GetItem", "platform", "GET", _ITEM, item.get_item),
        ("UpdateItem", "platform", "PATCH", _ITEM, item.update_item),
        ("DeleteItem", "platform", "DELETE", _ITEM, item.delete_item),
        ("MoveItem", "platform", "POST", _ITEM + "/move", item.move_item),
        ("GetItemDefinition", "platform", "POST", _ITEM + "/getDefinition", item.get_definition),
        ("UpdateItemDefinition", "platform", "POST", _ITEM + "/updateDefinition", item.update_definition),
        ("GetOperationState", "operations", "GET", "/v1/operations/{operation}", item.get_operation),
        ("GetOperationResult", "operations", "GET", "/v1/operations/{operation}/result", item.get_operation_result),
        ("RunOnDemandItemJob", "jobs", "POST", _ITEM + "/jobs/instances", job.run_job),
        ("ListItemJobInstances", "jobs", "GET", _ITEM + "/jobs/instances", job.list_jobs),
        ("GetItemJobInstance", "jobs", "GET", _ITEM + "/jobs/instances/{job}", job.get_job),
        ("CancelItemJobInstance", "jobs", "POST", _ITEM + "/jobs/instances/{job}/cancel", job.cancel_job),
        ("RunOnDemandItemJob", "jobs", "POST", _ITEM + "/jobs/{job_type}/instances", job.run_job),
        ("QueryActivityRuns", "jobs", "POST", _WS + "/dataPipelines/pipelineRuns/{job}/queryActivityRuns", job.query_activity_runs),
        ("ExecuteQuery", "platform", "POST", _WS + "/graphModels/{item}/executeQuery", graph.execute_query),
        ("GetQueryableGraphType", "platform", "GET", _WS + "/graphModels/{item}/getQueryableGraphType", graph.get_queryable_graph_type),
        ("ListTables", "platform", "GET", _WS + "/lakehouses/{item}/tables", item.list_tables),
        ("LoadTable", "platform", "POST", _WS + "/lakehouses/{item}/tables/{table}/load", table.load_table),
        ("LoadTable", "platform", "POST", _WS + "/lakehouses/{item}/schemas/{schema}/tables/{table}/load", table.load_table),
    )
)


def fabric_routes(cloud: FabricCloud, authenticate: Authenticate) -> list[Route]:
    """All routes; a route's name is its operation id. What is not here is answered 501 by the server."""
    routes = [_route(cloud, authenticate, operation) for operation in (*OPERATIONS, *_typed_operations())]
    return [
        *routes,
        Route("/workloads/de-ds/sparkmonitor/{notebook}/{session}", _output(cloud), methods=["GET"], name="fabric.ReadNotebookOutput"),
    ]


def _typed_operations() -> list[Operation]:
    """The same operations under each type's own collection, by the same ids, so that one fault rule hits both forms."""
    typed = [
        one._replace(path=one.path.replace("/items", f"/{collection}"), handler=_of_collection(collection, one.handler))
        for collection in COLLECTIONS
        for one in OPERATIONS
        if one.path.removeprefix(_WS) in _TYPED_FORMS
    ]
    for collection, get_job in (("dataPipelines", job.get_job), ("notebooks", job.get_notebook_job)):
        instances = f"{_WS}/{collection}/{{item}}/jobs/execute/instances"
        typed.append(Operation("RunOnDemandItemJob", "jobs", "POST", instances, _of_collection(collection, job.run_job)))
        typed.append(Operation("ListItemJobInstances", "jobs", "GET", instances, _of_collection(collection, job.list_jobs)))
        typed.append(Operation("GetItemJobInstance", "jobs", "GET", instances + "/{job}", _of_collection(collection, get_job)))
    refresh = f"{_WS}/graphModels/{{item}}/jobs/{{job_type}}/instances"
    typed.append(Operation("RunOnDemandItemJob", "jobs", "POST", refresh, _of_collection("graphModels", job.run_job)))
    return typed


def _of_collection(collection: str, handler: Handler) -> Handler:
    return lambda cloud, call: handler(cloud, replace(call, ids={**call.ids, "collection": collection}))


def _route(cloud: FabricCloud, authenticate: Authenticate, operation: Operation) -> Route:
    name = f"fabric.{operation.name}"

    def handle(call: Call) -> Answer:
        cloud.quota.count(call.principal_id, operation.bucket, cloud.shop.clock.now(), cloud.options.calls_per_minute)
        return operation.handler(cloud, call)

    return AnyCaseRoute(operation.path, endpoint(name, authenticate, handle), methods=[operation.method], name=name)


def _output(cloud: FabricCloud) -> Callable[[Request], Awaitable[Response]]:
    """A link for people, who have no token: the session id in it cannot be guessed, and the sandbox listens on loopback alone."""

    async def respond(request: Request) -> Response:
        try:
            output = await run_in_threadpool(job.read_output, cloud, request.path_params["session"])
        except Refused as refused:
            return PlainTextResponse(refused.message, refused.status)
        return PlainTextResponse(output, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})

    return respond
