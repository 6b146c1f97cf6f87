"""What nobody names is called as it was when the scenario was built last in the workspace: plans, builds, and jobs of before that was so."""

from dataclasses import replace
from uuid import uuid4

import pytest

from tests.flows.scenario_place import open_place, place, shop, small_graph, small_telemetry
from treadle.clients.fabric import ItemId, WorkspaceId
from treadle.control.jobs.job import NewJob, StepState
from treadle.control.jobs.queue import enqueue, list_steps, request_cancel, retry_job
from treadle.errors import InvalidInput
from treadle.flows.scenario.asked import Asked, asked_in, asked_payload, check_asked
from treadle.flows.scenario.flow import BUILD, workspace_key
from treadle.flows.scenario.plan import Action, Kind
from treadle.flows.scenario.records import ScenarioRecord, get_scenario, save_scenario
from treadle.flows.scenario.slots import Slot
from treadle.sandbox.faults import FaultRule
from treadle.stores.containers import SCENARIOS

__all__ = ["open_place", "place"]  # fixtures

OWN = {"lakehouse_name": "hafen_lh", "ontology_name": "hafen_onto"}


def named(plan, kind):
    """The names of the things of a kind that a plan has."""
    return [change.name for change in plan.changes if change.kind is kind]


def record_of(place, name="one") -> ScenarioRecord:
    return get_scenario(place.services.documents, name)


def rename(place, item_type, name):
    """As somebody does in Fabric's own pages."""
    address = f"/v1/workspaces/{place.workspace_id}/items/{place.item(item_type)}"
    place.services.fabric.transport.request("PATCH", address, what="rename an item", json={"displayName": name})


def where_it_is(plan):
    return [note for note in plan.notes if "This build goes to" in note]


def test_what_is_built_again_without_names_stays_where_it_is(place):
    place.build(shop("one"), scenario_name=None, **OWN)
    before = place.items()
    assert {name for kind, name in before if kind in {"Lakehouse", "Ontology"}} == set(OWN.values())
    for asked_name in (None, "one"):  # only the archive knows it, or it was given
        plan = place.plan(shop("one"), scenario_name=asked_name)
        assert (plan.counts["unchanged"], plan.counts["create"], plan.can_be_applied) == (len(plan.changes), 0, True), plan.changes
    assert (named(plan, Kind.LAKEHOUSE), named(plan, Kind.ONTOLOGY)) == (["hafen_lh"], ["hafen_onto"])
    place.build(shop("one", "Perth"), scenario_name=None)
    assert place.items() == before
    assert (record_of(place).lakehouse_name, record_of(place).ontology_name) == ("hafen_lh", "hafen_onto")


def test_a_name_that_is_given_wins_and_the_plan_says_where_the_scenario_is(place):
    place.build(shop("one"), scenario_name=None, **OWN)
    plan = place.plan(shop("one"), scenario_name=None, lakehouse_name="lakehouse", ontology_name="second")
    assert (named(plan, Kind.LAKEHOUSE), named(plan, Kind.ONTOLOGY)) == (["lakehouse"], ["second"])
    [note] = where_it_is(plan)
    assert "one is built in lakehouse hafen_lh and ontology hafen_onto. This build goes to lakehouse lakehouse and ontology second;" in note
    assert where_it_is(place.plan(shop("one"), scenario_name=None, **OWN)) == [], "these are the same names"
    half = place.plan(shop("one"), scenario_name=None, ontology_name="second")
    assert (named(half, Kind.LAKEHOUSE), named(half, Kind.ONTOLOGY)) == (["hafen_lh"], ["second"])
    assert "is built in ontology hafen_onto. This build goes to ontology second;" in where_it_is(half)[0]


def test_measurements_stay_in_their_eventhouse(place):
    place.build({Slot.TELEMETRY: small_telemetry()}, scenario_name=None, eventhouse_name="measures", lakehouse_name="hafen_lh")
    record = record_of(place, "telco-noc")
    assert (record.eventhouse_name, record.lakehouse_name, record.ontology_name) == ("measures", "hafen_lh", None)
    plan = place.plan({Slot.TELEMETRY: small_telemetry()}, scenario_name=None)
    assert (named(plan, Kind.EVENTHOUSE), named(plan, Kind.LAKEHOUSE), plan.counts["create"]) == (["measures"], ["hafen_lh"], 0)
    both = place.plan({Slot.GRAPH: small_graph(), Slot.TELEMETRY: small_telemetry()}, scenario_name=None)
    assert (named(both, Kind.LAKEHOUSE), named(both, Kind.ONTOLOGY)) == (["hafen_lh"], ["ontology"]), "the record knows no ontology"
    # a record of before the eventhouse's name was kept: Fabric says how the one of that id is called
    body = place.services.documents.get(SCENARIOS, "telco-noc").body
    place.services.documents.put(SCENARIOS, "telco-noc", {name: value for name, value in body.items() if name != "eventhouse_name"})
    assert record_of(place, "telco-noc").eventhouse_name is None
    assert named(place.plan({Slot.TELEMETRY: small_telemetry()}, scenario_name=None), Kind.EVENTHOUSE) == ["measures"]
    place.build({Slot.TELEMETRY: small_telemetry()}, scenario_name=None)
    assert record_of(place, "telco-noc").eventhouse_name == "measures"
    assert sorted(kind for kind, _ in place.items()) == ["Eventhouse", "KQLDatabase", "KQLDatabase", "Lakehouse"]


def test_elsewhere_it_begins_with_the_default_names(place):
    place.build(shop("one"), scenario_name=None, **OWN)
    elsewhere = place.services.fabric.create_workspace(f"{place.workspace_name} 2")
    there = replace(place, workspace_id=elsewhere.workspace_id, workspace_name=elsewhere.name)
    plan = there.plan(shop("one"), scenario_name=None)
    assert (named(plan, Kind.LAKEHOUSE), named(plan, Kind.ONTOLOGY)) == (["lakehouse"], ["ontology"])
    assert any("is built in workspace" in note for note in plan.notes)
    assert where_it_is(plan) == []


def test_what_was_deleted_is_made_again_under_its_name(place):
    place.build(shop("one"), scenario_name=None, **OWN)
    place.services.fabric.delete_item(WorkspaceId(place.workspace_id), ItemId(place.item("Lakehouse")))
    plan = place.plan(shop("one"), scenario_name=None)
    assert {(change.action, change.name) for change in plan.changes if change.kind is Kind.LAKEHOUSE} == {(Action.CREATE, "hafen_lh")}
    place.build(shop("one"), scenario_name=None)
    assert [name for kind, name in place.items() if kind == "Lakehouse"] == ["hafen_lh"]


def test_what_was_renamed_is_meant_by_its_new_name(place):
    place.build(shop("one"), scenario_name=None, **OWN)
    rename(place, "Lakehouse", "harbour")
    before = place.items()
    plan = place.plan(shop("one"), scenario_name=None)
    assert named(plan, Kind.LAKEHOUSE) == ["harbour"]
    assert Action.CREATE not in {change.action for change in plan.changes}, "no second copy"
    assert any("The lakehouse hafen_lh of one is called harbour by now" in note for note in plan.notes)
    place.build(shop("one", "Perth"), scenario_name=None)
    assert place.items() == before
    assert record_of(place).lakehouse_name == "harbour"
    assert place.plan(shop("one", "Perth"), scenario_name=None).counts["unchanged"] == 4


def test_what_another_scenario_took_over_is_a_conflict_under_its_name(place):
    place.build(shop("one"), scenario_name=None, **OWN)
    place.build(shop("two"), scenario_name=None, overwrite=True, **OWN)
    assert record_of(place).ontology_name is None
    plan = place.plan(shop("one"), scenario_name=None)
    assert [(change.action, change.reason) for change in plan.changes if change.kind is Kind.ONTOLOGY] == [
        (Action.CONFLICT, "was made by two")
    ]
    assert named(plan, Kind.ONTOLOGY) == ["hafen_onto"]


def test_a_retry_goes_on_with_the_names_that_its_first_attempt_settled(place):
    place.build(shop("one"), scenario_name=None, **OWN)
    job = place.request(shop("one", "Perth"), scenario_name=None)
    assert not set(job.payload) & {"lakehouse_name", "ontology_name", "eventhouse_name"}
    place.environment.cloud.faults.post([FaultRule("onelake.Path.Create", "status", args={"status": 403})])
    assert place.work(job).state == "FAILED"
    [extract] = [step for step in list_steps(place.wiring.own, job.job_id) if step.name == "graph.extract"]
    assert (extract.state, extract.result["names"]["lakehouse_name"]) == (StepState.DONE, "hafen_lh")
    save_scenario(place.services.documents, replace(record_of(place), lakehouse_name="third", lakehouse_id=None))
    retry_job(place.wiring.own, job.job_id, "ada")
    assert place.work(job).state == "SUCCEEDED"
    assert [name for kind, name in place.items() if kind == "Lakehouse"] == ["hafen_lh"]


def test_a_job_of_before_has_its_names_in_its_payload(place):
    place.build(shop("one"), scenario_name=None, **OWN)
    asked = place.request(shop("one"), scenario_name=None)
    payload = {**asked.payload, "lakehouse_name": "lakehouse", "ontology_name": "old_onto", "eventhouse_name": "eventhouse"}
    request_cancel(place.wiring.own, asked.job_id, "ada")
    job = enqueue(place.wiring.own, NewJob(BUILD, payload, "ada", key=workspace_key(place.workspace_id), job_id=uuid4()))
    ended = place.work(job)
    assert ended.state == "SUCCEEDED", ended.error_message
    assert {"lakehouse", "old_onto"} <= {name for _, name in place.items()}


def test_a_record_with_a_name_that_cannot_be_one_is_told_and_another_name_helps(place):
    place.build(shop("one"), scenario_name=None)
    save_scenario(place.services.documents, replace(record_of(place), lakehouse_name="../up", lakehouse_id=None))
    with pytest.raises(InvalidInput, match=r"record of one has '\.\./up' as the name of its lakehouse"):
        place.plan(shop("one"), scenario_name=None)
    assert place.plan(shop("one"), scenario_name=None, lakehouse_name="lakehouse").can_be_applied


def test_names_that_nobody_gave_are_not_in_a_payload_and_given_ones_are_checked():
    workspace = str(uuid4())
    asked = Asked("one", None, workspace, "ops", ontology_name="mine")
    payload = asked_payload(asked)
    assert {name: value for name, value in payload.items() if name.endswith("_name")} == {
        "scenario_name": "one",
        "workspace_name": "ops",
        "ontology_name": "mine",
    }
    assert asked_in(payload) == asked
    with pytest.raises(InvalidInput, match="cannot be the name of an ontology"):
        check_asked(replace(asked, ontology_name=""), {"graph": None})
