"""What a management command or query works with."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from treadle.sandbox.faults import FaultScript
from treadle.sandbox.kusto.sources import Source
from treadle.sandbox.kusto.store import Store


@dataclass(frozen=True, slots=True)
class Database:
    """A KQL database: the item's id, and its name."""

    id: str
    name: str


class Catalog(Protocol):
    """Which KQL databases there are; Fabric knows."""

    def kql_databases(self, cluster: str) -> Sequence[Database] | None:
        """The databases of an eventhouse, oldest first; None for an unknown one."""
        ...


OpenSource = Callable[[str], AbstractContextManager[Source]]
"""From a storage connection string to a source that can be read; raises Refused."""


@dataclass(frozen=True, slots=True)
class Context:
    """One request: the database that it is about, beside all of its cluster."""

    store: Store
    databases: Sequence[Database]
    database: Database
    open_source: OpenSource
    faults: FaultScript
    scratch: Callable[[], AbstractContextManager[str]]
