"""Jobs of the Fabric sandbox on the wire: submit, look, list, cancel, and what a restart makes of them.

Sources: fabric-rest-api-specs (platform/swagger.json JobScheduler, common/job_scheduling.json), recorded traffic of ms-fabric-cli.
"""

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from tests.contract.fabric_trials import FabricCaller, cloud_of, error_of, notebook_source, part, until

from treadle.sandbox.clock import Clock
from treadle.sandbox.fabric.items import insert_item, read_new_item
from treadle.sandbox.fabric.job_log import (
    JobEnd,
    NewJob,
    activity_runs,
    end_job,
    get_job,
    insert_job,
    job_json,
    list_jobs,
    save_activity_run,
)
from treadle.sandbox.fabric.workspaces import create_workspace
from treadle.sandbox.onelake.store import LakeStore

NOWHERE = "11111111-2222-3333-4444-555555555555"
WAIT = {"name": "Wait", "type": "Wait", "typeProperties": {"waitTimeInSeconds": 3600}}


@pytest.fixture
def workspace(fabric):
    workspace = fabric.workspace()
    yield workspace
    fabric.headers = FabricCaller(fabric.sandbox, fabric.https).headers
    fabric.call("DELETE", f"/workspaces/{workspace}", 200)  # cancels what still runs


@pytest.fixture
def quick(fabric, workspace):
    """A pipeline that ends at once."""
    return fabric.pipeline(workspace)


@pytest.fixture
def slow(fabric, workspace):
    """A pipeline that waits for an hour of the sandbox's clock."""
    return fabric.pipeline(workspace, WAIT, name="slow")


def test_a_job_is_accepted_without_a_body_and_its_location_is_the_instance(fabric, workspace, quick):
    answer = fabric.post(f"/workspaces/{workspace}/items/{quick}/jobs/instances?jobType=Pipeline", expect=202)
    assert answer.content == b""
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["retry-after"] == "1"
    assert "x-ms-operation-id" not in answer.headers
    base, job_id = answer.headers["location"].rsplit("/", 1)
    assert base == f"{fabric.base}/workspaces/{workspace}/items/{quick}/jobs/instances"
    job = fabric.ended(answer.headers["location"])
    assert job["id"] == job_id
    assert (job["itemId"], job["jobType"], job["invokeType"], job["status"]) == (quick, "Pipeline", "Manual", "Completed")
    assert job["rootActivityId"] == answer.headers["RequestId"]
    assert job["failureReason"] is None
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}", job[name]) for name in ("startTimeUtc", "endTimeUtc"))


@pytest.mark.parametrize(
    ("path", "job_type"),
    [
        ("items/{}/jobs/instances?jobType=Pipeline", "Pipeline"),
        ("items/{}/jobs/instances?jobType=pipeline", "Pipeline"),
        ("items/{}/jobs/Pipeline/instances", "Pipeline"),
        ("items/{}/jobs/Execute/instances", "Execute"),
        ("items/{}/jobs/DefaultJob/instances", "DefaultJob"),
        ("dataPipelines/{}/jobs/execute/instances", "Execute"),
        ("datapipelines/{}/jobs/Execute/instances", "Execute"),
    ],
)
def test_every_form_of_the_path_starts_a_pipeline(fabric, workspace, quick, path, job_type):
    answer = fabric.post(f"/workspaces/{workspace}/{path.format(quick)}", expect=202)
    assert fabric.ended(answer.headers["location"])["jobType"] == job_type


@pytest.mark.parametrize("path", ["items/{}/jobs/RunNotebook/instances", "notebooks/{}/jobs/execute/instances?beta=false"])
def test_every_form_of_the_path_starts_a_notebook(fabric, workspace, path):
    notebook = fabric.notebook(workspace, notebook_source("import notebookutils\nnotebookutils.notebook.exit('done')"))
    location = fabric.post(f"/workspaces/{workspace}/{path.format(notebook)}", expect=202).headers["location"]
    job = fabric.ended(location)
    assert job["status"] == "Completed"
    typed = fabric.get(f"/workspaces/{workspace}/notebooks/{notebook}/jobs/execute/instances/{job['id']}?beta=true").json()
    assert typed["properties"]["exitValue"] == "done"
    assert typed["properties"]["compute"] == "Jupyter"
    assert fabric.https.get(typed["properties"]["computeDetails"]["monitoringInfo"]["executionSnapshotUrl"]).status_code == 200


def test_a_job_type_that_does_not_fit_the_item_is_refused(fabric, workspace, quick):
    instances = f"/workspaces/{workspace}/items/{quick}/jobs"
    assert error_of(fabric.post(f"{instances}/instances?jobType=RunNotebook"), 400) == "InvalidJobType"
    assert error_of(fabric.post(f"{instances}/instances"), 400) == "InvalidJobType"
    assert error_of(fabric.post(f"{instances}/sparkjob/instances"), 501) == "NotModelled"
    lakehouse = fabric.lakehouse(workspace)
    assert error_of(fabric.post(f"/workspaces/{workspace}/items/{lakehouse}/jobs/TableMaintenance/instances"), 501) == "NotModelled"
    assert error_of(fabric.post(f"/workspaces/{workspace}/items/{NOWHERE}/jobs/instances?jobType=Pipeline"), 404) == "ItemNotFound"
    assert error_of(fabric.post(f"/workspaces/{workspace}/notebooks/{quick}/jobs/execute/instances"), 404) == "ItemNotFound"


@pytest.mark.parametrize(
    "body",
    [
        {"executionData": "text"},
        {"executionData": {"parameters": ["a"]}},
        {"parameters": {"a": 1}},
        {"parameters": [{"name": "a", "type": "Text", "value": 1}]},
        {"parameters": [{"name": "a", "type": "Integer", "value": True}]},
        {"parameters": [{"name": "a", "type": "Guid", "value": "g"}]},
        {"parameters": [{"name": "a", "type": "Blob", "value": "g"}]},
        {"parameters": [{"type": "Text", "value": "g"}]},
        {"parameters": [{"name": "a", "type": "Text", "value": "1"}, {"name": "A", "type": "Text", "value": "2"}]},
        {"parameters": [{"name": "a", "type": "Text", "value": "1"}], "executionData": {"parameters": {"a": "2"}}},
        {"parameters": [{"name": "a" * 257, "type": "Text", "value": "1"}]},
    ],
)
def test_parameters_that_break_the_specification_are_refused(fabric, workspace, quick, body):
    assert error_of(fabric.post(f"/workspaces/{workspace}/items/{quick}/jobs/Pipeline/instances", body), 400) == "InvalidParameter"
    assert fabric.get(f"/workspaces/{workspace}/items/{quick}/jobs/instances").json()["value"] == []


@pytest.mark.parametrize(
    "parameter", ["text", {"type": "string"}, {"value": 1, "type": "string"}, {"value": True, "type": "int"}, {"value": 1, "type": "x"}]
)
def test_notebook_parameters_are_a_value_with_its_type(fabric, workspace, parameter):
    notebook = fabric.notebook(workspace, notebook_source("1"))
    body = {"executionData": {"parameters": {"a": parameter}}}
    assert error_of(fabric.post(f"/workspaces/{workspace}/items/{notebook}/jobs/RunNotebook/instances", body), 400) == "InvalidParameter"


def test_a_running_job_says_when_to_ask_again_and_an_ended_one_does_not(fabric, workspace, slow):
    location = fabric.run(workspace, slow)
    running = until(lambda: next((one for one in [fabric.get(location)] if one.json()["status"] == "InProgress"), None))
    assert running.headers["retry-after"] == "1"
    assert running.json()["endTimeUtc"] is None
    fabric.sandbox.faults.script("fabric.GetItemJobInstance", "no_retry_after")
    assert "retry-after" not in fabric.get(location).headers
    fabric.post(f"{location}/cancel", expect=202)
    fabric.ended(location)
    assert "retry-after" not in fabric.get(location).headers


def test_a_job_waits_in_the_queue_by_the_sandbox_clock_and_its_start_time_moves(fabric, workspace, quick):
    fabric.sandbox.fabric.options.job_queue_seconds = 30
    location = fabric.run(workspace, quick)
    queued = fabric.get(location).json()
    assert queued["status"] == "NotStarted"
    fabric.sandbox.clock.advance(31)
    job = fabric.ended(location)
    assert job["status"] == "Completed"
    assert job["startTimeUtc"] > queued["startTimeUtc"]


def test_jobs_are_listed_newest_first_in_pages(fabric, workspace, quick):
    ids = [fabric.run_to_end(workspace, quick)["id"] for _ in range(3)]
    url = f"/workspaces/{workspace}/items/{quick}/jobs/instances"
    assert [job["id"] for job in fabric.get(url).json()["value"]] == ids[::-1]
    fabric.sandbox.fabric.options.page_size = 2
    first = fabric.get(url).json()
    second = fabric.get(first["continuationUri"]).json()
    assert [job["id"] for job in first["value"] + second["value"]] == ids[::-1]
    assert "continuationUri" not in second


def test_a_cancelled_job_ends_soon_and_cannot_be_cancelled_twice(fabric, workspace, slow):
    location = fabric.run(workspace, slow)
    answer = fabric.post(f"{location}/cancel", expect=202)
    assert answer.headers["location"] == location
    assert answer.content == b""
    job = fabric.ended(location)
    assert (job["status"], job["failureReason"]) == ("Cancelled", None)
    assert error_of(fabric.post(f"{location}/cancel"), 400) == "JobAlreadyCompleted"
    assert error_of(fabric.post(f"{location[:-36]}{NOWHERE}/cancel"), 404) == "JobInstanceNotFound"
    runs = fabric.activity_runs(workspace, job["id"])
    assert [run["status"] for run in runs] == ["Cancelled"]


def test_a_job_can_complete_while_it_is_being_cancelled(fabric, workspace, slow):
    location = fabric.run(workspace, slow)
    until(lambda: fabric.get(location).json()["status"] == "InProgress")
    fabric.sandbox.faults.script("fabric.CancelItemJobInstance", "cancel_race")
    fabric.post(f"{location}/cancel", expect=202)
    fabric.sandbox.clock.advance(3600)
    fabric.headers = FabricCaller(fabric.sandbox, fabric.https).headers
    assert fabric.ended(location)["status"] == "Completed"


def test_scripted_job_faults_act_on_the_next_job(fabric, workspace, quick):
    faults = fabric.sandbox.faults
    faults.script("fabric.RunOnDemandItemJob", "deduped")
    assert fabric.run_to_end(workspace, quick)["status"] == "Deduped"
    faults.script("fabric.RunOnDemandItemJob", "job_failed", message="capacity paused", code="CapacityNotActive")
    reason = fabric.run_to_end(workspace, quick)["failureReason"]
    assert (reason["errorCode"], reason["message"], reason["isRetriable"]) == ("CapacityNotActive", "capacity paused", False)
    faults.script("fabric.RunOnDemandItemJob", "job_failed")
    assert fabric.run_to_end(workspace, quick)["failureReason"]["message"] == "Job instance failed without detail error"
    assert fabric.run_to_end(workspace, quick)["status"] == "Completed"


def test_scripted_faults_of_looking_hide_repeat_or_invent_a_state(fabric, workspace, quick):
    faults = fabric.sandbox.faults
    location = fabric.run(workspace, quick)
    fabric.ended(location)
    faults.script("fabric.GetItemJobInstance", "not_found_once")
    assert error_of(fabric.get(location, None), 404)
    faults.script("fabric.GetItemJobInstance", "stale_status")
    stale = fabric.get(location).json()
    assert (stale["status"], stale["endTimeUtc"]) == ("InProgress", None)
    faults.script("fabric.GetItemJobInstance", "unknown_status", status="OwnerUserMissing")
    unknown = fabric.get(location)
    assert unknown.json()["status"] == "OwnerUserMissing"
    assert "retry-after" in unknown.headers
    faults.script("fabric.ListItemJobInstances", "listing_lag")
    url = f"/workspaces/{workspace}/items/{quick}/jobs/instances"
    assert fabric.get(url).json()["value"] == []
    assert fabric.get(location).json()["status"] == "Completed"


def test_an_answer_that_is_lost_after_the_effect_leaves_exactly_one_job(fabric, workspace, quick):
    fabric.sandbox.faults.script("fabric.RunOnDemandItemJob", "drop_after")
    with pytest.raises(httpx2.TransportError):
        fabric.post(f"/workspaces/{workspace}/items/{quick}/jobs/instances?jobType=Pipeline")
    assert len(fabric.get(f"/workspaces/{workspace}/items/{quick}/jobs/instances").json()["value"]) == 1
    fabric.sandbox.faults.script("fabric.RunOnDemandItemJob", "drop_before")
    with pytest.raises(httpx2.TransportError):
        fabric.post(f"/workspaces/{workspace}/items/{quick}/jobs/instances?jobType=Pipeline")
    assert len(fabric.get(f"/workspaces/{workspace}/items/{quick}/jobs/instances").json()["value"]) == 1


def test_deleting_an_item_cancels_its_job(fabric, workspace, slow):
    fabric.run(workspace, slow)
    fabric.call("DELETE", f"/workspaces/{workspace}/items/{slow}", 200)
    assert error_of(fabric.get(f"/workspaces/{workspace}/items/{slow}/jobs/instances", None), 404) == "ItemNotFound"


# What outlasts the process: the same folder opened again.


def open_cloud(folder):
    clock = Clock()
    lake = LakeStore(folder, clock)
    return cloud_of(folder, clock, lake), lake


def fill(cloud):
    records, now = cloud.shop.records, cloud.shop.clock.now()
    workspace = create_workspace(records, name="w", description=None, capacity=None, owner_id=NOWHERE)
    return insert_item(records, workspace["id"], read_new_item({"displayName": "p"}, "DataPipeline"), now)


def test_only_the_newest_hundred_ended_jobs_and_every_active_one_are_listed(tmp_path):
    cloud, lake = open_cloud(tmp_path)
    item, records = fill(cloud), cloud.shop.records
    new = NewJob("Pipeline", {}, NOWHERE)
    jobs = [insert_job(records, item, new, cloud.shop.clock.now()) for _ in range(103)]
    for job in jobs[1:]:
        end_job(records, job, JobEnd("Completed"), cloud.shop.clock.now())
    listed = [job["id"] for job in list_jobs(records, item["id"])]
    assert listed == [job["id"] for job in reversed(jobs[3:])] + [jobs[0]["id"]]
    cloud.stop()
    lake.close()


def test_all_is_still_there_after_a_restart_and_what_ran_has_failed(tmp_path):
    cloud, lake = open_cloud(tmp_path)
    item, records = fill(cloud), cloud.shop.records
    job = insert_job(records, item, NewJob("Pipeline", {}, NOWHERE), cloud.shop.clock.now())
    row = {"activityRunId": "a", "pipelineRunId": job["id"], "activityName": "Ingest", "activityRunEnd": None, "status": "InProgress"}
    save_activity_run(records, row, cloud.shop.clock.now())
    records.close()  # as after kill -9: nobody ended the job
    lake.close()
    again, lake = open_cloud(tmp_path)
    assert again.workspaces() == [(item["workspace_id"], "w")]
    ended = job_json(get_job(again.shop.records, item["id"], job["id"]))
    assert ended["status"] == "Failed"
    assert "sandbox was stopped" in ended["failureReason"]["message"]
    runs = activity_runs(again.shop.records, job["id"])
    assert (runs[0]["status"], runs[0]["error"]["target"]) == ("Failed", "Ingest")
    again.stop()
    lake.close()


@pytest.mark.kills
def test_a_sandbox_that_is_killed_takes_its_notebooks_with_it(tmp_path):
    witness = tmp_path / "alive"
    program = tmp_path / "sandbox_process.py"
    program.write_text(SANDBOX_PROCESS, encoding="utf-8")
    command = [sys.executable, str(program), str(tmp_path / "state"), str(witness)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        until(witness.exists)
        notebook_pid = int(until(witness.read_text))
        process.send_signal(signal.SIGKILL)
        process.wait()
    until(lambda: not is_running(notebook_pid))


def is_running(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


SANDBOX_PROCESS = f"""
import json, sys, threading
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.contract.fabric_trials import cloud_of, notebook_source, part
from treadle.sandbox.clock import Clock
from treadle.sandbox.fabric.items import insert_item, read_new_item
from treadle.sandbox.fabric.job_log import NewJob, insert_job
from treadle.sandbox.fabric.workspaces import create_workspace
from treadle.sandbox.onelake.store import LakeStore

folder, witness = Path(sys.argv[1]), sys.argv[2]
folder.mkdir()
clock = Clock()
cloud = cloud_of(folder, clock, LakeStore(folder, clock))
source = notebook_source(f"import os, threading\\nopen({{witness!r}}, 'w').write(str(os.getpid()))\\nthreading.Event().wait()")
workspace = create_workspace(cloud.shop.records, name="w", description=None, capacity=None, owner_id="o")
body = {{"displayName": "n", "definition": {{"parts": [part("notebook-content.py", source)]}}}}
item = insert_item(cloud.shop.records, workspace["id"], read_new_item(body, "Notebook"), clock.now())
request = {{"parameters": {{}}, "lakehouse_id": None, "faults": {{}}}}
cloud.jobs.start(insert_job(cloud.shop.records, item, NewJob("RunNotebook", request, "r"), clock.now()))
threading.Event().wait()
"""


def test_stopping_the_sandbox_kills_a_running_notebook_and_fails_its_job(tmp_path):
    cloud, lake = open_cloud(tmp_path)
    witness = tmp_path / "alive"
    source = notebook_source(f"import os, threading\nopen({str(witness)!r}, 'w').write(str(os.getpid()))\nthreading.Event().wait()")
    workspace = create_workspace(cloud.shop.records, name="w", description=None, capacity=None, owner_id=NOWHERE)
    body = {"displayName": "n", "definition": {"parts": [part("notebook-content.py", source)]}}
    item = insert_item(cloud.shop.records, workspace["id"], read_new_item(body, "Notebook"), cloud.shop.clock.now())
    request = {"parameters": {}, "lakehouse_id": None, "faults": {}}
    job = insert_job(cloud.shop.records, item, NewJob("RunNotebook", request, NOWHERE), cloud.shop.clock.now())
    cloud.jobs.start(job)
    pid = int(until(lambda: witness.exists() and witness.read_text()))
    cloud.stop()
    lake.close()
    assert not is_running(pid)
    again, lake = open_cloud(tmp_path)
    assert "sandbox was stopped" in job_json(get_job(again.shop.records, item["id"], job["id"]))["failureReason"]["message"]
    again.stop()
    lake.close()
