"""The graph model of a scenario: node and edge types, the tables that fill them, and filters."""

import io
from pathlib import Path

import pytest
from tests.unit.scenario_archives import SCHEMA, same_as_snapshot, small, telco

from treadle.flows.scenario.check import Checked, check_scenario
from treadle.flows.scenario.graph_model import graph_model_parts


def parts(found: Checked) -> dict[str, dict]:
    locations = {table.name: f"abfss://ws@onelake.dfs.fabric.microsoft.com/lh/Tables/{table.name}" for table in found.tables}
    made = graph_model_parts(found.schema, found.tables, locations, "telco_noc_graph", found.manifest.node_styles)
    return {part.path: part.content for part in made}


@pytest.fixture
def network(tmp_path: Path) -> Checked:
    return check_scenario(io.BytesIO(telco("entities")), tmp_path)


def test_the_definition_of_the_real_scenario_is_the_one_that_was_looked_at(network):
    same_as_snapshot("scenario_telco_noc_graph_model.json", parts(network))


def test_every_part_refers_to_types_and_sources_that_are_there(network):
    found = parts(network)
    nodes = {item["alias"]: item for item in found["graphType.json"]["nodeTypes"]}
    edges = {item["alias"]: item for item in found["graphType.json"]["edgeTypes"]}
    sources = {item["name"]: item["properties"]["path"] for item in found["dataSources.json"]["dataSources"]}
    assert (len(nodes), len(edges), len(sources)) == (8, 9, 10)
    tables = found["graphDefinition.json"]
    assert {table["nodeTypeAlias"] for table in tables["nodeTables"]} == set(nodes)
    assert {table["edgeTypeAlias"] for table in tables["edgeTables"]} == set(edges)
    assert {table["dataSourceName"] for table in tables["nodeTables"] + tables["edgeTables"]} == set(sources)
    assert {end["alias"] for edge in edges.values() for end in (edge["sourceNodeType"], edge["destinationNodeType"])} <= set(nodes)
    ids = [table["id"] for table in tables["nodeTables"] + tables["edgeTables"]]
    assert len(set(ids)) == len(ids) == 8 + 11
    for table in tables["edgeTables"]:
        named = {item["name"] for item in edges[table["edgeTypeAlias"]]["properties"]}
        assert {mapping["propertyName"] for mapping in table["propertyMappings"]} <= named


def test_labels_stay_those_of_the_schema_so_that_queries_read_as_it_does(network):
    edges = parts(network)["graphType.json"]["edgeTypes"]
    assert sorted({label for edge in edges for label in edge["labels"]}) == [
        "aggregates_to", "backhauls_via", "connects_to", "depends_on", "governed_by", "peers_over", "routes_via",
    ]  # fmt: skip
    assert sum(edge["labels"] == ["depends_on"] for edge in edges) == 3


def test_both_ends_of_a_link_are_tables_of_one_edge_type_and_filters_are_kept(network):
    tables = parts(network)["graphDefinition.json"]["edgeTables"]
    links = [table for table in tables if table["edgeTypeAlias"] == "TransportLink_connects_to_CoreRouter_edgeType"]
    assert [table["destinationNodeKeyColumns"] for table in links] == [["SourceRouterId"], ["TargetRouterId"]]
    assert [table["propertyMappings"] for table in links] == [[], []]  # a fixed value has no column
    [hops] = [table for table in tables if "routes_via" in table["edgeTypeAlias"]]
    assert hops["filter"] == {"operator": "Equal", "columnName": "NodeType", "value": "TransportLink"}
    assert hops["propertyMappings"] == [{"propertyName": "HopOrder", "sourceColumn": "HopOrder"}]
    peers = [table for table in tables if "peers_over" in table["edgeTypeAlias"]]
    assert [table["propertyMappings"][0]["sourceColumn"] for table in peers] == ["ASNumberA", "ASNumberB"]


def test_a_negated_filter_and_the_types_of_a_graph(tmp_path):
    schema = SCHEMA + "    properties: [{name: paid, column: Amount}]\n    filter: {column: Amount, value: '2', negate: true}\n"
    found = parts(check_scenario(io.BytesIO(small(graph_schema_yaml=schema)), tmp_path))
    [table] = found["graphDefinition.json"]["edgeTables"]
    assert table["filter"]["operator"] == "NotEqual"
    assert found["graphType.json"]["edgeTypes"][0]["properties"] == [{"name": "paid", "type": "FLOAT"}]


def test_sizes_come_from_the_scenarios_own_styles(network):
    layout = parts(network)["stylingConfiguration.json"]["modelLayout"]
    assert layout["styles"]["CoreRouter_nodeType"] == {"size": 28}
    assert len({tuple(place.values()) for place in layout["positions"].values()}) == 8
