"""Documents and connections over HTTP: the containers that callers may use, etags, and workspaces that Fabric has let us into."""

import json
from uuid import uuid4

import pytest

from tests.surfaces.api.scenario_trials import archive, ask_for_upload, new_workspace
from tests.unit.scenario_archives import small


def scenario(address, **members):
    """The least that a document of the scenario at this address has."""
    told = {
        "description": "",
        "domain": None,
        "graph_styles": {},
        "graph_connector": "fabric-gql",
        "workspace_id": "w",
        "workspace_name": "",
    }
    name = address.rpartition("/")[2]
    return {"name": name, "display_name": "One", **told, "updated_at": "2026-11-21T10:00:00+00:00", **members}


@pytest.fixture
def address(service):
    """Of a document that is gone afterwards."""
    found = f"/query/docs/scenarios/test-{uuid4().hex[:8]}"
    yield found
    service.admin.delete(found)


def test_a_document_is_written_over_the_version_that_was_read(service, address):
    name = address.rpartition("/")[2]
    content = scenario(address, list=[1, None, {"é": 2.5}])
    made = service.admin.put(address, json=content, headers={"If-None-Match": "*"})
    assert (made.status_code, made.json()["id"], made.json()["list"]) == (200, name, [1, None, {"é": 2.5}])
    first = made.headers["ETag"]
    assert service.viewer.get(address).headers["ETag"] == first == f'"{made.json()["_etag"]}"'
    twice = service.admin.put(address, json=content, headers={"If-None-Match": "*"})
    assert (twice.status_code, twice.json()["code"]) == (412, "precondition_failed")
    changed = service.admin.put(address, json=made.json() | {"display_name": "Two"}, headers={"If-Match": first})
    assert (changed.status_code, changed.json()["display_name"]) == (200, "Two")
    assert changed.headers["ETag"] != first
    stale = service.admin.put(address, json=scenario(address, display_name="Three"), headers={"If-Match": first})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    assert service.admin.delete(address, headers={"If-Match": first}).status_code == 412
    assert service.admin.put(address, json=scenario(address, display_name="Four"), headers={"If-Match": "*"}).status_code == 200
    assert service.viewer.get(address).json().keys() == {"id", "_etag", "_updated_at", *scenario(address)}
    assert service.admin.delete(address, headers={"If-Match": service.viewer.get(address).headers["ETag"]}).status_code == 204
    assert (service.viewer.get(address).status_code, service.admin.delete(address).status_code) == (404, 404)
    assert service.admin.put(address, json={}, headers={"If-Match": "*"}).status_code == 404


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"If-Match": "unquoted"}, {}),
        ({"If-Match": 'W/"weak"'}, {}),
        ({"If-Match": '"a", "b"'}, {}),
        ({"If-None-Match": '"a"'}, {}),
        ({}, {"id": "another"}),
        ({}, [1]),
        ({}, "text"),
    ],
)
def test_what_is_no_document_or_no_condition_is_refused(service, address, headers, body):
    answer = service.admin.put(address, json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), answer.text


def test_a_document_that_is_nested_without_end_is_refused(service, address):
    for depth, status in ((50, 200), (700, 422), (5_000, 400), (100_000, 400)):
        content = json.dumps(scenario(address))[:-1] + ',"a":' + "[" * depth + "]" * depth + "}"
        answer = service.admin.put(address, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, (depth, answer.text[:500])


@pytest.mark.parametrize(
    ("member", "field"),
    [
        ('"a": NaN', "a"),
        ('"a": [0, {"b": 1e400}]', "a[1].b"),
        ('"a": -Infinity', "a"),
        ('"display_name": "a\\u0000b"', "display_name"),
        ('"a": "half \\ud800"', "a"),
        ('"a": {"\\u0000": 1}', "a"),
    ],
)
def test_what_would_be_stored_as_something_else_is_refused(service, address, member, field):
    content = json.dumps(scenario(address))[:-1] + f", {member}}}"
    answer = service.admin.put(address, content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), answer.text
    assert f"'{field}' cannot be kept as it is" in answer.json()["detail"]
    assert service.viewer.get(address).status_code == 404, "it was stored all the same"


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"description": "Sign in with password=hunter2secret, then go on."}, "description"),
        ({"use_cases": ["one", "Authorization: Bearer abcdefgh12345678"]}, "use_cases[1]"),
        ({"more": {"client_secret=hunter2secret": 1}}, "more"),
    ],
)
def test_a_secret_is_refused_and_not_silently_taken_out(service, address, members, field):
    answer = service.admin.put(address, json=scenario(address, **members))
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "invalid_input", field), answer.text
    assert "looks like a password, a token or a key" in answer.json()["detail"]
    assert "hunter2secret" not in answer.text
    assert service.viewer.get(address).status_code == 404, "it was stored all the same"


def test_a_document_from_which_a_secret_was_taken_is_written_back(service, address):
    """As it is read of what a build has recorded, for which the store takes secrets out."""
    kept = service.admin.put(address, json=scenario(address, description="Sign in with password=[hidden], then go on."))
    assert (kept.status_code, kept.json()["description"]) == (200, "Sign in with password=[hidden], then go on.")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"workspace_id": ..., "updated_at": ...}, "it lacks workspace_id, updated_at"),
        ({"name": "another"}, "its name is another than its id"),
        ({"display_name": 5}, "display_name cannot have such a value"),
        ({"graph_styles": []}, "graph_styles cannot have such a value"),
        ({"tables": [{"name": "T"}]}, "is no scenario"),
        ({"updated_at": "yesterday"}, "is no scenario"),
        ({"updated_at": "2026-11-21T10:00:00"}, "updated_at has no time zone"),
    ],
)
def test_what_is_no_scenario_is_not_put_among_them(service, address, members, said):
    content = {name: value for name, value in scenario(address, **members).items() if value is not ...}
    answer = service.admin.put(address, json=content)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), answer.text
    assert said in answer.json()["detail"]
    assert service.viewer.get(address).status_code == 404


def test_the_example_of_a_document_is_one_that_can_be_sent(service):
    told = service.viewer.get("/api/openapi.json").json()["paths"]["/query/docs/{container}/{document_id}"]["put"]
    place = {each["name"]: each["schema"].get("examples", each.get("examples"))[0] for each in told["parameters"] if each["in"] == "path"}
    schema = told["requestBody"]["content"]["application/json"]
    (example,) = schema["schema"]["examples"]
    assert place == {"container": "scenarios", "document_id": "telco-noc"}
    there = service.admin.get("/query/docs/scenarios/telco-noc")  # another test may have built it
    sent = service.admin.put("/query/docs/scenarios/telco-noc", json=example)
    assert sent.status_code == 200, sent.text
    assert service.admin.delete("/query/docs/scenarios/telco-noc").status_code == 204
    if there.status_code == 200:
        kept = {name: value for name, value in there.json().items() if not name.startswith("_")}
        assert service.admin.put("/query/docs/scenarios/telco-noc", json=kept).status_code == 200


def test_a_document_that_is_too_large_is_refused(service, address):
    answer = service.admin.put(address, json={"text": "x" * 300_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    "container", ["fabric-connections", "jobs", "tokens", "Scenarios", "scenarios%00", "pg_tables", "..%2fscenarios", "x" * 300]
)
def test_containers_that_are_not_on_the_list_are_not_there(service, container):
    answers = [
        service.admin.get(f"/query/docs/{container}"),
        service.admin.get(f"/query/docs/{container}/a"),
        service.admin.put(f"/query/docs/{container}/a", json={}),
        service.admin.delete(f"/query/docs/{container}/a"),
    ]
    assert {answer.status_code for answer in answers} <= {404, 422}, [answer.text for answer in answers]


def test_what_treadle_alone_writes_is_read_and_not_written(service):
    for container in ("upload-jobs", "scenario-things", "scenario-documents"):
        assert service.viewer.get(f"/query/docs/{container}").status_code == 200
        refused = service.admin.put(f"/query/docs/{container}/a", json={})
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


def test_pages_of_documents_follow_each_other(service):
    names = [f"page-{uuid4().hex[:6]}-{number}" for number in range(5)]
    for name in names:
        service.admin.put(f"/query/docs/scenarios/{name}", json=scenario(name, scenario="paged")).raise_for_status()
    seen, after = [], None
    while True:
        asked = {"limit": 2, "scenario": "paged"} | ({"after": after} if after else {})
        page = service.viewer.get("/query/docs/scenarios", params=asked).json()
        seen += [item["id"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert seen == sorted(names)
    for name in names:
        service.admin.delete(f"/query/docs/scenarios/{name}").raise_for_status()


def test_upload_jobs_are_documents_too(service):
    workspace = new_workspace(service)
    job_id = ask_for_upload(service, workspace, {"graph": archive(small())}, scenario_name="shop")["job_id"]
    newest = service.viewer.get("/query/docs/upload-jobs", params={"limit": 1}).json()["items"][0]
    one = service.viewer.get(f"/query/docs/upload-jobs/{job_id}")
    assert (newest, one.json()["status"], one.json()["steps"][0]["name"]) == (one.json(), "pending", "graph")
    service.operator.post(f"/api/upload-jobs/{job_id}/cancel").raise_for_status()
    again = service.viewer.get(f"/query/docs/upload-jobs/{job_id}")
    assert (again.json()["status"], again.headers["ETag"] != one.headers["ETag"]) == ("cancelled", True)
    service.operator.delete(f"/api/upload-jobs/{job_id}").raise_for_status()
    for absent in (job_id, str(uuid4()), "no-id"):
        assert service.viewer.get(f"/query/docs/upload-jobs/{absent}").status_code == 404
    assert service.viewer.get("/query/docs/upload-jobs", params={"scenario": "shop"}).status_code == 422


def test_a_workspace_is_connected_when_fabric_knows_it(service):
    one, two = new_workspace(service), new_workspace(service)
    for workspace in (one, two):
        added = service.operator.post("/query/fabric/connections", json={"workspace_id": workspace, "workspace_name": "not its name"})
        assert (added.status_code, added.json()["id"], added.json()["workspace_name"][:3]) == (201, workspace, "ws-")
    for absent in (str(uuid4()), "no-id"):
        answer = service.operator.post("/query/fabric/connections", json={"workspace_id": absent})
        assert answer.status_code in {404, 422}
    for workspace in (one, two, two):
        assert service.operator.post(f"/query/fabric/connections/{workspace}/select").json()["active"] is True
        found = service.viewer.get("/query/fabric/connections").json()["connections"]
        assert [connection["workspace_id"] for connection in found if connection["active"]] == [workspace]
    status = service.viewer.get("/api/fabric/status").json()
    assert (status["connection"]["workspace_id"], status["reachable"], status["problem"]) == (two, True, None)
    for workspace in (one, two):
        assert service.operator.delete(f"/query/fabric/connections/{workspace}").status_code == 204
        assert service.operator.delete(f"/query/fabric/connections/{workspace}").status_code == 404
    assert service.operator.post(f"/query/fabric/connections/{one}/select").status_code == 404


def test_a_build_goes_to_the_active_connection_unless_it_names_another_workspace(service):
    workspace = new_workspace(service)
    for connection in service.viewer.get("/query/fabric/connections").json()["connections"]:
        service.operator.delete(f"/query/fabric/connections/{connection['id']}").raise_for_status()
    nowhere = service.operator.post("/api/upload-jobs", files={"graph": archive(small())})
    assert (nowhere.status_code, "no connection is active" in nowhere.json()["detail"]) == (422, True)
    service.operator.post("/query/fabric/connections", json={"workspace_id": workspace}).raise_for_status()
    job_id = service.operator.post("/api/upload-jobs", files={"graph": archive(small())}).json()["job_id"]
    job = service.viewer.get(f"/api/upload-jobs/{job_id}").json()
    assert (job["workspace_id"], job["workspace_name"][:3]) == (workspace, "ws-")
    service.operator.post(f"/api/upload-jobs/{job_id}/cancel").raise_for_status()
    service.operator.delete(f"/query/fabric/connections/{workspace}").raise_for_status()


def test_viewers_change_no_connection_and_operators_no_document(service, address):
    workspace = new_workspace(service)
    for method, place, sent in (
        ("POST", "/query/fabric/connections", {"workspace_id": workspace}),
        ("POST", f"/query/fabric/connections/{workspace}/select", None),
        ("DELETE", f"/query/fabric/connections/{workspace}", None),
    ):
        assert service.viewer.request(method, place, json=sent).json()["right"] == "connections:manage"
    assert service.operator.put(address, json={}).json()["right"] == "documents:write"
    assert service.operator.delete(address).json()["right"] == "documents:write"
