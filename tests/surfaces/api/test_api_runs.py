"""Runs over HTTP: started once, found again, compared, restored; their figures and their files."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.surfaces.api.conftest import eventually, working
from treadle.control import lock, runs


def test_a_run_is_accepted_and_found_where_the_answer_says(service, put_file):
    name = put_file()
    with working(service.wiring):
        started = service.operator.post("/api/runs", json={"input_file": name})
        assert started.status_code == 202
        shown = service.viewer.get(started.headers["Location"])
        assert (shown.status_code, shown.json()["input_file"]) == (200, name)
        assert shown.json()["triggered_by"] == "test-operator"


def test_while_a_run_is_active_the_next_is_refused_naming_the_holder(service, put_file):
    first = service.operator.post("/api/runs", json={"input_file": put_file()})
    refused = service.operator.post("/api/runs", json={"input_file": put_file()})
    assert refused.status_code == 409
    assert refused.json()["code"] == "lock_held"
    assert refused.json()["run_id"] == first.json()["run_id"]
    assert refused.json()["locked_by"] == "test-operator"
    assert int(refused.headers["Retry-After"]) >= 1


def test_32_parallel_repeats_start_one_run_and_all_get_its_answer(service, put_file):
    name, key = put_file(), str(uuid4())
    before = {run.run_id for run in runs.list_runs(service.wiring.database, limit=500).runs}
    with ThreadPoolExecutor(32) as pool:
        answers = list(
            pool.map(lambda _: service.operator.post("/api/runs", json={"input_file": name}, headers={"Idempotency-Key": key}), range(32))
        )
    assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers if answer.status_code != 202][:1]
    assert len({answer.json()["run_id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 31
    after = {run.run_id for run in runs.list_runs(service.wiring.database, limit=500).runs}
    assert len(after - before) == 1


def test_a_key_that_was_used_for_another_request_is_refused(service, put_file):
    key = {"Idempotency-Key": str(uuid4())}
    assert service.operator.post("/api/runs", json={"input_file": put_file()}, headers=key).status_code == 202
    reused = service.operator.post("/api/runs", json={"input_file": "another.csv"}, headers=key)
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")


def test_pages_follow_each_other_by_their_cursor(service, finished_run):
    made = [str(finished_run()) for _ in range(3)]
    seen, after = [], None
    while len(seen) < 3:
        page = service.viewer.get("/api/runs", params={"limit": 1, **({"after": after} if after else {})}).json()
        seen += [run["run_id"] for run in page["runs"]]
        after = page["next"]
    assert seen == made[::-1]


def test_runs_are_found_by_status_file_person_and_text(service, put_file):
    name = put_file()
    started = service.operator.post("/api/runs", json={"input_file": name}).json()["run_id"]
    for question in ({"file": name}, {"text": started[:8]}, {"by": "test-operator", "status": ["SUBMITTED", "QUEUED", "RUNNING"]}):
        assert [run["run_id"] for run in service.viewer.get("/api/runs", params=question).json()["runs"]] == [started]


def test_a_run_can_be_cancelled_and_says_who_did(service, put_file):
    service.environment.cloud.fabric.options.job_queue_seconds = 60
    run_id = service.operator.post("/api/runs", json={"input_file": put_file()}).json()["run_id"]
    assert service.operator.post(f"/api/runs/{run_id}/cancel").status_code == 202
    service.environment.cloud.fabric.options.job_queue_seconds = 0
    with working(service.wiring):
        eventually(lambda: service.viewer.get(f"/api/runs/{run_id}").json()["finished_at"], seconds=60)
    assert "test-operator" in service.viewer.get(f"/api/runs/{run_id}").json()["error_message"]
    again = service.operator.post(f"/api/runs/{run_id}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


def test_figures_are_shown_compared_and_followed_over_time(service, finished_run):
    first, second = finished_run(rows=2), finished_run(rows=4)
    latest = service.viewer.get("/api/kpis").json()
    assert (latest["latest"]["run_id"], latest["previous"]["run_id"]) == (str(second), str(first))
    assert {row["name"]: row["change"] for row in latest["changes"]}["orders"] == 2
    compared = service.viewer.get(f"/api/runs/{first}/compare/{second}").json()
    assert {row["name"]: row["change"] for row in compared["rows"]}["total_revenue"] == pytest.approx(8.0)
    points = service.viewer.get("/api/kpis/trend", params={"kpi": "orders", "limit": 2}).json()["points"]
    assert [(point["run_id"], point["value"]) for point in points] == [(str(first), 2), (str(second), 4)]


def test_a_restore_is_a_run_of_its_own_with_its_line_in_the_history(service, finished_run):
    source = finished_run()
    with working(service.wiring):
        key = {"Idempotency-Key": str(uuid4())}
        answers = [service.operator.post(f"/api/runs/{source}/restore", headers=key) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 202]
        target = answers[0].json()["run_id"]
        assert answers[1].json()["run_id"] == target
        eventually(lambda: service.viewer.get(f"/api/runs/{target}").json()["status"] == "SUCCEEDED", seconds=60)
    history = service.viewer.get("/api/restores", params={"limit": 1}).json()["restores"]
    assert [(item["source_run_id"], item["target_run_id"], item["restored_by"]) for item in history] == [
        (str(source), target, "test-operator")
    ]


def test_files_come_whole_and_in_ranges(service, finished_run):
    run_id = finished_run(rows=200)
    listed = {item["name"]: item for item in service.viewer.get(f"/api/runs/{run_id}/artifacts").json()["artifacts"]}
    assert set(listed) == {"sales_cleaned.parquet", "sales_cleaned.csv", "kpis.json", "import_profile.json", "run_metadata.json"}
    url = listed["sales_cleaned.csv"]["url"]
    whole = service.viewer.get(url)
    size, etag = len(whole.content), whole.headers["ETag"]
    assert (whole.status_code, size) == (200, listed["sales_cleaned.csv"]["size_bytes"])
    asked = service.viewer.head(url)
    assert (asked.status_code, asked.headers["Content-Length"], asked.headers["ETag"], asked.content) == (200, str(size), etag, b"")
    for header, start, end in (
        ("bytes=0-9", 0, 10),
        ("bytes=10-", 10, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=5-{size * 2}", 5, size),
    ):
        part = service.viewer.get(url, headers={"Range": header})
        assert (part.status_code, part.content) == (206, whole.content[start:end])
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
    for header in ("bytes=9-3", "lines=1-2", "bytes=0-1,4-5", "bytes=-"):
        assert service.viewer.get(url, headers={"Range": header}).status_code == 200
    beyond = service.viewer.get(url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"], beyond.json()["code"]) == (416, f"bytes */{size}", "range_not_satisfiable")
    assert service.viewer.get(url, headers={"Range": "bytes=0-9", "If-Range": etag}).status_code == 206
    assert service.viewer.get(url, headers={"Range": "bytes=0-9", "If-Range": '"another"'}).status_code == 200
    assert service.viewer.get(url, headers={"If-None-Match": etag}).status_code == 304


def test_only_an_admin_releases_the_lock_of_a_run_that_may_go_on(service, put_file):
    run_id = service.operator.post("/api/runs", json={"input_file": put_file()}).json()["run_id"]
    assert service.viewer.get("/api/lock").json()["run_id"] == run_id
    assert service.operator.post("/api/lock/release", json={"reason": "test", "even_if_running": True}).status_code == 403
    released = service.admin.post("/api/lock/release", json={"reason": "a test has no worker", "even_if_running": True})
    assert (released.status_code, released.json()["run_id"]) == (200, run_id)
    assert lock.show_lock(service.wiring.database).run_id is None
    entries = service.admin.get("/api/audit", params={"limit": 3}).json()["entries"]
    told = [(entry["outcome"], entry["action"], entry["name"]) for entry in entries]
    assert told == [
        ("done", "lock.release", "test-admin"),
        ("asked", "lock.release", "test-admin"),
        ("refused", "lock.release", "test-operator"),
    ]
