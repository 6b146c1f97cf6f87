"""Settings: where the clouds and the database are, and with which credentials.

Sources, the first that names a setting decides it:
1. `<state>/treadle.env`, written by `treadle up`. It names all of one environment, so that a sandbox and a production are never mixed.
2. environment variables   3. `.env`   4. `.streamlit/secrets.toml`, both in the working directory.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from treadle.errors import InvalidInput, MissingSettings

STATE_FILE_NAME = "treadle.env"
DEFAULT_STATE = Path(".treadle")
SECRETS_TOML = Path(".streamlit/secrets.toml")


def _https_origin(value: str) -> str:
    """Return a base URL without a trailing slash or `/v1`; a bearer token must not travel in clear text, so only https is taken."""
    if not value.startswith("https://"):
        raise ValueError("must start with https://")
    return value.rstrip("/").removesuffix("/v1")


Origin = Annotated[str, AfterValidator(_https_origin)]
Required = Annotated[str, Field(min_length=1)]


class Settings(BaseSettings):
    """All settings, under the names of the environment variables in lower case. A secret shows as `**********` wherever it is printed."""

    model_config = SettingsConfigDict(extra="ignore", env_file=".env", env_ignore_empty=True, toml_file=SECRETS_TOML, frozen=True)

    fabric_tenant_id: Required  # of Entra ID, where the app registration is
    fabric_client_id: Required  # the app registration that Treadle signs in as
    fabric_client_secret: SecretStr = Field(min_length=1)  # its secret
    fabric_workspace_id: Required  # the workspace of pipeline and lakehouse
    fabric_pipeline_id: Required  # the pipeline item that a run triggers
    fabric_lakehouse_id: Required  # the lakehouse item with Files/import and Files/results
    owner_upn: str | None = None  # the person named as owner of each triggered job, by sign-in name
    owner_object_id: str | None = None  # the same person's object id

    pg_host: Required  # a host name, or the folder of a Unix socket
    pg_port: int = 5432  # its port; for a socket folder, the number in the socket's name
    pg_database: Required  # the database with the five tables
    pg_user: Required  # a role that may SELECT, INSERT and UPDATE there
    pg_password: SecretStr | None = None  # its password; none where the server trusts the connection
    pg_sslmode: str | None = None  # None: what libpq does by itself (prefer)
    pg_pool_size: int = Field(default=8, ge=1, le=64)  # connections that transactions share; each lease has one more of its own

    fabric_api_url: Origin = "https://api.fabric.microsoft.com"  # of the Fabric REST API, without /v1
    entra_authority_url: Origin = "https://login.microsoftonline.com"  # of Entra ID
    onelake_url: Origin = "https://onelake.dfs.fabric.microsoft.com"  # of the DFS endpoint of OneLake
    treadle_ca_file: Path | None = None  # None: the certificates of the system
    treadle_environment: str = "production"  # the badge that every surface shows; the sandbox writes SANDBOX

    treadle_user: str | None = None  # who acts; None: the operating system's user
    treadle_request_timeout_seconds: float = Field(default=30, gt=0, le=600)  # for one call to a cloud, its retries included
    treadle_trigger_grace_seconds: float = Field(default=120, ge=0)  # longer than a trigger may be under way, listing lag included
    treadle_unknown_status_hours: float = Field(default=24, gt=0)  # how long a run may stay without a word that we know
    treadle_poll_seconds: float = Field(default=5, gt=0)  # between two looks at a run when Fabric does not say
    treadle_poll_seconds_max: float = Field(default=60, gt=0)  # a longer Retry-After is not obeyed for polling
    treadle_upload_limit_mb: int = Field(default=2048, gt=0)  # a larger workbook is not uploaded
    log_level: str = "INFO"  # DEBUG, INFO, WARNING or ERROR; commands for people begin at WARNING

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources as the head of this file says; keys of secrets.toml count in any case."""
        del file_secret_settings
        return init_settings, env_settings, dotenv_settings, _LowerCaseToml(settings_cls)

    @model_validator(mode="after")
    def _grace_outlasts_a_trigger(self) -> Self:
        """Otherwise a run could be failed, and the next one started, while its own request is still under way."""
        if self.treadle_trigger_grace_seconds <= self.treadle_request_timeout_seconds and self.treadle_environment != "SANDBOX":
            raise ValueError("TREADLE_TRIGGER_GRACE_SECONDS must be above TREADLE_REQUEST_TIMEOUT_SECONDS")
        return self

    @property
    def unknown_status_deadline(self) -> timedelta:
        """How long a run may stay active without a status word that Treadle knows."""
        return timedelta(hours=self.treadle_unknown_status_hours)

    @property
    def conninfo(self) -> dict[str, Any]:
        """Keyword values for psycopg. Absent: what libpq decides."""
        values = {
            "host": self.pg_host,
            "port": self.pg_port,
            "dbname": self.pg_database,
            "user": self.pg_user,
            "password": self.pg_password.get_secret_value() if self.pg_password else None,
            "sslmode": self.pg_sslmode,
        }
        return {name: value for name, value in values.items() if value is not None}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret value, for the redaction of logs."""
        found = (self.fabric_client_secret, self.pg_password)
        return tuple(secret.get_secret_value() for secret in found if secret)


class _LowerCaseToml(TomlConfigSettingsSource):
    """`.streamlit/secrets.toml` with its conventional upper-case keys."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        try:
            super().__init__(settings_cls)
        except ValueError as error:  # the parser's message may quote the line, and with it a secret
            raise InvalidInput(
                f"{SECRETS_TOML} is not valid TOML.", hint="Correct the file; values need quotes."
            ) from error.with_traceback(None)

    def __call__(self) -> dict[str, Any]:
        return {name.lower(): str(value) for name, value in super().__call__().items() if not isinstance(value, dict)}


def state_dir(explicit: Path | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Find the state directory: `--state`, else TREADLE_STATE, else `./.treadle` if it is there. None: there is none."""
    if explicit:
        return explicit
    if named := environ.get("TREADLE_STATE"):
        return Path(named)
    return DEFAULT_STATE if (DEFAULT_STATE / STATE_FILE_NAME).exists() else None


def load_settings(state: Path | None = None) -> Settings:
    """Read the settings.

    Raises:
        MissingSettings: names every setting that is missing, not only the first.
        InvalidInput: a value cannot be used, or the named state directory has no `treadle.env`. The value itself is never shown.
    """
    try:
        return Settings(**_state_values(state))
    except ValidationError as error:
        raise _as_our_error(error, state) from None  # pydantic's own error quotes the values


def _state_values(state: Path | None) -> dict[str, Any]:
    if state is None:
        return {}
    path = state / STATE_FILE_NAME
    if not path.exists():
        raise InvalidInput(
            f"{path} does not exist.", hint=f"Start the local environment with: treadle up --state {state}", details={"state": str(state)}
        )
    return {name.lower(): value for name, value in dotenv_values(path, interpolate=False).items() if value}


def _as_our_error(error: ValidationError, state: Path | None) -> InvalidInput:
    found = [(_setting_name(item["loc"]), item["type"], item["msg"]) for item in error.errors(include_input=False, include_url=False)]
    missing = sorted(name for name, kind, _ in found if kind in {"missing", "string_too_short", "too_short"})
    wrong = {name: message for name, _, message in found if name not in missing}
    looked_in = [str(state / STATE_FILE_NAME)] if state else []
    looked_in += ["the environment", ".env", str(SECRETS_TOML)]
    if missing:
        return MissingSettings(
            f"{len(missing)} setting{'s are' if len(missing) > 1 else ' is'} missing: {', '.join(missing)}.",
            hint=f"Set them in one of: {', '.join(looked_in)}; or start a local environment with: treadle up",
            details={"missing": missing, "wrong": wrong, "looked_in": looked_in},
        )
    return InvalidInput(
        "Settings cannot be used: " + "; ".join(f"{name} {text}".strip() for name, text in sorted(wrong.items())) + ".",
        hint="Correct them and try again.",
        details={"wrong": wrong},
    )


def _setting_name(location: tuple[int | str, ...]) -> str:
    """The setting that a complaint is about; empty for one that is about several."""
    return str(location[0]).upper() if location else ""
