"""The unmodified simple-salesforce against the Salesforce org: each way to sign in, describe, query, rows and Bulk API 2.0."""

import pytest
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce, SalesforceAuthenticationFailed, SalesforceExpiredSession
from simple_salesforce.exceptions import SalesforceOperationError
from tests.contract.salesforce_trials import KEY, METRIC, metric


class LedToSandbox(HTTPAdapter):
    """Sends what is meant for *.salesforce.com to the sandbox; the client has no setting for the host it signs in at."""

    def __init__(self, url):
        super().__init__()
        self._url = url

    def send(self, request, **options):
        _, _, rest = request.url.partition(".salesforce.com")
        request.url = self._url + rest
        return super().send(request, **options)


@pytest.fixture
def session(salesforce, sandbox):
    with requests.Session() as session:
        session.trust_env = False  # else a REQUESTS_CA_BUNDLE of this machine goes before `verify`
        session.verify = str(sandbox.endpoints.ca_file)
        for domain in ("treadle.my", "login", "test"):
            session.mount(f"https://{domain}.salesforce.com", LedToSandbox(salesforce.url))
        yield session


@pytest.fixture
def client(salesforce, session):
    known = salesforce.cloud.credentials
    return Salesforce(
        consumer_key=known.client_id, consumer_secret=known.client_secret, domain="treadle.my", session=session, version="66.0"
    )


def test_it_signs_in_by_client_credentials_and_knows_the_instance(client, salesforce):
    assert f"https://{client.sf_instance}" == salesforce.url
    assert client.limits()["DailyApiRequests"]["Max"] == 100_000
    assert client.api_usage["api-usage"].used == 1


def test_it_signs_in_by_a_signed_assertion_and_by_password(salesforce, session):
    known = salesforce.cloud.credentials
    by_key = Salesforce(
        username=known.username, consumer_key=known.client_id, privatekey_file=str(known.private_key_file), domain="login", session=session
    )
    assert "DailyApiRequests" in by_key.limits()
    by_password = Salesforce(
        username=known.username,
        password=known.password,
        consumer_key=known.client_id,
        consumer_secret=known.client_secret,
        domain="login",
        session=session,
    )
    assert "DailyApiRequests" in by_password.limits()


def test_a_refused_sign_in_is_told_in_its_own_words(salesforce, session):
    known = salesforce.cloud.credentials
    with pytest.raises(SalesforceAuthenticationFailed, match="invalid client credentials"):
        Salesforce(consumer_key=known.client_id, consumer_secret="wrong", domain="treadle.my", session=session)
    with pytest.raises(SalesforceAuthenticationFailed, match=r"SOAP API login\(\) is disabled by default"):
        Salesforce(username=known.username, password=known.password, security_token=known.security_token, session=session)


def test_it_signs_in_again_when_its_session_has_expired(client, sandbox, salesforce, session):
    sandbox.clock.advance(7201)
    assert "DailyApiRequests" in client.limits()
    direct = Salesforce(instance_url=salesforce.url, session_id="00Dnonsense!x", session=session, version="66.0")
    with pytest.raises((SalesforceExpiredSession, RuntimeError)):
        direct.limits()


def test_it_describes_writes_reads_and_queries_rows(client):
    custom = getattr(client, METRIC)
    assert KEY in {field["name"] for field in custom.describe()["fields"]}
    body = {name: value for name, value in metric("a_1").items() if name != KEY}
    assert custom.upsert(f"{KEY}/a_1", body) == 201
    assert custom.upsert(f"{KEY}/a_1", {"Customer_Tier__c": "HIGH"}) == 200
    row = custom.get_by_custom_id(KEY, "a_1")
    assert (row["Customer_Tier__c"], row["Total_Spend_Week__c"]) == ("HIGH", 12.5)
    found = client.query_all(f"SELECT Id, {KEY} FROM {METRIC} WHERE {KEY} IN ('a_1', 'b_1')")
    assert [(one["Id"], one[KEY]) for one in found["records"]] == [(row["Id"], "a_1")]
    custom.delete(row["Id"])
    assert client.query(f"SELECT COUNT() FROM {METRIC}")["totalSize"] == 0


def test_its_bulk_upsert_and_insert_report_what_failed(client, salesforce):
    bulk = getattr(client.bulk2, METRIC)
    (upserted,) = bulk.upsert(records=[metric("a_1"), metric("b_1", Customer_Tier__c="GOLD")], external_id_field=KEY, wait=1)
    assert (upserted["numberRecordsProcessed"], upserted["numberRecordsFailed"]) == (2, 1)
    results = bulk.get_all_ingest_records(upserted["job_id"])
    assert [row[KEY] for row in results["successfulRecords"]] == ["a_1"]
    assert [row["sf__Error"].partition(":")[0] for row in results["failedRecords"]] == ["INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"]
    assert results["unprocessedRecords"] == []
    (inserted,) = bulk.insert(records=[metric("A_1"), metric("c_1")], wait=1)
    assert inserted["numberRecordsFailed"] == 1
    (deleted,) = bulk.delete(records=[{"Id": results["successfulRecords"][0]["sf__Id"]}], wait=1)
    assert deleted["numberRecordsFailed"] == 0
    assert salesforce.cloud.writes()["a_1"]["deleted"] == 1


def test_a_value_that_it_has_not_stays_as_it_was(client, salesforce):
    """None becomes an empty cell there, which changes nothing: the client cannot clear a field."""
    bulk = getattr(client.bulk2, METRIC)
    bulk.upsert(records=[metric("a_1")], external_id_field=KEY, wait=1)
    bulk.upsert(records=[metric("a_1") | {"Total_Spend_Week__c": None}], external_id_field=KEY, wait=1)
    assert salesforce.cloud.record("a_1")["Total_Spend_Week__c"] == 12.5


def test_a_failed_job_is_an_error_there(client, sandbox):
    sandbox.faults.script("salesforce.IngestJob", "salesforce_job_failed", message="InternalServerError : out of order")
    with pytest.raises(SalesforceOperationError, match="out of order"):
        getattr(client.bulk2, METRIC).upsert(records=[metric("a_1")], external_id_field=KEY, wait=1)
