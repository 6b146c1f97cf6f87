"""What a build would change, before anybody asks for it: the archives are checked on this machine, and nothing is sent anywhere."""

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, Literal

from treadle.flows.scenario.asked import CHECKED_SLOTS, STAYS, Asked, check_scenario_name
from treadle.flows.scenario.building import differing_names
from treadle.flows.scenario.check import Checked, check_scenario
from treadle.flows.scenario.compare import plan_changes
from treadle.flows.scenario.existing import Workspace, look_at
from treadle.flows.scenario.faults import Fault
from treadle.flows.scenario.flow import BuildPlan, DocumentCounts
from treadle.flows.scenario.gremlin_claim import plan_gremlin
from treadle.flows.scenario.naming import about_names, settled
from treadle.flows.scenario.plan import Change, Kind
from treadle.flows.scenario.records import ScenarioRecord, find_scenario
from treadle.flows.scenario.schema import Connector, Manifest
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.slot_files import first_named, passed_over_told, read_slot
from treadle.flows.scenario.slots import Slot, SlotChanges, plan_slot
from treadle.flows.scenario.uploads import SCRATCH
from treadle.flows.scenario.wanted import graph_tables, names_of

_TABLES: Final = frozenset({Kind.TABLE, Kind.KQL_TABLE})


def preview_build(services: ScenarioServices, asked: Asked, archives: Mapping[str, BinaryIO]) -> BuildPlan:
    """Check all archives, and compare what they want with what is there. archives: by slot, each read once."""
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=_ready(services.scratch)) as scratch:
        checked = {
            slot: _checked(services, slot, source, Path(scratch) / slot, beside=archives)
            for slot, source in archives.items()
            if slot in CHECKED_SLOTS
        }
        manifest = next((found.manifest for found in checked.values() if found.manifest), None)
        name, connector = _name_of(asked, manifest), Connector(asked.backend or (manifest.connector if manifest else Connector.FABRIC_GQL))
        faults = [_in(slot, fault, len(archives)) for slot, found in checked.items() for fault in found.faults]
        notes = [note for found in checked.values() for note in found.notes]
        documents: dict[str, DocumentCounts] = {}
        for slot, source in archives.items():
            if slot not in CHECKED_SLOTS and name:
                found, counted, told = _documents(services, name, Slot(slot), source, Path(scratch) / slot)
                faults += [_in(slot, fault, len(archives)) for fault in found]
                notes += told
                documents |= {slot: counted} if counted else {}
        if not asked.scenario_name:
            faults += differing_names({slot: found.manifest.name for slot, found in checked.items() if found.manifest})
        if faults:
            return BuildPlan(name, str(connector), (), tuple(faults), tuple(notes))
        notes += _about_gremlin(checked) if connector is Connector.COSMOSDB_GREMLIN else ()
        found, before = look_at(services, asked.workspace_id.lower()), find_scenario(services.documents, name)
        changes = _changes(services, found, settled(asked, before, found.items), name, checked, connector)
        notes += _about_elsewhere(before, asked.workspace_id)
        notes += about_names(asked, before, found.items, checked, fabric=connector is Connector.FABRIC_GQL)
        return BuildPlan(name, str(connector), changes, (), (*notes, *_no_longer_wanted(found, name, changes)), documents)


def _ready(scratch: Path) -> Path:
    scratch.mkdir(parents=True, exist_ok=True)
    return scratch


def _checked(services: ScenarioServices, slot: str, source: BinaryIO, folder: Path, *, beside: Collection[str]) -> Checked:
    folder.mkdir()
    only: Literal["graph", "telemetry"] = "graph" if slot == "graph" else "telemetry"
    return check_scenario(source, folder, limits=services.limits, only=only, beside=beside)


def _name_of(asked: Asked, manifest: Manifest | None) -> str:
    """The scenario's name; empty where the manifest that would say it cannot be read."""
    name = asked.scenario_name or (manifest.name if manifest else "")
    if name:
        check_scenario_name(name)
    return name


def _changes(  # noqa: PLR0913, PLR0917 - where, for whom, and what
    services: ScenarioServices, found: Workspace, asked: Asked, name: str, checked: Mapping[str, Checked], connector: Connector
) -> tuple[Change, ...]:
    scenarios = {slot: found.scenario for slot, found in checked.items() if found.scenario}
    telemetry = scenarios.get("telemetry")
    names = names_of(asked, (telemetry.manifest.telemetry_database if telemetry else None) or name)
    changes = plan_changes(services, found, name, names, scenarios, connector, overwrite=asked.overwrite)
    if "graph" in scenarios and connector is Connector.COSMOSDB_GREMLIN:
        changes += plan_gremlin(services, asked.workspace_id, name, scenarios["graph"], overwrite=asked.overwrite)
    return changes


def _no_longer_wanted(found: Workspace, name: str, changes: Sequence[Change]) -> Iterator[str]:
    """Tables of the scenario, where these archives have tables, that they do not name any more."""
    wanted = {(change.kind, change.name) for change in changes}
    places = {(change.kind, _container(change.name)) for change in changes if change.kind in _TABLES}
    for kind, table in found.things:
        if found.things[kind, table].scenario == name and (kind, _container(table)) in places and (kind, table) not in wanted:
            yield f"{table} is not in the archive any more; it stays until the scenario is destroyed."


def _container(table: str) -> str:
    return table.partition("/")[0]


def _documents(
    services: ScenarioServices, name: str, slot: Slot, source: BinaryIO, folder: Path
) -> tuple[tuple[Fault, ...], DocumentCounts | None, list[str]]:
    """The faults of an archive of documents; what storing it would change; and in words which documents it removes, and what it would not store."""
    folder.mkdir()
    contents = read_slot(name, slot, source, folder)
    if contents.faults:
        return contents.faults, None, []
    changes = plan_slot(services.lake, services.documents, name, slot, contents)
    counted = DocumentCounts(**{member: len(getattr(changes, member)) for member in DocumentCounts.__dataclass_fields__})
    passed_over = passed_over_told(slot, contents.passed_over, len(contents.passed_over), len(contents.elsewhere))
    return (), counted, list(filter(None, [_removed(slot, changes), passed_over]))


def _removed(slot: Slot, changes: SlotChanges) -> str | None:
    names = [str(document.body["path"]) for document in changes.removed]
    if not names:
        return None
    verb = "are no longer in the archive, and are" if len(names) > 1 else "is no longer in the archive, and is"
    return f"{slot}: {first_named(names, len(names))} {verb} removed."


def _about_elsewhere(record: ScenarioRecord | None, workspace_id: str) -> Iterator[str]:
    """Scenarios go by their names, whatever the workspace."""
    if record and record.workspace_id.lower() != workspace_id.lower():
        place = record.workspace_name or record.workspace_id
        yield f"A scenario {record.name} is built in workspace {place}. This build makes it one of this workspace, with these documents; {STAYS}. Choose another name to keep two."


def _about_gremlin(checked: Mapping[str, Checked]) -> Iterable[str]:
    for slot, found in checked.items():
        if slot == "graph" and found.scenario:
            rows = sum(table.rows for table in graph_tables(found.scenario))
            yield f"The graph goes to Azure Cosmos DB, where {rows:,} rows become vertices and edges; what is there already as it should be is left alone, and what is gone from the archive is removed there."


def _in(slot: str, fault: Fault, archives: int) -> Fault:
    """A fault, with the archive that has it where there are several."""
    return replace(fault, where=f"{slot}: {fault.where}") if archives > 1 else fault
