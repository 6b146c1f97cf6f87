"""The unmodified jsforce (npm) against the Salesforce org: OAuth, describe, query, Collections and Bulk API 2.0.

Node comes from the wheel that pyright brings; the packages are those of node/package-lock.json, installed once into a cache folder.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.contract.node_packages import NODE, installed
from tests.contract.salesforce_trials import KEY, METRIC, metric

HERE = Path(__file__).with_name("node")
RUN_SECONDS = 120


@pytest.fixture(scope="module")
def packages():
    """The folder with jsforce and the driver."""
    return installed(HERE)


@pytest.fixture
def jsforce(salesforce, sandbox, packages, tmp_path):
    def run(action, *, connect=None, **asked):
        driver = tmp_path / "jsforce_driver.mjs"
        shutil.copy(HERE / "jsforce_driver.mjs", driver)
        (modules := tmp_path / "node_modules").exists() or modules.symlink_to(packages / "node_modules")
        connect = connect or {"instanceUrl": salesforce.url, "accessToken": salesforce.session}
        environment = {"PATH": os.environ["PATH"], "NODE_EXTRA_CA_CERTS": str(sandbox.endpoints.ca_file), "HOME": str(tmp_path)}
        given = json.dumps({"connect": connect, "action": action, **asked})
        ran = subprocess.run(
            [NODE / "bin/node", driver], input=given, capture_output=True, text=True, env=environment, timeout=RUN_SECONDS, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


def test_it_signs_in_by_client_credentials(jsforce, salesforce):
    known = salesforce.cloud.credentials
    oauth2 = {"clientId": known.client_id, "clientSecret": known.client_secret, "loginUrl": salesforce.url}
    result = jsforce("authorize", connect={"oauth2": oauth2})["result"]
    assert result["instanceUrl"] == salesforce.url
    assert {"DailyApiRequests", "DailyBulkApiBatches"} <= set(result["limits"])
    refused = jsforce("authorize", connect={"oauth2": oauth2 | {"clientSecret": "wrong"}})
    assert refused["message"] == "invalid client credentials"


def test_its_bulk_upsert_sends_chunks_clears_by_na_and_reads_all_three_result_sets(jsforce, salesforce):
    records = [
        metric("a_1", Notes__c='line one\nline "two"'),
        metric("b_1", Customer_Tier__c="GOLD"),
        metric("c_1") | {"Total_Spend_Week__c": None},
    ]
    result = jsforce("load", object=METRIC, operation="upsert", externalIdFieldName=KEY, records=records)["result"]
    good = {row[KEY]: row for row in result["successfulResults"]}
    assert set(good) == {"a_1", "c_1"}
    assert good["a_1"]["Notes__c"] == records[0]["Notes__c"]
    (bad,) = result["failedResults"]
    assert bad["sf__Error"].startswith("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST:")
    assert result["unprocessedRecords"] == []
    assert salesforce.cloud.record("c_1")["Total_Spend_Week__c"] is None
    assert salesforce.cloud.record("a_1")["Notes__c"] == records[0]["Notes__c"]


def test_it_describes_queries_and_upserts_a_collection(jsforce):
    assert KEY in jsforce("describe", object=METRIC)["result"]
    results = jsforce("upsert", object=METRIC, externalIdFieldName=KEY, records=[metric("a_1"), metric("b_1", Customer_Tier__c="GOLD")])[
        "result"
    ]
    assert [one["success"] for one in results] == [True, False]
    (found,) = jsforce("query", soql=f"SELECT Id, {KEY}, Total_Spend_Week__c FROM {METRIC} WHERE {KEY} = 'a_1'")["result"]
    assert (found[KEY], found["Total_Spend_Week__c"]) == ("a_1", 12.5)
    assert jsforce("query", soql="SELECT Nonsense FROM Nothing")["error"] == "INVALID_TYPE"


def test_a_job_that_fails_is_an_error_there(jsforce, sandbox):
    sandbox.faults.script("salesforce.IngestJob", "salesforce_job_failed")
    answer = jsforce("load", object=METRIC, operation="upsert", externalIdFieldName=KEY, records=[metric("a_1")])
    assert answer["message"] == "Ingest job failed to complete due to: InternalServerError : Scripted by the sandbox."


def test_the_lock_file_names_no_registry():
    assert "resolved" not in (HERE / "package-lock.json").read_text()
