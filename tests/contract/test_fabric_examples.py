"""The requests of the published examples, replayed: status, headers and the keys of the answer are those of the vendor.

Source: fabric-rest-api-specs, examples named in each line (platform/examples/platform, lakehouse/, notebook/, dataPipeline/examples).
Keys that an answer has only for things which the sandbox does not have (sensitivity label, tags, domain, workspace identity) are left out.
"""

import json
import uuid

import pytest
from tests.contract.fabric_trials import notebook_source, part, until

ITEM = {"id", "type", "displayName", "description", "workspaceId"}
WORKSPACE = {"id", "displayName", "description", "type", "capacityId"}
JOB = {"id", "itemId", "jobType", "invokeType", "status", "failureReason", "rootActivityId", "startTimeUtc", "endTimeUtc"}
OPERATION = {"status", "createdTimeUtc", "lastUpdatedTimeUtc", "percentComplete"}
LAKEHOUSE = {"oneLakeTablesPath", "oneLakeFilesPath", "sqlEndpointProperties"}
ACCEPTED = {"location", "x-ms-operation-id", "retry-after"}
SUBMITTED = {"location", "retry-after"}
TOLD = {"location", "retry-after", "x-ms-operation-id"}  # the headers by which an example says where to go on


@pytest.fixture
def place(fabric):
    """A workspace with one of each item, and a job that has ended."""
    workspace = fabric.workspace()
    lakehouse = fabric.lakehouse(workspace)
    notebook = fabric.notebook(workspace, notebook_source("1"))
    pipeline = fabric.pipeline(workspace)
    folder = fabric.post(f"/workspaces/{workspace}/folders", {"displayName": "Sales"}, expect=201).json()["id"]
    job = fabric.run_to_end(workspace, pipeline)["id"]
    yield {"ws": workspace, "lakehouse": lakehouse, "notebook": notebook, "pipeline": pipeline, "folder": folder, "job": job}
    fabric.call("DELETE", f"/workspaces/{workspace}", 200)


def told(answer):
    return {name for name in answer.headers if name in TOLD}


@pytest.mark.parametrize(
    ("example", "method", "path", "body", "status", "headers", "keys"),
    [
        ("ListWorkspaces", "GET", "/workspaces", None, 200, set(), {"value": WORKSPACE}),
        (
            "GetWorkspace",
            "GET",
            "/workspaces/{ws}",
            None,
            200,
            set(),
            WORKSPACE | {"capacityAssignmentProgress", "capacityRegion", "oneLakeEndpoints"},
        ),
        ("UpdateWorkspace", "PATCH", "/workspaces/{ws}", {"description": "new"}, 200, set(), WORKSPACE),
        ("ListCapacities", "GET", "/capacities", None, 200, set(), {"value": {"id", "displayName", "sku", "region", "state"}}),
        ("AssignWorkspaceToCapacity", "POST", "/workspaces/{ws}/assignToCapacity", {}, 202, set(), None),
        ("ListAllFoldersInWorkspace", "GET", "/workspaces/{ws}/folders", None, 200, set(), {"value": {"id", "displayName", "workspaceId"}}),
        (
            "CreateFolderUnderAnotherFolder",
            "POST",
            "/workspaces/{ws}/folders",
            {"displayName": "A folder", "parentFolderId": "{folder}"},
            201,
            {"location"},
            {"id", "displayName", "workspaceId", "parentFolderId"},
        ),
        ("CreateItemRequiredOnly", "POST", "/workspaces/{ws}/items", {"displayName": "Item_1", "type": "Lakehouse"}, 201, set(), ITEM),
        (
            "CreateItemInFolder",
            "POST",
            "/workspaces/{ws}/items",
            {"displayName": "Item_1", "type": "Lakehouse", "folderId": "{folder}"},
            201,
            set(),
            ITEM | {"folderId"},
        ),
        ("GetItem", "GET", "/workspaces/{ws}/items/{notebook}", None, 200, set(), ITEM),
        ("ListItemsInWorkspaceByType", "GET", "/workspaces/{ws}/items?type=Lakehouse", None, 200, set(), {"value": ITEM}),
        ("UpdateItem", "PATCH", "/workspaces/{ws}/items/{notebook}", {"displayName": "New"}, 200, set(), ITEM),
        (
            "MoveItemIntoFolder",
            "POST",
            "/workspaces/{ws}/items/{notebook}/move",
            {"targetFolderId": "{folder}"},
            200,
            set(),
            {"value": ITEM | {"folderId"}},
        ),
        ("DeleteItem", "DELETE", "/workspaces/{ws}/items/{notebook}", None, 200, set(), None),
        ("GetItemDefinition", "POST", "/workspaces/{ws}/items/{pipeline}/getDefinition", None, 200, set(), {"definition": {"parts"}}),
        ("GetItemDefinition", "POST", "/workspaces/{ws}/items/{notebook}/getDefinition", None, 202, ACCEPTED, None),
        (
            "CreateLakehouse",
            "POST",
            "/workspaces/{ws}/lakehouses",
            {"displayName": "Lakehouse_1", "description": "A lakehouse description"},
            201,
            set(),
            ITEM,
        ),
        (
            "CreateLakehouseWithPayload",
            "POST",
            "/workspaces/{ws}/lakehouses",
            {"displayName": "Lakehouse_created_with_schema", "creationPayload": {"enableSchemas": True}},
            201,
            set(),
            ITEM,
        ),
        ("GetLakehouse", "GET", "/workspaces/{ws}/lakehouses/{lakehouse}", None, 200, set(), ITEM | {"properties"}),
        ("ListLakehousesInWorkspace", "GET", "/workspaces/{ws}/lakehouses", None, 200, set(), {"value": ITEM | {"properties"}}),
        (
            "ListTables",
            "GET",
            "/workspaces/{ws}/lakehouses/{lakehouse}/tables?maxResults=10&continuationToken=",
            None,
            200,
            set(),
            {"data", "continuationToken", "continuationUri"},
        ),
        ("CreateNotebookWithoutDefinition", "POST", "/workspaces/{ws}/notebooks", {"displayName": "Notebook 1"}, 202, ACCEPTED, None),
        ("RunOnDemandItemJob", "POST", "/workspaces/{ws}/items/{pipeline}/jobs/DefaultJob/instances", None, 202, SUBMITTED, None),
        (
            "RunNotebookWithParameters",
            "POST",
            "/workspaces/{ws}/notebooks/{notebook}/jobs/execute/instances?beta=false",
            {
                "parameters": [{"name": "param1", "value": "value1", "type": "Text"}, {"name": "param2", "value": True, "type": "Boolean"}],
                "executionData": {
                    "compute": "Spark",
                    "computeConfiguration": {"highConcurrencyModeOptions": {"enabled": True, "sessionTag": "t"}},
                },
            },
            202,
            SUBMITTED,
            None,
        ),
        (
            "RunOnDemandDataPipelineExecuteJob",
            "POST",
            "/workspaces/{ws}/dataPipelines/{pipeline}/jobs/execute/instances",
            None,
            202,
            SUBMITTED,
            None,
        ),
        ("GetItemJobInstance", "GET", "/workspaces/{ws}/items/{pipeline}/jobs/instances/{job}", None, 200, set(), JOB),
        (
            "GetDataPipelineExecuteJobInstance",
            "GET",
            "/workspaces/{ws}/dataPipelines/{pipeline}/jobs/execute/instances/{job}",
            None,
            200,
            set(),
            JOB,
        ),
        ("ListItemJobInstances", "GET", "/workspaces/{ws}/items/{pipeline}/jobs/instances", None, 200, set(), {"value": JOB}),
        (
            "ListDataPipelineExecuteJobInstances",
            "GET",
            "/workspaces/{ws}/dataPipelines/{pipeline}/jobs/execute/instances",
            None,
            200,
            set(),
            {"value": JOB},
        ),
        (
            "GetWorkspaceRoleAssignments",
            "GET",
            "/workspaces/{ws}/roleAssignments",
            None,
            200,
            set(),
            {"value": {"id", "principal", "role"}},
        ),
    ],
)
def test_a_published_example_is_answered_with_its_status_headers_and_keys(
    fabric, place, example, method, path, body, status, headers, keys
):
    request = json.loads(json.dumps(body).replace("{folder}", place["folder"])) if body is not None else None
    answer = fabric.call(method, path.format(**place), json=request)
    assert (answer.status_code, told(answer)) == (status, headers), example
    if isinstance(keys, dict):
        ((name, inner),) = keys.items()
        content = answer.json()[name]
        assert set(answer.json()) == {name}
        assert (set(content[0]) if isinstance(content, list) else set(content)) == inner
    elif keys is not None:
        assert set(answer.json()) == keys


def test_the_example_of_a_new_workspace_has_a_location(fabric):
    answer = fabric.post("/workspaces", {"displayName": f"New workspace {uuid.uuid4()}"})
    assert (answer.status_code, told(answer)) == (201, {"location"})
    assert set(answer.json()) == WORKSPACE
    fabric.call("DELETE", f"/workspaces/{answer.json()['id']}", 200)


def test_the_example_of_a_role_has_a_location(fabric, place):
    body = {"principal": {"id": "8eedb1b0-3af8-4b17-8e7e-663e61e12211", "type": "User"}, "role": "Member"}
    answer = fabric.post(f"/workspaces/{place['ws']}/roleAssignments", body)
    assert (answer.status_code, told(answer)) == (201, {"location"})
    assert answer.json() == body | {"id": body["principal"]["id"]}


def test_the_examples_of_a_long_running_operation_tell_where_to_go_on(fabric, place):
    """GetLongRunningOperationStateRunning, …StateCompleted and …Result."""
    body = {"displayName": "Notebook1", "definition": {"parts": [part("notebook-content.py", notebook_source("1"))]}}
    accepted = fabric.post(f"/workspaces/{place['ws']}/notebooks", body)
    running = fabric.get(accepted.headers["location"])
    completed = fabric.get(accepted.headers["location"])
    assert told(running) == {"location", "x-ms-operation-id", "retry-after"}
    assert told(completed) == {"location", "x-ms-operation-id"}
    for state in (running, completed):
        assert set(state.json()) - {"error"} == OPERATION
    assert set(fabric.get(completed.headers["location"]).json()) == ITEM


def test_the_example_of_a_cancelled_job_points_to_the_instance(fabric, place):
    """CancelItemJobInstance."""
    waiting = {"name": "Wait", "type": "Wait", "typeProperties": {"waitTimeInSeconds": 3600}}
    location = fabric.run(place["ws"], fabric.pipeline(place["ws"], waiting, name="slow"))
    answer = fabric.post(f"{location}/cancel")
    assert (answer.status_code, told(answer), answer.headers["location"]) == (202, {"location", "retry-after"}, location)
    assert until(lambda: fabric.get(location).json()["status"] == "Cancelled")


def test_the_example_of_jobs_in_pages_has_token_and_link(fabric, place):
    """ListItemJobInstancesWithContinuation."""
    fabric.run_to_end(place["ws"], place["pipeline"])
    fabric.sandbox.fabric.options.page_size = 1
    body = fabric.get(f"/workspaces/{place['ws']}/items/{place['pipeline']}/jobs/instances").json()
    assert set(body) == {"value", "continuationToken", "continuationUri"}
    assert set(body["value"][0]) == JOB
