"""The settings of sign-in and roles: refused as a whole rather than half understood."""

from typing import Any

import pytest
from pydantic import ValidationError

from treadle.settings import Settings

NEEDED = {
    "fabric_tenant_id": "t",
    "fabric_client_id": "c",
    "fabric_client_secret": "s",
    "fabric_workspace_id": "w",
    "fabric_pipeline_id": "p",
    "fabric_lakehouse_id": "l",
    "pg_host": "h",
    "pg_database": "d",
    "pg_user": "u",
}


@pytest.fixture(autouse=True)
def _empty_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("TREADLE_ROLE", "OIDC_ISSUER", "OIDC_AUDIENCE", "OIDC_JWKS_URL", "OIDC_ROLE_CLAIM", "OIDC_ROLE_MAP"):
        monkeypatch.delenv(name, raising=False)


def settings(**values: Any) -> Settings:
    return Settings(**NEEDED | values)


def test_who_sits_at_the_machine_is_admin_unless_set_otherwise():
    assert settings().treadle_role == "admin"
    assert settings(treadle_role="viewer").treadle_role == "viewer"


def test_an_issuer_is_kept_to_the_letter():
    found = settings(oidc_issuer="https://tenant.example.com/", oidc_audience="api://treadle")
    assert found.oidc_issuer == "https://tenant.example.com/"


def test_a_role_map_is_json_of_known_roles():
    assert settings(oidc_role_map='{"Sales-Ops": "operator", "sub:8d1f": "admin"}').role_map == {
        "Sales-Ops": "operator",
        "sub:8d1f": "admin",
    }
    assert settings().role_map == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"treadle_role": "root"},
        {"oidc_issuer": "https://id.example.com"},
        {"oidc_issuer": "http://id.example.com", "oidc_audience": "a"},
        {"oidc_jwks_url": "http://id.example.com/keys"},
        {"oidc_role_map": "admin"},
        {"oidc_role_map": '["admin"]'},
        {"oidc_role_map": '{"a": "root"}'},
        {"oidc_role_map": '{"a": 1}'},
    ],
)
def test_what_cannot_be_used_is_refused(wrong):
    with pytest.raises(ValidationError):
        settings(**wrong)
