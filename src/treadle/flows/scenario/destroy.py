"""The end of a scenario: what its builds made is removed, last built first; what others use, or was there before, is left, and told.

A job's plan may be hours old when somebody asks for it again, so what it names is looked at anew before it goes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any, Final

from treadle.control.jobs.job import JsonValue, StepState
from treadle.control.jobs.queue import list_steps
from treadle.control.jobs.run import JobContext
from treadle.errors import Conflict, InvalidInput, NotFound, Unavailable
from treadle.flows.scenario.as_brought import is_made_since
from treadle.flows.scenario.claims import claim_for_removal
from treadle.flows.scenario.existing import PENDING, note_renames
from treadle.flows.scenario.find_or_create import wait_until_listed
from treadle.flows.scenario.flow import Left
from treadle.flows.scenario.lakehouse_folders import forget_lakehouses, lakehouses_of, remove_folders
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.presence import is_workspace_gone
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
from treadle.flows.scenario.slot_files import documents_told
from treadle.flows.scenario.slots import count_documents, remove_documents
from treadle.flows.scenario.strangers import CONTAINERS, Going
from treadle.flows.scenario.survey import (
    MADE_SINCE,
    NOT_MADE,
    WORKSPACE_GONE,
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
from treadle.flows.scenario.take_away import clear_kql_table, refuse_unless_gone, remove_gremlin, take_away

_STILL_THERE: Final = "was not there when the removal was planned, and is now; it goes when the scenario is removed once more"


def destroy_scenario(services: ScenarioServices, context: JobContext) -> JsonValue:
    """Remove what the job's payload names; each thing in a step of its own. Safe to repeat: what is gone already is as it should be.

    Raises:
        NotFound: nothing is known of the scenario. Conflict: it was built anew since an earlier attempt made its plan.
        Unavailable: Fabric does not show all that is there.
    """
    name = context.payload.get("scenario_name")
    if not isinstance(name, str):
        raise InvalidInput("The job does not say which scenario to remove.", hint="Ask for it anew.")
    done_before = {step.name for step in list_steps(services.own, context.job.job_id) if step.state is StepState.DONE}

    def is_done(thing: Thing) -> bool:
        return _step_of(thing, context) in done_before

    claim_for_removal(services, context, name, lambda: workspaces_of(services, name))
    planned = context.step("plan", lambda: _planned(services, name, context.check))
    _refuse_when_built_anew(services, name, planned, is_done)
    spared = _remove_all(services, context, [thing_in(told) for told in planned["removed"]], is_done)
    for thing in map(thing_in, planned.get("cleared", ())):
        context.step(_step_of(thing, context, "clear"), lambda thing=thing: _clear_kql_table(services, thing))
    context.step("hand_over", lambda: _hand_over(services, name))
    if planned["gremlin"]:
        context.step("graph", lambda: remove_gremlin(services, name, context.check))
    lakehouses = [*planned["lakehouses"], *(told["place"] for told in spared if told["kind"] == Kind.LAKEHOUSE)]
    context.step("files", lambda: _remove_files(services, name, lakehouses))
    told_of = [*planned["left"], *spared]
    told_of += context.step("records", lambda: _forget(services, name, told_of)).get("kept", ())
    left = [{member: told[member] for member in ("kind", "name", "reason")} for told in told_of]
    stayed = {(told["kind"], told["name"], told["place"][0]) for told in spared}
    removed = [
        f"{told['kind']} {told['name']}" for told in planned["removed"] if (told["kind"], told["name"], told["workspace_id"]) not in stayed
    ]
    documents = planned.get("documents", {})
    gone = [f"{len(removed):,} {'thing' if len(removed) == 1 else 'things'}", *filter(None, [documents_told(documents)])]
    return {
        "scenario_name": name,
        "removed": removed,
        "documents": documents,
        "left": left,
        "message": f"{name} is removed: {', '.join(gone)}" + (f", {len(left)} were left." if left else "."),
    }


def _planned(services: ScenarioServices, name: str, check: Callable[[], None]) -> JsonValue:
    """What is to be done, as every attempt follows it. known, built_by: what a later attempt tells by that the scenario was built anew."""
    _await_unheard(services, name, check)
    standings = standings_of(services, name, for_removal=True)
    for standing in standings:
        note_renames(services, standing.found)
    parts = [survey_workspace(services, standing) for standing in standings]
    record = find_scenario(services.documents, name)
    return {
        "removed": [asdict(thing) for part in parts for thing in part.removed],
        "left": [_left_told(standing, left) for standing, part in zip(standings, parts, strict=True) for left in part.left],
        "cleared": [asdict(thing) for part in parts for thing in part.cleared],
        "lakehouses": _lakehouses_that_stay(services, name, parts),
        "gremlin": _is_unclaimed(record, standings),
        "documents": count_documents(services.documents, name),
        "known": [asdict(thing) for thing in things_of_scenario(services.documents, name)],
        "built_by": record.job_id if record else None,
    }


def _await_unheard(services: ScenarioServices, name: str, check: Callable[[], None]) -> None:
    """Wait until lists show what a build was about to make when it died; what none has shown by then never came about.

    Raises:
        Unavailable: it is so new that Fabric may still be making it.
    """
    if wait_until_listed(lambda: None if _unheard(services, name) else True, services.patience, check):
        return
    since = services.own.now() - timedelta(seconds=services.patience.operation)
    if young := [thing for thing in _unheard(services, name) if thing.noted_at and datetime.fromisoformat(thing.noted_at) > since]:
        raise Unavailable(
            f"A build was about to make the {young[0].kind} {young[0].name} when it ended, and Fabric may be making it still.",
            hint=f"Ask again in {services.patience.operation / 60:.0f} minutes: treadle scenario destroy {name}",
            details={"scenario": name, "noted_at": young[0].noted_at},
        )


def _unheard(services: ScenarioServices, name: str) -> list[Thing]:
    """What a list may yet show: nobody heard its id, so it cannot be asked for, and nothing else has its name."""
    pending = [thing for thing in things_of_scenario(services.documents, name) if thing.item_id == PENDING]
    standings = {workspace: standing_in(services, name, workspace) for workspace in {thing.workspace_id for thing in pending}}
    there = {workspace: standing.found for workspace, standing in standings.items() if not standing.is_gone}
    return [each for each in pending if each.workspace_id in there and there[each.workspace_id].find(each.kind, each.name) is None]


def _left_told(standing: Standing, left: Left) -> dict[str, Any]:
    workspace = standing.found.workspace_id
    return {"kind": left.thing.kind, "name": left.thing.name, "reason": left.reason, "workspace_id": workspace}


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
    gone = Going()
    left: list[dict[str, Any]] = []
    for place, thing in enumerate(things):
        ended = context.step(_step_of(thing, context), lambda thing=thing: _remove(services, thing, gone, context.check))
        if reason := ended.get("left"):
            left.append({"kind": thing.kind, "name": thing.name, "reason": reason, "place": [thing.workspace_id, thing.item_id]})
        elif thing.kind not in CONTAINERS or (ended["removed"] and not is_done(thing)):
            gone.things.append(thing)
        else:
            gone.dropped.append(thing)  # its name may be another's now
        told = f"is left: it {reason}" if reason else "is removed"
        context.progress(f"{thing.kind} {thing.name} {told}", pct=100 * (place + 1) / (len(things) + 4))
    return left


def _step_of(thing: Thing, context: JobContext, what: str = "remove") -> str:
    """Things of one name may be in several workspaces."""
    elsewhere = "" if thing.workspace_id == context.payload.get("workspace_id") else f"@{thing.workspace_id}"
    return f"{what}:{thing.kind}:{thing.name}{elsewhere}"


def _remove(services: ScenarioServices, thing: Thing, gone: Going, check: Callable[[], None]) -> JsonValue:
    """Remove one thing, and forget it; or leave it, when it is another's by now. gone: what went before it."""
    known = _known(services, thing)
    if known is None:
        return {"removed": False}  # by an attempt that died before it could say so
    if reason := _why_left_now(services, thing, known, gone):
        return {"left": reason}
    try:
        take_away(services, thing, check)
    except NotFound as error:
        refuse_unless_gone(services, thing, error)
        if thing.kind is not Kind.GREMLIN_GRAPH and is_workspace_gone(services, thing.workspace_id):
            return {"left": WORKSPACE_GONE}
        removed = False
    else:
        removed = True
    forget_thing(services.documents, thing)
    return {"removed": removed}


def _known(services: ScenarioServices, thing: Thing) -> Thing | None:
    """What our records have of that kind and name in its workspace by now."""
    there = things_of(services.documents, thing.workspace_id)
    return next((each for each in there if (each.kind, each.name) == (thing.kind, thing.name)), None)


def _why_left_now(services: ScenarioServices, thing: Thing, known: Thing, gone: Going) -> str | None:
    """As `why_left`, asked right before the removal. thing: as it was planned. known: as our records have it now."""
    if known.scenario != thing.scenario:
        return f"belongs to {known.scenario}"
    if known.item_id not in {thing.item_id, PENDING}:
        return "was made anew"
    if thing.kind in CONTAINERS:
        if not known.made:
            return NOT_MADE
        return MADE_SINCE if is_made_since(services, known) else None
    standing = standing_in(services, thing.scenario, thing.workspace_id, for_removal=True)
    item = existing_in(standing, known)
    if item and item.item_id != thing.item_id:
        return "was made anew"
    return why_left(services, standing, item, gone) if item else None


def _clear_kql_table(services: ScenarioServices, thing: Thing) -> JsonValue:
    """Take the rows that builds brought out of a table of others; unless another scenario has it by now, whose rows bear the same tag."""
    known = _known(services, thing)
    is_ours = known is not None and (known.scenario, known.item_id) == (thing.scenario, thing.item_id)
    return {"cleared": is_ours and clear_kql_table(services, thing)}


def _hand_over(services: ScenarioServices, name: str) -> JsonValue:
    """What stayed because others use it, in the name of one of them: it goes with the last."""
    heirs = [heir for workspace in workspaces_of(services, name) for heir in _heirs(services, standing_in(services, name, workspace))]
    for thing in heirs:
        record_thing(services.documents, thing)
    return [f"{thing.kind} {thing.name} belongs to {thing.scenario} now" for thing in heirs]


def _heirs(services: ScenarioServices, standing: Standing) -> Iterator[Thing]:
    for thing in standing.found.things.values():
        if thing.scenario != standing.scenario or thing.kind in CONTAINERS:
            continue
        if (item := existing_in(standing, thing)) and (users := users_of(services, standing, item)):
            yield replace(thing, scenario=users[0], item_id=item.item_id, mark=None)


def _remove_files(services: ScenarioServices, name: str, lakehouses: Iterable[Sequence[str]]) -> JsonValue:
    """The scenario's folder in the lakehouses that stay, and in Treadle's own, with the index of its documents."""
    remove_folders(services, name, lakehouses)
    return {"documents": remove_documents(services.lake, services.documents, name)}


def _forget(services: ScenarioServices, name: str, left: Sequence[Mapping[str, Any]]) -> JsonValue:
    """Forget the scenario, what was removed, what was left with a reason, and what is gone. What is there after all is kept, and told."""
    kept: list[dict[str, Any]] = []
    for thing in things_of_scenario(services.documents, name):
        if not _is_told(thing, left) and existing_in(standing_in(services, name, thing.workspace_id), thing):
            kept.append({"kind": thing.kind, "name": thing.name, "reason": _STILL_THERE})
        else:
            forget_thing(services.documents, thing)
    forget_lakehouses(services.documents, name)
    forget_scenario(services.documents, name)
    return {"kept": kept}


def _is_told(thing: Thing, left: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a thing is among those that were left. Pure. A plan of before says no workspaces."""
    return any((told["kind"], told["name"]) == (thing.kind, thing.name) and _place_of(told) in {None, thing.workspace_id} for told in left)


def _place_of(told: Mapping[str, Any]) -> str | None:
    """The workspace of what was left. Pure."""
    return told["place"][0] if "place" in told else told.get("workspace_id")
