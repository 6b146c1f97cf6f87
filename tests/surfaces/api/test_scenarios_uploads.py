"""Archives of scenarios that come as resumable uploads: what arrives is kept, and one build uses each up."""

import hashlib
import random
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest

from tests.surfaces.api.conftest import PLENTY, eventually, serving, working
from tests.surfaces.api.scenario_trials import archive, new_workspace, streamed, until_ended
from tests.surfaces.api.test_api_uploads import cut_after, offset_of, send
from tests.unit.scenario_archives import small, tar_gz
from treadle.control.access import Right, Role
from treadle.flows.sales.resumable import clear_over
from treadle.flows.scenario.uploads import UPLOADS, clear_uploads

GOOD = small()
LARGE = tar_gz({"noise.md": random.Random(5).randbytes(600_000).hex()})


@pytest.fixture
def workspace(service) -> str:
    return new_workspace(service)


def begin(service, content: bytes, name: str = "shop.tar.gz", client=None) -> str:
    """The id of the upload."""
    answer = (client or service.operator).post("/api/uploads", json={"file_name": name, "size_bytes": len(content)})
    assert answer.status_code == 201, answer.text
    return answer.json()["upload_id"]


def finalise(service, upload_id: str, content: bytes, client=None):
    body = {"sha256": hashlib.sha256(content).hexdigest()}
    return (client or service.operator).post(f"/api/uploads/{upload_id}/finalise", json=body)


def brought(service, content: bytes = GOOD, name: str = "shop.tar.gz") -> str:
    """The id of an upload that is finished."""
    upload_id = begin(service, content, name)
    assert send(service, f"/api/uploads/{upload_id}", 0, content).status_code == 204
    placed = finalise(service, upload_id, content)
    assert placed.status_code == 200, placed.text
    assert (placed.json()["name"], placed.json()["size_bytes"]) == (name, len(content))
    return upload_id


def form(**texts: str) -> dict:
    """A form of texts alone."""
    return {"files": {name: (None, text) for name, text in texts.items()}}


def build(service, workspace: str, client=None, **texts: str):
    return (client or service.operator).post("/api/upload-jobs", **form(workspace_id=workspace, **texts))


def is_there(service, upload_id: str) -> bool:
    return upload_id in {folder.name for folder in service.wiring.lake.list_folders(UPLOADS)}


def expire(service, upload_id: str) -> None:
    with psycopg.connect(**service.wiring.settings.own_conninfo) as connection:
        connection.execute("UPDATE treadle.uploads SET expires_at = clock_timestamp() WHERE upload_id = %s", (upload_id,))


def test_an_archive_that_was_cut_goes_on_and_is_built_from_where_it_lies(service, workspace):
    """The stored bytes are the job's own: no copy of them is made, and both slots read the one."""
    upload_id = begin(service, GOOD)
    url = f"/api/uploads/{upload_id}"
    cut_after(service, url, 0, GOOD[:100], len(GOOD))
    eventually(lambda: finalise(service, upload_id, GOOD).json()["code"] == "upload_incomplete", what="the end of the broken request")
    early = build(service, workspace, graph_upload=upload_id)
    assert (early.status_code, early.json()["code"], "finalise" in early.json()["hint"]) == (409, "upload_incomplete", True)
    kept = offset_of(service, url)
    assert send(service, url, kept, GOOD[kept:]).status_code == 204
    assert finalise(service, upload_id, GOOD).status_code == 200
    asked = build(service, workspace, scenario_name="sent-in-pieces", graph_upload=upload_id)
    assert asked.status_code == 201, asked.text
    job_id = asked.json()["job_id"]
    assert is_there(service, upload_id)
    assert not is_there(service, job_id), "nothing was copied"
    assert service.operator.get(url).json()["used_by"] == job_id
    assert until_ended(service, job_id)["status"] == "done"
    assert not is_there(service, upload_id), "used up"


def test_an_upload_is_used_up_by_one_job_in_all_the_slots_that_name_it(service, workspace):
    runbooks = tar_gz({"fibre.md": "# Fibre cut\nCall the crew."})
    upload_id = brought(service, runbooks, "books.tgz")
    texts = {"scenario_name": "books", "runbooks_upload": upload_id, "tickets_upload": upload_id}
    key = {"Idempotency-Key": str(uuid4())}
    sent = {**form(workspace_id=workspace, **texts), "headers": key}
    first, again = (service.operator.post("/api/upload-jobs", **sent) for _ in range(2))
    assert (first.status_code, again.status_code, first.json()) == (201, 201, again.json()), first.text
    job_id = first.json()["job_id"]
    used = build(service, workspace, **texts)
    assert (used.status_code, used.json()["code"], used.json()["job_id"]) == (409, "upload_used", job_id)
    assert finalise(service, upload_id, runbooks).json()["code"] == "upload_used"
    assert service.operator.delete(f"/api/uploads/{upload_id}").status_code == 409
    assert until_ended(service, job_id)["status"] == "done"
    found = service.viewer.get("/query/docs/scenario-documents", params={"scenario": "books"}).json()["items"]
    assert sorted(item["slot"] for item in found) == ["runbooks", "tickets"]


def test_a_provisioning_takes_an_upload_and_leaves_it_when_it_is_refused(service, workspace):
    upload_id = brought(service)
    held = service.operator.post("/api/upload-jobs", data={"workspace_id": workspace}, files={"graph": archive(GOOD)}).json()["job_id"]
    sent = form(workspace_id=workspace, file_upload=upload_id)
    assert service.operator.post("/api/fabric/provision/graph", **sent).json()["code"] == "provisioning_running"
    assert service.operator.get(f"/api/uploads/{upload_id}").json()["used_by"] is None
    service.operator.post(f"/api/upload-jobs/{held}/cancel").raise_for_status()
    with working(service.wiring), streamed(service.operator, "POST", "/api/fabric/provision/graph", **sent) as (answer, events):
        assert answer.status_code == 200
        assert [name for _, name, _ in events][-1] == "complete"
    assert not is_there(service, upload_id)


def test_a_job_that_is_deleted_takes_its_uploads_along(service, workspace):
    upload_id = brought(service)
    job_id = build(service, workspace, graph_upload=upload_id).json()["job_id"]
    service.operator.post(f"/api/upload-jobs/{job_id}/cancel").raise_for_status()
    assert is_there(service, upload_id), "it may be retried"
    assert service.operator.delete(f"/api/upload-jobs/{job_id}").status_code == 204
    assert not is_there(service, upload_id)


def test_an_archive_is_there_for_its_sender_alone(service, workspace):
    upload_id = brought(service)
    other = service.client(token=service.token(Role.OPERATOR))
    foreign = build(service, workspace, client=other, graph_upload=upload_id)
    absent = build(service, workspace, client=other, graph_upload=str(uuid4()))
    assert (foreign.status_code, foreign.json()["code"]) == (absent.status_code, absent.json()["code"]) == (404, "not_found")
    assert foreign.headers["content-type"] == "application/problem+json"
    for method in ("GET", "DELETE"):
        assert other.request(method, f"/api/uploads/{upload_id}").status_code == 404
    assert other.post(f"/api/uploads/{upload_id}/finalise", json={}).status_code == 404
    assert service.operator.get(f"/api/uploads/{upload_id}").json()["state"] == "PLACED"


def test_each_kind_of_file_needs_its_own_right(service):
    may = {right: service.client(token=service.token(Role.OPERATOR, [right])) for right in (Right.FILES_WRITE, Right.SCENARIOS_BUILD)}
    for right, name in ((Right.FILES_WRITE, "x.tar.gz"), (Right.SCENARIOS_BUILD, "x.csv")):
        refused = may[right].post("/api/uploads", json={"file_name": name, "size_bytes": 1})
        assert (refused.status_code, refused.json()["right"]) == (403, next(iter(may.keys() - {right})))
    upload_id = begin(service, GOOD, client=may[Right.SCENARIOS_BUILD])
    sender = may[Right.SCENARIOS_BUILD]
    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    assert sender.patch(f"/api/uploads/{upload_id}", content=GOOD, headers=headers).status_code == 204
    assert finalise(service, upload_id, GOOD, client=sender).status_code == 200
    assert sender.delete(f"/api/uploads/{upload_id}").status_code == 204
    assert not is_there(service, upload_id)


def test_what_is_no_archive_is_refused_with_its_first_bytes_and_at_the_end(service):
    upload_id = begin(service, b"PK\x03\x04 no gzip")
    refused = send(service, f"/api/uploads/{upload_id}", 0, b"PK\x03\x04 no gzip")
    assert (refused.status_code, "no gzip file" in refused.json()["detail"]) == (422, True)
    slow = begin(service, b"\x1fX")
    for offset, piece in enumerate((b"\x1f", b"X")):
        assert send(service, f"/api/uploads/{slow}", offset, piece).status_code == 204
    assert "no gzip file" in finalise(service, slow, b"\x1fX").json()["detail"]
    empty = begin(service, b"")
    assert "no gzip file" in finalise(service, empty, b"").json()["detail"]
    for name in ("a/b.tar.gz", "a\nb.tgz", "x" * 240 + ".tar.gz"):
        assert service.operator.post("/api/uploads", json={"file_name": name, "size_bytes": 1}).status_code == 422, name


def test_an_archive_may_have_what_scenarios_may_have_and_not_what_workbooks_may(service):
    scenarios = replace(service.wiring.scenarios(), upload_limit_bytes=len(LARGE))
    with serving(service.wiring, service.environment, PLENTY, scenarios=lambda: scenarios) as other:
        client = other.client(Role.OPERATOR)
        fits, large = (client.post("/api/uploads", json={"file_name": "a.tgz", "size_bytes": len(LARGE) + more}) for more in (0, 1))
        workbook = client.post("/api/uploads", json={"file_name": "a.csv", "size_bytes": len(LARGE) + 1})
    assert (fits.status_code, large.status_code, workbook.status_code) == (201, 413, 201)
    assert (large.json()["code"], large.json()["limit_bytes"]) == ("too_large", len(LARGE))
    assert "SCENARIO_UPLOAD_LIMIT_MB" in large.json()["hint"]


def test_the_stored_bytes_of_an_archive_must_be_those_that_were_sent(service):
    upload_id = begin(service, LARGE)
    assert send(service, f"/api/uploads/{upload_id}", 0, LARGE).status_code == 204
    assert finalise(service, upload_id, GOOD).json()["code"] == "sha256_mismatch"
    assert not is_there(service, upload_id)
    assert finalise(service, upload_id, LARGE).status_code == 200
    assert finalise(service, upload_id, LARGE).status_code == 200, "safe to repeat"


def test_an_archive_that_nobody_used_in_time_is_gone(service, workspace):
    upload_id = brought(service)
    expire(service, upload_id)
    gone = build(service, workspace, graph_upload=upload_id)
    assert (gone.status_code, gone.json()["detail"]) == (404, f"The upload {upload_id} has expired.")
    clear_over(service.wiring.sales, service.wiring.own)
    assert not is_there(service, upload_id)


def test_an_archive_that_waits_with_its_job_is_kept_however_long_that_takes(service, workspace, monkeypatch):
    upload_id = brought(service)
    job_id = build(service, workspace, scenario_name="patient", graph_upload=upload_id).json()["job_id"]
    expire(service, upload_id)
    monkeypatch.setattr("treadle.flows.scenario.uploads.KEPT", timedelta(days=-1))
    clear_over(service.wiring.sales, service.wiring.own)
    clear_uploads(service.wiring.scenarios())
    assert is_there(service, upload_id)
    assert until_ended(service, job_id)["status"] == "done"


@pytest.mark.parametrize(
    ("texts", "status", "said"),
    [
        ({"graph_upload": "not-an-id"}, 422, "graph_upload"),
        ({"graph_upload": ""}, 422, "no archive"),
        ({"photos_upload": str(uuid4())}, 422, "no field 'photos_upload'"),
    ],
)
def test_what_names_no_upload_is_refused(service, workspace, texts, status, said):
    answer = build(service, workspace, **texts)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text


def test_a_slot_is_filled_once_and_not_with_a_workbook(service, workspace):
    upload_id = brought(service)
    sent = {"data": {"workspace_id": workspace, "graph_upload": upload_id}, "files": {"graph": archive(GOOD)}}
    twice = service.operator.post("/api/upload-jobs", **sent)
    assert (twice.status_code, "came twice" in twice.json()["detail"]) == (422, True)
    workbook = begin(service, b"a,b\n", f"{uuid4().hex}.csv")
    refused = build(service, workspace, graph_upload=workbook)
    assert (refused.status_code, "no archive" in refused.json()["detail"]) == (422, True)
    assert service.viewer.get("/api/upload-jobs", params={"workspace_id": workspace}).json()["jobs"] == []
