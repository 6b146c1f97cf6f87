"""What belongs to whom: things that a scenario takes over from another, and things that somebody made under a name that a build had in mind."""

from dataclasses import replace

import pytest

from tests.flows.scenario_place import open_place, packed, place
from treadle.clients.fabric import ItemId, WorkspaceId
from treadle.control.jobs.queue import retry_job
from treadle.errors import NotFound
from treadle.flows.scenario.existing import PENDING
from treadle.flows.scenario.flow import query_graph, request_destroy, survey_destroy
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.records import Loss, Thing, get_scenario, record_thing, things_of
from treadle.flows.scenario.slots import Slot
from treadle.sandbox.faults import FaultRule

__all__ = ["open_place", "place"]  # fixtures


def shop(name, city="Sydney"):
    """A scenario of one table and one entity type; two of different names want the same things."""
    files = {
        "scenario.yaml": f"name: {name}\n".encode(),
        "graph_schema.yaml": b"vertices:\n  - {label: City, csv_file: DimCity.csv, id_column: Name}\n",
        "data/entities/DimCity.csv": f"Name\n{city}\n".encode(),
    }
    return {Slot.GRAPH: packed(files)}


def actions(plan):
    return {change.kind: (str(change.action), change.reason) for change in plan.changes}


def pending(place, kind, name, mark):
    record_thing(place.services.documents, Thing("one", place.workspace_id, kind, name, PENDING, mark=mark))


def create(place, name, item_type, **facts):
    return place.services.fabric.create_item(WorkspaceId(place.workspace_id), name=name, type=item_type, **facts).item_id


def test_what_another_scenario_took_over_is_no_longer_the_first_ones(place):
    place.build(shop("one"), scenario_name=None)
    graph = place.item("GraphModel")
    place.build(shop("two", "Perth"), scenario_name=None, overwrite=True)
    first, second = (get_scenario(place.services.documents, name) for name in ("one", "two"))
    graph_name = next(name for kind, name in place.items() if kind == "GraphModel")
    assert set(first.lost) == {
        Loss(Kind.TABLE, "lakehouse/DimCity", "two"),
        Loss(Kind.ONTOLOGY, "ontology", "two"),
        Loss(Kind.GRAPH_MODEL, graph_name, "two"),
    }
    assert (first.state, first.ontology_id, first.graph_model_id, first.tables) == ("INCOMPLETE", None, None, ())
    assert (second.state, second.lost, second.graph_model_id) == ("BUILT", (), graph)
    with pytest.raises(NotFound, match="taken over by two"):
        query_graph(place.services, "one", "MATCH (n) RETURN n")
    told = actions(place.plan(shop("one"), scenario_name=None))
    assert {kind: told[kind] for kind in (Kind.TABLE, Kind.ONTOLOGY, Kind.GRAPH_MODEL)} == dict.fromkeys(
        (Kind.TABLE, Kind.ONTOLOGY, Kind.GRAPH_MODEL), ("conflict", "was made by two")
    )
    plan = survey_destroy(place.services, "one")
    assert plan.removed == ()
    assert {(left.thing.kind, left.reason) for left in plan.left} == {
        (Kind.LAKEHOUSE, "is used by two"),
        *((kind, "was taken over by two") for kind in (Kind.TABLE, Kind.ONTOLOGY, Kind.GRAPH_MODEL)),
    }
    assert place.work(request_destroy(place.services, "one", "ada")).state == "SUCCEEDED"
    assert place.query("MATCH (c:City) RETURN c.Name AS Name") == [{"Name": "Perth"}]
    assert place.work(request_destroy(place.services, "two", "ada")).result["left"] == []
    assert place.items() == {}


def test_a_scenario_that_takes_back_what_it_lost_is_whole_again(place):
    place.build(shop("one"), scenario_name=None)
    place.build(shop("two", "Perth"), scenario_name=None, overwrite=True)
    place.build(shop("one"), scenario_name=None, overwrite=True)
    first, second = (get_scenario(place.services.documents, name) for name in ("one", "two"))
    assert (first.state, first.lost, first.graph_model_id) == ("BUILT", (), place.item("GraphModel"))
    assert {loss.taken_by for loss in second.lost} == {"one"}
    assert place.plan(shop("one"), scenario_name=None).counts["unchanged"] == 4


def test_what_somebody_made_under_a_name_that_a_dead_build_had_in_mind_is_theirs(place):
    """The build wrote down what it was about to make, and ended before it asked for it."""
    pending(place, Kind.ONTOLOGY, "ontology", "a1b2")
    pending(place, Kind.LAKEHOUSE, "lakehouse", "c3d4")
    ontology, lakehouse = create(place, "ontology", "Ontology", description="mine"), create(place, "lakehouse", "Lakehouse")
    assert actions(place.plan(shop("one"), scenario_name=None))[Kind.ONTOLOGY] == ("conflict", "was not made by Treadle")
    refused = place.work(place.request(shop("one"), scenario_name=None))
    assert (refused.state, refused.error_details["kind"]) == ("FAILED", "Conflict")
    assert survey_destroy(place.services, "one").removed == ()
    assert place.work(request_destroy(place.services, "one", "ada")).state == "SUCCEEDED"
    assert {ontology, lakehouse} <= set(place.items().values())
    pending(place, Kind.ONTOLOGY, "ontology", "a1b2")
    place.build(shop("one"), scenario_name=None, overwrite=True)
    place.work(request_destroy(place.services, "one", "ada"))
    assert {ontology, lakehouse} <= set(place.items().values()), "what was taken over went with the scenario"


def test_what_a_dead_build_made_without_hearing_so_is_its_own(place):
    pending(place, Kind.ONTOLOGY, "ontology", "a1b2")
    pending(place, Kind.LAKEHOUSE, "lakehouse", "c3d4")
    create(place, "ontology", "Ontology", description="Made by Treadle (a1b2)")
    create(place, "lakehouse", "Lakehouse", description="Made by Treadle (c3d4)")
    assert {thing.kind for thing in survey_destroy(place.services, "one").removed} == {Kind.ONTOLOGY, Kind.LAKEHOUSE}
    assert place.plan(shop("one"), scenario_name=None).can_be_applied
    place.build(shop("one"), scenario_name=None)
    assert all(thing.made and thing.item_id for thing in things_of(place.services.documents, place.workspace_id))
    place.work(request_destroy(place.services, "one", "ada"))
    assert place.items() == {}


def test_what_a_dead_build_made_is_found_although_lists_lag_behind(place):
    pending(place, Kind.LAKEHOUSE, "lakehouse", "c3d4")
    create(place, "lakehouse", "Lakehouse", description="Made by Treadle (c3d4)")
    place.environment.cloud.faults.post([FaultRule("fabric.ListItems", "listing_lag", times=3)])
    place.build(shop("one"), scenario_name=None)
    assert Kind.LAKEHOUSE in {thing.kind for thing in things_of(place.services.documents, place.workspace_id)}


def test_a_retry_does_not_write_over_a_table_that_somebody_has_made_since(place):
    job = place.request(shop("one"), scenario_name=None)
    place.environment.cloud.faults.post([FaultRule("onelake.Path.Create", "status", args={"status": 403})])
    job = place.work(job)
    assert job.state == "FAILED"
    assert place.delta_rows() == {}
    lakehouse = ItemId(place.item("Lakehouse"))
    place.services.lake_of(place.workspace_id, lakehouse).upload("Files/theirs.csv", b"a\n1\n2\n")
    place.services.fabric.load_table(WorkspaceId(place.workspace_id), lakehouse, "DimCity", path="Files/theirs.csv", format="Csv")
    retry_job(place.wiring.own, job.job_id, "ada")
    again = place.work(job)
    assert again.state == "FAILED"
    assert "table lakehouse/DimCity was not made by Treadle" in again.error_message
    assert place.delta_rows() == {"DimCity": 2}


def test_things_of_one_name_in_two_workspaces_all_go(place):
    """A scenario that was built elsewhere before is one scenario; the plan says so."""
    place.build(shop("one"), scenario_name=None)
    elsewhere = place.services.fabric.create_workspace(f"{place.workspace_name} 2")
    there = replace(place, workspace_id=elsewhere.workspace_id, workspace_name=elsewhere.name)
    assert any(f"is built in workspace {place.workspace_name}" in note for note in there.plan(shop("one"), scenario_name=None).notes)
    there.build(shop("one"), scenario_name=None)
    ended = there.work(request_destroy(place.services, "one", "ada"))
    assert (ended.state, ended.result["left"]) == ("SUCCEEDED", [])
    assert place.items() == there.items() == {}


def test_a_table_that_somebody_made_in_place_of_ours_is_theirs(place):
    """Told by its Delta log, which began long after the build had written the table down."""
    place.build(shop("one"), scenario_name=None)
    (ours,) = [thing for thing in things_of(place.services.documents, place.workspace_id) if thing.kind is Kind.TABLE]
    record_thing(place.services.documents, replace(ours, noted_at="2026-01-01T00:00:00+00:00"))
    assert [(left.thing.name, left.reason) for left in survey_destroy(place.services, "one").left] == [
        ("lakehouse/DimCity", "was made by others, in place of the one that was built"),
        ("lakehouse", "holds what Treadle did not make: table DimCity"),
    ]
    refused = place.work(place.request(shop("one", "Perth"), scenario_name=None))
    assert "table lakehouse/DimCity was not made by Treadle" in refused.error_message
    ended = place.work(request_destroy(place.services, "one", "ada"))
    assert {told["kind"] for told in ended.result["left"]} == {"table", "lakehouse"}
    assert place.delta_rows() == {"DimCity": 1}


def test_a_lakehouse_that_lists_do_not_show_yet_stays_that_of_who_made_it(place):
    place.build(shop("one"), scenario_name=None)
    two = packed({"scenario.yaml": b"name: two\n", "graph_schema.yaml": b"vertices:\n  - {label: Road, csv_file: DimRoad.csv, id_column: Name}\n", "data/entities/DimRoad.csv": b"Name\nM1\n"})  # fmt: skip
    job = place.request({Slot.GRAPH: two}, scenario_name=None, ontology_name="two")
    place.environment.cloud.faults.post([FaultRule("fabric.ListItems", "listing_lag", after=1)])  # at the look for the lakehouse
    assert place.work(job).state == "SUCCEEDED"
    owners = {
        thing.kind: thing.scenario for thing in things_of(place.services.documents, place.workspace_id) if thing.kind is Kind.LAKEHOUSE
    }
    assert owners == {Kind.LAKEHOUSE: "one"}
    assert get_scenario(place.services.documents, "one").state == "BUILT"
