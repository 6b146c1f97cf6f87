"""What every request and every job of the Fabric sandbox works with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from treadle.sandbox.clock import Clock
from treadle.sandbox.fabric.records import Records
from treadle.sandbox.faults import FaultScript


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


@dataclass(slots=True)
class Options:
    """How the sandbox behaves where real Fabric varies or waits; tests change these while it runs.

    asynchronous_types: item types whose create, getDefinition and updateDefinition answer 202 (recorded traffic; the specification allows both).
    operation_polls: how often a long-running operation answers Running first. Retry-After is in seconds (real Fabric: 20 and 60).
    calls_per_minute: the quota of each identity and kind of API; None counts nothing, 200 is the real one.
    job_queue_seconds: how long a job stays NotStarted, by the sandbox's clock. sql_endpoint_seconds: when a lakehouse's SQL endpoint appears.
    """

    asynchronous_types: set[str] = field(default_factory=lambda: {"Notebook", "SemanticModel", "Report"})
    operation_polls: int = 1
    operation_retry_after_seconds: int = 1
    job_retry_after_seconds: int = 1
    calls_per_minute: int | None = None
    page_size: int = 100
    job_queue_seconds: float = 0
    sql_endpoint_seconds: float = 0
    notebook_output_bytes: int = 8 * 1024 * 1024
    notebook_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Workshop:
    """The parts that belong together for one state directory."""

    records: Records
    clock: Clock
    faults: FaultScript
    lake: Lake
    options: Options
    work_dir: Path
    output_dir: Path
    python: str
    public_url: str
