"""The table of the types of items that do something beyond being kept, and the one way in which items come and go with their children."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from treadle.sandbox.fabric import definitions, items
from treadle.sandbox.fabric.eventhouse_items import EVENTHOUSE, KQL_DATABASE
from treadle.sandbox.fabric.graph.graph_items import GRAPH_MODEL
from treadle.sandbox.fabric.item_kind import ItemKind
from treadle.sandbox.fabric.lakehouse_items import LAKEHOUSE
from treadle.sandbox.fabric.ontology_items import ONTOLOGY
from treadle.sandbox.fabric.records import Row
from treadle.sandbox.fabric.refusals import Refused
from treadle.sandbox.fabric.workshop import Workshop

ITEM_KINDS: Final[Mapping[str, ItemKind]] = {
    "Lakehouse": LAKEHOUSE,
    "Eventhouse": EVENTHOUSE,
    "KQLDatabase": KQL_DATABASE,
    "Ontology": ONTOLOGY,
    "GraphModel": GRAPH_MODEL,
}
_PLAIN: Final = ItemKind()


def kind_of(item_type: str) -> ItemKind:
    """The hooks of a type; those of a plain item do nothing."""
    return ITEM_KINDS.get(item_type, _PLAIN)


def check_content(shop: Workshop, item_type: str, parts: list[definitions.Part]) -> Refused | None:
    """What the workload of the type refuses in a definition, or None."""
    return definitions.check_content(item_type, parts) or kind_of(item_type).check_content(shop, parts)


def show(shop: Workshop, item_type: str | None) -> Callable[[Row], dict[str, Any]]:
    """How a row is shown: the generic form (None) has no properties, the form of a type that has properties shows them."""
    properties = None if item_type is None else kind_of(item_type).properties
    if properties is None:
        return items.item_json
    return lambda row: items.item_json(row) | {"properties": properties(shop, row)}


def create(shop: Workshop, workspace_id: str, new: items.NewItem) -> Row:
    """Record a new item, let its type do what belongs to it, and make its child items."""
    row = items.insert_item(shop.records, workspace_id, new, shop.clock.now())
    kind = kind_of(new.type)
    kind.created(shop, row)
    for child in kind.new_children(shop, row):
        create(shop, row["workspace_id"], child)
    return row


def with_children(shop: Workshop, row: Row) -> list[Row]:
    """The item and, before it, all items that go with it."""
    below = [child for first in kind_of(row["type"]).children(shop, row) for child in with_children(shop, first)]
    return [*below, row]


def delete(shop: Workshop, rows: Sequence[Row]) -> None:
    """Delete items with all that they held; their jobs have ended before."""
    for row in rows:
        items.delete_item(shop.records, row)
        kind_of(row["type"]).deleted(shop, row)


def clear_away(shop: Workshop, gone: Sequence[Row]) -> None:
    """Let go of what items held whose rows are gone with their workspace."""
    for row in gone:
        kind_of(row["type"]).deleted(shop, row)
