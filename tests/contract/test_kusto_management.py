"""Management commands of the eventhouses' query service: tables, mappings, ingestion and what shows them, really carried out."""

import ssl
import subprocess
import sys
import uuid

import httpx2
import pytest
from tests.contract.fabric_trials import FabricCaller
from tests.contract.kusto_trials import KUSTO, KustoCaller

from treadle.sandbox.clock import Clock
from treadle.sandbox.kusto.store import Store
from treadle.sandbox.server import Sandbox

MAPPING = """[{"column":"Name","DataType":"string","Properties":{"Ordinal":"1"}},{"column":"Id","Properties":{"Ordinal":"0"}}]"""
ZERO = str(uuid.UUID(int=0))


@pytest.fixture
def house(fabric):
    house = KustoCaller(fabric, fabric.workspace())
    yield house
    fabric.call("DELETE", f"/workspaces/{house.workspace}", 200)


@pytest.fixture
def lake(fabric, house):
    """Puts a file into a lakehouse of the workspace and returns its connection string."""
    lakehouse = fabric.lakehouse(house.workspace)

    def put(name, content):
        (fabric.sandbox.lake.path_of(house.workspace, lakehouse) / "Files" / name).write_bytes(content.encode())
        return f"abfss://{house.workspace}@onelake.dfs.fabric.microsoft.com/{lakehouse}/Files/{name};impersonate"

    return put


def test_a_table_is_made_kept_extended_altered_and_dropped(house):
    (made,) = house.manage('.create table T (Id:int, Name:string) with (docstring = "People", folder = "Demo")')
    assert (made["TableName"], made["Folder"], made["DocString"], made["DatabaseName"]) == ("T", "Demo", "People", "telemetry")
    assert '"CslType":"int"' in made["Schema"]
    house.manage(".ingest inline into table T <|\n1,one\n")
    house.manage(".create table T (Other:string)")
    house.manage(".create-merge table T (Name:string, Share:real)")
    (shown,) = house.manage(".show table T cslschema")
    assert shown["Schema"] == "Id:int,Name:string,Share:real"
    assert house.query("T") == [[1, "one", None]]
    house.refused("/v1/rest/mgmt", ".alter table T (Share:real, Note:string, Id:long)")
    house.manage(".alter table T (Share:real, Note:string, Id:int)")
    assert house.query("T") == [[None, "", 1]]
    assert house.manage(".drop table T") == []
    house.manage(".drop table T ifexists")
    assert house.refused("/v1/rest/mgmt", ".drop table T") == ("BadRequest_EntityNotFound", "Entity ID 'T' of kind 'Table' was not found.")


@pytest.mark.parametrize("command", [".create table", ".create-merge table"])
@pytest.mark.parametrize("name", ["T\\'] (x:string) | .drop database", "a/b", "a:b", "tab\\there", "", "x" * 1025])
def test_a_name_outside_the_rules_is_refused_however_it_is_quoted(house, command, name):
    for given in (f"['{name}'] (a:int)", f"T (['{name}']:int)"):
        code, said = house.refused("/v1/rest/mgmt", f"{command} {given}")
        assert (code, "is not valid" in said) == ("General_BadRequest", True)
    assert house.manage(".show tables") == []
    house.manage(f"{command} ['Größe 1.2-b_'] (['Größe 1.2-b_']:int)")


def test_a_type_cannot_be_merged_into_another(house):
    house.manage(".create-merge table T (a:int)")
    code, said = house.refused("/v1/rest/mgmt", ".create-merge table T (a:string, b:int)")
    assert code == "BadRequest_ColumnTypeMismatch"
    assert "'a' of table 'T' is of type int" in said
    (schema,) = house.manage(".show table T cslschema")
    assert schema["Schema"] == "a:int"


def test_names_count_their_case_and_may_be_quoted(house):
    house.manage(".create table ['my table'] (['a b']:int)")
    house.manage(".create table ['My Table'] (x:string)")
    assert {row["TableName"] for row in house.manage(".show tables")} == {"my table", "My Table"}
    house.manage(".ingest inline into table ['my table'] <| 7")
    assert house.query("['my table'] | project ['a b']") == [[7]]


def test_a_mapping_is_made_altered_shown_and_used(house):
    house.manage(".create table T (Id:int, Name:string)")
    (made,) = house.manage(f".create-or-alter table T ingestion csv mapping 'm' '{MAPPING}'")
    assert (made["Name"], made["Kind"], made["Table"]) == ("m", "Csv", "T")
    assert house.refused("/v1/rest/mgmt", f".create table T ingestion csv mapping 'm' '{MAPPING}'")[0] == "BadRequest_EntityAlreadyExists"
    house.manage('.create-or-alter table T ingestion csv mapping "m"\n\'[\'\n\'{"column":"Name","Properties":{"Ordinal":"0"}}\'\n\']\'')
    assert house.manage(".show table T ingestion csv mapping 'm'")[0]["Mapping"] == '[{"column": "Name", "Properties": {"Ordinal": "0"}}]'
    assert len(house.manage(".show table T ingestion mappings")) == len(house.manage(".show table T ingestion csv mappings")) == 1
    house.manage(".ingest inline into table T with (ingestionMappingReference = 'm') <|only")
    assert house.query("T") == [[None, "only"]]
    assert (
        house.refused("/v1/rest/mgmt", ".ingest inline into table T with (csvMappingReference = 'n') <| a")[0]
        == "BadRequest_EntityNotFound"
    )
    assert house.manage(".drop table T ingestion csv mapping 'm'") == []


@pytest.mark.parametrize(
    "mapping", ["[]", "nonsense", '[{"Properties":{"Ordinal":"0"}}]', '[{"column":"a"}]', '[{"column":"a","Properties":{"Ordinal":"x"}}]']
)
def test_a_mapping_that_makes_no_sense_is_refused(house, mapping):
    house.manage(".create table T (a:int)")
    assert house.refused("/v1/rest/mgmt", f".create table T ingestion csv mapping 'm' '{mapping}'")[0] == "BadRequest_InvalidMapping"


def test_inline_rows_are_read_as_csv(house):
    """The vendor's example."""
    house.manage(".create table Purchases (SKU:string, Quantity:long)")
    data = 'Shoes,1000\nWide Shoes,50\n"Coats black",20\n"Coats with ""quotes""",5\n'
    ((extent,),) = [row.values() for row in house.manage(f".ingest inline into table Purchases <|\n{data}")]
    assert uuid.UUID(extent).int
    assert house.query("Purchases | order by Quantity asc") == [
        ['Coats with "quotes"', 5],
        ["Coats black", 20],
        ["Wide Shoes", 50],
        ["Shoes", 1000],
    ]
    assert house.manage(".ingest inline into table Purchases <|\n")[0]["ExtentId"] == ZERO


def test_each_type_is_read_and_what_does_not_fit_is_null(house):
    house.manage(".create table T (s:string, b:bool, i:int, l:long, r:real, c:decimal, d:datetime, t:timespan, g:guid, j:dynamic)")
    good = 'x,true,1,9007199254740993,1.5e-3,12.50,2026-02-04T02:30:00.123+02:00,1.02:03:04.5,74be27de-1e4e-49d9-b579-fe0b331d3642,"{""a"":[1,null]}"'
    bad = ",maybe,1.5,99999999999999999999,x,x,x,x,x,\n"
    house.manage(f".ingest inline into table T <|\n{good}\n{bad}")
    rows = house.query("T | order by s desc")
    guid = "74be27de-1e4e-49d9-b579-fe0b331d3642"
    assert rows[0] == [
        "x",
        True,
        1,
        9007199254740993,
        0.0015,
        "12.5",
        "2026-02-04T00:30:00.1230000Z",
        "1.02:03:04.5000000",
        guid,
        {"a": [1, None]},
    ]
    assert rows[1] == ["", *[None] * 9]
    assert house.types("T") == {
        "s": "string", "b": "bool", "i": "int", "l": "long", "r": "real", "c": "decimal", "d": "datetime", "t": "timespan", "g": "guid", "j": "dynamic",
    }  # fmt: skip


def test_a_file_of_onelake_is_ingested_with_header_and_mapping(house, lake):
    house.manage(".create table T (Id:int, Name:string, Extra:real)")
    house.manage(f".create table T ingestion csv mapping 'm' '{MAPPING}'")
    uri = lake("people.csv", "Id,Name\n1,Ann\n2,Bob\n")
    (row,) = house.manage(f".ingest into table T (h'{uri}') with (format='csv', ignoreFirstRecord=true, ingestionMappingReference='m')")
    assert uuid.UUID(row["ExtentId"]).int
    assert (row["ItemLoaded"], row["HasErrors"]) == (uri.removesuffix(";impersonate"), False)
    assert house.query("T | order by Id asc") == [[1, "Ann", None], [2, "Bob", None]]


def test_the_same_file_is_reached_by_https_and_by_the_sandboxs_own_address(house, lake, sandbox):
    house.manage(".create table T (Id:int)")
    uri = lake("a.csv", "1\n")
    path = uri.removeprefix("abfss://").replace("@onelake.dfs.fabric.microsoft.com", "")
    house.manage(f".ingest into table T ('https://onelake.dfs.fabric.microsoft.com/{path}', '{sandbox.endpoints.dfs_url}/{path}')")
    assert house.query("T | count") == [[2]]


def test_a_tag_makes_an_ingestion_safe_to_repeat(house, lake):
    house.manage(".create table T (Id:int)")
    uri = lake("a.csv", "1\n2\n")
    command = f""".ingest into table T ('{uri}') with (tags='["ingest-by:f00","drop-by:x"]', ingestIfNotExists='["f00"]')"""
    first, second = house.manage(command)[0], house.manage(command)[0]
    assert uuid.UUID(first["ExtentId"]).int
    assert second["ExtentId"] == ZERO
    assert house.query("T | count") == [[2]]
    (extent,) = house.manage(".show table T extents where tags has 'ingest-by:f00' and tags contains 'DROP'")
    assert (extent["RowCount"], extent["Tags"]) == (2, "ingest-by:f00\r\ndrop-by:x")
    assert house.manage(".show table T extents where tags has 'f00'") == []


def test_extents_are_dropped_by_tag(house):
    house.manage(".create table T (Id:int)")
    house.manage(".ingest inline into table T with (tags='[\"drop-by:old\"]') <| 1")
    house.manage(".ingest inline into table T <| 2")
    dropped = house.manage(".drop extents <| .show table T extents where tags has 'drop-by:old'")
    assert len(dropped) == 1
    assert house.query("T") == [[2]]


def test_details_count_rows_and_extents_and_clearing_leaves_none(house):
    house.manage(".create table T (Id:int)")
    for _ in range(2):
        house.manage(".ingest inline into table T <|\n1\n2\n")
    (details,) = house.manage(".show table T details")
    assert (details["TotalRowCount"], details["TotalExtents"]) == (4, 2)
    assert details["MinExtentsCreationTime"] <= details["MaxExtentsCreationTime"]
    house.manage(".clear table T data")
    assert house.manage(".show tables details | project TableName, TotalRowCount") == [{"TableName": "T", "TotalRowCount": 0}]
    assert house.query("T | count") == [[0]]


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("1,2\n3\n", "Stream_WrongNumberOfFields", "(line 2)"),
        ('1,2\n3,"x\n', "Stream_ClosingQuoteMissing", "(line 2)"),
    ],
)
def test_data_that_cannot_be_read_leave_the_table_as_it_was(house, lake, content, code, said):
    house.manage(".create table T (a:int, b:string)")
    good, bad = lake("good.csv", "1,2\n"), lake("bad.csv", content)
    found, message = house.refused("/v1/rest/mgmt", f".ingest into table T ('{good}', '{bad}')")
    assert found == code
    assert said in message
    assert "bad.csv" in message
    assert house.query("T | count") == [[0]]


def test_sources_that_are_not_there_or_say_no_identity_are_refused(house, lake):
    house.manage(".create table T (a:int)")
    uri = lake("a.csv", "1\n")
    for other, code in {
        uri.replace("a.csv", "b.csv"): "Download_SourceNotFound",
        uri.replace(house.workspace, str(uuid.uuid4())): "Download_SourceNotFound",
        uri.removesuffix(";impersonate"): "Download_Forbidden",
    }.items():
        assert house.refused("/v1/rest/mgmt", f".ingest into table T ('{other}')")[0] == code
    elsewhere = "https://contoso.blob.core.windows.net/a/b.csv;impersonate"
    assert house.refused("/v1/rest/mgmt", f".ingest into table T ('{elsewhere}')", expect=501)[0] == "NotModelled"


def test_databases_schema_and_version_are_shown(house, fabric):
    payload = {"databaseType": "ReadWrite", "parentEventhouseItemId": house.eventhouse}
    fabric.finished(fabric.post(f"/workspaces/{house.workspace}/kqlDatabases", {"displayName": "second", "creationPayload": payload}))
    assert [(row["DatabaseName"], row["IsCurrent"]) for row in house.manage(".show cluster databases")] == [
        ("telemetry", True),
        ("second", False),
    ]
    assert house.manage(".show databases | where IsCurrent | project DatabaseName", db="second") == [{"DatabaseName": "second"}]
    house.manage(".create table T (Id:int, At:datetime)")
    rows = house.manage(".show database telemetry schema")
    assert [(row["TableName"], row["ColumnName"], row["ColumnType"]) for row in rows] == [
        ("", "", ""), ("T", "", ""), ("T", "Id", "System.Int32"), ("T", "At", "System.DateTime"),
    ]  # fmt: skip
    assert rows[0]["Version"] == "v1.1"
    assert '"OrderedColumns"' in house.manage(".show database schema as json")[0]["DatabaseSchema"]
    assert house.manage(".show version")[0]["ServiceType"] == "Engine"
    assert house.manage(".show table T")[0] == {"AttributeName": "Id", "AttributeType": "System.Int32"}


def test_databases_do_not_see_each_others_tables(house, fabric):
    payload = {"databaseType": "ReadWrite", "parentEventhouseItemId": house.eventhouse}
    fabric.finished(fabric.post(f"/workspaces/{house.workspace}/kqlDatabases", {"displayName": "second", "creationPayload": payload}))
    house.manage(".create table T (Id:int)")
    assert house.manage(".show tables", db="second") == []
    assert house.manage(".show tables", db=house.database)[0]["TableName"] == "T"
    assert house.refused("/v1/rest/mgmt", ".show tables", db="third")[0] == "BadRequest_EntityNotFound"
    other = KustoCaller(fabric, house.workspace, "other")
    assert other.refused("/v1/rest/mgmt", ".show tables", db="telemetry")[0] == "BadRequest_EntityNotFound"


@pytest.mark.parametrize(
    "command",
    [".create function f() { T }", ".set-or-append T <| print 1", ".ingest async into table T ('x')", ".ingest inline into table T [1,2]", ".show operations",
     ".ingest inline into table T with (extend_schema=true) <| 1", ".alter table T policy caching hot = 1d", ".show cluster databases details"],
)  # fmt: skip
def test_a_command_that_is_not_modelled_says_so(house, command):
    house.manage(".create table T (a:int)")
    assert house.refused("/v1/rest/mgmt", command, expect=501)[0] == "NotModelled"


def test_no_odd_body_breaks_it(house):
    for odd in [
        None,
        7,
        True,
        "",
        "\x00",
        "'",
        '"',
        "[",
        "(",
        ".",
        "| take",
        ".show",
        ".create table",
        ".ingest inline into table T",
        [],
        {},
        {"a": None},
        "é" * 300,
    ]:
        for path in ("/v1/rest/mgmt", "/v1/rest/query", "/v2/rest/query"):
            for body in (
                {"csl": odd},
                {"csl": ".show tables", "db": odd},
                {"csl": "print 1", "properties": odd},
                {"csl": "print 1", "properties": {"Options": odd}},
            ):
                answer = house.https.post(f"{house.url}{path}", json=body, headers=house.headers)
                assert answer.status_code in {200, 400, 501}, f"{path} {body}: {answer.text}"
    for raw in (b"", b"[]", b"nonsense", b"\xff"):
        assert house.https.post(f"{house.url}/v1/rest/mgmt", content=raw, headers=house.headers).status_code == 400


def test_a_token_is_asked_for_and_its_audience_counts(house, sandbox):
    issue = sandbox.entra.issue_token
    for audience, status in {KUSTO: 200, house.url: 200, sandbox.endpoints.kusto_url: 200, "https://api.fabric.microsoft.com": 401}.items():
        token = issue(audience=audience).access_token
        house.post("/v1/rest/mgmt", ".show version", headers={"Authorization": f"Bearer {token}"}, expect=status)
    answer = house.https.post(f"{house.url}/v1/rest/mgmt", json={"csl": ".show version"})
    assert (answer.status_code, answer.headers["www-authenticate"][:6]) == (401, "Bearer")
    expired = issue(audience=KUSTO, lifetime_seconds=-60).access_token
    house.post("/v1/rest/mgmt", ".show version", headers={"Authorization": f"Bearer {expired}"}, expect=401)


def test_entra_gives_a_token_for_the_cluster_itself(house, sandbox):
    known = sandbox.credentials
    form = {
        "client_id": known.client_id,
        "client_secret": known.client_secret,
        "grant_type": "client_credentials",
        "scope": f"{house.url}/.default",
    }
    answer = house.https.post(f"{sandbox.endpoints.entra_url}/{known.tenant_id}/oauth2/v2.0/token", data=form)
    token = answer.json()["access_token"]
    house.post("/v1/rest/mgmt", ".show version", headers={"Authorization": f"Bearer {token}"})


def test_faults_hit_requests_and_single_commands(house, sandbox):
    house.manage(".create table T (a:int)")
    sandbox.faults.script("kusto.Management", "status", status=429)
    sandbox.faults.script("kusto.IngestInline", "operation_failed", message="The engine is out of memory", code="E_LOW_MEMORY_CONDITION")
    sandbox.faults.script("kusto.Query", "token_expired")
    house.post("/v1/rest/mgmt", ".show version", expect=429)
    assert house.refused("/v1/rest/mgmt", ".ingest inline into table T <| 1", expect=520) == (
        "E_LOW_MEMORY_CONDITION",
        "The engine is out of memory",
    )
    house.post("/v2/rest/query", "T", expect=401)
    assert house.query("T | count") == [[0]]


def test_the_address_must_name_an_eventhouse_and_its_query_service(house, sandbox):
    for url, status in {sandbox.endpoints.kusto_url: 404, f"{sandbox.endpoints.kusto_url}/eventhouses/{uuid.uuid4()}": 404}.items():
        assert house.https.post(f"{url}/v1/rest/mgmt", json={"csl": ".show version"}, headers=house.headers).status_code == status
    dm = house.url.replace("eventhouses", "ingestion")
    assert house.https.post(f"{dm}/v1/rest/mgmt", json={"csl": ".get ingestion resources"}, headers=house.headers).status_code == 501
    assert house.https.post(f"{house.url}/v1/rest/ingest/db/T", content=b"1", headers=house.headers).status_code == 501


def test_a_restart_keeps_tables_rows_and_tags(tmp_path, https):
    with Sandbox(tmp_path) as first:
        trusted = ssl.create_default_context(cafile=str(first.endpoints.ca_file))
        with httpx2.Client(verify=trusted, timeout=10, trust_env=False) as client:
            caller = FabricCaller(first, client)
            house = KustoCaller(caller, caller.workspace())
            house.manage(".create table T (a:int)")
            house.manage(".ingest inline into table T with (tags='[\"ingest-by:a\"]') <| 1")
    with Sandbox(tmp_path) as second, httpx2.Client(verify=trusted, timeout=10, trust_env=False) as client:
        house.https, house.url = client, f"{second.endpoints.kusto_url}/eventhouses/{house.eventhouse}"
        assert house.query("T") == [[1]]
        house.manage(".ingest inline into table T with (ingestIfNotExists='[\"a\"]') <| 1")
        assert house.query("T | count") == [[1]]


KILLED = """
import contextlib, os, sys
from pathlib import Path
from treadle.sandbox.clock import Clock
from treadle.sandbox.faults import FaultScript
from treadle.sandbox.kusto.commands import run_command
from treadle.sandbox.kusto.context import Context, Database
from treadle.sandbox.kusto.sources import Source
from treadle.sandbox.kusto.store import Store

folder = Path(sys.argv[1])
(folder / "a.csv").write_text("1\\n2\\n")
@contextlib.contextmanager
def opened(uri):
    if uri == "kill":
        os._exit(9)
    yield Source(str(folder / "a.csv"), "a.csv", 4, "csv")
database = Database("d", "d")
context = Context(Store(folder, Clock()), [database], database, opened, FaultScript(), contextlib.nullcontext)
run_command(context, ".create table T (a:int)")
run_command(context, ".ingest into table T ('x') with (tags='[\\"ingest-by:1\\"]')")
run_command(context, ".ingest into table T ('x', 'kill')")
"""


def test_a_kill_in_mid_ingestion_leaves_what_was_before(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 9, done.stderr
    store = Store(tmp_path, Clock())
    table = store.table("d", "T")
    assert store.read(table.relation(), 10) == [(1,), (2,)]
    assert [extent["tags"] for extent in store.extents(table)] == [["ingest-by:1"]]
    store.close()
