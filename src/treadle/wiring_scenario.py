"""Builds what the scenario flow works with. What Cosmos DB needs, in settings and packages, is asked for only when it is chosen."""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from treadle.clients.addresses import leads_elsewhere
from treadle.clients.fabric import FabricClient
from treadle.clients.onelake import LakeClient, OneLakeClient
from treadle.clients.transport import TokenSource
from treadle.control.database import Database
from treadle.errors import InvalidInput
from treadle.flows.scenario.services import ScenarioServices
from treadle.settings import Settings

if TYPE_CHECKING:  # what only some builds need is loaded by those
    from treadle.clients.gremlin import GremlinClient
    from treadle.clients.kusto import KustoClient
    from treadle.stores.document_store import DocumentStore


class _Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=_Closable)


class ScenarioOpener:
    """The services of the scenario flow, built at the first call and closed with everything else. Safe to share between threads."""

    def __init__(self, settings: Settings, own: Database, fabric: FabricClient, lake: LakeClient, credential: TokenSource) -> None:
        """lake: of the Fabric settings, where uploads wait and documents are kept."""
        self._settings, self._own, self._fabric, self._lake, self._credential = settings, own, fabric, lake, credential
        self._opening = threading.Lock()
        self._opened: ScenarioServices | None = None
        self._kept: dict[tuple[str, ...], _Closable] = {}

    def __call__(self) -> ScenarioServices:
        """Nothing is contacted yet.

        Raises:
            InvalidInput: a setting is missing or cannot be used, or an extra is not installed.
        """
        with self._opening:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def close(self) -> None:
        """Close the connections that are ours alone. Safe to repeat."""
        with self._opening:
            kept = list(self._kept.values())
            self._kept.clear()
            documents = self._opened.documents if self._opened else None
            self._opened = None
        for each in (*kept, *([documents] if documents else [])):
            each.close()

    def _open(self) -> ScenarioServices:
        settings = self._settings
        return ScenarioServices(
            own=self._own,
            fabric=self._fabric,
            lake=self._lake,
            lake_of=self._lake_of,
            kusto=self._kusto,
            documents=self._documents(),
            gremlin=self._gremlin,
            scratch=self._scratch(),
            upload_limit_bytes=settings.scenario_upload_limit_mb * 1024**2,
        )

    def _scratch(self) -> Path:
        folder = self._settings.scenario_scratch_dir or Path(tempfile.gettempdir())
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"{folder} cannot hold files: {error.strerror}.", hint="Correct SCENARIO_SCRATCH_DIR.") from error
        return folder

    def _lake_of(self, workspace_id: str, lakehouse_id: str) -> LakeClient:
        """One client for each lakehouse; its connections are kept."""
        settings = self._settings
        return self._kept_one(
            ("lake", workspace_id.lower(), lakehouse_id.lower()),
            lambda: OneLakeClient(
                settings.onelake_url,
                workspace_id,
                lakehouse_id,
                self._credential,
                settings.treadle_ca_file,
                deadline_seconds=settings.treadle_request_timeout_seconds,
            ),
        )

    def _kusto(self, query_uri: str, database: str) -> "KustoClient":
        from treadle.clients.kusto import KustoClient  # noqa: PLC0415 - see above

        settings = self._settings
        return self._kept_one(
            ("kusto", query_uri, database),
            lambda: KustoClient(query_uri, database, self._credential, settings.treadle_ca_file, hosts=settings.kusto_host_names),
        )

    def _gremlin(self) -> "GremlinClient":
        """One client: the server allows few connections."""
        from treadle.clients.gremlin import GremlinClient, cosmos_user  # noqa: PLC0415 - see above

        settings = self._settings
        settings.require_scenario({"gremlin"})
        url, key = settings.gremlin_url or "", settings.gremlin_key.get_secret_value() if settings.gremlin_key else ""
        self._stay_here(url, "GREMLIN_URL")
        user = cosmos_user(settings.gremlin_database or "", settings.gremlin_graph or "")
        return self._kept_one(("gremlin",), lambda: GremlinClient(url, user, key, ca_file=settings.treadle_ca_file))

    def _documents(self) -> "DocumentStore":
        settings = self._settings
        if settings.treadle_document_store == "postgres":
            from treadle.stores.postgres import PostgresDocuments  # noqa: PLC0415 - see above

            return PostgresDocuments(self._own)
        from treadle.stores.cosmos import CosmosDocuments, CosmosPlace  # noqa: PLC0415 - see above

        settings.require_scenario({"cosmos"})
        url, key = settings.cosmos_url or "", settings.cosmos_key.get_secret_value() if settings.cosmos_key else ""
        self._stay_here(url, "COSMOS_URL")
        place = CosmosPlace(url, key, settings.cosmos_database, ca_file=settings.treadle_ca_file, endpoint_discovery=leads_elsewhere(url))
        return CosmosDocuments(place)

    def _stay_here(self, url: str, setting: str) -> None:
        """A sandbox reaches no cloud, also when the shell has a production's addresses."""
        if self._settings.treadle_environment == "SANDBOX" and leads_elsewhere(url):
            raise InvalidInput(
                f"{setting} leads to a cloud, and this is a sandbox, which reaches none.",
                hint=f"Unset {setting}, or use an environment of its own.",
            )

    def _kept_one(self, key: tuple[str, ...], make: Callable[[], T]) -> T:
        with self._opening:
            found = self._kept.get(key)
            if found is None:
                found = self._kept[key] = make()
            return found  # pyright: ignore[reportReturnType] - a key names one type
