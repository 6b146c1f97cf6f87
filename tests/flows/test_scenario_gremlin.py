"""A scenario whose graph goes to a Gremlin server, as a job of the queue: Apache TinkerPop's own server on loopback (contract/gremlin_place.py)."""

import dataclasses

import pytest

from tests.contract.gremlin_place import real_server
from tests.flows.scenario_place import TABLES, graph_archive, open_place, place
from treadle.control.jobs.queue import list_job_events, list_steps
from treadle.errors import InvalidInput
from treadle.flows.scenario.build_gremlin import count_gremlin_graph
from treadle.flows.scenario.flow import query_graph, request_destroy
from treadle.flows.scenario.records import get_scenario
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
    place.build({Slot.GRAPH: graph_archive()}, backend=BACKEND)
    with pytest.raises(InvalidInput, match="does not understand GQL"):
        query_graph(place.services, "telco-noc", "MATCH (n) RETURN n")
    ended = place.work(request_destroy(place.services, "telco-noc", "ada"))
    assert ended.state == "SUCCEEDED", ended.error_message
    assert count_gremlin_graph(gremlin, "telco-noc") == {"vertices": 0, "edges": 0}


def test_a_server_that_is_away_fails_the_attempt_and_the_next_one_goes_on_where_it_was(place, gremlin, server):
    """The second part cannot be written in the first attempt, which ends there; the first is not written again in the second."""
    real = gremlin.submit
    asked = []

    class Away:
        def submit(self, script, bindings=None, *, what="", deadline_seconds=None):
            asked.append(what)
            if what == "write vertices AggSwitch" and asked.count(what) == 1:
                nobody = dataclasses.replace(server, url="wss://localhost:9/").client()
                return nobody.submit(script, bindings, what=what, deadline_seconds=0.2)
            return real(script, bindings, what=what, deadline_seconds=deadline_seconds)

    place.services = dataclasses.replace(place.services, gremlin=Away)
    job = place.build({Slot.GRAPH: graph_archive()}, backend=BACKEND)
    assert job.attempt == 2
    assert asked.count("write vertices CoreRouter") == 1
    assert count_gremlin_graph(gremlin, "telco-noc")["edges"] == 66
