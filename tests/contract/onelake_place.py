"""A fresh lakehouse in the sandbox, reached by plain requests, and child processes in which unmodified clients reach it."""

import http.client
import json
import os
import ssl
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from treadle.sandbox.entra.store import FABRIC_AUDIENCE, STORAGE_AUDIENCE
from treadle.sandbox.server import Sandbox

CHILD_SECONDS = 60


@dataclass
class Place:
    """One lakehouse: `dfs` and `blob` send requests to paths below it, `folder` is where its files are on disk."""

    sandbox: Sandbox
    client: httpx2.Client
    workspace_name: str
    workspace_id: str
    lakehouse_id: str
    token: str

    @property
    def folder(self) -> Path:
        return self.sandbox.lake.path_of(self.workspace_id, self.lakehouse_id)

    def dfs(self, method, path, headers=None, **more):
        """A request to `path` below the lakehouse in the DFS dialect; keyword arguments that httpx2 does not know are the query."""
        return self.send(self.sandbox.endpoints.dfs_url, method, f"/{self.workspace_id}/{self.lakehouse_id}/{path}", headers, **more)

    def blob(self, method, path, headers=None, **more):
        return self.send(self.sandbox.endpoints.blob_url, method, f"/{self.workspace_id}/{self.lakehouse_id}/{path}", headers, **more)

    def send(self, base, method, path, headers=None, content=None, **query):
        return self.client.request(method, base + path, params=query or None, headers=self.bearer | (headers or {}), content=content)

    @property
    def bearer(self):
        return {"authorization": f"Bearer {self.token}"}

    def raw(self, base, method, target, headers=None):
        """A request whose target is sent exactly as it is written; the status and the decoded body."""
        connection = http.client.HTTPSConnection(
            urlsplit(base).netloc, context=ssl.create_default_context(cafile=str(self.sandbox.endpoints.ca_file)), timeout=10
        )
        try:
            connection.putrequest(method, target)
            for name, value in (self.bearer | {"Content-Length": "0"} | (headers or {})).items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def write(self, path, content, headers=None):
        """Put a file by one Put Blob and return the answer."""
        answer = self.blob("PUT", path, {"x-ms-blob-type": "BlockBlob"} | (headers or {}), content=content)
        assert answer.status_code == 201, answer.text
        return answer

    def read(self, path):
        answer = self.dfs("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.content

    def listed(self, directory="Files", *, recursive="true", **query):
        """The names below a folder, without the lakehouse's id, in the order of the answer."""
        path = f"/{self.workspace_id}"
        query = {"resource": "filesystem", "recursive": recursive, "directory": f"{self.lakehouse_id}/{directory}"} | query
        answer = self.send(self.sandbox.endpoints.dfs_url, "GET", path, **query)
        assert answer.status_code == 200, answer.text
        return [one["name"].removeprefix(f"{self.lakehouse_id}/") for one in answer.json()["paths"]]

    def run_client(self, code):
        """Run code of a vendor's client in a child process that trusts the sandbox's CA; the JSON that it prints."""
        endpoints, credentials = self.sandbox.endpoints, self.sandbox.credentials
        facts = {
            "WORKSPACE": self.workspace_id,
            "WORKSPACE_NAME": self.workspace_name,
            "LAKEHOUSE": self.lakehouse_id,
            "TOKEN": self.token,
            "DFS": endpoints.dfs_url,
            "BLOB": endpoints.blob_url,
            "ENTRA": endpoints.entra_url,
            "PROXY": endpoints.proxy_url,
            "TENANT": credentials.tenant_id,
            "CLIENT_ID": credentials.client_id,
            "CLIENT_SECRET": credentials.client_secret,
        }
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        trust = {"SSL_CERT_FILE": str(endpoints.ca_file), "REQUESTS_CA_BUNDLE": str(endpoints.ca_file)}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env=environment | facts | trust,
            capture_output=True,
            text=True,
            timeout=CHILD_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def operations(self, count):
        """The ids of the first `count` storage operations that were asked for; it waits for them."""
        deadline = time.monotonic() + 5
        while len(found := [one.operation for one in self.sandbox.requests.copy() if one.operation.startswith("onelake.")]) < count:
            assert time.monotonic() < deadline, found
        return found[:count]


@contextmanager
def open_place(sandbox: Sandbox) -> Iterator[Place]:
    """Make a workspace with a lakehouse `lake` through Fabric's API."""
    trusted = ssl.create_default_context(cafile=str(sandbox.endpoints.ca_file))
    name = f"ws{uuid.uuid4().hex[:12]}"
    token = sandbox.entra.issue_token(audience=STORAGE_AUDIENCE).access_token
    fabric = {"authorization": f"Bearer {sandbox.entra.issue_token(audience=FABRIC_AUDIENCE).access_token}"}
    with httpx2.Client(verify=trusted, timeout=30, trust_env=False) as client:
        workspaces = f"{sandbox.endpoints.fabric_url}/v1/workspaces"
        workspace_id = client.post(workspaces, json={"displayName": name}, headers=fabric).json()["id"]
        item = {"displayName": "lake", "type": "Lakehouse"}
        lakehouse_id = client.post(f"{workspaces}/{workspace_id}/items", json=item, headers=fabric).json()["id"]
        sandbox.requests.clear()
        yield Place(sandbox, client, name, workspace_id, lakehouse_id, token)


def error_code(answer):
    """The code in the body (JSON or XML) of a refusal, which must equal the one in its header."""
    header = answer.headers["x-ms-error-code"]
    if answer.headers["content-type"].startswith("application/json"):
        body = answer.json()["error"]
        assert "\nRequestId:" in body["message"]
        assert "\nTime:" in body["message"]
        assert body["code"] == header
    else:
        assert f"<Code>{header}</Code>" in answer.text
    return header
