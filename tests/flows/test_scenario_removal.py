"""The end of a scenario where its things are not as they were left: nothing of it stays behind unsaid, and nothing of others goes with it."""

import dataclasses
import json
from uuid import uuid4

import psycopg
import pytest

from tests.flows.scenario_place import SMALL_TABLES, open_place, packed, place, small, small_graph, small_telemetry
from treadle.clients.fabric import ItemId, WorkspaceId
from treadle.control.jobs.kinds import by_name
from treadle.control.jobs.queue import retry_job
from treadle.control.jobs.worker import JobWorker
from treadle.errors import NotFound, PermissionDenied
from treadle.flows.scenario.existing import PENDING
from treadle.flows.scenario.flow import request_destroy, survey_destroy
from treadle.flows.scenario.jobs import scenario_kinds
from treadle.flows.scenario.lakehouse_folders import forget_lakehouses, lakehouses_of, note_lakehouse
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.records import Thing, find_scenario, record_thing, things_of, things_of_scenario
from treadle.flows.scenario.slots import Slot
from treadle.flows.scenario.strangers import UNSEEN
from treadle.flows.scenario.survey import CLEARED, NOT_MADE, WORKSPACE_GONE
from treadle.sandbox.faults import FaultRule

__all__ = ["open_place", "place"]  # fixtures

NAME = "telco-noc"
FORBIDDEN = {"status": 403, "code": "InsufficientPrivileges"}
NO_WORKSPACE = {"code": "WorkspaceNotFound"}


def shop(city="Sydney"):
    """A scenario of one table and one entity type."""
    files = {
        "scenario.yaml": b"name: telco-noc\n",
        "graph_schema.yaml": b"vertices:\n  - {label: City, csv_file: DimCity.csv, id_column: Name}\n",
        "data/entities/DimCity.csv": f"Name\n{city}\n".encode(),
    }
    return {Slot.GRAPH: packed(files)}


def runbooks():
    return packed({"data/knowledge/runbooks/fibre_cut.md": b"# Fibre cut\nReroute.\n"})


def alerts(*names):
    """A table of alerts, so many of them."""
    return b"AlertId,OpticalPowerDbm\n" + b"".join(b"%s,-1.5\n" % name.encode() for name in names)


def post(place, *rules):
    place.environment.cloud.faults.post(rules)


def elsewhere(place):
    """The same services with another workspace."""
    workspace = place.services.fabric.create_workspace(f"Scenario {uuid4()}")
    return dataclasses.replace(place, workspace_id=workspace.workspace_id, workspace_name=workspace.name)


def delete_workspace(place):
    place.services.fabric.transport.request("DELETE", f"/v1/workspaces/{place.workspace_id}", what="delete the workspace", wants_json=False)


def create(place, name, item_type, **facts):
    return place.services.fabric.create_item(WorkspaceId(place.workspace_id), name=name, type=item_type, **facts).item_id


def delete(place, item_id):
    place.services.fabric.delete_item(WorkspaceId(place.workspace_id), ItemId(item_id))


def lake(place, lakehouse):
    return place.services.lake_of(place.workspace_id, lakehouse)


def destroyed(place, name=NAME):
    """The end of the scenario, and what was left of it: kind, name and reason."""
    ended = place.work(request_destroy(place.services, name, "ada"))
    assert ended.state == "SUCCEEDED", (ended.error_message, ended.error_details)
    assert find_scenario(place.services.documents, name) is None
    assert things_of_scenario(place.services.documents, name) == []
    assert lakehouses_of(place.services.documents, name) == ()
    return ended, [(told["kind"], told["name"], told["reason"]) for told in ended.result["left"]]


def attempted_once(place, job):
    """The job, by a worker that gives up after one attempt."""
    kinds = [dataclasses.replace(kind, max_attempts=1) for kind in scenario_kinds(lambda: place.services)]
    worker = JobWorker(place.wiring.own, by_name(kinds), slots=1, idle_seconds=0.05, lease_seconds=10.0)
    assert worker.run_until_idle(timeout_seconds=60)
    return place.job(job)


def refused_at_item(place, number):
    """A removal that may not delete the item of this number, and ended there."""
    post(place, FaultRule("fabric.DeleteItem", "status", after=number, args=FORBIDDEN))
    job = place.work(request_destroy(place.services, NAME, "ada"))
    assert (job.state, job.error_details["kind"]) == ("FAILED", "PermissionDenied")
    return job


def asked_again(place, job):
    """What comes of it, and what was left."""
    retry_job(place.wiring.own, job.job_id, "ada")
    ended = place.work(job)
    assert ended.state == "SUCCEEDED", (ended.error_message, ended.error_details)
    return ended, [(told["kind"], told["name"], told["reason"]) for told in ended.result["left"]]


def left_in(plan):
    return [(left.thing.kind, left.thing.name, left.reason) for left in plan.left]


# A workspace that is gone.


def test_a_workspace_that_was_deleted_takes_nothing_else_of_its_scenario_out_of_reach(place):
    """What is in another workspace goes, although it has the same names, and so do the documents."""
    place.build(shop(), scenario_name=None)
    there = elsewhere(place)
    there.build(shop() | {Slot.RUNBOOKS: runbooks()}, scenario_name=NAME)
    graphs = [next(name for kind, name in each.items() if kind == "GraphModel") for each in (place, there)]
    delete_workspace(place)
    gone = [
        (Kind.GRAPH_MODEL, graphs[0], WORKSPACE_GONE),
        *((kind, name, WORKSPACE_GONE) for kind, name in ((Kind.ONTOLOGY, "ontology"), (Kind.TABLE, "lakehouse/DimCity"))),
        (Kind.LAKEHOUSE, "lakehouse", WORKSPACE_GONE),
    ]
    plan = survey_destroy(there.services, NAME)
    assert left_in(plan) == gone
    assert [thing.name for thing in plan.removed] == [graphs[1], "ontology", "lakehouse/DimCity", "lakehouse"]
    ended, left = destroyed(there)
    assert left == gone
    assert ended.result["removed"] == [f"graph_model {graphs[1]}", "ontology ontology", "table lakehouse/DimCity", "lakehouse lakehouse"]
    assert there.items() == {}
    assert not there.services.lake.exists(f"Files/scenarios/{NAME}/runbooks/fibre_cut.md")


def test_a_scenario_whose_only_workspace_is_gone_can_be_removed_and_built_again(place):
    place.build(shop() | {Slot.RUNBOOKS: runbooks()}, scenario_name=NAME)
    delete_workspace(place)
    ended, left = destroyed(place)
    assert {reason for _, _, reason in left} == {WORKSPACE_GONE}
    assert ended.result["message"] == f"{NAME} is removed: 0 things, 1 runbook, 4 were left."
    assert not place.services.lake.exists(f"Files/scenarios/{NAME}/runbooks/fibre_cut.md")
    with pytest.raises(NotFound):
        survey_destroy(place.services, NAME)
    there = elsewhere(place)
    there.build(shop(), scenario_name=NAME)
    assert destroyed(there)[1] == []


def test_a_graph_in_cosmos_goes_although_the_workspace_that_built_it_is_gone(place):
    record_thing(place.services.documents, Thing(NAME, place.workspace_id, Kind.GREMLIN_GRAPH, NAME, NAME))
    delete_workspace(place)
    plan = survey_destroy(place.services, NAME)
    assert ([thing.kind for thing in plan.removed], plan.left) == ([Kind.GREMLIN_GRAPH], ())


def test_a_workspace_that_treadle_may_not_see_is_an_error_and_nothing_is_forgotten(place):
    place.build(shop(), scenario_name=NAME)
    before = things_of(place.services.documents, place.workspace_id)
    post(place, FaultRule("fabric.ListItems", "status", times=2, args=FORBIDDEN))
    with pytest.raises(PermissionDenied):
        survey_destroy(place.services, NAME)
    ended = place.work(request_destroy(place.services, NAME, "ada"))
    assert (ended.state, ended.error_details["kind"]) == ("FAILED", "PermissionDenied")
    assert things_of(place.services.documents, place.workspace_id) == before


@pytest.mark.parametrize(
    "rules",
    [
        [FaultRule("fabric.ListItems", "not_found_once", args=NO_WORKSPACE)],
        [FaultRule(f"fabric.{operation}", "wrong_content_type", args={"status": 404}) for operation in ("ListItems", "GetWorkspace")],
    ],
    ids=["the list of its items alone is not found", "somebody else answers in the place of Fabric"],
)
def test_a_workspace_is_not_taken_for_gone_as_long_as_fabric_does_not_say_so_itself(place, rules):
    place.build(shop(), scenario_name=NAME)
    post(place, *rules)
    with pytest.raises(NotFound):
        survey_destroy(place.services, NAME)
    assert destroyed(place)[1] == []
    assert place.items() == {}


# Files in lakehouses.


def folder_in(place, lakehouse):
    return lake(place, lakehouse).exists(f"Files/scenarios/{NAME}")


def test_files_go_from_every_lakehouse_that_a_build_has_used(place):
    """Of measurements alone: no table tells in which lakehouse they were. One of the lakehouses is gone, and one in another workspace."""
    there = elsewhere(place)
    first, second, third = (create(place, name, "Lakehouse") for name in ("first", "second", "third"))
    fourth = create(there, "fourth", "Lakehouse")
    lake(place, first).upload("Files/scenarios/another/theirs.csv", b"a\n1\n")
    for name in ("first", "second", "third"):
        place.build({Slot.TELEMETRY: small_telemetry(AlertStream=alerts(name))}, lakehouse_name=name)
    there.build({Slot.TELEMETRY: small_telemetry()}, lakehouse_name="fourth")
    assert [folder_in(place, each) for each in (first, second, third)] == [True] * 3
    delete(place, third)
    destroyed(there)
    assert [folder_in(place, first), folder_in(place, second), folder_in(there, fourth)] == [False] * 3
    assert lake(place, first).exists("Files/scenarios/another/theirs.csv")


def test_files_of_builds_that_noted_no_lakehouse_go_as_well(place):
    """As it was before lakehouses were noted: the record tells the last one, and tables tell where they are."""
    graph, telemetry = (create(place, name, "Lakehouse") for name in ("one", "two"))
    place.build({Slot.GRAPH: small_graph()}, lakehouse_name="one")
    place.build({Slot.TELEMETRY: small_telemetry()}, lakehouse_name="two")
    forget_lakehouses(place.services.documents, NAME)
    workspace = place.workspace_id
    assert set(lakehouses_of(place.services.documents, NAME)) == {(workspace, graph), (workspace, telemetry)}
    third = create(place, "three", "Lakehouse")
    place.build({Slot.TELEMETRY: small_telemetry()}, lakehouse_name="three")
    assert set(lakehouses_of(place.services.documents, NAME)) == {(workspace, graph), (workspace, telemetry), (workspace, third)}
    destroyed(place)
    assert [folder_in(place, each) for each in (graph, telemetry, third)] == [False] * 3
    assert [name for kind, name in place.items() if kind == "Lakehouse"] == ["one", "two", "three"]


def test_files_of_a_build_that_never_came_to_its_end_go_as_well(place):
    lakehouse = create(place, "lakehouse", "Lakehouse")
    post(place, FaultRule("kusto.Management", "status", after=3, args=FORBIDDEN))  # behind the tables, their types and mappings
    assert place.work(place.request({Slot.TELEMETRY: small_telemetry()})).state == "FAILED"
    assert find_scenario(place.services.documents, NAME) is None
    assert folder_in(place, lakehouse)
    destroyed(place)
    assert not folder_in(place, lakehouse)


def test_a_scenario_of_which_there_are_only_files_can_be_removed(place):
    lakehouse = create(place, "lakehouse", "Lakehouse")
    note_lakehouse(place.services.documents, NAME, place.workspace_id.upper(), lakehouse)
    lake(place, lakehouse).upload(f"Files/scenarios/{NAME}/tables/DimCity.parquet", b"half of it")
    assert destroyed(place)[1] == []
    assert not folder_in(place, lakehouse)
    assert ("Lakehouse", "lakehouse") in place.items()


def test_files_stay_nowhere_because_onelake_did_not_find_their_lakehouse_for_a_moment(place):
    lakehouse = create(place, "lakehouse", "Lakehouse")
    note_lakehouse(place.services.documents, NAME, place.workspace_id, lakehouse)
    lake(place, lakehouse).upload(f"Files/scenarios/{NAME}/tables/DimCity.parquet", b"half of it")
    post(place, FaultRule("onelake.Path.Delete", "status", args={"status": 404, "code": "ArtifactNotFound"}))
    assert destroyed(place)[0].attempt == 2
    assert not folder_in(place, lakehouse)


def test_a_lakehouse_in_which_another_scenarios_build_died_is_passed_to_that_scenario(place):
    place.build(shop(), scenario_name="shop")
    post(place, FaultRule("kusto.Management", "status", after=3, args=FORBIDDEN))
    assert place.work(place.request({Slot.TELEMETRY: small_telemetry()})).state == "FAILED"
    assert destroyed(place, "shop")[1] == [("lakehouse", "lakehouse", f"is used by {NAME}")]
    assert destroyed(place)[1] == []
    assert place.items() == {}


# What is gone, or only not listed.


def test_what_no_list_shows_goes_all_the_same(place, monkeypatch):
    place.build(small())
    monkeypatch.setattr(place.services.fabric, "list_items", lambda *_: [])
    plan = survey_destroy(place.services, NAME)
    assert (len(plan.removed), plan.left) == (8, ())
    assert len(destroyed(place)[0].result["removed"]) == 8
    monkeypatch.undo()
    assert place.items() == {}


def test_what_somebody_else_says_is_not_there_is_not_gone(place):
    place.build(shop(), scenario_name=NAME)
    before = things_of(place.services.documents, place.workspace_id)
    lag = FaultRule("fabric.ListItems", "listing_lag")
    post(place, lag, FaultRule("fabric.GetItem", "wrong_content_type", args={"status": 404}))
    job = place.work(request_destroy(place.services, NAME, "ada"))
    assert (job.state, job.error_details["kind"]) == ("FAILED", "NotFound")
    assert things_of(place.services.documents, place.workspace_id) == before
    assert asked_again(place, job)[1] == []
    assert place.items() == {}


def test_what_a_dead_build_made_and_no_list_shows_yet_is_waited_for(place):
    record_thing(place.services.documents, Thing(NAME, place.workspace_id, Kind.LAKEHOUSE, "lakehouse", PENDING, mark="c3d4"))
    create(place, "lakehouse", "Lakehouse", description="Made by Treadle (c3d4)")
    post(place, FaultRule("fabric.ListItems", "listing_lag", times=2))
    assert destroyed(place)[0].result["removed"] == ["lakehouse lakehouse"]
    assert place.items() == {}


def test_what_a_build_was_about_to_make_a_moment_ago_is_not_given_up(place, monkeypatch):
    now = place.services.own.now().isoformat()
    thing = Thing(NAME, place.workspace_id, Kind.LAKEHOUSE, "lakehouse", PENDING, mark="c3d4", noted_at=now)
    record_thing(place.services.documents, thing)
    hasty = dataclasses.replace(place.services, patience=dataclasses.replace(place.services.patience, listing=0.1))
    monkeypatch.setattr(place, "services", hasty)
    job = attempted_once(place, request_destroy(place.services, NAME, "ada"))
    assert (job.state, job.error_details["kind"]) == ("FAILED", "Unavailable")
    assert "the lakehouse lakehouse when it ended" in job.error_message
    assert things_of_scenario(place.services.documents, NAME) == [thing]
    create(place, "lakehouse", "Lakehouse", description="Made by Treadle (c3d4)")
    assert asked_again(place, job)[0].result["removed"] == ["lakehouse lakehouse"]
    assert place.items() == {}


@pytest.mark.parametrize("made_anew", [False, True])
def test_a_table_that_went_in_an_earlier_attempt_and_is_listed_still_keeps_no_lakehouse(place, monkeypatch, made_anew):
    place.build(shop(), scenario_name=NAME)
    lakehouse = place.item("Lakehouse")
    listed = place.services.fabric.list_tables(WorkspaceId(place.workspace_id), ItemId(lakehouse))
    job = refused_at_item(place, 2)  # behind the graph model, the ontology and the table
    monkeypatch.setattr(place.services.fabric, "list_tables", lambda *_: listed)
    if made_anew:
        lake(place, lakehouse).upload("Tables/DimCity/part-0.parquet", b"PAR1")
    stays = [("lakehouse", "lakehouse", "holds what Treadle did not make: table DimCity")] if made_anew else []
    assert asked_again(place, job)[1] == stays
    assert ("Lakehouse" in {kind for kind, _ in place.items()}) is made_anew


def test_a_removal_asked_for_again_ends_well_although_its_lakehouse_was_deleted_by_hand(place):
    place.build(shop(), scenario_name=NAME)
    job = refused_at_item(place, 0)
    delete(place, place.item("Lakehouse"))
    assert asked_again(place, job)[1] == []
    assert place.items() == {}
    assert things_of_scenario(place.services.documents, NAME) == []


def test_a_removal_asked_for_again_tells_what_was_in_a_workspace_that_was_deleted_by_hand(place):
    place.build(shop(), scenario_name=NAME)
    job = refused_at_item(place, 1)  # behind the graph model
    delete_workspace(place)
    ended, left = asked_again(place, job)
    stays = [(Kind.ONTOLOGY, "ontology"), (Kind.TABLE, "lakehouse/DimCity"), (Kind.LAKEHOUSE, "lakehouse")]
    assert left == [(kind, name, WORKSPACE_GONE) for kind, name in stays]
    assert len(ended.result["removed"]) == 1
    assert things_of_scenario(place.services.documents, NAME) == []


def test_what_a_plan_took_for_gone_and_is_there_is_kept_and_told(place):
    """As plans were made that believed in lists."""
    place.build(shop(), scenario_name=NAME)
    job = refused_at_item(place, 0)
    with psycopg.connect(place.environment.postgres.admin_dsn) as connection:
        step = "WHERE job_id = %s AND name = 'plan'"
        (plan,) = connection.execute(f"SELECT result FROM treadle.job_steps {step}", [job.job_id]).fetchone()
        plan["removed"] = [told for told in plan["removed"] if told["kind"] not in {"table", "lakehouse"}]
        connection.execute(f"UPDATE treadle.job_steps SET result = %s::jsonb {step}", [json.dumps(plan), job.job_id])
    _, left = asked_again(place, job)
    assert {(kind, name) for kind, name, _ in left} == {("table", "lakehouse/DimCity"), ("lakehouse", "lakehouse")}
    assert all("removed once more" in reason for _, _, reason in left)
    assert destroyed(place)[1] == []
    assert place.items() == {}


# What cannot be seen.


def test_a_table_that_fabric_does_not_list_yet_keeps_its_lakehouse(place):
    place.build({Slot.GRAPH: small_graph()})
    lakehouse = place.item("Lakehouse")
    lake(place, lakehouse).upload("Files/theirs.csv", b"a\n1\n")
    place.services.fabric.load_table(WorkspaceId(place.workspace_id), ItemId(lakehouse), "Theirs", path="Files/theirs.csv", format="Csv")
    lake(place, lakehouse).delete("Files/theirs.csv")
    post(place, FaultRule("fabric.ListTables", "listing_lag", times=None))
    assert destroyed(place)[1] == [("lakehouse", "lakehouse", "holds what Treadle did not make: table Theirs")]
    assert place.delta_rows() == {"Theirs": 1}


def test_files_among_the_tables_keep_the_lakehouse(place):
    place.build({Slot.GRAPH: small_graph()})
    lake(place, place.item("Lakehouse")).upload("Tables/theirs.parquet", b"PAR1")
    assert destroyed(place)[1] == [("lakehouse", "lakehouse", "holds what Treadle did not make: Tables/theirs.parquet")]


def test_a_lakehouse_whose_tables_are_not_found_is_left_in_a_plan_and_looked_at_again_by_the_removal(place):
    place.build({Slot.GRAPH: small_graph()})
    unseen = FaultRule("fabric.ListTables", "not_found_once", args={"code": "ItemNotFound"})
    post(place, unseen)
    assert left_in(survey_destroy(place.services, NAME)) == [("lakehouse", "lakehouse", f"holds what Treadle did not make: {UNSEEN}")]
    post(place, unseen)
    ended, left = destroyed(place)
    assert (ended.attempt, left) == (2, [])
    assert place.items() == {}


@pytest.mark.parametrize("operation", ["fabric.ListTables", "onelake.Path.List"])
def test_a_lakehouse_that_cannot_be_looked_into_to_the_end_stays_with_all_that_is_in_it(place, operation):
    place.build({Slot.GRAPH: small_graph()})
    post(place, FaultRule(operation, "status", after=1 if operation.startswith("onelake") else 0, args=FORBIDDEN))
    ended = place.work(request_destroy(place.services, NAME, "ada"))
    assert (ended.state, ended.error_details["kind"]) == ("FAILED", "PermissionDenied")
    assert place.delta_rows() == SMALL_TABLES
    retry_job(place.wiring.own, ended.job_id, "ada")
    assert place.work(ended).result["left"] == []
    assert place.items() == {}


def test_a_database_whose_tables_cannot_be_asked_for_stays_and_the_eventhouse_with_it(place):
    place.build({Slot.TELEMETRY: small_telemetry()})
    post(place, FaultRule("kusto.Management", "status", args=FORBIDDEN))
    ended = place.work(request_destroy(place.services, NAME, "ada"))
    assert (ended.state, ended.error_details["kind"]) == ("FAILED", "PermissionDenied")
    assert place.kql_rows(["AlertStream"]) == {"AlertStream": 20}


def test_an_eventhouse_whose_own_database_is_not_shown_stays_until_it_is(place, monkeypatch):
    """The sandbox shows every database at once, so that Fabric's answer about this one is made empty."""
    place.build({Slot.TELEMETRY: small_telemetry()})
    own = place.items()["KQLDatabase", "eventhouse"]
    ask = place.services.fabric.item_properties
    monkeypatch.setattr(place.services.fabric, "item_properties", lambda *asked: {} if own in asked else ask(*asked))
    job = attempted_once(place, request_destroy(place.services, NAME, "ada"))
    assert (job.state, job.error_details["kind"]) == ("FAILED", "Unavailable")
    assert "the eventhouse eventhouse holds" in job.error_message
    assert f"treadle scenario destroy {NAME}" in job.error_hint
    assert ("KQLDatabase", "eventhouse") in place.items()
    monkeypatch.undo()
    assert asked_again(place, job)[1] == []
    assert place.items() == {}


def test_an_eventhouse_with_a_database_that_is_not_listed_yet_stays(place):
    place.build({Slot.TELEMETRY: small_telemetry()})
    payload = {"databaseType": "ReadWrite", "parentEventhouseItemId": place.item("Eventhouse")}
    create(place, "theirs", "KQLDatabase", creation_payload=payload)
    post(place, FaultRule("fabric.ListItems", "listing_lag"))
    assert destroyed(place)[1] == [("eventhouse", "eventhouse", "holds what Treadle did not make: database theirs")]
    assert ("KQLDatabase", "theirs") in place.items()


# Rows beside those of others.


def their_table(place):
    """A table of somebody else, of one row, where telco-noc would have its alerts."""
    eventhouse = create(place, "eventhouse", "Eventhouse")
    payload = {"databaseType": "ReadWrite", "parentEventhouseItemId": eventhouse}
    database = create(place, "telemetry", "KQLDatabase", creation_payload=payload)
    uri = place.services.fabric.item_properties(WorkspaceId(place.workspace_id), ItemId(database), "KQLDatabase")["queryServiceUri"]
    kusto = place.services.kusto(uri, "telemetry")
    kusto.mgmt(".create table AlertStream (Theirs:string)")
    kusto.mgmt(".ingest inline into table AlertStream with (tags = '[\"drop-by:theirs\"]') <|\nkept\n")
    return kusto


def test_rows_that_came_beside_those_of_others_go_and_theirs_stay(place):
    kusto = their_table(place)
    plan = place.plan({Slot.TELEMETRY: small_telemetry()}, overwrite=True)
    told = {change.kind: (change.action, change.reason) for change in plan.changes}
    assert told[Kind.KQL_TABLE] == ("update", "is taken over from somebody else; its rows stay beside ours")
    place.build({Slot.TELEMETRY: small_telemetry()}, overwrite=True)
    place.build({Slot.TELEMETRY: small_telemetry(AlertStream=alerts("ALT-1", "ALT-2"))})
    assert place.kql_rows(["AlertStream"]) == {"AlertStream": 3}
    stays = [("kql_table", "telemetry/AlertStream", CLEARED)]
    others = [("eventhouse", "eventhouse", NOT_MADE), ("kql_database", "telemetry", NOT_MADE)]
    assert left_in(survey_destroy(place.services, NAME)) == [*stays, *others]
    assert place.kql_rows(["AlertStream"]) == {"AlertStream": 3}, "to look has changed something"
    assert destroyed(place)[1] == [*stays, *others]
    assert kusto.query("AlertStream | project Theirs") == [{"Theirs": "kept"}]
    place.build({Slot.TELEMETRY: small_telemetry()}, overwrite=True)
    assert place.kql_rows(["AlertStream"]) == {"AlertStream": 21}


@pytest.mark.parametrize("is_theirs", [False, True], ids=["our table", "their table"])
def test_a_table_goes_or_is_cleared_in_a_database_that_was_renamed(place, is_theirs):
    kusto = their_table(place)
    if not is_theirs:
        kusto.mgmt(".drop table AlertStream")
    place.build({Slot.TELEMETRY: small_telemetry()}, overwrite=True)
    database = place.items()["KQLDatabase", "telemetry"]
    path = f"/v1/workspaces/{place.workspace_id}/items/{database}"
    place.services.fabric.transport.request("PATCH", path, what="rename the database", json={"displayName": "renamed"})
    destroyed(place)
    uri = place.services.fabric.item_properties(WorkspaceId(place.workspace_id), ItemId(database), "KQLDatabase")["queryServiceUri"]
    renamed = place.services.kusto(uri, "renamed")
    assert [row["TableName"] for row in renamed.mgmt(".show tables")] == (["AlertStream"] if is_theirs else [])
    assert not is_theirs or renamed.query("AlertStream | project Theirs") == [{"Theirs": "kept"}]


def test_a_table_of_others_that_they_have_dropped_is_no_longer_looked_into(place):
    kusto = their_table(place)
    place.build({Slot.TELEMETRY: small_telemetry()}, overwrite=True)
    kusto.mgmt(".drop table AlertStream")
    assert destroyed(place)[1][0] == ("kql_table", "telemetry/AlertStream", CLEARED)


def test_a_removal_that_is_asked_for_again_leaves_the_rows_of_who_has_taken_the_table_over(place):
    their_table(place)
    place.build({Slot.TELEMETRY: small_telemetry()}, overwrite=True)
    post(place, FaultRule("kusto.Management", "status", args=FORBIDDEN))
    job = place.work(request_destroy(place.services, NAME, "ada"))
    assert job.state == "FAILED"
    place.build({Slot.TELEMETRY: small_telemetry(AlertStream=alerts("ALT-1"))}, scenario_name="other", overwrite=True)
    assert place.kql_rows(["AlertStream"]) == {"AlertStream": 2}
    retry_job(place.wiring.own, job.job_id, "ada")
    assert place.work(job).state == "SUCCEEDED", place.job(job).error_message
    assert place.kql_rows(["AlertStream"]) == {"AlertStream": 2}
    assert find_scenario(place.services.documents, "other").state == "BUILT"
