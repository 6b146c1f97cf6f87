"""Our clients under production's own addresses: a proxy leads Microsoft's host names to the sandbox, nothing else differs."""

import json
import os
import subprocess
import sys

CHILD = """
import json, sys
from pathlib import Path
from treadle.clients.entra import credential
from treadle.clients.fabric import FabricClient
from treadle.clients.onelake import OneLakeClient
given = json.load(sys.stdin)
ca_file = Path(given["ca_file"])
who = credential(*given["who"], authority_url="https://login.microsoftonline.com", ca_file=ca_file)
fabric = FabricClient("https://api.fabric.microsoft.com", who, ca_file, deadline_seconds=10)
workspace = fabric.create_workspace(given["name"]).workspace_id
lakehouse = fabric.create_item(workspace, name="lake", type="Lakehouse").item_id
notebook = fabric.create_item(workspace, name="notebook", type="Notebook")
lake = OneLakeClient("https://onelake.dfs.fabric.microsoft.com", workspace, lakehouse, who, ca_file, deadline_seconds=10)
lake.upload("Files/import/a.csv", b"x" * 10)
names = [file.name for file in lake.list_files("Files/import")]
print(json.dumps({"names": names, "read": lake.read_bytes("Files/import/a.csv", max_bytes=99).decode()}))
"""


def test_every_client_reaches_its_service_under_microsofts_names(sandbox):
    mine, at = sandbox.credentials, sandbox.endpoints
    given = {
        "who": [mine.tenant_id, mine.client_id, mine.client_secret],
        "ca_file": str(at.ca_file),
        "name": f"named {os.urandom(4).hex()}",
    }
    proxied = {name: value for name, value in os.environ.items() if name.lower() not in ("no_proxy", "https_proxy")} | {
        "HTTPS_PROXY": at.proxy_url
    }
    ran = subprocess.run(
        [sys.executable, "-c", CHILD], input=json.dumps(given), env=proxied, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == {"names": ["a.csv"], "read": "x" * 10}
    reached = {request.operation for request in sandbox.requests}
    assert {"entra.Token", "fabric.CreateWorkspace", "fabric.GetOperationState", "onelake.Path.Rename", "onelake.Path.List"} <= reached
    assert reached & {"onelake.Blob.Get", "onelake.Path.Read"}
