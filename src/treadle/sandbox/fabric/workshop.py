"""What every request and every job of the Fabric sandbox works with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from treadle.sandbox.clock import Clock
from treadle.sandbox.fabric.graph.store import GraphStore
from treadle.sandbox.fabric.records import Records
from treadle.sandbox.faults import FaultScript
from treadle.sandbox.onelake.tree import Tree


class Lake(Protocol):
    """What Fabric asks of OneLake's store."""

    def create_item_folder(self, workspace_id: str, item_id: str, folders: Sequence[str] = ("Files", "Tables")) -> Path:
        """Make the folders of a new item."""
        ...

    def delete_item_folder(self, workspace_id: str, item_id: str) -> None:
        """Delete all that an item holds."""
        ...

    def path_of(self, workspace_id: str, item_id: str) -> Path:
        """Where an item's folders are on disk."""
        ...

    @property
    def tree(self) -> Tree:
        """The files of all items, reached without following any link."""
        ...


class Kusto(Protocol):
    """What Fabric asks of the eventhouses' query services."""

    def query_url(self, eventhouse_id: str) -> str:
        """The queryServiceUri of an eventhouse."""
        ...

    def ingestion_url(self, eventhouse_id: str) -> str:
        """The ingestionServiceUri of an eventhouse."""
        ...

    def check_script(self, script: str) -> str | None:
        """Why a database's schema script cannot be carried out in an empty database, or None."""
        ...

    def run_script(self, database_id: str, name: str, script: str) -> str | None:
        """Carry out a database's schema script; why it stopped, or None."""
        ...

    def drop_database(self, database_id: str) -> None:
        """Forget all that a database holds."""
        ...


@dataclass(slots=True)
class Options:
    """How the sandbox behaves where real Fabric varies or waits; tests change these while it runs.

    asynchronous_types: item types whose create, getDefinition and updateDefinition answer 202 (recorded traffic; the specification allows both).
    operation_polls: how often a long-running operation answers Running first. Retry-After is in seconds (real Fabric: 20 and 60).
    calls_per_minute: the quota of each identity and kind of API; None counts nothing, 200 is the real one.
    job_queue_seconds: how long a job stays NotStarted, by the sandbox's clock. sql_endpoint_seconds: when a lakehouse's SQL endpoint appears.
    asynchronous_with_definition: types of which only what carries a definition answers 202. ontology_enabled: the tenant's switch.
    graph_query_seconds, graph_answer_bytes: when a query on a graph times out, in real time, and where its answer is cut (real: 20 min, 64 MB).
    """

    asynchronous_types: set[str] = field(default_factory=lambda: {"Notebook", "SemanticModel", "Report", "KQLDatabase", "Ontology"})
    asynchronous_with_definition: set[str] = field(default_factory=lambda: {"GraphModel"})
    operation_polls: int = 1
    operation_retry_after_seconds: int = 1
    job_retry_after_seconds: int = 1
    calls_per_minute: int | None = None
    page_size: int = 100
    job_queue_seconds: float = 0
    sql_endpoint_seconds: float = 0
    notebook_output_bytes: int = 8 * 1024 * 1024
    notebook_memory_bytes: int | None = None
    ontology_enabled: bool = True
    graph_query_seconds: float = 20 * 60
    graph_answer_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Workshop:
    """The parts that belong together for one state directory."""

    records: Records
    clock: Clock
    faults: FaultScript
    lake: Lake
    kusto: Kusto
    graphs: GraphStore
    options: Options
    work_dir: Path
    output_dir: Path
    python: str
    public_url: str
