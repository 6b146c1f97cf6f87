"""The end of a scenario: what its builds made is removed, last built first; what others use, or was there before, is left, and told.

A job's plan may be hours old when somebody asks for it again, so what it names is looked at anew before it goes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from treadle.clients.fabric import ItemId, WorkspaceId
from treadle.control.jobs.job import JsonValue, StepState
from treadle.control.jobs.queue import list_steps
from treadle.control.jobs.run import JobContext
from treadle.errors import Conflict, InvalidInput, NotFound, Unavailable
from treadle.flows.scenario.claims import claim_for_removal
from treadle.flows.scenario.existing import PENDING, is_made_since, query_uri
from treadle.flows.scenario.lakehouse_folders import forget_lakehouses, lakehouses_of, remove_folders
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.records import (
    ScenarioRecord,
    Thing,
    find_scenario,
    forget_scenario,
    forget_thing,
    record_thing,
    thing_in,
    things_of,
    things_of_scenario,
)
from treadle.flows.scenario.schema import Connector
from treadle.flows.scenario.services import ScenarioServices
from treadle.flows.scenario.slots import remove_documents
from treadle.flows.scenario.strangers import CONTAINERS
from treadle.flows.scenario.survey import (
    MADE_SINCE,
    NOT_MADE,
    Part,
    Standing,
    existing_in,
    standing_in,
    standings_of,
    survey_workspace,
    users_of,
    why_left,
    workspaces_of,
)
from treadle.flows.scenario.telemetry import drop_ours, drop_table

if TYPE_CHECKING:
    from treadle.clients.kusto import KustoClient


def destroy_scenario(services: ScenarioServices, context: JobContext) -> JsonValue:
    """Remove what the job's payload names; each thing in a step of its own. Safe to repeat: what is gone already is as it should be.

    Raises:
        NotFound: nothing is known of the scenario. Conflict: it was built anew since an earlier attempt made its plan.
    """
    name = context.payload.get("scenario_name")
    if not isinstance(name, str):
        raise InvalidInput("The job does not say which scenario to remove.", hint="Ask for it anew.")
    done_before = {step.name for step in list_steps(services.own, context.job.job_id) if step.state is StepState.DONE}

    def is_done(thing: Thing) -> bool:
        return _step_of(thing, context) in done_before

    claim_for_removal(services, context, name, lambda: workspaces_of(services, name))
    planned = context.step("plan", lambda: _planned(services, name))
    _refuse_when_built_anew(services, name, planned, is_done)
    spared = _remove_all(services, context, [thing_in(told) for told in planned["removed"]], is_done)
    for thing in map(thing_in, planned.get("cleared", ())):
        context.step(_step_of(thing, context, "clear"), lambda thing=thing: _clear_kql_table(services, thing))
    context.step("hand_over", lambda: _hand_over(services, name))
    if planned["gremlin"]:
        context.step("graph", lambda: _remove_gremlin(services, name, context.check))
    lakehouses = [*planned["lakehouses"], *(told["place"] for told in spared if told["kind"] == Kind.LAKEHOUSE)]
    context.step("files", lambda: _remove_files(services, name, lakehouses))
    context.step("records", lambda: _forget(services, name))
    left = [{member: told[member] for member in ("kind", "name", "reason")} for told in (*planned["left"], *spared)]
    stayed = {(told["kind"], told["name"], told["place"][0]) for told in spared}
    removed = [
        f"{told['kind']} {told['name']}" for told in planned["removed"] if (told["kind"], told["name"], told["workspace_id"]) not in stayed
    ]
    return {
        "scenario_name": name,
        "removed": removed,
        "left": left,
        "message": f"{name} is removed: {len(removed)} things" + (f", {len(left)} were left." if left else "."),
    }


def _planned(services: ScenarioServices, name: str) -> JsonValue:
    """What is to be done, as every attempt follows it. known, built_by: what a later attempt tells by that the scenario was built anew."""
    standings = standings_of(services, name)
    parts = [survey_workspace(services, standing) for standing in standings]
    record = find_scenario(services.documents, name)
    return {
        "removed": [asdict(thing) for part in parts for thing in part.removed],
        "left": [{"kind": left.thing.kind, "name": left.thing.name, "reason": left.reason} for part in parts for left in part.left],
        "cleared": [asdict(thing) for part in parts for thing in part.cleared],
        "lakehouses": _lakehouses_that_stay(services, name, parts),
        "gremlin": _is_unclaimed(record, standings),
        "known": [asdict(thing) for thing in things_of_scenario(services.documents, name)],
        "built_by": record.job_id if record else None,
    }


def _lakehouses_that_stay(services: ScenarioServices, name: str, parts: Iterable[Part]) -> list[list[str]]:
    """Lakehouses, with their workspaces, that builds of the scenario worked with, and that do not go with it."""
    going = {thing.item_id for part in parts for thing in part.removed if thing.kind is Kind.LAKEHOUSE}
    return [list(place) for place in lakehouses_of(services.documents, name) if place[1] not in going]


def _is_unclaimed(record: ScenarioRecord | None, standings: Sequence[Standing]) -> bool:
    """Whether there is a graph in Cosmos DB that is not among the things: it was built before such graphs were."""
    claimed = any((Kind.GREMLIN_GRAPH, standing.scenario) in standing.found.things for standing in standings)
    return record is not None and record.graph_connector == Connector.COSMOSDB_GREMLIN and not claimed


def _refuse_when_built_anew(services: ScenarioServices, name: str, planned: Mapping[str, Any], is_done: Callable[[Thing], bool]) -> None:
    """A removal only ever takes from what is known of a scenario: what is new there, or there again, was brought by a build.

    Raises:
        Conflict: so it was; the plan is no longer one of the scenario that is there.
    """
    known = {thing for told in planned.get("known", ()) if not is_done(thing := thing_in(told))}
    record = find_scenario(services.documents, name)
    if known.issuperset(things_of_scenario(services.documents, name)) and (record is None or record.job_id == planned.get("built_by")):
        return
    raise Conflict(
        f"{name} has changed since this removal began: something was built for it, or passed to it. Nothing more is removed.",
        hint="Ask for its removal anew; what it would remove now is shown first.",
        details={"scenario": name},
    )


def _remove_all(
    services: ScenarioServices, context: JobContext, things: Sequence[Thing], is_done: Callable[[Thing], bool]
) -> list[dict[str, Any]]:
    """Remove one after the other. Returns those that are left after all: kind, name, reason, and the place: ids of the workspace and the item."""
    gone: list[Thing] = []
    left: list[dict[str, Any]] = []
    for place, thing in enumerate(things):
        ended = context.step(_step_of(thing, context), lambda thing=thing: _remove(services, thing, gone, context.check))
        if reason := ended.get("left"):
            left.append({"kind": thing.kind, "name": thing.name, "reason": reason, "place": [thing.workspace_id, thing.item_id]})
        elif thing.kind not in CONTAINERS or (ended["removed"] and not is_done(thing)):
            gone.append(thing)  # a table that an earlier attempt removed may be another's now
        told = f"is left: it {reason}" if reason else "is removed"
        context.progress(f"{thing.kind} {thing.name} {told}", pct=100 * (place + 1) / (len(things) + 4))
    return left


def _step_of(thing: Thing, context: JobContext, what: str = "remove") -> str:
    """Things of one name may be in several workspaces."""
    elsewhere = "" if thing.workspace_id == context.payload.get("workspace_id") else f"@{thing.workspace_id}"
    return f"{what}:{thing.kind}:{thing.name}{elsewhere}"


def _remove(services: ScenarioServices, thing: Thing, gone: Sequence[Thing], check: Callable[[], None]) -> JsonValue:
    """Remove one thing, and forget it; or leave it, when it is another's by now. gone: what went before it."""
    known = _known(services, thing)
    if known is None:
        return {"removed": False}  # by an attempt that died before it could say so
    if reason := _why_left_now(services, thing, known, gone):
        return {"left": reason}
    try:
        if thing.kind is Kind.TABLE:
            services.lake_of(thing.workspace_id, thing.item_id).delete_folder(f"Tables/{thing.name.partition('/')[2]}")
        elif thing.kind is Kind.KQL_TABLE:
            _drop_kql_table(services, thing)
        elif thing.kind is Kind.GREMLIN_GRAPH:
            _remove_gremlin(services, thing.name, check)
        else:
            services.fabric.delete_item(WorkspaceId(thing.workspace_id), ItemId(thing.item_id))
    except NotFound:
        removed = False
    else:
        removed = True
    forget_thing(services.documents, thing)
    return {"removed": removed}


def _known(services: ScenarioServices, thing: Thing) -> Thing | None:
    """What our records have of that kind and name in its workspace by now."""
    there = things_of(services.documents, thing.workspace_id)
    return next((each for each in there if (each.kind, each.name) == (thing.kind, thing.name)), None)


def _why_left_now(services: ScenarioServices, thing: Thing, known: Thing, gone: Sequence[Thing]) -> str | None:
    """As `why_left`, asked right before the removal. thing: as it was planned. known: as our records have it now."""
    if known.scenario != thing.scenario:
        return f"belongs to {known.scenario}"
    if known.item_id not in {thing.item_id, PENDING}:
        return "was made anew"
    if thing.kind in CONTAINERS:
        if not known.made:
            return NOT_MADE
        return MADE_SINCE if is_made_since(services, known) else None
    standing = standing_in(services, thing.scenario, thing.workspace_id)
    item = existing_in(standing, known)
    if item and item.item_id != thing.item_id:
        return "was made anew"
    return why_left(services, standing, item, gone) if item else None


def _drop_kql_table(services: ScenarioServices, thing: Thing) -> None:
    database, _, table = thing.name.partition("/")
    _kusto(services, thing, database).mgmt(drop_table(table))


def _clear_kql_table(services: ScenarioServices, thing: Thing) -> JsonValue:
    """Take the rows that builds brought out of a table of others; unless another scenario has it by now, whose rows bear the same tag."""
    database, _, table = thing.name.partition("/")
    known = _known(services, thing)
    if known is None or (known.scenario, known.item_id) != (thing.scenario, thing.item_id):
        return {"cleared": False}
    try:
        _kusto(services, thing, database).mgmt(drop_ours(table))
    except NotFound:
        return {"cleared": False}  # the table is gone, or all around it
    return {"cleared": True}


def _kusto(services: ScenarioServices, thing: Thing, database: str) -> "KustoClient":
    """The database that a table is in. Raises Unavailable as long as Fabric does not say where that is asked."""
    uri = query_uri(services, thing.workspace_id, thing.item_id)
    if not uri:
        raise Unavailable(f"Fabric does not say where the KQL database {database} is asked.", hint="Try again in a moment.")
    return services.kusto(uri, database)


def _hand_over(services: ScenarioServices, name: str) -> JsonValue:
    """What stayed because others use it, in the name of one of them: it goes with the last."""
    heirs = [heir for workspace in workspaces_of(services, name) for heir in _heirs(standing_in(services, name, workspace))]
    for thing in heirs:
        record_thing(services.documents, thing)
    return [f"{thing.kind} {thing.name} belongs to {thing.scenario} now" for thing in heirs]


def _heirs(standing: Standing) -> Iterator[Thing]:
    for thing in standing.found.things.values():
        if thing.scenario != standing.scenario or thing.kind in CONTAINERS:
            continue
        if (item := existing_in(standing, thing)) and (users := users_of(standing, item)):
            yield replace(thing, scenario=users[0], item_id=item.item_id, mark=None)


def _remove_gremlin(services: ScenarioServices, name: str, check: Callable[[], None]) -> JsonValue:
    """The graph of a scenario that is in Cosmos DB."""
    from treadle.flows.scenario.build_gremlin import remove_gremlin_graph  # noqa: PLC0415 - its driver is an extra

    return remove_gremlin_graph(services.gremlin(), name, check)


def _remove_files(services: ScenarioServices, name: str, lakehouses: Iterable[Sequence[str]]) -> JsonValue:
    """The scenario's folder in the lakehouses that stay, and in Treadle's own, with the index of its documents."""
    remove_folders(services, name, lakehouses)
    return {"documents": remove_documents(services.lake, services.documents, name)}


def _forget(services: ScenarioServices, name: str) -> JsonValue:
    for thing in things_of_scenario(services.documents, name):
        forget_thing(services.documents, thing)
    forget_lakehouses(services.documents, name)
    forget_scenario(services.documents, name)
    return {}
