"""Eventhouses and KQL databases as items of the Fabric sandbox; the published examples are replayed."""

import json
import uuid

import pytest
from tests.contract.fabric_trials import decode, error_of, part
from tests.contract.kusto_trials import KustoCaller

ITEM = {"id", "type", "displayName", "description", "workspaceId"}
SCRIPT = """// KQL script
// Use management commands in this script to configure your database items, such as tables, functions, materialized views, and more.

.create-merge table MyLogs (Level:string, Timestamp:datetime, UserId:string, TraceId:string, Message:string, ProcessId:int)
"""


@pytest.fixture
def workspace(fabric):
    workspace = fabric.workspace()
    yield workspace
    fabric.call("DELETE", f"/workspaces/{workspace}", 200)


@pytest.fixture
def house(fabric, workspace):
    return KustoCaller(fabric, workspace)


def properties_part(parent):
    described = {
        "databaseType": "ReadWrite",
        "parentEventhouseItemId": parent,
        "oneLakeCachingPeriod": "P36500D",
        "oneLakeStandardStoragePeriod": "P36500D",
    }
    return part("DatabaseProperties.json", json.dumps(described))


def read_write(parent):
    return {"databaseType": "ReadWrite", "parentEventhouseItemId": parent}


def created(fabric, workspace, body):
    return fabric.finished(fabric.post(f"/workspaces/{workspace}/kqlDatabases", body)).json()["id"]


@pytest.mark.parametrize(
    ("example", "more"),
    [
        ("CreateEventhouse", {}),
        ("CreateEventhouseWithCreationPayload", {"creationPayload": {"minimumConsumptionUnits": 2.25}}),
        ("CreateEventhouseWithDefinition", {"definition": {"parts": [part("EventhouseProperties.json", "{}")]}}),
    ],
)
def test_the_examples_of_a_new_eventhouse(fabric, workspace, example, more):
    body = {"displayName": "Eventhouse_1", "description": "An eventhouse description.", **more}
    answer = fabric.post(f"/workspaces/{workspace}/eventhouses", body)
    assert (answer.status_code, set(answer.json())) == (201, ITEM), example
    shown = fabric.get(f"/workspaces/{workspace}/eventhouses/{answer.json()['id']}").json()
    assert set(shown) == ITEM | {"properties"}
    assert set(shown["properties"]) == {"queryServiceUri", "ingestionServiceUri", "databasesItemIds", "minimumConsumptionUnits"}
    assert shown["properties"]["minimumConsumptionUnits"] == more.get("creationPayload", {}).get("minimumConsumptionUnits", 0)
    (listed,) = fabric.get(f"/workspaces/{workspace}/eventhouses").json()["value"]
    assert listed == shown


def test_an_eventhouse_comes_with_a_database_of_its_name(fabric, workspace, house):
    (database,) = fabric.get(f"/workspaces/{workspace}/kqlDatabases").json()["value"]
    assert (database["id"], database["displayName"]) == (house.database, house.name)
    uris = {"queryServiceUri": house.url, "ingestionServiceUri": house.url.replace("eventhouses", "ingestion")}
    assert database["properties"] == {"parentEventhouseItemId": house.eventhouse, **uris, "databaseType": "ReadWrite"}


def test_the_examples_of_a_new_database_are_accepted_as_operations(fabric, workspace, house):
    """CreateReadWriteKQLDatabase, CreateReadWriteKQLDatabaseWithDefinition, GetKQLDatabase, GetReadWriteKQLDatabaseDefinition."""
    plain = {"displayName": "KQLDatabase_1", "description": "A KQL database description.", "creationPayload": read_write(house.eventhouse)}
    accepted = fabric.post(f"/workspaces/{workspace}/kqlDatabases", plain)
    assert {"location", "x-ms-operation-id", "retry-after"} <= set(accepted.headers)
    assert set(fabric.finished(accepted).json()) == ITEM
    defined = {
        "displayName": "KQLDatabase_2",
        "definition": {"parts": [properties_part(house.eventhouse), part("DatabaseSchema.kql", SCRIPT)]},
    }
    identity = created(fabric, workspace, defined)
    shown = fabric.get(f"/workspaces/{workspace}/kqlDatabases/{identity}").json()
    assert set(shown) == ITEM | {"properties"}
    assert set(shown["properties"]) == {"parentEventhouseItemId", "queryServiceUri", "ingestionServiceUri", "databaseType"}
    answer = fabric.finished(fabric.post(f"/workspaces/{workspace}/kqlDatabases/{identity}/getDefinition")).json()
    paths = {one["path"]: decode(one["payload"]) for one in answer["definition"]["parts"]}
    assert set(paths) == {"DatabaseProperties.json", "DatabaseSchema.kql", ".platform"}
    assert paths["DatabaseSchema.kql"] == SCRIPT
    assert [row["TableName"] for row in house.manage(".show tables", db="KQLDatabase_2")] == ["MyLogs"]
    databases = fabric.get(f"/workspaces/{workspace}/eventhouses/{house.eventhouse}").json()["properties"]["databasesItemIds"]
    assert len(databases) == 3


def test_the_example_of_a_new_definition_carries_its_script_out(fabric, workspace, house):
    """UpdateReadWriteKQLDatabaseDefinition."""
    parts = [properties_part(house.eventhouse), part("DatabaseSchema.kql", SCRIPT)]
    answer = fabric.post(f"/workspaces/{workspace}/kqlDatabases/{house.database}/updateDefinition", {"definition": {"parts": parts}})
    fabric.finished(answer)
    assert [row["TableName"] for row in house.manage(".show tables")] == ["MyLogs"]


def test_the_examples_of_change_and_deletion(fabric, workspace, house):
    """UpdateEventhouse, UpdateKQLDatabase, DeleteKQLDatabase, DeleteEventhouse."""
    body = {"displayName": "New.Name-1", "description": "A new description."}
    for path in (f"eventhouses/{house.eventhouse}", f"kqlDatabases/{house.database}"):
        answer = fabric.call("PATCH", f"/workspaces/{workspace}/{path}", 200, json=body)
        assert set(answer.json()) == ITEM
    assert house.manage(".show tables", db="New.Name-1") == []
    fabric.call("DELETE", f"/workspaces/{workspace}/kqlDatabases/{house.database}", 200)
    fabric.call("DELETE", f"/workspaces/{workspace}/eventhouses/{house.eventhouse}", 200)
    assert house.refused("/v1/rest/mgmt", ".show tables", expect=404)[0] == "NotFound"


def test_an_eventhouse_takes_its_databases_and_their_rows_with_it(fabric, workspace, house):
    house.manage(".create table T (a:int)")
    fabric.call("DELETE", f"/workspaces/{workspace}/eventhouses/{house.eventhouse}", 200)
    assert fabric.get(f"/workspaces/{workspace}/items").json()["value"] == []
    assert fabric.sandbox.kusto.store.tables(house.database) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"displayName": "with space", "creationPayload": {}}, "InvalidInput"),
        ({"displayName": "db"}, "InvalidInput"),
        ({"displayName": "db", "creationPayload": {"databaseType": "Other"}}, "InvalidInput"),
        ({"displayName": "db", "definition": {"parts": [part("Other.json", "{}")]}}, "InvalidDefinitionParts"),
    ],
)
def test_a_database_that_breaks_the_rules_is_refused(fabric, workspace, body, code):
    assert error_of(fabric.post(f"/workspaces/{workspace}/kqlDatabases", body), 400) == code


def test_a_database_without_its_eventhouse_is_not_found(fabric, workspace):
    body = {"displayName": "db", "creationPayload": read_write(str(uuid.uuid4()))}
    assert error_of(fabric.post(f"/workspaces/{workspace}/kqlDatabases", body), 404) == "ItemNotFound"


def test_shortcut_databases_are_not_modelled(fabric, workspace, house):
    """CreateShortcutKQLDatabase."""
    payload = {"databaseType": "Shortcut", "parentEventhouseItemId": house.eventhouse, "sourceDatabaseName": str(uuid.uuid4())}
    assert (
        error_of(fabric.post(f"/workspaces/{workspace}/kqlDatabases", {"displayName": "db", "creationPayload": payload}), 501)
        == "NotModelled"
    )


def test_a_script_that_cannot_be_carried_out_fails_the_operation(fabric, workspace, house):
    parts = [properties_part(house.eventhouse), part("DatabaseSchema.kql", ".create-merge table T (a:nonsense)")]
    accepted = fabric.post(f"/workspaces/{workspace}/kqlDatabases", {"displayName": "db", "definition": {"parts": parts}})
    fabric.get(accepted.headers["location"])
    state = fabric.get(accepted.headers["location"]).json()
    assert state["status"] == "Failed"
    assert "'nonsense' is not a scalar type" in state["error"]["message"]


ODD = [None, 7, -1.5, True, "", "text", "\x00", [], [None], {}, {"a": None}]


def test_no_odd_payload_or_definition_breaks_it(fabric, workspace, house):
    for odd in ODD:
        for kind, payload in [
            ("eventhouses", {"minimumConsumptionUnits": odd}),
            ("kqlDatabases", {"databaseType": odd, "parentEventhouseItemId": house.eventhouse}),
            ("kqlDatabases", {"databaseType": "ReadWrite", "parentEventhouseItemId": odd}),
        ]:
            answer = fabric.post(f"/workspaces/{workspace}/{kind}", {"displayName": f"n{uuid.uuid4().hex}", "creationPayload": payload})
            assert answer.status_code in {201, 400, 404}, answer.text
        parts = [part("DatabaseProperties.json", json.dumps(odd)), part("DatabaseSchema.kql", str(odd))]
        answer = fabric.post(f"/workspaces/{workspace}/kqlDatabases/{house.database}/updateDefinition", {"definition": {"parts": parts}})
        assert answer.status_code in {202, 400}, answer.text
    assert house.manage(".show tables") == []


def test_a_name_is_taken_once_by_an_eventhouse_and_its_database(fabric, workspace, house):
    body = {"displayName": "other", "creationPayload": read_write(house.eventhouse)}
    created(fabric, workspace, body)
    assert error_of(fabric.post(f"/workspaces/{workspace}/eventhouses", {"displayName": "other"}), 409) == "ItemDisplayNameAlreadyInUse"
    assert error_of(
        fabric.post(f"/workspaces/{workspace}/eventhouses", {"displayName": "x", "creationPayload": {"minimumConsumptionUnits": 3}}), 400
    )
