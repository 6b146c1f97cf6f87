"""The Fabric command line tool, unmodified and in a process of its own, by its real host names through the sandbox's proxy."""

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest
from tests.contract.fabric_trials import notebook_source

FAB = Path(sysconfig.get_path("scripts")) / "fab"


@pytest.fixture
def fab(sandbox, tmp_path):
    """Run one command with an empty home, the sandbox's CA and its proxy; the output of a command that succeeds."""
    where = sandbox.endpoints
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "COLUMNS": "250",
        "HTTPS_PROXY": where.proxy_url,
        "REQUESTS_CA_BUNDLE": str(where.ca_file),
    }

    def fab(*arguments, succeeds=True):
        done = subprocess.run([FAB, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
        return done.stdout + done.stderr

    fab("config", "set", "encryption_fallback_enabled", "true")  # no keyring here
    return fab


@pytest.fixture
def signed_in(fab, sandbox):
    who = sandbox.credentials
    fab("auth", "login", "-u", who.client_id, "-p", who.client_secret, "--tenant", who.tenant_id)
    return fab


@pytest.fixture
def workspace(fabric):
    """(id, name) of a workspace with a lakehouse `lake` and a notebook `greet`."""
    workspace = fabric.workspace()
    fabric.lakehouse(workspace)
    fabric.notebook(workspace, notebook_source("print('hello', who)", parameters="who = 'nobody'"), "greet")
    yield fabric.get(f"/workspaces/{workspace}").json()
    fabric.call("DELETE", f"/workspaces/{workspace}", 200)


def test_signing_in_with_a_wrong_secret_fails(fab, sandbox):
    who = sandbox.credentials
    assert "Failed to get access token" in fab(
        "auth", "login", "-u", who.client_id, "-p", "wrong", "--tenant", who.tenant_id, succeeds=False
    )


def test_workspaces_items_and_folders_are_listed(signed_in, workspace):
    path = f"{workspace['displayName']}.Workspace"
    assert path in signed_in("ls")
    items = signed_in("ls", path, "-l")
    assert "lake.Lakehouse" in items
    assert "greet.Notebook" in items
    assert signed_in("ls", f"{path}/lake.Lakehouse").split() == ["Files", "Tables"]
    assert signed_in("exists", f"{path}/greet.Notebook").strip().endswith("true")


def test_a_notebook_job_is_run_to_its_end_with_parameters(signed_in, fabric, workspace):
    path = f"{workspace['displayName']}.Workspace/greet.Notebook"
    output = signed_in("job", "run", path, "-P", "who:string=fab")
    assert "completed" in output.lower()
    texts = [file.read_text() for file in fabric.sandbox.fabric.shop.output_dir.glob("*.txt")]
    assert "hello fab\n" in texts
    assert "RunNotebook" in signed_in("job", "run-list", path)


def test_items_are_made_described_and_removed(signed_in, fabric, workspace):
    path = f"{workspace['displayName']}.Workspace/made_by_fab.Lakehouse"
    signed_in("mkdir", path)
    names = [one["displayName"] for one in fabric.get(f"/workspaces/{workspace['id']}/items").json()["value"]]
    assert "made_by_fab" in names
    signed_in("set", path, "-q", "description", "-i", "described", "-f")
    described = [one["description"] for one in fabric.get(f"/workspaces/{workspace['id']}/lakehouses").json()["value"]]
    assert "described" in described
    signed_in("rm", path, "-f")
    names = [one["displayName"] for one in fabric.get(f"/workspaces/{workspace['id']}/items").json()["value"]]
    assert "made_by_fab" not in names
