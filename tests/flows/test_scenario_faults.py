"""Every fault script of the sandbox at every system that a build asks: it ends well, at once or after a retry, and nothing is made twice."""

import pytest

from tests.flows.scenario_place import SMALL, TABLES, WHOLE, assert_built, graph_archive, open_place, place
from treadle.control.jobs.queue import list_steps, retry_job
from treadle.flows.scenario.flow import request_destroy
from treadle.flows.scenario.records import things_of
from treadle.flows.scenario.slots import Slot
from treadle.sandbox.faults import FaultRule

__all__ = ["open_place", "place"]  # fixtures
pytestmark = pytest.mark.timeout(150)

CREATED = 4  # lakehouse, ontology, eventhouse and database, in this order
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
    "slow": ("slow", {"seconds": 0.3}),
}
LOST = ("500 after the effect", "cut after the effect", "half an answer")  # the answers to what was carried out
PAIRS = [("429", "cut after the effect"), ("503", "half an answer"), ("500 after the effect", "cut before the effect")]


def post(place, *rules):
    place.environment.cloud.faults.post(rules)


def assert_all_happened(place):
    assert place.environment.cloud.faults.unused() == []


def build_and_look(place, sample=SMALL):
    """Build it, and see that everything is there once, and that every fault has happened by then, not at a look afterwards."""
    job = place.build(sample.archives())
    assert_all_happened(place)
    assert_built(place, sample)
    return job


def retried(place, job):
    retry_job(place.wiring.own, job.job_id, "ada")
    return place.work(job)


def at_every_creation(name):
    """A fault on the wire at the first try of each creation. There is no second of one that took effect."""
    kind, args = WIRE[name]
    tries = 1 if name in LOST else 2
    return [FaultRule("fabric.CreateItem", kind, after=number * tries, args=args) for number in range(CREATED)]


@pytest.mark.parametrize("name", WIRE)
def test_a_fault_on_the_wire_at_every_kind_of_call_is_outlived(place, name):
    """Those that carry nothing out also at each creation; the others have a test of their own, since they do away with the calls behind it."""
    kind, args = WIRE[name]
    post(place, *(FaultRule(operation, kind, args=args) for operation in (*READS, *WRITES)))
    if name not in {*LOST, "slow"}:
        post(place, *at_every_creation(name))
    build_and_look(place, WHOLE if name == "cut after the effect" else SMALL)


@pytest.mark.parametrize("name", LOST)
def test_a_creation_whose_answer_is_lost_is_settled_by_looking_not_by_creating_again(place, name):
    post(place, *at_every_creation(name))
    build_and_look(place)


def test_a_creation_whose_answer_is_lost_while_lists_lag_is_still_not_repeated(place):
    post(
        place,
        FaultRule("fabric.CreateItem", "drop_after", after=0),
        FaultRule("fabric.ListItems", "listing_lag", after=1, times=3),
    )
    build_and_look(place)


STOPS = [  # step, the call of it that fails, how, and how many such calls of the steps before it are repeated first
    ("graph.lakehouse", "fabric.CreateItem", "operation_failed", 0),
    ("graph.ontology_def", "fabric.UpdateItemDefinition", "operation_failed", 0),
    ("graph.graph_model_def", "fabric.UpdateItemDefinition", "operation_failed", 1),
    ("graph.graph_refresh", "fabric.RunOnDemandItemJob", "job_failed", 0),
]


def test_an_operation_that_fails_fails_the_job_and_a_retry_goes_on_there(place):
    """One build, which fails at one after the other; `test_several_tables_that_fail_are_all_named` is about the loading of tables."""
    post(place, FaultRule("fabric.CreateItem", "asynchronous"))
    job = place.request(SMALL.archives())
    for step, operation, kind, after in STOPS:
        post(place, FaultRule(operation, kind, after=after, args={"message": f"Out of capacity at {step}."}))
        job = retried(place, job) if job.attempt else place.work(job)
        assert job.state == "FAILED", step
        assert f"Out of capacity at {step}" in job.error_message
        assert step in {found.name for found in list_steps(place.wiring.own, job.job_id) if found.state == "FAILED"}
    assert retried(place, job).state == "SUCCEEDED"
    assert_all_happened(place)
    assert_built(place, SMALL)


def test_reserved_names_and_lists_of_items_that_lag_behind_are_waited_for(place):
    post(place, *(FaultRule("fabric.CreateItem", "name_reserved", after=2 * number) for number in range(CREATED)))
    post(place, FaultRule("fabric.ListItems", "listing_lag", after=1, times=3))
    build_and_look(place)


def test_a_refresh_whose_job_nobody_names_is_found_although_the_list_of_jobs_lags(place):
    post(place, FaultRule("fabric.RunOnDemandItemJob", "lost_location"), FaultRule("fabric.ListItemJobInstances", "listing_lag"))
    job = build_and_look(place)
    assert job.attempt == 2, "it was found at once, so the list did not lag"


ELSEWHERE = {"base": "https://wabi-elsewhere-redirect.analysis.windows.net"}
ANSWERS = {
    "operations": [
        FaultRule("fabric.CreateItem", "asynchronous"),
        FaultRule("fabric.CreateItem", "synchronous", after=1),  # the ontology: a lakehouse is always made at once
        FaultRule("fabric.UpdateItemDefinition", "synchronous"),
        FaultRule("fabric.GetOperationState", "stale_status"),
        FaultRule("fabric.LoadTable", "no_retry_after"),
        FaultRule("fabric.*", "token_expired"),
        FaultRule("kusto.*", "token_expired"),
    ],
    # One refresh is asked for three times: the first is refused, the second dropped in favour of another, which is the third.
    "refreshes": [
        FaultRule("fabric.RunOnDemandItemJob", "refresh_in_progress"),
        FaultRule("fabric.RunOnDemandItemJob", "deduped"),
        FaultRule("fabric.RunOnDemandItemJob", "foreign_location", after=1, args=ELSEWHERE),
        FaultRule("fabric.RunOnDemandItemJob", "lost_location", after=2),
        FaultRule("fabric.GetItemJobInstance", "not_found_once"),
        FaultRule("fabric.GetItemJobInstance", "stale_status"),
        FaultRule("fabric.GetItemJobInstance", "unknown_status", after=1),
    ],
}


@pytest.mark.parametrize("about", ANSWERS)
def test_every_way_in_which_fabric_may_answer_leads_to_the_same(place, about):
    post(place, *ANSWERS[about])
    job = build_and_look(place)
    if about == "operations":  # a refresh that nobody names may have ended before it is looked for, and then another attempt asks for one
        assert job.attempt == 1, "an answer of that kind was taken for a failure"


def test_several_tables_that_fail_are_all_named(place):
    post(place, FaultRule("fabric.LoadTable", "operation_failed", after=2, times=3, args={"message": "Out of capacity."}))
    job = place.work(place.request({Slot.GRAPH: graph_archive()}))
    assert job.state == "FAILED"
    assert len(job.error_details["failed"]) == 3
    assert all(name in job.error_message for name in job.error_details["failed"])
    assert "Out of capacity" in job.error_message
    assert len(place.delta_rows()) == len(TABLES) - 3
    assert retried(place, job).state == "SUCCEEDED"
    assert place.delta_rows() == TABLES


@pytest.mark.parametrize("names", PAIRS)
def test_a_removal_outlives_faults_on_the_wire(place, names):
    """Each call meets the first fault, and its repetition, or the next call, the second."""
    place.build(SMALL.archives())
    operations = (
        "fabric.ListItems",
        "fabric.DeleteItem",
        "fabric.ListTables",
        "kusto.Management",
        "onelake.Path.Delete",
        "onelake.Path.List",
    )
    faults = [(number, *WIRE[name]) for number, name in enumerate(names)]
    post(place, *(FaultRule(operation, kind, after=after, args=args) for operation in operations for after, kind, args in faults))
    ended = place.work(request_destroy(place.services, "telco-noc", "ada"))
    assert ended.state == "SUCCEEDED", (ended.error_message, ended.error_details)
    assert_all_happened(place)
    assert place.items() == {}
    assert things_of(place.services.documents, place.workspace_id) == []
