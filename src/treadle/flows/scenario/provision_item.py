"""One item of a workspace, found by its name or created by a background job: a lakehouse, an eventhouse or an ontology by itself.

It runs under the key of its workspace, so never beside a build. What it creates belongs to no scenario, so no scenario's end removes it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from treadle.clients.fabric import WorkspaceId
from treadle.control.jobs.job import Job, JsonValue, NewJob
from treadle.control.jobs.kinds import Kind as JobKind
from treadle.control.jobs.run import JobContext
from treadle.errors import InvalidInput
from treadle.flows.scenario.asked import Asked, check_asked
from treadle.flows.scenario.asking import ask_for
from treadle.flows.scenario.claims import claim, workspace
from treadle.flows.scenario.find_or_create import NewItem, create_patiently
from treadle.flows.scenario.flow import workspace_key
from treadle.flows.scenario.plan import Kind
from treadle.flows.scenario.services import ScenarioServices

ITEM: Final = "scenario_item"
_TYPES: Final = {Kind.LAKEHOUSE: "Lakehouse", Kind.EVENTHOUSE: "Eventhouse", Kind.ONTOLOGY: "Ontology"}  # Fabric's own words
_SECONDS: Final = 1800.0


@dataclass(frozen=True, slots=True)
class ItemWish:
    """The item that is wanted. kind: lakehouse, eventhouse or ontology."""

    kind: Kind
    workspace_id: str
    workspace_name: str
    name: str


def request_item(services: ScenarioServices, wish: ItemWish, who: str, *, job_id: UUID | None = None) -> Job:
    """Ask for the job that finds or creates it, if nothing else holds the workspace. Safe to repeat with the same job_id.

    Raises:
        InvalidInput: of the name, the id or the kind. NotFound, PermissionDenied: of the workspace, which is asked and says what it is called.
        Conflict: another job has the workspace; nothing was asked for.
    """
    if wish.kind not in _TYPES:
        raise InvalidInput(f"A {wish.kind} is not made by itself.", hint=f"By themselves: {', '.join(_TYPES)}.")
    named: dict[str, Any] = {f"{wish.kind}_name": wish.name}
    check_asked(Asked(None, None, wish.workspace_id, wish.workspace_name, **named), {"graph": None})  # the rules of a whole build
    workspace = services.fabric.get_workspace(WorkspaceId(wish.workspace_id))
    payload = {
        "kind": wish.kind,
        "workspace_id": wish.workspace_id.lower(),
        "workspace_name": workspace.name,
        "name": wish.name,
    }
    return ask_for(services.own, NewJob(ITEM, payload, who, key=workspace_key(wish.workspace_id), job_id=job_id), alone=True)


def item_kind(services: Callable[[], ScenarioServices]) -> JobKind:
    """services: opened when a job needs them, since they need settings that not every installation has."""
    return JobKind(ITEM, lambda context: _provide(services(), context), deadline_seconds=_SECONDS)


def _provide(services: ScenarioServices, context: JobContext) -> JsonValue:
    payload = context.payload
    wish = ItemWish(Kind(payload["kind"]), payload["workspace_id"], payload["workspace_name"], payload["name"])
    claim(services, context, [workspace(wish.workspace_id)])
    found: Any = context.step(wish.kind, lambda: _find_or_create(services, context, wish))
    made = "was created" if found["created"] else "was there"
    _tell(context, wish, f"The {wish.kind} {wish.name} {made}.", 100)
    return {f"{wish.kind}_id": found["item_id"], "created": found["created"], "message": f"The {wish.kind} {wish.name} {made}."}


def _find_or_create(services: ScenarioServices, context: JobContext, wish: ItemWish) -> JsonValue:
    """Safe to repeat: no two items of a type share a name."""
    workspace, item_type = WorkspaceId(wish.workspace_id), _TYPES[wish.kind]
    _tell(context, wish, f"Fabric is asked for the {wish.kind} {wish.name}.", 10)
    there = services.fabric.find_item(workspace, item_type, wish.name)
    if there is not None:
        return {"item_id": there.item_id, "created": False}
    item, ours = create_patiently(services.fabric, workspace, NewItem(item_type, wish.name), services.patience, context.check)
    return {"item_id": item.item_id, "created": ours}


def _tell(context: JobContext, wish: ItemWish, detail: str, pct: float) -> None:
    context.progress(detail, pct=pct, step=wish.kind, data={"step": wish.kind, "detail": detail, "pct": pct})
