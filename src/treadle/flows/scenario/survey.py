"""What the end of a scenario would remove, last built first, and what it would leave, because others use it or it was there before. Changes nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from treadle.clients.fabric import ItemId, WorkspaceId
from treadle.errors import NotFound
from treadle.flows.scenario.existing import (
    Workspace,
    is_made_as,
    is_made_since,
    kql_beside_tables,
    kql_table_names,
    look_at,
    query_uri,
    table_names,
)
from treadle.flows.scenario.flow import DestroyPlan, Left
from treadle.flows.scenario.plan import Existing, Kind, plan_removal
from treadle.flows.scenario.records import ScenarioRecord, Thing, find_scenario, list_scenarios, things_of_scenario
from treadle.flows.scenario.services import ScenarioServices

CONTAINERS: Final = {Kind.TABLE: Kind.LAKEHOUSE, Kind.KQL_TABLE: Kind.KQL_DATABASE}
MADE_SINCE: Final = "was made by others, in place of the one that was built"
_OURS_IN_FILES: Final = frozenset({"scenarios", ".treadle"})
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Standing:
    """A scenario's things in one workspace, and what is there."""

    scenario: str
    record: ScenarioRecord | None
    found: Workspace
    others: tuple[ScenarioRecord, ...]  # in the same workspace


@dataclass(frozen=True, slots=True)
class Part:
    """Of one workspace: what goes, in that order, and what stays."""

    removed: tuple[Thing, ...]
    left: tuple[Left, ...]


def survey(services: ScenarioServices, scenario_name: str) -> DestroyPlan:
    """What the end of a scenario would remove and leave, in whatever workspaces its builds went to. Changes nothing.

    Raises:
        NotFound: nothing is known of a scenario of this name.
    """
    parts = [survey_workspace(services, standing) for standing in standings_of(services, scenario_name)]
    removed = tuple(
        Existing(thing.kind, thing.name, thing.item_id, thing.fingerprint, thing.scenario) for part in parts for thing in part.removed
    )
    return DestroyPlan(removed, tuple(left for part in parts for left in part.left))


def survey_workspace(services: ScenarioServices, standing: Standing) -> Part:
    """What goes of one workspace, and what stays."""
    there = [item for thing in standing.found.things.values() if (item := existing_in(standing, thing))]
    going: list[Thing] = []
    left: list[Left] = []
    for item in plan_removal(standing.scenario, there):
        if reason := why_left(services, standing, item, going):
            left.append(Left(item, reason))
        else:
            going.append(replace(standing.found.things[item.kind, item.name], item_id=item.item_id))
    return Part(tuple(going), (*left, *_only_used(standing, going)))


def standings_of(services: ScenarioServices, name: str) -> list[Standing]:
    """One for each workspace that the scenario's builds went to. Raises NotFound."""
    standings = [standing_in(services, name, workspace) for workspace in workspaces_of(services, name)]
    if not standings:
        raise NotFound(f"There is no scenario {name}.", hint="List them with: treadle scenario ls", details={"scenario": name})
    return standings


def workspaces_of(services: ScenarioServices, name: str) -> list[str]:
    """Every workspace that the scenario's builds went to, the one of its record first."""
    record = find_scenario(services.documents, name)
    things = things_of_scenario(services.documents, name)
    return list(dict.fromkeys([*([record.workspace_id.lower()] if record else []), *(thing.workspace_id for thing in things)]))


def standing_in(services: ScenarioServices, name: str, workspace: str) -> Standing:
    """The scenario in one workspace, as it is now."""
    record = find_scenario(services.documents, name)
    return Standing(
        name,
        record if record and record.workspace_id.lower() == workspace else None,
        look_at(services, workspace),
        tuple(other for other in list_scenarios(services.documents) if other.name != name and other.workspace_id.lower() == workspace),
    )


def existing_in(standing: Standing, thing: Thing) -> Existing | None:
    """The thing, if it is still there. A table is there as long as its lakehouse or database is: to drop it twice does no harm."""
    if thing.kind is Kind.GREMLIN_GRAPH:
        return Existing(thing.kind, thing.name, thing.item_id, thing.fingerprint, thing.scenario)
    kind = CONTAINERS.get(thing.kind, thing.kind)
    item = next((item for item in standing.found.of_kind(kind) if item.item_id == thing.item_id), None)
    if item is None:
        item = next(
            (each for each in standing.found.of_kind(kind) if each.name == thing.name and is_made_as(thing, each)), None
        )  # made by a build that was killed before it could say so
    return Existing(thing.kind, thing.name, item.item_id, thing.fingerprint, thing.scenario) if item else None


def why_left(services: ScenarioServices, standing: Standing, item: Existing, going: Sequence[Thing]) -> str | None:
    """Why a thing of the scenario stays, in words; None: it goes. going: what goes before it."""
    thing = standing.found.things[item.kind, item.name]
    if not thing.made:
        return "was there before the scenario was built"
    if is_made_since(services, thing):
        return MADE_SINCE
    if users := users_of(standing, item):
        return f"is used by {', '.join(users)}"
    if strangers := sorted(_strangers(services, standing, item, going)):
        more = ", …" if len(strangers) > _SHOWN else ""
        return f"holds what Treadle did not make: {', '.join(strangers[:_SHOWN])}{more}"
    return None


def users_of(standing: Standing, item: Existing) -> list[str]:
    """Other scenarios that work with an item, or have tables in it."""
    users = {other.name for other in standing.others if item.item_id in _items_of(other) and item.kind not in CONTAINERS}
    users |= {
        thing.scenario
        for thing in standing.found.things.values()
        if thing.scenario != standing.scenario and CONTAINERS.get(thing.kind) is item.kind and thing.item_id == item.item_id
    }
    return sorted(users)


def _items_of(record: ScenarioRecord) -> set[str | None]:
    return {record.lakehouse_id, record.ontology_id, record.graph_model_id, record.eventhouse_id, record.kql_database_id}


def _strangers(services: ScenarioServices, standing: Standing, item: Existing, going: Sequence[Thing]) -> Iterator[str]:
    """What is in a container that nobody of us put there, or that we leave."""
    gone = {name for kind in CONTAINERS for name in _tables_of(going, kind, item.item_id)}
    if item.kind is Kind.LAKEHOUSE:
        yield from (f"table {name}" for name in table_names(services, _item(standing, item)) if name not in gone)
        lake = services.lake_of(standing.found.workspace_id, item.item_id)
        yield from (f"Files/{folder.name}" for folder in lake.list_folders("Files") if folder.name not in _OURS_IN_FILES)
        yield from (f"Files/scenarios/{folder.name}" for folder in lake.list_folders("Files/scenarios") if folder.name != standing.scenario)
        yield from (file.path for file in lake.list_files("Files"))
    elif item.kind is Kind.KQL_DATABASE and not query_uri(services, standing.found.workspace_id, item.item_id):
        yield "what Fabric does not show just now"
    elif item.kind is Kind.KQL_DATABASE:
        yield from (f"table {name}" for name in kql_table_names(services, _item(standing, item)) if name not in gone)
        yield from kql_beside_tables(services, _item(standing, item))
    elif item.kind is Kind.EVENTHOUSE:
        yield from _databases_of_others(services, standing, item, going)


def _tables_of(going: Sequence[Thing], kind: Kind, item_id: str) -> set[str]:
    """The tables of one lakehouse or database that go."""
    return {thing.name.partition("/")[2] for thing in going if thing.kind is kind and thing.item_id == item_id}


def _databases_of_others(services: ScenarioServices, standing: Standing, item: Existing, going: Sequence[Thing]) -> Iterator[str]:
    """Databases of the eventhouse that stay, but for its own, if that is empty."""
    leaving = {each.item_id for each in going if each.kind is Kind.KQL_DATABASE}  # its tables have its id, too, and may go without it
    for database in standing.found.of_kind(Kind.KQL_DATABASE):
        if database.item_id in leaving:
            continue
        properties = services.fabric.item_properties(WorkspaceId(database.workspace_id), ItemId(database.item_id), database.type)
        if str(properties.get("parentEventhouseItemId") or item.item_id).lower() != item.item_id:
            continue  # it is another's; one of which Fabric does not say whose it is may be this one's
        staying = set(kql_table_names(services, database)) - _tables_of(going, Kind.KQL_TABLE, database.item_id)
        if database.name != item.name or staying or kql_beside_tables(services, database):
            yield f"database {database.name}"


def _only_used(standing: Standing, going: Sequence[Thing]) -> Iterator[Left]:
    """Items of the scenario's record that it never made, or does not own any more."""
    if standing.record is None:
        return
    for loss in standing.record.lost:
        yield Left(Existing(loss.kind, loss.name, "", None, loss.taken_by), f"was taken over by {loss.taken_by}")
    leaving = {thing.item_id for thing in going if thing.kind not in CONTAINERS}
    for kind, item_id in (
        (Kind.LAKEHOUSE, standing.record.lakehouse_id),
        (Kind.EVENTHOUSE, standing.record.eventhouse_id),
        (Kind.KQL_DATABASE, standing.record.kql_database_id),
        (Kind.ONTOLOGY, standing.record.ontology_id),
        (Kind.GRAPH_MODEL, standing.record.graph_model_id),
    ):
        item = next((item for item in standing.found.of_kind(kind) if item.item_id == item_id), None)
        if item is None or (kind is Kind.KQL_DATABASE and standing.record.eventhouse_id in leaving):
            continue  # it is gone, or goes with its eventhouse
        known = standing.found.known(kind, item.name, item.item_id)
        if known.made_by != standing.scenario:
            yield Left(known, f"belongs to {known.made_by}" if known.made_by else "was there before the scenario was built")


def _item(standing: Standing, there: Existing) -> Any:
    return next(item for item in standing.found.of_kind(there.kind) if item.item_id == there.item_id)


def lakehouses_that_stay(standing: Standing, part: Part) -> list[list[str]]:
    """Lakehouses that stay, with their workspace, and have a folder of this scenario."""
    lakehouse_id = standing.record.lakehouse_id if standing.record else None
    if lakehouse_id is None or any(thing.kind is Kind.LAKEHOUSE and thing.item_id == lakehouse_id for thing in part.removed):
        return []
    return [[standing.found.workspace_id, lakehouse_id]]
