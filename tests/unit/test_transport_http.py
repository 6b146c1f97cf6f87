"""The transport over real sockets: what it sends, what it repeats, and that nothing ever goes to a foreign host."""

import gzip
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import monotonic

import pytest
import structlog
from tests.unit.scripted_clients import Tokens
from tests.unit.scripted_server import cut_off, hang_up, raw, reply, trickle

from treadle.clients.quotas import Quotas
from treadle.clients.transport import Transport, https_origin
from treadle.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)

PATH = "/v1/things"


def get(transport, **options):
    return transport.request("GET", PATH, what="read things", **options)


def post(transport, **options):
    return transport.request("POST", PATH, what="make a thing", json={"a": 1}, safety="unsafe", **options)


def real_time_transport(server, authority, **options):
    options = {"credential": Tokens(), "ca_file": authority.ca_file, "quotas": Quotas(10_000), "draw": lambda: 0.0} | options
    return Transport(options.pop("base_url", None) or server.url, service="Fabric", scope="scope", **options)


def test_a_call_carries_token_query_and_body(server, transport, tokens):
    server.then(reply(200, {"value": 7}, RequestId="r-1"))
    answer = transport.request("POST", PATH, what="ask", params={"a b": "c/d&e"}, json={"x": "ü"})
    assert answer.json_object() == {"value": 7}
    seen = server.seen[0]
    assert (seen.method, seen.target, seen.bearer, seen.json) == ("POST", "/v1/things?a+b=c%2Fd%26e", "token-1", {"x": "ü"})
    assert seen.headers["user-agent"].startswith("treadle/")
    assert set(tokens.asked_scopes) == {"scope"}


@pytest.mark.parametrize(
    "step", [reply(500), reply(502), reply(503), reply(504), reply(408), reply(429), hang_up, cut_off(), raw(b"garbage\r\n\r\n"), raw(b"")]
)
def test_a_safe_call_survives_one_failure_of_any_kind(server, transport, step):
    server.then(step, reply(200, {"value": 7}))
    assert get(transport).json_object() == {"value": 7}
    assert len(server.seen) == 2


@pytest.mark.parametrize("body", [b"<html><title>Sign in</title></html>", b'{"value": [1, ', b"", b"\xff\xfe", b"[" * 100_000])
def test_a_success_that_cannot_be_read_is_asked_for_again_and_then_unexpected(server, transport, body):
    server.then(reply(200, body), reply(200, {"value": 7}))
    assert get(transport).json_object() == {"value": 7}
    server.then(*[reply(200, body)] * 3)
    with pytest.raises(UnexpectedAnswer) as raised:
        get(transport)
    assert (raised.value.details["status"], raised.value.details["attempts"]) == (200, 3)


@pytest.mark.parametrize(
    "step",
    [
        reply(500),
        reply(502),
        reply(503),
        reply(504),
        reply(408),
        hang_up,
        cut_off(202),
        cut_off(201),
        reply(201, b"<html>"),
        raw(b""),
        reply(303),
    ],
)
def test_an_unsafe_call_whose_answer_is_lost_is_never_sent_again(server, transport, step):
    server.then(step)
    with pytest.raises(OutcomeUnknown) as raised:
        post(transport)
    assert len(server.seen) == 1
    assert raised.value.details["operation"] == "make a thing"


def test_an_unsafe_call_is_repeated_after_429_until_it_is_taken(server, transport, time):
    server.then(reply(429, Retry_After="7"), reply(429, Retry_After="3"), reply(202))
    assert post(transport).status == 202
    assert [seen.json for seen in server.seen] == [{"a": 1}] * 3
    assert 7 <= time.slept[0] <= 8
    assert 3 <= time.slept[1] <= 4


def test_an_unsafe_call_is_repeated_when_the_connection_was_refused(authority):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(Unavailable) as raised:
        post(real_time_transport(None, authority, base_url=f"https://localhost:{port}", draw=lambda: 0.2, deadline_seconds=0.6))
    assert raised.value.details["attempts"] > 1


def test_an_unsafe_call_never_uses_a_connection_that_was_used_before(server, transport):
    server.then(*[reply(200, {})] * 4)
    get(transport)
    post(transport)
    post(transport)
    get(transport)
    assert server.connections == 3


def test_a_retry_after_date_is_waited_for_by_the_servers_clock(server, transport, time):
    server_now = datetime(2031, 1, 1, tzinfo=UTC)
    until = format_datetime(server_now + timedelta(seconds=20), usegmt=True)
    server.then(reply(429, Retry_After=until, Date=format_datetime(server_now, usegmt=True)), reply(200, {}))
    get(transport)
    assert 20 <= time.slept[0] <= 21


@pytest.mark.parametrize("absurd", ["86400", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_retry_after_behind_the_deadline_is_reported_not_waited_for(server, transport, time, absurd):
    server.then(reply(429, {"errorCode": "RequestBlocked", "message": "blocked until tomorrow"}, Retry_After=absurd))
    with pytest.raises(Throttled) as raised:
        get(transport)
    assert time.slept == []
    assert raised.value.retry_after_seconds >= 86400
    assert "blocked until tomorrow" in raised.value.message


@pytest.mark.parametrize("nonsense", ["-5", "soon", ""])
def test_a_useless_retry_after_falls_back_to_the_usual_pause(server, transport, time, nonsense):
    server.then(reply(503, Retry_After=nonsense), reply(200, {}))
    get(transport)
    assert time.slept == [0.25]


def test_a_safe_call_gives_up_at_the_deadline(server, transport, time):
    server.then(*[reply(503)] * 20)
    with pytest.raises(Unavailable) as raised:
        get(transport, deadline_seconds=20)
    assert time.now < 20
    assert raised.value.details["status"] == 503
    server.script.clear()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "InvalidParameter", InvalidInput),
        (403, "InsufficientPrivileges", PermissionDenied),
        (404, "ItemNotFound", NotFound),
        (409, "ItemDisplayNameAlreadyInUse", Conflict),
        (501, "NotModelled", UnexpectedAnswer),
    ],
)
@pytest.mark.parametrize("call", [get, post])
def test_a_definite_refusal_is_told_by_its_meaning_and_not_repeated(server, transport, call, status, code, kind):
    server.then(reply(status, {"errorCode": code, "message": "because"}, x_ms_public_api_error_code=code, RequestId="r-9"))
    with pytest.raises(kind) as raised:
        call(transport)
    assert len(server.seen) == 1
    assert raised.value.details | {"status": status, "error_code": code, "request_id": "r-9", "attempts": 1} == raised.value.details
    assert raised.value.hint


def test_an_expired_token_is_renewed_once(server, transport):
    server.then(reply(401, {"errorCode": "TokenExpired"}), reply(200, {}))
    get(transport)
    assert [seen.bearer for seen in server.seen] == ["token-1", "token-2"]


def test_an_expired_token_is_renewed_for_an_unsafe_call_too(server, transport):
    server.then(reply(401, {"errorCode": "TokenExpired"}), reply(202))
    assert post(transport).status == 202
    assert [seen.bearer for seen in server.seen] == ["token-1", "token-2"]


def test_a_renewed_token_that_is_refused_too_is_unauthenticated(server, transport):
    server.then(reply(401, {"errorCode": "TokenExpired"}), reply(401, {"errorCode": "TokenExpired"}))
    with pytest.raises(Unauthenticated):
        get(transport)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", [get, post])
def test_a_redirect_is_never_followed(server, foreign, transport, status, call):
    server.then(reply(status, Location=f"{foreign.url}/v1/things"))
    with pytest.raises((UnexpectedAnswer, OutcomeUnknown)):
        call(transport)
    assert len(server.seen) == 1


def test_pages_are_followed_by_token_and_by_uri_on_our_own_host(server, foreign, transport):
    server.then(
        reply(200, {"value": [{"n": 1}], "continuationToken": "a/b", "continuationUri": f"{foreign.url}/elsewhere"}),
        reply(200, {"data": [{"n": 2}], "continuationUri": f"{foreign.url}/elsewhere?continuationToken=c%20d&x=1"}),
        reply(200, {"value": [{"n": 3}], "continuationToken": None, "continuationUri": None}),
    )
    found = [entry["n"] for _, entry in transport.pages(PATH, what="list things", params={"type": "T"})]
    assert found == [1, 2, 3]
    assert [seen.target for seen in server.seen] == [
        "/v1/things?type=T",
        "/v1/things?type=T&continuationToken=a%2Fb",
        "/v1/things?type=T&continuationToken=c+d&x=1",
    ]


def test_pages_that_go_round_in_a_circle_are_an_error(server, transport):
    server.then(*[reply(200, {"value": [], "continuationToken": token}) for token in ("a", "b", "a")])
    with pytest.raises(UnexpectedAnswer, match="came before"):
        list(transport.pages(PATH, what="list things"))


@pytest.mark.parametrize("page", [{}, {"value": None}, {"value": {"n": 1}}, {"value": ["x"]}, {"value": [None]}])
def test_a_list_without_entries_is_an_error_not_an_empty_list(server, transport, page):
    server.then(reply(200, page))
    with pytest.raises(UnexpectedAnswer):
        list(transport.pages(PATH, what="list things"))


def test_a_compressed_answer_is_read(server, transport):
    server.then(reply(200, gzip.compress(b'{"n": 1}'), Content_Encoding="gzip"))
    assert get(transport).json_object() == {"n": 1}


def test_a_broken_compressed_answer_is_asked_for_again(server, transport):
    server.then(reply(200, b"not gzip at all", Content_Encoding="gzip"), reply(200, {"n": 1}))
    assert get(transport).json_object() == {"n": 1}


def test_an_endless_answer_ends_at_the_bound(server, authority):
    transport = real_time_transport(server, authority, max_answer_bytes=1000)
    bomb = gzip.compress(b" " * 1_000_000)
    server.then(*[reply(200, bomb, Content_Encoding="gzip")] * 3)
    with pytest.raises(UnexpectedAnswer, match="longer than"):
        get(transport)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
@pytest.mark.parametrize(("call", "kind"), [(get, Unavailable), (post, OutcomeUnknown)])
def test_a_server_that_drips_bytes_cannot_hold_a_caller_beyond_the_deadline(server, authority, head, call, kind):
    released = threading.Event()
    server.then(*[trickle(head, released)] * 9)
    transport = real_time_transport(server, authority, attempt_seconds=0.3, deadline_seconds=0.6)
    started = monotonic()
    with pytest.raises(kind):
        call(transport)
    assert monotonic() - started < 2
    released.set()
    server.script.clear()


def test_a_slow_first_attempt_leaves_time_for_a_second(server, authority):
    released = threading.Event()
    server.then(trickle(b"", released), reply(200, {"n": 1}))
    transport = real_time_transport(server, authority, attempt_seconds=0.3, deadline_seconds=10)
    assert get(transport).json_object() == {"n": 1}
    released.set()


def test_a_server_whose_certificate_is_not_trusted_gets_no_request(server, authority):
    transport = real_time_transport(server, authority, ca_file=None, deadline_seconds=5)
    with pytest.raises(Unavailable, match="not trusted") as raised:
        get(transport)
    assert raised.value.details["attempts"] == 1
    assert server.seen == []
    assert "TREADLE_CA_FILE" in raised.value.hint


@pytest.mark.parametrize(
    "url", ["http://localhost:1", "localhost", "https://", "https://user:pw@host", "https://host/path", "https://host?x=1", "ftp://host"]
)
def test_only_a_plain_https_address_is_taken(url):
    with pytest.raises(InvalidInput):
        https_origin(url)


def test_the_quota_is_waited_for_within_the_deadline(server, authority):
    server.then(reply(200, {}), reply(200, {}))
    transport = real_time_transport(server, authority, quotas=Quotas(2), deadline_seconds=1)
    get(transport)
    get(transport)
    with pytest.raises(Throttled) as raised:
        get(transport)
    assert 50 < raised.value.retry_after_seconds <= 60
    assert len(server.seen) == 2


def test_each_exchange_is_logged_in_one_line_without_query_or_token(server, transport):
    server.then(reply(503), reply(200, {}, RequestId="r-1"))
    with structlog.testing.capture_logs() as lines:
        transport.request("GET", PATH, what="read things", params={"secret": "s3cr3t"})
    assert [(line["event"], line["method"], line["path"], line["status"], line["attempt"]) for line in lines] == [
        ("http.call", "GET", PATH, 503, 1),
        ("http.call", "GET", PATH, 200, 2),
    ]
    assert lines[1]["request_id"] == "r-1"
    assert all(line["elapsed_ms"] >= 0 for line in lines)
    assert not any(word in json.dumps(lines) for word in ("s3cr3t", "token-1", "Bearer"))


def test_a_token_that_a_server_echoes_does_not_appear_in_the_error(server, transport):
    server.then(reply(400, {"errorCode": "X", "message": "cannot take Authorization: Bearer abcdefghijklmnop"}))
    with pytest.raises(InvalidInput) as raised:
        get(transport)
    assert "abcdefghijklmnop" not in raised.value.message


def test_threads_share_one_transport(server, transport):
    server.then(*[reply(200, {"n": 1})] * 40)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: get(transport).json_object(), range(40)))
    assert answers == [{"n": 1}] * 40
