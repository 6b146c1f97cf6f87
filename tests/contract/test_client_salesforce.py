"""Our Salesforce client against the sandbox: the ways to sign in, sessions that end, refusals in words, whole results."""

import csv
import io
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from tests import canaries
from tests.contract.salesforce_trials import KEY, METRIC, SalesforceCaller, as_csv, metric

from treadle.clients.salesforce import SalesforceClient
from treadle.clients.salesforce_sign_in import SalesforceCredential, SignIn
from treadle.errors import InvalidInput, MissingSettings, NotFound, OutcomeUnknown, Throttled, Unauthenticated
from treadle.sandbox.faults import FaultRule
from treadle.sandbox.server import Sandbox


@pytest.fixture
def app(sandbox: Sandbox, salesforce: SalesforceCaller):
    app = sandbox.salesforce.credentials
    for secret in (app.client_secret, app.password):
        canaries.plant(secret)
    return app


@pytest.fixture
def connect(sandbox: Sandbox, app) -> Iterator[Callable[..., SalesforceClient]]:
    opened: list[SalesforceClient] = []

    def connect(sign_in: SignIn | None = None) -> SalesforceClient:
        ends = sandbox.endpoints
        credential = SalesforceCredential(ends.salesforce_url, sign_in or SignIn(app.client_id, app.client_secret), ca_file=ends.ca_file)
        opened.append(SalesforceClient(ends.salesforce_url, credential=credential, ca_file=ends.ca_file, backoff_seconds=0.01))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


@pytest.fixture
def client(connect) -> SalesforceClient:
    return connect()


@pytest.mark.parametrize("way", ["jwt-bearer", "client-credentials", "password"])
def test_signs_in_each_way(connect, app, way):
    sign_in = {
        "jwt-bearer": SignIn(app.client_id, username=app.username, private_key=app.private_key_file.read_text()),
        "client-credentials": SignIn(app.client_id, app.client_secret),
        "password": SignIn(app.client_id, app.client_secret, app.username, app.password + app.security_token),
    }[way]
    assert sign_in.way == way
    assert connect(sign_in).describe(METRIC)["name"] == METRIC


def test_a_wrong_secret_is_told_without_the_secret(connect, app):
    with pytest.raises(Unauthenticated) as refused:
        connect(SignIn(app.client_id, "not-the-secret-5c1f")).limits()
    assert "not-the-secret-5c1f" not in f"{refused.value.message} {refused.value.hint} {refused.value.details}"
    assert "SALESFORCE_CLIENT_ID" in (refused.value.hint or "")
    assert "invalid client credentials" in refused.value.message


def test_the_session_says_who_acts_as_jobs_name_it(client):
    assert client.user_id()[:15] == client.create_job(METRIC, KEY).created_by[:15]


def test_a_key_for_nobody_is_refused_before_anything_is_asked():
    with pytest.raises(MissingSettings, match="SALESFORCE_USERNAME"):
        _ = SignIn("app", private_key="-----BEGIN PRIVATE KEY-----").way


def test_a_key_that_is_none_is_told(connect, app):
    with pytest.raises(InvalidInput, match="private key"):
        connect(SignIn(app.client_id, username=app.username, private_key="nonsense")).limits()


def test_a_session_that_has_ended_is_renewed_once(client, sandbox):
    client.limits()
    sandbox.clock.advance(3 * 3600)
    assert client.limits()["DailyApiRequests"]["Max"] > 0
    sandbox.clock.reset()


def test_collections_tell_each_row_by_itself_and_money_arrives_digit_by_digit(client, sandbox):
    rows = [metric("1_2026-01-05"), metric("2_2026-01-05", Customer_Tier__c="NONE"), metric("3_2026-01-05")]
    sent = [dict(row, Total_Spend_Week__c=Decimal("123456789012345.67")) for row in rows]
    results = client.upsert_collection(METRIC, KEY, sent)
    assert [result.created for result in results] == [True, False, True]
    assert results[1].error is not None
    assert results[1].error.code == "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
    assert Decimal(str(sandbox.salesforce.record("1_2026-01-05")["Total_Spend_Week__c"])) == Decimal("123456789012345.67")


def test_a_job_from_opening_to_results(client, tmp_path: Path):
    rows = [metric(f"{number}_2026-01-05", External_Customer_Id__c='say "x",\nor y') for number in range(3)]
    job = client.create_job(METRIC, KEY)
    client.upload(job.job_id, as_csv(rows).encode())
    client.set_state(job.job_id, "UploadComplete")
    while not client.job(job.job_id).ended:
        pass
    client.download_results(job.job_id, "successfulResults", tmp_path / "good.csv")
    found = list(csv.DictReader(io.StringIO((tmp_path / "good.csv").read_text(), newline="")))
    assert {row[KEY] for row in found} == {row[KEY] for row in rows}
    assert {row["External_Customer_Id__c"] for row in found} == {'say "x",\nor y'}
    assert job.job_id in {one.job_id for one in client.list_jobs()}


def test_queries_go_on_over_all_pages(client, sandbox):
    sandbox.salesforce.options.query_page_size = 200
    for start in range(0, 500, 100):
        client.upsert_collection(METRIC, KEY, [metric(f"{number}_2026-01-05") for number in range(start, start + 100)])
    assert len({record["Id"] for record in client.query(f"SELECT Id FROM {METRIC}")}) == 500


def test_what_is_not_there_is_told_in_salesforces_words(client):
    with pytest.raises(NotFound, match="describe Nothing__c"):
        client.describe("Nothing__c")
    with pytest.raises(InvalidInput, match=r"MALFORMED_QUERY|INVALID_FIELD"):
        list(client.query("SELECT Nothing__c FROM Customer_Weekly_Metric__c"))


def test_an_allowance_that_is_used_up_is_throttling(client, sandbox):
    sandbox.salesforce.options.daily["DailyApiRequests"] = 1
    client.limits()
    with pytest.raises(Throttled) as refused:
        client.describe(METRIC)
    assert "allowance" in (refused.value.hint or "")


@pytest.mark.parametrize("operation", ["salesforce.CreateIngestJob", "salesforce.UpsertCollection"])
def test_an_answer_that_is_lost_leaves_the_outcome_open(client, sandbox, operation):
    sandbox.faults.post([FaultRule(operation, "drop_after")])
    calls = {
        "salesforce.CreateIngestJob": lambda: client.create_job(METRIC, KEY),
        "salesforce.UpsertCollection": lambda: client.upsert_collection(METRIC, KEY, [metric("9_2026-01-05")]),
    }
    with pytest.raises(OutcomeUnknown):
        calls[operation]()


def test_a_result_set_that_is_cut_is_fetched_again(client, sandbox, salesforce, tmp_path: Path):
    ended = salesforce.run(as_csv(metric(f"{number}_2026-01-05") for number in range(200)))
    sandbox.faults.post([FaultRule("salesforce.GetSuccessfulResults", "truncate")])
    client.download_results(ended.job, "successfulResults", tmp_path / "good.csv")
    assert len((tmp_path / "good.csv").read_text().splitlines()) == 201
