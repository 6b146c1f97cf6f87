"""Fixtures of the scenario flow: its services on the running environment, with a workspace of this test's own, and archives made from the samples.

A build of all of telco-noc, looked at, costs two thirds more than one of `SMALL`, its routers, links and first alarms, which is all that most tests need.
"""

import contextlib
import dataclasses
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID, uuid4

import psycopg
import pytest

from treadle.cli.local import LocalEnvironment
from treadle.clients.entra import credential
from treadle.clients.fabric import FabricClient, ItemId, WorkspaceId
from treadle.clients.quotas import Quotas
from treadle.control.jobs.job import Job
from treadle.control.jobs.kinds import by_name
from treadle.control.jobs.queue import get_job
from treadle.control.jobs.worker import JobWorker
from treadle.flows.scenario.flow import Asked, BuildPlan, plan_build, request_build
from treadle.flows.scenario.jobs import scenario_kinds
from treadle.flows.scenario.services import Patience, ScenarioServices
from treadle.flows.scenario.slots import Slot
from treadle.flows.scenario.uploads import UPLOADS
from treadle.settings import Settings
from treadle.wiring import Wiring, wired

TELCO = Path(__file__).parents[2] / "samples" / "scenarios" / "telco-noc"
HURRIED = Patience(name=20.0, listing=5.0, operation=60.0, refresh=60.0)


def rows_of(file: Path) -> int:
    """The rows of a CSV file without quoted line ends."""
    return len(file.read_text(encoding="utf-8").splitlines()) - 1


TABLES = {file.stem: rows_of(file) for file in sorted((TELCO / "data/entities").glob("*.csv"))}
TELEMETRY = {file.stem: rows_of(file) for file in sorted((TELCO / "data/telemetry").glob("*.csv"))}
SMALL_TABLES = {name: TABLES[name] for name in ("DimCoreRouter", "DimTransportLink")}
SMALL_TELEMETRY = {"AlertStream": 20}
ANSWER = "MATCH (l:TransportLink)-[:connects_to]->(r:CoreRouter) RETURN r.RouterId, count(*)"


def packed(files: Mapping[str, bytes], root: str = "telco-noc") -> BinaryIO:
    """A .tar.gz with these files below one folder."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{root}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    target.seek(0)
    return target


def sample_files(*folders: str) -> dict[str, bytes]:
    """The manifest, the schema, and what is in these folders of the sample."""
    found = {name: (TELCO / name).read_bytes() for name in ("scenario.yaml", "graph_schema.yaml")}
    for folder in folders:
        found |= {str(file.relative_to(TELCO)): file.read_bytes() for file in sorted((TELCO / folder).rglob("*")) if file.is_file()}
    return found


def graph_archive(**changed: bytes) -> BinaryIO:
    """The graph of telco-noc. changed: other content for files, by their stem."""
    files = sample_files("data/entities")
    for stem, content in changed.items():
        files[f"data/entities/{stem}.csv"] = content
    return packed(files)


def telemetry_archive(**changed: bytes) -> BinaryIO:
    """The telemetry of telco-noc, with the schema of the graph beside it, as people pack it. changed: as `graph_archive`."""
    files = sample_files("data/telemetry")
    for stem, content in changed.items():
        files[f"data/telemetry/{stem}.csv"] = content
    return packed(files)


SMALL_MANIFEST = b"""
name: telco-noc
data_sources:
  telemetry:
    config:
      database: telemetry
      containers: [{name: AlertStream, csv_file: AlertStream.csv, numeric_fields: [OpticalPowerDbm]}]
"""
SMALL_SCHEMA = b"""
vertices:
  - {label: CoreRouter, csv_file: DimCoreRouter.csv, id_column: RouterId, properties: [City]}
  - {label: TransportLink, csv_file: DimTransportLink.csv, id_column: LinkId, properties: [CapacityGbps], property_types: {CapacityGbps: BigInt}}
edges:
  - label: connects_to
    csv_file: DimTransportLink.csv
    source: {label: TransportLink, property: LinkId, column: LinkId}
    target: {label: CoreRouter, property: RouterId, column: SourceRouterId}
  - label: connects_to
    csv_file: DimTransportLink.csv
    source: {label: TransportLink, property: LinkId, column: LinkId}
    target: {label: CoreRouter, property: RouterId, column: TargetRouterId}
"""


def small_files(*folders: str) -> dict[str, bytes]:
    """The routers, links and first alarms of telco-noc under its name, as `sample_files` has the whole."""
    files = {f"data/entities/{name}.csv": (TELCO / f"data/entities/{name}.csv").read_bytes() for name in SMALL_TABLES}
    files |= {
        f"data/telemetry/{name}.csv": first_rows(TELCO / f"data/telemetry/{name}.csv", rows) for name, rows in SMALL_TELEMETRY.items()
    }
    chosen = {name: content for name, content in files.items() if name.startswith(folders)}
    return {"scenario.yaml": SMALL_MANIFEST, "graph_schema.yaml": SMALL_SCHEMA, **chosen}


def small_graph(**changed: bytes) -> BinaryIO:
    """As `graph_archive`."""
    return packed(small_files("data/entities") | {f"data/entities/{stem}.csv": content for stem, content in changed.items()})


def small_telemetry(**changed: bytes) -> BinaryIO:
    """As `telemetry_archive`."""
    return packed(small_files("data/telemetry") | {f"data/telemetry/{stem}.csv": content for stem, content in changed.items()})


def shop(name: str, city: str = "Sydney") -> dict[Slot, BinaryIO]:
    """A scenario of one table and one entity type; two of different names want the same things."""
    files = {
        "scenario.yaml": f"name: {name}\n".encode(),
        "graph_schema.yaml": b"vertices:\n  - {label: City, csv_file: DimCity.csv, id_column: Name}\n",
        "data/entities/DimCity.csv": f"Name\n{city}\n".encode(),
    }
    return {Slot.GRAPH: packed(files)}


def first_rows(file: Path, rows: int) -> bytes:
    """The head of a CSV file and so many of its rows."""
    return b"\n".join(file.read_bytes().splitlines()[: rows + 1]) + b"\n"


def with_hobart() -> bytes:
    """The table of routers with one more, in a city of its own."""
    return (TELCO / "data/entities/DimCoreRouter.csv").read_bytes() + b"CORE-HBA-01,Hobart,TAS,Cisco,ASR-9922\n"


@dataclasses.dataclass(frozen=True)
class Sample:
    """A scenario to build, and what is there afterwards: name of a table → its rows. Its graph answers `ANSWER`."""

    archives: Callable[[], dict[Slot, BinaryIO]]
    tables: Mapping[str, int]
    telemetry: Mapping[str, int]


@dataclasses.dataclass
class ScenarioPlace:
    """A workspace of this test's own, and everything that works with it."""

    environment: LocalEnvironment
    wiring: Wiring
    services: ScenarioServices
    workspace_id: str
    workspace_name: str

    def asked(self, **changes: Any) -> Asked:
        """What a test asks to be built."""
        return dataclasses.replace(Asked("telco-noc", None, self.workspace_id, self.workspace_name), **changes)

    def plan(self, archives: Mapping[Slot, BinaryIO] | None = None, **asked: Any) -> BuildPlan:
        return plan_build(self.services, self.asked(**asked), archives or both())

    def request(self, archives: Mapping[Slot, BinaryIO] | None = None, *, job_id: UUID | None = None, **asked: Any) -> Job:
        return request_build(self.services, self.asked(**asked), archives or both(), "ada", job_id=job_id)

    def worker(self, **options: Any) -> JobWorker:
        kinds = scenario_kinds(lambda: self.services)
        return JobWorker(self.wiring.own, by_name(kinds), **{"slots": 2, "idle_seconds": 0.05, "lease_seconds": 10.0, **options})

    def work(self, job: Job, seconds: float = 120) -> Job:
        """Have a worker do all that is waiting; return the job as it is then."""
        assert self.worker().run_until_idle(timeout_seconds=seconds), "the jobs did not end in time"
        return self.job(job)

    def build(self, archives: Mapping[Slot, BinaryIO] | None = None, **asked: Any) -> Job:
        """Ask for a build, do it, and return the job, which has succeeded."""
        ended = self.work(self.request(archives, **asked))
        assert ended.state == "SUCCEEDED", (ended.error_message, ended.error_hint, ended.error_details)
        return ended

    def job(self, job: Job) -> Job:
        return get_job(self.wiring.own, job.job_id)

    def items(self) -> dict[tuple[str, str], str]:
        """What the workspace holds: type and name → id."""
        found = self.services.fabric.list_items(WorkspaceId(self.workspace_id))
        counted = {(item.type, item.name): item.item_id for item in found}
        assert len(counted) == len(found), "something was made twice"
        return counted

    def item(self, item_type: str) -> str:
        """The one item of a type."""
        (found,) = [item_id for (kind, _), item_id in self.items().items() if kind == item_type]
        return found

    def ontology_of_others(self, name: str = "ontology") -> str:
        """An ontology that somebody else has made and filled; its id."""
        fabric, workspace = self.services.fabric, WorkspaceId(self.workspace_id)
        made = fabric.create_item(workspace, name=name, type="Ontology", description="mine")
        pump = {
            "id": "1", "namespace": "usertypes", "namespaceType": "Custom", "visibility": "Visible", "baseEntityTypeId": None, "name": "Pump",
            "entityIdParts": ["10"], "displayNamePropertyId": None, "timeseriesProperties": [],
            "properties": [{"id": "10", "name": "Name", "valueType": "String"}],
        }  # fmt: skip
        parts = {"definition.json": b"{}", "EntityTypes/1/definition.json": json.dumps(pump).encode()}
        fabric.update_item_definition(workspace, ItemId(made.item_id), parts)
        return made.item_id

    def delta_rows(self, item_type: str = "Lakehouse") -> dict[str, int]:
        """The Delta tables of the lakehouse, read from disk: name → rows."""
        from deltalake import DeltaTable  # noqa: PLC0415 - it takes a while to load

        folder = self.environment.cloud.lake.path_of(self.workspace_id, self.item(item_type)) / "Tables"
        return (
            {path.name: DeltaTable(str(path)).to_pyarrow_dataset().count_rows() for path in sorted(folder.iterdir())}
            if folder.exists()
            else {}
        )

    def query(self, gql: str) -> list[Mapping[str, Any]]:
        """Ask the graph model."""
        answer = self.services.fabric.execute_query(WorkspaceId(self.workspace_id), ItemId(self.item("GraphModel")), gql)
        return list(answer.rows)

    def kql_rows(self, names: Iterable[str] = tuple(TELEMETRY)) -> dict[str, int]:
        """The tables of the KQL database: name → rows."""
        (database,) = [item_id for (kind, name), item_id in self.items().items() if (kind, name) == ("KQLDatabase", "telemetry")]
        uri = self.services.fabric.item_properties(WorkspaceId(self.workspace_id), ItemId(database), "KQLDatabase")["queryServiceUri"]
        kusto = self.services.kusto(uri, "telemetry")
        return {name: kusto.query(f"['{name}'] | count")[0]["Count"] for name in names}

    def waiting_uploads(self) -> list[str]:
        return [folder.name for folder in self.services.lake.list_folders(UPLOADS)]

    def scratch_left(self) -> list[Path]:
        return sorted(self.services.scratch.glob("*"))


def both() -> dict[Slot, BinaryIO]:
    return {Slot.GRAPH: graph_archive(), Slot.TELEMETRY: telemetry_archive()}


def small() -> dict[Slot, BinaryIO]:
    return {Slot.GRAPH: small_graph(), Slot.TELEMETRY: small_telemetry()}


WHOLE = Sample(both, TABLES, TELEMETRY)
SMALL = Sample(small, SMALL_TABLES, SMALL_TELEMETRY)


def assert_built(place: ScenarioPlace, sample: Sample = WHOLE) -> None:
    """The whole of it is there, each thing once, and a second look finds nothing to do. The words are for pytest, which explains only test modules."""
    kinds = sorted(kind for kind, _ in place.items())
    assert kinds == ["Eventhouse", "GraphModel", "KQLDatabase", "KQLDatabase", "Lakehouse", "Ontology"], kinds
    tables, telemetry, links = place.delta_rows(), place.kql_rows(sample.telemetry), place.query(ANSWER)
    assert tables == sample.tables, tables
    assert telemetry == sample.telemetry, telemetry
    assert len(links) == sample.tables["DimCoreRouter"], links
    assert sum(int(row["count(*)"]) for row in links) > 0, links
    plan = place.plan(sample.archives())
    wanted = len(sample.tables) + len(sample.telemetry) + 5
    assert plan.counts == {"create": 0, "update": 0, "unchanged": wanted, "conflict": 0}, plan.changes
    assert place.waiting_uploads() == [], "archives still wait in the lakehouse"
    assert place.scratch_left() == [], place.scratch_left()


def unhurried_fabric(settings: Settings) -> FabricClient:
    """A client whose own quota does not make a file full of builds wait; the sandbox counts none."""
    signed_in = credential(
        settings.fabric_tenant_id,
        settings.fabric_client_id,
        settings.fabric_client_secret.get_secret_value(),
        authority_url=settings.entra_authority_url,
        ca_file=settings.treadle_ca_file,
    )
    return FabricClient(settings.fabric_api_url, signed_in, settings.treadle_ca_file, quotas=Quotas(calls=100_000))


@contextlib.contextmanager
def quick_fabric(environment: LocalEnvironment) -> Iterator[None]:
    """Fabric asks nobody to wait between two looks at what it does, so they come a quarter of a second apart; most work is done at the first."""
    options = environment.cloud.fabric.options
    usual = options.operation_retry_after_seconds, options.job_retry_after_seconds, options.operation_polls
    options.operation_retry_after_seconds = options.job_retry_after_seconds = options.operation_polls = 0
    try:
        yield
    finally:
        options.operation_retry_after_seconds, options.job_retry_after_seconds, options.operation_polls = usual


@pytest.fixture
def open_place(environment: LocalEnvironment, tmp_path: Path) -> Iterator[Callable[[], ScenarioPlace]]:
    """Open a place: no scenario is known, no upload waits, and the workspace is new."""
    with psycopg.connect(environment.postgres.admin_dsn) as connection:
        connection.execute("TRUNCATE treadle.documents")
        connection.execute("DELETE FROM treadle.jobs WHERE kind LIKE 'scenario%'")
    settings = environment.settings
    with quick_fabric(environment), wired(settings) as wiring, contextlib.closing(unhurried_fabric(settings)) as fabric:

        def open_one() -> ScenarioPlace:
            scratch = tmp_path / "scratch"
            scratch.mkdir(exist_ok=True)
            services = dataclasses.replace(wiring.scenarios(), fabric=fabric, scratch=scratch, patience=HURRIED)
            services.lake.delete_folder(UPLOADS)
            workspace = services.fabric.create_workspace(f"Scenario {uuid4()}")
            return ScenarioPlace(environment, wiring, services, workspace.workspace_id, workspace.name)

        yield open_one


@pytest.fixture
def place(open_place: Callable[[], ScenarioPlace]) -> ScenarioPlace:
    return open_place()
