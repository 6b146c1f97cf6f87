"""What is gone, in Fabric's own words. That a list does not show something proves nothing: lists lag behind."""

from collections.abc import Callable
from typing import TypeVar

from treadle.clients.fabric import Item, ItemId, WorkspaceId
from treadle.errors import NotFound
from treadle.flows.scenario.services import ScenarioServices

T = TypeVar("T")


def item_now(services: ScenarioServices, workspace_id: str, item_id: str) -> Item | None:
    """An item by its id. None: Fabric says that it is gone, or its workspace is.

    Raises:
        NotFound: nobody said so but whoever answers in the place of Fabric. PermissionDenied, …: as any call.
    """
    return _unless_gone(lambda: services.fabric.get_item(WorkspaceId(workspace_id), ItemId(item_id)))


def is_workspace_gone(services: ScenarioServices, workspace_id: str) -> bool:
    """Whether Fabric says that there is no such workspace; then it is gone, or Treadle may no longer see it. Raises as `item_now`."""
    return _unless_gone(lambda: services.fabric.get_workspace(WorkspaceId(workspace_id))) is None


def _unless_gone(look: Callable[[], T]) -> T | None:
    """An address that is wrong finds nothing, either; but only Fabric gives a code of its own."""
    try:
        return look()
    except NotFound as error:
        if error.details.get("error_code"):
            return None
        raise
