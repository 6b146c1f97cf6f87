"""Entra ID of the sandbox: plain requests for every case of the contract, then unmodified azure-identity, msal and PyJWT."""

import base64
import json
import os
import ssl
import subprocess
import sys
from datetime import timedelta

import jwt
import msal
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential
from cryptography.hazmat.primitives.asymmetric import rsa

from treadle.sandbox.entra.store import FABRIC_AUDIENCE, POWER_BI_AUDIENCE, STORAGE_AUDIENCE, TokenRejected

FABRIC_SCOPE = "https://api.fabric.microsoft.com/.default"


def token_request(sandbox, https, tenant=None, **changes):
    """POST the token form; a field set to None is left out."""
    form = {
        "grant_type": "client_credentials",
        "client_id": sandbox.credentials.client_id,
        "client_secret": sandbox.credentials.client_secret,
        "scope": FABRIC_SCOPE,
    }
    fields = {name: value for name, value in (form | changes).items() if value is not None}
    return https.post(f"{sandbox.endpoints.entra_url}/{tenant or sandbox.credentials.tenant_id}/oauth2/v2.0/token", data=fields)


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def assert_aadsts(answer, status, number, error):
    body = answer.json()
    assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [number])
    assert set(body) == {"error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id", "error_uri"}
    assert body["error_uri"] == f"https://login.microsoftonline.com/error?code={number}"
    description = body["error_description"]
    assert description.startswith(f"AADSTS{number}: ")
    assert f"Trace ID: {body['trace_id']} Correlation ID: {body['correlation_id']} Timestamp: {body['timestamp']}" in description


def test_a_token_answer_has_the_published_shape(sandbox, https):
    answer = token_request(sandbox, https)
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"token_type", "expires_in", "ext_expires_in", "access_token"}
    assert (body["token_type"], body["expires_in"], body["ext_expires_in"]) == ("Bearer", 3599, 3599)


def test_fields_and_headers_that_clients_add_are_ignored(sandbox, https):
    assert token_request(sandbox, https, client_info="1", claims="{}", unknown="x").status_code == 200


def test_the_secret_may_come_in_a_basic_header(sandbox, https):
    who = sandbox.credentials
    form = {"grant_type": "client_credentials", "scope": FABRIC_SCOPE}
    url = f"{sandbox.endpoints.entra_url}/{who.tenant_id}/oauth2/v2.0/token"
    assert https.post(url, data=form, auth=(who.client_id, who.client_secret)).status_code == 200
    assert_aadsts(https.post(url, data=form, auth=(who.client_id, "wrong")), 401, 7000215, "invalid_client")
    assert_aadsts(https.post(url, data=form, headers={"Authorization": "Basic %%%"}), 400, 9002313, "invalid_request")


@pytest.mark.parametrize("tenant", ["organizations", "common", "treadle.onmicrosoft.com"])
def test_aliases_and_the_domain_stand_for_the_tenant(sandbox, https, tenant):
    token = token_request(sandbox, https, tenant).json()["access_token"]
    assert sandbox.entra.authenticate(bearer(token), "fabric").tenant_id == sandbox.credentials.tenant_id


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"client_secret": "wrong"}, (401, 7000215, "invalid_client")),
        ({"client_secret": None}, (401, 7000216, "invalid_client")),
        ({"client_id": "00000000-0000-0000-0000-000000000001"}, (400, 700016, "unauthorized_client")),
        ({"client_id": None}, (400, 900144, "invalid_request")),
        ({"scope": None}, (400, 900144, "invalid_request")),
        ({"scope": "https://nobody.example/.default"}, (400, 70011, "invalid_scope")),
        ({"scope": "openid"}, (400, 70011, "invalid_scope")),
        ({"scope": f"{FABRIC_SCOPE} https://storage.azure.com/.default"}, (400, 70011, "invalid_scope")),
        ({"scope": "https://api.fabric.microsoft.com/Workspace.Read.All"}, (400, 1002012, "invalid_scope")),
        ({"scope": "https://api.fabric.microsoft.com"}, (400, 1002012, "invalid_scope")),
        ({"grant_type": "password"}, (400, 70003, "unsupported_grant_type")),
        ({"grant_type": None}, (400, 900144, "invalid_request")),
    ],
)
def test_a_refused_sign_in_names_its_aadsts_code(sandbox, https, changes, expected):
    assert_aadsts(token_request(sandbox, https, **changes), *expected)


def test_an_unknown_tenant_is_refused_everywhere(sandbox, https):
    unknown = "00000000-0000-0000-0000-00000000dead"
    assert_aadsts(token_request(sandbox, https, unknown), 400, 90002, "invalid_request")
    for path in ("v2.0/.well-known/openid-configuration", "discovery/v2.0/keys"):
        assert_aadsts(https.get(f"{sandbox.endpoints.entra_url}/{unknown}/{path}"), 400, 90002, "invalid_request")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", "application/x-www-form-urlencoded"),
        (b'{"grant_type": "x"}', "application/json"),
        (b"\xff=%ff&a", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_that_is_no_form_is_refused(sandbox, https, content, content_type):
    url = f"{sandbox.endpoints.entra_url}/{sandbox.credentials.tenant_id}/oauth2/v2.0/token"
    assert_aadsts(https.post(url, content=content, headers={"Content-Type": content_type}), 400, 9002313, "invalid_request")


def test_an_expired_secret_and_a_public_client_have_their_own_codes(sandbox, https):
    expiring = sandbox.entra.register_client(secret_expires_at=sandbox.clock.now() + timedelta(days=1))
    mine = {"client_id": expiring.client_id, "client_secret": expiring.secret}
    assert token_request(sandbox, https, **mine).status_code == 200
    sandbox.clock.advance(86_401)
    assert_aadsts(token_request(sandbox, https, **mine), 401, 7000222, "invalid_client")
    public = sandbox.entra.register_client(public=True)
    assert_aadsts(token_request(sandbox, https, client_id=public.client_id, client_secret="any"), 401, 700025, "invalid_client")


def test_a_secret_never_shows_in_the_error(sandbox, https):
    assert "Pa55-canary" not in token_request(sandbox, https, client_secret="Pa55-canary").text


@pytest.mark.parametrize(
    ("scope", "audience", "accepted_by"),
    [
        ("https://api.fabric.microsoft.com/.default", FABRIC_AUDIENCE, {"fabric"}),
        ("https://analysis.windows.net/powerbi/api/.default", POWER_BI_AUDIENCE, {"fabric"}),
        ("https://storage.azure.com/.default", STORAGE_AUDIENCE, {"onelake"}),
        ("https://datalake.azure.net/.default", "https://datalake.azure.net", set()),
        ("https://database.windows.net/.default", "https://database.windows.net", set()),
    ],
)
def test_each_api_takes_only_its_own_audience(sandbox, https, scope, audience, accepted_by):
    token = token_request(sandbox, https, scope=scope).json()["access_token"]
    assert jwt.decode(token, options={"verify_signature": False})["aud"] == audience
    for api in ("fabric", "onelake"):
        if api in accepted_by:
            assert sandbox.entra.authenticate(bearer(token), api).audience == audience
        else:
            with pytest.raises(TokenRejected) as rejected:
                sandbox.entra.authenticate(bearer(token), api)
            assert rejected.value.reason == "audience"


def test_pyjwt_verifies_a_token_by_discovery_and_published_keys_alone(sandbox, https):
    base = f"{sandbox.endpoints.entra_url}/{sandbox.credentials.tenant_id}"
    discovery = https.get(f"{base}/v2.0/.well-known/openid-configuration").json()
    token = https.post(
        discovery["token_endpoint"],
        data={
            "grant_type": "client_credentials",
            "client_id": sandbox.credentials.client_id,
            "client_secret": sandbox.credentials.client_secret,
            "scope": FABRIC_SCOPE,
        },
    ).json()["access_token"]
    trusted = ssl.create_default_context(cafile=str(sandbox.endpoints.ca_file))
    key = jwt.PyJWKClient(discovery["jwks_uri"], ssl_context=trusted).get_signing_key_from_jwt(token)
    claims = jwt.decode(token, key, algorithms=["RS256"], audience=FABRIC_AUDIENCE, issuer=discovery["issuer"])
    assert claims["exp"] - claims["iat"] == 3599
    assert claims["nbf"] == claims["iat"]
    assert claims["tid"] == sandbox.credentials.tenant_id
    assert claims["appid"] == claims["azp"] == sandbox.credentials.client_id
    assert claims["oid"] == claims["sub"] == sandbox.credentials.client_object_id
    assert claims["ver"] == "2.0"


def test_application_roles_are_in_the_token(sandbox):
    client = sandbox.entra.register_client(roles=["Tenant.Read.All"])
    token = sandbox.entra.issue_token(client).access_token
    assert sandbox.entra.authenticate(bearer(token), "fabric").roles == ("Tenant.Read.All",)


def reason_for(sandbox, headers):
    with pytest.raises(TokenRejected) as rejected:
        sandbox.entra.authenticate(headers, "fabric")
    return rejected.value.reason, rejected.value.code


def test_a_token_expires_by_the_sandbox_clock(sandbox):
    token = sandbox.entra.issue_token(lifetime_seconds=60).access_token
    sandbox.clock.advance(59)
    sandbox.entra.authenticate(bearer(token), "fabric")
    sandbox.clock.advance(2)
    assert reason_for(sandbox, bearer(token)) == ("expired", "TokenExpired")


def test_a_token_from_the_future_is_not_valid_yet(sandbox):
    token = sandbox.entra.issue_token().access_token
    sandbox.clock.advance(-3600)
    assert reason_for(sandbox, bearer(token)) == ("not_yet_valid", "Unauthorized")


def test_the_lifetime_of_tokens_can_be_set(sandbox, https):
    sandbox.entra.token_lifetime_seconds = 7
    assert token_request(sandbox, https).json()["expires_in"] == 7


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing"),
        ({"authorization": "Bearer "}, "missing"),
        ({"authorization": "Basic eDp5"}, "missing"),
        (bearer("x.y"), "malformed"),
    ],
)
def test_a_request_without_a_usable_token_is_refused_with_the_reason(sandbox, headers, reason):
    assert reason_for(sandbox, headers) == (reason, "Unauthorized")


def resigned(sandbox, key, algorithm, kid=None, **changes):
    claims = jwt.decode(sandbox.entra.issue_token().access_token, options={"verify_signature": False}) | changes
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid or sandbox.entra.key_id})


def test_forged_tokens_are_refused(sandbox):
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    genuine = sandbox.entra.issue_token().access_token
    head, payload, signature = genuine.split(".")
    widened = json.loads(base64.urlsafe_b64decode(payload + "==")) | {"oid": "someone else"}
    tampered = f"{head}.{base64.urlsafe_b64encode(json.dumps(widened).encode()).rstrip(b'=').decode()}.{signature}"
    forged = {
        resigned(sandbox, None, "none"): "algorithm",
        resigned(sandbox, "a shared secret that is long enough for it", "HS256"): "algorithm",
        resigned(sandbox, foreign, "RS256"): "signature",
        resigned(sandbox, foreign, "RS256", kid="another"): "signature",
        tampered: "signature",
    }
    assert {reason_for(sandbox, bearer(token))[0] for token in forged} == {"algorithm", "signature"}
    for token, reason in forged.items():
        assert reason_for(sandbox, bearer(token))[0] == reason


def test_a_token_of_another_tenant_or_without_a_claim_is_refused_though_well_signed(sandbox):
    other = resigned(sandbox, sandbox.entra._key, "RS256", tid="00000000-0000-0000-0000-00000000dead")
    assert reason_for(sandbox, bearer(other))[0] == "tenant"
    claims = jwt.decode(other, options={"verify_signature": False})
    del claims["oid"]
    incomplete = jwt.encode(claims, sandbox.entra._key, algorithm="RS256", headers={"kid": sandbox.entra.key_id})
    assert reason_for(sandbox, bearer(incomplete))[0] == "malformed"


def test_instance_discovery_knows_microsofts_hosts_and_itself_and_no_other(sandbox, https):
    url = f"{sandbox.endpoints.entra_url}/common/discovery/instance"
    tenant = sandbox.credentials.tenant_id
    own = sandbox.endpoints.entra_url.removeprefix("https://")
    for host in ("login.microsoftonline.com", own):
        asked = {"api-version": "1.1", "authorization_endpoint": f"https://{host}/{tenant}/oauth2/v2.0/authorize"}
        body = https.get(url, params=asked).json()
        assert body["tenant_discovery_endpoint"] == f"https://{host}/{tenant}/v2.0/.well-known/openid-configuration"
        assert "login.microsoftonline.com" in body["metadata"][0]["aliases"]
    asked = {"authorization_endpoint": f"https://login.evil.example/{tenant}/oauth2/v2.0/authorize"}
    assert_aadsts(https.get(url, params=asked), 400, 50049, "invalid_instance")


def test_another_flow_is_not_modelled_and_says_so(sandbox, https):
    answer = https.post(f"{sandbox.endpoints.entra_url}/common/oauth2/v2.0/devicecode", data={})
    assert answer.status_code == 501
    assert "POST /common/oauth2/v2.0/devicecode: not modelled" in answer.json()["error_description"]


def test_azure_identity_signs_in_unmodified(sandbox):
    who, ends = sandbox.credentials, sandbox.endpoints
    options = {"authority": ends.entra_url, "disable_instance_discovery": True, "connection_verify": str(ends.ca_file)}
    token = ClientSecretCredential(who.tenant_id, who.client_id, who.client_secret, **options).get_token(FABRIC_SCOPE)
    assert sandbox.entra.authenticate(bearer(token.token), "fabric").object_id == who.client_object_id
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        ClientSecretCredential(who.tenant_id, who.client_id, "wrong", **options).get_token(FABRIC_SCOPE)


def test_msal_signs_in_unmodified(sandbox, monkeypatch):
    who, ends = sandbox.credentials, sandbox.endpoints
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ends.ca_file))  # requests prefers it to what msal is given
    app = msal.ConfidentialClientApplication(
        who.client_id,
        authority=f"{ends.entra_url}/{who.tenant_id}",
        client_credential=who.client_secret,
        instance_discovery=False,
        verify=str(ends.ca_file),
    )
    answer = app.acquire_token_for_client([FABRIC_SCOPE])
    assert sandbox.entra.authenticate(bearer(answer["access_token"]), "fabric").client_id == who.client_id


WITHOUT_OVERRIDES = """
import sys
from azure.identity import ClientSecretCredential
print(ClientSecretCredential(*sys.argv[1:4]).get_token("https://storage.azure.com/.default").token)
"""


def test_azure_identity_needs_no_override_at_all_behind_the_proxy(sandbox):
    who, ends = sandbox.credentials, sandbox.endpoints
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= ends.client_environment()
    arguments = [sys.executable, "-c", WITHOUT_OVERRIDES, who.tenant_id, who.client_id, who.client_secret]
    signed_in = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert signed_in.returncode == 0, signed_in.stderr
    token = signed_in.stdout.strip()
    assert sandbox.entra.authenticate(bearer(token), "onelake").audience == STORAGE_AUDIENCE
    issuer = f"https://login.microsoftonline.com/{who.tenant_id}/v2.0"
    assert jwt.decode(token, options={"verify_signature": False})["iss"] == issuer
