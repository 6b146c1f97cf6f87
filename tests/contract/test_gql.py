"""GQL on a small graph, over HTTP: what Fabric's graph documents of the language, and the envelope of its answers.

Source: fabric-docs, docs/graph/gql-*.md and limitations.md.
"""

import json
import ssl
import subprocess
import sys
from collections import Counter

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
        (
            "MATCH (p:Person) OPTIONAL MATCH (p)-[:lives_in]->(c) RETURN p.name, c.name AS town, c IS NULL AS none ORDER BY town, p.name",
            [["Dee", None, True], ["Ann", "Oslo", False], ["Cid", "Oslo", False], ["Bob", "Rome", False]],
        ),
        (
            "MATCH (p:Person) OPTIONAL MATCH (p)-[:lives_in]->(c) RETURN p.name ORDER BY c.name DESC, p.name",
            [["Bob"], ["Ann"], ["Cid"], ["Dee"]],
        ),
        (
            "MATCH (p:Person) OPTIONAL MATCH (p)-[:lives_in]->(c:City) WHERE c.name = 'Rome' RETURN p.name, c.population AS n ORDER BY p.name",
            [["Ann", None], ["Bob", 2_800_000], ["Cid", None], ["Dee", None]],
        ),
        (
            "MATCH (p:Person) OPTIONAL MATCH (p)-[k:knows]->(q) RETURN p.name, count(*) AS r, count(q) AS n, count(DISTINCT q) AS d, sum(k.since) AS s ORDER BY p.name",
            [["Ann", 2, 2, 1, 4008], ["Bob", 1, 1, 1, 2002], ["Cid", 1, 1, 1, 2003], ["Dee", 1, 0, 0, None]],
        ),
        (
            "MATCH (p:Person) OPTIONAL MATCH (p)-[:lives_in]->(c) OPTIONAL MATCH (c)-[:part_of]->(l) RETURN p.name, l.name AS land ORDER BY p.name",
            [["Ann", "Norway"], ["Bob", "Italy"], ["Cid", "Norway"], ["Dee", None]],
        ),
        ("MATCH (p:Person) OPTIONAL MATCH (p)-[:lives_in]->(c) MATCH (c)-[:part_of]->(l) RETURN count(*)", [[3]]),
        (
            "MATCH (p:Person) OPTIONAL MATCH (p)-[:lives_in]->(c) FILTER c IS NULL RETURN p.name, labels(c) AS l, c.name",
            [["Dee", None, None]],
        ),
        ("MATCH (p) OPTIONAL MATCH (p:City) RETURN labels(p)[0] AS l, count(*) AS n ORDER BY n, l", [["Person", 4], ["Place", 4]]),
        (
            "MATCH (p:Person {id: 1}), (q:Person {id: 3})-[:knows]->(p) OPTIONAL MATCH (p)-[k:knows]->(q) RETURN p.name, q.name, k",
            [["Ann", "Cid", None]],
        ),
        ("OPTIONAL MATCH (p:Person {name: 'Zoe'}) RETURN p, p.name, count(*) AS n", [[None, None, 1]]),
        ("MATCH (p:Person) OPTIONAL MATCH (p)-[:knows&lives_in]->(q) RETURN count(*) AS n, count(q) AS m", [[4, 0]]),
        (
            "MATCH (p:Person) OPTIONAL MATCH t = (p)-[e:knows]->{2}(q {name: 'Cid'}) RETURN p.name, path_length(t) AS l, size(e) AS n, count(e) AS c, sum(e.since) AS s, max(e.since) AS m, t IS NULL AS none ORDER BY p.name, s",
            [
                ["Ann", 2, 2, 2, 4003, 2002, False],
                ["Ann", 2, 2, 2, 4009, 2007, False],
                ["Bob", None, None, 0, None, None, True],
                ["Cid", None, None, 0, None, None, True],
                ["Dee", None, None, 0, None, None, True],
            ],
        ),
        (
            "MATCH (p:Person)-[e:knows]->{0,1}(q) RETURN p.name, sum(e.since) AS s, min(e.since) AS m ORDER BY p.name, s LIMIT 2",
            [["Ann", None, None], ["Ann", 2001, 2001]],
        ),
        ("MATCH (p:Person) WHERE EXISTS { (p)-[:lives_in]->(:City {name: 'Oslo'}) } RETURN p.name ORDER BY p.name", [["Ann"], ["Cid"]]),
        ("MATCH (p:Person) WHERE NOT EXISTS { MATCH (p)-[:lives_in]->(c) } RETURN p.name", [["Dee"]]),
        ("MATCH (p:Person) FILTER EXISTS ((p)-[k:knows]->() WHERE k.since > 2003) RETURN p.name", [["Ann"]]),
        (
            "MATCH (p:Person) RETURN p.name, EXISTS { (q:Person) WHERE q.age > p.age } AS younger ORDER BY p.name",
            [["Ann", True], ["Bob", True], ["Cid", False], ["Dee", False]],
        ),
        ("MATCH (p:Person) WHERE EXISTS { (q:Person {name: 'Bob'}) WHERE p = q } RETURN p.name", [["Bob"]]),
        (
            "MATCH (p:Person) WHERE EXISTS { (p)-[:knows]->(q) WHERE EXISTS { (q)-[:lives_in]->(c), (c)-[:part_of]->({name: 'Italy'}) } } RETURN p.name",
            [["Ann"]],
        ),
        ("MATCH (p:Person) OPTIONAL MATCH (p)-[:lives_in]->(c) FILTER NOT EXISTS { (c)-[:part_of]->() } RETURN p.name", [["Dee"]]),
        (
            "MATCH (p:Person) OPTIONAL MATCH (p)-[:knows]->(q) WHERE EXISTS { (q)-[:lives_in]->({name: 'Rome'}) } RETURN p.name, count(q) AS n ORDER BY n DESC LIMIT 2",
            [["Ann", 2], ["Bob", 0]],
        ),
        (
            "MATCH (p:Person) WHERE p.name = 'Dee' OR EXISTS { t = (p)-[:knows]->{1,3}(q) WHERE path_length(t) = 2 AND q.name = 'Ann' } RETURN p.name ORDER BY p.name",
            [["Bob"], ["Dee"]],
        ),
        ("MATCH (p:Person) RETURN EXISTS { (q)-[:lives_in]->(p) } AS q, count(*) AS n", [[False, 4]]),
        ("MATCH (p:Person) LET q = 1 FILTER EXISTS { (p)-[k:knows]->(x) WHERE k.since = 2002 } RETURN p.name, q", [["Bob", 1]]),
        (
            "MATCH (p:Person) RETURN p.name, CASE WHEN p.age > 35 THEN 'old' WHEN p.age <= 35 THEN 'young' END AS a, CASE p.id WHEN 1, 2 THEN 'x' WHEN NULL THEN 'n' ELSE 'y' END AS b ORDER BY p.name",
            [["Ann", "young", "x"], ["Bob", "old", "x"], ["Cid", None, "y"], ["Dee", "old", "y"]],
        ),
        (
            "MATCH (p:Person) RETURN CASE p.age WHEN NULL THEN 'null' WHEN 30 THEN 'thirty' ELSE 'else' END AS a, count(*) AS n ORDER BY n",
            [["thirty", 1], ["else", 3]],
        ),
        (
            "MATCH (p:Person) RETURN sum(CASE WHEN EXISTS { (p)-[:lives_in]->() } THEN 1 ELSE 0 END) AS n, count(CASE WHEN p.active THEN 1 END) AS m",
            [[3, 2]],
        ),
        (
            "MATCH (p:Person) RETURN CASE WHEN p.id = 1 THEN p.id WHEN p.id = 2 THEN 2.5 WHEN p.id = 3 THEN p.height ELSE NULL END AS n ORDER BY p.id",
            [[1.0], [2.5], ["NaN"], [None]],
        ),
        ("OPTIONAL MATCH (p:Person {id: 9})-[k:knows]->() RETURN labels(p) AS p, labels(k) AS k", [[None, None]]),
        ("MATCH (p:Person) RETURN p.name ORDER BY CASE p.name WHEN 'Cid' THEN 0 ELSE 1 END, p.name LIMIT 2", [["Cid"], ["Ann"]]),
        (
            "MATCH (p:Person) LET a = CASE WHEN p.age IS NULL THEN CASE WHEN p.active THEN 1 ELSE 2 END ELSE 3 END RETURN a, count(*) AS n ORDER BY a",
            [[2, 1], [3, 3]],
        ),
        ("MATCH (p:Person)-[:knows]->(q:Person) LET r = CASE WHEN p.id < q.id THEN p ELSE q END RETURN count(DISTINCT r) AS n", [[2]]),
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
        ("OPTIONAL (p) RETURN p", "42001", "line 1, column 10", "'MATCH' was expected"),
        ("MATCH (p:Person) OPTIONAL MATCH (c:City) RETURN p", "42001", "line 1, column 33", "disconnected"),
        ("MATCH (p:Person) OPTIONAL MATCH (p)-[:nothing]->(q) RETURN p", "G2000", "line 1, column 39", "does not match any edge type"),
        (
            "MATCH (p:Person) OPTIONAL MATCH (p)-[:lives_in]->(c:City) RETURN c.nope",
            "42001",
            "line 1, column 67",
            "Property 'nope' does not exist",
        ),
        ("MATCH (p:Person) WHERE EXISTS { (p)-[:knows]->(q) } RETURN q", "42001", "line 1, column 60", "'q' is not defined"),
        ("MATCH (p:Person) WHERE EXISTS { (p)-[:knows]->(q), (c:City) } RETURN p", "42001", "line 1, column 52", "disconnected"),
        ("MATCH (p:Person) WHERE EXISTS { (p)-[:knows]->(q) WHERE q.nope = 1 } RETURN p", "42001", "line 1, column 58", "Property 'nope'"),
        (
            "MATCH (p:Person) WHERE EXISTS { MATCH (p)-[:knows]->(q) RETURN q } RETURN p",
            "42001",
            "line 1, column 57",
            "EXISTS takes patterns",
        ),
        ("MATCH (p:Person) WHERE EXISTS { MATCH (p)-->(q) MATCH (q)-->(r) } RETURN p", "42001", None, "expected"),
        ("MATCH (p:Person) WHERE EXISTS { (p)-[:knows]->(q) WHERE count(*) > 1 } RETURN p", "42001", "line 1, column 57", "is for RETURN"),
        ("MATCH (p)-[:knows WHERE EXISTS { (p) }]->{1,2}(q) RETURN p", "42001", "line 1, column 25", "quantified edge"),
        ("MATCH (p:Person) RETURN CASE p.id THEN 1 END AS x", "42001", "line 1, column 35", "'WHEN' was expected"),
        ("MATCH (p:Person) RETURN CASE WHEN TRUE THEN 1 AS x", "42001", "line 1, column 47", "'END' was expected"),
        ("MATCH (p)-[k:knows]->(q) RETURN CASE WHEN TRUE THEN p ELSE k END AS x", "42001", "line 1, column 33", "chooses among"),
        ("MATCH (p)-[k:knows]->(q) RETURN coalesce(p, p.name) AS x", "42001", "line 1, column 33", "chooses among"),
        ("RETURN " + "CASE " * 25 + "1" + " WHEN 1 THEN 1 WHEN 2 THEN 2 END" * 25 + " AS x", "42001", None, "too large"),
        ("RETURN " + "CASE WHEN " * 200 + "TRUE" + " THEN TRUE END" * 200 + " AS x", "42001", None, "nested"),
        ("MATCH (p) WHERE " + "EXISTS { (p) WHERE " * 200 + "TRUE" + " }" * 200 + " RETURN p", "42001", None, "nested"),
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
    "OPTIONAL MATCH (p:Person) DETACH DELETE p",
    "MATCH (p) WHERE EXISTS { MATCH (p) DELETE p } RETURN p",
    "MATCH (p) WHERE EXISTS { CALL show_tables() RETURN * } RETURN p",
    "MATCH (`p }; COPY (RETURN 1) TO '{file}'; //`) WHERE EXISTS { (`p }; COPY (RETURN 1) TO '{file}'; //`) } RETURN 1 AS x",
    "MATCH (p:Person) RETURN CASE WHEN TRUE THEN 'x\\' END; COPY (RETURN 1) TO \\'{file}' END AS x",
    "MATCH (p:Person) RETURN CASE p.name WHEN '$a0' THEN '\\' END }' ELSE '; DROP TABLE n0' END AS x",
    "MATCH (p)-[e:z]->(q) RETURN p",
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


NODES = ("Ann", "Bob", "Cid", "Dee", "Oslo", "Rome", "Norway", "Italy")
EDGES = (
    *(("knows", *pair) for pair in (("Ann", "Bob"), ("Bob", "Cid"), ("Cid", "Ann"), ("Ann", "Bob"))),
    *(("lives_in", *pair) for pair in (("Ann", "Oslo"), ("Bob", "Rome"), ("Cid", "Oslo"))),
    *(("part_of", *pair) for pair in (("Oslo", "Norway"), ("Rome", "Italy"))),
)


def walks(labels, least, most):
    """All walks along these edges, as (names of nodes, places of edges), one step after the other."""
    found = []
    longest = [((name,), ()) for name in NODES]
    for steps in range(most + 1):
        found += longest if steps >= least else []
        longest = [
            ((*nodes, end), (*edges, place))
            for nodes, edges in longest
            for place, (label, start, end) in enumerate(EDGES)
            if label in labels and start == nodes[-1]
        ]
    return found


def acyclic(walk):
    return len(set(walk[0])) == len(walk[0])


MODES = {
    "WALK": lambda _: True,
    "TRAIL": lambda walk: len(set(walk[1])) == len(walk[1]),
    "ACYCLIC": acyclic,
    "SIMPLE": lambda walk: acyclic(walk) or (walk[0][0] == walk[0][-1] and acyclic((walk[0][1:], ()))),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("labels", [("knows",), ("lives_in",), ("knows", "lives_in", "part_of")])
@pytest.mark.parametrize(("least", "most"), [(0, 1), (1, 4)])
def test_paths_are_those_that_their_mode_allows(graph, mode, labels, least, most):
    """Without a step, every node is its own other end, whether such edges reach it or not; counted here one by one."""
    found = Counter(walk[0][0] for walk in walks(labels, least, most) if MODES[mode](walk))
    pattern = f"{mode} (a)-[e:{'|'.join(labels)}]->{{{least},{most}}}(b)"
    assert graph.rows(f"MATCH {pattern} RETURN count(*) AS n") == [[found.total()]]
    assert graph.rows(f"MATCH (a) WHERE EXISTS {{ {pattern} }} RETURN a.name ORDER BY a.name") == [[name] for name in sorted(found)]
    rows = graph.rows(f"MATCH (a) OPTIONAL MATCH {pattern} RETURN a.name AS a, count(b) AS n ORDER BY a")
    assert rows == [[name, found[name]] for name in sorted(NODES)]


def test_without_a_step_ends_keep_their_labels(graph):
    """Only nodes that both ends allow, whatever the edges join."""
    assert graph.rows("MATCH (a:Person)-[:part_of]->{0,1}(b) RETURN count(*) AS n") == [[4]]
    assert graph.rows("MATCH (a)-[:knows]->{0,1}(b:Place) RETURN count(*) AS n") == [[4]]
    assert graph.rows("MATCH (a:Place)-[:lives_in]->{0,1}(b:Person) RETURN count(*) AS n") == [[0]]
    assert graph.rows("MATCH (a)-[e:knows&part_of]->{0,2}(b) RETURN count(*) AS n, max(size(e)) AS m") == [[8, 0]]
    assert graph.rows("MATCH (a)-[:part_of]-{0,1}(b) RETURN count(*) AS n") == [[12]]


def test_what_an_optional_match_did_not_find_is_null_as_a_whole(graph):
    """Nodes, edges, groups and paths keep the types of their columns; what was found is shown as ever."""
    query = "MATCH (a:Person) OPTIONAL MATCH p = (a)-[e:lives_in]->(c)-[f:part_of]->{0,1}(l:Country) RETURN a.name AS a, p, e, c, f, l ORDER BY a"
    answer = graph.ask(query)
    assert [one["gqlType"] for one in answer["result"]["columns"]] == ["STRING", "PATH", "EDGE", "NODE", "LIST<EDGE>", "NODE"]
    ann, _, _, dee = [list(row.values()) for row in answer["result"]["data"]]
    assert dee == ["Dee", None, None, None, None, None]
    _, path, lives, town, parts, land = ann
    assert path[1:] == [lives, town, *parts, land]
    assert (path[0]["properties"]["name"], town["properties"]["name"], land["properties"]["name"]) == ("Ann", "Oslo", "Norway")
    assert graph.rows("MATCH (a:Person {id: 4}) OPTIONAL MATCH p = (a)-[:knows]->(b) RETURN TO_JSON_STRING(b) AS b, nodes(p) AS n") == [
        [None, None]
    ]


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
