"""A thin REST caller for the contract tests of the Fabric sandbox, and small items to try it with."""

import base64
import json
import threading
import time
import uuid

from treadle.sandbox.fabric.cloud import FabricCloud
from treadle.sandbox.faults import FaultScript
from treadle.sandbox.kusto.cloud import KustoCloud

TERMINAL = {"Completed", "Failed", "Cancelled", "Deduped"}
NOTEBOOK_HEAD = "# Fabric notebook source\n\n"
MARKER = "********************"


def cloud_of(folder, clock, lake):
    """Fabric alone, from a state folder, without the services before it."""
    faults = FaultScript()
    kusto = KustoCloud(folder / "kusto", clock, faults, lake, public_url="https://localhost:2", lake_urls=())
    return FabricCloud(folder / "fabric", clock, faults, lake, kusto, public_url="https://localhost:1")


def encode(text):
    return base64.b64encode(text.encode()).decode()


def decode(payload):
    return base64.b64decode(payload).decode()


def part(path, text):
    return {"path": path, "payload": encode(text), "payloadType": "InlineBase64"}


def notebook_source(*cells, parameters=None, lakehouse=None):
    metadata = {"dependencies": {"lakehouse": {"default_lakehouse": lakehouse}} if lakehouse else {}}
    blocks = [f"# METADATA {MARKER}\n\n" + "\n".join(f"# META {line}" for line in json.dumps(metadata, indent=2).split("\n"))]
    if parameters is not None:
        blocks.append(f"# PARAMETERS CELL {MARKER}\n\n{parameters}")
    blocks += [f"# CELL {MARKER}\n\n{cell}" for cell in cells]
    return NOTEBOOK_HEAD + "\n\n".join(blocks) + "\n"


def notebook_activity(notebook_id, name="Run", parameters=None, **more):
    settings = {"notebookId": notebook_id, "workspaceId": "00000000-0000-0000-0000-000000000000", "parameters": parameters or {}}
    return {"name": name, "type": "TridentNotebook", "typeProperties": settings, **more}


def expression(text, kind="string"):
    return {"value": {"value": text, "type": "Expression"}, "type": kind}


def until(condition, seconds=20):
    """Wait for a true answer of `condition` and return it."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not true within {seconds} s: {condition}"
        pause.wait(0.02)
    return answer


class FabricCaller:
    """Calls the sandbox's Fabric API with a token of its own application."""

    def __init__(self, sandbox, https):
        self.sandbox, self.https = sandbox, https
        self.base = sandbox.endpoints.fabric_url + "/v1"
        self.headers = {"Authorization": f"Bearer {sandbox.entra.issue_token().access_token}"}

    def call(self, method, path, expect=None, **more):
        url = path if path.startswith("https://") else self.base + path
        answer = self.https.request(method, url, headers=self.headers, **more)
        assert expect is None or answer.status_code == expect, f"{answer.status_code} {answer.text}"
        return answer

    def get(self, path, expect=200, **more):
        return self.call("GET", path, expect, **more)

    def post(self, path, body=None, expect=None, **more):
        return self.call("POST", path, expect, json=body or {}, **more)

    def workspace(self):
        return self.post("/workspaces", {"displayName": f"trial {uuid.uuid4()}"}, expect=201).json()["id"]

    def lakehouse(self, workspace, name="lake"):
        return self.post(f"/workspaces/{workspace}/lakehouses", {"displayName": name}, expect=201).json()["id"]

    def item(self, workspace, kind, name, path, text):
        body = {"displayName": name, "type": kind, "definition": {"parts": [part(path, text)]}}
        answer = self.post(f"/workspaces/{workspace}/items", body)
        return answer.json()["id"] if answer.status_code == 201 else self.finished(answer).json()["id"]

    def notebook(self, workspace, source, name="notebook"):
        return self.item(workspace, "Notebook", name, "notebook-content.py", source)

    def pipeline(self, workspace, *activities, parameters=None, name="pipeline"):
        content = {"properties": {"activities": list(activities), "parameters": parameters or {}}}
        return self.item(workspace, "DataPipeline", name, "pipeline-content.json", json.dumps(content))

    def finished(self, accepted):
        """The result of a long-running operation that was accepted."""
        assert accepted.status_code == 202, accepted.text
        state = until(lambda: next((one for one in [self.get(accepted.headers["location"])] if one.json()["status"] != "Running"), None))
        assert state.json()["status"] == "Succeeded", state.text
        return self.get(state.headers["location"]) if "location" in state.headers else None

    def run(self, workspace, item, job_type="Pipeline", **body):
        """Start a job; the URL of its instance."""
        return self.post(f"/workspaces/{workspace}/items/{item}/jobs/instances?jobType={job_type}", body, expect=202).headers["location"]

    def ended(self, location):
        """The job instance once it has ended."""
        return until(lambda: next((job for job in [self.get(location).json()] if job["status"] in TERMINAL), None))

    def activity_runs(self, workspace, job_id, **body):
        return self.post(f"/workspaces/{workspace}/datapipelines/pipelineruns/{job_id}/queryactivityruns", body, expect=200).json()["value"]

    def run_to_end(self, workspace, item, job_type="Pipeline", **body):
        return self.ended(self.run(workspace, item, job_type, **body))

    def output(self, run):
        """What the notebook of an activity run printed."""
        return self.https.get(run["output"]["SparkMonitoringURL"]).text


def error_of(answer, status):
    """The error code of a refused request, checked in all the places where Fabric says it."""
    body = answer.json()
    assert answer.status_code == status, answer.text
    assert {"requestId", "errorCode", "message"} <= set(body)
    assert answer.headers["x-ms-public-api-error-code"] == body["errorCode"]
    assert answer.headers["RequestId"] == body["requestId"]
    return body["errorCode"]
