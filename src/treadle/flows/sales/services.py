"""What a sales run works with: the database, Fabric, the lakehouse, and how patient to be. Built once, by wiring."""

from dataclasses import dataclass
from datetime import timedelta

from treadle.clients.fabric import FabricClient, ItemId, WorkspaceId
from treadle.clients.onelake import OneLakeClient
from treadle.control.database import Database


@dataclass(frozen=True, slots=True)
class SalesServices:
    """The other systems, and the settings that decide how a run is driven."""

    database: Database
    fabric: FabricClient
    lake: OneLakeClient
    workspace: WorkspaceId
    pipeline: ItemId
    app_version: str
    owner_upn: str | None = None
    owner_object_id: str | None = None
    trigger_grace: timedelta = timedelta(seconds=120)  # longer than a trigger can be under way, listing lag included
    unknown_status_deadline: timedelta = timedelta(hours=24)
    upload_limit_bytes: int = 2 * 1024**3
    poll_seconds: float = 5
    poll_seconds_max: float = 60
