"""What a type of item does beyond being kept: the hooks that the routes call. The table of them is item_kinds.py."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from treadle.sandbox.fabric.definitions import Part
from treadle.sandbox.fabric.items import NewItem
from treadle.sandbox.fabric.records import Row
from treadle.sandbox.fabric.refusals import Refused
from treadle.sandbox.fabric.workshop import Workshop


def _no_check(_shop: Workshop, _workspace_id: str, _new: NewItem) -> None: ...


def _nothing(_shop: Workshop, _row: Row) -> None: ...


def _none_new(_shop: Workshop, _row: Row) -> Sequence[NewItem]:
    return ()


def _none_there(_shop: Workshop, _row: Row) -> Sequence[Row]:
    return ()


def _any_content(_shop: Workshop, _parts: Sequence[Part]) -> Refused | None:
    return None


@dataclass(frozen=True, slots=True)
class ItemKind:
    """The hooks of one type of item; each does nothing unless it is given. Rows are those of `items`, the payload is in `creation_payload`.

    check_new: raises Refused (status and code of its own) before any work is promised; it gets the workspace's id as the client wrote it.
    check_content: what the workload refuses in a definition, which ends an asynchronous operation as Failed; None accepts it.
    created: after the item and its definition are recorded; makes folders.
    new_children: the items that come into being with it, made right after `created`, each with the hooks of its own type.
    defined: after a definition replaced another (not at creation).
    children: the rows of the items that go when it goes, asked for while all are there; their jobs are cancelled with its own.
    deleted: after the item's row is gone and its jobs have ended; takes away what it held. Also for each item of a deleted workspace.
    properties: what `GET …/<collection>/{id}` and the collection's list show under "properties"; None: no such member.
    """

    check_new: Callable[[Workshop, str, NewItem], None] = _no_check
    check_content: Callable[[Workshop, Sequence[Part]], Refused | None] = _any_content
    created: Callable[[Workshop, Row], None] = _nothing
    new_children: Callable[[Workshop, Row], Sequence[NewItem]] = _none_new
    defined: Callable[[Workshop, Row], None] = _nothing
    children: Callable[[Workshop, Row], Sequence[Row]] = _none_there
    deleted: Callable[[Workshop, Row], None] = _nothing
    properties: Callable[[Workshop, Row], Mapping[str, Any]] | None = None
