"""Workspaces, folders, paging, errors and quotas of the Fabric sandbox, over HTTPS.

Sources: fabric-rest-api-specs (platform/swagger.json), recorded traffic of ms-fabric-cli.
"""

import uuid

import pytest
from tests.contract.fabric_trials import FabricCaller, error_of

from treadle.sandbox.entra.store import POWER_BI_AUDIENCE, STORAGE_AUDIENCE

NOWHERE = "11111111-2222-3333-4444-555555555555"


def test_a_workspace_is_created_read_changed_and_deleted(fabric):
    created = fabric.post("/workspaces", {"displayName": f"w {uuid.uuid4()}"}, expect=201)
    workspace = created.json()
    assert created.headers["location"] == f"{fabric.base}/workspaces/{workspace['id']}"
    assert workspace["description"] == ""
    assert workspace["capacityId"] == fabric.get("/capacities").json()["value"][0]["id"]
    changed = fabric.call("PATCH", f"/workspaces/{workspace['id']}", 200, json={"description": "changed"}).json()
    assert changed == workspace | {"description": "changed"}
    read = fabric.get(f"/workspaces/{workspace['id'].upper()}").json()
    assert {"capacityRegion", "capacityAssignmentProgress", "oneLakeEndpoints"} <= set(read)
    assert workspace["id"] in [one["id"] for one in fabric.get("/workspaces").json()["value"]]
    assert fabric.call("DELETE", f"/workspaces/{workspace['id']}", 200).content == b""
    assert error_of(fabric.get(f"/workspaces/{workspace['id']}", None), 404) == "WorkspaceNotFound"


def test_deleting_a_workspace_deletes_its_items_folders_and_files(fabric):
    workspace = fabric.workspace()
    lakehouse = fabric.lakehouse(workspace)
    outer = fabric.post(f"/workspaces/{workspace}/folders", {"displayName": "a"}).json()["id"]
    fabric.post(f"/workspaces/{workspace}/folders", {"displayName": "b", "parentFolderId": outer}, expect=201)
    files = fabric.sandbox.lake.path_of(workspace, lakehouse)
    assert (files / "Files").is_dir()
    assert (files / "Tables").is_dir()
    fabric.call("DELETE", f"/workspaces/{workspace}", 200)
    assert not files.exists()
    assert error_of(fabric.get(f"/workspaces/{workspace}/items/{lakehouse}", None), 404) == "WorkspaceNotFound"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "InvalidInput"),
        ({"displayName": "  "}, 400, "InvalidInput"),
        ({"displayName": "x" * 257}, 400, "InvalidInput"),
        ({"displayName": "a\nb"}, 400, "InvalidInput"),
        ({"displayName": 7}, 400, "InvalidInput"),
        ({"displayName": "w", "capacityId": NOWHERE}, 404, "CapacityNotFound"),
    ],
)
def test_a_workspace_that_cannot_be_is_refused(fabric, body, status, code):
    assert error_of(fabric.post("/workspaces", body), status) == code


def test_two_workspaces_cannot_have_one_name_whatever_its_case(fabric):
    name = f"Taken {uuid.uuid4()}"
    fabric.post("/workspaces", {"displayName": name}, expect=201)
    assert error_of(fabric.post("/workspaces", {"displayName": name.upper()}), 409) == "WorkspaceNameAlreadyExists"


def test_a_body_that_is_not_a_json_object_is_refused(fabric):
    url = "/workspaces"
    for content in (b"{", b"[1]", b"7", b"\xff"):
        assert error_of(fabric.call("POST", url, content=content), 400) == "InvalidInput"


def test_every_answer_carries_the_headers_of_recorded_traffic(fabric):
    headers = fabric.get("/workspaces").headers
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["access-control-expose-headers"] == "RequestId"
    assert headers["cache-control"] == "no-store, must-revalidate, no-cache"
    assert uuid.UUID(headers["requestid"])
    assert {"pragma", "strict-transport-security", "x-content-type-options", "x-frame-options"} <= set(headers)
    assert {"home-cluster-uri", "request-redirected"} <= set(headers)


def test_a_token_for_fabric_or_power_bi_is_taken_and_any_other_refused(fabric):
    def status(audience, **more):
        token = fabric.sandbox.entra.issue_token(audience=audience, **more).access_token
        return fabric.https.get(f"{fabric.base}/workspaces", headers={"Authorization": f"Bearer {token}"})

    assert status(POWER_BI_AUDIENCE).status_code == 200
    assert error_of(status(STORAGE_AUDIENCE), 401) == "Unauthorized"
    assert error_of(status(POWER_BI_AUDIENCE, lifetime_seconds=-1), 401) == "TokenExpired"
    assert error_of(fabric.https.get(f"{fabric.base}/workspaces"), 401) == "Unauthorized"


def test_an_expired_token_is_told_apart_when_the_clock_moves(fabric):
    fabric.sandbox.clock.advance(2 * 3600)
    assert error_of(fabric.get("/workspaces", None), 401) == "TokenExpired"


def test_role_assignments_begin_with_the_creator_and_take_a_principal_once(fabric):
    workspace = fabric.workspace()
    roles = f"/workspaces/{workspace}/roleAssignments"
    first = fabric.get(roles).json()["value"]
    assert [(one["principal"]["id"], one["role"]) for one in first] == [(fabric.sandbox.credentials.client_object_id, "Admin")]
    body = {"principal": {"id": NOWHERE, "type": "User"}, "role": "Member"}
    added = fabric.post(roles, body, expect=201)
    assert added.json() == {"id": NOWHERE, **body}
    assert added.headers["location"].endswith(f"/roleAssignments/{NOWHERE}")
    assert error_of(fabric.post(roles, body), 409) == "PrincipalAlreadyHasWorkspaceRolePermissions"
    assert error_of(fabric.post(roles, body | {"role": "King"}), 400) == "InvalidWorkspacePrincipalRole"
    assert error_of(fabric.post(roles, {"role": "Member"}), 400) == "MissingPrincipal"


def test_assigning_the_capacity_answers_202_without_a_location(fabric):
    workspace = fabric.workspace()
    capacity = fabric.get("/capacities").json()["value"][0]["id"]
    answer = fabric.post(f"/workspaces/{workspace}/assignToCapacity", {"capacityId": capacity}, expect=202)
    assert "location" not in answer.headers
    assert error_of(fabric.post(f"/workspaces/{workspace}/assignToCapacity", {"capacityId": NOWHERE}), 404) == "CapacityNotFound"


def test_folders_nest_list_move_and_refuse_to_go_while_they_hold_something(fabric):
    workspace = fabric.workspace()
    folders = f"/workspaces/{workspace}/folders"
    sales = fabric.post(folders, {"displayName": "Sales"}, expect=201)
    assert set(sales.json()) == {"id", "displayName", "workspaceId"}
    assert sales.headers["location"].endswith(f"/folders/{sales.json()['id']}")
    year = fabric.post(folders, {"displayName": "2026", "parentFolderId": sales.json()["id"]}, expect=201).json()
    assert year["parentFolderId"] == sales.json()["id"]
    assert [one["displayName"] for one in fabric.get(f"{folders}?recursive=True").json()["value"]] == ["Sales", "2026"]
    assert [one["displayName"] for one in fabric.get(f"{folders}?recursive=false").json()["value"]] == ["Sales"]
    assert [one["displayName"] for one in fabric.get(f"{folders}?rootFolderId={sales.json()['id']}").json()["value"]] == ["2026"]
    refused = fabric.call("DELETE", f"{folders}/{sales.json()['id']}")
    assert error_of(refused, 400) == "FolderNotEmpty"
    assert refused.json()["relatedResource"] == {"resourceId": sales.json()["id"], "resourceType": "Folder"}
    assert error_of(fabric.post(f"{folders}/{sales.json()['id']}/move", {"targetFolderId": year["id"]}), 400) == "InvalidParameter"
    assert "parentFolderId" not in fabric.post(f"{folders}/{year['id']}/move", expect=200).json()
    assert fabric.call("PATCH", f"{folders}/{year['id']}", 200, json={"displayName": "2027"}).json()["displayName"] == "2027"
    fabric.call("DELETE", f"{folders}/{sales.json()['id']}", 200)
    assert error_of(fabric.get(f"{folders}/{sales.json()['id']}", None), 404) == "FolderNotFound"
    assert error_of(fabric.post(folders, {"displayName": "2027"}), 409) == "FolderDisplayNameAlreadyInUse"
    assert error_of(fabric.post(folders, {"displayName": "a/b"}), 400) == "InvalidInput"


def test_a_long_list_comes_in_pages_that_neither_lose_nor_repeat(fabric):
    workspace = fabric.workspace()
    names = [f"f{number}" for number in range(7)]
    for name in names:
        fabric.post(f"/workspaces/{workspace}/folders", {"displayName": name}, expect=201)
    fabric.sandbox.fabric.options.page_size = 3
    seen, url = [], f"/workspaces/{workspace}/folders?recursive=true"
    pages = 0
    while url:
        body = fabric.get(url).json()
        seen += [one["displayName"] for one in body["value"]]
        assert ("continuationToken" in body) == ("continuationUri" in body)
        url, pages = body.get("continuationUri"), pages + 1
        assert url is None or "recursive=true" in url
    assert (seen, pages) == (names, 3)
    for token in ("nonsense", "YWZ0ZXI6eA==", "YmVmb3JlOjE="):
        assert error_of(fabric.get(f"/workspaces/{workspace}/folders?continuationToken={token}", None), 400) == "InvalidContinuationToken"


def test_the_quota_counts_each_kind_of_api_apart_and_opens_again_with_the_next_minute(fabric):
    workspace = fabric.workspace()
    clock = fabric.sandbox.clock
    clock.set(clock.now().replace(second=50, microsecond=0))
    clock.freeze()
    fabric.headers = FabricCaller(fabric.sandbox, fabric.https).headers
    fabric.sandbox.fabric.options.calls_per_minute = 3
    answers = [fabric.get("/workspaces", None) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    blocked = answers[-1]
    assert error_of(blocked, 429) == "RequestBlocked"
    assert blocked.headers["retry-after"] == "10"
    assert "blocked by the upstream service until: " in blocked.json()["message"]
    assert blocked.json()["message"].endswith(" (UTC)")
    other_kind = f"/workspaces/{workspace}/items/{NOWHERE}/jobs/instances"
    assert error_of(fabric.get(other_kind, None), 404) == "ItemNotFound"
    clock.advance(10)
    assert fabric.get("/workspaces").status_code == 200


def test_what_is_not_modelled_says_so_by_name(fabric):
    workspace = fabric.workspace()
    for path in (f"/workspaces/{workspace}/git/status", f"/workspaces/{workspace}/warehouses"):
        answer = fabric.get(path, None)
        assert error_of(answer, 501) == "NotModelled"
        assert f"GET /v1{path}" in answer.json()["message"]
    assert (
        "items of type Warehouse"
        in fabric.post(f"/workspaces/{workspace}/items", {"displayName": "w", "type": "Warehouse"}).json()["message"]
    )
