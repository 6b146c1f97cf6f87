"""Sign-in to the org: JWT bearer, client credentials, the flows that end, and sessions by the clock."""

import stat

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def assertion_of(salesforce, key=None, **changes):
    known = salesforce.cloud.credentials
    now = salesforce.cloud.clock.now().timestamp()
    claims = {"iss": known.client_id, "sub": known.username, "aud": salesforce.url, "exp": int(now) + 180} | changes
    return jwt.encode(
        {name: value for name, value in claims.items() if value is not None}, key or known.private_key_file.read_bytes(), "RS256"
    )


def refusal_of(answer):
    assert answer.headers["cache-control"] == "no-cache, no-store"
    return answer.status_code, answer.json()["error"], answer.json()["error_description"]


def works(salesforce, session):
    salesforce.session = session
    return salesforce.ask("GET", "/limits").status_code == 200


def test_client_credentials_come_by_basic_header_or_in_the_body(salesforce):
    known = salesforce.cloud.credentials
    by_header = salesforce.token((known.client_id, known.client_secret), grant_type="client_credentials")
    in_body = salesforce.token(grant_type="client_credentials", client_id=known.client_id, client_secret=known.client_secret)
    for answer in (by_header, in_body):
        granted = answer.json()
        assert (granted["token_type"], granted["instance_url"]) == ("Bearer", salesforce.url)
        assert granted["access_token"].startswith("00D")
        assert "!" in granted["access_token"]
        assert "expires_in" not in granted
        assert works(salesforce, granted["access_token"])


def test_a_signed_assertion_is_worth_a_session(salesforce):
    answer = salesforce.token(grant_type=GRANT, assertion=assertion_of(salesforce))
    assert works(salesforce, answer.json()["access_token"])
    for audience in ("https://login.salesforce.com", "https://test.salesforce.com"):
        assert salesforce.token(grant_type=GRANT, assertion=assertion_of(salesforce, aud=audience)).status_code == 200


@pytest.mark.parametrize(
    ("changes", "error", "description"),
    [
        ({"iss": "somebody"}, "invalid_client_id", "client identifier invalid"),
        ({"sub": "nobody@treadle.example"}, "invalid_grant", "user hasn't approved this consumer"),
        ({"aud": "https://elsewhere.example"}, "invalid_grant", "audience is invalid"),
        ({"exp": 1}, "invalid_grant", "assertion expired"),
        ({"exp": 4_000_000_000}, "invalid_grant", "invalid assertion: exp is more than 300 seconds ahead"),
        ({"exp": None}, "invalid_grant", "invalid assertion: exp is no number"),
    ],
)
def test_an_assertion_that_claims_something_else_is_refused(salesforce, changes, error, description):
    answer = salesforce.token(grant_type=GRANT, assertion=assertion_of(salesforce, **changes))
    assert refusal_of(answer) == (400, error, description)


def test_an_assertion_by_another_key_is_refused(salesforce):
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert refusal_of(salesforce.token(grant_type=GRANT, assertion=assertion_of(salesforce, stranger)))[1:] == (
        "invalid_grant",
        "invalid assertion",
    )
    unsigned = jwt.encode({"iss": "x"}, None, algorithm="none")
    assert refusal_of(salesforce.token(grant_type=GRANT, assertion=unsigned))[1] == "invalid_grant"


def test_the_audience_can_be_narrowed_to_the_orgs_own_address(salesforce):
    salesforce.cloud.options.audiences = (salesforce.url,)
    refused = salesforce.token(grant_type=GRANT, assertion=assertion_of(salesforce, aud="https://login.salesforce.com"))
    assert refusal_of(refused)[2] == "audience is invalid"
    assert salesforce.token(grant_type=GRANT, assertion=assertion_of(salesforce, aud=salesforce.url + "/")).status_code == 200


def test_a_wrong_secret_an_unknown_client_and_another_grant_are_refused(salesforce, https):
    known = salesforce.cloud.credentials
    wrong = salesforce.token(grant_type="client_credentials", client_id=known.client_id, client_secret="wrong")
    assert refusal_of(wrong) == (400, "invalid_client", "invalid client credentials")
    unknown = salesforce.token(grant_type="client_credentials", client_id="x", client_secret="y")
    assert refusal_of(unknown) == (400, "invalid_client_id", "client identifier invalid")
    assert refusal_of(salesforce.token(grant_type="authorization_code", code="x"))[:2] == (400, "unsupported_grant_type")
    form = {"grant_type": "client_credentials", "client_id": known.client_id, "client_secret": known.client_secret}
    at_login = https.post(f"{salesforce.url}/services/oauth2/token", data=form, headers={"Host": "login.salesforce.com"})
    assert refusal_of(at_login)[1:] == ("invalid_grant", "request not supported on this domain")


def test_the_password_flow_works_and_warns_that_it_ends(salesforce):
    known = salesforce.cloud.credentials
    form = {"grant_type": "password", "client_id": known.client_id, "client_secret": known.client_secret, "username": known.username}
    for password in (known.password, known.password + known.security_token):
        answer = salesforce.token(**form, password=password)
        assert works(salesforce, answer.json()["access_token"])
        assert "is being retired" in answer.headers["Warning"]
    assert refusal_of(salesforce.token(**form, password="wrong")) == (400, "invalid_grant", "authentication failure")


def test_soap_login_is_switched_off(salesforce, https):
    answer = https.post(f"{salesforce.url}/services/Soap/u/64.0", content="<login/>", headers={"Content-Type": "text/xml"})
    assert answer.status_code == 500
    assert "<sf:exceptionCode>INVALID_OPERATION</sf:exceptionCode>" in answer.text
    assert "SOAP API login() is disabled by default in this org." in answer.text


def test_a_session_ends_by_the_clock_and_by_revocation(salesforce, sandbox, https):
    session = salesforce.cloud.identity.open_session()
    assert works(salesforce, session)
    sandbox.clock.advance(7201)
    answer = salesforce.ask("GET", "/limits")
    assert (answer.status_code, answer.json()) == (401, [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}])
    other = salesforce.cloud.identity.open_session()
    assert https.post(f"{salesforce.url}/services/oauth2/revoke", data={"token": other}).status_code == 200
    assert not works(salesforce, other)
    assert refusal_of(https.post(f"{salesforce.url}/services/oauth2/revoke", data={"token": other}))[:2] == (400, "invalid_token")


@pytest.mark.parametrize("session", ["!", "nonsense", "00DTr0000000001!a.9999999999.bad", "00DTr0000000001!..", "00DTr0000000001!a.b.c"])
def test_what_is_no_session_is_refused(salesforce, session):
    salesforce.session = session
    answer = salesforce.ask("GET", "/limits")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")


def test_userinfo_tells_whose_session_it_is(salesforce):
    shown = salesforce.ask("GET", "/services/oauth2/userinfo").json()
    assert (shown["preferred_username"], shown["user_id"][:3], shown["organization_id"][:3]) == (
        salesforce.cloud.credentials.username,
        "005",
        "00D",
    )
    salesforce.session = "nonsense"
    assert salesforce.ask("GET", "/services/oauth2/userinfo").status_code == 403


def test_secrets_stay_with_their_owner(salesforce, sandbox):
    folder = sandbox.state_dir / "sandbox/salesforce"
    for name in ("identity.json", "private-key.pem"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    known = salesforce.cloud.credentials
    for secret in (known.client_secret, known.password, known.security_token):
        assert secret not in repr(known)
