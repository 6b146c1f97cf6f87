"""Channels from settings: addresses are secrets, travel over https, and are spoken of by the setting's name alone."""

import pytest

from treadle.errors import InvalidInput
from treadle.settings import NOTIFY_EVENTS, load_settings
from treadle.wiring import wired

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"
OLDER = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
SLACK = "https://hooks.example/services/planted-in-slack"
TEAMS = "https://flow.example/workflows/planted-in-teams"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Load settings from a state directory that names everything needed, and what the test adds."""
    monkeypatch.chdir(tmp_path)

    def load(environment: str = "production", **added: str):
        needed = ("FABRIC_TENANT_ID", "FABRIC_CLIENT_ID", "FABRIC_CLIENT_SECRET", "PG_HOST", "PG_DATABASE", "PG_USER")
        ids = ("FABRIC_WORKSPACE_ID", "FABRIC_LAKEHOUSE_ID", "FABRIC_PIPELINE_ID")
        values = dict.fromkeys(needed, "given") | dict.fromkeys(ids, "0f8fad5b-d9cb-469f-a165-70867728950e")
        values |= {"TREADLE_ENVIRONMENT": environment, "FABRIC_TENANT_ID": "0f8fad5b-d9cb-469f-a165-70867728950e"} | added
        (tmp_path / "treadle.env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        return load_settings(tmp_path)

    return load


def test_without_an_address_nobody_is_told_anything(settings):
    with wired(settings()) as wiring:
        assert wiring.notifications.channels == ()
        assert wiring.sweep_notices() == 0  # the database is not even asked


def test_failures_releases_and_jobs_that_gave_up_are_told_by_default_and_successes_when_asked_for(settings):
    assert settings().notified_events == set(NOTIFY_EVENTS) - {"run.succeeded"}
    assert settings(NOTIFY_EVENTS="run.succeeded,run.failed").notified_events == {"run.succeeded", "run.failed"}


def test_each_address_makes_a_channel_and_every_secret_is_known_to_the_redaction_of_logs(settings):
    loaded = settings(
        NOTIFY_SLACK_URL=SLACK,
        NOTIFY_TEAMS_URL=TEAMS,
        NOTIFY_WEBHOOK_URL="https://ops.example/x",
        NOTIFY_WEBHOOK_SECRET=f'"{SECRET} {OLDER}"',
    )
    with wired(loaded) as wiring:
        slack, teams, webhook = wiring.notifications.channels
    assert [channel.name for channel in (slack, teams, webhook)] == ["slack", "teams", "webhook"]
    assert (slack.url, teams.url, slack.signing_secrets, len(webhook.signing_secrets)) == (SLACK, TEAMS, (), 2)
    assert {SLACK, TEAMS, "https://ops.example/x", SECRET, OLDER} <= set(loaded.secrets)
    assert "planted" not in repr(loaded)


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ({"NOTIFY_SLACK_URL": "http://hooks.example/planted"}, "NOTIFY_SLACK_URL must start with https://"),
        ({"NOTIFY_TEAMS_URL": "planted"}, "NOTIFY_TEAMS_URL must start with https://"),
        ({"NOTIFY_WEBHOOK_URL": "https://ops.example/planted"}, "NOTIFY_WEBHOOK_URL needs NOTIFY_WEBHOOK_SECRET"),
        ({"NOTIFY_EVENTS": "run.failed, run.exploded"}, "NOTIFY_EVENTS"),
    ],
)
def test_what_cannot_be_used_is_told_by_the_settings_name_and_never_repeated(settings, added, told):
    with pytest.raises(InvalidInput) as caught:
        settings(**added)
    assert told in caught.value.message
    assert "planted" not in f"{caught.value.message}{caught.value.hint}{caught.value.details}"


def test_plain_http_is_for_the_sandbox_alone(settings):
    with wired(settings("SANDBOX", NOTIFY_SLACK_URL="http://127.0.0.1:9/planted")) as wiring:
        assert wiring.notifications.channels[0].plain_http


def test_a_signing_secret_that_cannot_be_used_stops_the_worker_before_it_begins(settings):
    loaded = settings(NOTIFY_WEBHOOK_URL="https://ops.example/x", NOTIFY_WEBHOOK_SECRET="planted")
    with wired(loaded) as wiring, pytest.raises(InvalidInput, match="signing secret of the channel webhook") as caught:
        wiring.job_worker()
    assert "planted" not in f"{caught.value.message}{caught.value.hint}"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "http://localhost:9/x", "http://[::1]:9/x"])
def test_a_sandbox_tells_addresses_on_this_machine(settings, url):
    with wired(settings("SANDBOX", NOTIFY_TEAMS_URL=url)) as wiring:
        assert [channel.name for channel in wiring.notifications.channels] == ["teams"]


@pytest.mark.parametrize("url", [SLACK, "http://10.0.0.7/x", "https://localhost.example/x"])
def test_a_sandbox_tells_nobody_beyond_this_machine(settings, url):
    with wired(settings("SANDBOX", NOTIFY_SLACK_URL=url)) as wiring:
        assert wiring.notifications.channels == ()
