"""One attempt at a build: what its steps share. Steps may run in threads that the attempt waits for."""

import shutil
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from treadle.clients.onelake import LakeClient
from treadle.control.jobs.job import JsonValue
from treadle.control.jobs.run import JobContext
from treadle.errors import Conflict, InvalidInput
from treadle.flows.scenario.asked import SLOTS, asked_in, check_scenario_name
from treadle.flows.scenario.check import Checked, check_scenario
from treadle.flows.scenario.claims import claim_for_build
from treadle.flows.scenario.compare import plan_changes
from treadle.flows.scenario.faults import Fault
from treadle.flows.scenario.made_things import MadeThings
from treadle.flows.scenario.naming import settled
from treadle.flows.scenario.plan import Action
from treadle.flows.scenario.records import find_scenario
from treadle.flows.scenario.scenario import Scenario
from treadle.flows.scenario.schema import Connector
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.uploads import SCRATCH, open_staged, staged_in
from treadle.flows.scenario.wanted import Names, names_of, table_fingerprint, tables_of_slot

CONVERTED_AT_ONCE: Final = 2  # tables: one computes while the other's bytes travel, and memory is bounded
_SHOWN: Final = 5

CheckedSlot = Literal["graph", "telemetry"]


class Building(MadeThings):
    """One attempt."""

    def __init__(self, services: ScenarioServices, context: JobContext, folder: Path) -> None:
        """folder: an empty one of this machine, for what is in the archives."""
        super().__init__(services, context, asked_in(context.payload))
        self.folder = folder
        self.archives = staged_in(context.payload)
        self.slots = [slot for slot in SLOTS if slot in self.archives]
        self.extracted: dict[str, Mapping[str, Any]] = {}  # slot → what its extract step has kept
        self.made: dict[str, Any] = {}  # ids by the names of the record's members
        self.results: dict[str, Any] = {}  # slot → what came of it
        self._checked: dict[str, Checked] = {}
        self._pct: dict[str, float] = dict.fromkeys(self.slots, 0.0)
        self.converting = threading.Semaphore(CONVERTED_AT_ONCE)
        self._reading, self._telling = threading.Lock(), threading.Lock()

    @property
    def scenario_name(self) -> str:
        """As it was asked for, or else as the first manifest says."""
        return self.asked.scenario_name or next(str(kept["scenario_name"]) for kept in self.extracted.values())

    @property
    def connector(self) -> Connector:
        """Where the graph goes: as it was asked for, or else as the manifest says."""
        told = self.asked.backend or next((kept["connector"] for kept in self.extracted.values()), Connector.FABRIC_GQL)
        return Connector(told)

    @property
    def names(self) -> Names:
        """How the things of this build are called. What nobody named is settled with the first archive, and holds for all attempts."""
        database = self.extracted.get("telemetry", {}).get("kql_database")
        return names_of(replace(self.asked, **self._settled_names()), str(database or self.scenario_name))

    def _settled_names(self) -> dict[str, str]:
        """As an extract step has kept them; before that, as the scenario's record and the workspace say."""
        kept = next((names for kept in self.extracted.values() if (names := kept.get("names"))), None)
        if kept:
            return kept
        return settled(self.asked, find_scenario(self.services.documents, self.scenario_name), self.found.items).given_names

    def lake(self) -> LakeClient:
        """The files of the lakehouse that this build works with."""
        return self.services.lake_of(self.workspace, self.made["lakehouse_id"])

    def place(self, *names: str) -> str:
        """A path below the scenario's folder in a lakehouse."""
        return "/".join(("Files/scenarios", self.scenario_name, *names))

    # Steps, and what is told of them.

    def step(self, name: str, effect: Callable[[], JsonValue]) -> JsonValue:
        """Do one durable step."""
        return self.context.step(name, effect)

    def tell(self, slot: str, step: str, detail: str, pct: float) -> None:
        """Tell those who watch. pct: of the slot, 0 to 100; a slot never goes back."""
        with self._telling:  # in this order, also when two tables are done at once
            self._pct[slot] = pct = max(pct, self._pct[slot])
            overall = sum(self._pct.values()) / len(self._pct)
            data = {"slot": slot, "step": step, "detail": detail, "pct": round(pct, 1)}
            self.context.progress(detail, pct=round(overall, 1), step=f"{slot}.{step}", data=data)

    # Archives.

    def extract(self, slot: CheckedSlot) -> Sequence[Mapping[str, Any]]:
        """Read and check an archive, and make sure that nothing of others is in the way. Returns name, rows and fingerprint of each table.

        Raises:
            InvalidInput: it has faults; `details["faults"]` has all of them.
            Conflict: something that it needs was made by others.
        """
        self.tell(slot, "extract", f"Reading {self.archives[slot].file_name}", 1)
        self.extracted[slot] = self.step(f"{slot}.extract", lambda: self._extract(slot))
        claim_for_build(self.services, self.context, self.asked.workspace_id, self.scenario_name)
        tables: Sequence[Mapping[str, Any]] = self.extracted[slot]["tables"]
        self.tell(slot, "extract", f"{len(tables)} tables, {sum(table['rows'] for table in tables):,} rows", 10)
        return tables

    def scenario(self, slot: CheckedSlot) -> Scenario:
        """What is in an archive; read once in an attempt. Raises InvalidInput with all faults."""
        with self._reading:
            if slot not in self._checked:
                self._checked[slot] = self._read(slot)
        found = self._checked[slot]
        if found.scenario is None:
            raise faulty(self.archives[slot].file_name, found)
        return found.scenario

    def open_archive(self, slot: str) -> BinaryIO:
        """An archive as a stream that is read once."""
        return open_staged(self.services.lake, self.archives[slot])

    def _read(self, slot: CheckedSlot) -> Checked:
        folder = self.folder / slot
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with self.open_archive(slot) as source:
            return check_scenario(source, folder, limits=self.services.limits, only=slot, beside=self.archives)

    def _extract(self, slot: CheckedSlot) -> JsonValue:
        scenario = self.scenario(slot)
        manifest = scenario.manifest
        check_scenario_name(manifest.name)
        tables = [
            {"name": name, "rows": table.rows, "fingerprint": table_fingerprint(table)} for name, table in tables_of_slot(scenario, slot)
        ]
        kept: dict[str, Any] = {
            "scenario_name": manifest.name,
            "connector": str(manifest.connector),
            "kql_database": manifest.telemetry_database,
            "tables": tables,
            "notes": list(self._checked[slot].notes),
        }
        self.extracted[slot] = kept
        self._refuse_differing_names(slot)
        kept["names"] = self._settled_names()
        self._refuse_conflicts(slot, scenario)
        return kept

    def _refuse_differing_names(self, slot: CheckedSlot) -> None:
        names = {slot: str(kept["scenario_name"]) for slot, kept in self.extracted.items()}
        if not self.asked.scenario_name and (faults := differing_names(names)):
            raise faulty(self.archives[slot].file_name, Checked(None, None, (), None, tuple(faults), ()))

    def _refuse_conflicts(self, slot: CheckedSlot, scenario: Scenario) -> None:
        changes = plan_changes(
            self.services, self.found, self.scenario_name, self.names, {slot: scenario}, self.connector, overwrite=self.asked.overwrite
        )
        conflicts = [change for change in changes if change.action is Action.CONFLICT]
        if conflicts:
            told = "; ".join(f"{change.kind} {change.name} {change.reason}" for change in conflicts[:_SHOWN])
            more = f"; and {len(conflicts) - _SHOWN} more" if len(conflicts) > _SHOWN else ""
            raise Conflict(
                f"{self.scenario_name} cannot be built: {told}{more}.",
                hint="Choose other names, or take these over with --overwrite.",
                details={"conflicts": [asdict(change) for change in conflicts[:50]]},
            )


@contextmanager
def building(services: ScenarioServices, context: JobContext) -> Generator[Building]:
    """An attempt with a folder of its own, which is gone afterwards. What attempts that died have left is cleared away."""
    of_job = services.scratch / f"{SCRATCH}{context.job.job_id}"
    shutil.rmtree(of_job, ignore_errors=True)
    of_job.mkdir(parents=True, mode=0o700)
    folder = of_job / str(context.job.fence)
    folder.mkdir()
    try:
        yield Building(services, context, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # a later attempt has its own there already
            of_job.rmdir()


def faulty(file_name: str, checked: Checked) -> InvalidInput:
    """The error for an archive with faults; its details have all of them."""
    first = checked.faults[0]
    more = f" There are {len(checked.faults) - 1} more." if len(checked.faults) > 1 else ""
    return InvalidInput(
        f"{file_name} cannot be built: {first.where}: {first.message}{more}",
        hint=first.hint,
        details={"code": "scenario_faulty", "faults": [asdict(fault) for fault in checked.faults]},
    )


def differing_names(names: Mapping[str, str]) -> list[Fault]:
    """The fault of archives for one build that name several scenarios; none where they agree. names: as the manifests say, by slot. Pure."""
    if len(set(names.values())) < 2:
        return []
    told = ", ".join(f"{name} ({slot})" for slot, name in names.items())
    hint = "Say which scenario is meant with --name, or build each by itself."
    return [Fault("names_differ", "scenario.yaml", f"The archives name different scenarios: {told}.", hint)]
