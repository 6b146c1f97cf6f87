"""Posting to a webhook against a server that does what the test says; the signature is verified by the standard's own library."""

import json
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
import trustme
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from tests.unit.scripted_server import ScriptedServer, cut_off, hang_up, raw, reply, trickle

from treadle.clients.webhooks import Channel, open_channel, post, signed_headers
from treadle.errors import (
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    Throttled,
    TreadleError,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"  # invented for this test
OLDER = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PATH = "/services/T0PLANTED/B0PLANTED/XcanaryXcanaryXcanary"
BODY = json.dumps({"type": "run.failed", "data": {"input_file": "Umsätze.csv"}}, ensure_ascii=False).encode()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def receiver(authority) -> Iterator[ScriptedServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    server = ScriptedServer(context)
    yield server
    server.stop()


@pytest.fixture
def ca_file(authority, tmp_path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def send(receiver, ca_file):
    """Post the message to the scripted server as the channel `webhook`; whatever is raised shows nothing of the address or the secret."""
    channel = open_channel("webhook", receiver.url + PATH, secrets=SECRET)

    def send(*steps, seconds: float = 5.0) -> int:
        receiver.then(*steps)
        with structlog.testing.capture_logs() as logged:
            try:
                return post(channel, "msg_1", BODY, at=datetime.now(UTC), ca_file=ca_file, deadline_seconds=seconds)
            except TreadleError as error:
                assert_silent(f"{error!r} {error.hint} {error.details} {error.__cause__!r}", receiver.url)
                raise
            finally:
                assert_silent(repr(logged), receiver.url)

    return send


def assert_silent(text: str, url: str) -> None:
    for secret in (PATH, "canary", SECRET, SECRET.removeprefix("whsec_"), url, url.removeprefix("https://")):
        assert secret not in text


def nobody_listens() -> str:
    """An address that a moment ago was this test's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"https://localhost:{listener.getsockname()[1]}"


class TestAccepted:
    @pytest.mark.parametrize("status", [200, 202, 204])
    def test_any_status_of_success_is_accepted_and_returned(self, send, receiver, status):
        assert send(reply(status)) == status
        (seen,) = receiver.seen
        assert (seen.method, seen.target, seen.body) == ("POST", PATH, BODY)
        assert seen.headers["content-type"] == "application/json"

    def test_the_standards_own_library_verifies_the_signature_and_refuses_a_changed_body(self, send, receiver):
        send(reply())
        (seen,) = receiver.seen
        assert Webhook(SECRET).verify(seen.body, seen.headers) == json.loads(BODY)
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(seen.body.replace(b"failed", b"passed"), seen.headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(OLDER).verify(seen.body, seen.headers)

    def test_while_a_secret_is_changed_the_receiver_may_hold_either(self, receiver):
        channel = open_channel("webhook", receiver.url, secrets=f"{SECRET} {OLDER}")
        headers = signed_headers(channel, "msg_1", BODY, datetime.now(UTC))
        for secret in (SECRET, OLDER):
            assert Webhook(secret).verify(BODY, headers)

    def test_an_old_signature_is_refused_so_each_attempt_has_the_time_of_its_own(self, receiver):
        channel = open_channel("webhook", receiver.url, secrets=SECRET)
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(BODY, signed_headers(channel, "msg_1", BODY, datetime.now(UTC) - timedelta(minutes=6)))

    def test_a_repetition_bears_the_same_id(self, send, receiver):
        send(reply())
        send(reply())
        assert {seen.headers["webhook-id"] for seen in receiver.seen} == {"msg_1"}

    def test_the_http_library_writes_the_address_into_no_log_however_much_is_logged(self, send, caplog, receiver):
        caplog.set_level(logging.DEBUG)
        send(reply())
        assert_silent(caplog.text, receiver.url)

    def test_an_endless_answer_is_not_read(self, send):
        released = threading.Event()
        try:
            assert send(trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", released), seconds=3) == 200
        finally:
            released.set()

    def test_an_answer_that_is_cut_after_its_status_counts_as_accepted(self, send):
        assert send(cut_off(200)) == 200


class TestRefused:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, InvalidInput),
            (401, Unauthenticated),
            (403, PermissionDenied),
            (404, NotFound),
            (410, NotFound),
            (413, InvalidInput),
            (501, InvalidInput),
        ],
    )
    def test_a_refusal_for_good_is_of_a_type_that_is_not_tried_again(self, send, status, kind):
        with pytest.raises(kind) as caught:
            send(reply(status, b"invalid_token " + PATH.encode()))
        assert type(caught.value) is kind
        assert caught.value.details == {"channel": "webhook", "status": status}
        assert "NOTIFY_WEBHOOK_URL" in (caught.value.hint or "")

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_a_redirect_is_refused_for_good_and_never_followed(self, send, receiver, status):
        with pytest.raises(InvalidInput, match="redirect"):
            send(reply(status, Location=f"{receiver.url}/elsewhere"))
        assert [seen.target for seen in receiver.seen] == [PATH]

    @pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504])
    def test_a_failure_of_the_server_passes(self, send, status):
        with pytest.raises(Unavailable):
            send(reply(status))

    @pytest.mark.parametrize(("status", "asked", "seconds"), [(429, "7", 7.0), (503, "30", 30.0), (429, "999999", 3600.0)])
    def test_who_asks_to_wait_is_given_the_time_within_reason(self, send, status, asked, seconds):
        with pytest.raises(Throttled) as caught:
            send(reply(status, Retry_After=asked))
        assert caught.value.retry_after_seconds == seconds

    def test_who_asks_to_wait_without_a_time_is_waited_for_as_usual(self, send):
        with pytest.raises(Throttled) as caught:
            send(reply(429))
        assert caught.value.retry_after_seconds is None

    def test_a_status_outside_of_the_protocol_is_told_as_such(self, send):
        with pytest.raises(UnexpectedAnswer):
            send(reply(799))


class TestLost:
    @pytest.mark.parametrize("step", [hang_up, raw(b"nonsense\r\n\r\n"), raw(b"HTTP/1.1 200"), raw(b"")])
    def test_an_answer_that_does_not_come_whole_leaves_it_open_whether_the_message_arrived(self, send, step):
        with pytest.raises(OutcomeUnknown, match="may or may not"):
            send(step)

    def test_a_server_that_sends_a_byte_now_and_then_is_left_at_the_deadline(self, send):
        released = threading.Event()
        try:
            with pytest.raises(OutcomeUnknown, match="in time"):
                send(trickle(b"HTTP/1.1 200 OK\r\nX-Slow: ", released), seconds=0.6)
        finally:
            released.set()

    def test_a_receiver_that_is_away_has_not_got_the_message(self, ca_file):
        address = nobody_listens()
        with pytest.raises(Unavailable, match="slack was not reached") as caught:
            post(open_channel("slack", address + PATH), "msg_1", BODY, at=datetime.now(UTC), ca_file=ca_file)
        assert_silent(f"{caught.value!r}{caught.value.hint}{caught.value.details}", address)

    def test_a_server_whose_certificate_is_not_trusted_gets_nothing(self, receiver):
        with pytest.raises(Unavailable, match="certificate is not trusted"):
            post(open_channel("teams", receiver.url + PATH), "msg_1", BODY, at=datetime.now(UTC))
        assert receiver.seen == []


class TestChannel:
    @pytest.mark.parametrize(
        "url",
        [
            "http://hooks.example/x",
            "ftp://hooks.example/x",
            "https://",
            "hooks.example",
            "https://u:p@hooks.example/",
            "https://[",
            "https://h:99999/",
        ],
    )
    def test_an_address_that_cannot_be_used_is_refused_without_being_repeated(self, url):
        with pytest.raises(InvalidInput) as caught:
            open_channel("slack", url)
        assert "hooks.example" not in f"{caught.value!r}{caught.value.hint}"
        assert "NOTIFY_SLACK_URL" in (caught.value.hint or "")

    def test_plain_http_is_for_the_sandbox_alone_whoever_made_the_channel(self):
        assert open_channel("slack", "http://localhost:1/x", plain_http=True).plain_http
        with pytest.raises(InvalidInput, match="not https"):
            post(Channel("slack", "http://localhost:1/x"), "msg_1", BODY, at=datetime.now(UTC))

    @pytest.mark.parametrize("secret", ["plain", "whsec_", "whsec_AAAA", "whsec_***", SECRET.removeprefix("whsec_")])
    def test_a_secret_that_cannot_be_used_is_refused_without_being_repeated(self, secret):
        with pytest.raises(InvalidInput) as caught:
            open_channel("webhook", "https://hooks.example/x", secrets=secret)
        assert secret not in caught.value.message

    def test_neither_address_nor_secret_shows_where_a_channel_is_printed(self):
        assert_silent(repr(open_channel("webhook", f"https://hooks.example{PATH}", secrets=SECRET)), "https://hooks.example")
