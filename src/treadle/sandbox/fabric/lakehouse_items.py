"""Lakehouses: their folders in OneLake, and what they say of themselves."""

from collections.abc import Mapping
from typing import Any

from treadle.sandbox.fabric import items
from treadle.sandbox.fabric.item_kind import ItemKind
from treadle.sandbox.fabric.records import Row
from treadle.sandbox.fabric.workshop import Workshop


def _created(shop: Workshop, row: Row) -> None:
    shop.lake.create_item_folder(row["workspace_id"], row["id"])


def _deleted(shop: Workshop, row: Row) -> None:
    shop.lake.delete_item_folder(row["workspace_id"], row["id"])


def _properties(shop: Workshop, row: Row) -> Mapping[str, Any]:
    return items.lakehouse_properties(row, shop.clock.now(), shop.options.sql_endpoint_seconds)


LAKEHOUSE = ItemKind(created=_created, deleted=_deleted, properties=_properties)
