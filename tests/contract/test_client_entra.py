"""Our sign-in against the sandbox's Entra ID, through each of its faults."""

from datetime import UTC, datetime, timedelta

import pytest
import structlog

from treadle.clients.entra import FABRIC_SCOPE, STORAGE_SCOPE, credential
from treadle.clients.fabric import FabricClient
from treadle.clients.quotas import Quotas
from treadle.errors import Throttled, Unauthenticated, Unavailable, UnexpectedAnswer

NOBODY = "0f8fad5b-d9cb-469f-a165-70867728950e"


def sign_in(sandbox, **changes):
    mine = sandbox.credentials
    who = {"tenant_id": mine.tenant_id, "client_id": mine.client_id, "client_secret": mine.client_secret} | changes
    return credential(**who, authority_url=sandbox.endpoints.entra_url, ca_file=sandbox.endpoints.ca_file, token_seconds=4)


def test_tokens_are_given_for_both_services_and_kept(sandbox):
    mine = sign_in(sandbox)
    tokens = {mine.get_token(scope).token for scope in (FABRIC_SCOPE, STORAGE_SCOPE) for _ in range(3)}
    assert len(tokens) == 2
    assert [request.operation for request in sandbox.requests].count("entra.Token") == 2


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"client_secret": "canary-wrong-secret"}, "AADSTS7000215", "secret is wrong"),
        ({"client_id": NOBODY}, "AADSTS700016", "no application"),
        ({"tenant_id": NOBODY}, "AADSTS90002", "no such tenant"),
    ],
)
def test_wrong_credentials_are_told_apart_and_never_shown(sandbox, changes, code, words):
    with structlog.testing.capture_logs() as lines, pytest.raises(Unauthenticated, match=words) as raised:
        sign_in(sandbox, **changes).get_token(FABRIC_SCOPE)
    assert raised.value.details["error_code"] == code
    assert raised.value.hint
    shown = f"{raised.value.message} {raised.value.hint} {raised.value.details} {lines}"
    assert "canary-wrong-secret" not in shown
    assert sandbox.credentials.client_secret not in shown


def test_an_expired_secret_is_told_from_a_wrong_one(sandbox):
    client = sandbox.entra.register_client(secret_expires_at=datetime.now(UTC) - timedelta(days=1))
    with pytest.raises(Unauthenticated, match="has expired") as raised:
        sign_in(sandbox, client_id=client.client_id, client_secret=client.secret).get_token(FABRIC_SCOPE)
    assert raised.value.details["error_code"] == "AADSTS7000222"


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        ("status", {"status": 429, "retry_after_seconds": 1}),
        ("status", {"status": 500}),
        ("status", {"status": 503}),
        ("drop_before", {}),
        ("drop_after", {}),
        ("truncate", {}),
        ("slow", {"seconds": 0.5}),
        ("wrong_content_type", {}),
        ("wrong_content_type", {"status": 502}),
    ],
)
def test_one_fault_of_entra_is_survived(sandbox, kind, args):
    sandbox.faults.script("entra.Token", kind, **args)
    assert sign_in(sandbox).get_token(FABRIC_SCOPE).token


@pytest.mark.parametrize("kind", ["drop_before", "truncate"])
def test_one_fault_of_the_discovery_is_survived(sandbox, kind):
    sandbox.faults.script("entra.OpenIdConfiguration", kind)
    assert sign_in(sandbox).get_token(FABRIC_SCOPE).token


@pytest.mark.parametrize(
    ("kind", "args", "error"),
    [
        ("status", {"status": 503}, Unavailable),
        ("status", {"status": 429, "retry_after_seconds": 3600}, Throttled),
        ("drop_before", {}, Unavailable),
        ("wrong_content_type", {}, UnexpectedAnswer),
    ],
)
def test_a_lasting_fault_of_entra_has_its_meaning(sandbox, kind, args, error):
    sandbox.faults.script("entra.Token", kind, times=None, **args)
    with pytest.raises(error):
        sign_in(sandbox).get_token(FABRIC_SCOPE)


def test_a_token_that_ends_in_mid_run_is_replaced_without_the_caller_noticing(sandbox):
    fabric = FabricClient(
        sandbox.endpoints.fabric_url, sign_in(sandbox), sandbox.endpoints.ca_file, deadline_seconds=5, quotas=Quotas(10_000)
    )
    fabric.list_workspaces()
    sandbox.clock.advance(2 * 3600)
    fabric.list_workspaces()
    assert [(request.operation, request.status) for request in sandbox.requests if request.operation != "entra.OpenIdConfiguration"] == [
        ("entra.Token", 200),
        ("fabric.ListWorkspaces", 200),
        ("fabric.ListWorkspaces", 401),
        ("entra.Token", 200),
        ("fabric.ListWorkspaces", 200),
    ]
    fabric.close()


def test_entra_failing_while_a_token_is_renewed_is_told_as_such(sandbox):
    fabric = FabricClient(
        sandbox.endpoints.fabric_url, sign_in(sandbox), sandbox.endpoints.ca_file, deadline_seconds=2, quotas=Quotas(10_000)
    )
    fabric.list_workspaces()
    sandbox.clock.advance(2 * 3600)
    sandbox.faults.script("entra.Token", "status", status=503, times=None)
    with pytest.raises(Unavailable, match="Entra"):
        fabric.list_workspaces()
    fabric.close()
