"""One attempt at a build: what its steps share. Steps may run in threads that the attempt waits for."""

import shutil
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypedDict, Unpack
from uuid import uuid4

from treadle.clients.fabric import Item, WorkspaceId
from treadle.clients.onelake import LakeClient
from treadle.control.jobs.job import JsonValue
from treadle.control.jobs.run import JobContext
from treadle.control.jobs.states import FINAL_ERRORS
from treadle.errors import Conflict, InvalidInput, OperationFailed, TreadleError, Unavailable
from treadle.flows.scenario.asked import SLOTS, Asked, asked_in, check_scenario_name
from treadle.flows.scenario.check import Checked, check_scenario
from treadle.flows.scenario.claims import claim_for_build
from treadle.flows.scenario.compare import plan_changes
from treadle.flows.scenario.existing import ITEM_TYPES, PENDING, Workspace, is_made_as, is_made_since, look_at
from treadle.flows.scenario.faults import Fault
from treadle.flows.scenario.find_or_create import NewItem, create_patiently
from treadle.flows.scenario.plan import Action, Kind
from treadle.flows.scenario.records import Thing, forget_thing, note_loss, record_thing
from treadle.flows.scenario.scenario import Scenario
from treadle.flows.scenario.schema import Connector
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.uploads import SCRATCH, open_staged, staged_in
from treadle.flows.scenario.wanted import Names, names_of, table_fingerprint, tables_of_slot

AT_ONCE: Final = 10  # tables under way: most of the time of a load is waiting for Fabric
CONVERTED_AT_ONCE: Final = 2  # of these: one computes while the other's bytes travel, and memory is bounded
_SHARED: Final = frozenset({Kind.LAKEHOUSE, Kind.EVENTHOUSE, Kind.KQL_DATABASE})
_SHOWN: Final = 5

CheckedSlot = Literal["graph", "telemetry"]


class _More(TypedDict, total=False):
    """The members of a Thing that few kinds have."""

    mark: str | None
    graphs_before: tuple[str, ...] | None
    displaced: Thing | None
    first_entry: str | None
    last_entry: str | None


class Building:
    """One attempt. What it makes is recorded at once, so that whoever comes later knows of it."""

    def __init__(self, services: ScenarioServices, context: JobContext, folder: Path) -> None:
        """folder: an empty one of this machine, for what is in the archives."""
        self.services, self.context, self.folder = services, context, folder
        self.asked: Asked = asked_in(context.payload)
        self.archives = staged_in(context.payload)
        self.slots = [slot for slot in SLOTS if slot in self.archives]
        self.extracted: dict[str, Mapping[str, Any]] = {}  # slot → what its extract step has kept
        self.made: dict[str, Any] = {}  # ids by the names of the record's members
        self.results: dict[str, Any] = {}  # slot → what came of it
        self._checked: dict[str, Checked] = {}
        self._pct: dict[str, float] = dict.fromkeys(self.slots, 0.0)
        self.converting = threading.Semaphore(CONVERTED_AT_ONCE)
        self._guard, self._reading, self._telling, self._finding = (threading.Lock() for _ in range(4))
        self._found: Workspace | None = None

    @property
    def workspace(self) -> WorkspaceId:
        """Where everything goes."""
        return WorkspaceId(self.asked.workspace_id)

    @property
    def found(self) -> Workspace:
        """The workspace as this attempt found it, which is looked at once, whichever thread is the first to ask; its things are kept current."""
        with self._finding:
            if self._found is None:
                self._found = look_at(self.services, self.asked.workspace_id)
            return self._found

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
        """How the things of this build are called."""
        database = self.extracted.get("telemetry", {}).get("kql_database")
        return names_of(self.asked, str(database or self.scenario_name))

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
            return check_scenario(source, folder, limits=self.services.limits, only=slot)

    def _extract(self, slot: CheckedSlot) -> JsonValue:
        scenario = self.scenario(slot)
        manifest = scenario.manifest
        check_scenario_name(manifest.name)
        tables = [
            {"name": name, "rows": table.rows, "fingerprint": table_fingerprint(table)} for name, table in tables_of_slot(scenario, slot)
        ]
        kept = {
            "scenario_name": manifest.name,
            "connector": str(manifest.connector),
            "kql_database": manifest.telemetry_database,
            "tables": tables,
            "notes": list(self._checked[slot].notes),
        }
        self.extracted[slot] = kept
        self._refuse_differing_names(slot)
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

    # Things.

    def remember(
        self,
        kind: Kind,
        name: str,
        item_id: str,
        fingerprint: str | None = None,
        *,
        made: bool | None = None,
        **more: Unpack[_More],
    ) -> None:
        """Record a thing as this scenario's, and with another one that had it, that it has it no more.

        made: whether it was not there before; None: as the record said, or yes. more: further members of a thing.
        """
        with self._guard:
            before = self.found.things.get((kind, name))
            was_made = before.made if before else True
            made = was_made if made is None else made
            if before and before.item_id in {item_id, PENDING}:
                more.setdefault("graphs_before", before.graphs_before)
            noted_at = self.services.own.now().isoformat()
            thing = Thing(self.scenario_name, self.workspace, kind, name, item_id, fingerprint, made, noted_at=noted_at, **more)
            if item_id != PENDING:
                self._note_loss(before)  # before: if we end here, nobody claims what may be lost
            self.found.things[kind, name] = thing
        record_thing(self.services.documents, thing)

    def outdate_graphs(self) -> None:
        """Right before a table is loaded: no graph of the scenario has its content any more, until it is refreshed."""
        for thing in [*self.found.things.values()]:
            if thing.kind is Kind.GRAPH_MODEL and thing.scenario == self.scenario_name and thing.fingerprint:
                self.remember(thing.kind, thing.name, thing.item_id)

    def _note_loss(self, before: Thing | None) -> None:
        if before and before.scenario != self.scenario_name:
            note_loss(self.services.documents, before, self.scenario_name)

    def is_ours(self, kind: Kind, name: str, item_id: str) -> bool:
        """Whether this scenario made or took over what is there."""
        return self.found.known(kind, name, item_id).made_by == self.scenario_name

    def has_content(self, kind: Kind, name: str, item_id: str, fingerprint: str) -> bool:
        """Whether this scenario brought this content there."""
        there = self.found.known(kind, name, item_id)
        return there.made_by == self.scenario_name and there.fingerprint == fingerprint

    def find_or_create(self, kind: Kind, name: str, creation_payload: Mapping[str, Any] | None = None) -> str:
        """The item of that name, which is created if it is not there. What is about to be made is recorded before it is made.

        Raises:
            Conflict: it was made by others, it is none that scenarios share, and it may not be taken over.
        """
        there = self.services.fabric.find_item(self.workspace, ITEM_TYPES[kind], name)
        if there is not None:
            self.adopt(kind, there)
            return there.item_id
        new = NewItem(ITEM_TYPES[kind], name, creation_payload, self._pending_mark(kind, name))
        before = self.found.things.get((kind, name))
        displaced, graphs = self._displaced(before), self._graphs_before(kind, before)
        self.remember(kind, name, PENDING, made=True, mark=new.mark, displaced=displaced, graphs_before=graphs)
        try:
            item, is_ours = create_patiently(self.services.fabric, self.workspace, new, self.services.patience, self.context.check)
        except FINAL_ERRORS:
            self._put_back(kind, name, before)
            raise
        if is_ours:
            self._note_loss(before)
            self.remember(kind, name, item.item_id)
        else:
            self._put_back(kind, name, before)
            self.adopt(kind, item)
        return item.item_id

    def adopt(self, kind: Kind, item: Item) -> None:
        """Work with an item that is there; record it unless it is shared, or recorded.

        Raises:
            Conflict: as `find_or_create`.
        """
        before = self.found.things.get((kind, item.name))
        if before and before.scenario == self.scenario_name and is_made_as(before, item):
            self.remember(kind, item.name, item.item_id)  # made by an attempt that died before it could say so
        elif kind in _SHARED or self.is_ours(kind, item.name, item.item_id):
            return
        else:
            self.refuse_unless_ours(kind, item.name, item.item_id)
            was_made = before is not None and before.made and (before.item_id == item.item_id or is_made_as(before, item))
            self.remember(kind, item.name, item.item_id, made=was_made)

    def refuse_unless_ours(self, kind: Kind, name: str, item_id: str) -> None:
        """Right before content goes to something that is there: a retry comes long after the archive was compared with what was there then.

        Raises:
            Conflict: it is not this scenario's, and may not be taken over.
        """
        if self.asked.overwrite or (self.is_ours(kind, name, item_id) and not is_made_since(self.services, self.found.things[kind, name])):
            return
        owner = self.found.known(kind, name, item_id).made_by
        owner = None if owner == self.scenario_name else owner
        raise Conflict(
            f"The {kind} {name} {f'was made by {owner}' if owner else 'was not made by Treadle'}.",
            hint="Choose another name, or take it over with --overwrite.",
            details={"item_id": item_id},
        )

    def _pending_mark(self, kind: Kind, name: str) -> str:
        """That of an attempt which died in the middle of making it, whose creation may yet show; a new one otherwise."""
        before = self.found.things.get((kind, name))
        is_pending = before is not None and before.scenario == self.scenario_name and before.item_id == PENDING
        return (before.mark if before and is_pending else None) or uuid4().hex

    def _displaced(self, before: Thing | None) -> Thing | None:
        """What another scenario has under a name that we take, until we have made something there: it may be there after all, and not be listed."""
        if before is None or before.scenario == self.scenario_name:
            return before.displaced if before else None
        return before

    def _graphs_before(self, kind: Kind, before: Thing | None) -> tuple[str, ...] | None:
        """Of an ontology, the graph models that are there before it is made; an attempt that died has noted them before its own."""
        if kind is not Kind.ONTOLOGY:
            return None
        if before and before.scenario == self.scenario_name and before.item_id == PENDING and before.graphs_before is not None:
            return before.graphs_before
        return tuple(item.item_id for item in look_at(self.services, self.workspace).of_kind(Kind.GRAPH_MODEL))

    def _put_back(self, kind: Kind, name: str, before: Thing | None) -> None:
        """What was known of a name before we thought that nothing had it."""
        if before is None or before.item_id == PENDING:
            self.forget(kind, name)
            return
        with self._guard:
            self.found.things[kind, name] = before
        record_thing(self.services.documents, before)

    def forget(self, kind: Kind, name: str) -> None:
        """Keep nothing of a thing that did not come about."""
        with self._guard:
            thing = self.found.things.pop((kind, name), None)
        if thing:
            forget_thing(self.services.documents, thing)


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


def each_at_once(works: Mapping[str, Callable[[], None]], what: str) -> None:
    """Do all of these, a few at a time; one that fails stops no other.

    Raises:
        TreadleError: some failed; the message names each, and `details["failed"]` says why. It is one that may pass if one of them may.
        Interrupted: the attempt is to end; what had not begun was not begun.
    """
    failed: dict[str, TreadleError] = {}
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="scenario") as pool:
        futures = {name: pool.submit(copy_context().run, work) for name, work in works.items()}  # log lines keep naming the job
        try:
            for name, future in futures.items():
                try:
                    future.result()
                except TreadleError as error:
                    failed[name] = error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    if failed:
        raise _several(failed, what, len(works))


def _several(failed: Mapping[str, TreadleError], what: str, of: int) -> TreadleError:
    told = "; ".join(f"{name}: {error.message}" for name, error in list(failed.items())[:_SHOWN])
    kind = OperationFailed if all(isinstance(error, FINAL_ERRORS) for error in failed.values()) else Unavailable
    first = next(iter(failed.values()))
    return kind(
        f"{len(failed)} of {of} {what} failed, the others are done: {told}",
        hint=f"{first.hint or 'Mend what the message names.'} A retry does only what failed.",
        details={"failed": {name: {"kind": type(error).__name__, "message": error.message} for name, error in failed.items()}},
    )
