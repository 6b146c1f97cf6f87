"""The scenario flow's settings, and the services that are opened from them: checked early, asked for late, secret where they are secrets."""

import sys

import pytest
from pydantic import ValidationError

from treadle.errors import InvalidInput, MissingSettings
from treadle.settings import Settings
from treadle.settings_scenario import ScenarioSettings
from treadle.wiring import wired

ID = "10000000-0000-4000-8000-000000000001"
BASE = {
    "fabric_tenant_id": "t", "fabric_client_id": "c", "fabric_client_secret": "fabric-secret", "fabric_workspace_id": ID,
    "fabric_pipeline_id": ID, "fabric_lakehouse_id": ID, "pg_host": "h", "pg_database": "d", "pg_user": "u",
}  # fmt: skip
GREMLIN = {
    "gremlin_url": "wss://noc.gremlin.cosmos.azure.com:443/",
    "gremlin_database": "networkgraph",
    "gremlin_graph": "topology",
    "gremlin_key": "a2V5",
}
COSMOS = {"treadle_document_store": "cosmos", "cosmos_url": "https://noc.documents.azure.com:443/", "cosmos_key": "a2V5"}


@pytest.fixture(autouse=True)
def _empty_surroundings(monkeypatch, tmp_path):
    for name in ScenarioSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def settings(**values):
    return Settings(**BASE, **values)


@pytest.fixture
def services():
    """The services of the scenario flow by these settings; nothing is contacted, so nothing need be there."""
    running = []

    def open_with(**values):
        context = wired(settings(**values))
        running.append(context)
        return context.__enter__().scenarios()

    yield open_with
    for context in running:
        context.__exit__(None, None, None)


def test_no_secret_is_shown_and_each_is_known_to_the_redaction():
    found = settings(cosmos_key="key-1", gremlin_key="key-2")
    assert {"key-1", "key-2"} <= set(found.secrets)
    assert "key-1" not in repr(found) + str(found.model_dump())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kusto_hosts", "*"),
        ("kusto_hosts", "*.com"),
        ("kusto_hosts", " , "),
        ("kusto_hosts", "https://x.kusto.fabric.microsoft.com"),
        ("kusto_hosts", "*.*.com"),
        ("cosmos_url", "http://localhost:8081"),
        ("gremlin_url", "ws://localhost:8182"),
        ("treadle_document_store", "mongo"),
        ("cosmos_database", "a/b"),
        ("scenario_upload_limit_mb", 0),
    ],
)
def test_what_cannot_be_used_is_refused_when_it_is_read(name, value):
    with pytest.raises(ValidationError):
        settings(**{name: value})


def test_hosts_are_a_list():
    hosts = settings(kusto_hosts="*.kusto.fabric.microsoft.com, localhost:8443").kusto_host_names
    assert hosts == ("*.kusto.fabric.microsoft.com", "localhost:8443")


def test_nothing_of_cosmos_is_needed_to_build_in_fabric(services):
    opened = services(scenario_upload_limit_mb=5)
    assert type(opened.documents).__name__ == "PostgresDocuments"
    assert (opened.upload_limit_bytes, opened.scratch.is_dir()) == (5 * 1024**2, True)


def test_everything_that_cosmos_lacks_is_named_at_once_when_it_is_chosen(services):
    with pytest.raises(MissingSettings) as lacking:
        services(treadle_document_store="cosmos")
    assert lacking.value.details["missing"] == ["COSMOS_URL", "COSMOS_KEY"]
    with pytest.raises(MissingSettings) as lacking:
        services().gremlin()
    assert lacking.value.details["missing"] == ["GREMLIN_URL", "GREMLIN_DATABASE", "GREMLIN_GRAPH", "GREMLIN_KEY"]


def test_a_sandbox_reaches_no_cloud_whatever_the_shell_names(services):
    with pytest.raises(InvalidInput, match="COSMOS_URL leads to a cloud"):
        services(treadle_environment="SANDBOX", **COSMOS)
    with pytest.raises(InvalidInput, match="GREMLIN_URL leads to a cloud"):
        services(treadle_environment="SANDBOX", **GREMLIN).gremlin()


def test_a_missing_package_is_named_with_its_extra(services, monkeypatch):
    monkeypatch.setitem(sys.modules, "azure.cosmos", None)
    opened = services(**COSMOS)
    with pytest.raises(InvalidInput) as lacking:
        opened.documents.find("scenarios", "noc")
    assert "treadle[cosmos]" in (lacking.value.hint or "")


def test_clients_are_shared_by_what_they_are_for(services):
    opened = services(kusto_hosts="*.kusto.fabric.microsoft.com", **GREMLIN)
    uri = "https://trd-1.z5.kusto.fabric.microsoft.com"
    assert opened.kusto(uri, "noc") is opened.kusto(uri, "noc")
    assert opened.kusto(uri, "noc") is not opened.kusto(uri, "other")
    assert opened.lake_of(ID, ID) is opened.lake_of(ID.upper(), ID)
    assert opened.gremlin() is opened.gremlin()
    with pytest.raises(InvalidInput):
        opened.kusto("https://evil.example", "noc")


def test_a_scratch_folder_is_made(services, tmp_path):
    folder = tmp_path / "large" / "disk"
    assert services(scenario_scratch_dir=folder).scratch == folder
    assert folder.is_dir()
