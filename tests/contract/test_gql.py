"""GQL on a small graph, over HTTP: what Fabric's graph documents of the language, and the envelope of its answers.

Source: fabric-docs, docs/graph/gql-*.md and limitations.md.
"""

import json
import ssl
import subprocess
import sys

import httpx2
import psutil
import pytest
from tests.contract.fabric_trials import FabricCaller, until
from tests.contract.graph_place import GraphPlace

from treadle.sandbox.fabric.graph.gql.tokens import LONGEST_QUERY


@pytest.fixture(scope="module")
def graph(running_sandbox):
    """A loaded graph, for all queries of this module."""
    trusted = ssl.create_default_context(cafile=str(running_sandbox.endpoints.ca_file))
    with httpx2.Client(verify=trusted, timeout=60) as client:
        place = GraphPlace(FabricCaller(running_sandbox, client))
        place.load()
        yield place
        place.drop()


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("MATCH (p:Person) RETURN p.name ORDER BY p.name", [["Ann"], ["Bob"], ["Cid"], ["Dee"]]),
        ("MATCH (p:Person) WHERE p.age > 30 AND p.name <> 'Dee' RETURN p.name AS who", [["Bob"]]),
        ("MATCH (p:Person) FILTER WHERE NOT p.age > 30 RETURN p.name", [["Ann"]]),
        ("MATCH (p:Person) WHERE p.age IS NULL RETURN p.name", [["Cid"]]),
        ("MATCH (p:Person) WHERE p.active RETURN p.name ORDER BY p.name DESC", [["Dee"], ["Ann"]]),
        ("MATCH (p:Person {name: 'Bob'}) RETURN p.id", [[2]]),
        ("MATCH (p:Person WHERE p.id < 3)-[k:knows WHERE k.since < 2002]->(q) RETURN p.name, q.name", [["Ann", "Bob"]]),
        ("MATCH (p:Person) WHERE p.name IN ['Ann', 'Bob'] AND p.name NOT IN ['Bob'] RETURN p.name", [["Ann"]]),
        ("MATCH (p:Person) WHERE p.name STARTS WITH 'A' OR p.name ENDS WITH 'b' OR p.name CONTAINS 'i' RETURN count(*)", [[3]]),
        ("MATCH (p:Person) WHERE p.age<-5 RETURN p", []),
        ("MATCH (c:City|Country) RETURN c.name ORDER BY c.name", [["Italy"], ["Norway"], ["Oslo"], ["Rome"]]),
        (
            "MATCH (c:Place&!Country) RETURN c.name, labels(c) AS l ORDER BY c.name",
            [["Oslo", ["Place", "City"]], ["Rome", ["Place", "City"]]],
        ),
        ("MATCH (c:City&Country) RETURN c.name", []),
        ("MATCH (c IS City) RETURN sum(c.population) AS people, avg(c.population) AS mean", [[3_500_000, 1_750_000.0]]),
        (
            "MATCH (p)-[:lives_in]->(c)-[:part_of]->(l:Country) RETURN p.name, l.code ORDER BY p.id",
            [["Ann", "NO"], ["Bob", "IT"], ["Cid", "NO"]],
        ),
        ("MATCH (c)<-[:lives_in]-(p:Person) RETURN c.name, count(*) ORDER BY count(*) DESC", [["Oslo", 2], ["Rome", 1]]),
        ("MATCH (a:Person)-[:knows]-(b:Person) RETURN count(*) AS n", [[8]]),
        ("MATCH (a)-[:knows]->(b), (a)-[:lives_in]->(c)<-[:lives_in]-(b) RETURN a.name, b.name", [["Cid", "Ann"]]),
        ("MATCH (a)-[:knows]->(b) MATCH (b)-[:lives_in]->(c:City) RETURN DISTINCT c.name ORDER BY c.name", [["Oslo"], ["Rome"]]),
        ("MATCH (a:Person {id: 1})-[e:knows]->{1,2}(b) RETURN DISTINCT b.name, size(e) AS hops ORDER BY hops", [["Bob", 1], ["Cid", 2]]),
        ("MATCH (a:Person {id: 1})-[e:knows]->{,8}(b) RETURN max(size(e)) AS far", [[8]]),
        ("MATCH TRAIL (a:Person {id: 1})-[e:knows]->{1,8}(b) RETURN max(size(e)) AS far", [[4]]),
        ("MATCH (a:Person {id: 1})-[e:knows WHERE e.since > 2001]->{1,3}(b) RETURN count(*)", [[3]]),
        ("MATCH (a:Person {id: 2})-[e:knows]->{2}(b) RETURN b.name, sum(e.since) AS s, count(e) AS n", [["Ann", 4005, 2]]),
        ("MATCH p = (a:Person {id: 2})-[:knows]->{2}(b) RETURN path_length(p) AS n, size(nodes(p)) AS m", [[2, 3]]),
        ("MATCH (p:Person) LET x = p.name || '!' FILTER x <> 'Bob!' ORDER BY x DESC LIMIT 2 RETURN x", [["Dee!"], ["Cid!"]]),
        ("MATCH (p:Person) LET a = p.age, n = p.name RETURN n, coalesce(a, 0) AS a ORDER BY a LIMIT 1", [["Cid", 0]]),
        ("MATCH (p:Person) RETURN p.name ORDER BY p.age OFFSET 1 LIMIT 2", [["Ann"], ["Bob"]]),
        ("MATCH (p:Person) RETURN p.name, p.age ORDER BY p.age, p.name LIMIT 1", [["Cid", None]]),
        ("MATCH (p)-[:lives_in]->(c) LET town = c.name RETURN count(*) AS n GROUP BY town ORDER BY n", [[1], [2]]),
        ("MATCH (p)-[:lives_in]->(c) RETURN c.name AS t, size(collect_list(p.id)) AS n GROUP BY t ORDER BY t", [["Oslo", 2], ["Rome", 1]]),
        ("MATCH (p:Person) RETURN DISTINCT p.active AS a ORDER BY a", [[None], [False], [True]]),
        ("MATCH (p:Person) RETURN upper(p.name) AS u, char_length(p.name) AS n, lower('X') AS l ORDER BY u LIMIT 1", [["ANN", 3, "x"]]),
        ("MATCH (p:Person {id: 3}) RETURN 'a' || p.name || 'b' AS t, 'a' || NULL AS u", [["aCidb", None]]),
        ("MATCH (p:Person) WHERE p.born < zoned_datetime('1991-01-01T00:00:00+01:00') RETURN p.born", [["1990-05-01T12:00:00+00:00"]]),
        ("RETURN 7 / 2 AS a, 7 / 2.0 AS b, -(1 + 2) * 3 AS c, TRUE AS d, 'it''s' AS e, \"q\\\"\" AS f", [[3, 3.5, -9, True, "it's", 'q"']]),
        ("RETURN [1, 2, 3][1] AS second, size([1, 2]) AS n, string_join(['a', 'b'], '-') AS s", [[2, 2, "a-b"]]),
        ("// a comment\nMATCH (p:`Person`) /* another */ WHERE p.`name` = 'Ann' -- the last\nRETURN p.name;", [["Ann"]]),
        ("MATCH (a:Person)-[:knows]->(b:Person) WHERE a = b RETURN a", []),
        ("MATCH (n) RETURN labels(n) AS kind, count(*) AS cnt GROUP BY kind ORDER BY cnt DESC LIMIT 1", [[["Person"], 4]]),
        ("MATCH (p:Person) RETURN COUNT(p) AS p", [[4]]),
        (
            "MATCH (p)-[:lives_in]->(c:`City`) RETURN c.name AS town, count(p) AS num GROUP BY town ORDER BY num DESC LIMIT 5",
            [["Oslo", 2], ["Rome", 1]],
        ),
        ("MATCH (a {name: 'Ann'})-[r]->(b) RETURN DISTINCT b.name ORDER BY b.name", [["Bob"], ["Oslo"]]),
        ("MATCH (p:Person) LET q = p FILTER q.id = 1 RETURN q.name", [["Ann"]]),
        ("MATCH (a)<-[e:knows]-{2}(b {id: 2}) RETURN a.name", [["Ann"]]),
        ("MATCH (p:Person) RETURN count(p.age), min(p.name), max(p.name), count(DISTINCT p.active)", [[3, "Ann", "Dee", 2]]),
    ],
)
def test_a_query_finds_what_it_asks_for(graph, query, rows):
    """Each line of the table is a sentence of the documentation."""
    assert graph.rows(query) == rows


@pytest.mark.parametrize(
    ("query", "code", "place", "words"),
    [
        ("MATCH (p:Person)\nRETURN p.name +", "42001", "line 2, column 16", "end of the query"),
        ("MATCH (p:Person) RETURN p.nope", "42001", "line 1, column 26", "Property 'nope' does not exist in type Person"),
        ("MATCH (p:Nobody) RETURN p", "G2000", "line 1, column 10", "does not match any node type"),
        ("MATCH (p)-[:nothing]->(q) RETURN p", "G2000", "line 1, column 13", "does not match any edge type"),
        ("MATCH (p:Person) RETURN q", "42001", "line 1, column 25", "'q' is not defined"),
        ("MATCH (p)-[:knows]->{1,9}(q) RETURN p", "42001", "line 1, column 21", "at most 8 hops"),
        ("MATCH (p)-[:knows]->*(q) RETURN p", "42001", "line 1, column 21", "quantifier"),
        ("MATCH (p)-[:knows*1..3]->(q) RETURN p", "42001", "line 1, column 18", "not GQL"),
        ("MATCH (p:Person), (c:City) RETURN p", "42001", "line 1, column 19", "disconnected"),
        ("OPTIONAL MATCH (p) RETURN p", "42001", "line 1, column 1", "OPTIONAL is not supported"),
        ("MATCH (p:Person) RETURN p.name, p.name", "42001", "line 1, column 18", "Two columns"),
        ("MATCH (p:Person) WHERE count(*) > 1 RETURN p", "42001", "line 1, column 24", "is for RETURN"),
        ("MATCH (p:Person) RETURN pg_sleep(9)", "42001", "line 1, column 25", "'pg_sleep' is not supported"),
        ("MATCH (p:Person) WHERE p.name = $name RETURN p", "42001", "line 1, column 33", "Parameters"),
        ("MATCH (p:Person {name: 'Ann}) RETURN p", "42001", "line 1, column 24", "without an end"),
        ("MATCH (p:Person) RETURN 9999999999999999999", "42001", "line 1, column 25", "larger than 64 bits"),
        ("MATCH (p) WHERE p.born > zoned_datetime('soon') RETURN p", "22000", "line 1, column 26", "invalid date"),
        ("MATCH (p:Person) RETURN p.age / 0 AS x", "22000", None, "zero"),
        ("MATCH (p:Person) WHERE p.name = 5 RETURN p", "22000", None, "cast"),
        ("MATCH (p:Person) RETURN sum(p.name) AS s", "42000", None, "sum"),
        ("MATCH (p:Person) RETURN p ORDER BY p", "42000", None, "order"),
        ("", "42001", "line 1, column 1", "end of the query"),
        ("RETURN " + "(" * 200 + "1" + ")" * 200, "42001", None, "nested"),
        ("RETURN " + "NOT " * 2000 + "TRUE", "42001", None, "nested"),
        ("RETURN " + "(" * 30 + "1" + (" IS NULL" * 30 + ")") * 30 + " AS x", "42001", None, "nested too deeply"),
        ("RETURN 1" + " + 1" * 700 + " AS n", "42001", None, "More than 60 operators"),
        ("RETURN 1" + " = 1" * 700 + " AS n", "42001", None, "More than 60 operators"),
        ("RETURN 1" + " IS NULL" * 700 + " AS n", "42001", None, "More than 60 operators"),
        ("RETURN [1]" + "[0]" * 700 + " AS n", "42001", None, "More than 60 operators"),
        ("MATCH (p:Person" + "|City" * 700 + ") RETURN p", "42001", None, "More than 60 operators"),
        ("MATCH (p:Person" + "&Person" * 700 + ") RETURN p", "42001", None, "More than 60 operators"),
        ("RETURN '" + "x" * LONGEST_QUERY + "'", "42001", "line 1, column 1", "longer than"),
        ("MATCH (p:Person) RETURN " + "upper(" * 40 + "p.name || 'x'" + " || 'x')" * 39 + ") AS t", "42001", None, "too large"),
    ],
)
def test_a_query_that_cannot_be_carried_out_says_what_and_where(graph, query, code, place, words):
    """HTTP 200 all the same, with the status, the place and the reason, and no result."""
    answer = graph.ask(query)
    status = answer["status"]
    assert status["code"] == code, status
    assert status["description"].startswith("error: ")
    assert "result" not in answer
    assert words.lower() in status["cause"]["description"].lower()
    if place is not None:
        assert status["diagnostics"]["_errorLocation"] == {"gqlType": "STRING", "value": place}


@pytest.mark.parametrize("terms", [60, 200])
@pytest.mark.parametrize(
    ("condition", "count"),
    [
        (lambda terms: " OR ".join(f"p.id = {number}" for number in range(2, terms + 2)), 3),
        (lambda terms: " AND ".join(f"p.id <> {number}" for number in range(2, terms + 2)), 1),
        (lambda terms: " OR ".join(f"(p.id = {number} AND p.name = 'Bob')" for number in range(terms)), 1),
    ],
)
def test_a_long_flat_condition_is_a_condition_like_any_other(graph, condition, count, terms):
    assert graph.rows(f"MATCH (p:Person) WHERE {condition(terms)} RETURN count(*) AS n") == [[count]]


def test_a_long_flat_text_is_put_together_in_its_order(graph):
    parts = "".join(chr(ord("a") + place % 26) for place in range(61))
    assert graph.rows(f"RETURN {' || '.join(map(repr, parts))} AS t, {' + '.join(['1'] * 61)} AS n") == [[parts, 61]]


HOSTILE = [
    "CREATE (n:Person {id: 9})",
    "MATCH (p:Person) DELETE p",
    "MATCH (p:Person) SET p.name = 'x' RETURN p",
    "COPY person TO '{file}'",
    "COPY (MATCH (p) RETURN p.*) TO '{file}'",
    "LOAD FROM '/etc/passwd' RETURN *",
    "ATTACH '/tmp/x' AS y",
    "INSTALL httpfs; LOAD EXTENSION httpfs",
    "CALL threads=64 RETURN *",
    "CALL show_tables() RETURN *",
    "EXPORT DATABASE '{file}'",
    "DROP TABLE n0",
    "MATCH (p:Person) RETURN p; COPY (RETURN 1) TO '{file}'",
    "MATCH (p:Person) RETURN p.name AS `x`; CALL threads=1",
    "MATCH (p:`Person`) DETACH DELETE p; //`) RETURN p",
    "MATCH (p:`n0) RETURN 1; COPY (RETURN 1) TO '{file}'; //`) RETURN p",
    "MATCH (p:Person) WHERE p.name = '\\'; COPY (RETURN 1) TO \\'{file}' RETURN p.name",
    "MATCH (`p) RETURN 1; COPY (RETURN 1) TO '{file}'; //`:Person) RETURN 1 AS `1; DROP TABLE n0`",
    "MATCH (p:Person) RETURN p.k",
    "MATCH (p:n0) RETURN p",
    "PROFILE MATCH (p) RETURN p",
    "BEGIN TRANSACTION",
    "UNWIND range(1, 1000000000) AS x RETURN x",
]


@pytest.mark.parametrize("query", HOSTILE)
def test_a_hostile_query_changes_nothing(graph, query, tmp_path):
    """Queries only read: no file, no table and no setting of the engine is in reach, however names and texts are written."""
    file = tmp_path / "stolen.csv"
    answer = graph.ask(query.replace("{file}", str(file)))
    assert answer["status"]["code"] in ("42001", "G2000", "00000", "02000"), "the engine was asked something that it refused"
    assert not file.exists()
    assert not list(tmp_path.iterdir())
    assert graph.rows("MATCH (p:Person) RETURN count(*)") == [[4]]


def test_columns_tell_their_types(graph):
    """gqlType and jsonType of each kind of value."""
    query = "MATCH (p:Person {id: 1})-[k:knows {since: 2001}]->(q) RETURN p, k, p.id AS i, p.name AS s, p.height AS f, p.active AS b, p.born AS t, labels(p) AS l"
    columns = {one["name"]: (one["gqlType"], one["jsonType"]) for one in graph.ask(query)["result"]["columns"]}
    assert columns == {
        "p": ("NODE", "object"),
        "k": ("EDGE", "object"),
        "i": ("INT64", "number"),
        "s": ("STRING", "string"),
        "f": ("FLOAT64", "number"),
        "b": ("BOOL", "boolean"),
        "t": ("ZONED DATETIME", "string"),
        "l": ("LIST<STRING>", "array"),
    }


def test_numbers_that_json_cannot_hold_are_text(graph):
    """Integers beyond 2^53, infinities, not-a-number and negative zero."""
    query = "MATCH (p:Person) RETURN p.age, p.height ORDER BY p.id"
    assert graph.rows(query) == [[30, 1.5], [40, "Inf"], [None, "NaN"], [str(2**60), "-0"]]
    assert graph.rows("RETURN 9007199254740991 AS a, 9007199254740992 AS b, -9007199254740992 AS c") == [
        [9007199254740991, "9007199254740992", "-9007199254740992"]
    ]


def test_a_node_and_an_edge_are_objects_that_fit_together(graph):
    """labels, oid, properties; an edge says which nodes it joins; ids stay the same from query to query."""
    [[ann, knows, bob]] = graph.rows("MATCH (a:Person {id: 1})-[k:knows {since: 2007}]->(b) RETURN a, k, b")
    assert ann["labels"] == ["Person"]
    assert ann["properties"] == {"id": 1, "name": "Ann", "age": 30, "height": 1.5, "active": True, "born": "1990-05-01T12:00:00+00:00"}
    assert (knows["labels"], knows["properties"]) == (["knows"], {"since": 2007})
    assert (knows["sourceOid"], knows["destinationOid"]) == (ann["oid"], bob["oid"])
    assert graph.rows("MATCH (b:Person {id: 2}) RETURN b") == [[bob]]


def test_a_path_is_nodes_and_edges_in_turn(graph):
    """PATH, as "Paths" of the query API: node, edge, node, …"""
    query = "MATCH p = (a:Person {id: 2})-[:knows]->{2}(b)-[:lives_in]->(c) RETURN p, edges(p) AS e"
    [[path, edges]] = graph.rows(query)
    assert [one["labels"][0] for one in path] == ["Person", "knows", "Person", "knows", "Person", "lives_in", "Place"]
    assert [one["properties"].get("name") for one in path[::2]] == ["Bob", "Cid", "Ann", "Oslo"]
    assert edges == path[1::2]
    assert {one["name"]: one["gqlType"] for one in graph.ask(query)["result"]["columns"]} == {"p": "PATH", "e": "LIST<EDGE>"}


def test_a_node_as_json_text(graph):
    """The published example ExecuteQuery: TO_JSON_STRING gives a text with labels, oid and properties."""
    answer = graph.ask("MATCH (node_city:`City`) RETURN TO_JSON_STRING(node_city) AS `city` ORDER BY node_city.name LIMIT 10;")
    assert answer["status"] == {
        "code": "00000",
        "description": "note: successful completion",
        "diagnostics": {"OPERATION": "query", "OPERATION_CODE": "0", "CURRENT_SCHEMA": "/"},
    }
    assert answer["result"]["kind"] == "TABLE"
    assert answer["result"]["columns"] == [{"name": "city", "gqlType": "STRING", "jsonType": "string"}]
    city = json.loads(answer["result"]["data"][0]["city"])
    assert list(city) == ["labels", "oid", "properties"]
    assert city["properties"] == {"name": "Oslo", "population": 700_000}


def test_no_rows_is_a_status_of_its_own(graph):
    """02000 with a table that has columns and no data."""
    answer = graph.ask("MATCH (p:Person {name: 'Zoe'}) RETURN p.name, p.age AS age ORDER BY age")
    assert answer["status"]["code"] == "02000"
    assert answer["status"]["description"] == "note: no data"
    assert answer["result"]["data"] == []
    assert [one["name"] for one in answer["result"]["columns"]] == ["p.name", "age"]
    assert (answer["result"]["isOrdered"], answer["result"]["isDistinct"]) == (True, False)


def test_a_value_whose_type_is_not_known_says_it_itself(graph):
    """ANY columns carry the type in each value."""
    answer = graph.ask("RETURN NULL AS n")
    assert answer["result"]["columns"][0]["gqlType"] in ("ANY", "STRING")
    assert answer["result"]["data"][0]["n"] in (None, {"gqlType": "NULL", "value": None})


def test_return_star_gives_all_that_is_bound(graph):
    """In the order in which it was bound, under its names."""
    answer = graph.ask("MATCH (p:Person {id: 1})-[k:knows {since: 2001}]->(q) LET `the year` = k.since RETURN *")
    assert [one["name"] for one in answer["result"]["columns"]] == ["p", "k", "q", "the year"]
    assert answer["result"]["data"][0]["the year"] == 2001


def test_an_answer_is_cut_at_its_limit(graph, sandbox):
    """Rows beyond the limit are left out, and the status says so."""
    sandbox.fabric.options.graph_answer_bytes = 2_000
    query = "MATCH (a)-[e:knows]->{0,6}(b) RETURN a, b"
    answer = graph.ask(query)
    assert answer["status"]["code"] == "00000"
    assert answer["status"]["additionalStatuses"][0]["code"] == "01000"
    whole = len(json.dumps(answer["result"]["data"]))
    assert 0 < whole < 2_500
    sandbox.fabric.options.graph_answer_bytes = 64 * 1024 * 1024
    assert len(graph.rows(query)) > len(answer["result"]["data"])


def test_a_query_that_takes_too_long_is_ended(graph, sandbox):
    """After the time that is set the process is killed; the next query is answered."""
    sandbox.fabric.options.graph_query_seconds = 0.0
    answer = graph.ask("MATCH (a)-[e:knows]-{8}(b)-[f:knows]-{8}(c)-[g:knows]-{8}(d) RETURN count(*)")
    assert answer["status"]["code"] == "22000"
    assert "timed out" in answer["status"]["cause"]["description"]
    sandbox.fabric.options.graph_query_seconds = 60.0
    assert graph.rows("RETURN 1 AS x") == [[1]]


def test_a_scripted_status_takes_the_place_of_an_answer(graph, sandbox):
    """Faults by script reach inside the envelope."""
    sandbox.faults.script("fabric.ExecuteQuery", "query_failed", code="G2000", message="by script")
    status = graph.ask("RETURN 1 AS x")["status"]
    assert (status["code"], status["cause"]["description"]) == ("G2000", "error: by script")


ENDLESS = """
import sys
from pathlib import Path

import ladybug

from treadle.sandbox.fabric.graph.child import run_child

folder = Path(sys.argv[1])
database = ladybug.Database(folder / "graph.lbug")
ladybug.Connection(database).execute("CREATE NODE TABLE n0(k STRING PRIMARY KEY)")
database.close()
statement = "UNWIND range(1, 100000000) AS x UNWIND range(1, 100000) AS y WITH x, y WHERE x % 7 = y RETURN sum(x) AS c0"
request = {"database": str(folder / "graph.lbug"), "statement": statement, "parameters": {}, "columns": [("c0", "value")]}
request |= {"marks": {}, "layout": {"nodes": [], "edges": []}, "limit_bytes": 1000}
run_child("treadle.sandbox.fabric.graph.query_child", request, folder, lambda: None)
"""


def test_a_query_does_not_outlive_the_process_that_asked(tmp_path):
    """Killed without a word, the sandbox leaves no process behind, however busy the engine is."""
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    with subprocess.Popen([sys.executable, str(script), str(tmp_path)]) as asking:
        [child] = until(lambda: psutil.Process(asking.pid).children())
        until(lambda: child.cpu_times().user > 1)
        asking.kill()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
