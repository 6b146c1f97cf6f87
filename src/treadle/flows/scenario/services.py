"""What the scenario flow works with: Fabric, the lakes, the query service of the eventhouses, documents, and the job queue. Built once, by wiring."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from treadle.clients.fabric import FabricClient
from treadle.clients.onelake import LakeClient
from treadle.control.database import Database
from treadle.flows.scenario.gunzip import Limits

if TYPE_CHECKING:  # what only some builds need is loaded by those
    from treadle.clients.gremlin import GremlinClient
    from treadle.clients.kusto import KustoClient
    from treadle.stores.document_store import DocumentStore


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for Fabric, in seconds.

    name: for a name that is still reserved after a deletion. listing: until what was made shows in lists. operation: for one long-running
    operation, such as loading a table. refresh: for one refresh of a graph.
    """

    name: float = 330.0
    listing: float = 15.0
    operation: float = 900.0
    refresh: float = 1800.0


@dataclass(frozen=True, slots=True)
class ScenarioServices:
    """The other systems, and how patient and strict to be. Nothing is contacted before it is used; safe to share between threads.

    own: the database with the schema treadle: background jobs. lake: Treadle's own lakehouse: waiting uploads, and the documents of scenarios.
    lake_of: (workspace id, lakehouse id) → its files. kusto: (query service URI, database) → its client. What these two and `gremlin` give
    belongs to whoever opened the services, and is closed with them. scratch: a folder of this machine, for what an archive holds while it is
    worked on. limits: what an archive may hold. upload_limit_bytes: how large the archive itself may be.
    """

    own: Database
    fabric: FabricClient
    lake: LakeClient
    lake_of: Callable[[str, str], LakeClient]
    kusto: "Callable[[str, str], KustoClient]"
    documents: "DocumentStore"
    gremlin: "Callable[[], GremlinClient]"
    scratch: Path
    limits: Limits = field(default_factory=Limits)
    upload_limit_bytes: int = 1024**3
    patience: Patience = field(default_factory=Patience)
