"""Builds what a command works with, from settings: the only place that knows which parts belong together."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from treadle import __version__
from treadle.clients.entra import credential
from treadle.clients.fabric import FabricClient, ItemId, WorkspaceId
from treadle.clients.onelake import OneLakeClient
from treadle.control.database import Database
from treadle.control.worker import Worker
from treadle.flows.sales.drive import drive_run
from treadle.flows.sales.services import SalesServices
from treadle.settings import Settings

ABANDONED_UPLOAD_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Wiring:
    """Everything that one process needs, ready to use."""

    settings: Settings
    database: Database
    fabric: FabricClient
    lake: OneLakeClient
    sales: SalesServices

    def worker(self) -> Worker:
        """A worker that drives the runs of all flows."""
        return Worker(
            self.database, partial(drive_run, self.sales), idle_seconds=min(1.0, self.settings.treadle_poll_seconds), tidy=self._tidy
        )

    def _tidy(self) -> None:
        """Clear away what uploads that were killed have left in the lake, once nobody can be working on it any more."""
        self.lake.discard_abandoned_uploads(ABANDONED_UPLOAD_SECONDS, self.database.now())


@contextmanager
def wired(settings: Settings) -> Generator[Wiring]:
    """Connect to everything that the settings name; nothing is contacted before it is used."""
    entra = credential(
        settings.fabric_tenant_id,
        settings.fabric_client_id,
        settings.fabric_client_secret.get_secret_value(),
        authority_url=settings.entra_authority_url,
        ca_file=settings.treadle_ca_file,
    )
    timeout = settings.treadle_request_timeout_seconds
    fabric = FabricClient(settings.fabric_api_url, credential=entra, ca_file=settings.treadle_ca_file, deadline_seconds=timeout)
    lake = OneLakeClient(
        settings.onelake_url,
        settings.fabric_workspace_id,
        settings.fabric_lakehouse_id,
        credential=entra,
        ca_file=settings.treadle_ca_file,
        deadline_seconds=timeout,
    )
    database = Database(settings.conninfo, pool_size=settings.pg_pool_size)
    sales = SalesServices(
        database=database,
        fabric=fabric,
        lake=lake,
        workspace=WorkspaceId(settings.fabric_workspace_id),
        pipeline=ItemId(settings.fabric_pipeline_id),
        app_version=__version__,
        owner_upn=settings.owner_upn,
        owner_object_id=settings.owner_object_id,
        trigger_grace=timedelta(seconds=settings.treadle_trigger_grace_seconds),
        unknown_status_deadline=settings.unknown_status_deadline,
        upload_limit_bytes=settings.treadle_upload_limit_mb * 1024**2,
        poll_seconds=settings.treadle_poll_seconds,
        poll_seconds_max=settings.treadle_poll_seconds_max,
    )
    try:
        yield Wiring(settings, database, fabric, lake, sales)
    finally:
        for part in (database, lake, fabric):
            part.close()
