"""Building a scenario's graph on Apache TinkerPop's own Gremlin Server; for faults, with a server before it that follows a script.

gremlin_place.py says what is real about it, and how it differs from Cosmos DB.
"""

import csv
import io
import ssl
from collections import Counter

import pytest
from gremlin_python.driver.client import Client
from gremlin_python.driver.serializer import GraphSONSerializersV2d0
from tests.contract.gremlin_place import KEY, USER, Certificates, Cut, CutAfter, Refuse, ScriptedServer, real_server, throttled
from tests.unit.scenario_archives import SMALL, TELCO, small, telco

from treadle.errors import InvalidInput, OperationFailed
from treadle.flows.scenario.build_gremlin import (
    _rows,
    build_gremlin_graph,
    count_gremlin_graph,
    plan_gremlin_graph,
    refuse_gql,
    remove_gremlin_graph,
)
from treadle.flows.scenario.check import check_scenario
from treadle.flows.scenario.gremlin_graph import elements_of, graph_parts
from treadle.flows.scenario.gremlin_statements import current, of_other_parts, of_scenario, outdated, upserts

pytestmark = [pytest.mark.needs("java"), pytest.mark.needs("mvn"), pytest.mark.timeout(600), pytest.mark.xdist_group("gremlin")]


class Stopped(Exception):
    """The job is to stop."""


class Context:
    """A job's context: keeps the results of its steps, and stops when it is told to, as one of a killed or cancelled job does."""

    def __init__(self, stop_after=None):
        self.done, self.told, self.checks, self.stop_after = {}, [], 0, stop_after

    def check(self):
        self.checks += 1
        if self.stop_after is not None and self.checks > self.stop_after:
            raise Stopped

    def step(self, name, effect):
        if name not in self.done:
            self.done[name] = effect()
        return self.done[name]

    def progress(self, message, *, pct=None, data=None, step=None):
        assert data["detail"] == message
        self.told.append((pct, step, data))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with real_server(tmp_path_factory.mktemp("gremlin-server")) as place:
        yield place


@pytest.fixture
def gremlin(place):
    client = place.client()
    client.submit("g.V().drop()")
    yield client
    client.close()


@pytest.fixture
def check(tmp_path):
    def checked(archive):
        scratch = tmp_path / f"scratch{len(list(tmp_path.iterdir()))}"
        scratch.mkdir()
        found = check_scenario(io.BytesIO(archive), scratch)
        assert found.faults == ()
        return found.scenario

    return checked


def graph_of(gremlin, name="shop", *, without=()):
    """Everything that the graph has of a scenario, as text, whatever its order and its own ids."""
    vertices = gremlin.submit("g.V().has('treadle_scenario', s).project('label', 'has').by(label).by(valueMap())", {"s": name})
    edges = gremlin.submit(
        "g.E().has('treadle_scenario', s).project('label', 'from', 'to', 'has')"
        ".by(label).by(outV().values('id')).by(inV().values('id')).by(valueMap())",
        {"s": name},
    )
    for item in (*vertices, *edges):
        item["has"] = sorted((key, str(value)) for key, value in item["has"].items() if key not in without)
    return sorted(map(str, vertices)), sorted(map(str, edges))


def rows_of(name):
    with (TELCO / "data/entities" / name).open(encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_the_real_scenario_becomes_the_graph_that_its_files_say(gremlin, check):
    context = Context()
    built = build_gremlin_graph(gremlin, check(telco("entities")), "telco-noc", context)
    files = {
        "CoreRouter": "DimCoreRouter", "AggSwitch": "DimAggSwitch", "BaseStation": "DimBaseStation", "TransportLink": "DimTransportLink",
        "MPLSPath": "DimMPLSPath", "Service": "DimService", "SLAPolicy": "DimSLAPolicy", "BGPSession": "DimBGPSession",
    }  # fmt: skip
    labels = Counter(gremlin.submit("g.V().label()"))
    assert labels == {label: len(rows_of(f"{name}.csv")) for label, name in files.items()} == built["vertices"]
    links = rows_of("DimTransportLink.csv")
    ends = Counter(row[column] for row in links for column in ("SourceRouterId", "TargetRouterId"))
    asked = "g.V().hasLabel('TransportLink').out('connects_to').hasLabel('CoreRouter').groupCount().by('RouterId')"
    assert gremlin.submit(asked) == [dict(ends)]
    (link,) = gremlin.submit("g.V().hasLabel('TransportLink').has('LinkId', link).valueMap()", {"link": links[0]["LinkId"]})
    assert link["CapacityGbps"] == [int(links[0]["CapacityGbps"])]
    assert link["partitionKey"] == ["link"]
    directions = gremlin.submit(
        "g.V().has('LinkId', link).outE('connects_to').as('e').inV().as('r').select('e', 'r').by('direction').by('RouterId')",
        {"link": links[0]["LinkId"]},
    )
    assert {(item["e"], item["r"]) for item in directions} == {
        ("source", links[0]["SourceRouterId"]),
        ("target", links[0]["TargetRouterId"]),
    }
    hops = [row for row in rows_of("FactMPLSPathHops.csv") if row["NodeType"] == "TransportLink"]
    assert sorted(gremlin.submit("g.E().hasLabel('routes_via').values('HopOrder')")) == sorted(int(row["HopOrder"]) for row in hops)
    depends = Counter(row["DependsOnType"] for row in rows_of("FactServiceDependency.csv"))
    assert gremlin.submit("g.E().hasLabel('depends_on').inV().label().groupCount()") == [dict(depends)]
    assert list(context.done) == [
        *(f"graph.vertices:{label}" for label in files),
        *(f"graph.edges:{n}" for n in range(1, 12)),
        "graph.gone",
    ]
    percents = [pct for pct, _, _ in context.told]
    assert percents == sorted(percents)
    assert percents[-1] <= 100
    assert {data["slot"] for _, _, data in context.told} == {"graph"}


def test_a_second_build_changes_nothing_and_sends_no_statement_that_writes(place, gremlin, check, tmp_path):
    scenario = check(telco("entities"))
    first = build_gremlin_graph(gremlin, scenario, "telco-noc", Context())
    before = graph_of(gremlin, "telco-noc")
    with ScriptedServer(Certificates.made_in(tmp_path), place) as watched:
        client = watched.place.client()
        again = build_gremlin_graph(client, scenario, "telco-noc", Context())
        client.close()
    assert graph_of(gremlin, "telco-noc") == before
    assert (first["unchanged"], again["written"], again["removed"]) == (0, 0, 0)
    assert again["unchanged"] == first["written"] == sum(map(len, before))
    assert not any(word in asked["args"]["gremlin"] for asked in watched.asked for word in ("addV", "addE", "property(", "drop"))


CHANGED = {
    "a row less, and its edges": {"Shop_csv": "ShopId,City\nS1,Sydney\n", "Order_csv": "OrderId,ShopId,Amount\nO1,S1,1.50\nO3,,3\n"},
    "a row more": {"Order_csv": "OrderId,ShopId,Amount\nO1,S1,1.50\nO2,S2,2\nO3,S1,3\nO4,S2,4\n"},
    "a cell changed, and one emptied": {"Shop_csv": "ShopId,City\nS1,Hobart\nS2,\n"},
    "an edge leads elsewhere": {"Order_csv": "OrderId,ShopId,Amount\nO1,S2,1.50\nO2,S2,2\nO3,S1,3\n"},
    "a property less": {"graph_schema_yaml": SMALL["graph_schema.yaml"].replace("[City]", "[]")},
    "another partition key": {
        "graph_schema_yaml": SMALL["graph_schema.yaml"].replace("label: Shop\n    csv", "label: Shop\n    partition_key: other\n    csv")
    },
    "an edge rule with a property": {
        "graph_schema_yaml": SMALL["graph_schema.yaml"] + "    properties: [{name: worth, column: Amount}, {name: how, value: by post}]\n"
    },
    "another label": {"graph_schema_yaml": SMALL["graph_schema.yaml"].replace("placed_at", "bought_in")},
    "a vertex type and its edges less": {
        "graph_schema_yaml": "vertices:\n  - {label: Shop, csv_file: Shop.csv, id_column: ShopId, properties: [City]}\n"
    },
}


@pytest.mark.parametrize("changed", CHANGED.values(), ids=CHANGED)
def test_a_changed_archive_makes_the_graph_that_a_fresh_build_makes_and_the_way_back_too(gremlin, check, changed):
    before, after = check(small()), check(small(**changed))
    build_gremlin_graph(gremlin, before, "shop", Context())
    first = graph_of(gremlin)
    build_gremlin_graph(gremlin, after, "shop", Context())
    updated = graph_of(gremlin)
    assert {part.action for part in plan_gremlin_graph(gremlin, after, "shop")} == {"unchanged"}
    remove_gremlin_graph(gremlin, "shop", lambda: None)
    build_gremlin_graph(gremlin, after, "shop", Context())
    assert updated == graph_of(gremlin) != first
    build_gremlin_graph(gremlin, before, "shop", Context())
    assert graph_of(gremlin) == first


def test_the_plan_says_what_a_build_would_do_and_changes_nothing(gremlin, check):
    before = check(small())

    def planned(scenario):
        return {part.name: (part.action, part.elements) for part in plan_gremlin_graph(gremlin, scenario, "shop")}

    assert planned(before) == {
        "vertices Shop": ("create", 2),
        "vertices Order": ("create", 3),
        "edges placed_at from Order to Shop": ("create", 2),
    }
    assert graph_of(gremlin) == ([], [])
    build_gremlin_graph(gremlin, before, "shop", Context())
    assert {action for action, _ in planned(before).values()} == {"unchanged"}
    assert planned(check(small(Shop_csv="ShopId,City\nS1,Hobart\nS2,\nS3,\n"))) == {
        "vertices Shop": ("update", 3),
        "vertices Order": ("unchanged", 3),
        "edges placed_at from Order to Shop": ("unchanged", 2),
    }


def test_a_build_that_is_stopped_at_any_point_and_begun_again_ends_in_the_same_graph(gremlin, check):
    older, scenario = check(small()), check(_many_orders())
    build_gremlin_graph(gremlin, scenario, "shop", Context())
    whole = graph_of(gremlin)
    for stop_after in range(100):
        remove_gremlin_graph(gremlin, "shop", lambda: None)
        build_gremlin_graph(gremlin, older, "shop", Context())
        context = Context(stop_after)
        try:
            build_gremlin_graph(gremlin, scenario, "shop", context)
            break
        except Stopped:
            context.stop_after = None
            build_gremlin_graph(gremlin, scenario, "shop", context)  # the next attempt: steps that were done are not done again
        assert graph_of(gremlin) == whole
    assert stop_after > 4


def test_throttling_lost_answers_and_broken_connections_at_each_statement_change_nothing(place, gremlin, check, tmp_path):
    scenario = check(_many_orders())
    build_gremlin_graph(gremlin, scenario, "shop", Context())
    whole = graph_of(gremlin)
    gremlin.submit("g.V().drop()")
    with ScriptedServer(Certificates.made_in(tmp_path), place) as faulty:
        client = faulty.place.client()
        for fault in (throttled("00:00:00.0010000"), Cut(), CutAfter(), Refuse(500, "", {"x-ms-status-code": 412})):
            gremlin.submit("g.V().drop()")
            faulty.asked.clear()
            faulty.script.clear()
            faulty.script += [fault, None] * 200
            build_gremlin_graph(client, scenario, "shop", Context())
            assert graph_of(gremlin) == whole
            assert len(faulty.asked) > 12
        client.close()


def test_texts_that_look_like_gremlin_or_groovy_stay_texts(gremlin, check):
    evil = ["'); g.V().drop(); ('", '" + System.exit(1) + "', "${System.exit(1)}", "\\'; g.V().drop()//", "a\nb", "ü€😀", "neq(1)"]
    shop = io.StringIO()
    writer = csv.writer(shop)
    writer.writerow(["ShopId", "City"])
    writer.writerows([[f"S{number}", text] for number, text in enumerate(evil)])
    order = io.StringIO()
    writer = csv.writer(order)
    writer.writerow(["OrderId", "ShopId", "Amount"])
    writer.writerows([[text, f"S{number}", number] for number, text in enumerate(evil)])
    schema = SMALL["graph_schema.yaml"] + "    properties: [{name: \"n') or ('\", value: \"x'); g.V().drop(); ('\"}]\n"
    scenario = check(small(Shop_csv=shop.getvalue(), Order_csv=order.getvalue(), graph_schema_yaml=schema))
    build_gremlin_graph(gremlin, scenario, "shop", Context())
    assert sorted(gremlin.submit("g.V().hasLabel('Shop').values('City')")) == sorted(evil)
    assert sorted(gremlin.submit("g.V().hasLabel('Order').values('OrderId')")) == sorted(evil)
    assert gremlin.submit("g.E().values(name).dedup()", {"name": "n') or ('"}) == ["x'); g.V().drop(); ('"]


def test_scenarios_of_other_names_share_a_graph_and_are_removed_one_by_one(gremlin, check):
    build_gremlin_graph(gremlin, check(small()), "shop", Context())
    build_gremlin_graph(gremlin, check(_many_orders()), "other", Context())
    other = graph_of(gremlin, "other")
    assert remove_gremlin_graph(gremlin, "shop", lambda: None) == {"edges": 2, "vertices": 5}
    assert remove_gremlin_graph(gremlin, "shop", lambda: None) == {"edges": 0, "vertices": 0}
    assert graph_of(gremlin, "other") == other
    assert count_gremlin_graph(gremlin, "other") == {"edges": 60, "vertices": 62}


def test_edges_whose_vertices_somebody_removed_meanwhile_are_missed_and_the_next_build_mends_it(gremlin, check):
    scenario = check(small())
    context = Context()
    for label in ("Shop", "Order"):
        context.done[f"graph.vertices:{label}"] = {"elements": 0, "written": 0, "removed": 0}  # as if done before
    with pytest.raises(OperationFailed, match="edges placed_at from Order to Shop"):
        build_gremlin_graph(gremlin, scenario, "shop", context)
    build_gremlin_graph(gremlin, scenario, "shop", Context())
    assert count_gremlin_graph(gremlin, "shop") == {"edges": 2, "vertices": 5}


def test_every_statement_is_gremlin_for_a_grammar_that_is_stricter_than_groovy_too(place, gremlin, check):
    """TinkerPop's gremlin-lang knows the language and nothing else: no Groovy, no lambdas."""
    parts = graph_parts(check(telco("entities")), "telco-noc")
    strict = Client(
        place.url,
        "g",
        username=USER,
        password=KEY,
        message_serializer=GraphSONSerializersV2d0(),
        pool_size=1,
        ssl=ssl.create_default_context(cafile=str(place.ca_file)),
    )

    def run(statement):
        return strict.submit(statement.script, dict(statement.bindings), request_options={"language": "gremlin-lang"}).all().result()

    selections = [*of_other_parts("telco-noc", parts.keys), *of_scenario("other")]
    for part in (*parts.vertices, *parts.edges):
        for statement in upserts(part, elements_of(part, _rows(part.table)), frozenset({"Old"})):
            assert run(statement) in ([statement.elements], [])
        selections += [current(part), outdated(part)]
    for selection in selections:
        for statement in (selection.count(), selection.count(5), selection.distinct("treadle_columns")):
            run(statement)
    assert count_gremlin_graph(gremlin, "telco-noc") == {"edges": 66, "vertices": 50}
    for selection in selections:
        run(selection.drop(5))
    strict.close()


def test_a_query_in_gql_is_refused_in_words_that_say_what_to_do():
    error = refuse_gql("shop")
    assert isinstance(error, InvalidInput)
    assert "fabric-gql" in error.hint


def _many_orders():
    rows = "".join(f"O{number},S{1 + number % 2},{number}\n" for number in range(60))
    return small(Order_csv=f"OrderId,ShopId,Amount\n{rows}")
