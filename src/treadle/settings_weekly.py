"""The settings of the weekly flow: the events API, its files on this machine, the lake, Salesforce, and how strict to be.

They are read with all others, from the same places. None of them is needed to use the rest of Treadle; a weekly command names at once all that
it lacks itself.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from treadle.errors import MissingSettings

Part = Literal["events", "salesforce"]
_THIS_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def _https_base(value: str) -> str:
    """Return a base URL without a trailing slash; a key must not travel in clear text, so only https is taken."""
    if not value.startswith("https://"):
        raise ValueError("must start with https://")
    return value.rstrip("/")


def _lineage_base(value: str) -> str:
    """Return the address without a trailing slash; in clear text only to this machine, which the host must be as a whole."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("must be an address such as https://host/path") from error
    if "@" in parts.netloc:
        raise ValueError("must not have a user or password in it; OPENLINEAGE_API_KEY is sent beside it")
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and host in _THIS_MACHINE)):
        raise ValueError("must start with https://, or with http:// on this machine")
    return value.rstrip("/")


def _lake_folder(value: str) -> str:
    """Return a path inside the lake without slashes at its ends."""
    folder = value.strip("/")
    if not folder or any(part in {"", ".", ".."} for part in folder.split("/")):
        raise ValueError("must be a path inside the lake, for example reverse_etl/raw_events")
    return folder


def _event_types(value: str) -> str:
    """Return the list as it was given; with no type in it every customer would have spent nothing."""
    if not value.replace(",", " ").split():
        raise ValueError("must name at least one event type, for example purchase")
    return value


HttpsBase = Annotated[str, AfterValidator(_https_base)]
LineageBase = Annotated[str, AfterValidator(_lineage_base)]
LakeFolder = Annotated[str, AfterValidator(_lake_folder)]
EventTypes = Annotated[str, AfterValidator(_event_types)]
Share = Annotated[float, Field(ge=0, le=100)]

_NEEDED: Final[dict[Part, tuple[str, ...]]] = {
    "events": ("api_base_url", "api_key"),
    "salesforce": ("salesforce_url", "salesforce_client_id"),
}
_HOW_TO_SIGN_IN: Final = "SALESFORCE_CLIENT_SECRET or SALESFORCE_PRIVATE_KEY_FILE"


class WeeklySettings(BaseSettings):
    """The weekly flow's part of all settings."""

    api_base_url: HttpsBase | None = None  # of the events API; /datasets/ecom_events is asked below it
    api_key: SecretStr | None = None  # sent to it as X-API-KEY
    api_timeout_seconds: float = Field(default=60, ge=1, le=300)  # for one page, from asking to its last byte
    api_max_retries: int = Field(default=3, ge=1, le=10)  # of one page, after 429, 5xx and cut connections
    api_page_size: int = Field(default=1000, ge=1, le=1000)  # events of one page
    api_rate_limit_delay: float = Field(default=2.0, ge=0, le=60)  # seconds between two pages
    reject_threshold_pct: Share = 5.0  # with more rejected records the week fails and the checkpoint stays
    spend_event_types: EventTypes = "purchase"  # the event types whose prices count as spend, parted by commas
    state_dir: Path = Path("state")  # the mirror of the checkpoint, the queue of pending updates, and the files of each week's work
    local_data_dir: Path = Path("data/raw_events")  # where a week's valid events are published on this machine
    local_rejects_dir: Path = Path("data/raw_events_rejects")  # and its rejects
    adls_base_path: LakeFolder = "reverse_etl/raw_events"  # the same in the lake, in a lakehouse below Files/; rejects beside it, …_rejects
    storage_account: str | None = None  # of ADLS Gen2, a name or an https address; None: the lakehouse of FABRIC_LAKEHOUSE_ID
    container: str | None = None  # the container there; both or neither
    azure_sql_server: str | None = None  # where dbo.pipeline_run and its two sisters are, as name.database.windows.net; None: in PostgreSQL
    azure_sql_database: str | None = None  # the database there; both or neither

    salesforce_url: HttpsBase | None = None  # the My Domain of the org, for sign-in and API
    salesforce_client_id: str | None = None  # the consumer key of the connected app
    salesforce_client_secret: SecretStr | None = None  # its secret, for the client credentials flow
    salesforce_private_key_file: Path | None = None  # a PEM file, for the JWT bearer flow; needs SALESFORCE_USERNAME
    salesforce_username: str | None = None  # the user that Treadle acts as
    salesforce_password: SecretStr | None = None  # for the username-password flow, which Salesforce is ending
    salesforce_audience: HttpsBase | None = None  # the claim aud of the JWT; None: SALESFORCE_URL
    salesforce_api_version: Annotated[str, Field(pattern=r"^\d{2,3}\.0$")] = "66.0"  # of the REST and Bulk APIs
    salesforce_object: Annotated[str, Field(pattern=r"^[A-Za-z]\w*$")] = "Customer_Weekly_Metric__c"  # what is upserted
    sync_max_update_pct: Share = 50.0  # a plan that updates more of what is known is not carried out without --override-guards
    sync_max_missing_pct: Share = 25.0  # the same for records of the week that the metrics no longer have; they stay in Salesforce

    openlineage_url: LineageBase | None = None  # where OpenLineage events of each run are posted; None: nowhere
    openlineage_api_key: SecretStr | None = None  # sent there as a bearer token

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        """Half an address would be found out after the extract, which may take hours."""
        for one, other in (("storage_account", "container"), ("azure_sql_server", "azure_sql_database")):
            if bool(getattr(self, one)) != bool(getattr(self, other)):
                raise ValueError(f"{one.upper()} and {other.upper()} must be set both, or neither")
        return self

    @property
    def spend_types(self) -> frozenset[str]:
        """SPEND_EVENT_TYPES, as events have them: trimmed and in lower case."""
        return frozenset(self.spend_event_types.replace(",", " ").lower().split())

    @property
    def weekly_secrets(self) -> tuple[str, ...]:
        """Every secret value of the weekly flow, for the redaction of logs."""
        found = (self.api_key, self.salesforce_client_secret, self.salesforce_password, self.openlineage_api_key)
        return tuple(secret.get_secret_value() for secret in found if secret)

    def require_weekly(self, parts: Collection[Part]) -> None:
        """Return when all that these parts need is set.

        Raises:
            MissingSettings: names everything that is missing, not only the first.
        """
        missing = [name.upper() for part in _NEEDED if part in parts for name in _NEEDED[part] if not getattr(self, name)]
        if "salesforce" in parts and not (self.salesforce_client_secret or self.salesforce_private_key_file):
            missing.append(_HOW_TO_SIGN_IN)
        if "salesforce" in parts and self.salesforce_private_key_file and not self.salesforce_username:
            missing.append("SALESFORCE_USERNAME")
        if missing:
            raise MissingSettings(
                f"{len(missing)} setting{'s are' if len(missing) > 1 else ' is'} missing: {', '.join(missing)}.",
                hint="Set them beside the others; docs/reference/settings.md says what each is.",
                details={"missing": missing},
            )
