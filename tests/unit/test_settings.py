"""Settings: complete or refused as a whole, from known places, never showing a secret."""

from pathlib import Path

import pytest

from treadle.errors import InvalidInput, MissingSettings
from treadle.settings import Settings, load_settings, state_dir

NEEDED = {
    "FABRIC_TENANT_ID": "tenant",
    "FABRIC_CLIENT_ID": "client",
    "FABRIC_CLIENT_SECRET": "canary-secret-7f3a",
    "FABRIC_WORKSPACE_ID": "workspace",
    "FABRIC_PIPELINE_ID": "pipeline",
    "FABRIC_LAKEHOUSE_ID": "lakehouse",
    "PG_HOST": "db.example",
    "PG_DATABASE": "treadle",
    "PG_USER": "treadle",
    "PG_PASSWORD": "canary-password-91bc",
}


@pytest.fixture(autouse=True)
def _empty_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*NEEDED, "TREADLE_STATE"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def write_state(folder: Path, **values: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "treadle.env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return folder


def test_all_missing_settings_are_named_at_once():
    with pytest.raises(MissingSettings) as caught:
        load_settings()
    assert set(caught.value.details["missing"]) == set(NEEDED) - {"PG_PASSWORD"}
    for name in caught.value.details["missing"]:
        assert name in caught.value.message


def test_an_empty_value_counts_as_missing(monkeypatch: pytest.MonkeyPatch):
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FABRIC_CLIENT_SECRET", "")
    with pytest.raises(MissingSettings) as caught:
        load_settings()
    assert caught.value.details["missing"] == ["FABRIC_CLIENT_SECRET"]


@pytest.mark.parametrize("source", ["environment", "dotenv", "secrets.toml", "state"])
def test_each_source_alone_is_enough(source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    state = None
    match source:
        case "environment":
            for name, value in NEEDED.items():
                monkeypatch.setenv(name, value)
        case "dotenv":
            (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in NEEDED.items()))
        case "secrets.toml":
            (tmp_path / ".streamlit").mkdir()
            (tmp_path / ".streamlit/secrets.toml").write_text(
                "".join(f'{name} = "{value}"\n' for name, value in NEEDED.items()) + "[connections]\nx = 1\n"
            )
        case _:
            state = write_state(tmp_path / "state", **NEEDED)
    settings = load_settings(state)
    assert settings.fabric_tenant_id == "tenant"
    assert settings.conninfo == {
        "host": "db.example",
        "port": 5432,
        "dbname": "treadle",
        "user": "treadle",
        "password": "canary-password-91bc",
    }


def test_a_state_directory_decides_over_the_environment_so_that_environments_never_mix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("FABRIC_CLIENT_SECRET", "of-production")
    settings = load_settings(write_state(tmp_path / "state", **NEEDED))
    assert settings.fabric_client_secret.get_secret_value() == NEEDED["FABRIC_CLIENT_SECRET"]


def test_the_environment_decides_over_dotenv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in NEEDED.items()))
    monkeypatch.setenv("PG_HOST", "other.example")
    assert load_settings().pg_host == "other.example"


def test_secrets_do_not_show_in_any_printed_form():
    settings = Settings(**{name.lower(): value for name, value in NEEDED.items()})
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "canary" not in shown


def test_an_unusable_value_is_named_without_being_shown(monkeypatch: pytest.MonkeyPatch):
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PG_PORT", "canary-port")
    with pytest.raises(InvalidInput) as caught:
        load_settings()
    assert "PG_PORT" in caught.value.message
    assert "canary" not in caught.value.message + str(caught.value.details)


@pytest.mark.parametrize("url", ["http://api.example", "ftp://x", "api.example"])
def test_a_bearer_token_is_never_sent_in_clear_text(url: str, monkeypatch: pytest.MonkeyPatch):
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FABRIC_API_URL", url)
    with pytest.raises(InvalidInput, match="FABRIC_API_URL"):
        load_settings()


@pytest.mark.parametrize("written", ["https://api.example/", "https://api.example/v1", "https://api.example/v1/"])
def test_base_urls_are_kept_in_one_form(written: str):
    settings = Settings(**{name.lower(): value for name, value in NEEDED.items()}, fabric_api_url=written)
    assert settings.fabric_api_url == "https://api.example"


def test_a_broken_secrets_toml_is_reported_without_its_content(tmp_path: Path):
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit/secrets.toml").write_text('FABRIC_CLIENT_SECRET = "canary-unterminated\n')
    with pytest.raises(InvalidInput) as caught:
        load_settings()
    assert "secrets.toml" in caught.value.message
    assert "canary" not in str(caught.value)


def test_the_state_directory_is_found_by_option_then_variable_then_folder(tmp_path: Path):
    assert state_dir(None, {}) is None
    write_state(tmp_path / ".treadle", **NEEDED)
    assert state_dir(None, {}) == Path(".treadle")
    assert state_dir(None, {"TREADLE_STATE": "/elsewhere"}) == Path("/elsewhere")
    assert state_dir(Path("/named"), {"TREADLE_STATE": "/elsewhere"}) == Path("/named")


def test_a_named_state_directory_that_is_not_up_says_how_to_start_it(tmp_path: Path):
    with pytest.raises(InvalidInput) as caught:
        load_settings(tmp_path / "nowhere")
    assert "treadle up --state" in str(caught.value.hint)
