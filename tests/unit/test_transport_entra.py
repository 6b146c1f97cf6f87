"""Signing in: what goes wrong is told in plain words, and the secret goes to the configured authority only."""

import pytest
from tests.unit.scripted_clients import WS
from tests.unit.scripted_server import cut_off, hang_up, reply

from treadle.clients.answers import RawAnswer
from treadle.clients.entra import EXPLANATIONS, FABRIC_SCOPE, credential, explain
from treadle.clients.retry import Answered, Garbled, Lost, NotSent
from treadle.errors import InvalidInput, Throttled, Unauthenticated, Unavailable, UnexpectedAnswer

SECRET = "canary-s3cr3t-value"
ABOUT = {"identity": "t/c", "authority": "https://login.example"}


def refusal(status, description, error="invalid_client"):
    return reply(status, {"error": error, "error_description": description, "error_codes": [1]})


def discovery(url, **changes):
    document = {"issuer": f"{url}/{WS}/v2.0", "authorization_endpoint": f"{url}/a", "token_endpoint": f"{url}/{WS}/oauth2/v2.0/token"}
    return reply(200, document | changes)


def token(text="t0ken"):
    return reply(200, {"token_type": "Bearer", "expires_in": 3599, "access_token": text})


@pytest.fixture
def sign_in(server, authority):
    return credential(WS, WS, SECRET, authority_url=server.url, ca_file=authority.ca_file, token_seconds=4)


def test_a_token_is_asked_for_once_and_kept(server, sign_in):
    server.then(discovery(server.url), token("a"))
    assert [sign_in.get_token(FABRIC_SCOPE).token for _ in range(3)] == ["a"] * 3
    assert len(server.seen) == 2


def test_a_refused_token_is_replaced_by_a_fresh_one(server, sign_in):
    server.then(discovery(server.url), token("a"), discovery(server.url), token("b"))
    first = sign_in.get_token(FABRIC_SCOPE).token
    sign_in.renew(FABRIC_SCOPE, first)
    sign_in.renew(FABRIC_SCOPE, first)
    assert sign_in.get_token(FABRIC_SCOPE).token == "b"


def test_a_token_that_was_renewed_by_another_thread_is_kept(server, sign_in):
    server.then(discovery(server.url), token("a"))
    sign_in.get_token(FABRIC_SCOPE)
    sign_in.renew(FABRIC_SCOPE, "an older one")
    assert sign_in.get_token(FABRIC_SCOPE).token == "a"


@pytest.mark.parametrize("step", [hang_up, reply(503), reply(500, b"<html>"), cut_off(200, b'{"access'), reply(429, Retry_After="0")])
def test_a_passing_failure_of_entra_is_survived(server, sign_in, step):
    server.then(discovery(server.url), step, discovery(server.url), token("a"))
    assert sign_in.get_token(FABRIC_SCOPE).token == "a"


@pytest.mark.parametrize("step", [hang_up, reply(503)])
def test_a_failing_discovery_is_survived(server, sign_in, step):
    server.then(step, discovery(server.url), token("a"))
    assert sign_in.get_token(FABRIC_SCOPE).token == "a"


def test_a_token_endpoint_on_a_foreign_host_never_sees_the_secret(server, foreign, sign_in):
    server.then(discovery(server.url, token_endpoint=f"{foreign.url}/{WS}/oauth2/v2.0/token"))
    with pytest.raises(UnexpectedAnswer, match="foreign host"):
        sign_in.get_token(FABRIC_SCOPE)


@pytest.mark.parametrize("code", sorted(EXPLANATIONS))
def test_a_refused_sign_in_is_explained_once_and_without_the_secret(server, sign_in, code):
    server.then(discovery(server.url), refusal(401, f"AADSTS{code}: Something about '{SECRET}'. Trace ID: x Correlation ID: y"))
    with pytest.raises(Unauthenticated) as raised:
        sign_in.get_token(FABRIC_SCOPE)
    assert raised.value.details["error_code"] == f"AADSTS{code}"
    assert EXPLANATIONS[code][0] in raised.value.message
    assert raised.value.hint == EXPLANATIONS[code][1]
    assert len(server.seen) == 2
    assert SECRET not in f"{raised.value.message} {raised.value.hint} {raised.value.details} {sign_in!r}"


def test_an_unknown_refusal_is_quoted_without_trace_and_secret(server, sign_in):
    server.then(discovery(server.url), refusal(400, f"AADSTS99999: New rule, {SECRET}. Trace ID: abc Correlation ID: def Timestamp: now"))
    with pytest.raises(Unauthenticated, match="New rule") as raised:
        sign_in.get_token(FABRIC_SCOPE)
    assert "abc" not in raised.value.message
    assert SECRET not in raised.value.message


def test_a_tenant_that_does_not_exist_is_told_from_the_discovery(server, sign_in):
    server.then(refusal(400, "AADSTS90002: Tenant 'x' not found.", "invalid_tenant"))
    with pytest.raises(Unauthenticated, match="no such tenant"):
        sign_in.get_token(FABRIC_SCOPE)


@pytest.mark.parametrize("step", [reply(200, b"<html>Wifi login</html>"), reply(200, {}), reply(404, b"<html>"), reply(200, [])])
def test_a_server_that_is_not_entra_is_unexpected(server, sign_in, step):
    server.then(*[step] * 3)
    with pytest.raises(UnexpectedAnswer, match="does not answer as Entra ID"):
        sign_in.get_token(FABRIC_SCOPE)
    server.script.clear()


def test_an_authority_that_is_not_there_is_unavailable(authority):
    nobody = credential(WS, WS, SECRET, authority_url="https://localhost:1", ca_file=authority.ca_file, token_seconds=0.5)
    with pytest.raises(Unavailable) as raised:
        nobody.get_token(FABRIC_SCOPE)
    assert SECRET not in str(raised.value.details)


def test_a_deadline_that_passes_before_the_request_leaves_entra_unreached_not_misunderstood(server, authority):
    with pytest.raises(Unavailable, match="the deadline passed"):
        credential(WS, WS, SECRET, authority_url=server.url, ca_file=authority.ca_file, token_seconds=0).get_token(FABRIC_SCOPE)


def test_an_authority_that_is_not_trusted_is_said_to_be_so(server):
    with pytest.raises(Unavailable, match="not trusted") as raised:
        credential(WS, WS, SECRET, authority_url=server.url, token_seconds=4).get_token(FABRIC_SCOPE)
    assert "TREADLE_CA_FILE" in raised.value.hint
    assert server.seen == []


@pytest.mark.parametrize("tenant", ["", "has space", "../x"])
def test_credentials_that_cannot_be_used_are_refused_before_any_call(authority, tenant):
    with pytest.raises(InvalidInput):
        credential(tenant, WS, SECRET, authority_url="https://localhost:1", ca_file=authority.ca_file)


def test_an_authority_without_https_is_refused():
    with pytest.raises(InvalidInput):
        credential(WS, WS, SECRET, authority_url="http://localhost:1")


@pytest.mark.parametrize(
    ("ending", "content", "kind"),
    [
        (NotSent("refused"), b"", Unavailable),
        (Lost("reset"), b"", Unavailable),
        (Answered(503), b"", Unavailable),
        (Answered(429, None, 9), b"", Throttled),
        (Garbled("HTML", 200), b"<html>", UnexpectedAnswer),
        (Answered(404), b"<html>", UnexpectedAnswer),
        (Answered(400), b'{"error": "invalid_client"}', Unauthenticated),
        (Answered(401), b'{"error": 7, "error_description": null}', UnexpectedAnswer),
    ],
)
def test_each_ending_of_a_sign_in_has_its_meaning(ending, content, kind):
    status = ending.status if isinstance(ending, Answered | Garbled) else 0
    error = explain(ending, RawAnswer(status, {}, content) if status else None, **ABOUT)
    assert type(error) is kind
    assert error.hint
