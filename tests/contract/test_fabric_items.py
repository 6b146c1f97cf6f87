"""Items, definitions and long-running operations of the Fabric sandbox, over HTTPS.

Sources: fabric-rest-api-specs (platform, lakehouse, notebook, dataPipeline), recorded traffic of ms-fabric-cli and fabric-cicd.
"""

import json

import pytest
from tests.contract.fabric_trials import decode, error_of, notebook_source, part

PIPELINE = json.dumps({"properties": {"activities": []}})
SOURCE = notebook_source("print('a notebook')")
NOWHERE = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def workspace(fabric):
    return fabric.workspace()


def platform(kind, name, description):
    return part(".platform", json.dumps({"metadata": {"type": kind, "displayName": name, "description": description}}))


def new_notebook(name="n", *parts):
    return {"displayName": name, "type": "Notebook", "definition": {"parts": [part("notebook-content.py", SOURCE), *parts]}}


def test_a_lakehouse_answers_201_and_a_notebook_202_with_an_operation(fabric, workspace):
    lakehouse = fabric.post(f"/workspaces/{workspace}/items", {"displayName": "lh", "type": "Lakehouse"}, expect=201)
    assert set(lakehouse.json()) == {"id", "type", "displayName", "description", "workspaceId"}
    assert lakehouse.headers["etag"] == '""'
    accepted = fabric.post(f"/workspaces/{workspace}/items", new_notebook(), expect=202)
    operation = accepted.headers["x-ms-operation-id"]
    assert accepted.content == b"null"
    assert accepted.headers["location"] == f"{fabric.base}/operations/{operation}"
    assert accepted.headers["retry-after"] == "1"
    running = fabric.get(accepted.headers["location"])
    assert running.json()["status"] == "Running"
    assert running.headers["location"] == accepted.headers["location"]
    assert "retry-after" in running.headers
    ended = fabric.get(accepted.headers["location"])
    assert set(ended.json()) == {"status", "createdTimeUtc", "lastUpdatedTimeUtc", "percentComplete", "error"}
    assert ended.json()["status"] == "Succeeded"
    assert not ended.json()["createdTimeUtc"].endswith("Z")
    assert ended.headers["location"] == f"{accepted.headers['location']}/result"
    assert "retry-after" not in ended.headers
    item = fabric.get(ended.headers["location"]).json()
    assert fabric.get(f"/workspaces/{workspace}/items/{item['id']}").json() == item


def test_either_kind_of_answer_can_be_asked_for(fabric, workspace):
    fabric.sandbox.faults.script("fabric.CreateItem", "synchronous")
    fabric.post(f"/workspaces/{workspace}/items", new_notebook(), expect=201)
    fabric.sandbox.faults.script("fabric.CreateItem", "asynchronous")
    accepted = fabric.post(f"/workspaces/{workspace}/lakehouses", {"displayName": "lh"}, expect=202)
    assert fabric.finished(accepted).json()["type"] == "Lakehouse"
    fabric.sandbox.fabric.options.asynchronous_types = {"DataPipeline"}
    body = {"displayName": "p", "definition": {"parts": [part("pipeline-content.json", PIPELINE)]}}
    assert fabric.post(f"/workspaces/{workspace}/dataPipelines", body).status_code == 202


def test_an_operation_without_a_result_has_no_location_and_says_so(fabric, workspace):
    notebook = fabric.notebook(workspace, SOURCE)
    body = {"definition": {"parts": [part("notebook-content.py", notebook_source("2"))]}}
    accepted = fabric.post(f"/workspaces/{workspace}/items/{notebook}/updateDefinition", body, expect=202)
    assert fabric.finished(accepted) is None
    assert error_of(fabric.get(f"{accepted.headers['location']}/result", None), 400) == "OperationHasNoResult"
    assert error_of(fabric.get(f"/operations/{NOWHERE}", None), 404) == "OperationNotFound"


def test_a_result_is_refused_while_the_operation_runs_and_after_it_failed(fabric, workspace):
    accepted = fabric.post(f"/workspaces/{workspace}/items", new_notebook(), expect=202)
    assert error_of(fabric.get(f"{accepted.headers['location']}/result", None), 400) == "OperationNotSucceeded"
    fabric.sandbox.faults.script("fabric.CreateItem", "operation_failed", code="ALMOperationImportFailed", message="no luck")
    failed = fabric.post(f"/workspaces/{workspace}/items", new_notebook("other"), expect=202)
    fabric.get(failed.headers["location"])
    state = fabric.get(failed.headers["location"])
    assert state.json()["error"] == {"errorCode": "ALMOperationImportFailed", "message": "no luck"}
    assert state.json()["status"] == "Failed"
    assert "location" not in state.headers
    assert "other" not in [item["displayName"] for item in fabric.get(f"/workspaces/{workspace}/items").json()["value"]]


def test_an_operation_can_repeat_an_earlier_state_and_lose_its_hints(fabric, workspace):
    faults = fabric.sandbox.faults
    faults.script("fabric.CreateItem", "no_retry_after")
    accepted = fabric.post(f"/workspaces/{workspace}/items", new_notebook(), expect=202)
    assert "retry-after" not in accepted.headers
    faults.script("fabric.GetOperationState", "stale_status", after=2)
    states = [fabric.get(accepted.headers["location"]).json()["status"] for _ in range(4)]
    assert states == ["Running", "Succeeded", "Running", "Succeeded"]


def test_a_foreign_location_leads_to_another_host_with_the_same_operation(fabric, workspace):
    fabric.sandbox.faults.script("fabric.CreateItem", "foreign_location")
    accepted = fabric.post(f"/workspaces/{workspace}/items", new_notebook(), expect=202)
    assert accepted.headers["location"].startswith("https://wabi-")
    assert fabric.get(f"/operations/{accepted.headers['x-ms-operation-id']}").json()["status"] == "Running"


def test_a_name_is_taken_once_for_each_type_whatever_its_case(fabric, workspace):
    fabric.lakehouse(workspace, "sales")
    assert error_of(fabric.post(f"/workspaces/{workspace}/lakehouses", {"displayName": "SALES"}), 409) == "ItemDisplayNameAlreadyInUse"
    fabric.notebook(workspace, SOURCE, "sales")
    assert error_of(fabric.post(f"/workspaces/{workspace}/items", new_notebook("Sales")), 409) == "ItemDisplayNameAlreadyInUse"


def test_a_name_can_still_be_reserved_after_a_deletion(fabric, workspace):
    fabric.sandbox.faults.script("fabric.CreateItem", "name_reserved")
    assert error_of(fabric.post(f"/workspaces/{workspace}/items", new_notebook()), 400) == "ItemDisplayNameNotAvailableYet"
    fabric.post(f"/workspaces/{workspace}/items", new_notebook(), expect=202)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"displayName": "x", "type": "Sandwich"}, "InvalidItemType"),
        ({"displayName": "x"}, "InvalidItemType"),
        ({"displayName": "", "type": "Notebook"}, "InvalidInput"),
        ({"displayName": "1 bad name", "type": "Lakehouse"}, "InvalidInput"),
        ({"displayName": "x", "type": "Report"}, "MissingDefinition"),
        ({"displayName": "x", "type": "Notebook", "creationPayload": {}}, "ItemTypeDoesNotSupportCreationPayload"),
        (
            {"displayName": "x", "type": "Lakehouse", "creationPayload": {}, "definition": {}},
            "RequestWithDefinitionAndCreationPayloadNotSupported",
        ),
        ({"displayName": "x", "type": "Notebook", "definition": {"parts": []}}, "MissingDefinitionParts"),
        ({"displayName": "x", "type": "Notebook", "definition": "text"}, "InvalidDefinitionParts"),
    ],
)
def test_an_item_that_cannot_be_is_refused(fabric, workspace, body, code):
    assert error_of(fabric.post(f"/workspaces/{workspace}/items", body), 400) == code


@pytest.mark.parametrize(
    ("bad_part", "code"),
    [
        ({"path": "a.py", "payload": "not base64!", "payloadType": "InlineBase64"}, "CorruptedPayload"),
        ({"path": "a.py", "payload": "YQ==", "payloadType": "Url"}, "UnsupportedPayloadType"),
        ({"path": "../a.py", "payload": "YQ==", "payloadType": "InlineBase64"}, "InvalidDefinitionParts"),
        ({"path": "a\\b", "payload": "YQ==", "payloadType": "InlineBase64"}, "InvalidDefinitionParts"),
        ({"path": "/a", "payload": "YQ==", "payloadType": "InlineBase64"}, "InvalidDefinitionParts"),
        ({"path": "NOTEBOOK-content.py", "payload": "YQ==", "payloadType": "InlineBase64"}, "InvalidDefinitionParts"),
        ("text", "InvalidDefinitionParts"),
    ],
)
def test_a_part_that_cannot_be_read_is_refused(fabric, workspace, bad_part, code):
    body = {"displayName": "x", "definition": {"parts": [part("notebook-content.py", SOURCE), bad_part]}}
    assert error_of(fabric.post(f"/workspaces/{workspace}/notebooks", body), 400) == code


def test_a_notebook_file_without_fabrics_first_line_fails_its_operation(fabric, workspace):
    body = {"displayName": "x", "definition": {"parts": [part("notebook-content.py", "print(1)")]}}
    accepted = fabric.post(f"/workspaces/{workspace}/notebooks", body, expect=202)
    fabric.get(accepted.headers["location"])
    assert fabric.get(accepted.headers["location"]).json()["error"]["errorCode"] == "PyToIPynbFailure"


def test_items_are_listed_by_type_and_by_folder(fabric, workspace):
    folder = fabric.post(f"/workspaces/{workspace}/folders", {"displayName": "f"}).json()["id"]
    fabric.lakehouse(workspace, "lh")
    pipeline = fabric.pipeline(workspace)
    moved = fabric.post(f"/workspaces/{workspace}/items/{pipeline}/move", {"targetFolderId": folder}, expect=200).json()["value"]
    assert [one["folderId"] for one in moved] == [folder]

    def names(query):
        return [one["displayName"] for one in fabric.get(f"/workspaces/{workspace}/items?{query}").json()["value"]]

    assert names("") == ["lh", "pipeline"]
    assert names("type=DataPipeline") == ["pipeline"]
    assert names("recursive=false") == ["lh"]
    assert names(f"rootFolderId={folder}") == ["pipeline"]
    fabric.sandbox.faults.script("fabric.ListItems", "listing_lag")
    assert names("") == ["lh"]


def test_the_typed_form_finds_only_items_of_its_type(fabric, workspace):
    lakehouse = fabric.lakehouse(workspace)
    assert error_of(fabric.get(f"/workspaces/{workspace}/notebooks/{lakehouse}", None), 404) == "ItemNotFound"
    assert fabric.get(f"/workspaces/{workspace}/LAKEHOUSES/{lakehouse}").json()["id"] == lakehouse


def test_a_lakehouse_tells_where_its_data_is_and_its_sql_endpoint_comes_later(fabric, workspace):
    fabric.sandbox.fabric.options.sql_endpoint_seconds = 60
    lakehouse = fabric.lakehouse(workspace)
    url = f"/workspaces/{workspace}/lakehouses/{lakehouse}"
    properties = fabric.get(url).json()["properties"]
    assert properties["oneLakeFilesPath"] == f"https://onelake.dfs.fabric.microsoft.com/{workspace}/{lakehouse}/Files"
    assert properties["sqlEndpointProperties"] == {"connectionString": None, "id": None, "provisioningStatus": "InProgress"}
    fabric.sandbox.clock.advance(61)
    assert fabric.get(url).json()["properties"]["sqlEndpointProperties"]["provisioningStatus"] == "Success"
    assert "properties" not in fabric.get(f"/workspaces/{workspace}/items/{lakehouse}").json()


def test_the_tables_of_a_lakehouse_are_listed_under_data(fabric, workspace):
    lakehouse = fabric.lakehouse(workspace)
    tables = fabric.sandbox.lake.path_of(workspace, lakehouse) / "Tables"
    for name in ("orders", "customers"):
        (tables / name / "_delta_log").mkdir(parents=True)
    (tables / "not_a_table").mkdir()
    url = f"/workspaces/{workspace}/lakehouses/{lakehouse}/tables"
    body = fabric.get(url).json()
    assert [one["name"] for one in body["data"]] == ["customers", "orders"]
    assert body["data"][0]["location"] == f"abfss://{workspace}@onelake.dfs.fabric.microsoft.com/{lakehouse}/Tables/customers"
    assert (body["continuationToken"], body["continuationUri"]) == (None, None)
    first = fabric.get(f"{url}?maxResults=1").json()
    assert [one["name"] for one in fabric.get(first["continuationUri"]).json()["data"]] == ["orders"]
    assert error_of(fabric.get(f"{url}?maxResults=many", None), 400) == "InvalidParameter"


def test_a_lakehouse_with_schemas_refuses_the_list_of_tables(fabric, workspace):
    body = {"displayName": "lh", "creationPayload": {"enableSchemas": True}}
    lakehouse = fabric.post(f"/workspaces/{workspace}/lakehouses", body, expect=201).json()["id"]
    url = f"/workspaces/{workspace}/lakehouses/{lakehouse}"
    assert fabric.get(url).json()["properties"]["defaultSchema"] == "dbo"
    assert error_of(fabric.get(f"{url}/tables", None), 400) == "UnsupportedOperationForSchemasEnabledLakehouse"


def test_a_definition_comes_back_as_it_was_given_with_a_platform_file_that_tells_the_present_name(fabric, workspace):
    notebook = fabric.notebook(workspace, SOURCE)
    fabric.call("PATCH", f"/workspaces/{workspace}/items/{notebook}", 200, json={"displayName": "renamed", "description": "why"})
    answer = fabric.finished(fabric.post(f"/workspaces/{workspace}/notebooks/{notebook}/getDefinition?format=fabricGitSource"))
    parts = {one["path"]: decode(one["payload"]) for one in answer.json()["definition"]["parts"]}
    assert parts["notebook-content.py"] == SOURCE
    assert json.loads(parts[".platform"])["metadata"] == {"type": "Notebook", "displayName": "renamed", "description": "why"}


def test_a_definition_in_a_format_that_does_not_exist_or_is_not_kept_is_refused(fabric, workspace):
    notebook = fabric.notebook(workspace, SOURCE)
    url = f"/workspaces/{workspace}/notebooks/{notebook}/getDefinition"
    assert error_of(fabric.post(f"{url}?format=pdf"), 400) == "InvalidDefinitionFormat"
    assert error_of(fabric.post(f"{url}?format=ipynb"), 501) == "NotModelled"


def test_an_update_replaces_the_whole_definition_and_names_only_with_update_metadata(fabric, workspace):
    pipeline = fabric.pipeline(workspace)
    url = f"/workspaces/{workspace}/dataPipelines/{pipeline}"
    parts = [part("pipeline-content.json", PIPELINE), part("notes.txt", "x"), platform("DataPipeline", "from platform", "d")]
    fabric.post(f"{url}/updateDefinition", {"definition": {"parts": parts}}, expect=200)
    assert fabric.get(url).json()["displayName"] == "pipeline"
    fabric.post(f"{url}/updateDefinition?updateMetadata=True", {"definition": {"parts": parts}}, expect=200)
    item = fabric.get(url).json()
    assert (item["displayName"], item["description"]) == ("from platform", "d")
    fabric.post(f"{url}/updateDefinition", {"definition": {"parts": parts[:1]}}, expect=200)
    kept = fabric.post(f"{url}/getDefinition", expect=200).json()["definition"]["parts"]
    assert [one["path"] for one in kept] == ["pipeline-content.json", ".platform"]


@pytest.mark.parametrize("text", ["no json", "{}", json.dumps({"metadata": {"type": "Notebook", "displayName": "n"}})])
def test_a_platform_file_that_is_wrong_is_refused_and_nothing_changes(fabric, workspace, text):
    pipeline = fabric.pipeline(workspace)
    body = {"definition": {"parts": [part("pipeline-content.json", '{"properties": {"a": 1}}'), part(".platform", text)]}}
    url = f"/workspaces/{workspace}/items/{pipeline}"
    assert error_of(fabric.post(f"{url}/updateDefinition?updateMetadata=true", body), 400) == "InvalidPlatformFile"
    kept = fabric.post(f"{url}/getDefinition", expect=200).json()["definition"]["parts"]
    assert "activities" in decode(kept[0]["payload"])


def test_at_creation_the_description_comes_from_the_platform_file_and_the_name_from_the_request(fabric, workspace):
    body = new_notebook("asked", platform("Notebook", "other name", "described"))
    item = fabric.finished(fabric.post(f"/workspaces/{workspace}/items", body)).json()
    assert (item["displayName"], item["description"]) == ("asked", "described")


def test_a_lakehouse_has_no_definition_here(fabric, workspace):
    lakehouse = fabric.lakehouse(workspace)
    assert error_of(fabric.post(f"/workspaces/{workspace}/items/{lakehouse}/getDefinition"), 400) == "OperationNotSupportedForItem"


def test_a_deleted_item_is_gone_with_its_files_and_its_name_is_free(fabric, workspace):
    lakehouse = fabric.lakehouse(workspace)
    fabric.call("DELETE", f"/workspaces/{workspace}/items/{lakehouse}?hardDelete=true", 200)
    assert error_of(fabric.get(f"/workspaces/{workspace}/items/{lakehouse}", None), 404) == "ItemNotFound"
    assert not fabric.sandbox.lake.path_of(workspace, lakehouse).exists()
    fabric.lakehouse(workspace)
