"""Our clients of tables, graphs and eventhouses against the sandbox: what they are for, and through the faults that they are meant to survive."""

import io
import json
import uuid

import polars as pl
import pytest

from treadle.clients.entra import credential
from treadle.clients.fabric import FabricClient, ItemId, WorkspaceId
from treadle.clients.graph_answers import nodes_and_edges
from treadle.clients.kusto import KustoClient
from treadle.clients.onelake import OneLakeClient
from treadle.clients.quotas import Quotas
from treadle.errors import Conflict, InvalidInput, NotFound, OperationFailed

SITES = pl.DataFrame({"SiteId": ["S1", "S2", "S3"], "City": ["Sydney", "Perth", "Sydney"], "Height": [10, 20, None]})
LINKS = pl.DataFrame({"LinkId": ["L1", "L2"], "From": ["S1", "S2"], "To": ["S2", "S3"]})


@pytest.fixture
def who(sandbox):
    mine = sandbox.credentials
    return credential(
        mine.tenant_id, mine.client_id, mine.client_secret, authority_url=sandbox.endpoints.entra_url, ca_file=sandbox.endpoints.ca_file
    )


@pytest.fixture
def client(sandbox, who):
    made = FabricClient(
        sandbox.endpoints.fabric_url, who, sandbox.endpoints.ca_file, deadline_seconds=8, backoff_seconds=0.02, quotas=Quotas(10_000)
    )
    yield made
    made.close()
    sandbox.faults.clear()


@pytest.fixture
def workspace(client):
    return WorkspaceId(client.create_workspace(f"scenarios {uuid.uuid4()}").workspace_id)


@pytest.fixture
def lakehouse(client, workspace):
    return ItemId(client.create_item(workspace, name="lakehouse", type="Lakehouse").item_id)


@pytest.fixture
def lake(sandbox, who, workspace, lakehouse):
    made = OneLakeClient(sandbox.endpoints.dfs_url, workspace, lakehouse, who, sandbox.endpoints.ca_file)
    yield made
    made.close()


@pytest.fixture
def load(client, lake, workspace, lakehouse):
    def bring(name, frame):
        written = io.BytesIO()
        frame.write_parquet(written)
        lake.upload(f"Files/tables/{name}.parquet", written.getvalue())
        client.load_table(workspace, lakehouse, name, path=f"Files/tables/{name}.parquet")

    return bring


@pytest.fixture
def graph(client, workspace, lakehouse, load):
    """A graph model over two tables, not refreshed yet."""
    load("Site", SITES)
    load("Link", LINKS)
    locations = {table.name: table.location for table in client.list_tables(workspace, lakehouse)}
    parts = {path: json.dumps(content).encode() for path, content in definition(locations).items()}
    return ItemId(client.create_item(workspace, name="network", type="GraphModel", parts=parts).item_id)


def definition(locations):
    sources = [{"name": f"{name}_Table", "type": "DeltaTable", "properties": {"path": path}} for name, path in locations.items()]
    mappings = [{"propertyName": name, "sourceColumn": name} for name in SITES.columns]
    node = {"id": str(uuid.uuid4()), "nodeTypeAlias": "Site_nodeType", "dataSourceName": "Site_Table", "propertyMappings": mappings}
    edge = {
        "id": str(uuid.uuid4()),
        "edgeTypeAlias": "linked_edgeType",
        "dataSourceName": "Link_Table",
        "sourceNodeKeyColumns": ["From"],
        "destinationNodeKeyColumns": ["To"],
        "propertyMappings": [{"propertyName": "LinkId", "sourceColumn": "LinkId"}],
    }
    types = {"SiteId": "STRING", "City": "STRING", "Height": "INT"}
    node_type = {
        "alias": "Site_nodeType",
        "labels": ["Site"],
        "primaryKeyProperties": ["SiteId"],
        "properties": [{"name": name, "type": kind} for name, kind in types.items()],
    }
    edge_type = {
        "alias": "linked_edgeType",
        "labels": ["linked"],
        "sourceNodeType": {"alias": "Site_nodeType"},
        "destinationNodeType": {"alias": "Site_nodeType"},
        "properties": [{"name": "LinkId", "type": "STRING"}],
    }
    return {
        "dataSources.json": {"dataSources": sources},
        "graphDefinition.json": {"nodeTables": [node], "edgeTables": [edge]},
        "graphType.json": {"nodeTypes": [node_type], "edgeTypes": [edge_type]},
        "stylingConfiguration.json": {"modelLayout": {"positions": {}, "styles": {}, "pan": {"x": 0, "y": 0}, "zoomLevel": 1}},
    }


def refresh(client, workspace, graph):
    return client.wait_for_refresh(workspace, graph, client.refresh_graph(workspace, graph).job_id)


def test_a_table_is_loaded_listed_and_loaded_again(client, workspace, lakehouse, load):
    assert client.list_tables(workspace, lakehouse) == []
    load("Site", SITES)
    load("Site", SITES)
    (table,) = client.list_tables(workspace, lakehouse)
    assert (table.name, table.format, table.location.endswith("/Tables/Site")) == ("Site", "Delta", True)
    assert client.item_properties(workspace, lakehouse, "Lakehouse")["oneLakeTablesPath"].endswith("/Tables")


def test_a_file_that_is_no_table_fails_in_words(client, lake, workspace, lakehouse):
    lake.upload("Files/tables/bad.parquet", b"no parquet")
    with pytest.raises((OperationFailed, InvalidInput)):
        client.load_table(workspace, lakehouse, "bad", path="Files/tables/bad.parquet")


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_a_load_survives_a_lost_connection(sandbox, client, workspace, lakehouse, load, kind):
    sandbox.faults.script("fabric.LoadTable*", kind)
    load("Site", SITES)
    assert [table.name for table in client.list_tables(workspace, lakehouse)] == ["Site"]


def test_a_graph_is_refreshed_and_answers_in_nodes_edges_and_numbers(client, workspace, graph):
    refresh(client, workspace, graph)
    counted = client.execute_query(workspace, graph, "MATCH (s:Site) RETURN s.City AS city, count(*) AS n ORDER BY city")
    assert counted.rows == ({"city": "Perth", "n": 1}, {"city": "Sydney", "n": 2})
    drawn = client.execute_query(workspace, graph, "MATCH (a:Site)-[e:linked]->(b:Site) RETURN a, e, b")
    nodes, edges = nodes_and_edges(drawn)
    by_id = {node.id: node.properties["SiteId"] for node in nodes}
    assert sorted(by_id.values()) == ["S1", "S2", "S3"]
    assert sorted((by_id[edge.source], by_id[edge.target], edge.labels) for edge in edges) == [
        ("S1", "S2", ("linked",)),
        ("S2", "S3", ("linked",)),
    ]
    assert client.execute_query(workspace, graph, "MATCH (s:Site {City: 'Hobart'}) RETURN s.SiteId").rows == ()
    assert [kind["labels"] for kind in client.queryable_graph_type(workspace, graph)["nodeTypes"]] == [["Site"]]


def test_a_query_that_is_wrong_is_told_in_the_engines_words(client, workspace, graph):
    refresh(client, workspace, graph)
    with pytest.raises(InvalidInput, match="The graph refuses the query"):
        client.execute_query(workspace, graph, "MATCH (s:Site RETURN s")


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "deduped", "refresh_in_progress", "lost_location"])
def test_a_refresh_survives_what_may_come_between(sandbox, client, workspace, graph, kind):
    sandbox.faults.script("fabric.RunOnDemandItemJob", kind)
    refresh(client, workspace, graph)
    assert client.execute_query(workspace, graph, "MATCH (s:Site) RETURN count(*) AS n").rows == ({"n": 3},)


def test_a_refresh_that_fails_says_why(sandbox, client, workspace, graph):
    sandbox.faults.script("fabric.RunOnDemandItemJob", "job_failed", code="DataSourceSchemaFetchFailed", message="no such table")
    with pytest.raises(OperationFailed, match="no such table"):
        refresh(client, workspace, graph)


def test_an_empty_model_cannot_be_refreshed(client, workspace):
    empty = ItemId(client.create_item(workspace, name="empty", type="GraphModel").item_id)
    with pytest.raises((InvalidInput, Conflict, OperationFailed)):
        refresh(client, workspace, empty)


@pytest.fixture
def kusto(sandbox, who, client, workspace):
    house = client.create_item(workspace, name="eventhouse", type="Eventhouse").item_id
    payload = {"databaseType": "ReadWrite", "parentEventhouseItemId": house}
    database = client.create_item(workspace, name="telemetry", type="KQLDatabase", creation_payload=payload)
    properties = client.item_properties(workspace, ItemId(database.item_id), "KQLDatabase")
    assert properties["parentEventhouseItemId"] == house
    host = sandbox.endpoints.kusto_url.removeprefix("https://")
    made = KustoClient(properties["queryServiceUri"], "telemetry", who, sandbox.endpoints.ca_file, hosts=[host], backoff_seconds=0.02)
    yield made
    made.close()


def test_an_eventhouse_takes_commands_and_answers_queries(kusto):
    kusto.mgmt(".create-merge table Alerts (AlertId: string, At: datetime, Severity: int)")
    kusto.mgmt(".ingest inline into table Alerts <|\nA1,2026-01-01T00:00:00Z,3\nA2,2026-01-02T00:00:00Z,5", safety="unsafe")
    assert kusto.query("Alerts | count") == [{"Count": 2}]
    assert [row["AlertId"] for row in kusto.query("Alerts | where Severity > 3 | project AlertId")] == ["A2"]
    assert "Alerts" in {row["TableName"] for row in kusto.mgmt(".show tables")}


def test_an_eventhouse_refuses_in_its_own_words(kusto):
    with pytest.raises((InvalidInput, NotFound)) as raised:
        kusto.query("NoSuchTable | count")
    assert "NoSuchTable" in raised.value.message


def test_an_eventhouse_that_throttles_is_waited_for(sandbox, kusto):
    sandbox.faults.script("kusto.*", "status", status=429, retry_after_seconds=0)
    assert kusto.mgmt(".show tables") == []
