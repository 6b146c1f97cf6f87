"""The weekly flow's settings: checked when they are read, asked for when they are needed, secret where they are secrets."""

import json
from datetime import UTC, date, datetime
from uuid import UUID

import pytest
from pydantic import ValidationError

from treadle.clients.lake_requests import in_container
from treadle.errors import InvalidInput, MissingSettings
from treadle.flows.weekly.lineage import Dataset, run_event
from treadle.flows.weekly.week import week_of
from treadle.settings import Settings
from treadle.settings_weekly import WeeklySettings

BASE = {
    "fabric_tenant_id": "t", "fabric_client_id": "c", "fabric_client_secret": "fabric-secret", "fabric_workspace_id": "w",
    "fabric_pipeline_id": "p", "fabric_lakehouse_id": "l", "pg_host": "h", "pg_database": "d", "pg_user": "u",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _empty_surroundings(monkeypatch, tmp_path):
    for name in WeeklySettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def settings(**values):
    return Settings(**BASE, **values)


def test_everything_that_a_command_lacks_is_named_at_once():
    with pytest.raises(MissingSettings) as lacking:
        settings().require_weekly({"events", "salesforce"})
    assert lacking.value.details["missing"] == [
        "API_BASE_URL", "API_KEY", "SALESFORCE_URL", "SALESFORCE_CLIENT_ID", "SALESFORCE_CLIENT_SECRET or SALESFORCE_PRIVATE_KEY_FILE",
    ]  # fmt: skip
    settings().require_weekly(set())
    with pytest.raises(MissingSettings, match=r"missing: SALESFORCE_USERNAME\."):
        settings(salesforce_url="https://o", salesforce_client_id="c", salesforce_private_key_file="k.pem").require_weekly({"salesforce"})


def test_no_secret_is_shown_and_each_is_known_to_the_redaction():
    secrets = {"api_key": "key-1", "salesforce_client_secret": "key-2", "salesforce_password": "key-3", "openlineage_api_key": "key-4"}
    found = settings(**secrets)
    assert set(secrets.values()) <= set(found.secrets)
    assert not [value for value in secrets.values() if value in repr(found) or value in str(found.model_dump())]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_base_url", "http://api.example"), ("api_page_size", 1001), ("api_timeout_seconds", 301), ("api_max_retries", 11),
        ("reject_threshold_pct", 100.1), ("adls_base_path", "../elsewhere"), ("spend_event_types", " , "), ("container", "alone"),
        ("azure_sql_server", "alone.database.windows.net"), ("openlineage_url", "http://lineage.example"), ("salesforce_api_version", "66"),
        ("salesforce_object", "Robert'); DROP"), ("openlineage_url", "http://localhost.evil.example"),
        ("openlineage_url", "http://127.0.0.1.evil.example"), ("openlineage_url", "http://localhost@evil.example:80"),
        ("openlineage_url", "https://me:secret@lineage.example"), ("openlineage_url", "http://[::1"), ("openlineage_url", "https://"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_used_is_refused(name, value):
    with pytest.raises(ValidationError):
        settings(**{name: value})


@pytest.mark.parametrize("value", ["https://lineage.example/api", "http://localhost:5000", "http://127.0.0.1:5000/a", "http://[::1]:5000"])
def test_lineage_goes_over_https_or_to_this_machine(value):
    assert settings(openlineage_url=value + "/").openlineage_url == value


def test_values_are_read_as_they_are_meant():
    found = settings(api_base_url="https://api.example/v1/", spend_event_types="Purchase, refund", adls_base_path="/lake/events/")
    assert (found.api_base_url, found.spend_types, found.adls_base_path) == (
        "https://api.example/v1",
        {"purchase", "refund"},
        "lake/events",
    )


def test_a_container_of_adls_is_named_by_account_or_address():
    assert in_container("account1", "weekly", "lake").staging == "lake/.treadle/uploads"
    assert in_container("account1", "weekly").account_url == "https://account1.dfs.core.windows.net"
    assert in_container("https://a.dfs.core.chinacloudapi.cn", "weekly").account_url == "https://a.dfs.core.chinacloudapi.cn"
    for account, container in (("Account", "weekly"), ("a/b", "weekly"), ("account", "Weekly"), ("account", "a--b"), ("account", "-")):
        with pytest.raises(InvalidInput):
            in_container(account, container)


def test_a_lineage_event_is_json_with_what_the_specification_wants():
    week = week_of(date(2019, 12, 2))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    event = run_event("FAIL", UUID(int=1), week, at, "treadle", inputs=[Dataset("https://api", "events", 3)], error="It broke.")
    assert json.loads(json.dumps(event)) == event
    assert {"eventType", "eventTime", "run", "job", "producer", "schemaURL"} <= set(event)
    assert event["run"]["facets"]["nominalTime"]["nominalEndTime"] == "2019-12-09T00:00:00+00:00"
    assert event["run"]["facets"]["errorMessage"]["message"] == "It broke."
    assert event["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == 3
