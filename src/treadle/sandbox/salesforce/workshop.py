"""What the parts of an org share, and what can be set while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from treadle.sandbox.clock import Clock
from treadle.sandbox.faults import FaultScript
from treadle.sandbox.salesforce.records import Records

BATCH_ROWS: Final = 10_000
"""Bulk guide: one internal batch per 10,000 rows; each counts against DailyBulkApiBatches."""

_DAILY: Final = {
    "DailyApiRequests": 100_000,
    "DailyBulkApiBatches": 15_000,
    "DailyBulkV2QueryJobs": 10_000,
    "DailyBulkV2QueryFileStorageMB": 976_562,
    "DailyAsyncApexExecutions": 250_000,
    "DataStorageMB": 1_073,
    "FileStorageMB": 1_073,
}


@dataclass(slots=True)
class Options:
    """How the sandbox behaves where orgs differ; tests change these while it runs.

    daily: the allocations of 24 hours (Enterprise Edition, roughly). upload_bytes: what one job may upload; the guide's 150 MB of base64 are 100 MB raw.
    audiences: for JWT assertions; empty means the org's address and Salesforce's two login hosts. result_seed: of the shuffled order of results.
    validation_rules: each {"field", "above", "message"}; a record whose number in that field is greater is refused, as by an org's own rule.
    """

    daily: dict[str, int] = field(default_factory=lambda: dict(_DAILY))
    session_seconds: float = 7200
    upload_bytes: int = 100 * 1024 * 1024
    audiences: tuple[str, ...] = ()
    validation_rules: tuple[Mapping[str, Any], ...] = ()
    result_seed: int = 1
    page_size: int = 1000
    query_page_size: int = 2000


@dataclass(frozen=True, slots=True)
class Workshop:
    """The parts that belong together for one state folder."""

    folder: Path
    records: Records
    clock: Clock
    faults: FaultScript
    options: Options

    def now(self) -> datetime:
        """The sandbox's time."""
        return self.clock.now()
