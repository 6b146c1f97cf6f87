"""Tables, properties and creation payloads: Fabric's methods against a server that misbehaves to order."""

import pytest
from tests.unit.scripted_clients import ITEM, OP, WS
from tests.unit.scripted_server import hang_up, reply

from treadle.clients.fabric import FabricClient, LakehouseTable
from treadle.clients.quotas import Quotas
from treadle.errors import InvalidInput, OperationFailed, OutcomeUnknown, UnexpectedAnswer

LAKEHOUSE = f"/v1/workspaces/{WS}/lakehouses/{ITEM}"
STARTED = reply(202, b"null", Location=f"/v1/operations/{OP}", x_ms_operation_id=OP, Retry_After="0")
SUCCEEDED = reply(200, {"status": "Succeeded", "percentComplete": 100})
TABLE = {"type": "Managed", "name": "sites", "location": f"abfss://{WS}@onelake/{ITEM}/Tables/sites", "format": "Delta"}
ITEM_JSON = {"id": ITEM, "workspaceId": WS, "displayName": "noc", "type": "KQLDatabase", "description": ""}


@pytest.fixture
def fabric(server, authority, tokens):
    client = FabricClient(server.url, tokens, authority.ca_file, deadline_seconds=5, backoff_seconds=0.01, quotas=Quotas(10_000))
    yield client
    client.close()


def load(fabric, **how):
    fabric.load_table(WS, ITEM, "sites", path="Files/scenarios/noc/tables/sites.parquet", **how)


def test_a_table_is_loaded_by_an_operation_that_is_waited_for(server, fabric):
    server.then(STARTED, reply(200, {"status": "Running"}), SUCCEEDED)
    load(fabric)
    assert [(seen.method, seen.target) for seen in server.seen] == [
        ("POST", f"{LAKEHOUSE}/tables/sites/load"),
        ("GET", f"/v1/operations/{OP}"),
        ("GET", f"/v1/operations/{OP}"),
    ]
    assert server.seen[0].json == {
        "relativePath": "Files/scenarios/noc/tables/sites.parquet",
        "pathType": "File",
        "mode": "Overwrite",
        "formatOptions": {"format": "Parquet"},
    }


def test_a_csv_is_said_to_have_a_header(server, fabric):
    server.then(reply(200))
    load(fabric, format="Csv")
    assert server.seen[0].json["formatOptions"] == {"format": "Csv", "header": True, "delimiter": ","}


def test_a_failed_load_says_why(server, fabric):
    refused = {"errorCode": "InvalidTable", "message": "the file is no Parquet"}
    server.then(STARTED, reply(200, {"status": "Failed", "error": refused}))
    with pytest.raises(OperationFailed, match="the file is no Parquet") as raised:
        load(fabric)
    assert raised.value.details["error_code"] == "InvalidTable"


def test_overwriting_is_repeated_after_a_lost_answer_and_appending_is_not(server, fabric):
    server.then(hang_up, STARTED, SUCCEEDED)
    load(fabric)
    server.then(hang_up)
    with pytest.raises(OutcomeUnknown):
        load(fabric, mode="Append")


@pytest.mark.parametrize("name", ["", "1", "123", "a b", "a/b", "..", "sites?x", "größe", "a" * 257])
def test_a_table_that_fabric_would_refuse_is_never_sent(fabric, name):
    with pytest.raises(InvalidInput):
        fabric.load_table(WS, ITEM, name, path="Files/a.parquet")


@pytest.mark.parametrize("path", ["Tables/a", "Files", "Files/../Tables/x", "/Files/a"])
def test_a_table_is_loaded_from_files_alone(fabric, path):
    with pytest.raises(InvalidInput):
        fabric.load_table(WS, ITEM, "sites", path=path)


def test_tables_are_listed_over_all_pages(server, fabric):
    second = TABLE | {"name": "links"}
    server.then(reply(200, {"data": [TABLE], "continuationToken": "next", "continuationUri": None}), reply(200, {"data": [second]}))
    assert fabric.list_tables(WS, ITEM) == [
        LakehouseTable("sites", TABLE["location"], "Delta"),
        LakehouseTable("links", TABLE["location"], "Delta"),
    ]
    assert [seen.target for seen in server.seen] == [f"{LAKEHOUSE}/tables", f"{LAKEHOUSE}/tables?continuationToken=next"]


def test_a_creation_payload_takes_the_place_of_a_definition(server, fabric):
    server.then(reply(201, ITEM_JSON))
    payload = {"databaseType": "ReadWrite", "parentEventhouseItemId": OP}
    assert fabric.create_item(WS, name="noc", type="KQLDatabase", creation_payload=payload).item_id == ITEM
    assert server.seen[0].json["creationPayload"] == payload
    assert "definition" not in server.seen[0].json


def test_an_item_is_found_by_type_and_exact_name(server, fabric):
    server.then(reply(200, {"value": [ITEM_JSON | {"displayName": "NOC"}, ITEM_JSON]}), reply(200, {"value": []}))
    assert fabric.find_item(WS, "KQLDatabase", "noc").name == "noc"
    assert fabric.find_item(WS, "KQLDatabase", "noc") is None
    assert server.seen[0].target == f"/v1/workspaces/{WS}/items?type=KQLDatabase"


def test_properties_are_asked_where_the_type_has_them(server, fabric):
    properties = {"queryServiceUri": "https://x.kusto.fabric.microsoft.com"}
    server.then(reply(200, ITEM_JSON | {"properties": properties}), reply(200, ITEM_JSON), reply(200, []))
    assert fabric.item_properties(WS, ITEM, "KQLDatabase") == properties
    assert fabric.item_properties(WS, ITEM, "Lakehouse") == {}
    with pytest.raises(UnexpectedAnswer):
        fabric.item_properties(WS, ITEM, "Eventhouse")
    assert [seen.target.split("/")[-2] for seen in server.seen] == ["kqlDatabases", "lakehouses", "eventhouses"]
    with pytest.raises(InvalidInput):
        fabric.item_properties(WS, ITEM, "Notebook")
