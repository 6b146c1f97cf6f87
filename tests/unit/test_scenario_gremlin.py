"""The graph of a scenario as Gremlin: which elements there are, statements within Cosmos DB's limits, and values that never become Gremlin."""

import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.scenario_archives import SMALL, same_as_snapshot, small, tar_gz, telco

from treadle.clients.gremlin_answers import error_of, read_time_span, refusal_of
from treadle.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    OperationFailed,
    PermissionDenied,
    Throttled,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)
from treadle.flows.scenario.build_gremlin import _rows
from treadle.flows.scenario.check import check_scenario
from treadle.flows.scenario.gremlin_graph import GraphParts, elements_of, graph_parts, vertex_id
from treadle.flows.scenario.gremlin_statements import BATCH_BYTES, _steps, check_sizes, current, of_other_parts, outdated, upserts

ENDPOINT = "{label: %s, property: %s, column: %s}"
SELF = """
vertices:
  - {label: Person, csv_file: Person.csv, id_column: id, partition_key: people, properties: [label, Born, Score, Active, Seen, Bio, Team, ttl]}
  - {label: Team, csv_file: Team.csv, id_column: Team}
edges:
  - label: works_with
    csv_file: Pairs.csv
    source: {label: Person, property: id, column: a}
    target: {label: Person, property: id, column: b}
    properties: [{name: since, column: since}, {name: kind, value: "it's $1"}]
    filter: {column: state, value: gone, negate: true}
  - label: works_with
    csv_file: Person.csv
    source: {label: Person, property: id, column: id}
    target: {label: Team, property: Team, column: Team}
"""
PEOPLE = (
    "id,label,Born,Score,Active,Seen,Bio,Team,ttl\n"
    'p/1,x,1970,1.5,TRUE,2024-05-01T10:00:00+02:00,"a ""b"", c\nd",T1,9\n'
    "p/2,,,,,,,,\n"
    "ü,y,2000,2e3,false,2024-05-01,'; g.V().drop(),T1,1\n"
)
PAIRS = "a,b,since,state\np/1,p/2,2001,\np/1,p/2,2002,ok\np/2,p/1,,gone\n,p/1,1,ok\nü,ü,7,ok\n"
FILES = {"scenario.yaml": SMALL["scenario.yaml"] + "data_sources: {graph: {connector: cosmosdb-gremlin}}\n"}


def parts_of(archive: bytes, folder: Path, name: str = "shop") -> GraphParts:
    found = check_scenario(io.BytesIO(archive), folder)
    assert found.faults == ()
    return graph_parts(found.scenario, name)


@pytest.fixture
def people(tmp_path: Path) -> GraphParts:
    files = {"graph_schema.yaml": "data_dir: .\n" + SELF, "Person.csv": PEOPLE, "Team.csv": "Team\nT1\n", "Pairs.csv": PAIRS}
    return parts_of(tar_gz(FILES | files), tmp_path)


def elements(part):
    return list(elements_of(part, _rows(part.table)))


def steps_in(script: str) -> int:
    """Steps of a script: words before a bracket, but for what is no step: predicates."""
    return len(re.findall(r"\.[A-Za-z]+\(", script.replace("__.", ".")))


def test_vertices_have_typed_values_ids_of_their_own_and_no_empty_properties(people):
    first, second, third = elements(people.vertices[0])
    assert first.id == "shop:Person:p=2F1"
    assert first.properties == {
        "id_": "p/1",
        "label_": "x",
        "Born": 1970,
        "Score": 1.5,
        "Active": True,
        "Seen": "2024-05-01T08:00:00Z",
        "Bio": 'a "b", c\nd',
        "Team": "T1",
        "ttl_": 9,
    }
    assert second.properties == {"id_": "p/2"}
    assert set(second.empty) == {"label_", "Born", "Score", "Active", "Seen", "Bio", "Team", "ttl_"}
    assert (third.id, third.properties["Score"], third.properties["Seen"]) == ("shop:Person:=C3=BC", 2000.0, "2024-05-01T00:00:00Z")
    assert (people.vertices[0].partition, people.vertices[1].partition) == ("people", "Team")


def test_an_edge_rule_applies_its_filter_takes_columns_and_fixed_values_and_passes_over_rows_without_a_key(people):
    pairs, teams = people.edges
    found = elements(pairs)
    one, two = vertex_id("shop", "Person", "p/1"), vertex_id("shop", "Person", "p/2")
    assert [(edge.source_id, edge.target_id) for edge in found] == [(one, two), (one, two), (vertex_id("shop", "Person", "ü"),) * 2]
    assert [edge.properties for edge in found] == [{"since": year, "kind": "it's $1"} for year in (2001, 2002, 7)]
    assert len({edge.id for edge in found}) == 3, "two rows of one pair are two edges"
    assert [(edge.source_id, edge.target_id) for edge in elements(teams)] == [
        (one, "shop:Team:T1"),
        (vertex_id("shop", "Person", "ü"), "shop:Team:T1"),
    ]
    assert pairs.key != teams.key


def test_ids_and_marks_are_the_same_for_the_same_input_and_differ_where_it_differs(people, tmp_path):
    def again(name="shop", **changed):
        files = {"graph_schema.yaml": "data_dir: .\n" + SELF, "Person.csv": PEOPLE, "Team.csv": "Team\nT1\n", "Pairs.csv": PAIRS}
        folder = tmp_path / f"again{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return parts_of(tar_gz(FILES | files | {name.replace("_", ".", 1): text for name, text in changed.items()}), folder, name)

    same, other = again(), again("other")
    assert [(part.key, part.content) for part in same.vertices + same.edges] == [
        (part.key, part.content) for part in people.vertices + people.edges
    ]
    assert [edge.id for part in same.edges for edge in elements(part)] == [edge.id for part in people.edges for edge in elements(part)]
    assert not {item.id for part in other.vertices for item in elements(part)} & {
        item.id for part in same.vertices for item in elements(part)
    }
    rows = again(Pairs_csv=PAIRS.replace("2001", "1999"))
    assert [part.content == before.content for part, before in zip(rows.edges, people.edges, strict=True)] == [False, True]
    assert [part.key for part in rows.edges] == [part.key for part in people.edges]


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=300), st.text(max_size=300))
def test_different_keys_have_different_ids_that_cosmos_db_takes(label, other, key, another):
    one, two = vertex_id("shop", label, key), vertex_id("shop", other, another)
    assert (one == two) is ((label, key) == (other, another))
    assert len(one) <= 255
    assert not set(one) & set("/\\?#")
    assert one.isascii()
    assert one.isprintable()


def test_values_that_json_cannot_carry_are_refused_with_their_column(tmp_path):
    order = "OrderId,ShopId,Amount\nO1,S1,1e999\n"
    parts = parts_of(small(Order_csv=order), tmp_path)
    with pytest.raises(InvalidInput, match=r"Order\.csv column Amount: 1e999"):
        elements(parts.vertices[1])


def test_the_statements_of_a_small_scenario_are_those_that_were_looked_at(tmp_path):
    parts = parts_of(small(), tmp_path)
    told = [
        {"script": statement.script, "bindings": statement.bindings, "elements": statement.elements}
        for part in (*parts.vertices, *parts.edges)
        for statement in upserts(part, elements(part), frozenset({"Colour"}) if part is parts.vertices[0] else None)
    ]
    asked = [outdated(parts.vertices[0]).drop(50), outdated(parts.edges[0]).count(1), current(parts.edges[0]).count()]
    asked += [selection.drop(50) for selection in of_other_parts("shop", parts.keys)]
    told += [{"script": statement.script, "bindings": statement.bindings} for statement in asked]
    same_as_snapshot("scenario_gremlin_statements.json", told)


def test_no_text_of_an_archive_is_in_a_script_and_each_is_a_binding(people):
    for part in (*people.vertices, *people.edges):
        for statement in upserts(part, elements(part), frozenset({"x') or g.V().drop(); ('"})):
            assert re.fullmatch(r"[a-zA-Z0-9_.,() ']+", statement.script)
            literals = set(re.findall(r"'([^']*)'", statement.script))
            plain = {item.name for item in part.properties if item.name.isidentifier()}
            assert literals <= {"id", "partitionKey", "treadle_scenario", "treadle_part", "treadle_content", "treadle_columns"} | plain
            used = set(re.findall(r"\b(?:[a-z]\d+(?:_\d+)?|lab|mark|scen|part|cols|pk|pk_to)\b", re.sub(r"'[^']*'", "", statement.script)))
            assert used == set(statement.bindings)
            json.dumps(dict(statement.bindings), allow_nan=False)


def test_batches_of_one_shape_have_one_script_so_that_the_server_need_not_read_it_anew(tmp_path):
    order = "OrderId,ShopId,Amount\n" + "".join(f"O{number},S1,{number}\n" for number in range(100))
    part = parts_of(small(Order_csv=order), tmp_path).vertices[1]
    statements = list(upserts(part, elements(part), None))
    assert sum(statement.elements for statement in statements) == 100
    assert len(statements) > 2
    assert len({statement.script for statement in statements[:-1]}) == 1


def test_every_statement_of_the_real_scenario_stays_within_the_limits_of_steps_and_script(tmp_path):
    parts = parts_of(telco("entities"), tmp_path, "telco-noc")
    for part in (*parts.vertices, *parts.edges):
        older = frozenset(f"Old{number}" for number in range(30))
        for statement in upserts(part, elements(part), older):
            assert steps_in(statement.script) <= 400
            assert len(statement.script.encode()) <= 64 * 1024


def test_the_count_of_steps_that_batches_are_made_by_is_the_real_one(people):
    for part in (*people.vertices, *people.edges):
        full = elements(part)[0]
        (statement,) = upserts(part, [full], None)
        assert steps_in(statement.script) == 3 + _steps(part, len(full.properties))


def test_long_texts_make_batches_small_and_one_too_long_for_any_goes_alone(tmp_path):
    shop = "ShopId,City\n" + "".join(f"S{number},{'x' * 100_000}\n" for number in range(1, 6))
    part = parts_of(small(Shop_csv=shop), tmp_path).vertices[0]
    statements = list(upserts(part, elements(part), None))
    assert [statement.elements for statement in statements] == [2, 2, 1]
    assert all(len(json.dumps(statement.bindings)) < BATCH_BYTES for statement in statements)


def test_a_type_with_more_properties_than_a_statement_can_set_is_refused_by_name(tmp_path):
    names = [f"c{number}" for number in range(200)]
    schema = SMALL["graph_schema.yaml"].replace("[City]", f"[{', '.join(names)}]")
    shop = ",".join(["ShopId", *names]) + "\n" + ",".join(["S1", *names]) + "\n" + ",".join(["S2", *names]) + "\n"
    parts = parts_of(small(graph_schema_yaml=schema, Shop_csv=shop), tmp_path)
    with pytest.raises(InvalidInput, match="Shop has 201 properties"):
        check_sizes(parts)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("00:00:03.9500000", 3.95),
        ("00:01:00", 60.0),
        ("1.02:00:00", 93_600.0),
        (250, 0.25),
        ("250", 0.25),
        (-5, 0.0),
        ("soon", None),
        (None, None),
        (True, None),
        ("99999999999999999999", None),
    ],
)
def test_the_wait_that_cosmos_db_asks_for_is_a_time_span_in_spite_of_its_name(value, seconds):
    assert read_time_span(value) == seconds


@pytest.mark.parametrize(
    ("code", "message", "attributes", "kind", "passing"),
    [
        (500, "", {"x-ms-status-code": 429, "x-ms-retry-after-ms": "00:00:09.0530000"}, Throttled, True),
        (200, "", {"x-ms-status-code": 429}, Throttled, True),
        (500, "ExceptionType : RequestRateTooLargeException", {}, Throttled, True),
        (500, "Unauthorized: Invalid credentials provided", {"x-ms-status-code": 401}, Unauthenticated, False),
        (401, "Username and/or password are incorrect", {}, Unauthenticated, False),
        (500, "", {"x-ms-status-code": 403}, PermissionDenied, False),
        (500, "Owner resource does not exist", {"x-ms-status-code": 404}, NotFound, False),
        (500, "", {"x-ms-status-code": 404}, NotFound, True),
        (500, "", {"x-ms-status-code": 409}, Conflict, True),
        (500, "", {"x-ms-status-code": 412}, Conflict, True),
        (500, "", {"x-ms-status-code": 1008}, Unavailable, True),
        (500, "", {"x-ms-status-code": 1009}, Unavailable, True),
        (500, "", {"x-ms-status-code": 1004}, InvalidInput, False),
        (500, "", {"x-ms-status-code": 1000}, OperationFailed, False),
        (500, "", {"x-ms-status-code": 500}, OperationFailed, True),
        (500, "The provided traverser does not map to a value", {}, OperationFailed, False),
        (597, "No such property", {}, OperationFailed, False),
        (598, "", {}, Unavailable, True),
        (777, "", {}, UnexpectedAnswer, False),
    ],
)
def test_a_refusal_means_what_the_attributes_say_before_what_the_code_says(code, message, attributes, kind, passing):
    refused = refusal_of(code, message, attributes)
    assert refused is not None
    error = error_of(refused, "write vertices Shop", attempts=2)
    assert (type(error), refused.passing) == (kind, passing)
    assert error.hint
    assert "could not write vertices Shop" in error.message


def test_an_answer_that_says_success_everywhere_is_one():
    assert refusal_of(200, "", {"x-ms-status-code": 200, "x-ms-total-request-charge": 3.2}) is None
    assert refusal_of(206, "", {}) is None
