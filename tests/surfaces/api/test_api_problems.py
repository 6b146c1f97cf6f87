"""What goes wrong is told in one form, whatever it is, and nothing of the inside is told at all."""

import socket
from dataclasses import replace
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from fastapi import Request

from tests.surfaces.api.conftest import PLENTY, serving
from treadle import errors
from treadle.api.guard import GuardedRoute, needs
from treadle.api.limits import host_name

MEMBERS = {"type", "title", "status", "code", "detail", "hint", "correlation_id"}
SECURITY_HEADERS = (
    "X-Content-Type-Options",
    "X-Frame-Options",
    "Referrer-Policy",
    "Content-Security-Policy",
    "Cache-Control",
    "X-Correlation-Id",
)
UNKNOWN = "6c0f7e52-5b1c-4c39-9d3e-0a8b8f6f2d11"
RAISED = {
    "invalid_input": (errors.InvalidInput("x"), 422),
    "missing_settings": (errors.MissingSettings("x"), 500),
    "not_found": (errors.NotFound("x"), 404),
    "conflict": (errors.Conflict("x"), 409),
    "lock_held": (errors.LockHeld("x", details={"run_id": "r"}), 409),
    "permission_denied": (errors.PermissionDenied("x", details={"right": "runs:start"}), 403),
    "upstream_refused": (errors.Unauthenticated("Entra refused us"), 502),
    "upstream_throttled": (errors.Throttled("x", retry_after_seconds=7), 503),
    "unavailable": (errors.Unavailable("x"), 503),
    "outcome_unknown": (errors.OutcomeUnknown("x"), 502),
    "operation_failed": (errors.OperationFailed("x"), 502),
    "checksum_mismatch": (errors.ChecksumMismatch("x"), 502),
    "unexpected_answer": (errors.UnexpectedAnswer("x"), 502),
    "internal": (ZeroDivisionError("division by the secret canary-7c1e"), 500),
}


def assert_problem(answer, status: int, code: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem = answer.json()
    assert problem.keys() >= MEMBERS
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, f"urn:treadle:problem:{code}")
    assert problem["correlation_id"] == answer.headers["X-Correlation-Id"]
    assert [name for name in SECURITY_HEADERS if name not in answer.headers] == []
    assert "Traceback" not in answer.text
    assert "canary" not in answer.text


@pytest.mark.parametrize("code", RAISED)
def test_each_class_of_error_has_its_code_and_status(service, code):
    error, status = RAISED[code]

    def fail(_: Request) -> None:
        raise error

    with serving(service.wiring, service.environment) as other:
        other.app.router.routes.append(GuardedRoute("/api/fails", fail, openapi_extra=needs("public")))
        answer = other.nobody.get("/api/fails")
    assert_problem(answer, status, code)
    assert ("Retry-After" in answer.headers) == (code in {"lock_held", "upstream_throttled", "unavailable"})


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("GET", "/nowhere", {}, 404, "not_found"),
        ("GET", "/api/runs/", {}, 404, "not_found"),
        ("DELETE", "/api/runs", {}, 405, "method_not_allowed"),
        ("PURGE", "/api/runs", {}, 405, "method_not_allowed"),
        ("POST", "/api/runs", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "malformed"),
        ("POST", "/api/runs", {"content": b"\xff\xfe", "headers": {"Content-Type": "application/json"}}, 400, "malformed"),
        (
            "POST",
            "/api/runs",
            {"content": b"a=b", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
            415,
            "unsupported_media_type",
        ),
        ("POST", "/api/runs", {"json": {"input_file": "a.csv", "surprise": 1}}, 422, "invalid_input"),
        ("POST", "/api/runs", {"json": {}}, 422, "invalid_input"),
        ("POST", "/api/runs", {"json": {"input_file": "../../etc/passwd"}}, 422, "invalid_input"),
        ("POST", "/api/runs", {"json": {"input_file": "__restore__" + UNKNOWN}}, 422, "invalid_input"),
        ("POST", "/api/runs", {"json": {"input_file": "no-such-file.csv"}}, 404, "not_found"),
        ("GET", "/api/runs?limit=0", {}, 422, "invalid_input"),
        ("GET", "/api/runs?limit=501", {}, 422, "invalid_input"),
        ("GET", "/api/runs?after=nonsense", {}, 422, "invalid_input"),
        ("GET", "/api/runs?since=2026-01-01T00:00:00", {}, 422, "invalid_input"),
        ("GET", f"/api/runs/{UNKNOWN}", {}, 404, "not_found"),
        ("GET", f"/api/runs/{UNKNOWN}/events", {"headers": {"Accept": "text/event-stream"}}, 404, "not_found"),
        ("GET", f"/api/jobs/{UNKNOWN}", {}, 404, "not_found"),
        ("PATCH", f"/api/uploads/{UNKNOWN}", {"content": b"x", "headers": {"Upload-Offset": "0"}}, 415, "unsupported_media_type"),
        ("POST", "/api/runs", {"json": {"input_file": "a.csv"}, "headers": {"Idempotency-Key": "a b"}}, 422, "invalid_input"),
    ],
)
def test_what_cannot_be_answered_is_a_problem(service, method, path, options, status, code):
    assert_problem(service.admin.request(method, path, **options), status, code)


HOSTILE = [
    "%2e%2e",
    "%2e%2e%2fsecrets.csv",
    "..%2f..%2fetc%2fpasswd",
    "a%00.csv",
    "a%0a.csv",
    "a%0d%0aX-Evil: 1.csv",
    "%c0%ae%c0%ae.csv",
    "a%5cb.csv",
    "%ff.csv",
    "a%e2%80%ae.csv",
    "x" * 300 + ".csv",
    "%25%32%65.exe",
    "..",
    "'; DROP TABLE runs;--",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "path",
    [
        "/api/files/{}",
        "/api/files/{}/mapping",
        "/api/files/{}/profile",
        "/api/runs/{}",
        "/api/jobs/{}",
        "/api/uploads/{}",
        "/api/tokens/{}",
        "/api/runs/6c0f7e52-5b1c-4c39-9d3e-0a8b8f6f2d11/artifacts/{}",
    ],
)
def test_hostile_names_and_ids_lead_nowhere(service, path, name):
    """Sent as they are: a client that tidies the path up would test itself."""
    method = "DELETE" if path.startswith("/api/tokens") else "GET"
    status, head = raw(service, f"{method} {path.format(name.replace(' ', '%20'))} HTTP/1.1")
    assert 400 <= status < 500, head
    assert "X-Evil" not in head.split("\r\n\r\n")[0]


def raw(service, request_line: str, headers: str = "", body: bytes = b"") -> tuple[int, str]:
    place = urlsplit(service.url)
    token = service.admin.headers["Authorization"]
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(
            f"{request_line}\r\nHost: localhost\r\nAuthorization: {token}\r\nConnection: close\r\n{headers}\r\n".encode() + body
        )
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return int(answer.split(b" ", 2)[1]), answer.decode(errors="replace")


def test_a_body_over_the_limit_is_refused_before_it_is_read(service):
    declared = service.operator.post(
        "/api/runs", content=b"x" * (PLENTY.body_limit_bytes + 1), headers={"Content-Type": "application/json"}
    )
    assert_problem(declared, 413, "too_large")
    chunks = (b"x" * 65536 for _ in range(8))
    undeclared = service.operator.post("/api/runs", content=chunks, headers={"Content-Type": "application/json"})
    assert_problem(undeclared, 413, "too_large")
    assert_problem(service.operator.get("/api/runs", headers={f"X-Padding-{n}": "x" * 4000 for n in range(12)}), 431, "headers_too_large")


def test_an_answer_that_takes_too_long_is_given_up(service):
    with (
        serving(service.wiring, service.environment, replace(PLENTY, request_seconds=0.2)) as other,
        service.wiring.database.hold_advisory_lock("slow"),
    ):
        other.app.router.routes.append(GuardedRoute("/api/slow", _wait, openapi_extra=needs("public")))
        answer = other.nobody.get("/api/slow")
    assert_problem(answer, 504, "timed_out")


async def _wait(request: Request) -> None:
    await request.receive()  # the end of the request; what comes after is that the caller has gone
    await request.receive()


def test_more_requests_than_allowed_are_told_when_to_come_back(service):
    with serving(service.wiring, service.environment, replace(PLENTY, rate_limit="3/minute")) as other:
        client = other.client(token=service.token())
        assert [client.get("/api/me").status_code for _ in range(3)] == [200, 200, 200]
        refused = client.get("/api/me")
        assert_problem(refused, 429, "throttled")
        assert 1 <= int(refused.headers["Retry-After"]) <= 61
        assert client.get("/api/runs").status_code == 200, "each route has a window of its own"
        assert other.client(token=service.token()).get("/api/me").status_code == 200, "and each caller"
        assert [other.nobody.get("/api/health/live").status_code for _ in range(5)] == [200] * 5


def test_failed_sign_ins_are_slowed_down_and_good_ones_are_not(service):
    with serving(service.wiring, service.environment, replace(PLENTY, refused_limit="3/minute")) as other:
        wrong = {"Authorization": "Bearer trdl_0123456789ab_" + "x" * 43}
        assert [other.nobody.get("/api/me", headers=wrong).status_code for _ in range(4)] == [401, 401, 401, 429]
        assert other.client(token=service.token()).get("/api/me").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:8080", 200), ("[::1]:8080", 200), ("evil.test", 421), ("", 421), ("localhost.evil.test", 421)],
)
def test_only_the_services_own_names_are_answered(service, host, status):
    answer = service.nobody.get("/api/health/live", headers={"Host": host})
    assert answer.status_code == status
    if status == 421:
        assert_problem(answer, 421, "host_not_allowed")


def test_the_name_in_a_host_header_is_read_without_its_port():
    assert [host_name(text) for text in ("A.test:80", "[::1]:80", "[::1]", "::1", "a.test")] == ["a.test", "::1", "::1", "::1", "a.test"]


def test_pages_of_other_origins_may_call_only_where_that_was_allowed(service):
    preflight = {
        "Origin": "https://portal.test",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    assert "access-control-allow-origin" not in service.nobody.options("/api/runs", headers=preflight).headers
    with serving(service.wiring, service.environment, replace(PLENTY, cors_origins=("https://portal.test",))) as other:
        allowed = other.nobody.options("/api/runs", headers=preflight)
        assert allowed.headers["access-control-allow-origin"] == "https://portal.test"
        assert "access-control-allow-credentials" not in allowed.headers
        refused = other.nobody.options("/api/runs", headers={**preflight, "Origin": "https://evil.test"})
        assert "access-control-allow-origin" not in refused.headers
        shown = other.viewer.get("/api/runs", headers={"Origin": "https://portal.test"})
        assert "X-Correlation-Id" in shown.headers["access-control-expose-headers"]


def test_the_callers_correlation_id_is_kept_if_it_is_a_plain_one(service):
    assert (
        service.viewer.get("/api/me", headers={"X-Correlation-Id": "portal-request-0001"}).headers["X-Correlation-Id"]
        == "portal-request-0001"
    )
    made = service.viewer.get("/api/me", headers={"X-Correlation-Id": '{"evil": true} ' * 10 + "."}).headers["X-Correlation-Id"]
    assert len(made) == 32


def test_ready_says_what_is_missing_and_not_where(service):
    assert service.nobody.get("/api/health/ready").json() == {"status": "ok", "checks": {"database": "ok", "own_tables": "ok"}}
    from treadle.control.database import Database  # noqa: PLC0415 - a database that is not there

    with (
        Database("host=127.0.0.1 port=1 dbname=none user=none password=canary-secret", wait_seconds=0.1) as away,
        serving(service.wiring, service.environment, database=away) as other,
    ):
        answer = other.nobody.get("/api/health/ready")
    assert (answer.status_code, answer.json()["checks"]["database"]) == (503, "Unavailable")
    assert "127.0.0.1" not in answer.text


def test_metrics_count_by_route_and_never_by_name(service):
    service.viewer.get(f"/api/runs/{uuid4()}")
    service.nobody.get("/nowhere/at/all")
    text = service.viewer.get("/metrics").text
    assert 'route="/api/runs/{run_id}",status="404"' in text
    assert "nowhere" not in text
    assert service.viewer.get("/api/metrics").headers["content-type"].startswith("text/plain")
