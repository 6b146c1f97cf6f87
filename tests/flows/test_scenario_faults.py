"""Every fault script of the sandbox at every system that a build asks: it ends well, at once or after a retry, and nothing is made twice."""

import pytest

from tests.flows.scenario_place import ANSWER, TABLES, assert_built, both, graph_archive, open_place, place
from treadle.control.jobs.queue import retry_job
from treadle.flows.scenario.flow import request_destroy
from treadle.flows.scenario.slots import Slot
from treadle.sandbox.faults import FaultRule

__all__ = ["open_place", "place"]  # fixtures
pytestmark = pytest.mark.timeout(150)

READS = (
    "fabric.GetWorkspace", "fabric.ListItems", "fabric.ListTables", "fabric.GetOperationState", "fabric.GetOperationResult",
    "fabric.GetItemJobInstance", "fabric.ListItemJobInstances", "onelake.Path.GetProperties", "onelake.Path.Read",
)  # fmt: skip
WRITES = (
    "fabric.LoadTable", "fabric.UpdateItemDefinition", "fabric.RunOnDemandItemJob", "onelake.Path.Create", "onelake.Path.Append",
    "onelake.Path.Flush", "onelake.Path.Rename", "kusto.Management",
)  # fmt: skip
WIRE = {
    "429": ("status", {"status": 429, "retry_after_seconds": 1}),
    "503": ("status", {"status": 503}),
    "500 after the effect": ("status", {"status": 500, "after_effect": True}),
    "cut before the effect": ("drop_before", {}),
    "cut after the effect": ("drop_after", {}),
    "half an answer": ("truncate", {}),
    "slow": ("slow", {"seconds": 1}),
}


def post(place, *rules):
    place.environment.cloud.faults.post(rules)


def retried(place, job):
    retry_job(place.wiring.own, job.job_id, "ada")
    return place.work(job)


@pytest.mark.parametrize("name", WIRE)
def test_a_fault_on_the_wire_at_every_kind_of_call_is_outlived(place, name):
    kind, args = WIRE[name]
    post(place, *(FaultRule(operation, kind, args=args) for operation in (*READS, *WRITES)))
    place.build()
    assert_built(place)


@pytest.mark.parametrize("name", [name for name in WIRE if name != "slow"])
def test_a_creation_whose_answer_is_lost_is_settled_by_looking_not_by_creating_again(place, name):
    """Every creation meets the fault at its first try: lakehouse, ontology, eventhouse and database."""
    kind, args = WIRE[name]
    took_effect = args.get("after_effect") or kind in {"drop_after", "truncate"}
    rules = [FaultRule("fabric.CreateItem", kind, after=number * (1 if took_effect else 2), args=args) for number in range(4)]
    post(place, *rules)
    place.build()
    assert_built(place)


def test_a_creation_whose_answer_is_lost_while_lists_lag_is_still_not_repeated(place):
    post(
        place,
        FaultRule("fabric.CreateItem", "drop_after", after=0),
        FaultRule("fabric.ListItems", "listing_lag", after=1, times=3),
    )
    place.build()
    assert_built(place)


@pytest.mark.parametrize("operation", ["fabric.LoadTable", "fabric.UpdateItemDefinition", "fabric.CreateItem"])
def test_an_operation_that_fails_fails_the_job_and_a_retry_goes_on_there(place, operation):
    asynchronous = [FaultRule("fabric.CreateItem", "asynchronous")] if operation == "fabric.CreateItem" else []
    post(place, *asynchronous, FaultRule(operation, "operation_failed", args={"message": "Out of capacity."}))
    job = place.work(place.request())
    assert job.state == "FAILED", job.error_message
    assert "Out of capacity" in job.error_message
    assert retried(place, job).state == "SUCCEEDED"
    assert_built(place)


def test_a_reserved_name_is_waited_for(place):
    post(place, *(FaultRule("fabric.CreateItem", "name_reserved", after=2 * number) for number in range(4)))
    place.build()
    assert_built(place)


def test_lists_of_items_that_lag_behind_are_waited_for(place):
    post(place, FaultRule("fabric.ListItems", "listing_lag", after=1, times=3))
    place.build()
    assert_built(place)


def test_a_refresh_whose_job_nobody_names_is_found_although_the_list_of_jobs_lags(place):
    post(place, FaultRule("fabric.RunOnDemandItemJob", "lost_location"), FaultRule("fabric.ListItemJobInstances", "listing_lag"))
    job = place.build()
    assert job.attempt == 2, "it was found at once, so the list did not lag"
    assert_built(place)


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("fabric.CreateItem", "asynchronous"), ("fabric.UpdateItemDefinition", "synchronous"), ("fabric.CreateItem", "synchronous"),
        ("fabric.GetOperationState", "stale_status"), ("fabric.GetItemJobInstance", "stale_status"), ("fabric.GetItemJobInstance", "unknown_status"),
        ("fabric.RunOnDemandItemJob", "deduped"), ("fabric.RunOnDemandItemJob", "refresh_in_progress"), ("fabric.RunOnDemandItemJob", "lost_location"),
        ("fabric.RunOnDemandItemJob", "foreign_location"), ("fabric.GetItemJobInstance", "not_found_once"), ("fabric.LoadTable", "no_retry_after"),
        ("fabric.*", "token_expired"), ("kusto.*", "token_expired"),
    ],
)  # fmt: skip
def test_every_way_in_which_fabric_may_answer_leads_to_the_same(place, operation, kind):
    args = {"base": "https://wabi-elsewhere-redirect.analysis.windows.net"} if kind == "foreign_location" else {}
    post(place, FaultRule(operation, kind, args=args))
    place.build()
    assert_built(place)


def test_a_refresh_that_fails_fails_the_job_and_a_retry_refreshes_again(place):
    post(place, FaultRule("fabric.RunOnDemandItemJob", "job_failed", args={"message": "The capacity is paused."}))
    job = place.work(place.request({Slot.GRAPH: graph_archive()}))
    assert job.state == "FAILED"
    assert "capacity is paused" in job.error_message
    assert retried(place, job).state == "SUCCEEDED"
    assert place.query(ANSWER)


def test_several_tables_that_fail_are_all_named(place):
    post(place, FaultRule("fabric.LoadTable", "operation_failed", after=2, times=3))
    job = place.work(place.request({Slot.GRAPH: graph_archive()}))
    assert job.state == "FAILED"
    assert len(job.error_details["failed"]) == 3
    assert all(name in job.error_message for name in job.error_details["failed"])
    assert len(place.delta_rows()) == len(TABLES) - 3
    assert retried(place, job).state == "SUCCEEDED"


@pytest.mark.parametrize("name", [name for name in WIRE if name != "slow"])
def test_a_removal_outlives_faults_on_the_wire(place, name):
    kind, args = WIRE[name]
    place.build(both())
    operations = (
        "fabric.ListItems",
        "fabric.DeleteItem",
        "fabric.ListTables",
        "kusto.Management",
        "onelake.Path.Delete",
        "onelake.Path.List",
    )
    post(place, *(FaultRule(operation, kind, args=args) for operation in operations))
    ended = place.work(request_destroy(place.services, "telco-noc", "ada"))
    assert ended.state == "SUCCEEDED", (ended.error_message, ended.error_details)
    assert place.items() == {}
