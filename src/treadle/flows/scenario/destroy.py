"""The end of a scenario: what its builds made is removed, last built first; what others use, or was there before, is left, and told.

A job's plan may be hours old when somebody asks for it again, so what it names is looked at anew before it goes.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from treadle.clients.fabric import ItemId, WorkspaceId
from treadle.control.jobs.job import JsonValue, StepState
from treadle.control.jobs.queue import list_steps
from treadle.control.jobs.run import JobContext
from treadle.errors import Conflict, InvalidInput, NotFound
from treadle.flows.scenario.existing import PENDING, Workspace, kql_table_names, look_at, query_uri, table_names
from treadle.flows.scenario.flow import DestroyPlan, Left
from treadle.flows.scenario.plan import Existing, Kind, plan_removal
from treadle.flows.scenario.records import (
    ScenarioRecord,
    Thing,
    find_scenario,
    forget_scenario,
    forget_thing,
    list_scenarios,
    record_thing,
    things_of,
    things_of_scenario,
)
from treadle.flows.scenario.schema import Connector
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.slots import remove_documents
from treadle.flows.scenario.telemetry import drop_table

_CONTAINERS: Final = {Kind.TABLE: Kind.LAKEHOUSE, Kind.KQL_TABLE: Kind.KQL_DATABASE}
_FOLDER: Final = "Files/scenarios"
_OURS_IN_FILES: Final = frozenset({"scenarios", ".treadle"})
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class _Standing:
    """A scenario's things in one workspace, and what is there."""

    scenario: str
    record: ScenarioRecord | None
    found: Workspace
    others: tuple[ScenarioRecord, ...]  # in the same workspace


@dataclass(frozen=True, slots=True)
class _Part:
    """Of one workspace: what goes, in that order, and what stays."""

    removed: tuple[Thing, ...]
    left: tuple[Left, ...]


def survey(services: ScenarioServices, scenario_name: str) -> DestroyPlan:
    """What the end of a scenario would remove and leave, in whatever workspaces its builds went to. Changes nothing.

    Raises:
        NotFound: nothing is known of a scenario of this name.
    """
    parts = [_survey_workspace(services, standing) for standing in _standings(services, scenario_name)]
    removed = tuple(
        Existing(thing.kind, thing.name, thing.item_id, thing.fingerprint, thing.scenario) for part in parts for thing in part.removed
    )
    return DestroyPlan(removed, tuple(left for part in parts for left in part.left))


def destroy_scenario(services: ScenarioServices, context: JobContext) -> JsonValue:
    """Remove what the job's payload names; each thing in a step of its own. Safe to repeat: what is gone already is as it should be.

    Raises:
        NotFound: nothing is known of the scenario. Conflict: it was built anew since an earlier attempt made its plan.
    """
    name = context.payload.get("scenario_name")
    if not isinstance(name, str):
        raise InvalidInput("The job does not say which scenario to remove.", hint="Ask for it anew.")
    done_before = {step.name for step in list_steps(services.own, context.job.job_id) if step.state is StepState.DONE}
    planned = context.step("plan", lambda: _planned(services, name))
    _refuse_when_built_anew(services, name, planned, done_before)
    kept = [*planned["left"], *_remove_all(services, context, [_thing(told) for told in planned["removed"]], done_before)]
    context.step("hand_over", lambda: _hand_over(services, name))
    context.step("graph", lambda: _remove_elsewhere(services, name, planned["gremlin"], context.check))
    lakehouses = [*planned["lakehouses"], *(told["place"] for told in kept if told["kind"] == Kind.LAKEHOUSE and "place" in told)]
    context.step("files", lambda: _remove_files(services, name, lakehouses))
    context.step("records", lambda: _forget(services, name))
    left = [{member: told[member] for member in ("kind", "name", "reason")} for told in kept]
    stayed = {(told["kind"], told["name"]) for told in left}
    removed = [f"{told['kind']} {told['name']}" for told in planned["removed"] if (told["kind"], told["name"]) not in stayed]
    return {
        "scenario_name": name,
        "removed": removed,
        "left": left,
        "message": f"{name} is removed: {len(removed)} things" + (f", {len(left)} were left." if left else "."),
    }


def _planned(services: ScenarioServices, name: str) -> JsonValue:
    """What is to be done, as every attempt follows it. known, built_by: what a later attempt tells by that the scenario was built anew."""
    standings = _standings(services, name)
    parts = [_survey_workspace(services, standing) for standing in standings]
    record = find_scenario(services.documents, name)
    return {
        "removed": [asdict(thing) for part in parts for thing in part.removed],
        "left": [{"kind": left.thing.kind, "name": left.thing.name, "reason": left.reason} for part in parts for left in part.left],
        "lakehouses": [pair for standing, part in zip(standings, parts, strict=True) for pair in _lakehouses(standing, part)],
        "gremlin": bool(record and record.graph_connector == Connector.COSMOSDB_GREMLIN),
        "known": [asdict(thing) for thing in things_of_scenario(services.documents, name)],
        "built_by": record.job_id if record else None,
    }


def _refuse_when_built_anew(services: ScenarioServices, name: str, planned: Mapping[str, Any], done_before: Collection[str]) -> None:
    """A removal only ever takes from what is known of a scenario: what is new there, or there again, was brought by a build.

    Raises:
        Conflict: so it was; the plan is no longer one of the scenario that is there.
    """
    known = {thing for told in planned.get("known", ()) if _step_of(thing := _thing(told)) not in done_before}
    record = find_scenario(services.documents, name)
    if known.issuperset(things_of_scenario(services.documents, name)) and (record is None or record.job_id == planned.get("built_by")):
        return
    raise Conflict(
        f"{name} has changed since this removal began: something was built for it, or passed to it. Nothing more is removed.",
        hint="Ask for its removal anew; what it would remove now is shown first.",
        details={"scenario": name},
    )


def _remove_all(
    services: ScenarioServices, context: JobContext, things: Sequence[Thing], done_before: Collection[str]
) -> list[dict[str, Any]]:
    """Remove one after the other. Returns those that are left after all: kind, name, reason, and the place as `_lakehouses` has it."""
    gone: list[Thing] = []
    left: list[dict[str, Any]] = []
    for place, thing in enumerate(things):
        ended = context.step(_step_of(thing), lambda thing=thing: _remove(services, thing, gone))
        if reason := ended.get("left"):
            left.append({"kind": thing.kind, "name": thing.name, "reason": reason, "place": [thing.workspace_id, thing.item_id]})
        elif (
            thing.kind not in _CONTAINERS or _step_of(thing) not in done_before
        ):  # a table that an earlier attempt removed may be another's now
            gone.append(thing)
        told = f"is left: it {reason}" if reason else "is removed"
        context.progress(f"{thing.kind} {thing.name} {told}", pct=100 * (place + 1) / (len(things) + 4))
    return left


def _step_of(thing: Thing) -> str:
    return f"remove:{thing.kind}:{thing.name}"


def _standings(services: ScenarioServices, name: str) -> list[_Standing]:
    """One for each workspace that the scenario's builds went to. Raises NotFound."""
    standings = [_standing(services, name, workspace) for workspace in _workspaces(services, name)]
    if not standings:
        raise NotFound(f"There is no scenario {name}.", hint="List them with: treadle scenario ls", details={"scenario": name})
    return standings


def _workspaces(services: ScenarioServices, name: str) -> list[str]:
    record = find_scenario(services.documents, name)
    things = things_of_scenario(services.documents, name)
    return list(dict.fromkeys([*([record.workspace_id.lower()] if record else []), *(thing.workspace_id for thing in things)]))


def _standing(services: ScenarioServices, name: str, workspace: str) -> _Standing:
    record = find_scenario(services.documents, name)
    return _Standing(
        name,
        record if record and record.workspace_id.lower() == workspace else None,
        look_at(services, workspace),
        tuple(other for other in list_scenarios(services.documents) if other.name != name and other.workspace_id.lower() == workspace),
    )


def _survey_workspace(services: ScenarioServices, standing: _Standing) -> _Part:
    there = [item for thing in standing.found.things.values() if (item := _existing(standing, thing))]
    going: list[Thing] = []
    left: list[Left] = []
    for item in plan_removal(standing.scenario, there):
        if reason := _why_left(services, standing, item, going):
            left.append(Left(item, reason))
        else:
            going.append(replace(standing.found.things[item.kind, item.name], item_id=item.item_id))
    return _Part(tuple(going), (*left, *_only_used(standing, going)))


def _existing(standing: _Standing, thing: Thing) -> Existing | None:
    """The thing, if it is still there. A table is there as long as its lakehouse or database is: to drop it twice does no harm."""
    kind = _CONTAINERS.get(thing.kind, thing.kind)
    item = next((item for item in standing.found.of_kind(kind) if item.item_id == thing.item_id), None)
    if item is None and thing.item_id == PENDING:
        item = standing.found.find(kind, thing.name)  # made by a build that was killed before it could say so
    return Existing(thing.kind, thing.name, item.item_id, thing.fingerprint, thing.scenario) if item else None


def _why_left(services: ScenarioServices, standing: _Standing, item: Existing, going: Sequence[Thing]) -> str | None:
    thing = standing.found.things[item.kind, item.name]
    if not thing.made:
        return "was there before the scenario was built"
    if users := _users(standing, item):
        return f"is used by {', '.join(users)}"
    if strangers := sorted(_strangers(services, standing, item, going)):
        more = ", …" if len(strangers) > _SHOWN else ""
        return f"holds what Treadle did not make: {', '.join(strangers[:_SHOWN])}{more}"
    return None


def _users(standing: _Standing, item: Existing) -> list[str]:
    """Other scenarios that work with an item, or have tables in it."""
    users = {other.name for other in standing.others if item.item_id in _items_of(other) and item.kind not in _CONTAINERS}
    users |= {
        thing.scenario
        for thing in standing.found.things.values()
        if thing.scenario != standing.scenario and _CONTAINERS.get(thing.kind) is item.kind and thing.item_id == item.item_id
    }
    return sorted(users)


def _items_of(record: ScenarioRecord) -> set[str | None]:
    return {record.lakehouse_id, record.ontology_id, record.graph_model_id, record.eventhouse_id, record.kql_database_id}


def _strangers(services: ScenarioServices, standing: _Standing, item: Existing, going: Sequence[Thing]) -> Iterator[str]:
    """What is in a container that nobody of us put there, or that we leave."""
    gone = {name for kind in _CONTAINERS for name in _tables_of(going, kind, item.item_id)}
    if item.kind is Kind.LAKEHOUSE:
        yield from (f"table {name}" for name in table_names(services, _item(standing, item)) if name not in gone)
        lake = services.lake_of(standing.found.workspace_id, item.item_id)
        yield from (f"Files/{folder.name}" for folder in lake.list_folders("Files") if folder.name not in _OURS_IN_FILES)
        yield from (file.path for file in lake.list_files("Files"))
    elif item.kind is Kind.KQL_DATABASE:
        yield from (f"table {name}" for name in kql_table_names(services, _item(standing, item)) if name not in gone)
    elif item.kind is Kind.EVENTHOUSE:
        yield from _databases_of_others(services, standing, item, going)


def _tables_of(going: Sequence[Thing], kind: Kind, item_id: str) -> set[str]:
    """The tables of one lakehouse or database that go."""
    return {thing.name.partition("/")[2] for thing in going if thing.kind is kind and thing.item_id == item_id}


def _databases_of_others(services: ScenarioServices, standing: _Standing, item: Existing, going: Sequence[Thing]) -> Iterator[str]:
    """Databases of the eventhouse that stay, but for its own, if that is empty."""
    leaving = {each.item_id for each in going}
    for database in standing.found.of_kind(Kind.KQL_DATABASE):
        if database.item_id in leaving:
            continue
        properties = services.fabric.item_properties(WorkspaceId(database.workspace_id), ItemId(database.item_id), database.type)
        if str(properties.get("parentEventhouseItemId", "")).lower() != item.item_id:
            continue
        staying = set(kql_table_names(services, database)) - _tables_of(going, Kind.KQL_TABLE, database.item_id)
        if database.name != item.name or staying:
            yield f"database {database.name}"


def _only_used(standing: _Standing, going: Sequence[Thing]) -> Iterator[Left]:
    """Items of the scenario's record that it never made, or does not own any more."""
    if standing.record is None:
        return
    leaving = {thing.item_id for thing in going if thing.kind not in _CONTAINERS}
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


def _item(standing: _Standing, there: Existing) -> Any:
    return next(item for item in standing.found.of_kind(there.kind) if item.item_id == there.item_id)


def _lakehouses(standing: _Standing, part: _Part) -> list[list[str]]:
    """Lakehouses that stay, with their workspace, and have a folder of this scenario."""
    lakehouse_id = standing.record.lakehouse_id if standing.record else None
    if lakehouse_id is None or any(thing.kind is Kind.LAKEHOUSE and thing.item_id == lakehouse_id for thing in part.removed):
        return []
    return [[standing.found.workspace_id, lakehouse_id]]


def _remove(services: ScenarioServices, thing: Thing, gone: Sequence[Thing]) -> JsonValue:
    """Remove one thing, and forget it; or leave it, when it is another's by now. gone: what went before it."""
    known = next((each for each in things_of(services.documents, thing.workspace_id) if _step_of(each) == _step_of(thing)), None)
    if known is None:
        return {"removed": False}  # by an attempt that died before it could say so
    if reason := _why_left_now(services, thing, known, gone):
        return {"left": reason}
    try:
        if thing.kind is Kind.TABLE:
            services.lake_of(thing.workspace_id, thing.item_id).delete_folder(f"Tables/{thing.name.partition('/')[2]}")
        elif thing.kind is Kind.KQL_TABLE:
            _drop_kql_table(services, thing)
        else:
            services.fabric.delete_item(WorkspaceId(thing.workspace_id), ItemId(thing.item_id))
    except NotFound:
        removed = False
    else:
        removed = True
    forget_thing(services.documents, thing)
    return {"removed": removed}


def _why_left_now(services: ScenarioServices, thing: Thing, known: Thing, gone: Sequence[Thing]) -> str | None:
    """As `_why_left`, asked right before the removal. thing: as it was planned. known: as our records have it now."""
    if known.scenario != thing.scenario:
        return f"belongs to {known.scenario}"
    if known.item_id not in {thing.item_id, PENDING}:
        return "was made anew"
    if thing.kind in _CONTAINERS:
        return None if known.made else "was there before the scenario was built"
    standing = _standing(services, thing.scenario, thing.workspace_id)
    item = _existing(standing, known)
    if item and item.item_id != thing.item_id:
        return "was made anew"
    return _why_left(services, standing, item, gone) if item else None


def _drop_kql_table(services: ScenarioServices, thing: Thing) -> None:
    database, _, table = thing.name.partition("/")
    uri = query_uri(services, thing.workspace_id, thing.item_id)
    if uri:
        services.kusto(uri, database).mgmt(drop_table(table))


def _hand_over(services: ScenarioServices, name: str) -> JsonValue:
    """What stayed because others use it, in the name of one of them: it goes with the last."""
    heirs = [heir for workspace in _workspaces(services, name) for heir in _heirs(_standing(services, name, workspace))]
    for thing in heirs:
        record_thing(services.documents, thing)
    return [f"{thing.kind} {thing.name} belongs to {thing.scenario} now" for thing in heirs]


def _heirs(standing: _Standing) -> Iterator[Thing]:
    for thing in standing.found.things.values():
        if thing.scenario != standing.scenario or thing.kind in _CONTAINERS:
            continue
        if (item := _existing(standing, thing)) and (users := _users(standing, item)):
            yield replace(thing, scenario=users[0], item_id=item.item_id)


def _remove_elsewhere(services: ScenarioServices, name: str, is_gremlin: bool, check: Callable[[], None]) -> JsonValue:  # noqa: FBT001
    """The graph of a scenario that is in Cosmos DB."""
    if not is_gremlin:
        return {}
    from treadle.flows.scenario.build_gremlin import remove_gremlin_graph  # noqa: PLC0415 - its driver is an extra

    return remove_gremlin_graph(services.gremlin(), name, check)


def _remove_files(services: ScenarioServices, name: str, lakehouses: Iterable[Sequence[str]]) -> JsonValue:
    """The scenario's folder in the lakehouses that stay, and in Treadle's own, with the index of its documents."""
    for workspace_id, lakehouse_id in lakehouses:
        try:
            services.lake_of(workspace_id, lakehouse_id).delete_folder(f"{_FOLDER}/{name}")
        except NotFound:
            continue
    return {"documents": remove_documents(services.lake, services.documents, name)}


def _forget(services: ScenarioServices, name: str) -> JsonValue:
    for thing in things_of_scenario(services.documents, name):
        forget_thing(services.documents, thing)
    forget_scenario(services.documents, name)
    return {}


def _thing(told: dict[str, Any]) -> Thing:
    members: dict[str, Any] = {**told, "kind": Kind(told["kind"])}
    return Thing(**members)
