"""All eventhouses' query services: which databases there are says Fabric, what is in them the store."""

import os
import tempfile
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from treadle.sandbox.clock import Clock
from treadle.sandbox.duck import engine_error
from treadle.sandbox.faults import FaultScript
from treadle.sandbox.kusto.answers import Result
from treadle.sandbox.kusto.commands import run_command, run_script
from treadle.sandbox.kusto.context import Catalog, Context, Database
from treadle.sandbox.kusto.queries import Relation, compile_query
from treadle.sandbox.kusto.refusals import Refused, bad_command, entity_missing, envelope, semantic_error
from treadle.sandbox.kusto.sources import Source
from treadle.sandbox.kusto.storage import OneLakeFiles
from treadle.sandbox.kusto.store import Store
from treadle.sandbox.onelake.store import LakeStore

MOST_ROWS: Final = 500_000
"""More rows are a partial failure, as in the service ("Query limits" of the Kusto documentation)."""


class NoDatabases:
    """The catalog until Fabric's is put in its place."""

    def kql_databases(self, cluster: str) -> Sequence[Database] | None:
        """None are there."""
        _ = cluster


class KustoCloud:
    """`folder` keeps the rows; `public_url` is where the service listens. Safe to use from any thread."""

    def __init__(  # noqa: PLR0913 - the one place where the parts come together
        self, folder: Path, clock: Clock, faults: FaultScript, lake: LakeStore, *, public_url: str, lake_urls: Sequence[str]
    ) -> None:
        self.catalog: Catalog = NoDatabases()
        self.clock, self.faults, self.public_url = clock, faults, public_url
        self.store = Store(folder, clock)
        self._folder, self._files = folder, OneLakeFiles(lake, lake_urls)

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    # What Fabric asks for.

    def query_url(self, eventhouse_id: str) -> str:
        """The queryServiceUri of an eventhouse. The vendor's clients take a path of one name for that of a database; so there are two."""
        return f"{self.public_url}/eventhouses/{eventhouse_id}"

    def ingestion_url(self, eventhouse_id: str) -> str:
        """The ingestionServiceUri of an eventhouse, where nothing is modelled."""
        return f"{self.public_url}/ingestion/{eventhouse_id}"

    def drop_database(self, database_id: str) -> None:
        """Forget all that a database holds."""
        self.store.drop_database(database_id)

    def check_script(self, script: str) -> str | None:
        """Why a database's schema script cannot be carried out in an empty database, or None."""
        trial = Database(str(uuid.uuid4()), "trial")
        try:
            run_script(self._context([trial], trial), script)
        except Refused as refused:
            return refused.message
        finally:
            self.store.drop_database(trial.id)
        return None

    def run_script(self, database_id: str, name: str, script: str) -> str | None:
        """Carry out a database's schema script; why it stopped, or None."""
        database = Database(database_id, name)
        try:
            run_script(self._context([database], database), script)
        except Refused as refused:
            return refused.message
        return None

    # What a request asks for.

    def command(self, cluster: str, database: str | None, text: str) -> Result:
        """Carry out a management command. Raises Refused."""
        with _told():
            return run_command(self._context_of(cluster, database), text)

    def query(self, cluster: str, database: str | None, text: str, most_rows: int | None) -> Result:
        """Answer a query; past `most_rows` (None: no limit) the result ends in a failure. Raises Refused."""
        context, limit = self._context_of(cluster, database), 2**31 if most_rows is None else most_rows
        with _told():
            relation = compile_query(text, lambda name: _table_rows(context, name), context.store.now())
            rows = context.store.read(relation, limit + 1)
        return Result(relation.columns, rows[:limit], self._too_many(limit) if len(rows) > limit else None)

    def _too_many(self, limit: int) -> dict[str, object]:
        message = f"Query result set has exceeded the internal record count limit {limit} (E_QUERY_RESULT_SET_TOO_LARGE; 80DA0003)."
        kind = "Kusto.Data.Exceptions.KustoServicePartialQueryFailureLimitsExceededException"
        refused = Refused(400, "LimitsExceeded", message, kind=kind, permanent=False)
        return envelope(refused, client_request_id="", activity_id=str(uuid.uuid4()), now=self.clock.now())

    def _context_of(self, cluster: str, database: str | None) -> Context:
        known = self.catalog.kql_databases(cluster)
        if known is None:
            raise Refused(404, "NotFound", f"There is no eventhouse '{cluster}' here; take the queryServiceUri that Fabric says.")
        return self._context(known, _chosen(known, cluster, database))

    def _context(self, known: Sequence[Database], database: Database) -> Context:
        return Context(self.store, known, database, self._open_source, self.faults, self._scratch)

    @contextmanager
    def _open_source(self, uri: str) -> Generator[Source]:
        with self._files.open(uri) as source:
            yield source

    @contextmanager
    def _scratch(self) -> Generator[str]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, path = tempfile.mkstemp(dir=self._folder, prefix="inline-")
        os.close(descriptor)
        try:
            yield path
        finally:
            Path(path).unlink()


@contextmanager
def _told() -> Generator[None]:
    """What the reader or the engine cannot bear becomes a refusal."""
    try:
        yield
    except RecursionError as error:
        raise bad_command("The text is nested too deeply.", "BadRequest_QueryTooComplex") from error
    except engine_error() as error:
        raise bad_command(f"The engine refuses it: {str(error).partition(chr(10))[0]}") from error


def _chosen(known: Sequence[Database], cluster: str, asked: str | None) -> Database:
    """The database by name or id; without one, or by the name that clients fill in for it, the first."""
    if not asked or asked in {"NetDefaultDB", cluster}:
        if known:
            return known[0]
        raise entity_missing("Database", asked or "")
    for database in known:
        if asked == database.name or asked.lower() == database.id:
            return database
    raise entity_missing("Database", asked)


def _table_rows(context: Context, name: str) -> Relation:
    table = context.store.find_table(context.database.id, name)
    if table is None:
        raise semantic_error(f"SEM0100: Failed to resolve table or column expression named '{name}'")
    return table.relation()
