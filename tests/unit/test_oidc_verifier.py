"""Attacks on bearer tokens, each against a provider that is a scripted server: whatever is presented, only the issuer's good tokens pass."""

import base64
import hashlib
import hmac
import json
import threading
import time as real_time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from tests import canaries
from tests.unit.scripted_clients import Authority, Sleeps
from tests.unit.scripted_server import ScriptedServer, hang_up, raw, reply, trickle

from treadle.clients import jwks
from treadle.clients.oidc import TokenVerifier
from treadle.errors import InvalidInput, Unauthenticated, Unavailable

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE_KEY = ec.generate_private_key(ec.SECP256R1())
AUDIENCE = "treadle"


def published(key: rsa.RSAPrivateKey = KEY, kid: str = "k1", **more: Any) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", "alg": "RS256", **more}


class Provider:
    """An issuer whose documents a test puts into the server's script."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server, self.issuer = server, f"{server.url}/tenant"

    def discovery(self, **changes: Any) -> Callable[..., bool]:
        return reply(200, {"issuer": self.issuer, "jwks_uri": f"{self.server.url}/keys"} | changes)

    def publishes(self, *keys: dict[str, Any]) -> "Provider":
        self.server.then(self.discovery(), reply(200, {"keys": list(keys or (published(),))}))
        return self

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(real_time.time())
        usual = {"iss": self.issuer, "aud": AUDIENCE, "sub": "ada", "iat": now, "nbf": now, "exp": now + 600, "roles": ["admin"]}
        return {name: value for name, value in (usual | changes).items() if value is not None}

    def token(self, key: Any = KEY, algorithm: str = "RS256", header: dict[str, Any] | None = None, **changes: Any) -> str:
        return jwt.encode(self.claims(**changes), key, algorithm=algorithm, headers={"kid": "k1"} | (header or {}))


@pytest.fixture
def provider(server: ScriptedServer) -> Provider:
    return Provider(server)


@pytest.fixture
def verifier(provider: Provider, authority: Authority, time: Sleeps) -> Iterator[TokenVerifier]:
    made = TokenVerifier(provider.issuer, AUDIENCE, ca_file=authority.ca_file, clock=time)
    yield made
    made.close()


def refusal(verifier: TokenVerifier, token: str) -> str:
    """The reason in a word; and whatever it is, the token is not repeated."""
    with pytest.raises(Unauthenticated) as refused:
        verifier.verify(token)
    told = refused.value.message + str(refused.value.hint) + str(refused.value.details)
    assert canaries.found_in_text(told) == []
    assert token[-40:] not in told or len(token) < 8
    return refused.value.details["reason"]


def encoded(header: Any, claims: Any, signature: bytes = b"") -> str:
    def part(value: Any) -> str:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    return ".".join((part(header), part(claims), part(signature)))


def test_a_good_token_passes_with_its_claims(provider, verifier):
    provider.publishes()
    assert verifier.verify(provider.token())["sub"] == "ada"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, "nOnE"])
def test_an_unsigned_token_is_refused_without_asking_anybody(provider, verifier, algorithm):
    assert refusal(verifier, encoded({"alg": algorithm, "kid": "k1", "typ": "JWT"}, provider.claims())) in {"algorithm", "malformed"}
    assert provider.server.seen == []


@pytest.mark.parametrize("form", ["pem", "der", "jwk"])
def test_the_public_key_is_not_taken_for_a_shared_secret(provider, verifier, form):
    public = KEY.public_key()
    secret = {
        "pem": public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(published()).encode(),
    }[form]
    signed = encoded({"alg": "HS256", "kid": "k1", "typ": "JWT"}, provider.claims()).rpartition(".")[0]
    forged = signed + "." + base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), hashlib.sha256)).rstrip(b"=").decode()
    assert refusal(verifier, forged) == "algorithm"


def test_a_shared_secret_among_the_published_keys_is_no_key(provider, authority, time):
    provider.publishes({"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "k1", "alg": "HS256"})
    verifier = TokenVerifier(provider.issuer, AUDIENCE, ca_file=authority.ca_file, clock=time)
    assert refusal(verifier, provider.token()) == "unknown_key"
    verifier.close()


@pytest.mark.parametrize("algorithms", [(), ("none",), ("HS256",), ("RS256", "HS256")])
def test_a_verifier_cannot_be_made_for_algorithms_without_a_public_key(algorithms):
    with pytest.raises(InvalidInput):
        TokenVerifier("https://id.example.com", AUDIENCE, algorithms=algorithms)


@pytest.mark.parametrize(
    "issuer",
    ["http://id.example.com", "id.example.com", "https://", "https://user:pw@id.example.com", "file:///etc/passwd", "https://[::1"],
)
def test_a_verifier_cannot_be_made_for_an_issuer_without_https(issuer):
    with pytest.raises(InvalidInput):
        TokenVerifier(issuer, AUDIENCE)
    with pytest.raises(InvalidInput):
        TokenVerifier("https://id.example.com", AUDIENCE, jwks_url=issuer)


def test_an_audience_must_be_named():
    with pytest.raises(InvalidInput):
        TokenVerifier("https://id.example.com", "")


def test_a_token_signed_by_another_key_is_refused(provider, verifier):
    provider.publishes()
    assert refusal(verifier, provider.token(OTHER_KEY)) == "signature"


def test_a_token_whose_claims_were_changed_is_refused(provider, verifier):
    provider.publishes()
    header, claims, signature = provider.token(roles=["viewer"]).split(".")
    forged = encoded({}, provider.claims(roles=["admin"])).split(".")[1]
    assert refusal(verifier, f"{header}.{forged}.{signature}") == "signature"
    assert refusal(verifier, f"{header}.{claims}.") == "signature"
    assert refusal(verifier, f"{header}.{claims}.{signature[:-4]}AAAA") == "signature"


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": published(OTHER_KEY)},
        {"jku": "https://evil.example.com/keys"},
        {"x5u": "https://evil.example.com/cert"},
        {"x5c": ["MIIB"]},
    ],
)
def test_keys_that_a_token_brings_along_are_not_used(provider, verifier, header):
    provider.publishes()
    assert refusal(verifier, provider.token(OTHER_KEY, header=header)) == "signature"


@pytest.mark.parametrize("algorithm", ["RS512", "PS256", "RS384"])
def test_another_algorithm_of_the_same_key_is_refused(provider, verifier, algorithm):
    assert refusal(verifier, provider.token(algorithm=algorithm)) == "algorithm"


def test_a_key_is_used_only_with_its_own_algorithm(provider, authority, time):
    provider.publishes(published(alg="RS512"))
    verifier = TokenVerifier(provider.issuer, AUDIENCE, algorithms=("RS256", "RS512"), ca_file=authority.ca_file, clock=time)
    assert refusal(verifier, provider.token()) == "unknown_key"
    assert verifier.verify(provider.token(algorithm="RS512"))["sub"] == "ada"
    verifier.close()


def test_an_elliptic_key_works_where_it_is_allowed(provider, authority, time):
    provider.publishes({**ECAlgorithm.to_jwk(CURVE_KEY.public_key(), as_dict=True), "kid": "k1"})
    verifier = TokenVerifier(provider.issuer, AUDIENCE, algorithms=("ES256",), ca_file=authority.ca_file, clock=time)
    assert verifier.verify(provider.token(CURVE_KEY, "ES256"))["sub"] == "ada"
    verifier.close()


def test_a_key_that_does_not_name_its_algorithm_is_used_as_entras_are(provider, verifier):
    key = published()
    del key["alg"], key["use"]
    provider.publishes(key)
    assert verifier.verify(provider.token())["sub"] == "ada"


@pytest.mark.parametrize("change", [{"use": "enc"}, {"kty": "EC"}, {"n": "AQAB"}, {"n": "!"}, {"n": 5}, {"kid": 5}])
def test_a_key_that_is_not_for_signatures_or_broken_is_no_key(provider, verifier, change):
    provider.publishes(published(**change))
    assert refusal(verifier, provider.token()) == "unknown_key"


def test_a_key_that_is_too_short_is_no_key(provider, verifier):
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    provider.publishes(published(weak))
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        assert refusal(verifier, provider.token(weak)) == "unknown_key"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://evil.example.com"}, "issuer"),
        ({"iss": None}, "claims"),
        ({"aud": "another-api"}, "audience"),
        ({"aud": ["another-api", "third"]}, "audience"),
        ({"aud": []}, "claims"),
        ({"aud": None}, "claims"),
        ({"aud": "treadle.evil"}, "audience"),
        ({"aud": "TREADLE"}, "audience"),
        ({"sub": None}, "claims"),
        ({"exp": None}, "claims"),
        ({"iat": None}, "claims"),
        ({"sub": 7}, "malformed"),
        ({"exp": "tomorrow"}, "malformed"),
    ],
)
def test_claims_that_do_not_fit_are_refused(provider, verifier, changes, reason):
    provider.publishes()
    assert refusal(verifier, provider.token(**changes)) == reason


def test_the_issuer_is_compared_whole(provider, verifier):
    provider.publishes()
    assert refusal(verifier, provider.token(iss=provider.issuer + "/")) == "issuer"
    assert refusal(verifier, provider.token(iss=provider.issuer.upper())) == "issuer"


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ({"exp": -31}, "expired"),
        ({"exp": -3600}, "expired"),
        ({"exp": -(10**9)}, "expired"),
        ({"nbf": 120}, "not_yet_valid"),
        ({"iat": 120}, "not_yet_valid"),
        ({"iat": 86400, "exp": 90000}, "not_yet_valid"),
    ],
)
def test_times_that_are_over_or_to_come_are_refused(provider, verifier, times, reason):
    provider.publishes()
    now = int(real_time.time())
    assert refusal(verifier, provider.token(**{name: now + seconds for name, seconds in times.items()})) == reason


def test_an_end_in_the_furthest_future_breaks_nothing(provider, verifier):
    provider.publishes()
    assert verifier.verify(provider.token(exp=10**400))["sub"] == "ada"


def test_clocks_may_differ_by_the_leeway_and_no_more(provider, verifier):
    provider.publishes()
    now = int(real_time.time())
    assert verifier.verify(provider.token(exp=now - 5))["sub"] == "ada"
    assert verifier.verify(provider.token(iat=now + 15, nbf=now + 15))["sub"] == "ada"


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "[]", "{}", "true", "1" * 5000])
def test_numbers_that_are_none_are_refused_and_nothing_breaks(provider, verifier, number):
    provider.publishes()
    claims = json.dumps(provider.claims(exp="EXP")).replace('"EXP"', number).encode()
    signed = encoded({"alg": "RS256", "kid": "k1", "typ": "JWT"}, claims).rpartition(".")[0]
    signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(signed.encode(), KEY)
    assert refusal(verifier, signed + "." + base64.urlsafe_b64encode(signature).rstrip(b"=").decode()) in {"malformed", "expired"}


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "a.b",
        "trdl_x",
        "\x00.\x00.\x00",
        "eyJ.eyJ.x",
        " ",
        "null.null.null",
        encoded(b"[" * 9000, {}),
        encoded(b'{"alg":' + b"[" * 9000, {}),
        encoded([], {}),
        encoded("RS256", {}),
        encoded(None, {}),
        encoded({"alg": ["RS256"], "kid": "k1"}, {}),
        encoded({"alg": "RS256", "kid": ["k1"]}, {}),
        encoded({"alg": {"a": 1}}, {}),
        encoded({"alg": "RS256"}, {}),
        encoded({"alg": "RS256", "kid": ""}, {}),
        encoded({"alg": "RS256", "kid": "k" * 257}, {}),
        encoded({"alg": "RS256", "kid": "k1", "crit": ["exp"]}, {}),
        encoded({"alg": "RS256", "kid": "k1", "crit": []}, {}),
        encoded({"alg": "RS256", "kid": "k1", "typ": "logout+jwt"}, {}),
        encoded({"alg": "RS256", "kid": "k1", "typ": 7}, {}),
        encoded({"alg": "dir", "enc": "A256GCM", "kid": "k1"}, {}) + ".x.y",
    ],
)
def test_what_is_no_signed_token_is_refused_without_asking_anybody(provider, verifier, token):
    assert refusal(verifier, token) in {"malformed", "algorithm", "type", "unknown_key"}
    assert provider.server.seen == []


@pytest.mark.parametrize("token", ["x" * 16_385, "e" * 10_000_000, "eyJ\u00e9.e.e"])
def test_an_oversized_token_or_one_beyond_ascii_is_refused_unread(verifier, token):
    assert refusal(verifier, token) == "size"


def test_claims_nested_without_end_are_refused(provider, verifier):
    provider.publishes()
    signed = encoded({"alg": "RS256", "kid": "k1", "typ": "JWT"}, b'{"a":' + b"[" * 9000).rpartition(".")[0]
    signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(signed.encode(), KEY)
    assert refusal(verifier, signed + "." + base64.urlsafe_b64encode(signature).rstrip(b"=").decode()) == "malformed"


def test_an_unknown_key_is_asked_for_at_most_every_30_seconds(provider, verifier, time):
    provider.publishes()
    verifier.verify(provider.token())
    for number in range(50):
        assert refusal(verifier, provider.token(OTHER_KEY, header={"kid": f"k{number + 2}"})) == "unknown_key"
    assert len(provider.server.seen) == 2
    time.now += jwks.UNKNOWN_KEY_PAUSE_SECONDS + 1
    provider.publishes()
    for number in range(50):
        assert refusal(verifier, provider.token(OTHER_KEY, header={"kid": f"m{number}"})) == "unknown_key"
    assert len(provider.server.seen) == 4


def test_a_key_that_was_rolled_over_is_found_by_asking_again(provider, verifier, time):
    provider.publishes()
    verifier.verify(provider.token())
    time.now += jwks.UNKNOWN_KEY_PAUSE_SECONDS + 1
    provider.publishes(published(OTHER_KEY, "k2"), published())
    assert verifier.verify(provider.token(OTHER_KEY, header={"kid": "k2"}))["sub"] == "ada"


def test_a_key_that_was_withdrawn_is_no_longer_taken_after_an_hour(provider, verifier, time):
    provider.publishes()
    token = provider.token()
    verifier.verify(token)
    time.now += jwks.FRESH_SECONDS + 1
    provider.publishes(published(OTHER_KEY, "k2"))
    assert refusal(verifier, token) == "unknown_key"


def test_a_provider_that_is_away_is_unavailable_and_not_a_wrong_token(provider, verifier):
    provider.server.then(hang_up)
    with pytest.raises(Unavailable) as away:
        verifier.verify(provider.token())
    assert away.value.details == {"issuer": provider.issuer}


def test_a_provider_that_is_away_is_asked_at_most_every_5_seconds(provider, verifier, time):
    provider.server.then(reply(503))
    for _ in range(20):
        with pytest.raises(Unavailable):
            verifier.verify(provider.token())
    time.now += jwks.FAILURE_PAUSE_SECONDS + 0.1
    provider.publishes()
    assert verifier.verify(provider.token())["sub"] == "ada"


def test_known_keys_go_on_while_the_provider_is_away_but_not_for_ever(provider, verifier, time):
    provider.publishes()
    verifier.verify(provider.token())
    time.now += jwks.FRESH_SECONDS + 1
    provider.server.then(reply(503))
    assert verifier.verify(provider.token(jti="2"))["sub"] == "ada"
    time.now += jwks.STALE_SECONDS
    provider.server.then(reply(503))
    with pytest.raises(Unavailable):
        verifier.verify(provider.token(jti="3"))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_keys_or_discovery_is_not_followed(provider, verifier, foreign, status, time):
    provider.server.then(reply(status, b"", Location=f"{foreign.url}/.well-known/openid-configuration"))
    with pytest.raises(Unavailable, match=str(status)):
        verifier.verify(provider.token())
    time.now += 10
    provider.server.then(provider.discovery(), reply(status, b"", Location=f"{foreign.url}/keys"))
    with pytest.raises(Unavailable, match=str(status)):
        verifier.verify(provider.token())


def test_keys_on_another_host_are_not_asked_for_unless_set(provider, verifier, foreign, authority, time):
    provider.server.then(provider.discovery(jwks_uri=f"{foreign.url}/keys"))
    with pytest.raises(Unavailable, match="another host"):
        verifier.verify(provider.token())
    plain = TokenVerifier(provider.issuer, AUDIENCE, jwks_url=f"{provider.server.url}/elsewhere", ca_file=authority.ca_file, clock=time)
    provider.server.then(reply(200, {"keys": [published()]}))
    assert plain.verify(provider.token())["sub"] == "ada"
    assert provider.server.seen[-1].target == "/elsewhere"
    plain.close()


@pytest.mark.parametrize("jwks_uri", ["http://localhost/keys", "file:///etc/passwd", "//localhost/keys", "", None, 7, "https://[::1"])
def test_an_address_of_keys_that_is_not_https_is_not_used(provider, verifier, jwks_uri):
    provider.server.then(provider.discovery(jwks_uri=jwks_uri))
    with pytest.raises(Unavailable):
        verifier.verify(provider.token())


def test_a_discovery_document_of_another_issuer_is_not_believed(provider, verifier):
    provider.server.then(provider.discovery(issuer="https://evil.example.com"))
    with pytest.raises(Unavailable, match="another issuer"):
        verifier.verify(provider.token())


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, b"<html>"),
        reply(200, b""),
        reply(200, []),
        reply(200, {"keys": {}}),
        reply(200, {}),
        reply(200, b"[" * 100_000),
        reply(200, b" " * 600_000),
        raw(b"HTTP/1.1 200 OK\r\n\r\n"),
        raw(b"nonsense\r\n\r\n"),
        hang_up,
        reply(404),
        reply(500),
    ],
)
def test_a_key_document_that_cannot_be_used_is_unavailable(provider, verifier, answer):
    provider.server.then(provider.discovery(), answer)
    with pytest.raises(Unavailable):
        verifier.verify(provider.token())


def test_a_provider_that_answers_byte_by_byte_is_given_up(provider, authority):
    verifier = TokenVerifier(provider.issuer, AUDIENCE, ca_file=authority.ca_file, fetch_seconds=0.3)
    released = threading.Event()
    provider.server.then(trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", released))
    with pytest.raises(Unavailable):
        verifier.verify(provider.token())
    released.set()
    verifier.close()


def test_a_provider_with_a_certificate_that_is_not_trusted_is_unavailable(provider, time):
    verifier = TokenVerifier(provider.issuer, AUDIENCE, clock=time)
    with pytest.raises(Unavailable):
        verifier.verify(provider.token())
    assert provider.server.seen == []
    verifier.close()


def test_no_credential_is_sent_to_the_provider(provider, verifier):
    provider.publishes()
    verifier.verify(provider.token())
    assert all("authorization" not in seen.headers and "cookie" not in seen.headers for seen in provider.server.seen)


def test_an_accepted_token_is_remembered_for_5_seconds_and_not_beyond_its_end(provider, verifier, time):
    provider.publishes()
    token = provider.token(exp=int(real_time.time()) - 28)
    first = verifier.verify(token)
    assert verifier.verify(token) is first
    time.now += 4
    assert verifier.verify(token) is not first


def test_many_threads_ask_for_the_keys_once(provider, verifier):
    provider.publishes()
    token, gate, results = provider.token(), threading.Barrier(16), list[Any]()

    def work() -> None:
        gate.wait()
        results.append(verifier.verify(token)["sub"])

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == ["ada"] * 16
    assert len(provider.server.seen) == 2
