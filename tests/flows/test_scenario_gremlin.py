"""A scenario whose graph goes to a Gremlin server, as a job of the queue: Apache TinkerPop's own server on loopback (contract/gremlin_place.py)."""

import dataclasses
from collections import Counter

import pytest

from tests.contract.gremlin_place import real_server
from tests.flows.scenario_place import TABLES, graph_archive, open_place, place, small_graph, with_hobart
from treadle.control.jobs.queue import list_job_events, list_steps
from treadle.errors import InvalidInput
from treadle.flows.scenario.build_gremlin import count_gremlin_graph
from treadle.flows.scenario.flow import query_graph, request_destroy
from treadle.flows.scenario.records import get_scenario, things_of
from treadle.flows.scenario.slots import Slot

__all__ = ["open_place", "place"]  # fixtures

pytestmark = [pytest.mark.needs("java"), pytest.mark.needs("mvn"), pytest.mark.timeout(600), pytest.mark.xdist_group("gremlin")]
BACKEND = "cosmosdb-gremlin"
VERTICES = (
    "DimCoreRouter",
    "DimAggSwitch",
    "DimBaseStation",
    "DimTransportLink",
    "DimMPLSPath",
    "DimService",
    "DimSLAPolicy",
    "DimBGPSession",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with real_server(tmp_path_factory.mktemp("gremlin-server")) as server:
        yield server


@pytest.fixture
def gremlin(server, place):
    client = server.client()
    client.submit("g.V().drop()")
    place.services = dataclasses.replace(place.services, gremlin=lambda: client)
    yield client
    client.close()


def test_a_build_with_this_backend_makes_the_graph_there_and_no_item_in_fabric(place, gremlin):
    job = place.build({Slot.GRAPH: graph_archive()}, backend=BACKEND)
    assert count_gremlin_graph(gremlin, "telco-noc") == {"vertices": sum(TABLES[name] for name in VERTICES), "edges": 66}
    assert place.items() == {}
    assert job.result["results"]["graph"]["written"] == 116
    assert get_scenario(place.services.documents, "telco-noc").graph_connector == BACKEND
    steps = [step.name for step in list_steps(place.wiring.own, job.job_id)]
    assert next(name for name in steps if name.startswith("graph.vertices:")) == "graph.vertices:CoreRouter"
    assert {"graph.extract", "graph.edges:11", "graph.gone", "metadata"} <= set(steps)
    percents = [event.pct for event in list_job_events(place.wiring.own, job.job_id, limit=500) if event.pct is not None]
    assert percents == sorted(percents)
    again = place.build({Slot.GRAPH: graph_archive()}, backend=BACKEND)
    assert again.result["results"]["graph"] == job.result["results"]["graph"] | {"written": 0, "unchanged": 116}


def test_a_query_in_gql_is_refused_and_a_destroy_removes_the_graph(place, gremlin):
    place.build({Slot.GRAPH: small_graph()}, backend=BACKEND)
    with pytest.raises(InvalidInput, match="does not understand GQL"):
        query_graph(place.services, "telco-noc", "MATCH (n) RETURN n")
    ended = place.work(request_destroy(place.services, "telco-noc", "ada"))
    assert ended.state == "SUCCEEDED", ended.error_message
    assert count_gremlin_graph(gremlin, "telco-noc") == {"vertices": 0, "edges": 0}


def counted(plan):
    return Counter((change.kind, change.action) for change in plan.changes)


def test_a_plan_lists_the_graph_and_each_of_its_parts(place, gremlin):
    asked = {"backend": BACKEND}
    plan = place.plan({Slot.GRAPH: graph_archive()}, **asked)
    assert counted(plan) == {("gremlin_graph", "create"): 1, ("vertices", "create"): 8, ("edges", "create"): 11}
    assert place.items() == {}
    place.build({Slot.GRAPH: graph_archive()}, **asked)
    assert counted(place.plan({Slot.GRAPH: graph_archive()}, **asked)) == {
        ("gremlin_graph", "unchanged"): 1, ("vertices", "unchanged"): 8, ("edges", "unchanged"): 11
    }  # fmt: skip
    changed = place.plan({Slot.GRAPH: graph_archive(DimCoreRouter=with_hobart())}, **asked).changes
    assert [(change.kind, change.name) for change in changes_of(changed, "update")] == [("vertices", "CoreRouter")]
    gremlin.submit("g.addV('Old').property('treadle_scenario', s).property('treadle_part', 'vertices:Old')", {"s": "telco-noc"})
    (change,) = changes_of(place.plan({Slot.GRAPH: graph_archive()}, **asked).changes, "update")
    assert (change.kind, "are removed" in change.reason) == ("gremlin_graph", True)


def changes_of(changes, action):
    return [change for change in changes if change.action == action]


def test_two_workspaces_do_not_share_the_graph_of_one_name(place, gremlin):
    place.build({Slot.GRAPH: small_graph()}, backend=BACKEND)
    elsewhere = place.services.fabric.create_workspace(f"{place.workspace_name} 2")
    there = dataclasses.replace(place, workspace_id=elsewhere.workspace_id, workspace_name=elsewhere.name)
    (conflict,) = changes_of(there.plan({Slot.GRAPH: small_graph()}, backend=BACKEND).changes, "conflict")
    assert conflict.reason == f"is that of the scenario of this name in workspace {place.workspace_id}"
    refused = there.work(there.request({Slot.GRAPH: small_graph()}, backend=BACKEND))
    assert (refused.state, refused.error_details["kind"]) == ("FAILED", "Conflict")
    assert things_of(place.services.documents, there.workspace_id) == []
    there.build({Slot.GRAPH: small_graph()}, backend=BACKEND, overwrite=True)
    assert things_of(place.services.documents, place.workspace_id) == []
    (conflict,) = changes_of(place.plan({Slot.GRAPH: small_graph()}, backend=BACKEND).changes, "conflict")
    assert there.workspace_id in conflict.reason
    assert there.work(request_destroy(place.services, "telco-noc", "ada")).result["removed"] == ["gremlin_graph telco-noc"]
    assert count_gremlin_graph(gremlin, "telco-noc") == {"vertices": 0, "edges": 0}


def test_a_graph_that_nobody_here_knows_of_is_left_alone(place, gremlin):
    gremlin.submit("g.addV('Theirs').property('treadle_scenario', s).property('treadle_part', 'vertices:Theirs')", {"s": "telco-noc"})
    (conflict,) = changes_of(place.plan({Slot.GRAPH: small_graph()}, backend=BACKEND).changes, "conflict")
    assert (conflict.kind, conflict.reason) == ("gremlin_graph", "is there, and nothing is known here of who made it")
    assert place.work(place.request({Slot.GRAPH: small_graph()}, backend=BACKEND)).state == "FAILED"
    assert count_gremlin_graph(gremlin, "telco-noc") == {"vertices": 1, "edges": 0}


def test_what_a_build_wrote_before_it_was_cancelled_goes_with_a_destroy(place, gremlin):
    """No record was written; what it claimed is known."""
    real = gremlin.submit

    class Refusing:
        def submit(self, script, bindings=None, *, what="", deadline_seconds=None):
            if what.startswith("write edges"):
                raise InvalidInput("No edges today.", hint="Wait.")
            return real(script, bindings, what=what, deadline_seconds=deadline_seconds)

    services = place.services
    place.services = dataclasses.replace(services, gremlin=Refusing)
    assert place.work(place.request({Slot.GRAPH: small_graph()}, backend=BACKEND)).state == "FAILED"
    assert count_gremlin_graph(gremlin, "telco-noc")["vertices"] > 0
    place.services = services
    assert place.work(request_destroy(place.services, "telco-noc", "ada")).state == "SUCCEEDED"
    assert count_gremlin_graph(gremlin, "telco-noc") == {"vertices": 0, "edges": 0}


def test_a_server_that_is_away_fails_the_attempt_and_the_next_one_goes_on_where_it_was(place, gremlin, server):
    """The second part cannot be written in the first attempt, which ends there; the first is not written again in the second."""
    real = gremlin.submit
    asked = []

    class Away:
        def submit(self, script, bindings=None, *, what="", deadline_seconds=None):
            asked.append(what)
            if what == "write vertices TransportLink" and asked.count(what) == 1:
                nobody = dataclasses.replace(server, url="wss://localhost:9/").client()
                return nobody.submit(script, bindings, what=what, deadline_seconds=0.2)
            return real(script, bindings, what=what, deadline_seconds=deadline_seconds)

    place.services = dataclasses.replace(place.services, gremlin=Away)
    job = place.build({Slot.GRAPH: small_graph()}, backend=BACKEND)
    assert job.attempt == 2
    assert asked.count("write vertices CoreRouter") == 1
    assert count_gremlin_graph(gremlin, "telco-noc")["edges"] == 20
