"""A graph's answers as values. The examples of the vendor's pages stand here word for word."""

import json

import pytest

from treadle.clients.answers import Exchange
from treadle.clients.graph_answers import GraphEdge, GraphNode, nodes_and_edges, read_answer
from treadle.errors import InvalidInput, OperationFailed, UnexpectedAnswer

ASKED = Exchange("Fabric", "query graph", "POST", "/executeQuery")
DONE = {"code": "00000", "description": "note: successful completion", "diagnostics": {"OPERATION": "query"}}
ANN = {"oid": "1", "labels": ["Person"], "properties": {"name": "Ann"}}
BOB = {"oid": "2", "labels": ["Person"], "properties": {"name": "Bob"}}
KNOWS = {"oid": "9", "labels": ["knows"], "properties": {}}


def answered(columns, *rows, status=DONE):
    described = [{"name": name, "gqlType": kind, "jsonType": "unknown"} for name, kind in columns.items()]
    return read_answer(ASKED, {"status": status, "result": {"kind": "TABLE", "columns": described, "data": list(rows)}})


def test_rows_come_by_column_and_integers_are_integers_whatever_their_size():
    columns = {"name": "STRING", "big": "INT64", "plain": "UINT64", "nothing": "INT64"}
    found = answered(columns, {"name": "12", "big": "-9223372036854775808", "plain": 3})
    assert found.rows == ({"name": "12", "big": -(2**63), "plain": 3, "nothing": None},)
    assert [(column.name, column.gql_type) for column in found.columns] == list(columns.items())


def test_what_json_has_no_number_for_stays_a_text():
    found = answered({"x": "FLOAT64"}, {"x": "Inf"}, {"x": "NaN"}, {"x": 1.5}, {"x": "-0"})
    assert [row["x"] for row in found.rows] == ["Inf", "NaN", 1.5, 0.0]
    assert str(found.rows[3]["x"]) == "-0.0"


def test_values_of_any_type_are_unwrapped_also_inside_lists():
    found = answered(
        {"mixed": "ANY", "list": "LIST<ANY>", "ids": "LIST<INT64>"},
        {"mixed": {"gqlType": "INT32", "value": 42}, "list": [{"gqlType": "INT64", "value": "9007199254740993"}, None], "ids": ["1", 2]},
    )
    assert found.rows == ({"mixed": 42, "list": [2**53 + 1, None], "ids": [1, 2]},)


@pytest.mark.parametrize("code", ["00001", "02000"])
def test_an_omitted_result_and_no_data_are_empty_answers(code):
    body = {"status": {"code": code, "description": "note: no data"}, "result": {"kind": "NOTHING"}}
    found = read_answer(ASKED, body)
    assert (found.status, found.columns, found.rows, nodes_and_edges(found)) == (code, (), (), ((), ()))


def test_a_refusal_tells_the_place_and_the_chain_of_causes():
    status = {
        "code": "42001",
        "description": "error: syntax error or access rule violation",
        "diagnostics": {"_errorLocation": {"gqlType": "STRING", "value": "line 1, column 15"}},
        "cause": {"code": "22007", "description": "error: data exception - invalid date,\nor datetime format", "diagnostics": {}},
    }
    with pytest.raises(InvalidInput) as raised:
        read_answer(ASKED, {"status": status})
    expected = "syntax error or access rule violation at line 1, column 15; data exception - invalid date, or datetime format (42001)."
    assert raised.value.message == f"The graph refuses the query: {expected}"
    assert raised.value.details["gql_status"] == "42001"


@pytest.mark.parametrize(
    ("code", "kind"), [("22000", InvalidInput), ("42000", InvalidInput), ("G2000", InvalidInput), ("50000", OperationFailed)]
)
def test_who_is_at_fault_is_told_by_the_code(code, kind):
    with pytest.raises(kind):
        read_answer(ASKED, {"status": {"code": code, "description": "error: x"}})


def test_causes_that_never_end_are_not_followed_for_ever():
    status: dict = {"code": "42000", "description": "a"}
    inner = status
    for _ in range(50):
        inner["cause"] = inner = {"description": "a"}
    with pytest.raises(InvalidInput) as raised:
        read_answer(ASKED, {"status": status})
    assert raised.value.message.count("a;") < 10


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": {}},
        {"status": DONE, "result": {"kind": "TABLE", "columns": [{}], "data": []}},
        {"status": DONE, "result": {"kind": "TABLE", "columns": "x", "data": []}},
        {"status": DONE, "result": {"kind": "TABLE", "columns": [], "data": [1]}},
    ],
)
def test_an_answer_outside_the_contract_is_named_as_such(body):
    with pytest.raises(UnexpectedAnswer):
        read_answer(ASKED, body)


def test_nodes_edges_and_paths_are_drawn_once_each():
    edge = KNOWS | {"source": {"oid": "1"}, "destination": "2"}
    found = answered({"a": "NODE", "e": "EDGE", "p": "PATH"}, {"a": ANN, "e": edge, "p": [ANN, edge, BOB]}, {"a": ANN, "e": None})
    nodes, edges = nodes_and_edges(found)
    assert nodes == (GraphNode("1", ("Person",), {"name": "Ann"}), GraphNode("2", ("Person",), {"name": "Bob"}))
    assert edges == (GraphEdge("9", "1", "2", ("knows",)),)


def test_an_edge_of_a_path_lies_between_its_neighbours():
    assert nodes_and_edges(answered({"p": "PATH"}, {"p": ["n1", "e1", "n2"]})) == (
        (GraphNode("n1"), GraphNode("n2")),
        (GraphEdge("e1", "n1", "n2"),),
    )


def test_a_node_that_only_an_edge_names_is_drawn_by_its_id():
    nodes, edges = nodes_and_edges(answered({"e": "EDGE"}, {"e": KNOWS | {"sourceOid": 1, "targetOid": 2}}))
    assert [node.id for node in nodes] == ["1", "2"]
    assert len(edges) == 1


def test_the_fuller_of_two_descriptions_of_a_node_counts():
    nodes, _ = nodes_and_edges(answered({"r": "NODE", "n": "NODE"}, {"r": "1", "n": ANN}))
    assert nodes == (GraphNode("1", ("Person",), {"name": "Ann"}),)


def test_nodes_are_found_in_texts_that_to_json_string_made():
    text = '{"labels":["station"],"oid":"1688849860263937","properties":{"stationFrom":"Holborn","stationTo":"Chancery_Lane"}}'
    nodes, edges = nodes_and_edges(answered({"station": "STRING"}, {"station": text}))
    assert nodes == (GraphNode("1688849860263937", ("station",), {"stationFrom": "Holborn", "stationTo": "Chancery_Lane"}),)
    assert edges == ()


@pytest.mark.parametrize("text", ["{", '{"oid"', json.dumps([1]), '{"oid": 1', '{"a": "oid"}', "{" * 100_000 + '"oid"'])
def test_texts_that_only_look_so_are_values(text):
    assert nodes_and_edges(answered({"x": "STRING"}, {"x": text})) == ((), ())


def test_an_edge_with_one_end_is_not_drawn():
    assert nodes_and_edges(answered({"e": "EDGE"}, {"e": KNOWS | {"source": "1"}})) == ((), ())
