"""The official Python SDK and command line tool, unmodified: tables are loaded, eventhouses and KQL databases made."""

import os
import subprocess
import sysconfig
from pathlib import Path

import polars as pl
import pytest
from azure.identity import ClientSecretCredential
from deltalake import DeltaTable
from microsoft_fabric_api import FabricClient
from tests.contract.fabric_trials import until

FAB = Path(sysconfig.get_path("scripts")) / "fab"


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
def place(fabric, sandbox):
    """A workspace with a lakehouse `lake` that has a file; its id, its name and the lakehouse's folder."""
    workspace = fabric.workspace()
    folder = sandbox.lake.path_of(workspace, fabric.lakehouse(workspace))
    (folder / "Files" / "a.csv").write_text("id;name\n1;Ann\n2;Bob\n")
    yield workspace, fabric.get(f"/workspaces/{workspace}").json()["displayName"], folder
    fabric.call("DELETE", f"/workspaces/{workspace}", 200)


def rows(folder, table):
    return sorted(pl.from_arrow(DeltaTable(folder / "Tables" / table).to_pyarrow_table()).rows())


def test_the_sdk_loads_a_table_and_lists_it(sdk, place):
    workspace, _, folder = place
    request = {
        "relativePath": "Files/a.csv",
        "pathType": "File",
        "mode": "Overwrite",
        "formatOptions": {"format": "Csv", "header": True, "delimiter": ";"},
    }
    sdk.lakehouse.tables.begin_load_table(workspace, folder.name, "people", request, polling_interval=0).result()
    assert until(lambda: [one.name for one in sdk.lakehouse.tables.list_tables(workspace, folder.name)]) == ["people"]
    assert rows(folder, "people") == [(1, "Ann"), (2, "Bob")]


def test_the_sdk_makes_an_eventhouse_and_a_database_in_it(sdk, place):
    workspace, _, _ = place
    house = sdk.eventhouse.items.create_eventhouse(workspace, {"displayName": "house"})
    properties = sdk.eventhouse.items.get_eventhouse(workspace, house.id).properties
    payload = {"databaseType": "ReadWrite", "parentEventhouseItemId": house.id}
    request = {"displayName": "second", "creationPayload": payload}
    made = sdk.kqldatabase.items.begin_create_kql_database(workspace, request, polling_interval=0)
    found = sdk.kqldatabase.items.get_kql_database(workspace, until(lambda: made.result).id).properties
    assert (found.parent_eventhouse_item_id, found.query_service_uri) == (house.id, properties.query_service_uri)
    assert {one.display_name for one in sdk.kqldatabase.items.list_kql_databases(workspace)} == {"house", "second"}
    sdk.eventhouse.items.delete_eventhouse(workspace, house.id)
    assert list(sdk.kqldatabase.items.list_kql_databases(workspace)) == []


def test_the_command_line_tool_loads_a_table_and_makes_an_eventhouse(sandbox, place, tmp_path):
    _, name, folder = place
    who, where = sandbox.credentials, sandbox.endpoints
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "COLUMNS": "250",
        "HTTPS_PROXY": where.proxy_url,
        "REQUESTS_CA_BUNDLE": str(where.ca_file),
    }

    def fab(*arguments):
        done = subprocess.run([FAB, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    fab("config", "set", "encryption_fallback_enabled", "true")  # no keyring here
    fab("auth", "login", "-u", who.client_id, "-p", who.client_secret, "--tenant", who.tenant_id)
    lake = f"{name}.Workspace/lake.Lakehouse"
    fab("table", "load", f"{lake}/Tables/people", "--file", f"{lake}/Files/a.csv", "--format", "format=csv,header=true,delimiter=;")
    assert rows(folder, "people") == [(1, "Ann"), (2, "Bob")]
    fab("mkdir", f"{name}.Workspace/house.Eventhouse")
    assert {"house.Eventhouse", "house.KQLDatabase"} <= set(fab("ls", f"{name}.Workspace").split())
