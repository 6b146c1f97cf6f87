"""The official Python SDK, unmodified, against the sandbox: workspaces, items with their operations, a lakehouse, jobs."""

import uuid

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from microsoft_fabric_api import FabricClient
from tests.contract.fabric_trials import notebook_source, part, until


@pytest.fixture
def sdk(sandbox):
    who, where = sandbox.credentials, sandbox.endpoints
    trusted = str(where.ca_file)
    credential = ClientSecretCredential(
        who.tenant_id,
        who.client_id,
        who.client_secret,
        authority=where.entra_url,
        disable_instance_discovery=True,
        connection_verify=trusted,
    )
    return FabricClient(credential, base_url=where.fabric_url + "/", connection_verify=trusted)


@pytest.fixture
def workspace(sdk):
    workspace = sdk.core.workspaces.create_workspace({"displayName": f"sdk {uuid.uuid4()}"})
    yield workspace.id
    sdk.core.workspaces.delete_workspace(workspace.id)


def definition(*cells):
    return {"parts": [part("notebook-content.py", notebook_source(*cells))]}


def made(operation):
    """What a long-running operation made; the SDK's own waiting form looks only every five seconds."""
    return until(lambda: operation.result)


def new_notebook(sdk, workspace, *cells):
    request = {"displayName": "n", "type": "Notebook", "definition": definition(*cells)}
    return made(sdk.core.items.begin_create_item(workspace, request, polling_interval=0))


def test_workspaces_are_found_changed_and_listed(sdk, workspace):
    found = sdk.core.workspaces.get_workspace(workspace)
    assert found.capacity_id
    changed = sdk.core.workspaces.update_workspace(workspace, {"description": "by the SDK"})
    assert changed.description == "by the SDK"
    assert workspace in [one.id for one in sdk.core.workspaces.list_workspaces()]
    assert [one.id for one in sdk.core.capacities.list_capacities()] == [found.capacity_id]


def test_a_paged_list_is_read_to_its_end(sdk, workspace, fabric):
    for number in range(5):
        sdk.lakehouse.items.create_lakehouse(workspace, {"displayName": f"lake_{number}"})
    fabric.sandbox.fabric.options.page_size = 2
    assert [one.display_name for one in sdk.core.items.list_items(workspace)] == [f"lake_{number}" for number in range(5)]


def test_a_lakehouse_has_its_properties(sdk, workspace):
    lakehouse = sdk.lakehouse.items.create_lakehouse(workspace, {"displayName": "lake", "description": "d"})
    properties = sdk.lakehouse.items.get_lakehouse(workspace, lakehouse.id).properties
    assert properties.one_lake_files_path.endswith(f"/{workspace}/{lakehouse.id}/Files")
    assert properties.sql_endpoint_properties.provisioning_status == "Success"


def test_a_definition_travels_through_long_running_operations(sdk, workspace):
    notebook = new_notebook(sdk, workspace, "1")
    assert (notebook.type, notebook.display_name) == ("Notebook", "n")
    sdk.core.items.begin_update_item_definition(workspace, notebook.id, {"definition": definition("2")}, polling_interval=0).result()
    answer = made(sdk.core.items.begin_get_item_definition(workspace, notebook.id, polling_interval=0))
    kept = {one.path: one.payload for one in answer.definition.parts}
    assert kept["notebook-content.py"] == definition("2")["parts"][0]["payload"]


def test_a_job_is_run_watched_and_listed(sdk, workspace):
    notebook = new_notebook(sdk, workspace, "print('hello')")
    sdk.core.job_scheduler.run_on_demand_item_job(workspace, notebook.id, "RunNotebook")
    (job,) = list(sdk.core.job_scheduler.list_item_job_instances(workspace, notebook.id))
    assert job.invoke_type == "Manual"
    assert until(lambda: sdk.core.job_scheduler.get_item_job_instance(workspace, notebook.id, job.id).status == "Completed")


def test_a_job_is_cancelled(sdk, workspace):
    notebook = new_notebook(sdk, workspace, "import threading\nthreading.Event().wait()")
    sdk.core.job_scheduler.run_on_demand_item_job(workspace, notebook.id, "RunNotebook")
    (job,) = list(sdk.core.job_scheduler.list_item_job_instances(workspace, notebook.id))
    sdk.core.job_scheduler.cancel_item_job_instance(workspace, notebook.id, job.id)
    assert until(lambda: sdk.core.job_scheduler.get_item_job_instance(workspace, notebook.id, job.id).status == "Cancelled")


def test_errors_carry_fabrics_code(sdk, workspace):
    with pytest.raises(ResourceNotFoundError) as missing:
        sdk.core.items.get_item(workspace, str(uuid.uuid4()))
    assert missing.value.response.json()["errorCode"] == "ItemNotFound"
    with pytest.raises(HttpResponseError) as refused:
        sdk.core.items.begin_create_item(workspace, {"displayName": "x", "type": "Sandwich"})
    assert refused.value.response.headers["x-ms-public-api-error-code"] == "InvalidItemType"


def test_an_operation_that_failed_is_an_error(sdk, workspace, fabric):
    notebook = new_notebook(sdk, workspace, "1")
    fabric.sandbox.faults.script("fabric.UpdateItemDefinition", "operation_failed")
    with pytest.raises(HttpResponseError):
        sdk.core.items.begin_update_item_definition(workspace, notebook.id, {"definition": definition("2")}, polling_interval=0).result()
