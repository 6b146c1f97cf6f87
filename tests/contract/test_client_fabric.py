"""Our Fabric client against the sandbox: every method, and every method through every fault of the wire."""

import contextlib
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from fabric_trials import until

from treadle.clients.entra import credential
from treadle.clients.fabric import FabricClient, Item, ItemId, JobId, Operation, WorkspaceId
from treadle.clients.quotas import Quotas
from treadle.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    OperationFailed,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)

HOUR = 3600
NOWHERE = "0f8fad5b-d9cb-469f-a165-70867728950e"


@dataclass(frozen=True)
class Place:
    """A workspace with a pipeline that waits for an hour by the sandbox's clock."""

    workspace: WorkspaceId
    pipeline: ItemId


@pytest.fixture
def client(sandbox):
    mine = sandbox.credentials
    who = credential(
        mine.tenant_id, mine.client_id, mine.client_secret, authority_url=sandbox.endpoints.entra_url, ca_file=sandbox.endpoints.ca_file
    )
    made = FabricClient(
        sandbox.endpoints.fabric_url, who, sandbox.endpoints.ca_file, deadline_seconds=8, backoff_seconds=0.02, quotas=Quotas(10_000)
    )
    yield made
    made.close()


@pytest.fixture
def place(sandbox, client):
    workspace = client.create_workspace(f"clients {uuid.uuid4()}")
    wait = {"name": "Pause", "type": "Wait", "typeProperties": {"waitTimeInSeconds": HOUR}}
    parts = {"pipeline-content.json": json.dumps({"properties": {"activities": [wait]}}).encode()}
    pipeline = client.create_item(workspace.workspace_id, name="waits", type="DataPipeline", parts=parts)
    yield Place(WorkspaceId(workspace.workspace_id), ItemId(pipeline.item_id))
    sandbox.faults.clear()
    for job in client.list_job_instances(workspace.workspace_id, pipeline.item_id):
        with contextlib.suppress(Conflict):  # it has ended
            client.cancel_job_instance(workspace.workspace_id, pipeline.item_id, JobId(job.job_id))


def start(client, place):
    return client.run_pipeline(place.workspace, place.pipeline, {"run_id": "r"}, owner_upn="o@example.org", owner_object_id=NOWHERE)


def window():
    now = datetime.now(UTC)
    return {"after": now - timedelta(days=1), "before": now + timedelta(days=1)}


# Called with (client, place, job).
SAFE_CALLS = {
    "fabric.ListWorkspaces": lambda client, *_: client.list_workspaces(),
    "fabric.GetWorkspace": lambda client, place, _: client.get_workspace(place.workspace),
    "fabric.ListItems": lambda client, place, _: client.list_items(place.workspace, "DataPipeline"),
    "fabric.GetItem": lambda client, place, _: client.get_item(place.workspace, place.pipeline),
    "fabric.GetItemDefinition": lambda client, place, _: client.get_item_definition(place.workspace, place.pipeline),
    "fabric.UpdateItemDefinition": lambda client, place, _: client.update_item_definition(
        place.workspace, place.pipeline, {"pipeline-content.json": b"{}"}
    ),
    "fabric.GetItemJobInstance": lambda client, place, job: client.get_job_instance(place.workspace, place.pipeline, job),
    "fabric.ListItemJobInstances": lambda client, place, _: client.list_job_instances(place.workspace, place.pipeline),
    "fabric.CancelItemJobInstance": lambda client, place, job: client.cancel_job_instance(place.workspace, place.pipeline, job),
    "fabric.QueryActivityRuns": lambda client, place, job: client.query_activity_runs(place.workspace, job, **window()),
    "fabric.DeleteItem": lambda client, place, _: client.delete_item(
        place.workspace, client.create_item(place.workspace, name="gone", type="Lakehouse").item_id
    ),
}
FAULTS = {
    "429": ("status", {"status": 429, "code": "RequestBlocked", "retry_after_seconds": 0}),
    "429 until a date": ("status", {"status": 429, "code": "RequestBlocked", "retry_after_date_seconds": 0}),
    "500": ("status", {"status": 500}),
    "503": ("status", {"status": 503, "retry_after_seconds": 0}),
    "drop_before": ("drop_before", {}),
    "drop_after": ("drop_after", {}),
    "truncate": ("truncate", {}),
    "slow": ("slow", {"seconds": 0.3}),
    "token_expired": ("token_expired", {}),
    "html 502": ("wrong_content_type", {"status": 502}),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", SAFE_CALLS)
def test_every_safe_call_survives_every_fault_once(sandbox, client, place, operation, fault):
    kind, args = FAULTS[fault]
    job = JobId(start(client, place).job_id)
    sandbox.faults.script(operation, kind, **args)
    SAFE_CALLS[operation](client, place, job)


JSON_CALLS = sorted(set(SAFE_CALLS) - {"fabric.UpdateItemDefinition", "fabric.CancelItemJobInstance", "fabric.DeleteItem"})


@pytest.mark.parametrize("operation", JSON_CALLS)
def test_a_page_of_html_is_asked_for_again_and_then_unexpected(sandbox, client, place, operation):
    job = JobId(start(client, place).job_id)
    sandbox.faults.script(operation, "wrong_content_type")
    SAFE_CALLS[operation](client, place, job)
    sandbox.faults.script(operation, "wrong_content_type", times=3)
    with pytest.raises(UnexpectedAnswer):
        SAFE_CALLS[operation](client, place, job)


@pytest.mark.parametrize(
    ("kind", "args", "error"),
    [
        ("status", {"status": 429, "code": "RequestBlocked", "retry_after_seconds": 3600}, Throttled),
        ("status", {"status": 503, "retry_after_seconds": 3600}, Unavailable),
        ("status", {"status": 403, "code": "InsufficientPrivileges"}, PermissionDenied),
        ("token_expired", {}, Unauthenticated),
        ("not_found_once", {"code": "JobInstanceNotFound"}, NotFound),
    ],
)
def test_a_lasting_refusal_has_its_meaning(sandbox, client, place, kind, args, error):
    sandbox.faults.script("fabric.GetItemJobInstance", kind, times=None if kind == "token_expired" else 1, **args)
    with pytest.raises(error):
        client.get_job_instance(place.workspace, place.pipeline, NOWHERE)


# Starting a pipeline.


def jobs_of(sandbox, client, place):
    sandbox.faults.clear()
    return client.list_job_instances(place.workspace, place.pipeline)


def test_a_pipeline_is_started_polled_and_cancelled(sandbox, client, place):
    located = start(client, place)
    assert (
        located.url
        == f"{sandbox.endpoints.fabric_url}/v1/workspaces/{place.workspace}/items/{place.pipeline}/jobs/instances/{located.job_id}"
    )
    assert located.retry_after_seconds is not None
    job = until(lambda: _with_status(client, place, located.job_id, "InProgress"))
    assert (job.item_id, job.job_type, job.invoke_type, job.ended_at) == (place.pipeline, "Pipeline", "Manual", None)
    assert job.started_at.tzinfo is UTC
    activities = until(lambda: client.query_activity_runs(place.workspace, JobId(located.job_id), **window()))
    assert [(activity.name, activity.type) for activity in activities] == [("Pause", "Wait")]
    client.cancel_job_instance(place.workspace, place.pipeline, JobId(located.job_id))
    ended = until(lambda: _with_status(client, place, located.job_id, "Cancelled"))
    assert ended.ended_at >= ended.started_at
    with pytest.raises(Conflict):
        client.cancel_job_instance(place.workspace, place.pipeline, JobId(located.job_id))


def _with_status(client, place, job_id, status):
    job = client.get_job_instance(place.workspace, place.pipeline, JobId(job_id))
    return job if job.status == status else None


@pytest.mark.parametrize("fault", ["429", "429 until a date", "token_expired", "slow"])
def test_a_start_that_fabric_did_not_take_is_repeated_and_starts_one_job(sandbox, client, place, fault):
    kind, args = FAULTS[fault]
    sandbox.faults.script("fabric.RunOnDemandItemJob", kind, **args)
    located = start(client, place)
    assert [job.job_id for job in jobs_of(sandbox, client, place)] == [located.job_id]


@pytest.mark.parametrize(
    ("kind", "args", "started"),
    [
        ("drop_before", {}, 0),
        ("drop_after", {}, 1),
        ("truncate", {}, 1),
        ("lost_location", {}, 1),
        ("status", {"status": 500}, 0),
        ("status", {"status": 502, "after_effect": True}, 1),
        ("status", {"status": 503}, 0),
        ("status", {"status": 504, "after_effect": True}, 1),
        ("wrong_content_type", {"after_effect": True}, 1),
        ("wrong_content_type", {"status": 502}, 0),
    ],
)
def test_a_start_whose_answer_is_lost_is_never_repeated(sandbox, client, place, kind, args, started):
    sandbox.faults.script("fabric.RunOnDemandItemJob", kind, **args)
    with pytest.raises(OutcomeUnknown):
        start(client, place)
    assert [request.operation for request in sandbox.requests].count("fabric.RunOnDemandItemJob") == 1
    assert len(jobs_of(sandbox, client, place)) == started


def test_a_start_that_is_answered_too_late_has_an_unknown_outcome(sandbox, client, place):
    sandbox.faults.script("fabric.RunOnDemandItemJob", "slow", seconds=4)
    hasty = FabricClient(
        sandbox.endpoints.fabric_url, client.transport._credential, sandbox.endpoints.ca_file, deadline_seconds=0.2, quotas=Quotas(99)
    )
    with pytest.raises(OutcomeUnknown):
        start(hasty, place)
    assert len(until(lambda: client.list_job_instances(place.workspace, place.pipeline))) == 1
    hasty.close()


def test_a_job_that_is_located_on_a_foreign_host_is_polled_on_ours(sandbox, client, place):
    sandbox.faults.script("fabric.RunOnDemandItemJob", "foreign_location")
    located = start(client, place)
    assert located.url.startswith(sandbox.endpoints.fabric_url)
    assert client.get_job_instance(place.workspace, place.pipeline, JobId(located.job_id)).job_id == located.job_id


@pytest.mark.parametrize(
    ("workspace", "pipeline", "error"),
    [(NOWHERE, None, NotFound), (None, NOWHERE, NotFound)],
)
def test_a_start_in_the_wrong_place_is_a_definite_failure(client, place, workspace, pipeline, error):
    with pytest.raises(error):
        client.run_pipeline(workspace or place.workspace, pipeline or place.pipeline, {})


def test_what_is_no_pipeline_cannot_be_started_as_one(client, place):
    lakehouse = client.create_item(place.workspace, name="lake", type="Lakehouse")
    with pytest.raises((InvalidInput, PermissionDenied)):
        client.run_pipeline(place.workspace, lakehouse.item_id, {})


def test_an_unknown_status_word_passes_through(sandbox, client, place):
    located = start(client, place)
    sandbox.faults.script("fabric.GetItemJobInstance", "unknown_status", status="Paused")
    assert client.get_job_instance(place.workspace, place.pipeline, JobId(located.job_id)).status == "Paused"


def test_a_job_that_fabric_does_not_know_yet_is_not_found(sandbox, client, place):
    located = start(client, place)
    sandbox.faults.script("fabric.GetItemJobInstance", "not_found_once")
    with pytest.raises(NotFound):
        client.get_job_instance(place.workspace, place.pipeline, JobId(located.job_id))
    assert client.get_job_instance(place.workspace, place.pipeline, JobId(located.job_id))


def test_jobs_are_listed_over_many_pages(sandbox, client, place):
    located = [start(client, place).job_id for _ in range(5)]
    sandbox.fabric.options.page_size = 2
    try:
        assert sorted(job.job_id for job in client.list_job_instances(place.workspace, place.pipeline)) == sorted(located)
    finally:
        sandbox.fabric.options.page_size = 100


def test_activities_are_read_in_the_older_shape_too(sandbox, client, place):
    job = JobId(start(client, place).job_id)
    until(lambda: client.query_activity_runs(place.workspace, job, **window()))
    sandbox.faults.script("fabric.QueryActivityRuns", "bare_array")
    assert [activity.name for activity in client.query_activity_runs(place.workspace, job, **window())] == ["Pause"]


def test_retry_after_in_seconds_and_as_a_date_is_waited_for(sandbox, client, place):
    for args in ({"retry_after_seconds": 1}, {"retry_after_date_seconds": 2}):
        began = datetime.now(UTC)
        sandbox.faults.script("fabric.GetWorkspace", "status", status=429, **args)
        client.get_workspace(place.workspace)
        assert timedelta(seconds=0.9) < datetime.now(UTC) - began < timedelta(seconds=5)


# Items.


@pytest.mark.parametrize(
    ("item_type", "how"), [("Lakehouse", "asynchronous"), ("Notebook", "synchronous"), ("Notebook", None), ("Lakehouse", None)]
)
def test_an_item_is_created_at_once_or_by_an_operation(sandbox, client, place, item_type, how):
    if how:
        sandbox.faults.script("fabric.CreateItem", how)
    item = client.create_item(place.workspace, name=f"made_{how}", type=item_type)
    assert isinstance(item, Item)
    assert (item.name, item.type, item.workspace_id) == (f"made_{how}", item_type, place.workspace)
    assert item in client.list_items(place.workspace, item_type)


@pytest.mark.parametrize(
    ("operation", "kind", "args"),
    [
        ("fabric.CreateItem", "foreign_location", {}),
        ("fabric.GetOperationState", "foreign_location", {}),
        ("fabric.GetOperationState", "lost_location", {"times": 2}),
        ("fabric.GetOperationState", "drop_after", {}),
        ("fabric.GetOperationState", "status", {"status": 429, "retry_after_seconds": 0}),
        ("fabric.GetOperationState", "truncate", {}),
        ("fabric.GetOperationState", "stale_status", {}),
        ("fabric.GetOperationState", "token_expired", {}),
        ("fabric.GetOperationState", "no_retry_after", {}),
        ("fabric.GetOperationResult", "drop_before", {}),
        ("fabric.GetOperationResult", "status", {"status": 503}),
    ],
)
def test_an_operation_is_waited_for_through_every_fault(sandbox, client, place, operation, kind, args):
    sandbox.faults.script(operation, kind, **args)
    assert client.create_item(place.workspace, name="through", type="Notebook").name == "through"


@pytest.mark.parametrize(("kind", "args"), [("drop_before", {}), ("drop_after", {}), ("truncate", {}), ("status", {"status": 503})])
@pytest.mark.parametrize("item_type", ["Notebook", "Lakehouse"])
def test_creating_an_item_is_never_repeated_when_its_answer_is_lost(sandbox, client, place, item_type, kind, args):
    sandbox.faults.script("fabric.CreateItem", kind, **args)
    with pytest.raises(OutcomeUnknown):
        client.create_item(place.workspace, name="lost", type=item_type)
    assert [request.operation for request in sandbox.requests].count("fabric.CreateItem") == 2  # the pipeline, and once the lost one


def test_a_failed_operation_says_why(sandbox, client, place):
    sandbox.faults.script("fabric.CreateItem", "operation_failed", code="ALMOperationImportFailed", message="bad part")
    with pytest.raises(OperationFailed, match="bad part") as raised:
        client.create_item(place.workspace, name="bad", type="Notebook")
    assert raised.value.details["error_code"] == "ALMOperationImportFailed"


def test_a_taken_name_and_one_that_is_not_free_yet_are_conflicts(sandbox, client, place):
    client.create_item(place.workspace, name="taken", type="Lakehouse")
    with pytest.raises(Conflict):
        client.create_item(place.workspace, name="taken", type="Lakehouse")
    sandbox.faults.script("fabric.CreateItem", "name_reserved")
    with pytest.raises(Conflict):
        client.create_item(place.workspace, name="reserved", type="Lakehouse")


@pytest.mark.parametrize("how", ["asynchronous", None])
def test_a_definition_is_replaced_and_read_back(sandbox, client, place, how):
    if how:
        sandbox.faults.script("fabric.GetItemDefinition", how)
        sandbox.faults.script("fabric.UpdateItemDefinition", how)
    content = json.dumps({"properties": {"activities": []}}).encode()
    client.update_item_definition(place.workspace, place.pipeline, {"pipeline-content.json": content})
    assert client.get_item_definition(place.workspace, place.pipeline)["pipeline-content.json"] == content


def test_a_deleted_item_is_gone(client, place):
    item = client.create_item(place.workspace, name="brief", type="Lakehouse")
    client.delete_item(place.workspace, item.item_id)
    assert item not in client.list_items(place.workspace)
    with pytest.raises(NotFound):
        client.delete_item(place.workspace, item.item_id)


def test_an_operation_that_nobody_knows_is_not_found(client):
    with pytest.raises(NotFound):
        client.get_operation(Operation(NOWHERE, "look"))


def test_what_the_sandbox_does_not_model_is_named(client):
    with pytest.raises(UnexpectedAnswer, match="not modelled"):
        client.transport.request("GET", "/v1/domains", what="list domains")
