"""Fabric's methods against a server that misbehaves to order."""

import base64
from datetime import UTC, datetime

import pytest
from tests.unit.scripted_clients import ITEM, JOB, OP, WS
from tests.unit.scripted_server import cut_off, hang_up, reply

from treadle.clients.fabric import FabricClient
from treadle.clients.quotas import Quotas
from treadle.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    OperationFailed,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
    Unavailable,
    UnexpectedAnswer,
)

JOBS = f"/v1/workspaces/{WS}/items/{ITEM}/jobs/instances"
PARAMETERS = {"input_file": "a.xlsx", "run_id": "r", "requested_by": "me"}
JOB_JSON = {"id": JOB, "itemId": ITEM, "jobType": "Pipeline", "invokeType": "Manual", "status": "InProgress"}
ITEM_JSON = {"id": ITEM, "workspaceId": WS, "displayName": "n", "type": "Notebook", "description": ""}
RUNNING = {"status": "Running", "percentComplete": 10}
SUCCEEDED = {"status": "Succeeded", "percentComplete": 100, "error": None}
NULL = b"null"


@pytest.fixture
def fabric(server, authority, tokens):
    client = FabricClient(server.url, tokens, authority.ca_file, deadline_seconds=5, quotas=Quotas(10_000))
    yield client
    client.close()


def run(fabric, **owner):
    return fabric.run_pipeline(WS, ITEM, PARAMETERS, **owner)


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_started_pipeline_is_located_on_the_configured_host(server, foreign, fabric, status):
    server.then(reply(status, Location=f"{foreign.url}{JOBS}/{JOB.upper()}", Retry_After="60"))
    located = run(fabric, owner_upn="me@example.org", owner_object_id=WS)
    assert (located.job_id, located.url, located.retry_after_seconds) == (JOB, f"{server.url}{JOBS}/{JOB}", 60)
    seen = server.seen[0]
    assert (seen.method, seen.target) == ("POST", f"{JOBS}?jobType=Pipeline")
    assert seen.json == {"executionData": {"OwnerUserPrincipalName": "me@example.org", "OwnerUserObjectId": WS, "parameters": PARAMETERS}}


def test_without_an_owner_no_owner_is_sent(server, fabric):
    server.then(reply(202, Location=f"{JOBS}/{JOB}"))
    run(fabric)
    assert server.seen[0].json == {"executionData": {"parameters": PARAMETERS}}


@pytest.mark.parametrize(
    "location",
    [
        None,
        f"https://evil.example/v1/workspaces/{WS}/items/{ITEM}/jobs/instances?jobType=Pipeline",
        f"{JOBS}/../{JOB}",
        f"ftp://localhost{JOBS}/{JOB}",
        f"{JOBS}/{JOB}/cancel",
        f"/v1/workspaces/{WS}/items/{WS}/jobs/instances/{JOB}",
        f"/v1/workspaces/{ITEM}/items/{ITEM}/jobs/instances/{JOB}",
    ],
)
def test_an_accepted_start_that_names_no_job_of_ours_has_an_unknown_outcome(server, fabric, location):
    server.then(reply(202, **({"Location": location} if location else {})))
    with pytest.raises(OutcomeUnknown):
        run(fabric)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "step", [hang_up, reply(500), reply(502), reply(503), reply(504), reply(408), cut_off(202), reply(204), reply(302)]
)
def test_a_start_whose_answer_is_lost_is_never_sent_twice(server, fabric, step):
    server.then(step)
    with pytest.raises(OutcomeUnknown) as raised:
        run(fabric)
    assert not isinstance(raised.value, Unavailable | Conflict)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "InvalidJobType", InvalidInput),
        (400, "PrincipalTypeNotSupported", PermissionDenied),
        (403, "InsufficientPrivileges", PermissionDenied),
        (404, "ItemNotFound", NotFound),
        (409, "Conflict", Conflict),
    ],
)
def test_a_refused_start_is_a_definite_failure(server, fabric, status, code, kind):
    server.then(reply(status, {"errorCode": code, "message": "no"}, x_ms_public_api_error_code=code))
    with pytest.raises(kind):
        run(fabric)


def test_a_throttled_start_is_repeated_within_the_deadline_only(server, fabric):
    server.then(reply(429, Retry_After="0"), reply(202, Location=f"{JOBS}/{JOB}"))
    assert run(fabric).job_id == JOB
    server.then(reply(429, Retry_After="120"))
    with pytest.raises(Throttled) as raised:
        run(fabric)
    assert raised.value.retry_after_seconds == 120


@pytest.mark.parametrize("bad", ["", "..", "x/../y", f"{ITEM}/../{WS}", f"{ITEM}?x=1", "me", ITEM + "\n"])
def test_ids_are_checked_before_anything_is_sent(fabric, bad):
    for call in (
        lambda: fabric.run_pipeline(bad, ITEM, {}),
        lambda: fabric.run_pipeline(WS, bad, {}),
        lambda: fabric.get_job_instance(WS, ITEM, bad),
        lambda: fabric.get_workspace(bad),
        lambda: fabric.delete_item(WS, bad),
    ):
        with pytest.raises(InvalidInput):
            call()


def test_a_job_is_read_with_the_servers_advice_when_to_look_again(server, fabric):
    server.then(reply(200, JOB_JSON | {"startTimeUtc": "2026-11-21T10:00:00.1234567", "status": "Paused"}, Retry_After="29"))
    job = fabric.get_job_instance(WS, ITEM, JOB)
    assert (job.status, job.retry_after_seconds, job.ended_at) == ("Paused", 29, None)
    assert job.started_at == datetime(2026, 11, 21, 10, 0, 0, 123456, UTC)


def test_a_job_that_is_not_known_yet_is_not_found(server, fabric):
    server.then(reply(404, {"errorCode": "JobInstanceNotFound"}, x_ms_public_api_error_code="JobInstanceNotFound"))
    with pytest.raises(NotFound):
        fabric.get_job_instance(WS, ITEM, JOB)


def test_jobs_are_listed_over_all_pages(server, fabric):
    other = JOB_JSON | {"id": OP}
    server.then(reply(200, {"value": [JOB_JSON], "continuationToken": "t"}), hang_up, reply(200, {"value": [other]}))
    assert [job.job_id for job in fabric.list_job_instances(WS, ITEM)] == [JOB, OP]


def test_cancelling_sends_a_body_and_tells_when_it_is_too_late(server, fabric):
    server.then(reply(202), reply(400, {"errorCode": "JobAlreadyCompleted"}, x_ms_public_api_error_code="JobAlreadyCompleted"))
    fabric.cancel_job_instance(WS, ITEM, JOB)
    assert (server.seen[0].target, server.seen[0].body) == (f"{JOBS}/{JOB}/cancel", b"{}")
    with pytest.raises(Conflict):
        fabric.cancel_job_instance(WS, ITEM, JOB)


ROW = {"activityName": "Sales ingest", "activityType": "TridentNotebook", "status": "InProgress"}
WINDOW = {"after": datetime(2026, 11, 21, 9, tzinfo=UTC), "before": datetime(2026, 11, 22, tzinfo=UTC)}


def test_activities_are_read_in_both_shapes(server, fabric):
    server.then(
        reply(200, [ROW]), reply(200, {"value": [ROW], "continuationToken": "t"}), reply(200, {"value": [ROW], "continuationToken": None})
    )
    assert [run.name for run in fabric.query_activity_runs(WS, JOB, **WINDOW)] == ["Sales ingest"]
    assert len(fabric.query_activity_runs(WS, JOB, **WINDOW)) == 2
    assert server.seen[0].json["lastUpdatedAfter"] == "2026-11-21T09:00:00.000000Z"
    assert server.seen[2].json["continuationToken"] == "t"


def test_activities_in_a_circle_are_an_error(server, fabric):
    server.then(*[reply(200, {"value": [], "continuationToken": "t"})] * 2)
    with pytest.raises(UnexpectedAnswer):
        fabric.query_activity_runs(WS, JOB, **WINDOW)


@pytest.mark.parametrize("answer", [{"value": "x"}, [1], "text", None])
def test_activities_in_no_known_shape_are_an_error(server, fabric, answer):
    server.then(reply(200, answer))
    with pytest.raises(UnexpectedAnswer):
        fabric.query_activity_runs(WS, JOB, **WINDOW)


def test_an_item_that_is_created_at_once_is_returned(server, fabric):
    server.then(reply(201, ITEM_JSON))
    item = fabric.create_item(WS, name="n", type="Notebook", parts={"notebook-content.py": b"# x"}, folder_id=OP)
    assert item.item_id == ITEM
    part = {"path": "notebook-content.py", "payload": base64.b64encode(b"# x").decode(), "payloadType": "InlineBase64"}
    assert server.seen[0].json == {
        "displayName": "n",
        "type": "Notebook",
        "description": "",
        "definition": {"parts": [part]},
        "folderId": OP,
    }


@pytest.mark.parametrize("named", ["header", "location"])
def test_an_item_that_is_created_by_an_operation_is_waited_for_on_our_own_host(server, foreign, fabric, named):
    where = {"x_ms_operation_id": OP} if named == "header" else {"Location": f"{foreign.url}/v1/operations/{OP}"}
    server.then(
        reply(202, NULL, Retry_After="0", **where),
        reply(200, RUNNING, Retry_After="0", Location=f"{foreign.url}/v1/operations/{OP}"),
        hang_up,
        reply(200, SUCCEEDED, Location=f"{foreign.url}/v1/operations/{OP}/result"),
        reply(200, ITEM_JSON),
    )
    assert fabric.create_item(WS, name="n", type="Notebook").item_id == ITEM
    assert server.seen[-1].target == f"/v1/operations/{OP}/result"


def test_an_operation_without_a_result_is_answered_by_the_list(server, fabric):
    server.then(
        reply(202, NULL, x_ms_operation_id=OP),
        reply(200, SUCCEEDED),
        reply(400, {"errorCode": "OperationHasNoResult"}, x_ms_public_api_error_code="OperationHasNoResult"),
        reply(200, {"value": [ITEM_JSON, ITEM_JSON | {"displayName": "other"}]}),
    )
    assert fabric.create_item(WS, name="n", type="Notebook").item_id == ITEM


def test_a_failed_operation_says_why(server, fabric):
    failed = {"status": "Failed", "error": {"errorCode": "ALMOperationImportFailed", "message": "bad part"}}
    server.then(reply(202, NULL, x_ms_operation_id=OP), reply(200, failed))
    with pytest.raises(OperationFailed, match="bad part") as raised:
        fabric.create_item(WS, name="n", type="Notebook")
    assert raised.value.details["error_code"] == "ALMOperationImportFailed"


def test_an_operation_that_does_not_end_is_given_up_at_the_deadline(server, fabric):
    server.then(reply(202, NULL, x_ms_operation_id=OP), *[reply(200, {"status": "Dreaming"}, Retry_After="0")] * 9)
    with pytest.raises(Unavailable, match="has not finished"):
        fabric.create_item(WS, name="n", type="Notebook", deadline_seconds=1.2)
    server.script.clear()


def test_an_accepted_operation_that_is_not_named_has_an_unknown_outcome(server, fabric):
    server.then(reply(202, NULL, x_ms_operation_id="../x", Location="/v1/operations/none"))
    with pytest.raises(OutcomeUnknown):
        fabric.create_item(WS, name="n", type="Notebook")


@pytest.mark.parametrize("step", [hang_up, cut_off(201, b'{"id"'), reply(201, b'{"id": '), reply(503)])
def test_creating_is_never_repeated_when_the_answer_is_lost(server, fabric, step):
    server.then(step)
    with pytest.raises(OutcomeUnknown):
        fabric.create_item(WS, name="n", type="Notebook")
    server.then(step)
    with pytest.raises(OutcomeUnknown):
        fabric.create_workspace("w")


def test_a_name_that_is_not_free_yet_is_a_conflict(server, fabric):
    code = "ItemDisplayNameNotAvailableYet"
    server.then(reply(400, {"errorCode": code, "isRetriable": True}, x_ms_public_api_error_code=code))
    with pytest.raises(Conflict):
        fabric.create_item(WS, name="n", type="Notebook")


def test_a_definition_is_read_at_once_and_by_an_operation(server, fabric):
    answer = {"definition": {"parts": [{"path": ".platform", "payload": "e30=", "payloadType": "InlineBase64"}]}}
    server.then(reply(200, answer), reply(202, NULL, x_ms_operation_id=OP), reply(200, SUCCEEDED), reply(200, answer))
    assert fabric.get_item_definition(WS, ITEM) == {".platform": b"{}"}
    assert fabric.get_item_definition(WS, ITEM) == {".platform": b"{}"}


def test_a_definition_is_replaced_at_once_and_by_an_operation(server, fabric):
    server.then(reply(200), reply(202, NULL, x_ms_operation_id=OP), reply(200, SUCCEEDED))
    fabric.update_item_definition(WS, ITEM, {"a": b"1"})
    fabric.update_item_definition(WS, ITEM, {"a": b"1"}, update_metadata="update")
    assert server.seen[0].target.endswith("/updateDefinition")
    assert server.seen[1].target.endswith("/updateDefinition?updateMetadata=true")


def test_deleting_twice_because_the_answer_was_lost_is_no_error(server, fabric):
    server.then(hang_up, reply(404, {"errorCode": "ItemNotFound"}))
    fabric.delete_item(WS, ITEM)
    server.then(reply(404, {"errorCode": "ItemNotFound"}))
    with pytest.raises(NotFound):
        fabric.delete_item(WS, ITEM)


def test_workspaces_and_items_are_listed(server, fabric):
    server.then(reply(200, {"value": [{"id": WS, "displayName": "w", "capacityId": OP}]}), reply(200, {"value": [ITEM_JSON]}))
    assert [(w.name, w.capacity_id) for w in fabric.list_workspaces()] == [("w", OP)]
    assert [item.name for item in fabric.list_items(WS, "Notebook")] == ["n"]
    assert server.seen[1].target == f"/v1/workspaces/{WS}/items?type=Notebook"


def test_an_unreadable_list_is_never_an_empty_one(server, fabric):
    server.then(reply(403, {"errorCode": "InsufficientPrivileges"}))
    with pytest.raises(PermissionDenied):
        fabric.list_items(WS)
