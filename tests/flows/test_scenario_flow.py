"""A scenario from its archives to a graph that answers, and back to nothing: on the real stack, with the telco-noc sample."""

import dataclasses
import io
import os
import threading
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest
from deltalake import DeltaTable

from tests.flows.conftest import eventually
from tests.flows.scenario_place import (
    ANSWER,
    SMALL,
    SMALL_MANIFEST,
    SMALL_TABLES,
    TABLES,
    TELCO,
    TELEMETRY,
    assert_built,
    both,
    first_rows,
    graph_archive,
    open_place,
    packed,
    place,
    sample_files,
    small_files,
    small_graph,
    small_telemetry,
    telemetry_archive,
    with_hobart,
)
from treadle.clients.fabric import ItemId, WorkspaceId
from treadle.control.jobs.queue import list_job_events, list_steps, request_cancel, retry_job
from treadle.errors import Conflict, InvalidInput, NotFound
from treadle.flows.scenario import uploads
from treadle.flows.scenario.column_types import Column, Reason
from treadle.flows.scenario.flow import plan_destroy, query_graph, request_build, request_destroy, running_build, survey_destroy
from treadle.flows.scenario.graph_model import graph_model_parts
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.records import find_scenario, get_scenario, things_of
from treadle.flows.scenario.scenario import Table
from treadle.flows.scenario.schema import GraphSchema, ValueType, VertexType
from treadle.flows.scenario.slots import Slot
from treadle.flows.scenario.telemetry import SHOW_SCHEMA
from treadle.sandbox.faults import FaultRule

__all__ = ["open_place", "place"]  # fixtures


def destroy(place, name="telco-noc"):
    ended = place.work(request_destroy(place.services, name, "ada"))
    assert ended.state == "SUCCEEDED", (ended.error_message, ended.error_details)
    return ended


def lake_files(place, folder):
    """Every file below a folder of the workspace's lakehouse, on disk."""
    root = place.environment.cloud.lake.path_of(place.workspace_id, place.item("Lakehouse"))
    return sorted(str(path.relative_to(root)) for path in (root / folder).rglob("*") if path.is_file())


def parquet_of(columns):
    target = io.BytesIO()
    pl.DataFrame(columns).write_parquet(target)
    return target.getvalue()


def foreign_graph(place, lakehouse_id):
    """The definition of a graph over a table of another lakehouse."""
    schema = GraphSchema("", (VertexType("Their", "Theirs.csv", "id", None, ("id",), {}),), ())
    table = Table("Theirs", "Theirs.csv", Path("none"), "", 1, 1, (Column("id", ValueType.STRING, Reason.INFERRED),))
    (there,) = place.services.fabric.list_tables(WorkspaceId(place.workspace_id), ItemId(lakehouse_id))
    return {
        part.path: part.text().encode() for part in graph_model_parts(schema, [table], {"Theirs": there.location}, "ontology_graph_of_mine")
    }


def runbooks():
    return packed({"data/knowledge/runbooks/fibre_cut.md": b"# Fibre cut\nReroute.\n"})


def step_names(place, job):
    return [step.name for step in list_steps(place.wiring.own, job.job_id)]


def test_a_build_makes_tables_ontology_graph_and_telemetry_and_a_second_one_changes_nothing(place):
    plan = place.plan()
    assert plan.counts == {"create": len(TABLES) + len(TELEMETRY) + 5, "update": 0, "unchanged": 0, "conflict": 0}
    assert plan.can_be_applied
    first = place.build()
    assert_built(place)
    items, requests = place.items(), place.environment.cloud.requests
    requests.clear()
    second = place.build()
    assert place.items() == items
    asked = {call.operation for call in requests.copy() if call.method != "GET" and call.operation.startswith("fabric.")}
    assert asked <= {"fabric.GetItemDefinition"}, "a second build of the same archives wrote to Fabric"
    assert {name: value for name, value in second.result.items() if name != "results"} == {
        name: value for name, value in first.result.items() if name != "results"
    }


def test_what_a_build_makes_is_what_the_sample_describes(place):
    job = place.build()
    assert_record_tells_what_was_built(place, job)
    assert_ontology_has_all_entity_and_relationship_types(place)
    assert_delta_tables_have_the_types_of_the_ontology(place)
    assert_telemetry_columns_have_types_and_every_row_came_in_once(place)
    assert_progress_names_slot_step_and_share_and_never_goes_back(place, job)


def assert_record_tells_what_was_built(place, job):
    record = get_scenario(place.services.documents, "telco-noc")
    assert record.display_name == "Australian Telco NOC — Fibre Cut Incident"
    assert record.domain == "telecommunications"
    assert len(record.use_cases) == 5
    assert len(record.example_questions) == 6
    assert record.graph_styles["CoreRouter"]["color"] == "#38BDF8"
    assert (record.graph_connector, record.ontology_name, record.lakehouse_name) == ("fabric-gql", "ontology", "lakehouse")
    assert {
        "Lakehouse": record.lakehouse_id,
        "Ontology": record.ontology_id,
        "GraphModel": record.graph_model_id,
        "Eventhouse": record.eventhouse_id,
    } == {kind: place.item(kind) for kind in ("Lakehouse", "Ontology", "GraphModel", "Eventhouse")}
    assert {(table.name, table.rows, table.kind) for table in record.tables} == {
        *((name, rows, "lakehouse") for name, rows in TABLES.items()),
        *((name, rows, "kql") for name, rows in TELEMETRY.items()),
    }
    assert len(record.model["entity_types"]) == 8
    assert record.job_id == str(job.job_id)
    assert job.result["graph_model_id"] == record.graph_model_id
    assert query_graph(place.services, "telco-noc", ANSWER).rows


def assert_ontology_has_all_entity_and_relationship_types(place):
    parts = place.services.fabric.get_item_definition(WorkspaceId(place.workspace_id), ItemId(place.item("Ontology")))
    assert sum(path.startswith("EntityTypes/") and path.count("/") == 2 for path in parts) == 8
    record = get_scenario(place.services.documents, "telco-noc")
    types = {path for path in parts if path.startswith("RelationshipTypes/") and path.count("/") == 2}
    assert len(types) == len(record.model["relationship_types"]) == 9


def assert_delta_tables_have_the_types_of_the_ontology(place):
    root = place.environment.cloud.lake.path_of(place.workspace_id, place.item("Lakehouse"))
    fields = {field.name: str(field.type) for field in DeltaTable(str(root / "Tables/DimSLAPolicy")).schema().fields}
    assert 'PrimitiveType("double")' in fields["AvailabilityPct"]
    assert 'PrimitiveType("long")' in fields["MaxLatencyMs"]
    assert 'PrimitiveType("string")' in fields["SLAPolicyId"]


def assert_telemetry_columns_have_types_and_every_row_came_in_once(place):
    assert place.kql_rows() == TELEMETRY
    record = get_scenario(place.services.documents, "telco-noc")
    uri = place.services.fabric.item_properties(WorkspaceId(place.workspace_id), ItemId(record.kql_database_id), "KQLDatabase")[
        "queryServiceUri"
    ]
    (row,) = place.services.kusto(uri, "telemetry").mgmt(".show table ['LinkTelemetry'] cslschema")
    assert row["Schema"] == "LinkId:string,Timestamp:datetime,UtilizationPct:real,OpticalPowerDbm:real,BitErrorRate:real,LatencyMs:real"


def assert_progress_names_slot_step_and_share_and_never_goes_back(place, job):
    told = [event for event in list_job_events(place.wiring.own, job.job_id) if event.data and "slot" in event.data]
    for slot in ("graph", "telemetry"):
        shares = [event.data["pct"] for event in told if event.data["slot"] == slot]
        assert shares == sorted(shares)
        assert shares[-1] == 100
    assert [event.pct for event in told] == sorted(event.pct for event in told)
    assert {event.data["step"] for event in told} >= {"extract", "lakehouse", "upload", "tables", "ontology", "ontology_def", "graph_model"}


def test_changed_rows_reach_the_graph_and_the_telemetry_and_nothing_else_is_done(place):
    place.build(SMALL.archives())
    shorter = first_rows(TELCO / "data/telemetry/AlertStream.csv", 10)
    changed = {Slot.GRAPH: lambda: small_graph(DimCoreRouter=with_hobart()), Slot.TELEMETRY: lambda: small_telemetry(AlertStream=shorter)}
    plan = place.plan({slot: make() for slot, make in changed.items()})
    assert {(change.kind, change.name) for change in plan.changes if change.action == "update"} == {
        (Kind.TABLE, "lakehouse/DimCoreRouter"), (Kind.KQL_TABLE, "telemetry/AlertStream"),
        (Kind.GRAPH_MODEL, next(name for kind, name in place.items() if kind == "GraphModel")),
    }  # fmt: skip
    place.build({slot: make() for slot, make in changed.items()})
    assert place.delta_rows() == {**SMALL_TABLES, "DimCoreRouter": SMALL_TABLES["DimCoreRouter"] + 1}
    assert place.kql_rows(["AlertStream"]) == {"AlertStream": 10}
    assert [row["City"] for row in place.query("MATCH (r:CoreRouter {RouterId: 'CORE-HBA-01'}) RETURN r.City AS City")] == ["Hobart"]


def test_columns_of_another_type_make_a_telemetry_table_anew(place):
    place.build({Slot.TELEMETRY: telemetry_archive()})
    lines = sample_files("data/telemetry")["data/telemetry/AlertStream.csv"].splitlines()[:4]
    texts = b"\n".join(
        [
            lines[0],
            *(line.replace(b"ALT-", b"", 1).split(b",", 1)[0].replace(b"-", b"") + b"," + line.split(b",", 1)[1] for line in lines[1:]),
        ]
    )
    place.build({Slot.TELEMETRY: telemetry_archive(AlertStream=texts + b"\n")})
    assert place.kql_rows() == {**TELEMETRY, "AlertStream": 3}


def test_what_others_made_is_a_conflict_until_it_may_be_taken_over(place):
    ontology = place.ontology_of_others()
    plan = place.plan({Slot.GRAPH: small_graph()})
    assert {change.name for change in plan.changes if change.action == "conflict"} >= {"ontology"}
    assert not plan.can_be_applied
    refused = place.work(place.request({Slot.GRAPH: small_graph()}))
    assert (refused.state, refused.error_details["kind"]) == ("FAILED", "Conflict")
    assert "ontology" in refused.error_message
    assert ("Lakehouse", "lakehouse") not in place.items()
    place.build({Slot.GRAPH: small_graph()}, overwrite=True)
    assert place.item("Ontology") == ontology
    assert place.query(ANSWER)
    left = survey_destroy(place.services, "telco-noc").left
    assert {(each.thing.kind, each.reason) for each in left if each.thing.kind == Kind.ONTOLOGY} == {
        (Kind.ONTOLOGY, "was there before the scenario was built")
    }


def test_another_scenario_may_share_the_lakehouse_and_not_the_tables(place):
    place.build({Slot.GRAPH: small_graph()})
    plan = place.plan({Slot.GRAPH: small_graph()}, scenario_name="other", ontology_name="other_ontology")
    conflicts = {(change.kind, change.reason) for change in plan.changes if change.action == "conflict"}
    assert conflicts == {(Kind.TABLE, "was made by telco-noc")}
    place.build({Slot.GRAPH: small_graph()}, scenario_name="other", ontology_name="other_ontology", lakehouse_name="other_lake")
    assert sorted(kind for kind, _ in place.items() if kind in {"Lakehouse", "Ontology", "GraphModel"}) == [
        "GraphModel", "GraphModel", "Lakehouse", "Lakehouse", "Ontology", "Ontology"
    ]  # fmt: skip


def test_destroy_removes_what_was_made_and_nothing_is_left_so_that_the_same_can_be_built_again(place):
    before = place.items()
    place.build(SMALL.archives())
    plan = plan_destroy(place.services, "telco-noc")
    kinds = [thing.kind for thing in plan]
    assert kinds == sorted(kinds, key=list(Kind).index, reverse=True), "what was built last does not go first"
    ended = destroy(place)
    assert place.items() == before
    assert ended.result["left"] == []
    assert find_scenario(place.services.documents, "telco-noc") is None
    assert things_of(place.services.documents, place.workspace_id) == []
    with pytest.raises(NotFound, match="telco-noc"):
        request_destroy(place.services, "telco-noc", "ada")
    place.environment.cloud.faults.post([FaultRule("fabric.CreateItem", "name_reserved", times=2)])
    place.build({Slot.GRAPH: small_graph()})
    assert place.query(ANSWER)


def test_destroy_leaves_a_lakehouse_that_was_there_before_and_tells(place):
    lakehouse = place.services.fabric.create_item(WorkspaceId(place.workspace_id), name="lakehouse", type="Lakehouse")
    place.services.lake_of(place.workspace_id, lakehouse.item_id).upload("Files/mine.txt", b"mine")
    place.build({Slot.GRAPH: small_graph()})
    ended = destroy(place)
    assert [(told["kind"], told["reason"]) for told in ended.result["left"]] == [("lakehouse", "was there before the scenario was built")]
    assert sorted(kind for kind, _ in place.items()) == ["Lakehouse"]
    assert place.delta_rows() == {}
    assert lake_files(place, "Files") == ["Files/mine.txt"]


def test_destroy_leaves_what_another_scenario_uses_to_that_one(place):
    place.build({Slot.GRAPH: small_graph()})
    small = packed(
        {
            "scenario.yaml": b"name: small\n",
            "graph_schema.yaml": b"vertices:\n  - {label: City, csv_file: DimCity.csv, id_column: Name}\n",
            "data/entities/DimCity.csv": b"Name\nSydney\n",
        }
    )
    place.build({Slot.GRAPH: small}, scenario_name=None, ontology_name="small")
    ended = destroy(place)
    assert [(told["kind"], told["reason"]) for told in ended.result["left"]] == [("lakehouse", "is used by small")]
    assert place.delta_rows() == {"DimCity": 1}
    destroy(place, "small")
    assert place.items() == {}


def test_destroy_leaves_a_lakehouse_in_which_somebody_else_has_a_table(place):
    place.build({Slot.GRAPH: small_graph()})
    lakehouse = place.item("Lakehouse")
    lake = place.services.lake_of(place.workspace_id, lakehouse)
    lake.upload("Files/theirs.csv", b"a\n1\n")
    lake.upload("Files/scenarios/another/runbooks/a.md", b"# Theirs")
    place.services.fabric.load_table(WorkspaceId(place.workspace_id), ItemId(lakehouse), "Theirs", path="Files/theirs.csv", format="Csv")
    ended = destroy(place)
    assert [told["reason"] for told in ended.result["left"]] == [
        "holds what Treadle did not make: Files/scenarios/another, Files/theirs.csv, table Theirs"
    ]
    assert place.delta_rows() == {"Theirs": 1}


def test_destroy_leaves_a_database_in_which_somebody_else_has_a_table_and_the_eventhouse_around_it(place):
    place.build({Slot.TELEMETRY: small_telemetry()})
    (database,) = [item_id for (kind, name), item_id in place.items().items() if (kind, name) == ("KQLDatabase", "telemetry")]
    uri = place.services.fabric.item_properties(WorkspaceId(place.workspace_id), ItemId(database), "KQLDatabase")["queryServiceUri"]
    kusto = place.services.kusto(uri, "telemetry")
    kusto.mgmt(".create table Theirs (a:string)")
    left = {(told["kind"], told["reason"]) for told in destroy(place).result["left"]}
    assert left == {
        ("kql_database", "holds what Treadle did not make: table Theirs"),
        ("eventhouse", "holds what Treadle did not make: database telemetry"),
    }
    assert [row["TableName"] for row in kusto.mgmt(".show tables")] == ["Theirs"]


def test_destroy_leaves_a_database_in_which_somebody_else_has_a_function(place):
    """The sandbox has no functions, so that its answer is given one."""
    place.build({Slot.TELEMETRY: small_telemetry()})
    ask = place.services.kusto

    def with_a_function(uri, database):
        kusto = ask(uri, database)
        if database != "telemetry":
            return kusto
        mgmt = kusto.mgmt

        def answered(command):
            rows = mgmt(command)
            if command == SHOW_SCHEMA:
                rows[0]["DatabaseSchema"] = rows[0]["DatabaseSchema"].replace('"Functions":{}', '"Functions":{"Severe":{"Name":"Severe"}}')
            return rows

        kusto.mgmt = answered
        return kusto

    place.services = dataclasses.replace(place.services, kusto=with_a_function)
    left = {(told["kind"], told["reason"]) for told in destroy(place).result["left"]}
    assert left == {
        ("kql_database", "holds what Treadle did not make: function Severe"),
        ("eventhouse", "holds what Treadle did not make: database telemetry"),
    }
    assert ("KQLDatabase", "telemetry") in place.items()


def test_documents_are_stored_and_go_with_the_scenario(place):
    job = place.build({Slot.RUNBOOKS: runbooks()})
    assert job.result["results"]["runbooks"]["files"] == 1
    path = "Files/scenarios/telco-noc/runbooks/fibre_cut.md"
    assert place.services.lake.read_bytes(path, max_bytes=1000) == b"# Fibre cut\nReroute.\n"
    destroy(place)
    assert not place.services.lake.exists(path)


def test_a_later_build_of_one_slot_keeps_what_the_others_brought(place):
    place.build({Slot.GRAPH: small_graph()})
    place.build({Slot.TELEMETRY: small_telemetry()})
    record = get_scenario(place.services.documents, "telco-noc")
    assert (record.graph_model_id, record.ontology_id) == (place.item("GraphModel"), place.item("Ontology"))
    assert {table.kind for table in record.tables} == {"lakehouse", "kql"}
    assert set(record.upload_results) == {"graph", "telemetry"}
    assert record.model["entity_types"]


@pytest.mark.parametrize(
    ("archives", "changes", "message"),
    [
        ({}, {}, "nothing to build"),
        ({Slot.GRAPH: b"no gzip"}, {}, "no gzip file"),
        ({Slot.GRAPH: b""}, {}, "is empty"),
        ({Slot.RUNBOOKS: b"\x1f\x8b"}, {"scenario_name": None}, "Whose files"),
        ({Slot.GRAPH: b"\x1f\x8b"}, {"scenario_name": "../telco"}, "name of a scenario"),
        ({Slot.GRAPH: b"\x1f\x8b"}, {"scenario_name": "uploads"}, "name of a scenario"),
        ({Slot.GRAPH: b"\x1f\x8b"}, {"backend": "neo4j"}, "no backend"),
        ({Slot.GRAPH: b"\x1f\x8b"}, {"lakehouse_name": "my lake"}, "name of a lakehouse"),
        ({Slot.GRAPH: b"\x1f\x8b"}, {"ontology_name": "1st"}, "name of an ontology"),
        ({Slot.GRAPH: b"\x1f\x8b"}, {"workspace_id": "nowhere"}, "workspace"),
    ],
)
def test_what_can_be_seen_at_once_is_refused_at_once(place, archives, changes, message):
    with pytest.raises(InvalidInput, match=message):
        request_build(place.services, place.asked(**changes), {slot: io.BytesIO(content) for slot, content in archives.items()}, "ada")
    assert place.waiting_uploads() == []
    assert running_build(place.services, place.workspace_id) is None


def test_an_archive_that_is_too_large_is_stopped_on_its_way(place):
    services = dataclasses.replace(place.services, upload_limit_bytes=1000)
    place.services = services
    with pytest.raises(InvalidInput, match="more than 1,000 bytes") as refused:
        place.request({Slot.GRAPH: graph_archive()})
    assert refused.value.details["code"] == "too_large"
    assert place.waiting_uploads() == []


def test_a_workspace_that_is_not_there_is_told_before_anything_is_sent(place):
    with pytest.raises(NotFound):
        place.request({Slot.GRAPH: small_graph()}, workspace_id=str(uuid4()))
    assert place.waiting_uploads() == []


def test_faults_of_an_archive_are_all_in_the_plan_and_in_the_failed_job(place):
    files = sample_files("data/entities")
    del files["data/entities/DimCoreRouter.csv"]
    files["data/entities/DimService.csv"] += b"one,two\n"
    plan = place.plan({Slot.GRAPH: packed(files)})
    assert {fault.code for fault in plan.faults} == {"csv_missing", "csv_ragged"}
    assert plan.changes == ()
    job = place.work(place.request({Slot.GRAPH: packed(files)}))
    assert job.state == "FAILED"
    assert {fault["code"] for fault in job.error_details["faults"]} == {"csv_missing", "csv_ragged"}
    assert place.items() == {}
    assert place.scratch_left() == []


def test_asking_twice_with_one_id_is_asking_once(place):
    job_id = uuid4()
    first = place.request({Slot.RUNBOOKS: runbooks()}, job_id=job_id)
    second = place.request({Slot.RUNBOOKS: io.BytesIO(b"\x1f\x8b")}, job_id=job_id)
    assert first == second
    assert place.work(first).state == "SUCCEEDED"


def test_two_builds_of_one_workspace_run_one_after_the_other_also_when_both_slots_get_an_archive_with_everything(place):
    first, second = (place.request({slot: packed(small_files("data")) for slot in SMALL.archives()}) for _ in range(2))
    assert running_build(place.services, place.workspace_id.upper()).job_id == first.job_id
    assert place.worker(slots=4).run_until_idle(timeout_seconds=180)
    first, second = place.job(first), place.job(second)
    assert (first.state, second.state) == ("SUCCEEDED", "SUCCEEDED")
    assert second.started_at >= first.finished_at
    assert_built(place, SMALL)
    assert running_build(place.services, place.workspace_id) is None


def test_one_table_that_fails_stops_no_other_and_a_retry_does_only_that(place):
    place.environment.cloud.faults.post([FaultRule("fabric.LoadTable", "operation_failed", args={"message": "No capacity."})])
    job = place.work(place.request({Slot.GRAPH: small_graph()}))
    assert job.state == "FAILED"
    (failed,) = job.error_details["failed"]
    assert failed in job.error_message
    assert "No capacity" in job.error_message
    assert set(place.delta_rows()) == set(SMALL_TABLES) - {failed}
    loads = place.environment.cloud.requests
    loads.clear()
    retry_job(place.wiring.own, job.job_id, "ada")
    assert place.work(job).state == "SUCCEEDED", place.job(job).error_message
    assert [call.path.split("/")[-2] for call in loads.copy() if call.path.endswith("/load")] == [failed]
    assert place.delta_rows() == SMALL_TABLES
    assert place.query(ANSWER)


def test_a_cancelled_build_stops_between_two_steps_and_can_be_asked_for_again(place):
    job = place.request(SMALL.archives())
    place.environment.cloud.faults.post([FaultRule("fabric.LoadTable", "slow", args={"seconds": 3})])
    worker = place.worker(slots=1)
    own = place.wiring.own
    seen = []

    def cancel_in_the_middle():
        if not seen and any(step.name.startswith("graph.tables") for step in list_steps(own, job.job_id)):
            seen.append(request_cancel(own, job.job_id, "olga"))
        return place.job(job).state == "CANCELLED"

    stop = threading.Event()
    running = threading.Thread(target=worker.run, args=(stop,))
    running.start()
    try:
        eventually(cancel_in_the_middle, what="the cancellation")
    finally:
        stop.set()
        running.join()
    assert "graph.graph_model_def" not in step_names(place, job)
    assert place.scratch_left() == []
    retry_job(own, job.job_id, "olga")
    assert place.work(job).state == "SUCCEEDED"
    assert_built(place, SMALL)


def test_waiting_archives_are_cleared_away_after_a_week_unless_their_job_waits(place):
    waiting = place.request({Slot.RUNBOOKS: runbooks()})
    orphan = uuid4()
    uploads.stage_archive(place.services, orphan, "runbooks", runbooks())
    assert uploads.clear_uploads(place.services) == 0
    lake = place.environment.cloud.lake.path_of(
        place.environment.settings.fabric_workspace_id, place.environment.settings.fabric_lakehouse_id
    )
    old = (place.wiring.own.now() - uploads.KEPT - timedelta(hours=1)).timestamp()
    for folder in (lake / uploads.UPLOADS).iterdir():
        os.utime(folder, (old, old))
    assert uploads.clear_uploads(place.services) == 1
    assert place.waiting_uploads() == [str(waiting.job_id)]
    assert place.work(waiting).state == "SUCCEEDED"
    assert place.waiting_uploads() == []


def test_an_archive_that_was_changed_in_the_lakehouse_is_not_built(place):
    job = place.request({Slot.GRAPH: small_graph()})
    place.services.lake.upload(job.payload["slots"]["graph"]["path"], packed(small_files("data/entities"), root="other").read())
    ended = place.work(job)
    assert (ended.state, ended.error_details["kind"]) == ("FAILED", "ChecksumMismatch")


def test_a_graph_of_somebody_else_is_not_taken_for_the_one_of_the_ontology(place):
    """Its name fits, and what is in it is not ours: whether it was there before the ontology, or came when the ontology's own was gone."""
    workspace, fabric = WorkspaceId(place.workspace_id), place.services.fabric
    theirs = fabric.create_item(workspace, name="theirs", type="Lakehouse")
    place.services.lake_of(place.workspace_id, theirs.item_id).upload("Files/a.parquet", parquet_of({"id": ["1"]}))
    fabric.load_table(workspace, ItemId(theirs.item_id), "Theirs", path="Files/a.parquet")
    foreign = fabric.create_item(workspace, name="ontology_graph_of_mine", type="GraphModel", parts=foreign_graph(place, theirs.item_id))
    place.build({Slot.GRAPH: small_graph()})
    first = get_scenario(place.services.documents, "telco-noc").graph_model_id
    assert first != foreign.item_id
    fabric.delete_item(workspace, ItemId(first))
    place.build({Slot.GRAPH: small_graph()})
    second = get_scenario(place.services.documents, "telco-noc").graph_model_id
    assert second not in {first, foreign.item_id}
    assert fabric.execute_query(workspace, ItemId(second), ANSWER).rows
    destroy(place)
    assert set(place.items()) == {("Lakehouse", "theirs"), ("GraphModel", "ontology_graph_of_mine")}


def test_a_conflict_that_came_between_is_seen_by_the_job(place):
    plan = place.plan({Slot.GRAPH: small_graph()})
    assert plan.can_be_applied
    job = place.request({Slot.GRAPH: small_graph()})
    place.ontology_of_others()
    assert place.work(job).error_details["kind"] == Conflict.__name__


def test_both_archives_of_the_sample_are_what_the_tests_take_them_for():
    assert len(TABLES) == 10
    assert sum(TELEMETRY.values()) > 1000
    assert set(both()) == {Slot.GRAPH, Slot.TELEMETRY}


def test_the_plan_names_tables_that_the_archive_has_no_more(place):
    two = (
        b"vertices:\n  - {label: City, csv_file: DimCity.csv, id_column: Name}\n  - {label: Road, csv_file: DimRoad.csv, id_column: Name}\n"
    )
    files = {
        "scenario.yaml": b"name: small\n",
        "graph_schema.yaml": two,
        "data/entities/DimCity.csv": b"Name\nSydney\n",
        "data/entities/DimRoad.csv": b"Name\nM1\n",
    }
    place.build({Slot.GRAPH: packed(files)}, scenario_name=None)
    assert not any("any more" in note for note in place.plan({Slot.GRAPH: packed(files)}, scenario_name=None).notes)
    fewer = {**files, "graph_schema.yaml": b"\n".join(two.splitlines()[:2]) + b"\n"}
    del fewer["data/entities/DimRoad.csv"]
    notes = place.plan({Slot.GRAPH: packed(fewer)}, scenario_name=None).notes
    assert "lakehouse/DimRoad is not in the archive any more; it stays until the scenario is destroyed." in notes
    others = place.plan({Slot.GRAPH: packed(fewer)}, scenario_name=None, lakehouse_name="elsewhere").notes
    assert not any("any more" in note for note in others)


def test_archives_of_two_scenarios_are_one_build_only_by_a_name_that_was_asked_for(place):
    files = small_files("data/telemetry") | {"scenario.yaml": SMALL_MANIFEST.replace(b"name: telco-noc", b"name: other", 1)}
    archives = {Slot.GRAPH: small_graph, Slot.TELEMETRY: lambda: packed(files)}
    plan = place.plan({slot: make() for slot, make in archives.items()}, scenario_name=None)
    assert {(fault.code, fault.message) for fault in plan.faults} == {
        ("names_differ", "The archives name different scenarios: telco-noc (graph), other (telemetry).")
    }
    job = place.work(place.request({slot: make() for slot, make in archives.items()}, scenario_name=None))
    assert job.state == "FAILED"
    assert [fault["code"] for fault in job.error_details["faults"]] == ["names_differ"]
    assert ("Eventhouse", "eventhouse") not in place.items()
    assert not place.plan({slot: make() for slot, make in archives.items()}).faults
