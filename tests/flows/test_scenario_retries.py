"""Jobs that are asked for again when the workspace is no longer as they left it: nothing of others goes, and nothing false is written down."""

import threading

from tests.flows.conftest import eventually
from tests.flows.scenario_place import ANSWER, SMALL_TABLES, open_place, packed, place, small_graph, with_hobart
from treadle.clients.fabric import ItemId, WorkspaceId
from treadle.control.jobs.queue import list_steps, request_cancel, retry_job
from treadle.flows.scenario.flow import request_destroy
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.records import find_scenario, things_of
from treadle.flows.scenario.slots import Slot
from treadle.sandbox.faults import FaultRule

__all__ = ["open_place", "place"]  # fixtures

HOBART = "MATCH (r:CoreRouter {RouterId: 'CORE-HBA-01'}) RETURN r.City AS City"
FORBIDDEN = {"status": 403, "code": "InsufficientPrivileges"}


def widgets(table="DimWidget"):
    """A scenario of one table."""
    return packed(
        {
            "scenario.yaml": b"name: widgets\n",
            "graph_schema.yaml": f"vertices:\n  - {{label: Widget, csv_file: {table}.csv, id_column: Name}}\n".encode(),
            f"data/entities/{table}.csv": b"Name\nSprocket\n",
        }
    )


def changed_archive():
    return small_graph(DimCoreRouter=with_hobart())


def destroy_that_fails(place, after):
    """The end of telco-noc, refused at one of the items that are deleted: graph model, ontology, lakehouse."""
    place.environment.cloud.faults.post([FaultRule("fabric.DeleteItem", "status", after=after, args=FORBIDDEN)])
    job = place.work(request_destroy(place.services, "telco-noc", "ada"))
    assert job.state == "FAILED", job.result
    return job


def again(place, job):
    retry_job(place.wiring.own, job.job_id, "ada")
    return place.work(job)


def left_of(job):
    assert job.state == "SUCCEEDED", (job.error_message, job.error_details)
    return [(told["kind"], told["name"], told["reason"]) for told in job.result["left"]]


def test_a_removal_that_is_asked_for_again_leaves_what_another_scenario_uses_by_now(place):
    place.build({Slot.GRAPH: small_graph()})
    job = destroy_that_fails(place, after=0)
    place.build({Slot.GRAPH: widgets()}, scenario_name=None, ontology_name="widgets")
    ended = again(place, job)
    assert left_of(ended) == [("lakehouse", "lakehouse", "is used by widgets")]
    assert "lakehouse lakehouse" not in ended.result["removed"]
    assert "1 were left" in ended.result["message"]
    assert place.delta_rows() == {"DimWidget": 1}
    assert place.query("MATCH (w:Widget) RETURN w.Name AS Name") == [{"Name": "Sprocket"}]
    assert find_scenario(place.services.documents, "telco-noc") is None
    assert place.work(request_destroy(place.services, "widgets", "ada")).result["left"] == []
    assert place.items() == {}, "the lakehouse does not go with the last that used it"


def test_a_removal_that_is_asked_for_again_leaves_a_table_that_another_scenario_has_taken_over(place):
    place.build({Slot.GRAPH: small_graph()})
    job = destroy_that_fails(place, after=0)
    place.build({Slot.GRAPH: widgets("DimCoreRouter")}, scenario_name=None, ontology_name="widgets", overwrite=True)
    ended = again(place, job)
    assert set(left_of(ended)) == {
        ("table", "lakehouse/DimCoreRouter", "belongs to widgets"),
        ("lakehouse", "lakehouse", "is used by widgets"),
    }
    assert place.delta_rows() == {"DimCoreRouter": 1}


def test_a_removal_that_is_asked_for_again_leaves_a_lakehouse_that_somebody_uses_by_now(place):
    """Also when their table has the name of one that the removal had deleted before."""
    place.build({Slot.GRAPH: small_graph()})
    job = destroy_that_fails(place, after=2)
    assert place.delta_rows() == {}
    lakehouse = place.item("Lakehouse")
    place.services.lake_of(place.workspace_id, lakehouse).upload("Files/scenarios/theirs.csv", b"a\n1\n")
    place.services.fabric.load_table(
        WorkspaceId(place.workspace_id), ItemId(lakehouse), "DimCoreRouter", path="Files/scenarios/theirs.csv", format="Csv"
    )
    assert left_of(again(place, job)) == [("lakehouse", "lakehouse", "holds what Treadle did not make: table DimCoreRouter")]
    assert place.delta_rows() == {"DimCoreRouter": 1}


def test_a_removal_that_is_asked_for_again_goes_on_where_it_failed(place):
    place.build({Slot.GRAPH: small_graph()})
    ended = again(place, destroy_that_fails(place, after=2))
    assert left_of(ended) == []
    assert len(ended.result["removed"]) == len(SMALL_TABLES) + 3
    assert place.items() == {}
    assert things_of(place.services.documents, place.workspace_id) == []


def test_a_removal_is_not_carried_on_when_its_scenario_was_built_again(place):
    place.build({Slot.GRAPH: small_graph()})
    job = destroy_that_fails(place, after=1)
    place.build({Slot.GRAPH: small_graph()})
    ended = again(place, job)
    assert (ended.state, ended.error_details["kind"]) == ("FAILED", "Conflict")
    assert "telco-noc has changed since" in ended.error_message
    assert place.delta_rows() == SMALL_TABLES
    assert place.query(ANSWER)
    assert place.work(request_destroy(place.services, "telco-noc", "ada")).state == "SUCCEEDED"
    assert place.items() == {}


def cancelled_in_refresh(place, archive):
    """A build that is cancelled as soon as Fabric has begun to refresh the graph."""
    job, own = place.request({Slot.GRAPH: archive}), place.wiring.own
    place.environment.cloud.faults.post([FaultRule("fabric.RunOnDemandItemJob", "slow", args={"seconds": 3})])
    seen = []

    def cancel_in_the_middle():
        if not seen and any(step.name == "graph.graph_refresh" for step in list_steps(own, job.job_id)):
            seen.append(request_cancel(own, job.job_id, "olga"))
        return place.job(job).state in {"CANCELLED", "SUCCEEDED"}

    stop = threading.Event()
    running = threading.Thread(target=place.worker(slots=1, lease_seconds=1.0).run, args=(stop,))
    running.start()
    try:
        eventually(cancel_in_the_middle, what="the cancellation")
    finally:
        stop.set()
        running.join()
    assert place.job(job).state == "CANCELLED"
    return job


def refresh_has_ended(place):
    workspace, graph = WorkspaceId(place.workspace_id), ItemId(place.item("GraphModel"))
    return all(job.status == "Completed" for job in place.services.fabric.list_job_instances(workspace, graph))


def test_a_build_that_was_cancelled_in_the_refresh_leaves_no_graph_that_passes_for_the_one_before(place):
    place.build({Slot.GRAPH: small_graph()})
    cancelled_in_refresh(place, changed_archive())
    eventually(lambda: refresh_has_ended(place), what="the refresh")
    assert place.query(HOBART) == [{"City": "Hobart"}], "the refresh was not far enough for this test"
    changes = {change.kind: change.action for change in place.plan({Slot.GRAPH: small_graph()}).changes}
    assert changes[Kind.GRAPH_MODEL] == "update"
    place.build({Slot.GRAPH: small_graph()})
    assert place.query(HOBART) == []
    assert place.delta_rows() == SMALL_TABLES
    assert place.plan({Slot.GRAPH: small_graph()}).counts["update"] == 0


def test_a_build_that_is_asked_for_again_after_a_newer_one_is_refused(place):
    place.environment.cloud.faults.post([FaultRule("fabric.LoadTable", "operation_failed", after=1, args={"message": "No capacity."})])
    old = place.work(place.request({Slot.GRAPH: changed_archive()}))
    assert old.state == "FAILED"
    place.build({Slot.GRAPH: small_graph()})
    before = things_of(place.services.documents, place.workspace_id)
    ended = again(place, old)
    assert (ended.state, ended.error_details["kind"]) == ("FAILED", "Conflict")
    assert "A newer build" in ended.error_message
    assert "again" in ended.error_hint
    assert things_of(place.services.documents, place.workspace_id) == before
    assert place.plan({Slot.GRAPH: small_graph()}).counts["update"] == 0
    place.build({Slot.GRAPH: changed_archive()})
    assert place.query(HOBART) == [{"City": "Hobart"}]
