"""OneLake's client against a server that misbehaves to order: above all, the token stays at home."""

import threading
from time import monotonic

import pytest
import structlog
from tests.unit.scripted_clients import ITEM, WS
from tests.unit.scripted_server import hang_up, reply, trickle

from treadle.clients.entra import STORAGE_SCOPE
from treadle.clients.onelake import OneLakeClient
from treadle.errors import InvalidInput, NotFound, PermissionDenied, Throttled, Unauthenticated, Unavailable, UnexpectedAnswer

MODIFIED = "Sat, 21 Nov 2026 10:00:00 GMT"


@pytest.fixture
def lake(server, authority, tokens):
    client = OneLakeClient(server.url, WS, ITEM, tokens, authority.ca_file, deadline_seconds=3)
    yield client
    client.close()


def entry(name):
    return {"name": f"{ITEM}/Files/{name}", "contentLength": "3", "lastModified": MODIFIED, "etag": "0x1"}


def properties(**more):
    return reply(200, b"", **{"Content_Length": "3", "ETag": '"0x1"', "Last_Modified": MODIFIED, "x_ms_resource_type": "file"} | more)


def test_a_list_is_followed_over_its_pages(server, lake, tokens):
    server.then(
        reply(200, {"paths": [entry("b"), entry("d") | {"isDirectory": "true"}]}, x_ms_continuation="t 1"),
        hang_up,
        reply(200, {"paths": [entry("a")]}),
    )
    assert [(file.name, file.size_bytes, file.etag) for file in lake.list_files("Files")] == [("a", 3, "0x1"), ("b", 3, "0x1")]
    assert server.seen[0].target.startswith(f"/{WS}?")
    assert "continuation=t%201" in server.seen[2].target
    assert set(tokens.asked_scopes) == {STORAGE_SCOPE}


def test_a_list_that_goes_round_in_a_circle_is_an_error(server, lake):
    server.then(*[reply(200, {"paths": []}, x_ms_continuation=token) for token in ("a", "b", "a")])
    with pytest.raises(UnexpectedAnswer, match="come to an end"):
        lake.list_files("Files")


@pytest.mark.parametrize("code", ["PathNotFound", "BlobNotFound"])
def test_only_a_missing_folder_is_an_empty_one(server, lake, code):
    server.then(reply(404, {"error": {"code": code, "message": "m"}}, x_ms_error_code=code))
    assert lake.list_files("Files/none") == []


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "ArtifactNotFound", NotFound),
        (404, "WorkspaceNotFound", NotFound),
        (404, "FilesystemNotFound", NotFound),
        (404, None, NotFound),
        (403, "AuthorizationPermissionMismatch", PermissionDenied),
        (400, "InvalidUri", InvalidInput),
    ],
)
def test_no_other_failure_looks_like_an_empty_folder_or_a_missing_file(server, lake, status, code, kind):
    headers = {"x_ms_error_code": code} if code else {}
    refused = reply(status, {"error": {"code": code, "message": "m"}} if code else b"<html>", **headers)
    server.then(refused, reply(status, b"", **headers))
    with pytest.raises(kind):
        lake.list_files("Files")
    with pytest.raises(kind):
        lake.exists("Files/a")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_of_onelake_is_not_followed(server, foreign, lake, status):
    server.then(*[reply(status, Location=f"{foreign.url}/{WS}")] * 2)
    with pytest.raises(UnexpectedAnswer):
        lake.list_files("Files")
    with pytest.raises(UnexpectedAnswer):
        lake.stat("Files/a")


def test_a_challenge_cannot_ask_for_a_token_of_another_tenant_or_service(server, lake, tokens):
    challenge = (
        f"Bearer authorization_uri=https://login.microsoftonline.com/{ITEM}/oauth2/authorize resource_id=https://graph.microsoft.com"
    )
    server.then(*[reply(401, b"", WWW_Authenticate=challenge)] * 9)
    with pytest.raises(Unauthenticated):
        lake.list_files("Files")
    assert set(tokens.asked_scopes) == {STORAGE_SCOPE}
    server.script.clear()


def test_a_token_that_expired_on_the_way_is_renewed(server, lake):
    server.then(reply(401, b"", x_ms_error_code="InvalidAuthenticationInfo"), reply(200, {"paths": []}))
    lake.list_files("Files")
    assert [seen.bearer for seen in server.seen] == ["token-1", "token-2"]


def test_throttling_is_waited_for_within_the_deadline_only(server, lake):
    server.then(reply(429, Retry_After="0"), reply(200, {"paths": []}), reply(429, Retry_After="60"))
    assert lake.list_files("Files") == []
    with pytest.raises(Throttled) as raised:
        lake.list_files("Files")
    assert raised.value.retry_after_seconds == 60


def test_each_exchange_with_onelake_is_logged_in_one_line_without_query_or_token(server, lake):
    server.then(reply(503), reply(200, {"paths": []}))
    with structlog.testing.capture_logs() as lines:
        lake.list_files("Files")
    assert [(line["event"], line["method"], line["path"], line["status"], line["attempt"]) for line in lines] == [
        ("http.call", "GET", f"/{WS}", 503, 1),
        ("http.call", "GET", f"/{WS}", 200, 2),
    ]
    assert "token-1" not in str(lines)


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b'{"paths": [', b"[]", b'{"paths": 7}', b'{"paths": [{"name": "x"}]}'])
def test_a_list_that_cannot_be_read_is_unexpected_not_empty(server, lake, body):
    server.then(*[reply(200, body, Content_Type="application/json")] * 3)
    with pytest.raises(UnexpectedAnswer):
        lake.list_files("Files")
    server.script.clear()


def test_a_file_without_its_properties_is_unexpected(server, lake):
    server.then(reply(200, b"", x_ms_resource_type="file"))
    with pytest.raises(UnexpectedAnswer):
        lake.stat("Files/a")


def test_a_server_that_never_answers_is_given_up_at_the_deadline(server, authority, tokens):
    released = threading.Event()
    server.then(*[trickle(b"", released)] * 9)
    impatient = OneLakeClient(server.url, WS, ITEM, tokens, authority.ca_file, deadline_seconds=0.5)
    started = monotonic()
    with pytest.raises(Unavailable):
        impatient.list_files("Files")
    assert monotonic() - started < 3
    released.set()
    server.script.clear()


def test_a_file_that_is_too_long_is_not_read(server, lake):
    server.then(properties(Content_Length="300"))
    with pytest.raises(InvalidInput, match="300 bytes"):
        lake.read_bytes("Files/a", max_bytes=299)


@pytest.mark.parametrize("path", ["..", "/Files", "Files/../x", "Files/a\\b", "Files/\x00", ""])
def test_paths_are_checked_before_anything_is_sent(lake, path):
    for call in (lake.list_files, lake.stat, lake.exists, lake.delete, lambda p: lake.upload(p, b""), lambda p: lake.rename("Files/a", p)):
        with pytest.raises(InvalidInput):
            call(path)


@pytest.mark.parametrize(("workspace", "lakehouse"), [("x", ITEM), (WS, "../x"), ("", ITEM)])
def test_workspace_and_lakehouse_are_ids(tokens, workspace, lakehouse):
    with pytest.raises(InvalidInput):
        OneLakeClient("https://localhost:1", workspace, lakehouse, tokens)
