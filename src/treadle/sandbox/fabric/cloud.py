"""One Fabric tenant on disk: its records, its job engine, its quota; and what OneLake asks of it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from treadle.sandbox.clock import Clock
from treadle.sandbox.fabric import eventhouse_items, items, workspaces
from treadle.sandbox.fabric.graph.store import GraphStore
from treadle.sandbox.fabric.jobs import JobEngine
from treadle.sandbox.fabric.quota import Quota
from treadle.sandbox.fabric.records import Records
from treadle.sandbox.fabric.table_load_work import TableLoads
from treadle.sandbox.fabric.workshop import Kusto, Lake, Options, Workshop
from treadle.sandbox.faults import FaultScript
from treadle.sandbox.kusto.context import Database
from treadle.sandbox.onelake.catalog import ItemUnknown


class FabricCloud:
    """Everything behind the Fabric routes. `folder` keeps its state; a second instance on the same folder goes on where the first ended.

    It is also OneLake's catalog: which workspaces and items there are, and what they are called.
    """

    def __init__(  # noqa: PLR0913 - the one place where the parts come together
        self,
        folder: Path,
        clock: Clock,
        faults: FaultScript,
        lake: Lake,
        kusto: Kusto,
        *,
        public_url: str,
        notebook_python: str = sys.executable,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.options = Options()
        self.quota = Quota()
        self.shop = Workshop(
            records=Records(folder / "fabric.sqlite3"),
            clock=clock,
            faults=faults,
            lake=lake,
            kusto=kusto,
            graphs=GraphStore(folder / "graphs"),
            options=self.options,
            work_dir=folder / "running",
            output_dir=folder / "notebook-output",
            python=notebook_python,
            public_url=public_url,
        )
        self.jobs = JobEngine(self.shop)
        self.loads = TableLoads(self.shop)

    def stop(self) -> None:
        """Kill what runs, end its jobs as Failed and close the records."""
        self.jobs.stop()
        self.loads.stop()
        self.shop.records.close()

    def resolve(self, workspace: str, item: str) -> tuple[str, str, str]:
        """(workspace, item), both by id or by name and `Name.Type`, → (workspace id, item id, item type); raises ItemUnknown."""
        row = items.resolve(self.shop.records, workspace, item)
        if row is None:
            raise ItemUnknown(f"{workspace}/{item}")
        return row["workspace_id"], row["id"], row["type"]

    def workspaces(self) -> Sequence[tuple[str, str]]:
        """(id, name) of each workspace."""
        return [(row["id"], row["display_name"]) for row in workspaces.list_workspaces(self.shop.records)]

    def items(self, workspace_id: str) -> Sequence[tuple[str, str, str]]:
        """(id, name, type) of each item that has data in OneLake; none for an unknown workspace."""
        rows = self.shop.records.rows(
            "SELECT * FROM items WHERE workspace_id = :id AND type = 'Lakehouse' ORDER BY seq", id=workspace_id.lower()
        )
        return [(row["id"], row["display_name"], row["type"]) for row in rows]

    def kql_databases(self, cluster: str) -> Sequence[Database] | None:
        """The KQL databases of an eventhouse, oldest first; None for an unknown one. Its id counts with and without hyphens."""
        eventhouse = eventhouse_items.find_eventhouse(self.shop.records, cluster)
        if eventhouse is None:
            return None
        return [Database(row["id"], row["display_name"]) for row in eventhouse_items.databases_of(self.shop.records, eventhouse)]
