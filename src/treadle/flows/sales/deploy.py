"""Put the sales flow's notebook and pipeline into a Fabric workspace: plan what would change, then carry it out.

The items lie in `notebooks/` as Fabric's own git format: a folder `<name>.<Type>` with `.platform` and the parts of the definition.
Repeating a deployment changes nothing that is as wanted already.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import structlog

from treadle.clients.fabric import FabricClient, Item, ItemId, WorkspaceId
from treadle.errors import InvalidInput

log = structlog.get_logger()

NOTEBOOKS: Final = Path(__file__).parents[4] / "notebooks"
PIPELINE: Final = "sales"
ZERO_GUID: Final = "00000000-0000-0000-0000-000000000000"  # stands for "this workspace" in git-format items
ORDER: Final = ("Lakehouse", "Notebook", "DataPipeline")  # what a later one refers to comes first
Action = Literal["create", "update", "unchanged"]


@dataclass(frozen=True, slots=True)
class LocalItem:
    """An item as it lies in `notebooks/`."""

    type: str
    name: str
    logical_id: str  # other items refer to it by this until it has an id
    parts: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Change:
    """What a deployment does with one item."""

    action: Action
    type: str
    name: str
    item_id: str | None  # None: it does not exist yet, and this is only the plan


@dataclass(frozen=True, slots=True)
class Place:
    """Where the flow was deployed to."""

    workspace_id: WorkspaceId
    lakehouse_id: ItemId
    pipeline_id: ItemId
    changes: tuple[Change, ...]


def deploy_all(fabric: FabricClient, *, workspace_name: str, folder: Path = NOTEBOOKS) -> Place:
    """Find or create the workspace by name, then deploy into it: what a local environment does at its start."""
    found = [workspace for workspace in fabric.list_workspaces() if workspace.name == workspace_name]
    workspace = found[0] if found else fabric.create_workspace(workspace_name)
    return deploy_items(fabric, WorkspaceId(workspace.workspace_id), folder=folder)


def deploy_items(
    fabric: FabricClient, workspace: WorkspaceId, *, known: Mapping[str, str] | None = None, folder: Path = NOTEBOOKS
) -> Place:
    """Carry out the plan: lakehouse, notebook and pipeline are then as `notebooks/` has them. Safe to repeat.

    known: item type → the id of the item that the settings name; used where the workspace has it, whatever its name. Others are found by name.
    """
    ids: dict[str, str] = {ZERO_GUID: workspace}
    changes: list[Change] = []
    last_ids: dict[str, ItemId] = {}
    for local in read_items(folder):
        existing = _find(fabric, workspace, local, known or {})
        change = _plan_one(fabric, workspace, local, existing, ids)
        item_id = _carry_out(fabric, workspace, local, change, ids)
        ids[local.logical_id] = last_ids[local.type] = item_id
        changes.append(replace(change, item_id=item_id))
    return Place(workspace, last_ids["Lakehouse"], last_ids["DataPipeline"], tuple(changes))


def plan_items(
    fabric: FabricClient, workspace: WorkspaceId, *, known: Mapping[str, str] | None = None, folder: Path = NOTEBOOKS
) -> list[Change]:
    """What `deploy_items` would do now. An item that refers to one still to be created shows as `update`, since its text will change."""
    ids: dict[str, str] = {ZERO_GUID: workspace}
    changes: list[Change] = []
    for local in read_items(folder):
        existing = _find(fabric, workspace, local, known or {})
        changes.append(_plan_one(fabric, workspace, local, existing, ids))
        if existing:
            ids[local.logical_id] = existing.item_id
    return changes


def read_items(folder: Path) -> list[LocalItem]:
    """Read the item folders, in the order in which they can be created.

    Raises:
        InvalidInput: the folder is not there, or an item in it is not in git format.
    """
    if not folder.is_dir():
        raise InvalidInput(
            f"There are no items to deploy: {folder} is not a folder.", hint="Run from a checkout of Treadle, or give --notebooks DIR."
        )
    items = [_read_item(path.parent) for path in sorted(folder.glob("*/.platform"))]
    return sorted((item for item in items if item.type in ORDER), key=lambda item: ORDER.index(item.type))


def with_ids(content: bytes, ids: Mapping[str, str]) -> bytes:
    """Put real ids where a part refers to another item by its logical id, or to its workspace by the zero GUID. Pure."""
    for logical, real in ids.items():
        content = content.replace(logical.encode(), real.encode())
    return content


def _read_item(folder: Path) -> LocalItem:
    try:
        platform = json.loads((folder / ".platform").read_bytes())
        kind, name, logical_id = platform["metadata"]["type"], platform["metadata"]["displayName"], platform["config"]["logicalId"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{folder / '.platform'} is not a Fabric item in git format: {error!r}.") from error
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".platform"]
    return LocalItem(kind, name, logical_id, {path.relative_to(folder).as_posix(): path.read_bytes() for path in files})


def _plan_one(fabric: FabricClient, workspace: WorkspaceId, local: LocalItem, existing: Item | None, ids: Mapping[str, str]) -> Change:
    if existing is None:
        return Change("create", local.type, local.name, None)
    if not _has_definition(local):
        return Change("unchanged", local.type, existing.name, existing.item_id)
    published = fabric.get_item_definition(workspace, ItemId(existing.item_id))
    same = all(published.get(path, b"").strip() == with_ids(content, ids).strip() for path, content in local.parts.items())
    return Change("unchanged" if same else "update", local.type, existing.name, existing.item_id)


def _carry_out(fabric: FabricClient, workspace: WorkspaceId, local: LocalItem, change: Change, ids: Mapping[str, str]) -> ItemId:
    parts = {path: with_ids(content, ids) for path, content in local.parts.items()} if _has_definition(local) else None
    if change.item_id is None:
        item_id = ItemId(fabric.create_item(workspace, name=local.name, type=local.type, parts=parts).item_id)
    else:
        item_id = ItemId(change.item_id)
        if change.action == "update" and parts is not None:
            fabric.update_item_definition(workspace, item_id, parts)
    log.info("deploy.item", action=change.action, type=local.type, name=change.name, item_id=item_id)
    return item_id


def _find(fabric: FabricClient, workspace: WorkspaceId, local: LocalItem, known: Mapping[str, str]) -> Item | None:
    items: Sequence[Item] = fabric.list_items(workspace, local.type)
    by_id = [item for item in items if item.item_id == known.get(local.type)]
    return next(iter(by_id + [item for item in items if item.name == local.name]), None)


def _has_definition(local: LocalItem) -> bool:
    """A lakehouse is only found or created: its content is the users', never ours to replace."""
    return local.type != "Lakehouse"
