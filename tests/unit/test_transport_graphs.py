"""Graph models: refreshed once, followed to the end, and queried, against a server that misbehaves to order."""

import pytest
from tests.unit.scripted_clients import ITEM, JOB, OP, WS
from tests.unit.scripted_server import hang_up, reply

from treadle.clients.fabric import FabricClient
from treadle.clients.quotas import Quotas
from treadle.errors import InvalidInput, NotFound, OperationFailed, OutcomeUnknown, Unavailable

GRAPH = f"/v1/workspaces/{WS}/graphModels/{ITEM}"
JOBS = f"/v1/workspaces/{WS}/items/{ITEM}/jobs/instances"
OTHER_JOB = OP
IN_PROGRESS = {"id": JOB, "itemId": ITEM, "jobType": "RefreshGraph", "invokeType": "Manual", "status": "InProgress"}
NOTHING_RUNS = reply(200, {"value": [IN_PROGRESS | {"status": "Completed"}, IN_PROGRESS | {"jobType": "DefaultJob"}]})
ONE_RUNS = reply(200, {"value": [IN_PROGRESS]})
STARTED = reply(202, Location=f"{JOBS}/{JOB}", Retry_After="60")
ALREADY = reply(409, {"errorCode": "RefreshAlreadyInProgress"}, x_ms_public_api_error_code="RefreshAlreadyInProgress")


@pytest.fixture
def fabric(server, authority, tokens):
    client = FabricClient(server.url, tokens, authority.ca_file, deadline_seconds=5, backoff_seconds=0.01, quotas=Quotas(10_000))
    yield client
    client.close()


def job(**changes):
    return reply(200, IN_PROGRESS | changes)


def wait(fabric, time, **how):
    return fabric.wait_for_refresh(WS, ITEM, JOB, sleep=time.sleep, **how)


def test_a_refresh_is_started_when_none_is_under_way(server, fabric):
    server.then(NOTHING_RUNS, STARTED)
    located = fabric.refresh_graph(WS, ITEM)
    assert (located.job_id, located.url, located.retry_after_seconds) == (JOB, f"{server.url}{JOBS}/{JOB}", 60)
    assert (server.seen[1].method, server.seen[1].target) == ("POST", f"{GRAPH}/jobs/refreshGraph/instances")


def test_a_refresh_that_is_under_way_is_taken_and_none_is_started(server, fabric):
    server.then(ONE_RUNS)
    assert fabric.refresh_graph(WS, ITEM).job_id == JOB
    assert [seen.method for seen in server.seen] == ["GET"]


def test_the_typed_form_of_a_location_names_the_job_too(server, fabric):
    server.then(NOTHING_RUNS, reply(202, Location=f"https://elsewhere.example{GRAPH}/jobs/refreshGraph/instances/{JOB}"))
    assert fabric.refresh_graph(WS, ITEM).url == f"{server.url}{JOBS}/{JOB}"


def test_a_lost_answer_is_asked_again(server, fabric):
    server.then(NOTHING_RUNS, hang_up, STARTED)
    assert fabric.refresh_graph(WS, ITEM).job_id == JOB


def test_one_that_began_a_moment_before_ours_is_taken(server, fabric):
    server.then(NOTHING_RUNS, ALREADY, ONE_RUNS)
    assert fabric.refresh_graph(WS, ITEM).job_id == JOB


def test_one_that_ended_a_moment_after_our_refusal_is_followed_by_ours(server, fabric):
    server.then(NOTHING_RUNS, ALREADY, NOTHING_RUNS, STARTED)
    assert fabric.refresh_graph(WS, ITEM).job_id == JOB


def test_a_refresh_that_is_never_listed_ends_in_words(server, fabric):
    server.then(*[NOTHING_RUNS, ALREADY] * 3)
    with pytest.raises(Unavailable, match="lists no such job"):
        fabric.refresh_graph(WS, ITEM)


def test_an_accepted_refresh_without_a_name_is_looked_for(server, fabric):
    server.then(NOTHING_RUNS, reply(202), ONE_RUNS)
    assert fabric.refresh_graph(WS, ITEM).job_id == JOB
    server.then(NOTHING_RUNS, reply(202), NOTHING_RUNS)
    with pytest.raises(OutcomeUnknown):
        fabric.refresh_graph(WS, ITEM)


def test_a_model_that_cannot_be_refreshed_is_a_refusal_and_not_tried_again(server, fabric):
    server.then(NOTHING_RUNS, reply(400, {"errorCode": "GraphNotRefreshable", "message": "no definition"}))
    with pytest.raises(InvalidInput, match="no definition"):
        fabric.refresh_graph(WS, ITEM)


def test_a_refresh_is_waited_for_until_it_is_done_though_fabric_may_not_know_it_at_first(server, fabric, time):
    unknown = reply(404, {"errorCode": "JobInstanceNotFound"}, x_ms_public_api_error_code="JobInstanceNotFound")
    server.then(unknown, job(), job(status="Completed"))
    assert wait(fabric, time).status == "Completed"
    assert len(time.slept) == 2


def test_a_refresh_that_was_dropped_for_another_is_waited_for_in_that_other(server, fabric, time):
    server.then(job(status="Deduped"), reply(200, {"value": [IN_PROGRESS | {"id": OTHER_JOB}]}), job(id=OTHER_JOB, status="Completed"))
    assert wait(fabric, time).job_id == OTHER_JOB
    assert server.seen[2].target == f"{JOBS}/{OTHER_JOB}"


def test_a_refresh_that_failed_because_another_runs_follows_that_one(server, fabric, time):
    reason = {"errorCode": "RefreshAlreadyInProgress", "message": "…"}
    server.then(
        job(status="Failed", failureReason=reason),
        reply(200, {"value": [IN_PROGRESS | {"id": OTHER_JOB}]}),
        job(id=OTHER_JOB, status="Completed"),
    )
    assert wait(fabric, time).job_id == OTHER_JOB


@pytest.mark.parametrize("status", ["Failed", "Cancelled"])
def test_a_failed_refresh_says_why(server, fabric, time, status):
    reason = {"errorCode": "DataSourceSchemaFetchFailed", "message": "Tables/sites is not there"}
    server.then(job(status=status, failureReason=reason))
    with pytest.raises(OperationFailed, match="Tables/sites is not there") as raised:
        wait(fabric, time)
    assert raised.value.details["error_code"] == "DataSourceSchemaFetchFailed"


def test_waiting_ends_at_the_deadline_and_when_the_caller_objects(server, fabric, time):
    server.then(job())
    with pytest.raises(Unavailable, match="may still do so"):
        wait(fabric, time, deadline_seconds=0.1)

    def object_to_it():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait(fabric, time, check=object_to_it)


def test_a_deleted_graph_is_not_waited_for(server, fabric, time):
    server.then(reply(404, {"errorCode": "ItemNotFound"}, x_ms_public_api_error_code="ItemNotFound"))
    with pytest.raises(NotFound):
        wait(fabric, time)


def test_a_query_is_asked_as_a_beta_and_its_rows_are_read(server, fabric):
    columns = [{"name": "n", "gqlType": "INT64", "jsonType": "number"}]
    body = {"status": {"code": "00000", "description": "note"}, "result": {"kind": "TABLE", "columns": columns, "data": [{"n": "7"}]}}
    server.then(hang_up, reply(200, body))  # it only reads, so it is asked again
    assert fabric.execute_query(WS, ITEM, "MATCH (n) RETURN count(n) AS n").rows == ({"n": 7},)
    assert server.seen[1].target == f"{GRAPH}/executeQuery?beta=true"
    assert server.seen[1].json == {"query": "MATCH (n) RETURN count(n) AS n"}


def test_a_refused_query_is_in_the_engines_words(server, fabric):
    server.then(reply(200, {"status": {"code": "42001", "description": "error: syntax error"}}))
    with pytest.raises(InvalidInput, match=r"syntax error \(42001\)"):
        fabric.execute_query(WS, ITEM, "MATCH")


def test_the_graph_type_is_read(server, fabric):
    server.then(reply(200, {"nodeTypes": [], "edgeTypes": []}))
    assert fabric.queryable_graph_type(WS, ITEM) == {"nodeTypes": [], "edgeTypes": []}
    assert server.seen[0].target == f"{GRAPH}/getQueryableGraphType?beta=true"
