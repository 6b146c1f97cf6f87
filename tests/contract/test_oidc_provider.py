"""The sandbox's OpenID provider, through an unmodified Authlib, and its tokens through Treadle's own verifier."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt as jose
from joserfc.jwk import KeySet
from tests import canaries

from treadle.clients.oidc import TokenVerifier
from treadle.control.access import Role, principal_from_claims
from treadle.errors import Unauthenticated, Unavailable
from treadle.sandbox.oidc.store import AUDIENCE, TOKEN_LIFETIME_SECONDS
from treadle.sandbox.server import Sandbox

CALLBACK = "http://localhost:8501/oauth2callback"


@pytest.fixture
def session(sandbox: Sandbox) -> Iterator[OAuth2Session]:
    """Authlib as Streamlit's st.login uses it: a confidential client of the code flow."""
    canaries.plant(sandbox.oidc.client.secret or "")
    made = OAuth2Session(
        sandbox.oidc.client.client_id,
        sandbox.oidc.client.secret,
        scope="openid profile email",
        redirect_uri=CALLBACK,
        code_challenge_method="S256",
        token_endpoint_auth_method="client_secret_basic",
    )
    made.verify = str(sandbox.endpoints.ca_file)
    made.trust_env = False
    yield made
    made.close()
    sandbox.oidc.token_lifetime_seconds = TOKEN_LIFETIME_SECONDS


@pytest.fixture
def verifier(sandbox: Sandbox) -> Iterator[TokenVerifier]:
    made = TokenVerifier(sandbox.oidc.issuer, AUDIENCE, ca_file=sandbox.endpoints.ca_file)
    yield made
    made.close()


def sign_in(sandbox: Sandbox, session: OAuth2Session, user: str, **wishes: str) -> dict:
    """The whole code flow: login page, choice of a user, code, token."""
    metadata = session.get(f"{sandbox.oidc.issuer}/.well-known/openid-configuration", withhold_token=True).json()
    verifier, nonce = generate_token(48), generate_token()
    url, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier, nonce=nonce, **wishes)
    back = choose(session, url, user)
    assert parse_qs(urlsplit(back).query)["state"] == [state]
    token = session.fetch_token(metadata["token_endpoint"], authorization_response=back, state=state, code_verifier=verifier)
    keys = KeySet.import_key_set(session.get(metadata["jwks_uri"], withhold_token=True).json())
    claims = jose.decode(token["id_token"], keys).claims
    assert (claims["iss"], claims["aud"], claims["nonce"]) == (metadata["issuer"], session.client_id, nonce)
    return dict(token) | {"claims": claims}


def choose(session: OAuth2Session, url: str, user: str) -> str:
    """Press the user's button on the login page, as a browser would; returns where it leads."""
    page = requests.get(url, verify=session.verify, timeout=10)
    assert page.status_code == 200
    assert "SANDBOX" in page.text
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text))
    answer = requests.post(url.partition("?")[0], data=hidden | {"user": user}, verify=session.verify, timeout=10, allow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


@pytest.mark.parametrize(("user", "role"), [("ada", Role.ADMIN), ("olga", Role.OPERATOR), ("vic", Role.VIEWER)])
def test_each_local_user_signs_in_and_has_their_role(sandbox, session, verifier, user, role):
    token = sign_in(sandbox, session, user)
    assert token["claims"]["preferred_username"] == user
    who = principal_from_claims(verifier.verify(token["access_token"]))
    assert (who.name, who.role, who.via) == (user, role, "oidc")
    session.token = {"access_token": token["access_token"], "token_type": "Bearer"}
    told = session.get(f"{sandbox.oidc.issuer}/userinfo").json()
    assert (told["sub"], told["roles"]) == (token["claims"]["sub"], [role])


def test_an_id_token_is_no_access_token(sandbox, session, verifier):
    with pytest.raises(Unauthenticated) as refused:
        verifier.verify(sign_in(sandbox, session, "ada")["id_token"])
    assert refused.value.details["reason"] == "audience"


def test_a_code_works_once(sandbox, session):
    url, _ = session.create_authorization_url(f"{sandbox.oidc.issuer}/authorize", code_verifier="v" * 43)
    back = choose(session, url, "olga")
    session.fetch_token(f"{sandbox.oidc.issuer}/token", authorization_response=back, code_verifier="v" * 43)
    with pytest.raises(OAuthError, match="invalid_grant"):
        session.fetch_token(f"{sandbox.oidc.issuer}/token", authorization_response=back, code_verifier="v" * 43)


@pytest.mark.parametrize("changes", [{"code_verifier": "w" * 43}, {"code_verifier": ""}, {"redirect_uri": "http://localhost:1/"}])
def test_a_code_is_worth_nothing_to_who_did_not_ask_for_it(sandbox, session, changes):
    url, _ = session.create_authorization_url(f"{sandbox.oidc.issuer}/authorize", code_verifier="v" * 43)
    code = parse_qs(urlsplit(choose(session, url, "olga")).query)["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": "v" * 43} | changes
    with pytest.raises(OAuthError, match="invalid_grant"):
        session.fetch_token(f"{sandbox.oidc.issuer}/token", **form)


def test_a_code_expires(sandbox, session):
    url, _ = session.create_authorization_url(f"{sandbox.oidc.issuer}/authorize", code_verifier="v" * 43)
    back = choose(session, url, "olga")
    sandbox.clock.advance(61)
    with pytest.raises(OAuthError, match="invalid_grant"):
        session.fetch_token(f"{sandbox.oidc.issuer}/token", authorization_response=back, code_verifier="v" * 43)


def test_a_public_client_must_prove_that_it_asked(sandbox, session, verifier):
    public = OAuth2Session("treadle-cli", redirect_uri=CALLBACK, scope="openid", token_endpoint_auth_method="none")
    public.verify, public.trust_env = session.verify, False
    plain, _ = public.create_authorization_url(f"{sandbox.oidc.issuer}/authorize")
    refused = requests.get(plain, verify=session.verify, timeout=10, allow_redirects=False)
    assert parse_qs(urlsplit(refused.headers["location"]).query)["error"] == ["invalid_request"]
    challenge = create_s256_code_challenge("v" * 43)
    url, _ = public.create_authorization_url(f"{sandbox.oidc.issuer}/authorize", code_challenge=challenge, code_challenge_method="S256")
    token = public.fetch_token(f"{sandbox.oidc.issuer}/token", authorization_response=choose(session, url, "vic"), code_verifier="v" * 43)
    assert principal_from_claims(verifier.verify(token["access_token"])).role is Role.VIEWER


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "https://evil.example.com/"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": ""},
        {"redirect_uri": "http://localhost@evil.example.com/"},
        {"redirect_uri": "http://localhost:1/#x"},
        {"client_id": "nobody"},
    ],
)
def test_nobody_is_sent_to_a_stranger(sandbox, https, changes):
    query = {"response_type": "code", "client_id": "treadle", "redirect_uri": CALLBACK, "scope": "openid"} | changes
    answer = https.get(f"{sandbox.oidc.issuer}/authorize", params=query)
    assert answer.status_code in {400, 401}
    assert "location" not in answer.headers
    assert https.post(f"{sandbox.oidc.issuer}/authorize", data=query | {"user": "ada"}).status_code in {400, 401}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"prompt": "none"}, "login_required"),
        ({"code_challenge": "x", "code_challenge_method": "plain"}, "invalid_request"),
    ],
)
def test_other_faults_are_told_to_the_client(sandbox, https, changes, error):
    query = {"response_type": "code", "client_id": "treadle", "redirect_uri": CALLBACK, "scope": "openid", "state": "s&1"} | changes
    back = parse_qs(urlsplit(https.get(f"{sandbox.oidc.issuer}/authorize", params=query).headers["location"]).query)
    assert (back["error"], back["state"]) == ([error], ["s&1"])


def test_the_login_page_escapes_what_it_was_given(sandbox, https):
    query = {
        "response_type": "code",
        "client_id": "treadle",
        "redirect_uri": CALLBACK,
        "scope": "openid",
        "state": '"><script>alert(1)</script>',
    }
    page = https.get(f"{sandbox.oidc.issuer}/authorize", params=query)
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_scripts_get_a_token_by_password_and_machines_by_their_secret(sandbox, session, verifier):
    by_name = session.fetch_token(f"{sandbox.oidc.issuer}/token", grant_type="password", username="olga", password="olga")
    assert principal_from_claims(verifier.verify(by_name["access_token"])).role is Role.OPERATOR
    machine = session.fetch_token(f"{sandbox.oidc.issuer}/token", grant_type="client_credentials")
    who = principal_from_claims(verifier.verify(machine["access_token"]))
    assert (who.name, who.role) == ("treadle", Role.OPERATOR)


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"grant_type": "password", "username": "ada", "password": "wrong"}, 400, "invalid_grant"),
        ({"grant_type": "password", "username": "root", "password": "root"}, 400, "invalid_grant"),
        ({"grant_type": "refresh_token"}, 400, "unsupported_grant_type"),
        ({}, 400, "unsupported_grant_type"),
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"client_id": "treadle-cli", "client_secret": "", "grant_type": "client_credentials"}, 400, "unsupported_grant_type"),
        ({"grant_type": "authorization_code", "code": "made-up"}, 400, "invalid_grant"),
    ],
)
def test_a_refused_token_request_has_oauths_envelope(sandbox, https, form, status, error):
    usual = {"client_id": "treadle", "client_secret": sandbox.oidc.client.secret}
    answer = https.post(f"{sandbox.oidc.issuer}/token", data=usual | form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_userinfo_wants_a_token_of_a_person_that_has_not_expired(sandbox, https):
    def asked(token: str | None) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return https.get(f"{sandbox.oidc.issuer}/userinfo", headers=headers).status_code

    store = sandbox.oidc
    assert asked(None) == 401
    assert asked("x.y.z") == 401
    assert asked(store.access_token(store.client, "treadle")) == 401
    assert asked(store.access_token(store.sign_in("vic", "vic"), "treadle")) == 200
    assert asked(store.access_token(store.sign_in("vic", "vic"), "treadle", foreign=True)) == 401
    token = store.access_token(store.sign_in("vic", "vic"), "treadle")
    sandbox.clock.advance(TOKEN_LIFETIME_SECONDS + 1)
    assert asked(token) == 401


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("token_issued_expired", "expired"), ("token_for_another_audience", "audience"), ("token_signed_by_another_key", "signature")],
)
def test_a_scripted_fault_gives_a_token_that_is_refused(sandbox, session, verifier, kind, reason):
    sandbox.faults.script("oidc.Token", kind)
    token = session.fetch_token(f"{sandbox.oidc.issuer}/token", grant_type="client_credentials")["access_token"]
    with pytest.raises(Unauthenticated) as refused:
        verifier.verify(token)
    assert refused.value.details["reason"] == reason


def test_a_token_of_tomorrow_is_refused(sandbox, verifier):
    sandbox.clock.advance(86_400)
    with pytest.raises(Unauthenticated) as refused:
        verifier.verify(sandbox.oidc.access_token(sandbox.oidc.client, "treadle"))
    assert refused.value.details["reason"] == "not_yet_valid"


def test_a_rolled_over_key_is_found_and_an_old_token_goes_on(sandbox, verifier):
    old = sandbox.oidc.access_token(sandbox.oidc.client, "treadle")
    sandbox.oidc.rotate_key()
    assert verifier.verify(sandbox.oidc.access_token(sandbox.oidc.client, "treadle"))["sub"] == "treadle"
    assert verifier.verify(old)["sub"] == "treadle"


@pytest.mark.parametrize("operation", ["oidc.Discovery", "oidc.Keys"])
@pytest.mark.parametrize(
    "fault", [{"kind": "status", "status": 503}, {"kind": "drop_before"}, {"kind": "truncate"}, {"kind": "wrong_content_type"}]
)
def test_a_provider_out_of_order_is_unavailable(sandbox, verifier, operation, fault):
    sandbox.faults.script(operation, **fault)
    with pytest.raises(Unavailable):
        verifier.verify(sandbox.oidc.access_token(sandbox.oidc.client, "treadle"))


def test_signing_out_leads_back_to_this_machine_only(sandbox, https):
    there = https.get(f"{sandbox.oidc.issuer}/end_session", params={"post_logout_redirect_uri": "http://localhost:8501/", "state": "s"})
    assert there.headers["location"] == "http://localhost:8501/?state=s"
    assert (
        https.get(f"{sandbox.oidc.issuer}/end_session", params={"post_logout_redirect_uri": "https://evil.example.com/"}).status_code == 200
    )


def test_a_restart_keeps_the_key_the_client_and_the_address(tmp_path):
    with Sandbox(tmp_path) as first:
        token, secret, issuer = first.oidc.access_token(first.oidc.client, "treadle"), first.oidc.client.secret, first.oidc.issuer
    canaries.plant(secret or "")
    with Sandbox(tmp_path) as second:
        assert (second.oidc.client.secret, second.oidc.issuer) == (secret, issuer)
        verifier = TokenVerifier(issuer, AUDIENCE, ca_file=second.endpoints.ca_file)
        assert verifier.verify(token)["sub"] == "treadle"
        verifier.close()
    assert canaries.found_in_folder(tmp_path) == []


def test_what_is_not_modelled_answers_501_in_oauths_envelope(sandbox, https):
    answer = https.post(f"{sandbox.oidc.issuer}/register", json={})
    assert (answer.status_code, answer.json()["error"]) == (501, "not_modelled")


def test_the_signing_key_is_published_without_its_private_part(sandbox, https):
    keys = https.get(f"{sandbox.oidc.issuer}/keys").json()["keys"]
    assert all(set(key) <= {"kty", "n", "e", "use", "alg", "kid", "key_ops"} for key in keys)
    assert jwt.PyJWK(keys[0]).key_type == "RSA"
