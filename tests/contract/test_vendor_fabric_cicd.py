"""fabric-cicd, unmodified, publishes this repository's items into the sandbox; what it published then runs."""

from pathlib import Path

import fabric_cicd
import pytest
from azure.identity import ClientSecretCredential
from fabric_cicd import FabricWorkspace, publish_all_items, unpublish_all_orphan_items
from tests.contract.fabric_trials import FabricCaller, decode, notebook_activity, notebook_source

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
RUN_ID = "5f0b6d3e-0d5c-4a43-9d0a-7c5b7f4f8d11"
CSV = "order_id,region,revenue\n1,West,10.50\n2,East,4.25\n"


@pytest.fixture
def workspace(fabric):
    workspace = fabric.workspace()
    yield workspace
    fabric.headers = FabricCaller(fabric.sandbox, fabric.https).headers
    fabric.call("DELETE", f"/workspaces/{workspace}", 200)


@pytest.fixture
def deploy(fabric, workspace, monkeypatch):
    """Publish a folder of items, as a deployment script would."""
    who, where = fabric.sandbox.credentials, fabric.sandbox.endpoints
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(where.ca_file))
    monkeypatch.setenv("FABRIC_CICD_RETRY_DELAY_OVERRIDE_SECONDS", "0")
    monkeypatch.setattr(fabric_cicd.constants, "DEFAULT_API_ROOT_URL", where.fabric_url)
    monkeypatch.setattr(fabric_cicd.constants, "FABRIC_API_ROOT_URL", where.fabric_url)
    credential = ClientSecretCredential(
        who.tenant_id, who.client_id, who.client_secret, authority=where.entra_url, disable_instance_discovery=True
    )

    def deploy(folder, *types):
        target = FabricWorkspace(
            workspace_id=workspace, repository_directory=str(folder), item_type_in_scope=list(types), token_credential=credential
        )
        publish_all_items(target)
        return target

    return deploy


def items_of(fabric, workspace):
    return {(one["type"], one["displayName"]): one["id"] for one in fabric.get(f"/workspaces/{workspace}/items").json()["value"]}


OURS = {("Lakehouse", "sales"), ("Notebook", "sales_ingest"), ("Notebook", "weekly_metrics"), ("DataPipeline", "sales")}


def parts_of(fabric, workspace, item):
    answer = fabric.post(f"/workspaces/{workspace}/items/{item}/getDefinition")
    body = answer.json() if answer.status_code == 200 else fabric.finished(answer).json()
    return {one["path"]: decode(one["payload"]) for one in body["definition"]["parts"]}


def test_the_repositorys_items_are_published_with_the_ids_of_the_workspace(fabric, workspace, deploy):
    deploy(NOTEBOOKS, "Lakehouse", "Notebook", "DataPipeline")
    items = items_of(fabric, workspace)
    assert set(items) == OURS
    pipeline = parts_of(fabric, workspace, items["DataPipeline", "sales"])["pipeline-content.json"]
    assert items["Notebook", "sales_ingest"] in pipeline
    assert workspace in pipeline
    notebook = parts_of(fabric, workspace, items["Notebook", "sales_ingest"])["notebook-content.py"]
    assert items["Lakehouse", "sales"] in notebook


def test_a_second_publication_changes_nothing(fabric, workspace, deploy):
    deploy(NOTEBOOKS, "Lakehouse", "Notebook", "DataPipeline")
    items = items_of(fabric, workspace)
    before = {name: parts_of(fabric, workspace, item) for name, item in items.items() if name[0] != "Lakehouse"}
    deploy(NOTEBOOKS, "Lakehouse", "Notebook", "DataPipeline")
    assert items_of(fabric, workspace) == items
    assert {name: parts_of(fabric, workspace, item) for name, item in items.items() if name[0] != "Lakehouse"} == before


def test_notebook_and_pipeline_alone_find_a_lakehouse_that_is_there(fabric, workspace, deploy):
    lakehouse = fabric.lakehouse(workspace, "sales")
    deploy(NOTEBOOKS, "Notebook", "DataPipeline")
    items = items_of(fabric, workspace)
    assert lakehouse in parts_of(fabric, workspace, items["Notebook", "sales_ingest"])["notebook-content.py"]


def test_the_published_pipeline_carries_a_file_to_current(fabric, workspace, deploy):
    deploy(NOTEBOOKS, "Lakehouse", "Notebook", "DataPipeline")
    items = items_of(fabric, workspace)
    root = fabric.sandbox.lake.path_of(workspace, items["Lakehouse", "sales"])
    (root / "Files" / "import").mkdir(parents=True)
    (root / "Files" / "import" / "orders.csv").write_text(CSV, encoding="utf-8")
    parameters = {"input_file": "orders.csv", "run_id": RUN_ID, "requested_by": "a deployment test"}
    job = fabric.run_to_end(workspace, items["DataPipeline", "sales"], executionData={"parameters": parameters})
    (row,) = fabric.activity_runs(workspace, job["id"])
    assert job["status"] == "Completed", fabric.output(row)
    assert (root / "Files" / "results" / "current" / "manifest.json").is_file()
    assert row["input"]["parameters"]["pipeline_run_id"]["value"] == job["id"]


def test_the_published_pipeline_tells_why_a_file_was_refused(fabric, workspace, deploy):
    deploy(NOTEBOOKS, "Lakehouse", "Notebook", "DataPipeline")
    pipeline = items_of(fabric, workspace)["DataPipeline", "sales"]
    parameters = {"input_file": "missing.csv", "run_id": RUN_ID, "requested_by": "a deployment test"}
    job = fabric.run_to_end(workspace, pipeline, executionData={"parameters": parameters})
    assert job["status"] == "Failed"
    assert "missing.csv" in job["failureReason"]["message"]


def test_items_that_are_not_in_the_folder_any_more_are_taken_away(fabric, workspace, deploy):
    extra = fabric.notebook(workspace, notebook_source("1"), "orphan")
    fabric.pipeline(workspace, notebook_activity(extra), name="orphan")
    target = deploy(NOTEBOOKS, "Lakehouse", "Notebook", "DataPipeline")
    unpublish_all_orphan_items(target)
    assert set(items_of(fabric, workspace)) == OURS


def test_a_throttled_publication_waits_and_goes_on(fabric, workspace, deploy):
    fabric.sandbox.faults.script("fabric.CreateItem", "status", status=429, code="RequestBlocked", retry_after_seconds=0)
    deploy(NOTEBOOKS, "Lakehouse", "Notebook", "DataPipeline")
    assert set(items_of(fabric, workspace)) == OURS
