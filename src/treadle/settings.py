"""Settings: where the clouds and the database are, and with which credentials.

Sources, the first that names a setting decides it:
1. `<state>/treadle.env`, written by `treadle up`. It names all of one environment, so that a sandbox and a production are never mixed.
2. environment variables   3. `.env`   4. `.streamlit/secrets.toml`, both in the working directory.
"""

import json
import os
import shlex
from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from treadle.errors import InvalidInput, MissingSettings
from treadle.settings_scenario import ScenarioSettings
from treadle.settings_weekly import WeeklySettings

STATE_FILE_NAME = "treadle.env"
STARTING_FILE_NAME = "starting.env"  # the same for the processes of `treadle up`, which must be ready before others find treadle.env
DEFAULT_STATE = Path(".treadle")
SECRETS_TOML = Path(".streamlit/secrets.toml")


def _https_origin(value: str) -> str:
    """Return a base URL without a trailing slash or `/v1`; a bearer token must not travel in clear text, so only https is taken."""
    if not value.startswith("https://"):
        raise ValueError("must start with https://")
    return value.rstrip("/").removesuffix("/v1")


def _https_url(value: str) -> str:
    """Return the address as it was given: an issuer is compared character by character."""
    if not value.startswith("https://"):
        raise ValueError("must start with https://")
    return value


Origin = Annotated[str, AfterValidator(_https_origin)]
HttpsUrl = Annotated[str, AfterValidator(_https_url)]
Required = Annotated[str, Field(min_length=1)]

NOTIFY_EVENTS = ("run.succeeded", "run.failed", "lock.released", "job.failed")


def _known_events(value: str) -> str:
    """Return the list as it was given; a name that nobody sends would be waited for in vain."""
    unknown = [name for name in split_names(value) if name not in NOTIFY_EVENTS]
    if unknown:
        raise ValueError(f"knows only: {', '.join(NOTIFY_EVENTS)}")
    return value


def split_names(value: str) -> list[str]:
    """The names in a list that is parted by commas or blanks."""
    return value.replace(",", " ").split()


NotifyEvents = Annotated[str, AfterValidator(_known_events)]

ROLE_NAMES = ("viewer", "operator", "admin")


def _role_map(value: str) -> str:
    """Return the JSON as it was given; a role that does not exist would be found out by who cannot sign in."""
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(role in ROLE_NAMES for role in cast("dict[str, Any]", found).values()):
        raise ValueError(f"must be a JSON object of claim values to roles ({', '.join(ROLE_NAMES)})")
    return value


RoleName = Literal["viewer", "operator", "admin"]
RoleMap = Annotated[str, AfterValidator(_role_map)]


class Settings(WeeklySettings, ScenarioSettings):
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
    treadle_pg_database: str | None = None  # where the schema treadle is, with everything of Treadle's own; None: in the same database

    fabric_api_url: Origin = "https://api.fabric.microsoft.com"  # of the Fabric REST API, without /v1
    entra_authority_url: Origin = "https://login.microsoftonline.com"  # of Entra ID
    onelake_url: Origin = "https://onelake.dfs.fabric.microsoft.com"  # of the DFS endpoint of OneLake
    fabric_portal_url: Origin = "https://app.fabric.microsoft.com"  # of Fabric's own pages, which runs link to; not in a sandbox
    treadle_ca_file: Path | None = None  # None: the certificates of the system
    treadle_environment: str = "production"  # the badge that every surface shows; the sandbox writes SANDBOX

    treadle_user: str | None = None  # who acts; None: the operating system's user
    treadle_role: RoleName = "admin"  # what who acts at this machine may do: viewer, operator or admin
    treadle_request_timeout_seconds: float = Field(default=30, gt=0, le=600)  # for one call to a cloud, its retries included
    treadle_trigger_grace_seconds: float = Field(default=120, ge=0)  # longer than a trigger may be under way, listing lag included
    treadle_unknown_status_hours: float = Field(default=24, gt=0)  # how long a run may stay without a word that we know
    treadle_poll_seconds: float = Field(default=5, gt=0)  # between two looks at a run when Fabric does not say
    treadle_poll_seconds_max: float = Field(default=60, gt=0)  # a longer Retry-After is not obeyed for polling
    treadle_job_slots: int = Field(
        default=2, ge=1, le=32
    )  # background jobs that one worker does at once; each uses a database connection now and then
    treadle_upload_limit_mb: int = Field(default=2048, gt=0)  # a larger workbook is not uploaded

    notify_slack_url: SecretStr | None = None  # an incoming webhook of Slack; None: Slack is told nothing
    notify_teams_url: SecretStr | None = None  # a Teams workflow "when a webhook request is received"
    notify_webhook_url: SecretStr | None = None  # any address that takes a signed JSON message (Standard Webhooks)
    notify_webhook_secret: SecretStr | None = None  # signs those: whsec_ and base64; a second one, after a blank, for a change
    notify_events: NotifyEvents = "run.failed, lock.released, job.failed"  # what is told; also known: run.succeeded

    oidc_issuer: HttpsUrl | None = None  # whose bearer tokens the API takes, exactly as in their claim iss; None: API tokens only
    oidc_audience: str | None = None  # the claim aud of tokens meant for Treadle, which is not a client id; needed with OIDC_ISSUER
    oidc_jwks_url: HttpsUrl | None = None  # where its public keys are; None: as its discovery document says
    oidc_role_claim: str = "roles"  # the claim that holds the roles; a.b is b inside a
    oidc_role_map: RoleMap = "{}"  # JSON: value of that claim, or sub:<subject>, → role; empty: the values are the roles' names

    oidc_client_id: str | None = None  # the portal's client at that issuer; None: nobody signs in, and the portal serves this machine alone
    oidc_client_secret: SecretStr | None = None  # its secret
    portal_url: Origin | None = None  # the portal as browsers see it, for the way back from sign-in; None: the address it listens on
    portal_upload_limit_mb: int = Field(default=200, gt=0)  # a larger file is not taken by a page, which has it in memory; the API takes it
    portal_cookie_secret: SecretStr | None = Field(default=None, min_length=32)  # signs the sign-in cookies; None: a new one at each start

    api_host: str = "127.0.0.1"  # the address that `treadle api` listens on; before it is another, put a proxy with TLS in front
    api_port: int = Field(default=8080, ge=0, le=65535)  # its port; 0: any free one
    api_allowed_hosts: str = "localhost, 127.0.0.1, ::1"  # the names under which the API may be asked; *.example.com for all below it
    api_cors_origins: str = ""  # the origins whose pages may call it from a browser, for example https://portal.example.com
    api_rate_limit: str = "600/minute"  # requests of one caller on one route
    api_body_limit_kb: int = Field(default=256, ge=1, le=65536)  # of a request, but for the bytes of an upload

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

    @model_validator(mode="after")
    def _tokens_are_meant_for_us(self) -> Self:
        """Without an audience, a token that was given out for any other application of the same issuer would be taken."""
        if self.oidc_issuer and not self.oidc_audience:
            raise ValueError("OIDC_AUDIENCE must be set with OIDC_ISSUER")
        return self

    @model_validator(mode="after")
    def _channels_are_safe(self) -> Self:
        """An address is a secret, so it does not travel in clear text; and a message that nobody can prove ours is not sent to programs."""
        for name in ("slack", "teams", "webhook"):
            address: SecretStr | None = getattr(self, f"notify_{name}_url")
            allowed = ("https://", "http://") if self.treadle_environment == "SANDBOX" else ("https://",)
            if address and not address.get_secret_value().startswith(allowed):
                raise ValueError(f"NOTIFY_{name.upper()}_URL must start with https://")
        if self.notify_webhook_url and not self.notify_webhook_secret:
            raise ValueError("NOTIFY_WEBHOOK_URL needs NOTIFY_WEBHOOK_SECRET, to sign with")
        return self

    @property
    def notified_events(self) -> frozenset[str]:
        """What channels are told."""
        return frozenset(split_names(self.notify_events))

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
    def own_conninfo(self) -> dict[str, Any]:
        """As `conninfo`, for the database with the schema `treadle`."""
        return {**self.conninfo, "dbname": self.treadle_pg_database or self.pg_database}

    @property
    def role_map(self) -> dict[str, str]:
        """OIDC_ROLE_MAP, read."""
        return json.loads(self.oidc_role_map)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret value, for the redaction of logs."""
        found = (
            self.fabric_client_secret,
            self.pg_password,
            self.notify_slack_url,
            self.notify_teams_url,
            self.notify_webhook_url,
            self.oidc_client_secret,
            self.portal_cookie_secret,
        )
        signing = self.notify_webhook_secret.get_secret_value().split() if self.notify_webhook_secret else []
        return (*(secret.get_secret_value() for secret in found if secret), *signing, *self.weekly_secrets, *self.scenario_secrets)


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
    """Read the settings. TREADLE_STATE_FILE names another file than treadle.env in the state directory; `treadle up` sets it for its own processes.

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
    path = state / os.environ.get("TREADLE_STATE_FILE", STATE_FILE_NAME)
    if not path.exists():
        raise _not_running(state)
    return {name.lower(): value for name, value in dotenv_values(path, interpolate=False).items() if value}


def _not_running(state: Path) -> InvalidInput:
    """There is a `treadle.env` only while `treadle up` runs."""
    place = "" if state == DEFAULT_STATE else f" --state {shlex.quote(str(state))}"
    return InvalidInput(
        f"The local environment in {state} is not running.", hint=f"Start it with: treadle up{place}", details={"state": str(state)}
    )


def _nothing_is_set(missing: Collection[str]) -> bool:
    """Whether nobody has begun to name another environment: not one of the settings that each needs is there."""
    return {name.upper() for name, field in Settings.model_fields.items() if field.is_required()} <= set(missing)


def _as_our_error(error: ValidationError, state: Path | None) -> InvalidInput:
    found = [(_setting_name(item["loc"]), item["type"], item["msg"]) for item in error.errors(include_input=False, include_url=False)]
    missing = sorted(name for name, kind, _ in found if kind in {"missing", "string_too_short", "too_short"})
    wrong = {name: message for name, _, message in found if name not in missing}
    looked_in = [str(state / STATE_FILE_NAME)] if state else []
    looked_in += ["the environment", ".env", str(SECRETS_TOML)]
    if state is None and DEFAULT_STATE.is_dir() and _nothing_is_set(missing):
        return _not_running(DEFAULT_STATE)
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
