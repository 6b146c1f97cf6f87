"""What others do to the things of a scenario between two builds: dropped and made anew, loads that failed, names changed, tables put in order."""

from dataclasses import replace

import pytest
from deltalake import DeltaTable

from tests.flows.scenario_place import SMALL_TELEMETRY, open_place, packed, place, small_telemetry
from treadle.clients.fabric import ItemId, WorkspaceId
from treadle.flows.scenario.flow import request_destroy, survey_destroy
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.records import get_scenario, record_thing, things_of
from treadle.flows.scenario.slots import Slot
from treadle.sandbox.faults import FaultRule

__all__ = ["open_place", "place"]  # fixtures

(ALERTS,) = SMALL_TELEMETRY
THEIRS = "was made by others, in place of the one that was built"


def city(name="one", *, rows="Sydney\n", label="City"):
    """A scenario of one table and one entity type."""
    schema = f"vertices:\n  - {{label: {label}, csv_file: Dim{label}.csv, id_column: Name}}\n"
    files = {
        "scenario.yaml": f"name: {name}\n".encode(),
        "graph_schema.yaml": schema.encode(),
        f"data/entities/Dim{label}.csv": f"Name\n{rows}".encode(),
    }
    return {Slot.GRAPH: packed(files)}


def telemetry():
    return {Slot.TELEMETRY: small_telemetry()}


def told(place, archives, kind, **asked):
    return next((str(change.action), change.reason) for change in place.plan(archives, **asked).changes if change.kind is kind)


def kusto(place):
    database = ItemId(place.items()["KQLDatabase", "telemetry"])
    properties = place.services.fabric.item_properties(WorkspaceId(place.workspace_id), database, "KQLDatabase")
    return place.services.kusto(properties["queryServiceUri"], "telemetry")


def load_theirs(place):
    lakehouse = ItemId(place.item("Lakehouse"))
    place.services.lake_of(place.workspace_id, lakehouse).upload("Files/theirs.csv", b"Name\na\nb\n")
    place.services.fabric.load_table(WorkspaceId(place.workspace_id), lakehouse, "DimCity", path="Files/theirs.csv", format="Csv")


def rename(place, item_id, name):
    path = f"/v1/workspaces/{place.workspace_id}/items/{item_id}"
    place.services.fabric.transport.request("PATCH", path, what="rename it", json={"displayName": name})


def destroyed(place, name):
    ended = place.work(request_destroy(place.services, name, "ada"))
    assert ended.state == "SUCCEEDED", ended.error_message
    return ended.result


def folder_of(place):
    return place.environment.cloud.lake.path_of(place.workspace_id, place.item("Lakehouse")) / "Tables" / "DimCity"


@pytest.mark.parametrize("killed", [False, True])
def test_a_kql_table_that_somebody_made_anew_is_theirs(place, killed):
    place.build(telemetry())
    if killed:  # the build that came after wrote down that it would fill the table, and died
        (ours,) = [thing for thing in things_of(place.services.documents, place.workspace_id) if thing.kind is Kind.KQL_TABLE]
        record_thing(place.services.documents, replace(ours, fingerprint=None))
    kusto(place).mgmt(f".drop table {ALERTS}")
    kusto(place).mgmt(f".create table {ALERTS} (Theirs:string, OpticalPowerDbm:string)")
    kusto(place).mgmt(f".ingest inline into table {ALERTS} <|\nkept,x\n")
    assert told(place, telemetry(), Kind.KQL_TABLE) == ("conflict", "was not made by Treadle")
    refused = place.work(place.request(telemetry()))
    assert f"telemetry/{ALERTS} was not made by Treadle" in refused.error_message
    assert (f"telemetry/{ALERTS}", THEIRS) in [(left.thing.name, left.reason) for left in survey_destroy(place.services, "telco-noc").left]
    destroyed(place, "telco-noc")
    assert place.kql_rows([ALERTS]) == {ALERTS: 1}


def test_a_table_whose_load_failed_is_not_ours_when_somebody_makes_it(place):
    place.environment.cloud.faults.post([FaultRule("fabric.LoadTable", "operation_failed", args={"message": "No capacity."})])
    assert place.work(place.request(city(), scenario_name=None)).state == "FAILED"
    load_theirs(place)
    assert told(place, city(), Kind.TABLE, scenario_name=None) == ("conflict", "was not made by Treadle")
    refused = place.work(place.request(city(), scenario_name=None))
    assert "table lakehouse/DimCity was not made by Treadle" in refused.error_message
    destroyed(place, "one")
    assert place.delta_rows() == {"DimCity": 2}


def test_a_table_that_was_taken_over_and_then_dropped_by_its_maker_is_ours_once_it_is_made_again(place):
    lakehouse = place.services.fabric.create_item(WorkspaceId(place.workspace_id), name="lakehouse", type="Lakehouse").item_id
    load_theirs(place)
    place.build(city(), scenario_name=None, overwrite=True)
    place.services.lake_of(place.workspace_id, lakehouse).delete_folder("Tables/DimCity")
    place.build(city(), scenario_name=None)
    assert {left["kind"] for left in destroyed(place, "one")["left"]} == {Kind.LAKEHOUSE}
    assert place.delta_rows() == {}


@pytest.mark.parametrize("item_type", ["Lakehouse", "Ontology"])
def test_what_somebody_renamed_stays_ours_under_its_new_name(place, item_type):
    place.build(city(), scenario_name=None)
    rename(place, place.item(item_type), "renamed")
    place.build(city(), scenario_name=None, lakehouse_name="lakehouse", ontology_name="ontology")
    assert sum(kind == item_type for kind, _ in place.items()) == 2, "a build under the old name makes a new one"
    assert destroyed(place, "one")["left"] == []
    assert place.items() == {}


def test_another_scenario_that_builds_under_the_old_name_takes_nothing_over(place):
    place.build(city(), scenario_name=None)
    rename(place, place.item("Ontology"), "towns")
    place.build(city("two", label="Road"), scenario_name=None, ontology_name="ontology")
    assert get_scenario(place.services.documents, "one").lost == ()
    for name in ("two", "one"):
        destroyed(place, name)
    assert place.items() == {}


def test_putting_a_table_in_order_is_no_change_of_it(place):
    place.build(city(rows="Sydney\nPerth\n"), scenario_name=None)
    table = DeltaTable(str(folder_of(place)))
    table.optimize.z_order(["Name"])
    table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    assert table.version() > 1
    assert place.plan(city(rows="Sydney\nPerth\n"), scenario_name=None).counts["unchanged"] == 4
    table.delete("Name = 'Perth'")
    assert told(place, city(rows="Sydney\nPerth\n"), Kind.TABLE, scenario_name=None) == ("update", "has other content")
