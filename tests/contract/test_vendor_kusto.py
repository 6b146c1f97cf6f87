"""The unmodified azure-kusto-data against an eventhouse: it signs in by azure-identity, manages, queries and reads errors."""

import datetime as dt
import json

import pytest
from azure.identity import ClientSecretCredential
from azure.kusto.data import ClientRequestProperties, KustoClient, KustoConnectionStringBuilder
from azure.kusto.data._cloud_settings import CloudSettings
from azure.kusto.data.exceptions import KustoApiError, KustoMultiApiError, KustoServiceError, KustoThrottlingError
from azure.kusto.data.response import WellKnownDataSet
from tests.contract.kusto_trials import KustoCaller
from tests.contract.onelake_place import open_place


@pytest.fixture
def house(fabric):
    house = KustoCaller(fabric, fabric.workspace())
    yield house
    fabric.call("DELETE", f"/workspaces/{house.workspace}", 200)


@pytest.fixture
def client(house, sandbox, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(sandbox.endpoints.ca_file))
    monkeypatch.setenv("NO_PROXY", "localhost")
    known, ends = sandbox.credentials, sandbox.endpoints
    credential = ClientSecretCredential(
        known.tenant_id,
        known.client_id,
        known.client_secret,
        authority=ends.entra_url,
        disable_instance_discovery=True,
        connection_verify=str(ends.ca_file),
    )
    CloudSettings._cloud_cache.clear()
    with KustoClient(KustoConnectionStringBuilder.with_azure_token_credential(house.url, credential)) as client:
        yield client


def test_it_manages_ingests_and_queries(client, house):
    client.execute_mgmt(house.name, ".create-merge table T (Id:long, At:datetime, Took:timespan, Body:dynamic, Price:decimal)")
    client.execute_mgmt(house.name, '.ingest inline into table T <|\n1,2026-02-04T02:30:00.5Z,01:02:03,"{""a"":1}",2.5\n')
    (table,) = client.execute_query(house.name, "T | take 10").primary_results
    row = table[0]
    assert row["At"] == dt.datetime(2026, 2, 4, 2, 30, 0, 500_000, tzinfo=dt.UTC)
    assert row["Took"] == dt.timedelta(hours=1, minutes=2, seconds=3)
    assert (row["Id"], row["Body"], str(row["Price"])) == (1, {"a": 1}, "2.5")


def test_it_reads_the_status_of_a_query(client, house):
    answer = client.execute(house.name, "print x = 1")
    assert (answer.errors_count, answer.get_exceptions()) == (0, [])
    assert [table.table_kind for table in answer] == [
        WellKnownDataSet.QueryProperties, WellKnownDataSet.PrimaryResult, WellKnownDataSet.QueryCompletionInformation,
    ]  # fmt: skip
    properties = ClientRequestProperties()
    properties.client_request_id = "mine;1"
    answer = client.execute(house.name, "print x = 1", properties)
    assert answer[WellKnownDataSet.QueryCompletionInformation.value][0]["ClientRequestId"] == "mine;1"


def test_it_shows_errors_in_its_own_way(client, house):
    with pytest.raises(KustoApiError) as found:
        client.execute_query(house.name, "Nothing | take 1")
    assert found.value.is_semantic_error()
    assert found.value.get_api_error().permanent
    with pytest.raises(KustoApiError) as found:
        client.execute_query(house.name, "print 1 | join kind=inner (print 2) on x")
    assert found.value.get_api_error().code == "NotModelled"
    with pytest.raises(KustoApiError, match="was not found"):
        client.execute_query("no database", "print 1")
    properties = ClientRequestProperties()
    properties.set_option("truncationmaxrecords", 1)
    client.execute_mgmt(house.name, ".create table T (a:int)")
    client.execute_mgmt(house.name, ".ingest inline into table T <|\n1\n2\n")
    with pytest.raises(KustoMultiApiError, match="exceeded the internal record count limit"):
        client.execute_query(house.name, "T", properties)


def test_it_hears_of_throttling_and_of_a_refused_token(client, house, sandbox):
    sandbox.faults.script("kusto.Query", "status", status=429)
    with pytest.raises(KustoThrottlingError):
        client.execute_query(house.name, "print 1")
    sandbox.faults.script("kusto.Query", "token_expired")
    with pytest.raises(KustoServiceError, match="401"):
        client.execute_query(house.name, "print 1")


def test_it_streams_a_result(client, house):
    client.execute_mgmt(house.name, ".create table T (a:long)")
    client.execute_mgmt(house.name, ".ingest inline into table T <|\n" + "\n".join(str(number) for number in range(5000)))
    answer = client.execute_streaming_query(house.name, "T | order by a asc")
    (rows,) = [[row["a"] for row in table] for table in answer.iter_primary_results()]
    assert rows == list(range(5000))


def test_it_ingests_a_file_of_onelake_once(client, house, fabric, sandbox):
    lakehouse = fabric.lakehouse(house.workspace)
    (sandbox.lake.path_of(house.workspace, lakehouse) / "Files" / "a.csv").write_text("Id,Name\n1,Ann\n2,Bob\n")
    uri = f"abfss://{house.workspace}@onelake.dfs.fabric.microsoft.com/{lakehouse}/Files/a.csv;impersonate"
    client.execute_mgmt(house.name, ".create-merge table T (Name:string, Id:int)")
    mapping = json.dumps([{"column": "Id", "Properties": {"Ordinal": "0"}}, {"column": "Name", "Properties": {"Ordinal": "1"}}])
    client.execute_mgmt(house.name, f".create-or-alter table T ingestion csv mapping 'm' '{mapping}'")
    command = f""".ingest into table T (h'{uri}') with (format='csv', ignoreFirstRecord=true, ingestionMappingReference='m',
                  tags='["ingest-by:1"]', ingestIfNotExists='["1"]')"""
    for _ in range(2):
        client.execute_mgmt(house.name, command)
    assert [row.to_list() for row in client.execute_query(house.name, "T | order by Id asc").primary_results[0]] == [["Ann", 1], ["Bob", 2]]


BY_MICROSOFTS_NAMES = """
import json, os
os.environ["HTTPS_PROXY"] = os.environ["PROXY"]
from azure.kusto.data import KustoClient, KustoConnectionStringBuilder
url = f"https://{os.environ['EVENTHOUSE'].replace('-', '')}.z0.kusto.fabric.microsoft.com"
signs_in = KustoConnectionStringBuilder.with_aad_application_key_authentication(
    url, os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"], os.environ["TENANT"]
)
with KustoClient(signs_in) as client:
    rows = [row["DatabaseName"] for row in client.execute_mgmt("", ".show databases").primary_results[0]]
print(json.dumps(rows))
"""


def test_it_finds_an_eventhouse_by_microsofts_names_without_any_setting(sandbox, fabric):
    with open_place(sandbox) as place:
        house = KustoCaller(fabric, place.workspace_id)
        assert place.run_client(f"import os\nos.environ['EVENTHOUSE'] = {house.eventhouse!r}\n" + BY_MICROSOFTS_NAMES) == [house.name]
