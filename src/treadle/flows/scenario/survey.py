"""What the end of a scenario would remove, last built first, and what it would leave: others use it, it was there before, or it is out of reach.

Changes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from treadle.errors import NotFound, Unavailable
from treadle.flows.scenario.as_brought import is_made_since
from treadle.flows.scenario.existing import PENDING, Workspace, is_made_as, look_at
from treadle.flows.scenario.flow import DestroyPlan, Left
from treadle.flows.scenario.lakehouse_folders import lakehouses_of, scenarios_noted
from treadle.flows.scenario.ontology_graph import others_with_its_graph
from treadle.flows.scenario.plan import Existing, Kind, plan_removal
from treadle.flows.scenario.presence import is_workspace_gone, item_now
from treadle.flows.scenario.records import ScenarioRecord, Thing, find_scenario, list_scenarios, things_of, things_of_scenario
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.slots import count_documents
from treadle.flows.scenario.strangers import CONTAINERS, UNSEEN, Going, strangers_in

MADE_SINCE: Final = "was made by others, in place of the one that was built"
NOT_MADE: Final = "was there before the scenario was built"
CLEARED: Final = f"{NOT_MADE}; it stays without the rows that builds brought"
WORKSPACE_GONE: Final = "was in a workspace that is gone, or that Treadle can no longer see"
_SHOWN: Final = 5
_WITHOUT_ITEM: Final = frozenset({*CONTAINERS, Kind.GREMLIN_GRAPH})


@dataclass(frozen=True, slots=True)
class Standing:
    """A scenario's things in one workspace, and what is there. is_gone: the workspace is not; nothing is there.

    for_removal: what cannot be seen just now is no reason to leave a thing for good, but one to look again later.
    """

    scenario: str
    record: ScenarioRecord | None
    found: Workspace
    others: tuple[ScenarioRecord, ...]  # in the same workspace
    is_gone: bool = False
    for_removal: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """Of one workspace: what goes, in that order, and what stays. cleared: of that, what loses the rows that builds brought beside others'."""

    removed: tuple[Thing, ...]
    left: tuple[Left, ...]
    cleared: tuple[Thing, ...] = ()


def survey(services: ScenarioServices, scenario_name: str) -> DestroyPlan:
    """What the end of a scenario would remove and leave, in whatever workspaces its builds went to. Changes nothing.

    Raises:
        NotFound: nothing is known of a scenario of this name.
    """
    parts = [survey_workspace(services, standing) for standing in standings_of(services, scenario_name)]
    removed = tuple(
        Existing(thing.kind, thing.name, thing.item_id, thing.fingerprint, thing.scenario) for part in parts for thing in part.removed
    )
    documents = count_documents(services.documents, scenario_name)
    return DestroyPlan(removed, tuple(left for part in parts for left in part.left), documents)


def survey_workspace(services: ScenarioServices, standing: Standing) -> Part:
    """What goes of one workspace, and what stays."""
    there = [item for thing in standing.found.things.values() if (item := existing_in(standing, thing))]
    going = Going()
    left: list[Left] = []
    for item in plan_removal(standing.scenario, there):
        if reason := why_left(services, standing, item, going):
            left.append(Left(item, reason))
        else:
            going.things.append(replace(standing.found.things[item.kind, item.name], item_id=item.item_id))
    staying = [standing.found.things[each.thing.kind, each.thing.name] for each in left]
    cleared = tuple(thing for thing in staying if _has_rows_of_others(thing))
    return Part(tuple(going.things), (*left, *_out_of_reach(standing), *_only_used(standing, going.things)), cleared)


def _has_rows_of_others(thing: Thing) -> bool:
    """Whether builds brought rows beside those that were there: to a table of a lakehouse they bring them in place of those."""
    return thing.kind is Kind.KQL_TABLE and not thing.made


def _out_of_reach(standing: Standing) -> Iterator[Left]:
    """What was in a workspace that is gone; it may be there, where the workspace has only been taken from our sight."""
    if not standing.is_gone:
        return
    known = [
        Existing(thing.kind, thing.name, thing.item_id, thing.fingerprint, thing.scenario)
        for thing in standing.found.things.values()
        if thing.item_id != PENDING and thing.kind is not Kind.GREMLIN_GRAPH
    ]
    for item in plan_removal(standing.scenario, known):
        yield Left(item, WORKSPACE_GONE)


def standings_of(services: ScenarioServices, name: str, *, for_removal: bool = False) -> list[Standing]:
    """One for each workspace that the scenario's builds went to. Raises NotFound."""
    standings = [standing_in(services, name, workspace, for_removal=for_removal) for workspace in workspaces_of(services, name)]
    if not standings:
        raise NotFound(f"There is no scenario {name}.", hint="List them with: treadle scenario ls", details={"scenario": name})
    return standings


def workspaces_of(services: ScenarioServices, name: str) -> list[str]:
    """Every workspace that the scenario's builds went to, the one of its record first, then those of its things, then those of files alone."""
    record = find_scenario(services.documents, name)
    things = [thing.workspace_id for thing in things_of_scenario(services.documents, name)]
    files = [workspace for workspace, _ in lakehouses_of(services.documents, name)]
    return list(dict.fromkeys([*([record.workspace_id.lower()] if record else []), *things, *files]))


def standing_in(services: ScenarioServices, name: str, workspace: str, *, for_removal: bool = False) -> Standing:
    """The scenario in one workspace, as it is now. Raises PermissionDenied."""
    record = find_scenario(services.documents, name)
    record = record if record and record.workspace_id.lower() == workspace else None
    found = _look_if_there(services, workspace)
    return Standing(
        name,
        record,
        _with_unlisted(services, found, name, record)
        if found
        else Workspace(workspace, (), {(thing.kind, thing.name): thing for thing in things_of(services.documents, workspace)}),
        tuple(other for other in list_scenarios(services.documents) if other.name != name and other.workspace_id.lower() == workspace),
        is_gone=found is None,
        for_removal=for_removal,
    )


def _look_if_there(services: ScenarioServices, workspace: str) -> Workspace | None:
    """None: the workspace is gone. Fabric has to say so twice, and in its own words."""
    try:
        return look_at(services, workspace)
    except NotFound:
        if is_workspace_gone(services, workspace):
            return None
        raise


def _with_unlisted(services: ScenarioServices, found: Workspace, name: str, record: ScenarioRecord | None) -> Workspace:
    """The workspace with those items of the scenario that no list shows just now: each is asked for by its id before it counts as gone."""
    things = [thing for thing in found.things.values() if thing.scenario == name and thing.kind is not Kind.GREMLIN_GRAPH]
    known = {thing.item_id for thing in things} | (_items_of(record) if record else set[str | None]())
    unlisted = known - {item.item_id for item in found.items} - {PENDING, None}
    there = [item for item_id in sorted(map(str, unlisted)) if (item := item_now(services, found.workspace_id, item_id))]
    return replace(found, items=(*found.items, *there))


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


def why_left(services: ScenarioServices, standing: Standing, item: Existing, going: Going) -> str | None:
    """Why a thing of the scenario stays, in words; None: it goes. going: what goes before it.

    Raises:
        Unavailable: a removal cannot see what a thing holds.
    """
    thing = standing.found.things[item.kind, item.name]
    if not thing.made:
        return CLEARED if _has_rows_of_others(thing) else NOT_MADE
    if is_made_since(services, thing):
        return MADE_SINCE
    if users := users_of(services, standing, item):
        return f"is used by {', '.join(users)}"
    container = next(each for each in standing.found.items if each.item_id == item.item_id) if item.kind not in _WITHOUT_ITEM else None
    if container and (strangers := strangers_in(services, standing.found, standing.scenario, container, going)):
        if standing.for_removal and strangers == [UNSEEN]:
            raise _unseen(standing, item)
        more = ", …" if len(strangers) > _SHOWN else ""
        return f"holds what Treadle did not make: {', '.join(strangers[:_SHOWN])}{more}"
    return None


def _unseen(standing: Standing, item: Existing) -> Unavailable:
    return Unavailable(
        f"Fabric does not show all that the {item.kind} {item.name} holds, so it is not removed yet.",
        hint=f"Wait a few minutes, then ask again: treadle scenario destroy {standing.scenario}. What is not removed is still known.",
        details={"scenario": standing.scenario, "item_id": item.item_id},
    )


def users_of(services: ScenarioServices, standing: Standing, item: Existing) -> list[str]:
    """Other scenarios that work with an item, or have tables or files in it."""
    users = {other.name for other in standing.others if item.item_id in _items_of(other) and item.kind not in CONTAINERS}
    users |= {
        thing.scenario
        for thing in standing.found.things.values()
        if thing.scenario != standing.scenario and CONTAINERS.get(thing.kind) is item.kind and thing.item_id == item.item_id
    }
    if item.kind is Kind.LAKEHOUSE:
        users |= scenarios_noted(services.documents, item.item_id) - {standing.scenario}
    if item.kind is Kind.ONTOLOGY:
        users |= others_with_its_graph(standing.found, standing.found.things[item.kind, item.name])
    return sorted(users)


def _items_of(record: ScenarioRecord) -> set[str | None]:
    return {record.lakehouse_id, record.ontology_id, record.graph_model_id, record.eventhouse_id, record.kql_database_id}


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
            yield Left(known, f"belongs to {known.made_by}" if known.made_by else NOT_MADE)
