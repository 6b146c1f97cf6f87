"""Builds what the weekly flow works with. Its settings are asked for only when a command needs them."""

import threading
from pathlib import Path

from treadle.clients.addresses import leads_elsewhere
from treadle.clients.events_api import EventsApi
from treadle.clients.onelake import AdlsClient, LakeClient
from treadle.clients.salesforce import SalesforceClient
from treadle.clients.salesforce_sign_in import SalesforceCredential, SignIn
from treadle.clients.transport import TokenSource
from treadle.control.database import Database
from treadle.errors import InvalidInput
from treadle.flows.weekly.checkpoint_mirror import CheckpointMirror
from treadle.flows.weekly.lineage import Lineage
from treadle.flows.weekly.services import LakePlaces, WeeklyServices
from treadle.flows.weekly.state import PostgresState, WeeklyState
from treadle.settings import Settings


class WeeklyOpener:
    """The services of the weekly flow, built at the first call and closed with everything else. Safe to share between threads."""

    def __init__(self, settings: Settings, own: Database, lake: LakeClient, credential: TokenSource, version: str) -> None:
        """lake: of the Fabric settings, where the files go unless STORAGE_ACCOUNT names another place."""
        self._settings, self._own, self._lake, self._credential, self._version = settings, own, lake, credential, version
        self._opening = threading.Lock()
        self._opened: WeeklyServices | None = None
        self._salesforce_client: SalesforceClient | None = None

    def __call__(self) -> WeeklyServices:
        """Nothing is contacted yet.

        Raises:
            InvalidInput: a setting cannot be used, or an extra is not installed.
        """
        with self._opening:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def close(self) -> None:
        """Close the connections that are ours alone. Safe to repeat."""
        if self._opened and self._opened.places.lake is not self._lake:
            self._opened.places.lake.close()
        if self._salesforce_client:
            self._salesforce_client.close()
        self._opened = self._salesforce_client = None

    def _open(self) -> WeeklyServices:
        settings = self._settings
        return WeeklyServices(
            settings=settings,
            own=self._own,
            state=self._state(),
            mirror=CheckpointMirror(settings.state_dir),
            places=self._places(),
            events_api=self._events_api,
            salesforce=self._salesforce,
            lineage=self._lineage(),
            version=self._version,
        )

    def _events_api(self) -> EventsApi:
        settings = self._settings
        settings.require_weekly({"events"})
        return EventsApi(
            settings.api_base_url or "",
            api_key=settings.api_key.get_secret_value() if settings.api_key else "",
            ca_file=settings.treadle_ca_file,
            timeout_seconds=settings.api_timeout_seconds,
            max_retries=settings.api_max_retries,
        )

    def _salesforce(self) -> SalesforceClient:
        """One client for all: its session and its quotas are shared."""
        with self._opening:
            if self._salesforce_client is None:
                self._settings.require_weekly({"salesforce"})
                self._salesforce_client = salesforce_client(self._settings)
            return self._salesforce_client

    def _places(self) -> LakePlaces:
        """ADLS Gen2 when both of its settings are there, else the lakehouse."""
        settings = self._settings
        account, container, base = settings.storage_account, settings.container, settings.adls_base_path
        if account and container and not self._is_off_limits(account if account.startswith("https://") else f"https://{account}.example"):
            deadline = settings.treadle_request_timeout_seconds
            lake = AdlsClient(
                account,
                container,
                self._credential,
                settings.treadle_ca_file,
                writable_folder=base.rpartition("/")[0],
                deadline_seconds=deadline,
            )
            return LakePlaces(lake, base, f"{base}_rejects")
        return LakePlaces(self._lake, f"Files/{base}", f"Files/{base}_rejects")

    def _state(self) -> WeeklyState:
        settings = self._settings
        server, database = settings.azure_sql_server, settings.azure_sql_database
        if not (server and database) or self._is_off_limits(f"https://{server}"):
            return PostgresState(self._own)
        from treadle.flows.weekly.state_azure import AzureState, connector  # noqa: PLC0415 - its driver is an extra

        return AzureState(connector(server, database, lambda scope: self._credential.get_token(scope).token), self._own)

    def _lineage(self) -> Lineage:
        settings = self._settings
        url = settings.openlineage_url
        if url and self._is_off_limits(url):
            url = None
        key = settings.openlineage_api_key.get_secret_value() if settings.openlineage_api_key else None
        return Lineage(
            url, key, settings.treadle_ca_file if url and self._is_here(url) else None, f"treadle-{settings.treadle_environment.lower()}"
        )

    def _is_off_limits(self, url: str) -> bool:
        """A sandbox reaches no cloud, also when the shell has a production's addresses."""
        return self._settings.treadle_environment == "SANDBOX" and leads_elsewhere(url)

    def _is_here(self, url: str) -> bool:
        return not leads_elsewhere(url)


def salesforce_client(settings: Settings) -> SalesforceClient:
    """The client that the settings describe. Raises InvalidInput when the private key cannot be read."""
    url, secret, password = settings.salesforce_url or "", settings.salesforce_client_secret, settings.salesforce_password
    sign_in = SignIn(
        client_id=settings.salesforce_client_id or "",
        client_secret=secret.get_secret_value() if secret else None,
        username=settings.salesforce_username,
        password=password.get_secret_value() if password else None,
        private_key=_private_key(settings.salesforce_private_key_file),
        audience=settings.salesforce_audience,
    )
    credential = SalesforceCredential(url, sign_in, ca_file=settings.treadle_ca_file)
    deadline = settings.treadle_request_timeout_seconds
    return SalesforceClient(
        url,
        credential=credential,
        api_version=settings.salesforce_api_version,
        ca_file=settings.treadle_ca_file,
        deadline_seconds=deadline,
    )


def _private_key(path: Path | None) -> str | None:
    try:
        return path.read_text(encoding="ascii") if path else None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read as a private key.", hint="Correct SALESFORCE_PRIVATE_KEY_FILE.") from error
