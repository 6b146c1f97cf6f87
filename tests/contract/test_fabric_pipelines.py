"""Pipelines of the Fabric sandbox: order, conditions, expressions, parameters and the rows that queryactivityruns shows."""

from datetime import timedelta

import pytest
from tests.contract.fabric_trials import FabricCaller, error_of, notebook_activity, notebook_source

from treadle.sandbox.fabric.expressions import NotEvaluated, Scope, evaluate
from treadle.sandbox.fabric.pipeline import LEFT_OUT, BadPipeline, bind_parameters, read_pipeline

NOWHERE = "11111111-2222-3333-4444-555555555555"
ROW_KEYS = {
    "pipelineName",
    "pipelineRunId",
    "activityName",
    "activityType",
    "activityRunId",
    "linkedServiceName",
    "status",
    "activityRunStart",
    "activityRunEnd",
    "durationInMs",
    "input",
    "output",
    "error",
    "retryAttempt",
    "iterationHash",
    "userProperties",
    "recoveryStatus",
    "integrationRuntimeNames",
    "executionDetails",
}


@pytest.fixture
def workspace(fabric):
    workspace = fabric.workspace()
    yield workspace
    fabric.headers = FabricCaller(fabric.sandbox, fabric.https).headers
    fabric.call("DELETE", f"/workspaces/{workspace}", 200)


def activity(name, kind="Wait", after=(), on="Succeeded", **settings):
    waits = [{"activity": earlier, "dependencyConditions": [on]} for earlier in after]
    return {"name": name, "type": kind, "dependsOn": waits, "typeProperties": settings or {"waitTimeInSeconds": 0}}


def failing(name, after=(), **more):
    return activity(name, "Fail", after, message="as planned", errorCode="E1") | more


def run(fabric, workspace, *activities, declared=None, **body):
    job = fabric.run_to_end(workspace, fabric.pipeline(workspace, *activities, parameters=declared), **body)
    return job, fabric.activity_runs(workspace, job["id"])


def test_activities_run_in_the_order_in_which_they_depend_on_each_other(fabric, workspace):
    job, rows = run(fabric, workspace, activity("c", after=["a", "b"]), activity("b", after=["a"]), activity("a"))
    assert job["status"] == "Completed"
    assert [row["activityName"] for row in rows] == ["a", "b", "c"]
    assert all(row["status"] == "Succeeded" for row in rows)
    assert set(rows[0]) >= ROW_KEYS
    assert rows[0]["activityRunStart"].endswith("Z")
    assert rows[0]["pipelineRunId"] == job["id"]


def test_what_depends_on_a_failure_is_left_out_and_the_pipeline_fails_with_its_words(fabric, workspace):
    job, rows = run(fabric, workspace, failing("a"), activity("b", after=["a"]))
    assert [row["activityName"] for row in rows] == ["a"]
    assert rows[0]["error"] == {"errorCode": "E1", "message": "as planned", "failureType": "UserError", "target": "a", "details": ""}
    assert job["failureReason"]["message"] == "Operation on target a failed: as planned"
    assert job["failureReason"]["errorCode"] == "JobInstanceStatusFailed"


def test_a_pipeline_that_handles_a_failure_succeeds(fabric, workspace):
    job, rows = run(fabric, workspace, failing("a"), activity("handler", after=["a"], on="Failed"))
    assert job["status"] == "Completed"
    assert [row["status"] for row in rows] == ["Failed", "Succeeded"]


def test_a_handler_that_is_not_needed_does_not_hide_a_failure(fabric, workspace):
    job, _ = run(fabric, workspace, activity("a"), failing("b", after=["a"]), activity("on a", after=["a"], on="Failed"))
    assert job["status"] == "Failed"


def test_completed_and_left_out_are_conditions_too(fabric, workspace):
    activities = [
        failing("a"),
        activity("b", after=["a"], on="Completed"),
        activity("c", after=["a"]),
        activity("d", after=["c"], on=LEFT_OUT),
    ]
    job, rows = run(fabric, workspace, *activities)
    assert [row["activityName"] for row in rows] == ["a", "b", "d"]
    assert job["status"] == "Completed"


def test_an_inactive_activity_is_marked_and_not_run(fabric, workspace):
    inactive = failing("a", state="Inactive", onInactiveMarkAs="Succeeded")
    job, rows = run(fabric, workspace, inactive, activity("b", after=["a"]))
    assert job["status"] == "Completed"
    assert [(row["activityName"], row["status"]) for row in rows] == [("a", "Inactive"), ("b", "Succeeded")]


def test_a_failed_activity_is_tried_again_and_each_attempt_has_its_row(fabric, workspace):
    job, rows = run(fabric, workspace, failing("a", policy={"retry": 2, "retryIntervalInSeconds": 0}))
    assert job["status"] == "Failed"
    assert [row["retryAttempt"] for row in rows] == [None, 1, 2]


def test_an_activity_of_another_type_fails_and_says_that_it_is_not_modelled(fabric, workspace):
    job, rows = run(fabric, workspace, activity("copy", "Copy", source="x"))
    assert rows[0]["error"]["errorCode"] == "NotModelled"
    assert "Activities of type Copy are not modelled" in job["failureReason"]["message"]


def test_a_notebook_that_is_not_there_fails_its_activity(fabric, workspace):
    job, rows = run(fabric, workspace, notebook_activity(NOWHERE))
    assert rows[0]["error"]["errorCode"] == "ItemNotFound"
    assert NOWHERE in job["failureReason"]["message"]


def test_an_expression_that_is_not_modelled_fails_its_activity_by_name(fabric, workspace):
    job, rows = run(fabric, workspace, activity("a", "Fail", message="@concat('a', 'b')"))
    assert rows[0]["error"]["errorCode"] == "InvalidTemplate"
    assert "@concat('a', 'b')" in job["failureReason"]["message"]


def test_a_later_activity_sees_the_output_of_an_earlier_one(fabric, workspace):
    notebook = fabric.notebook(workspace, notebook_source("import notebookutils\nnotebookutils.notebook.exit('seven')"))
    last = activity("tell", "Fail", ["Run"], message="it said @{activity('Run').output.result.exitValue}")
    job, _ = run(fabric, workspace, notebook_activity(notebook), last)
    assert job["failureReason"]["message"].endswith("it said seven")


@pytest.mark.parametrize(
    "content",
    [
        [activity("a"), activity("a")],
        [activity("a", after=["b"]), activity("b", after=["a"])],
        [activity("a", after=["nobody"])],
        [{"type": "Wait"}],
        [activity("a") | {"policy": {"timeout": "soon"}}],
    ],
)
def test_a_pipeline_that_cannot_run_fails_its_job_with_the_reason(fabric, workspace, content):
    job, rows = run(fabric, workspace, *content)
    assert job["status"] == "Failed"
    assert job["failureReason"]["errorCode"] == "BadRequest"
    assert rows == []


def test_a_pipeline_without_a_definition_fails_its_job(fabric, workspace):
    item = fabric.post(f"/workspaces/{workspace}/dataPipelines", {"displayName": "empty"}, expect=201).json()["id"]
    assert "has no content" in fabric.run_to_end(workspace, item)["failureReason"]["message"]


def test_a_value_of_another_type_fails_the_job_before_any_activity(fabric, workspace):
    declared = {"count": {"type": "int"}}
    job, rows = run(fabric, workspace, activity("a"), declared=declared, executionData={"parameters": {"count": "many"}})
    assert job["failureReason"]["message"] == "The value of the pipeline parameter 'count' is not of type int."
    assert rows == []


def test_both_forms_of_parameters_and_the_owner_are_taken(fabric, workspace):
    declared = {"a": {"type": "string"}, "b": {"type": "string"}}
    body = {
        "executionData": {"OwnerUserPrincipalName": "o@x", "OwnerUserObjectId": NOWHERE, "pipelineName": "p", "parameters": {"a": "1"}},
        "parameters": [{"name": "b", "type": "Text", "value": "2"}],
    }
    message = "@{pipeline().parameters.a} and @{pipeline().parameters.b}"
    job, _ = run(fabric, workspace, activity("a", "Fail", message=message), declared=declared, **body)
    assert job["failureReason"]["message"].endswith("1 and 2")


def test_activity_runs_are_filtered_by_time_and_sorted_as_asked(fabric, workspace):
    job, rows = run(fabric, workspace, activity("a"), activity("b", after=["a"]))
    order = [{"orderBy": "ActivityRunStart", "order": "DESC"}]
    window = {"lastUpdatedAfter": "2020-01-01T00:00:00Z", "lastUpdatedBefore": "2099-01-01T00:00:00.0000000Z"}
    asked = fabric.activity_runs(workspace, job["id"], filters=[], orderBy=order, **window)
    assert [row["activityName"] for row in asked] == ["b", "a"]
    assert fabric.activity_runs(workspace, job["id"], lastUpdatedBefore="2020-01-01T00:00:00") == []
    url = f"/workspaces/{workspace}/datapipelines/pipelineruns/{job['id']}/queryactivityruns"
    fabric.sandbox.faults.script("fabric.QueryActivityRuns", "bare_array")
    assert fabric.post(url).json() == rows
    assert error_of(fabric.post(url, {"lastUpdatedAfter": "yesterday"}), 400) == "InvalidParameter"
    assert error_of(fabric.post(url, {"orderBy": [{"orderBy": "Mood"}]}), 400) == "InvalidParameter"
    assert error_of(fabric.post(url.replace(job["id"], NOWHERE)), 404) == "JobInstanceNotFound"


# The pure parts.

SCOPE = Scope({"x": "X", "n": 3}, {"RunId": "r"}, {"A b": {"result": {"list": [{"v": 7}]}}})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("@pipeline().parameters.x", "X"),
        ("@pipeline().parameters.n", 3),
        ("@{pipeline().parameters.n}", "3"),
        ("a @{ pipeline().RunId } b @{pipeline().parameters.x}", "a r b X"),
        ("@@escaped", "@escaped"),
        ("mail@example.com", "mail@example.com"),
        ("@activity('A b').output.result.list[0].v", 7),
        ("@activity('A b').output['result'].list[0]['v']", 7),
        ({"value": "@pipeline().RunId", "type": "Expression"}, "r"),
        ({"a": ["@pipeline().RunId", 1, None]}, {"a": ["r", 1, None]}),
    ],
)
def test_an_expression_has_its_value(text, value):
    assert evaluate(text, SCOPE) == value


@pytest.mark.parametrize(
    "text",
    [
        "@pipeline().parameters.y",
        "@pipeline().Mood",
        "@activity('B').output",
        "@activity('A b').output.result.nothing",
        "@activity('A b').output.result.list[9]",
        "@string(1)",
        "@pipeline().parameters.x.y",
        "@",
    ],
)
def test_an_expression_that_cannot_be_evaluated_is_told(text):
    with pytest.raises(NotEvaluated):
        evaluate(text, SCOPE)


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("string", "a", "a"),
        ("int", 7, 7),
        ("int", "7", 7),
        ("float", 1, 1),
        ("float", "1.5", 1.5),
        ("bool", True, True),
        ("bool", "False", False),
        ("array", [1], [1]),
        ("object", {"a": 1}, {"a": 1}),
        ("secureString", "s", "s"),
        ("String", "s", "s"),
    ],
)
def test_a_parameter_has_its_type(kind, given, value):
    assert bind_parameters({"p": {"type": kind}}, {"p": given}) == {"p": value}


@pytest.mark.parametrize(
    ("kind", "given"), [("int", True), ("int", 1.5), ("string", 1), ("bool", "maybe"), ("array", "x"), ("colour", "red")]
)
def test_a_parameter_of_another_type_is_refused(kind, given):
    with pytest.raises(BadPipeline, match="'p'"):
        bind_parameters({"p": {"type": kind}}, {"p": given})


def test_a_parameter_without_a_value_is_its_default_or_null_and_an_unknown_one_is_dropped():
    declared = {"a": {"type": "string", "defaultValue": "d"}, "b": {"type": "string"}}
    assert bind_parameters(declared, {"c": 1}) == {"a": "d", "b": None}


def test_a_timeout_is_days_and_a_time():
    pipeline = read_pipeline('{"properties": {"activities": [{"name": "a", "type": "Wait", "policy": {"timeout": "1.02:03:04"}}]}}')
    assert pipeline.activities[0].timeout == timedelta(days=1, hours=2, minutes=3, seconds=4)
