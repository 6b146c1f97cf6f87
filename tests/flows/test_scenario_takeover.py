"""What belongs to whom: things that a scenario takes over from another, and things that somebody made under a name that a build had in mind."""

import json
from dataclasses import replace

import pytest

from tests.flows.scenario_place import SMALL_TELEMETRY, open_place, packed, place, shop, small_telemetry
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


def actions(plan):
    return {change.kind: (str(change.action), change.reason) for change in plan.changes}


def pending(place, kind, name, mark):
    graphs = () if kind is Kind.ONTOLOGY else None
    record_thing(place.services.documents, Thing("one", place.workspace_id, kind, name, PENDING, mark=mark, graphs_before=graphs))


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
    ontology, lakehouse = place.ontology_of_others(), create(place, "lakehouse", "Lakehouse")
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


def make_table(place):
    """Somebody loads a table of their own."""
    lakehouse = ItemId(place.item("Lakehouse"))
    place.services.lake_of(place.workspace_id, lakehouse).upload("Files/scenarios/one/theirs.csv", b"Name,a\n,1\n,2\n")
    place.services.fabric.load_table(
        WorkspaceId(place.workspace_id), lakehouse, "DimCity", path="Files/scenarios/one/theirs.csv", format="Csv"
    )


def table_of(place):
    (ours,) = [thing for thing in things_of(place.services.documents, place.workspace_id) if thing.kind is Kind.TABLE]
    return ours


def test_a_table_that_somebody_made_minutes_after_ours_was_dropped_is_theirs(place):
    """Told by the first entry of its Delta log, which is not the one that our load has left."""
    place.build(shop("one"), scenario_name=None)
    place.services.lake_of(place.workspace_id, place.item("Lakehouse")).delete_folder("Tables/DimCity")
    make_table(place)
    assert actions(place.plan(shop("one"), scenario_name=None))[Kind.TABLE] == ("conflict", "was not made by Treadle")
    refused = place.work(place.request(shop("one"), scenario_name=None))
    assert "table lakehouse/DimCity was not made by Treadle" in refused.error_message
    assert [left.thing.name for left in survey_destroy(place.services, "one").left] == ["lakehouse/DimCity", "lakehouse"]
    place.build(shop("one"), scenario_name=None, overwrite=True)
    assert (place.delta_rows(), table_of(place).made) == ({"DimCity": 1}, False)
    assert place.work(request_destroy(place.services, "one", "ada")).state == "SUCCEEDED"
    assert place.delta_rows() == {"DimCity": 1}, "what was taken over went with the scenario"


def refresh(place):
    fabric, workspace, graph = place.services.fabric, WorkspaceId(place.workspace_id), ItemId(place.item("GraphModel"))
    fabric.wait_for_refresh(workspace, graph, fabric.refresh_graph(workspace, graph).job_id, deadline_seconds=60)


def test_a_table_that_others_loaded_into_stays_ours(place):
    """An overwrite keeps the beginning of the log."""
    place.build(shop("one"), scenario_name=None)
    make_table(place)
    assert place.delta_rows() == {"DimCity": 2}
    told = actions(place.plan(shop("one"), scenario_name=None))
    assert told[Kind.TABLE] == told[Kind.GRAPH_MODEL] == ("update", "has other content")
    refresh(place)
    assert place.query("MATCH (c:City) RETURN count(*) AS n") == [{"n": 0}]  # theirs has no names
    place.build(shop("one"), scenario_name=None)
    assert (place.delta_rows(), table_of(place).made) == ({"DimCity": 1}, True)
    assert place.query("MATCH (c:City) RETURN c.Name AS Name") == [{"Name": "Sydney"}]
    assert place.plan(shop("one"), scenario_name=None).counts["unchanged"] == 4
    place.work(request_destroy(place.services, "one", "ada"))
    assert place.items() == {}


def test_a_table_that_no_list_shows_yet_is_not_written_over(place):
    create(place, "lakehouse", "Lakehouse")
    make_table(place)
    job = place.request(shop("one"), scenario_name=None)
    place.environment.cloud.faults.post([FaultRule("fabric.ListTables", "listing_lag", times=2)])  # for the comparison, and for the loads
    ended = place.work(job)
    assert (ended.state, ended.error_details["failed"]["DimCity"]["kind"]) == ("FAILED", "Conflict")
    assert "table lakehouse/DimCity was not made by Treadle" in ended.error_message
    assert place.delta_rows() == {"DimCity": 2}


def test_a_graph_of_somebody_else_whose_name_fits_is_left_alone(place):
    """It is empty, as Fabric makes the one that comes with an ontology; but it was there before ours."""
    theirs = create(place, "ontology_graph_theirs", "GraphModel")
    place.build(shop("one"), scenario_name=None)
    record = get_scenario(place.services.documents, "one")
    assert record.graph_model_id != theirs
    assert [row["Name"] for row in query_graph(place.services, "one", "MATCH (c:City) RETURN c.Name AS Name").rows] == ["Sydney"]
    assert place.plan(shop("one"), scenario_name=None).counts == {"create": 0, "update": 0, "unchanged": 4, "conflict": 0}
    assert place.work(request_destroy(place.services, "one", "ada")).result["left"] == []
    assert place.items() == {("GraphModel", "ontology_graph_theirs"): theirs}


def test_the_graph_of_another_scenario_is_not_taken_because_of_its_name(place):
    """The first scenario's graph keeps the name of an ontology that is called otherwise by now, or is gone."""
    place.build(shop("one"), scenario_name=None)
    graph, old = place.item("GraphModel"), place.item("Ontology")
    rename(place, old, "towns")
    tables = packed({"scenario.yaml": b"name: two\n", "graph_schema.yaml": b"vertices:\n  - {label: Road, csv_file: DimRoad.csv, id_column: Name}\n", "data/entities/DimRoad.csv": b"Name\nM1\n"})  # fmt: skip
    place.build({Slot.GRAPH: tables}, scenario_name=None)
    first, second = (get_scenario(place.services.documents, name) for name in ("one", "two"))
    assert first.graph_model_id == graph
    assert Kind.GRAPH_MODEL not in {loss.kind for loss in first.lost}
    assert second.graph_model_id not in {graph, None}
    assert place.work(request_destroy(place.services, "two", "ada")).state == "SUCCEEDED"
    assert query_graph(place.services, "one", "MATCH (c:City) RETURN c.Name AS Name").rows


def rename(place, item_id, name):
    path = f"/v1/workspaces/{place.workspace_id}/items/{item_id}"
    place.services.fabric.transport.request("PATCH", path, what="rename it", json={"displayName": name})


def test_a_graph_of_somebody_else_does_not_stand_in_for_ours(place):
    """It was made after our ontology, and reads nothing but our table; ours was deleted by hand."""
    place.build(shop("one"), scenario_name=None)
    workspace, ours = WorkspaceId(place.workspace_id), ItemId(place.item("GraphModel"))
    definition = place.services.fabric.get_item_definition(workspace, ours)
    theirs = create(place, "ontology_graph_theirs", "GraphModel")
    place.services.fabric.update_item_definition(workspace, ItemId(theirs), definition)
    place.services.fabric.delete_item(workspace, ours)
    assert actions(place.plan(shop("one"), scenario_name=None))[Kind.GRAPH_MODEL] == ("create", "is not there yet")
    place.build(shop("one"), scenario_name=None)
    assert get_scenario(place.services.documents, "one").graph_model_id not in {theirs, ours}
    place.work(request_destroy(place.services, "one", "ada"))
    assert place.items() == {("GraphModel", "ontology_graph_theirs"): theirs}


def test_an_ontology_that_is_empty_is_filled_and_left_at_the_end(place):
    """Somebody made it for the scenario, by itself; with it came a graph. There is nothing in them to be overwritten."""
    ontology = create(place, "ontology", "Ontology")
    place.services.fabric.update_item_definition(WorkspaceId(place.workspace_id), ItemId(ontology), {"definition.json": b"{\n}\n"})
    graph = place.item("GraphModel")
    told = actions(place.plan(shop("one"), scenario_name=None))
    assert told[Kind.ONTOLOGY] == told[Kind.GRAPH_MODEL] == ("update", "is there, and empty")
    place.build(shop("one"), scenario_name=None)
    assert (place.item("Ontology"), place.item("GraphModel")) == (ontology, graph)
    assert place.query("MATCH (c:City) RETURN c.Name AS Name") == [{"Name": "Sydney"}]
    assert place.plan(shop("one"), scenario_name=None).counts["unchanged"] == 4
    ended = place.work(request_destroy(place.services, "one", "ada"))
    assert {told["kind"] for told in ended.result["left"]} == {Kind.ONTOLOGY, Kind.GRAPH_MODEL}
    assert {kind for kind, _ in place.items()} == {"Ontology", "GraphModel"}


def empty_graph(place):
    fabric, workspace, item = place.services.fabric, WorkspaceId(place.workspace_id), ItemId(create(place, "bare", "GraphModel"))
    files = fabric.get_item_definition(workspace, item)
    fabric.delete_item(workspace, item)
    return files


@pytest.mark.parametrize("item_type", ["Ontology", "GraphModel"])
def test_a_definition_that_somebody_changed_is_brought_again(place, item_type):
    place.build(shop("one"), scenario_name=None)
    fabric, workspace, item = place.services.fabric, WorkspaceId(place.workspace_id), ItemId(place.item(item_type))
    ours = fabric.get_item_definition(workspace, item)
    other = {"definition.json": b"{}"} if item_type == "Ontology" else empty_graph(place)
    fabric.update_item_definition(workspace, item, other)
    kind = Kind.ONTOLOGY if item_type == "Ontology" else Kind.GRAPH_MODEL
    assert actions(place.plan(shop("one"), scenario_name=None))[kind] == ("update", "has other content")
    place.build(shop("one"), scenario_name=None)
    assert fabric.get_item_definition(workspace, item) == ours
    assert place.plan(shop("one"), scenario_name=None).counts["unchanged"] == 4


def test_a_graph_that_somebody_has_only_drawn_otherwise_is_unchanged(place):
    place.build(shop("one"), scenario_name=None)
    fabric, workspace, item = place.services.fabric, WorkspaceId(place.workspace_id), ItemId(place.item("GraphModel"))
    files = fabric.get_item_definition(workspace, item)
    styling = json.loads(files["stylingConfiguration.json"])
    styling["modelLayout"]["zoomLevel"] = 2
    fabric.update_item_definition(workspace, item, {**files, "stylingConfiguration.json": json.dumps(styling).encode()})
    assert place.plan(shop("one"), scenario_name=None).counts["unchanged"] == 4


def test_an_ontology_stays_as_long_as_another_scenario_has_its_graph(place):
    """With the ontology the graph would go."""
    place.build(shop("one"), scenario_name=None)
    graph = next(thing for thing in things_of(place.services.documents, place.workspace_id) if thing.kind is Kind.GRAPH_MODEL)
    record_thing(place.services.documents, replace(graph, scenario="two"))
    assert {left.thing.kind: left.reason for left in survey_destroy(place.services, "one").left}[Kind.ONTOLOGY] == "is used by two"
    assert place.work(request_destroy(place.services, "one", "ada")).state == "SUCCEEDED"
    assert place.item("GraphModel") == graph.item_id


def test_an_ontology_that_is_made_anew_brings_its_graph(place):
    place.build(shop("one"), scenario_name=None)
    place.services.fabric.delete_item(WorkspaceId(place.workspace_id), ItemId(place.item("Ontology")))
    place.build(shop("one"), scenario_name=None)
    assert get_scenario(place.services.documents, "one").graph_model_id == place.item("GraphModel")
    place.work(request_destroy(place.services, "one", "ada"))
    assert place.items() == {}


def test_what_another_scenario_has_under_a_name_survives_a_build_that_died_in_its_place(place):
    """The list did not show it, so the build wrote down that it would make it, and died."""
    place.build(shop("one"), scenario_name=None)
    lakehouse = next(thing for thing in things_of(place.services.documents, place.workspace_id) if thing.kind is Kind.LAKEHOUSE)
    record_thing(
        place.services.documents,
        Thing("two", place.workspace_id, Kind.LAKEHOUSE, "lakehouse", PENDING, mark="a1b2", displaced=lakehouse),
    )
    assert Kind.LAKEHOUSE not in {thing.kind for thing in survey_destroy(place.services, "two").removed}
    assert place.work(request_destroy(place.services, "two", "ada")).state == "SUCCEEDED"
    assert lakehouse in things_of(place.services.documents, place.workspace_id)
    assert place.work(request_destroy(place.services, "one", "ada")).result["left"] == []
    assert place.items() == {}


def test_a_table_that_somebody_made_in_place_of_one_that_never_came_about_is_theirs(place):
    """Told by its Delta log, which began long after the build had written the table down."""
    place.build(shop("one"), scenario_name=None)
    record_thing(place.services.documents, replace(table_of(place), noted_at="2026-01-01T00:00:00+00:00", first_entry=None))
    assert [(left.thing.name, left.reason) for left in survey_destroy(place.services, "one").left] == [
        ("lakehouse/DimCity", "was made by others, in place of the one that was built"),
        ("lakehouse", "holds what Treadle did not make: table DimCity"),
    ]
    refused = place.work(place.request(shop("one", "Perth"), scenario_name=None))
    assert "table lakehouse/DimCity was not made by Treadle" in refused.error_message
    ended = place.work(request_destroy(place.services, "one", "ada"))
    assert {told["kind"] for told in ended.result["left"]} == {"table", "lakehouse"}
    assert place.delta_rows() == {"DimCity": 1}


def test_rows_that_somebody_cleared_from_a_kql_table_are_brought_again(place):
    (name,) = SMALL_TELEMETRY
    place.build({Slot.TELEMETRY: small_telemetry()})
    rows = place.kql_rows([name])
    database = ItemId(place.items()["KQLDatabase", "telemetry"])
    properties = place.services.fabric.item_properties(WorkspaceId(place.workspace_id), database, "KQLDatabase")
    place.services.kusto(properties["queryServiceUri"], "telemetry").mgmt(f".clear table {name} data")
    assert place.kql_rows([name]) == {name: 0}
    changed = [change for change in place.plan({Slot.TELEMETRY: small_telemetry()}).changes if change.action != "unchanged"]
    assert [(change.name, str(change.action)) for change in changed] == [(f"telemetry/{name}", "update")]
    place.build({Slot.TELEMETRY: small_telemetry()})
    assert place.kql_rows([name]) == rows
    assert place.plan({Slot.TELEMETRY: small_telemetry()}).counts["update"] == 0


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
