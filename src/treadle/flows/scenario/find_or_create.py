"""An item of a workspace, found by its name or created – once, whatever answers are lost on the way.

Fabric has no key by which a second POST would be recognised, but no two items of a type share a name. So a creation whose answer was lost is
settled by looking the name up, and by a mark in the description of what is found; and where lists lag behind, Fabric's refusal of a second item says that the first is there.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog

from treadle.clients.fabric import FabricClient, Item, WorkspaceId
from treadle.errors import Conflict, OutcomeUnknown, TreadleError
from treadle.flows.scenario.services import Patience

_NAME_TAKEN: Final = "ItemDisplayNameAlreadyInUse"
_NAME_RESERVED: Final = "ItemDisplayNameNotAvailableYet"
_PAUSE_SECONDS, _PAUSE_SECONDS_MAX = 0.25, 10.0
_WORD_SECONDS: Final = 0.5  # how soon a pause hears that the job is to end

T = TypeVar("T")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item that is wanted. creation_payload: what its type asks for on creation. mark: what its description gets, so that it is known again."""

    type: str
    name: str
    creation_payload: Mapping[str, Any] | None = None
    mark: str = ""

    @property
    def description(self) -> str:
        """For people, with the mark."""
        return f"Made by Treadle ({self.mark})" if self.mark else ""

    def is_it(self, item: Item, *, otherwise: bool) -> bool:
        """Whether an item that is there is this one. otherwise: what is believed without a mark."""
        return self.mark in item.description if self.mark else otherwise


def create_patiently(
    fabric: FabricClient, workspace: WorkspaceId, new: NewItem, patience: Patience, check: Callable[[], None]
) -> tuple[Item, bool]:
    """Create the item, and return it and whether it is ours; False: somebody else was first.

    A name that is still reserved after a deletion is waited for. check: called while waiting; raises when the job is to end.

    Raises:
        Conflict: the name stays reserved, or is taken by something that no list shows.
        OutcomeUnknown: nobody could find out within the patience whether it was created.
        OperationFailed, PermissionDenied, Throttled, Unavailable …: it was not created.
    """
    pauses = _Pauses(patience.name, check)
    in_doubt = False
    while True:
        try:
            item = fabric.create_item(
                workspace,
                name=new.name,
                type=new.type,
                creation_payload=new.creation_payload,
                description=new.description,
                deadline_seconds=patience.operation,
            )
        except OutcomeUnknown as error:
            _log.warning("scenario.creation_in_doubt", type=new.type, name=new.name, reason=error.message)
            in_doubt = True
            if found := fabric.find_item(workspace, new.type, new.name):
                return found, new.is_it(found, otherwise=True)
            if not pauses.take():
                raise
        except Conflict as error:
            if error.details.get("error_code") == _NAME_TAKEN:
                found = _shown(fabric, workspace, new, patience, check, error)
                return found, new.is_it(found, otherwise=in_doubt)
            if error.details.get("error_code") != _NAME_RESERVED or not pauses.take():
                raise
        else:
            return item, True


def _shown(  # noqa: PLR0913, PLR0917 - as create_patiently
    fabric: FabricClient, workspace: WorkspaceId, new: NewItem, patience: Patience, check: Callable[[], None], error: TreadleError
) -> Item:
    """The item that has the name, as soon as a list shows it."""
    found = wait_until_listed(lambda: fabric.find_item(workspace, new.type, new.name), patience, check)
    if found is None:
        raise error
    return found


def wait_until_listed(look: Callable[[], T | None], patience: Patience, check: Callable[[], None]) -> T | None:
    """What `look` finds, as soon as it does; None: not within the patience that lists deserve."""
    pauses = _Pauses(patience.listing, check)
    while True:
        found = look()
        if found is not None or not pauses.take():
            return found


class _Pauses:
    """Pauses that grow, up to a deadline."""

    def __init__(self, seconds: float, check: Callable[[], None]) -> None:
        self._ends_at = time.monotonic() + seconds
        self._check = check
        self._next = _PAUSE_SECONDS

    def take(self) -> bool:
        """Wait, and say whether there is time for another look."""
        until = time.monotonic() + self._next
        if until > self._ends_at:
            return False
        self._next = min(self._next * 2, _PAUSE_SECONDS_MAX)
        while (left := until - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left, _WORD_SECONDS))
        return True
