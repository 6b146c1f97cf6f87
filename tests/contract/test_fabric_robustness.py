"""No request makes the Fabric sandbox fail: whatever it cannot use is refused in Fabric's own envelope."""

import itertools

import pytest
from tests.contract.fabric_trials import error_of, part

from treadle.sandbox.fabric.routes import OPERATIONS

NOWHERE = "11111111-2222-3333-4444-555555555555"
ODD = [
    None,
    7,
    -1.5,
    True,
    "",
    "text",
    "\x00",
    "ü" * 300,
    [],
    [None],
    ["a"],
    [[]],
    {},
    {"a": None},
    {"parts": "x"},
    {"parts": [None]},
    {"parts": [{}]},
]
FIELDS = [
    "displayName",
    "description",
    "capacityId",
    "type",
    "definition",
    "creationPayload",
    "folderId",
    "parentFolderId",
    "targetFolderId",
    "principal",
    "role",
    "executionData",
    "parameters",
    "orderBy",
    "lastUpdatedAfter",
    "lastUpdatedBefore",
    "format",
]
WRITES = [operation for operation in OPERATIONS if operation.method in ("POST", "PATCH")]


@pytest.fixture
def place(fabric):
    workspace = fabric.workspace()
    pipeline = fabric.pipeline(workspace)
    folder = fabric.post(f"/workspaces/{workspace}/folders", {"displayName": "f"}).json()["id"]
    job = fabric.run_to_end(workspace, pipeline)["id"]
    yield {
        "workspace": workspace,
        "item": pipeline,
        "folder": folder,
        "job": job,
        "job_type": "Pipeline",
        "operation": NOWHERE,
        "table": "t",
        "schema": "dbo",
    }
    fabric.call("DELETE", f"/workspaces/{workspace}", 200)


@pytest.mark.parametrize("operation", WRITES, ids=[f"{one.method} {one.path}" for one in WRITES])
def test_a_body_with_any_odd_field_is_answered_or_refused_but_never_breaks_it(fabric, place, operation):
    path = operation.path.removeprefix("/v1").format(**place)
    for field, odd in itertools.product(FIELDS, ODD):
        answer = fabric.call(operation.method, path, json={"displayName": "fine", "type": "Lakehouse", field: odd})
        assert answer.status_code < 500 or answer.status_code == 501, f"{field}={odd!r}: {answer.text}"
        if answer.status_code >= 400:
            error_of(answer, answer.status_code)
        if answer.status_code == 201 and operation.name == "CreateWorkspace":
            fabric.call("DELETE", f"/workspaces/{answer.json()['id']}", 200)


@pytest.mark.parametrize(
    "query", ["continuationToken=%00", "continuationToken=////", "recursive=perhaps", "type=%00", "rootFolderId=x", "maxResults=-1"]
)
def test_an_odd_query_is_answered_or_refused(fabric, place, query):
    for path in (
        "/workspaces",
        "/workspaces/{workspace}/items",
        "/workspaces/{workspace}/folders",
        "/workspaces/{workspace}/items/{item}/jobs/instances",
    ):
        answer = fabric.get(f"{path.format(**place)}?{query}", None)
        assert answer.status_code in (200, 400, 404), answer.text


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"properties": []}',
        '{"properties": {"activities": {}}}',
        '{"properties": {"activities": [7]}}',
        '{"properties": {"activities": [{"name": 1, "type": "Wait"}]}}',
        '{"properties": {"activities": [{"name": "a", "type": "Wait", "typeProperties": {"waitTimeInSeconds": "long"}}]}}',
        '{"properties": {"activities": [{"name": "a", "type": "Wait", "dependsOn": [{}]}]}}',
        '{"properties": {"activities": [{"name": "a", "type": "Wait", "policy": {"retry": "often"}}]}}',
        '{"properties": {"activities": [], "parameters": ["a"]}}',
        '{"properties": {"activities": [], "parameters": {"a": 1}}}',
        '{"properties": {"activities": [{"name": "a", "type": "TridentNotebook", "typeProperties": {"parameters": []}}]}}',
        '{"properties": {"activities": [{"name": "a", "type": "TridentNotebook", "typeProperties": []}]}}',
        '{"properties": {"activities": [{"name": "a", "type": "TridentNotebook", "typeProperties": {"parameters": "x"}}]}}',
    ],
)
def test_an_odd_pipeline_is_refused_or_fails_its_job_with_a_reason(fabric, place, content):
    body = {"displayName": "odd", "definition": {"parts": [part("pipeline-content.json", content)]}}
    created = fabric.post(f"/workspaces/{place['workspace']}/dataPipelines", body)
    if created.status_code == 400:
        error_of(created, 400)
        return
    job = fabric.run_to_end(place["workspace"], created.json()["id"], executionData={"parameters": {"a": "x"}})
    assert job["status"] == "Failed"
    assert job["failureReason"]["errorCode"] != "UnknownError", job


@pytest.mark.parametrize(
    "content", ["{}", '{"cells": 7}', '{"cells": [7]}', '{"cells": [{"cell_type": "code", "metadata": [], "source": 1}]}']
)
def test_an_odd_ipynb_never_breaks_the_job_engine(fabric, place, content):
    body = {"displayName": "odd", "definition": {"parts": [part("notebook-content.ipynb", content)]}}
    created = fabric.finished(fabric.post(f"/workspaces/{place['workspace']}/notebooks", body)).json()
    job = fabric.run_to_end(place["workspace"], created["id"], "RunNotebook")
    assert (job["failureReason"] or {}).get("errorCode") != "UnknownError", job


def test_a_notebook_whose_metadata_is_not_json_fails_with_a_reason(fabric, place):
    source = "# Fabric notebook source\n\n# METADATA ********************\n\n# META {broken\n\n# CELL ********************\n\nprint(1)\n"
    notebook = fabric.notebook(place["workspace"], source)
    job = fabric.run_to_end(place["workspace"], notebook, "RunNotebook")
    assert job["status"] == "Failed"
    assert job["failureReason"]["errorCode"] != "UnknownError"
