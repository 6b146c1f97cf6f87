"""What somebody meets who has never been here: where to begin, and answers that speak of routes and not of commands."""

import ast
import re
from pathlib import Path
from uuid import UUID

import pytest

from tests.surfaces.api.conftest import eventually, working
from tests.surfaces.api.test_api_problems import assert_problem
from treadle.api.words import for_callers
from treadle.control.access import Role
from treadle.control.jobs import queue
from treadle.flows.sales.lakehouse import IMPORT

SOURCES = Path(__file__).parents[3] / "src" / "treadle"
OF_THE_SERVER = ("up", "migrate", "doctor", "deploy", "token create", "weekly")  # commands for whoever runs it


@pytest.mark.parametrize("path", ["/", "/api"])
def test_the_first_page_leads_on_and_needs_no_token(service, path):
    shown = service.nobody.get(path)
    assert (shown.status_code, shown.json()["name"]) == (200, "Treadle")
    assert service.nobody.get(shown.json()["openapi"]).status_code == 200
    assert [service.nobody.get(place).status_code for place in shown.json()["health"].values()] == [200, 200]


@pytest.mark.parametrize("path", ["/api/runs?limit=0", "/nowhere"])
def test_hints_name_a_description_that_is_there(service, path):
    assert "/api/openapi.json" in service.viewer.get(path).json()["hint"]


def test_a_profile_that_cannot_be_made_says_why_and_by_which_job(service):
    service.wiring.lake.upload(f"{IMPORT}/broken.xlsx", b"this is no workbook")
    url = "/api/files/broken.xlsx/profile"
    assert_problem(service.viewer.get(url), 404, "not_found")
    job_id = service.viewer.post(url).json()["job_id"]
    waiting = service.viewer.get(url)
    assert_problem(waiting, 404, "not_found")
    assert waiting.json()["job_id"] == job_id
    with working(service.wiring):
        eventually(lambda: queue.get_job(service.wiring.own, UUID(job_id)).state.ended, what="the end of the job")
    failed = service.viewer.get(url)
    assert_problem(failed, 409, "profile_failed")
    job = service.viewer.get(f"/api/jobs/{job_id}").json()
    assert (failed.json()["job_id"], job["error_message"] in failed.json()["detail"]) == (job_id, True)
    assert "/retry" in failed.json()["hint"]
    again = service.viewer.post(url)
    assert (again.status_code, again.json()["job_id"], again.json()["state"]) == (202, job_id, "FAILED")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/runs?stauts=FAILED"),
        ("GET", "/api/jobs?status=FAILED"),
        ("GET", "/api/me?x=1"),
        ("POST", "/api/runs?wait=1"),
        ("GET", "/api/health/live?x"),
    ],
)
def test_a_query_parameter_that_no_one_reads_is_refused_by_name(service, method, path):
    name = path.partition("?")[2].partition("=")[0]
    refused = service.admin.request(method, path)
    assert_problem(refused, 422, "invalid_input")
    assert refused.json()["unknown"] == [name]
    assert name in refused.json()["detail"]
    if path.startswith("/api/jobs"):
        assert "state" in refused.json()["known"]


def test_no_hint_sends_a_caller_to_a_command(service):
    """All that the layers below say, taken from their source."""
    found: list[str] = []
    for path in SOURCES.rglob("*.py"):
        if path.relative_to(SOURCES).parts[0] in ("cli", "sandbox", "settings.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "hint":
                found += [for_callers(re.sub(r"\{[^}]*id\}", "0" * 36, ast.unparse(node.value)))]
    assert len(found) > 100
    commands = [re.findall(r"treadle ((?:\w+ )?\w+)", hint) for hint in found if "treadle " in hint]
    assert [name for names in commands for name in names if not name.startswith(OF_THE_SERVER)] == []
    assert [hint for hint in found if "--map" in hint] == []


def test_what_is_not_there_is_said_in_words_of_the_api(service, put_file):
    name = put_file()
    missing = service.operator.post("/api/runs", json={"input_file": "no-such-file.csv"}).json()
    assert missing["detail"] == "no-such-file.csv is not in Files/import/."
    assert name in missing["hint"] or "Files there" in missing["hint"]
    assert service.viewer.get("/api/files/no-such-file.csv").json()["hint"] == "See what is there with: GET /api/files"
    assert service.admin.post("/api/lock/release", json={"reason": "x"}).json()["hint"] == "See it with: GET /api/lock"


def test_a_problem_reads_from_the_top(service):
    refused = service.operator.post("/api/runs", json={"input_file": "README.md"})
    assert list(refused.json())[:7] == ["type", "title", "status", "detail", "code", "hint", "correlation_id"]
    assert refused.json()["input_file"] == "README.md"
    unknown = service.nobody.get("/api/me", headers={"Authorization": "Bearer trdl_0123456789ab_" + "x" * 43})
    assert (unknown.json()["title"], "given" in unknown.json()) == ("Not signed in", False)
    assert 'error="invalid_token"' in unknown.headers["WWW-Authenticate"]


def test_answers_end_with_their_line_and_times_with_z(service, finished_run):
    run_id = finished_run()
    for path in ("/api", "/api/me", "/api/runs", f"/api/runs/{run_id}", "/api/runs?x=1", "/api/lock"):
        assert service.viewer.get(path).content.endswith(b"}\n"), path
    stream = service.viewer.get(f"/api/runs/{run_id}/events/stream").text
    listed = service.viewer.get(f"/api/runs/{run_id}/events").json()["events"]
    assert [event["event_time"] for event in listed] == re.findall(r'"event_time":"([^"]*Z)"', stream)
    held = service.operator.post("/api/runs", json={"input_file": service.viewer.get("/api/files").json()["files"][0]["name"]})
    refused = service.operator.post("/api/runs", json={"input_file": held.json()["input_file"]})
    assert refused.json()["locked_at"].endswith("Z")


def test_counts_are_compared_as_counts(service, finished_run):
    first, second = finished_run(rows=2), finished_run(rows=4)
    rows = {row["name"]: row for row in service.viewer.get(f"/api/runs/{first}/compare/{second}").json()["rows"]}
    assert [type(rows["orders"][side]) for side in ("a", "b", "change")] == [int, int, int]
    assert type(rows["total_revenue"]["a"]) is float


def test_refused_attempts_are_found_under_the_name_and_target_of_the_change(service):
    client = service.client(Role.VIEWER)
    assert client.put("/api/files/superstore.xlsx/mapping", json={"columns": {"Sales": "revenue"}}).status_code == 403
    entry = service.admin.get("/api/audit", params={"target": "file:superstore", "limit": 1}).json()["entries"][0]
    assert (entry["action"], entry["target"], entry["outcome"]) == ("file.map", "file:superstore.xlsx", "refused")


def test_the_audit_is_verified_by_who_may_read_it(service):
    report = service.admin.get("/api/audit/verify").json()
    assert (report["first_bad"], report["entries"] > 0) == (None, True)
    assert service.admin.get("/api/audit/verify", params={"expect_head": report["head"]}).json()["first_bad"] is None
    assert service.operator.get("/api/audit/verify").status_code == 403


def test_every_change_names_its_entry_in_the_audit_and_every_answer_is_told(service):
    document = service.app.openapi()
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            where = (method, path)
            assert method in ("get", "head") or path == "/query/graph" or operation["x-audit"]["action"], where
            assert set(operation["tags"]) <= tags, where
            assert [shown["name"] for shown in operation.get("parameters", []) if not shown.get("description")] == [], where
            assert "Successful Response" not in str(operation["responses"]), where
    example = document["paths"]["/api/runs"]["post"]["responses"]["409"]["content"]["application/problem+json"]["example"]
    assert (example["code"], example["locked_by"]) == ("lock_held", "ada")
    assert "job_id" in str(document["paths"]["/api/jobs/{job_id}/events"]["get"]["responses"]["200"])
