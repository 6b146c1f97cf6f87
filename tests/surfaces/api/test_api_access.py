"""Who may call what: every route of the OpenAPI document, asked by every role; and what a caller without a good token is told."""

from typing import Any
from uuid import uuid4

import httpx2
import pytest

from treadle.api.app import create_app
from treadle.control.access import RIGHTS, Right, Role

METHODS = ("get", "head", "put", "post", "patch", "delete")
NOWHERE = str(uuid4())
BODIES = {
    "start_run": {"input_file": "no-such-file.csv"},
    "create_upload": {"file_name": "x.csv", "size_bytes": 1},
    "finalise_upload": {"sha256": "0" * 64},
    "put_mapping": {"columns": {"a": "b"}},
    "release_lock": {"reason": "matrix"},
    "create_token": {"name": "matrix", "role": "viewer"},
    "provision_lakehouse": {"workspace_id": NOWHERE},
    "provision_eventhouse": {"workspace_id": NOWHERE},
    "provision_ontology": {"workspace_id": NOWHERE},
    "add_connection": {"workspace_id": NOWHERE},
    "put_document": {"title": "matrix"},
    "query_graph": {"query": "RETURN 1", "scenario_name": "no-such-scenario"},
}
PLACES = {"container": "scenario-things", "document_id": "no-such-thing", "slot": "graph", "workspace_id": NOWHERE}


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, item[method]) for path, item in document["paths"].items() for method in METHODS if method in item]


def ask(client: httpx2.Client, method: str, path: str, operation: dict[str, Any]) -> httpx2.Response:
    ids = {name: uuid4() for name in ("run_id", "other_id", "job_id", "upload_id")}
    address = path.format(name="no-such-file.csv", token_id="0" * 12, **ids, **PLACES)
    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"} if method == "patch" else {}
    return client.request(method, address, json=BODIES.get(operation["operationId"]), headers=headers)


def test_every_route_says_which_right_it_needs(service):
    found = operations(service.app.openapi())
    assert len(found) > 35
    known = {*map(str, Right), "public", "signed-in"}
    unknown = [(method, path) for method, path, operation in found if not known.issuperset(operation.get("x-right", "").split(" or "))]
    assert unknown == []
    public = [path for _, path, operation in found if operation["x-right"] == "public"]
    assert sorted(public) == ["/", "/api", "/api/health/live", "/api/health/ready"]


@pytest.mark.parametrize("role", [*Role, None])
def test_each_role_gets_as_far_as_its_rights_go_on_every_route(service, role):
    """Past the door is anything but 401 and 403: the things named here do not exist."""
    client, wrong = service.client(role), []
    for method, path, operation in operations(service.app.openapi()):
        answer = ask(client, method, path, operation)
        if operation["x-right"] == "public":
            expected = "past"
        elif role is None:
            expected = "401"
        elif operation["x-right"] == "signed-in" or any(role.includes(RIGHTS[Right(each)]) for each in operation["x-right"].split(" or ")):
            expected = "past"
        else:
            expected = "403"
        got = (
            str(answer.status_code) if answer.status_code in (401, 403) else "past" if answer.status_code < 500 else str(answer.status_code)
        )
        if got != expected:
            wrong.append((method, path, got, expected, answer.text))
    assert wrong == []


def test_a_good_token_under_another_scheme_is_not_taken(service):
    token = service.token()
    assert service.client(token=token).get("/api/me").status_code == 200
    assert service.nobody.get("/api/me", headers={"Authorization": f"Basic {token}"}).status_code == 401


def test_a_scope_takes_rights_away(service):
    client = service.client(token=service.token(Role.ADMIN, [Right.RUNS_READ]))
    assert client.get("/api/runs").status_code == 200
    refused = client.get("/api/files")
    assert (refused.status_code, refused.json()["code"], refused.json()["right"]) == (403, "permission_denied", "files:read")
    assert client.get("/api/me").json()["rights"] == ["runs:read"]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic dXNlcjpwYXNz",
        "Bearer trdl_0123456789ab_" + "x" * 43,
        "Bearer a.b.c",
        "Bearer " + "x" * 20_000,
        "trdl_x",
        "Bearer a b",
    ],
)
def test_who_does_not_prove_who_they_are_is_told_how_to(service, header):
    answer = service.nobody.get("/api/runs", headers={"Authorization": header} if header is not None else {})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "treadle token create" in answer.json()["hint"] or "token" in answer.json()["detail"]


def test_a_revoked_token_is_worthless_at_once(service):
    made = service.admin.post("/api/tokens", json={"name": "short-lived", "role": "viewer", "expires_in_days": 1})
    assert made.status_code == 201
    client = service.client(token=made.json()["secret"])
    assert client.get("/api/runs").status_code == 200
    revoked = service.admin.delete(f"/api/tokens/{made.json()['token_id']}")
    assert (revoked.status_code, revoked.json()["usable"]) == (200, False)
    assert client.get("/api/runs").status_code == 401


def test_a_token_is_made_once_and_its_secret_is_nowhere_else(service):
    key = {"Idempotency-Key": str(uuid4())}
    made = service.admin.post("/api/tokens", json={"name": "once", "role": "viewer"}, headers=key)
    again = service.admin.post("/api/tokens", json={"name": "once", "role": "viewer"}, headers=key)
    assert (made.status_code, again.status_code) == (201, 409)
    assert made.json()["secret"] not in service.admin.get("/api/tokens").text + service.admin.get("/api/audit").text + again.text


def test_a_route_without_a_right_keeps_the_service_from_starting(service):
    from treadle.api import runs  # noqa: PLC0415 - the router that is made wrong on purpose

    with pytest.raises(LookupError, match="does not say which right"):
        runs.router.route_class("/api/forgotten", lambda: None)


def test_a_jwt_is_taken_when_the_organisations_service_vouches_for_it(service):
    """The verifier has tests of its own; here is what becomes of its claims."""

    class Vouching:
        def verify(self, token: str) -> dict[str, Any]:
            assert token == "a.jwt.of-the-organisation"
            return {"iss": "https://login.test", "sub": "ada", "preferred_username": "ada@test", "groups": ["data-team"]}

    from dataclasses import replace  # noqa: PLC0415 - for this test alone

    from tests.surfaces.api.conftest import PLENTY, serving  # noqa: PLC0415 - the same

    settings = replace(PLENTY, verifier=Vouching(), role_claim="groups", role_map={"data-team": "operator"})
    with serving(service.wiring, service.environment, settings) as other:
        me = other.client(token="a.jwt.of-the-organisation").get("/api/me").json()
    assert (me["name"], me["role"], me["via"]) == ("ada@test", "operator", "oidc")
    assert create_app(service.wiring.services).state.treadle.settings.verifier is None
